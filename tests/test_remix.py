"""Remixes: volumes, changes only where a stem plays, and what is refused."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stemwise.activity import Activity
from stemwise.audio import Audio, AudioFormat, read, write
from stemwise.errors import AudioError, Cancelled, OutputError
from stemwise.remix import FADE, GainCurve, remix

RATE = 8000
FLOAT = AudioFormat("wav", "float32")
NAMES = ("vocals", "drums", "other")


def make_stems(
    folder: Path, samples: int = 20 * RATE, channels: int = 2, tags: dict[str, str] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Path], Path]:
    """Stems of noise, their files, and the file of their sum."""
    rng = np.random.default_rng(3)
    shape = (channels, samples)
    stems = {name: rng.uniform(-0.2, 0.2, shape).astype(np.float32) for name in NAMES}
    for name, one in stems.items():
        write(folder / f"{name}.wav", Audio(one, RATE), format=FLOAT)
    mixture = folder / "song.wav"
    total = sum(one.astype(np.float64) for one in stems.values()).astype(np.float32)
    write(mixture, Audio(total, RATE, tags or {}), format=FLOAT)
    return stems, {name: folder / f"{name}.wav" for name in stems}, mixture


def vocals_at(*spans: tuple[float, float], duration: float = 20.0) -> Activity:
    return Activity.from_segments({"vocals": list(spans)}, duration)


def test_stems_are_summed_with_their_gains(tmp_path: Path) -> None:
    stems, paths, _ = make_stems(tmp_path)
    done = remix(paths, tmp_path / "mix.wav", {"vocals": 0.0, "drums": 0.5}, format=FLOAT)
    assert done.path == tmp_path / "mix.wav"
    assert done.gain == 1
    found = read(done.path)
    assert (found.sample_rate, found.samples.shape) == (RATE, (2, 20 * RATE))
    np.testing.assert_allclose(
        found.samples, 0.5 * stems["drums"] + stems["other"], rtol=0, atol=1e-6
    )


def test_karaoke_with_the_song_equals_the_sum_of_the_others(tmp_path: Path) -> None:
    _, paths, song = make_stems(tmp_path)
    for mixture, name in ((song, "a.wav"), (None, "b.wav")):
        remix(paths, tmp_path / name, {"vocals": 0}, mixture=mixture, format=FLOAT)
    one, other = read(tmp_path / "a.wav"), read(tmp_path / "b.wav")
    np.testing.assert_allclose(one.samples, other.samples, rtol=0, atol=1e-6)
    # with the song, the stem to be changed is all that is needed
    only = {"vocals": paths["vocals"]}
    remix(only, tmp_path / "c.wav", {"vocals": 0}, mixture=song, format=FLOAT)
    np.testing.assert_allclose(read(tmp_path / "c.wav").samples, one.samples, rtol=0, atol=1e-6)


@pytest.mark.parametrize("with_song", [False, True])
def test_instrumental_only_where_there_are_vocals(tmp_path: Path, with_song: bool) -> None:
    stems, paths, song = make_stems(tmp_path)
    activity = vocals_at((2.0, 5.0), (9.0, 12.0))
    remix(
        paths,
        tmp_path / "mix.wav",
        {"vocals": 0.0},
        mixture=song if with_song else None,
        activity=activity,
        only_active=["vocals"],
        format=FLOAT,
    )
    found, mixture = read(tmp_path / "mix.wav").samples, read(song).samples
    times = np.arange(found.shape[1]) / RATE
    inside = np.zeros(times.size, bool)
    within = np.zeros(times.size, bool)
    for start, end in activity.segments()["vocals"]:
        inside |= (times >= start - 1e-3) & (times <= end + 1e-3)
        within |= (times > start + FADE + 1e-3) & (times < end - FADE - 1e-3)
    limit = 0 if with_song else 1e-6
    assert np.abs(found - mixture)[:, ~inside].max() <= limit
    instrumental = stems["drums"] + stems["other"]
    np.testing.assert_allclose(found[:, within], instrumental[:, within], rtol=0, atol=1e-6)
    assert 5 < within.sum() / RATE < 6 < inside.sum() / RATE + 0.1


def test_gain_curve_is_a_raised_cosine_without_steps() -> None:
    rate = 1000
    curve = GainCurve(0.0, rate, [(0.1, 0.3), (0.5, 0.51), (0.9, 1.0)])
    whole = curve.between(0, 1000)
    assert (whole[:100] == 1).all()
    assert (whole[120:280] == 0).all()
    assert (whole[300:500] == 1).all()
    np.testing.assert_allclose(whole[100:120] + whole[280:300], 1, atol=1e-12)
    middle = whole[105:115]
    np.testing.assert_allclose(middle, 0.5 + 0.5 * np.cos(np.pi * (np.arange(5, 15) + 0.5) / 20))
    assert np.abs(np.diff(whole)).max() < 0.4, "segments shorter than two fades have shorter ones"
    assert whole[500:510].min() < 0.1
    parts = [curve.between(at, min(at + 37, 1000)) for at in range(0, 1000, 37)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert GainCurve(0.0, rate, [(0.0, 0.5)]).between(0, 1)[0] == 0, "no fade at the song's start"
    assert GainCurve(2.5, rate).between(3, 9) == 2.5
    assert (GainCurve(0.0, rate, []).between(0, 50) == 1).all()


def test_loud_remixes_are_scaled_as_stems_are(tmp_path: Path) -> None:
    stems, paths, _ = make_stems(tmp_path)
    gains = dict.fromkeys(NAMES, 4.0)
    wanted = 4 * sum(stems.values())
    peak = np.abs(wanted).max()
    assert peak > 1.5
    done = remix(paths, tmp_path / "mix.flac", gains)
    assert done.gain == pytest.approx((1 - 2**-15) / peak, rel=1e-5)
    assert done.level.peak == pytest.approx(0, abs=0.001)
    np.testing.assert_allclose(
        read(tmp_path / "mix.flac").samples, wanted * done.gain, rtol=0, atol=1e-4
    )
    assert remix(paths, tmp_path / "clamped.wav", gains, clip_mode="clamp").gain == 1
    assert np.abs(read(tmp_path / "clamped.wav").samples).max() <= 1
    loud = remix(paths, tmp_path / "float.wav", gains, format=FLOAT)
    assert loud.gain == 1
    assert read(tmp_path / "float.wav").samples.max() > 1.2


def test_tags_are_those_of_the_song(tmp_path: Path) -> None:
    _, paths, song = make_stems(tmp_path, RATE, tags={"title": "Lied", "artist": "Chor"})
    remix(paths, tmp_path / "a.flac", {}, mixture=song)
    assert read(tmp_path / "a.flac").tags == {"title": "Lied", "artist": "Chor"}
    remix(paths, tmp_path / "b.flac", {}, mixture=song, tags={"title": "Lied (Karaoke)"})
    assert read(tmp_path / "b.flac").tags == {"title": "Lied (Karaoke)"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"gains": {"vocal": 1}}, "no stem 'vocal' to mix: did you mean 'vocals'"),
        ({"gains": {"vocals": 4.1}}, "gain of vocals must be 0 to 4, not 4.1"),
        ({"gains": {"vocals": -0.1}}, "must be 0 to 4"),
        ({"gains": {"vocals": float("nan")}}, "must be 0 to 4, not nan"),
        ({"only_active": ["vocals"]}, "Nothing tells when vocals plays"),
        ({"only_active": ["drums"], "activity": vocals_at((0, 1))}, "when drums plays"),
        ({"only_active": ["piano"], "activity": vocals_at((0, 1))}, "no stem 'piano'"),
    ],
)
def test_what_cannot_be_asked_for(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    _, paths, _ = make_stems(tmp_path, 100)
    with pytest.raises(OutputError, match=re.escape(sentence)):
        remix(paths, tmp_path / "mix.wav", **{"gains": {}, **options})
    assert not (tmp_path / "mix.wav").exists()
    with pytest.raises(OutputError, match=r"would overwrite .*drums\.wav"):
        remix(paths, tmp_path / "." / "drums.wav", {})
    with pytest.raises(OutputError, match="no stems"):
        remix({}, tmp_path / "mix.wav", {})


@pytest.mark.parametrize(
    ("shape", "rate", "sentence"),
    [
        ((2, 900), RATE, "odd.wav is shorter than"),
        ((2, 1100), RATE, "is shorter than"),
        ((2, 70_000), RATE, "is shorter than"),
        ((1, 1000), RATE, "differ in channels"),
        ((2, 1000), 2 * RATE, "differ in sample rate"),
    ],
)
def test_files_of_different_songs(
    tmp_path: Path, shape: tuple[int, int], rate: int, sentence: str
) -> None:
    _, paths, _ = make_stems(tmp_path, 1000)
    paths["odd"] = tmp_path / "odd.wav"
    write(paths["odd"], Audio(np.zeros(shape, np.float32), rate))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(AudioError, match=re.escape(sentence)):
        remix(paths, tmp_path / "mix.wav", {})
    assert sorted(tmp_path.iterdir()) == before


def test_a_cancelled_remix_leaves_what_was_there(tmp_path: Path) -> None:
    _, paths, _ = make_stems(tmp_path)
    (tmp_path / "mix.wav").write_bytes(b"earlier")
    before = sorted(tmp_path.iterdir())
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        remix(paths, tmp_path / "mix.wav", {}, cancel=stop)
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "mix.wav").read_bytes() == b"earlier"
