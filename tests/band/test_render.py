"""Whole songs and folders of them: exact sums, realistic levels, resumable and deterministic."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemwise.activity import read_activity
from stemwise.band import render as render_module
from stemwise.band.bass import play_bass
from stemwise.band.drums import play_drums
from stemwise.band.effects import active_rms, side_to_mid
from stemwise.band.harmony import play_other
from stemwise.band.kits import HYDROGEN
from stemwise.band.mix import mix
from stemwise.band.notes import Note
from stemwise.band.render import STEMS, render_folder, render_song
from stemwise.band.song import BandError, compose
from stemwise.band.soundfont import missing
from stemwise.band.styles import STYLES
from stemwise.errors import OutputError

RATE = 22050
needs_samples = pytest.mark.skipif(
    bool(missing()) or not HYDROGEN.is_dir(),
    reason=f"needs Debian's soundfonts, libfluidsynth3 and hydrogen-drumkits: {missing()}",
)


@pytest.fixture(scope="module")
def song() -> render_module.RenderedSong:
    return render_song(11, sample_rate=RATE, duration=24.0, instrumental=False, a_cappella=False)


def test_a_song_has_all_stems_of_its_exact_length(song: render_module.RenderedSong) -> None:
    assert set(song.stems) == set(STEMS)
    for audio in (*song.stems.values(), *song.parts.values(), song.mixture):
        assert audio.shape == (2, 24 * RATE)
        assert audio.dtype == np.float32
        assert np.all(np.isfinite(audio))
    assert np.max(np.abs(song.mixture)) <= 0.99
    assert active_rms(song.stems["vocals"], RATE) > 0


def test_parts_sum_to_the_accompaniment(song: render_module.RenderedSong) -> None:
    total = song.parts["piano"] + song.parts["guitar"] + song.parts["other"]
    assert np.allclose(total, song.stems["other"], atol=1e-6)


def test_a_seed_renders_the_same_samples(song: render_module.RenderedSong) -> None:
    again = render_song(11, sample_rate=RATE, duration=24.0, instrumental=False, a_cappella=False)
    for name in STEMS:
        assert np.array_equal(song.stems[name], again.stems[name])


def test_levels_and_width_are_those_of_released_mixes() -> None:
    ratios: dict[str, list[float]] = {name: [] for name in ("drums", "bass", "other")}
    for seed in range(4):
        rendered = render_song(seed, sample_rate=RATE, duration=12.0, style="pop")
        mixture = rendered.mixture
        assert -25 < side_to_mid(mixture) < -5.5 or side_to_mid(mixture) < -60
        for name, values in ratios.items():
            stem = rendered.stems[name]
            if active_rms(stem, RATE) > 0:
                rest = float(np.sum((mixture - stem) ** 2))
                values.append(float(10 * np.log10(np.sum(stem**2) / (rest + 1e-9))))
        assert side_to_mid(rendered.stems["bass"]) < -12
    assert all(-16 < np.mean(values) < 6 for values in ratios.values())


@pytest.mark.parametrize("style", STYLES)
def test_each_style_plays(style: str) -> None:
    piece = compose(3, duration=7.0, style=style, instrumental=True)
    rng = np.random.default_rng(0)
    stems = {"drums": play_drums(piece, rng, RATE), "bass": play_bass(piece, rng, RATE)}
    stems["other"] = sum(play_other(piece, rng, RATE).values(), np.zeros((2, 7 * RATE), np.float32))
    for name, audio in stems.items():
        active = any(name in section.active for section in piece.sections)
        assert audio.shape == (2, 7 * RATE)
        assert np.all(np.isfinite(audio))
        assert bool(np.max(np.abs(audio)) > 1e-3) == active


def test_players_are_silent_before_their_first_section() -> None:
    checked = 0
    for seed in range(40):
        piece = compose(seed, duration=20.0)
        for name, play in (("drums", play_drums), ("bass", play_bass)):
            starts = [section.start for section in piece.sections if name in section.active]
            if starts and starts[0] > 2.0 and checked < 6:
                audio = play(piece, np.random.default_rng(seed), RATE)
                assert not np.any(np.abs(audio[:, : int((starts[0] - 0.2) * RATE)]) > 1e-6)
                checked += 1
    assert checked >= 4


def test_an_empty_mix_is_silence() -> None:
    silence = {name: {name: np.zeros((2, RATE), np.float32)} for name in STEMS}
    mixed, figures = mix(silence, np.random.default_rng(0), RATE)
    assert not any(np.any(audio) for members in mixed.values() for audio in members.values())
    assert figures["loudness"] == -120.0


def test_folders_hold_stems_that_sum_exactly(tmp_path: Path) -> None:
    paths = list(render_folder(tmp_path, 1, 5, sample_rate=RATE, duration=6.0, parts=True))
    assert [path.name for path in paths] == ["band-5-00000"]
    track = paths[0]
    total = np.zeros((6 * RATE, 2), np.int32)
    for name in STEMS:
        data, rate = soundfile.read(track / f"{name}.flac", dtype="int16")
        assert rate == RATE
        total += data
    mixture, _ = soundfile.read(track / "mixture.flac", dtype="int16")
    assert np.array_equal(total, mixture)
    assert (track / "activity.csv").is_file()
    assert {path.stem for path in (track / "parts").iterdir()} == {"piano", "guitar", "other"}
    told = json.loads((track / "song.json").read_text(encoding="utf-8"))
    assert told["style"] in STYLES
    assert told["duration"] == 6.0
    assert set(told["levels"]) >= set(STEMS)


def test_a_stopped_run_continues_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"sample_rate": RATE, "duration": 3.0, "mixture": False}
    original = render_module._write_folder
    calls: list[str] = []

    def breaking(folder: Path, rendered: render_module.RenderedSong, job: object) -> None:
        calls.append(folder.name)
        original(folder, rendered, job)  # type: ignore[arg-type]
        if len(calls) == 2:
            raise OSError("disk full")

    monkeypatch.setattr(render_module, "_write_folder", breaking)
    with pytest.raises(OutputError, match=r"band-1-00001 could not be written \(disk full\)"):
        list(render_folder(tmp_path, 3, 1, **options))
    assert [path.name for path in tmp_path.iterdir()] == ["band-1-00000"]
    assert not (tmp_path / "band-1-00000" / "mixture.flac").exists()
    rest = [path.name for path in render_folder(tmp_path, 3, 1, **options)]
    assert rest == ["band-1-00001", "band-1-00002"]
    assert list(render_folder(tmp_path, 3, 1, **options)) == []


@pytest.mark.parametrize("layout", ["folder", "stem.mp4"])
def test_tracks_that_were_rendered_otherwise_are_refused(tmp_path: Path, layout: str) -> None:
    def render(**options: object) -> list[Path]:
        given = {"sample_rate": 44100, "duration": 3.0, "layout": layout, **options}
        return list(render_folder(tmp_path, 1, 2, **given))  # type: ignore[arg-type]

    other = "stem.mp4" if layout == "folder" else "folder"
    assert len(render()) == 1
    for options, sentence in (
        ({"held_out": True}, "rendered with held out False, not True"),
        ({"family": "sampled"}, "rendered with family 'dsp', not 'sampled'"),
        ({"sample_rate": 48000}, "rendered with sample rate 44100, not 48000"),
        ({"duration": None}, r"rendered with duration 3\.0, not None"),
        ({"layout": other}, f"rendered with the layout '{layout}', not '{other}'"),
    ):
        with pytest.raises(OutputError, match=sentence):
            render(**options)
    assert render() == []
    [record] = [*tmp_path.rglob("*song.json")]
    record.unlink()
    with pytest.raises(OutputError, match=r"cannot be read from .*song\.json"):
        render()


LIMITED = """
import resource, sys
from stemwise.cli import run
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
sys.exit(run(["render", "out", "--duration", "3", *sys.argv[1:]]))
"""


@pytest.mark.parametrize("layout", ["folder", "stem.mp4"])
def test_full_disk(tmp_path: Path, layout: str) -> None:
    # a limit on the size of files fails in the same calls as a disk without space
    command = [sys.executable, "-c", LIMITED, "--layout", layout]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("stemwise: out/band-0-00000")
    assert done.stderr.count("\n") == 1
    assert "could not be written because the disk is full" in done.stderr
    assert ".part" not in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_stems_beyond_full_scale_do_not_wrap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = {name: np.zeros((2, RATE), np.float32) for name in STEMS}
    wave = np.sin(np.arange(RATE, dtype=np.float32) / 20) * np.ones((2, 1), np.float32)
    plain["bass"], plain["drums"] = 1.6 * wave, -1.3 * wave

    def loud(*_: object, **__: object) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, float]]:
        return {name: {name: audio} for name, audio in plain.items()}, {"loudness": -10.0}

    monkeypatch.setattr(render_module, "mix", loud)
    [track] = render_folder(tmp_path, 1, 1, sample_rate=RATE, duration=1.0)
    read = {file.stem: soundfile.read(file, dtype="int16")[0] for file in track.glob("*.flac")}
    gain = 0.985 / float(np.abs(plain["bass"]).max())
    for name in STEMS:
        np.testing.assert_allclose(read[name].T / 32767, plain[name] * gain, atol=1e-4)
    assert np.array_equal(sum(read[name].astype(int) for name in STEMS), read["mixture"])
    told = json.loads((track / "song.json").read_text(encoding="utf-8"))
    assert told["levels"]["loudness"] == pytest.approx(-10 + 20 * np.log10(gain))


def test_workers_do_not_change_the_songs(tmp_path: Path) -> None:
    options = {"sample_rate": RATE, "duration": 3.0, "mixture": False}
    list(render_folder(tmp_path / "one", 2, 9, **options))
    assert len(list(render_folder(tmp_path / "two", 2, 9, workers=2, **options))) == 2
    for file in (tmp_path / "one").rglob("*.flac"):
        twin = tmp_path / "two" / file.relative_to(tmp_path / "one")
        assert file.read_bytes() == twin.read_bytes()


def test_leftovers_of_killed_runs_are_swept(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = tmp_path / f".band-4-00000.{dead.pid}.part"
    mine = tmp_path / f".band-4-00001.{os.getpid()}.part"
    left.mkdir()
    mine.mkdir()
    list(render_folder(tmp_path, 1, 4, sample_rate=RATE, duration=3.0))
    assert not left.exists()
    assert mine.exists()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads the process table of Linux")
def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    code = (
        "from stemwise.band.render import render_folder\n"
        f"if __name__ == '__main__': list(render_folder({str(tmp_path)!r}, 9, 1, workers=2))\n"
    )
    script = tmp_path / "run.py"
    script.write_text(code, encoding="utf-8")
    parent = subprocess.Popen([sys.executable, str(script)])
    children = f"/proc/{parent.pid}/task/{parent.pid}/children"
    workers: list[int] = []
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".band*.part")) and len(workers) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)
        workers = [int(word) for word in Path(children).read_text().split()]
    time.sleep(1.0)
    parent.kill()
    parent.wait()
    while any(_running(worker) for worker in workers):
        assert time.monotonic() < deadline, "workers render on although their parent is gone"
        time.sleep(0.1)


def test_a_killed_worker_is_one_sentence(tmp_path: Path) -> None:
    others = set(multiprocessing.active_children())

    def kill_one() -> None:
        # both: Python's pool waits for ever for one that it starts while it ends the others
        while len(ours := set(multiprocessing.active_children()) - others) < 2:
            time.sleep(0.01)
        ours.pop().kill()

    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(BandError, match=r"process was killed, .*: run the command again"):
        list(render_folder(tmp_path, 4, 1, sample_rate=RATE, duration=20.0, workers=2))
    killer.join()
    assert len(list(render_folder(tmp_path, 1, 1, sample_rate=RATE, duration=20.0))) <= 1


def _running(process: int) -> bool:
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_wrong_choices_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BandError, match="unknown family 'midi'"):
        render_song(0, family="midi")
    with pytest.raises(OutputError, match="unknown layout 'zip'"):
        list(render_folder(tmp_path, 1, 0, layout="zip"))
    with pytest.raises(OutputError, match="unknown stem file type 'mp3'"):
        list(render_folder(tmp_path, 1, 0, suffix="mp3"))


def test_sampled_family_names_the_missing_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stemwise.band import kits, soundfont

    monkeypatch.setattr(soundfont, "FONTS", {"fluid": tmp_path / "FluidR3_GM.sf2"})
    with pytest.raises(BandError, match="fluid-soundfont-gm"):
        soundfont.SoundFontPlayer(RATE)
    monkeypatch.setattr(kits, "HYDROGEN", tmp_path / "none")
    with pytest.raises(BandError, match="hydrogen-drumkits"):
        kits.check_hydrogen()


@needs_samples
def test_soundfonts_play_the_same_notes_the_same_way_whatever_came_before() -> None:
    from stemwise.band.soundfont import player

    notes = [Note(0.1, 0.6, 69, 0.8)]
    first = player(RATE).render(("fluid", 0, 0), notes, RATE)
    player(RATE).render(("musescore", 0, 48), [Note(0.0, 0.9, 50, 1.0)], 12345)
    again = player(RATE).render(("fluid", 0, 0), notes, RATE)
    assert np.array_equal(first, again)
    assert not np.any(first[:, : int(0.09 * RATE)])
    spectrum = np.abs(np.fft.rfft(first[0, int(0.2 * RATE) : int(0.5 * RATE)]))
    assert abs(np.argmax(spectrum) / 0.3 - 440) < 8


@needs_samples
def test_sampled_players_and_held_out_kits_differ() -> None:
    piece = compose(2, duration=8.0, style="rock", instrumental=True)
    for play in (play_drums, play_bass):
        train = play(piece, np.random.default_rng(1), RATE, "sampled", "train")
        held = play(piece, np.random.default_rng(1), RATE, "sampled", "held-out")
        assert np.any(train)
        assert np.any(held)
        assert not np.allclose(train, held)


@needs_samples
def test_held_out_sources_are_never_used_for_training() -> None:
    from stemwise.band.kits import sources
    from stemwise.band.parts import ROLES

    for electronic in (True, False):
        for group in ("drums", "percussion"):
            train = set(sources(group, "sampled", electronic, "train"))
            held = set(sources(group, "sampled", electronic, "held-out"))
            assert held
            assert not train & held
    for role in ROLES.values():
        assert not set(role.pool("train")) & set(role.pool("held-out"))


def test_stem_files_hold_the_mixture_and_four_stems(tmp_path: Path) -> None:
    from stemwise.audio import read_stem_file

    (path,) = render_folder(tmp_path, 1, 3, layout="stem.mp4", duration=3.0)
    assert path.name == "band-3-00000.stem.mp4"
    labels = read_activity(tmp_path / "band-3-00000.activity.csv")
    assert labels.sources == ("vocals", "drums", "bass", "other")
    names = {entry.name for entry in tmp_path.iterdir()}
    assert names == {path.name, "band-3-00000.activity.csv", "band-3-00000.song.json"}
    streams = read_stem_file(path)
    assert set(streams) == {"mixture", *STEMS}
    total = sum((streams[name].samples for name in STEMS), np.zeros((2, 3 * 44100), np.float32))
    error = float(np.mean((total - streams["mixture"].samples) ** 2))
    assert error < 0.02 * float(np.mean(total**2))
