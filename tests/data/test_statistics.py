"""Statistics of data sets, checked on songs whose numbers are known."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemwise.activity import Activity, loud_windows, write_activity
from stemwise.data.folder import read_folder
from stemwise.data.levels import LevelMeter
from stemwise.data.prepare import prepare
from stemwise.data.statistics import (
    SetStatistics,
    SongStatistics,
    excerpt_energies,
    of_stored,
    of_track,
    source_energies,
    write_tables,
)
from stemwise.data.statistics_plots import plot_energy, plot_vocals

RATE = 8000


def sine(seconds: float, level: float, rate: int = RATE, hertz: float = 997.0) -> np.ndarray:
    """A stereo sine (sample, channel) of a peak level in dBFS."""
    wave = 10 ** (level / 20) * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)
    return wave[:, None].repeat(2, axis=1)


def loudness(stereo: np.ndarray, rate: int) -> float | None:
    meter = LevelMeter("mixture", rate)
    for start in range(0, len(stereo), rate):
        meter.add(stereo[start : start + rate].T.astype(np.float32))
    return meter.level().loudness


@pytest.mark.parametrize("rate", [48000, 44100, 22050])
def test_loudness_of_the_standards_signals(rate: int) -> None:
    """EBU Tech 3341: cases 1 and 3, and a sine in one channel as BS.1770 defines it."""
    assert loudness(sine(20, -23, rate, 1000), rate) == pytest.approx(-23.0, abs=0.1)
    gated = [sine(10, -36, rate, 1000), sine(60, -23, rate, 1000), sine(10, -36, rate, 1000)]
    assert loudness(np.concatenate(gated), rate) == pytest.approx(-23.0, abs=0.1)
    left = sine(20, 0, rate) * [1, 0]
    assert loudness(left, rate) == pytest.approx(-3.01, abs=0.05)
    assert loudness(np.zeros((rate, 2)), rate) is None


def test_loudness_agrees_with_pyloudnorm(rng: np.random.Generator) -> None:
    pyloudnorm = pytest.importorskip("pyloudnorm", reason="pyloudnorm is not installed")
    noise = rng.standard_normal((12 * 44100, 2)) * np.repeat([0.1, 0.003, 0.3], 4 * 44100)[:, None]
    expected = pyloudnorm.Meter(44100).integrated_loudness(noise)
    assert loudness(noise, 44100) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("rate", [44100, 11025, 10880])
def test_pieces_make_no_difference(rng: np.random.Generator, rate: int) -> None:
    noise = (rng.standard_normal((2, int(3.7 * rate))) * 1e-3).astype(np.float32)
    noise[:, rate : 2 * rate] *= 0.3
    whole, pieces = LevelMeter("a", rate), LevelMeter("a", rate)
    whole.add(noise)
    for start in range(0, noise.shape[1], rate):
        pieces.add(noise[:, start : start + rate])
    np.testing.assert_allclose(whole.powers, pieces.powers, rtol=1e-6)
    level, other = whole.level(), pieces.level()
    assert level.rms == pytest.approx(other.rms, rel=1e-6)
    assert level.loudness == pytest.approx(other.loudness, abs=1e-3)
    assert level.loud == pytest.approx(loud_windows(noise, rate).mean())
    assert other.loud == pytest.approx(level.loud, abs=0.01)
    assert 0.1 < level.loud < 0.9
    assert level.rms == pytest.approx(np.sqrt(np.mean(np.square(noise))), rel=1e-5)
    assert level.peak == pytest.approx(np.abs(noise).max())
    assert 0.05 < level.active < 0.75
    assert level.active_rms == pytest.approx(1e-3, rel=0.1)
    with pytest.raises(ValueError, match="within a second"):
        whole.add(noise)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Songs of known statistics: one with vocals, an instrumental, one with labels only."""
    for name in ("sung", "instrumental", "labelled"):
        (tmp_path / "set" / name).mkdir(parents=True)
    vocals, drums = sine(15, -20), sine(15, -14, hertz=300.0)
    vocals[: 6 * RATE] = 0
    soundfile.write(tmp_path / "set/sung/vocals.wav", vocals, RATE)
    soundfile.write(tmp_path / "set/sung/drums.wav", drums, RATE)
    soundfile.write(tmp_path / "set/instrumental/vocals.wav", 0 * vocals, RATE)
    soundfile.write(tmp_path / "set/instrumental/drums.wav", drums, RATE)
    soundfile.write(tmp_path / "set/labelled/mixture.wav", drums, RATE)
    labels = Activity.from_segments({"vocals": [(0, 3.75)]}, 15.0, 100.0)
    write_activity(tmp_path / "set/labelled/activity.csv", labels)
    return tmp_path / "set"


def songs_of(root: Path, stored: bool, folder: Path) -> dict[str, SongStatistics]:
    tracks = read_folder(root)
    if stored:
        return {one.name: of_stored(one) for one in prepare(tracks, folder).tracks}
    return {one.name: of_track(one) for one in tracks}


@pytest.mark.parametrize("stored", [False, True])
def test_songs(root: Path, tmp_path: Path, stored: bool) -> None:
    songs = songs_of(root, stored, tmp_path / "store")
    sung = songs["sung"]
    assert sung.seconds == 15
    assert sung.vocal_activity == pytest.approx(0.6, abs=1e-3)
    # 6 dB softer, and in 60 % of the time
    assert sung.vocal_ratio == pytest.approx(-6 + 10 * np.log10(0.6), abs=0.01)
    assert list(sung.energies) == ["drums", "vocals", "accompaniment"]
    np.testing.assert_allclose(sung.energies["vocals"], [0, 0.005], rtol=1e-3, atol=1e-9)
    np.testing.assert_allclose(sung.energies["accompaniment"], 2 * [0.5 * 10**-1.4], rtol=1e-3)
    instrumental = songs["instrumental"]
    assert (instrumental.vocal_activity, instrumental.vocal_ratio) == (0, None)
    labelled = songs["labelled"]
    assert labelled.vocal_activity == pytest.approx(0.25, abs=1e-3)
    assert (labelled.vocal_ratio, labelled.energies) == (None, {})
    assert labelled.loudness == pytest.approx(instrumental.loudness)


def test_stores_and_folders_say_the_same(root: Path, tmp_path: Path) -> None:
    stored = songs_of(root, True, tmp_path / "store")
    for name, song in songs_of(root, False, tmp_path).items():
        other = stored[name]
        assert song.vocal_activity == other.vocal_activity
        assert song.vocal_ratio == other.vocal_ratio
        assert song.loudness == other.loudness
        for source, energies in song.energies.items():
            np.testing.assert_allclose(energies, other.energies[source], rtol=1e-6)


def test_excerpts_have_six_seconds() -> None:
    powers = np.concatenate([np.full(60, 1.0), np.full(60, 3.0), np.full(59, 9.0)])
    np.testing.assert_array_equal(excerpt_energies(powers.astype(np.float32)), [1, 3])
    np.testing.assert_array_equal(excerpt_energies(np.ones(59, np.float32)), [1])


def test_weights_are_those_of_equation_6() -> None:
    energies = {"vocals": [0.1, 0.0], "drums": [0.2, 0.2], "bass": [0.4, 0.0]}
    arrays = {name: np.array(values) for name, values in energies.items()}
    arrays["accompaniment"] = np.array([0.4, 0.6])
    song = SongStatistics("a", "", 12.0, None, None, None, arrays)
    rows = {row.source: row for row in source_energies(SetStatistics("set", (song, song)))}
    assert list(rows) == ["vocals", "accompaniment", "bass", "drums"]
    assert [rows[name].weight for name in rows] == [pytest.approx(4), None, 1, 1]
    pairs = [rows[name].pair_weight for name in rows]
    assert pairs == [pytest.approx(10), 1, None, None]
    assert (rows["vocals"].silent, rows["vocals"].mean, rows["vocals"].median) == (0.5, 0.05, 0.1)
    assert (rows["drums"].songs, rows["drums"].excerpts) == (2, 4)


def test_tables_and_figures(root: Path, tmp_path: Path) -> None:
    songs = songs_of(root, False, tmp_path)
    every = SetStatistics("all", tuple(songs.values()))
    labels = SetStatistics("labels", (songs["labelled"],))
    paths = write_tables([every, labels], tmp_path)
    with open(paths[0], encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["set"], row["song"]) for row in rows][-1] == ("labels", "labelled")
    assert float(rows[2]["vocal_activity"]) == pytest.approx(0.6, abs=1e-3)
    assert rows[1]["vocal_ratio_db"] == ""
    with open(paths[1], encoding="utf-8", newline="") as file:
        energies = {row["source"]: row for row in csv.DictReader(file)}
    assert set(energies) == {"vocals", "accompaniment", "drums"}
    assert float(energies["drums"]["mean_energy_db"]) == pytest.approx(-17.01, abs=0.01)
    for plot in (plot_vocals, plot_energy):
        plot([labels], tmp_path / "figure.svg")
        first = (tmp_path / "figure.svg").read_bytes()
        assert first.startswith(b"<?xml")
        plot([labels], tmp_path / "figure.svg")
        assert (tmp_path / "figure.svg").read_bytes() == first
        plot([every, labels], tmp_path / "figure.png")
        assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
