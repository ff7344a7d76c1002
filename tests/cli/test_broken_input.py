"""Broken songs, folders and disks: one sentence, exit status 1, no file under a final name."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cli.conftest import Stemwise, leftovers, noise, song
from stemwise.audio import Audio, AudioWriter, write
from stemwise.errors import OutputError


def _broken(path: Path, kind: str) -> Path:
    """Make a broken song and return its path."""
    rng = np.random.default_rng(0)
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "header":
        song(path)
        path.write_bytes(path.read_bytes()[:20])
    elif kind == "random":
        path.write_bytes(rng.bytes(20000))
    elif kind == "text":
        path = path.with_suffix(".mp3")
        path.write_text("not a song\n" * 500)
    elif kind == "no samples":
        soundfile.write(path, np.zeros((0, 2)), 44100)
    elif kind in ("nan", "inf"):
        samples = noise(200000)
        samples[150000] = float(kind)
        soundfile.write(path, samples, 44100, subtype="FLOAT")
    return path


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("empty", "is empty"),
        ("header", "is not an audio file that can be read"),
        ("random", "is not an audio file that can be read"),
        ("text", "is not an audio file that can be read"),
        ("missing", "does not exist: check the name"),
        ("no samples", "contains no audio samples"),
        ("nan", "has a sample that is not a number at 3.401 s"),
        ("inf", "has a sample that is not a number at 3.401 s"),
    ],
)
@pytest.mark.parametrize("command", ["separate", "detect"])
def test_broken_songs(
    stemwise: Stemwise, model: Path, tmp_path: Path, kind: str, sentence: str, command: str
) -> None:
    path = _broken(tmp_path / "song.wav", kind)
    result = stemwise(command, path.name, "-n", model)
    assert result.status == 1
    assert result.out == ""
    assert result.err.startswith(f"stemwise: {path.name} {sentence}")
    assert result.err.count("\n") == 1
    assert not (tmp_path / "separated").exists()


def test_cut_off_mp3_is_separated_with_a_warning(
    stemwise: Stemwise, model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "cut.mp3"
    write(path, Audio(noise(200000).T.copy(), 44100))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = stemwise("separate", path.name, "-n", model)
    assert result.status == 0, result.err
    assert result.err.startswith("stemwise: warning: cut.mp3 is cut off: ")
    frames = soundfile.info(tmp_path / "separated/cut/bass.wav").frames
    assert 90000 < frames < 110000


def test_detect_warns_of_a_cut_off_song(stemwise: Stemwise, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.mp3"
    write(path, Audio(noise(200000).T.copy(), 44100))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    table = stemwise("detect", path.name, "-n", model)
    assert table.status == 0
    assert table.err.startswith("stemwise: warning: cut.mp3 is cut off: ")
    assert table.out.startswith("cut.mp3\n")
    told = stemwise("detect", path.name, "-n", model, "--json")
    assert told.err == ""
    assert [f"stemwise: warning: {one}\n" for one in json.loads(told.out)["warnings"]] == [
        table.err
    ]


def test_file_where_the_output_folder_should_be(
    stemwise: Stemwise, model: Path, tmp_path: Path
) -> None:
    song(tmp_path / "a.wav", 500)
    (tmp_path / "taken").write_text("mine")
    for out in ("taken", "taken/below"):
        result = stemwise("separate", "a.wav", "-n", model, "-o", out)
        assert result.status == 1
        assert "taken is a file where a folder is needed" in result.err
    (tmp_path / "separated/a/vocals.wav").mkdir(parents=True)
    result = stemwise("separate", "a.wav", "-n", model)
    assert "vocals.wav is a folder where a file must be written" in result.err
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder nobody can write to")
def test_folder_that_cannot_be_written(stemwise: Stemwise, model: Path, tmp_path: Path) -> None:
    song(tmp_path / "a.wav", 500)
    result = stemwise("separate", "a.wav", "-n", model, "-o", "/proc/stems")
    assert result.status == 1
    assert "/proc/stems" in result.err
    assert "choose another output folder" in result.err


@pytest.mark.parametrize("moment", ["at once", "late", "at the end"])
def test_full_disk(
    stemwise: Stemwise,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    song(tmp_path / "a.wav", 44100 * 3)
    put, calls = AudioWriter.write, 0

    def full(self: AudioWriter, block: np.ndarray) -> None:
        nonlocal calls
        calls += 1
        if moment == "at once" or (moment == "late" and calls > 6):
            raise OutputError(
                f"{self.path} could not be written because the disk is full: free some space"
            )
        put(self, block)

    def no_room(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    monkeypatch.setattr(AudioWriter, "write", full)
    if moment == "at the end":
        monkeypatch.setattr("stemwise.stem_output.os.replace", no_room)
    result = stemwise("separate", "a.wav", "-n", model, "--segment", 1)
    assert result.status == 1
    assert ".part" not in result.err
    assert "full" in result.err or "No space left" in result.err
    assert not (tmp_path / "separated").exists()


def _start(tmp_path: Path, model: Path, *more: str) -> subprocess.Popen[str]:
    """A separation of a long song, once its first samples are on disk."""
    with soundfile.SoundFile(tmp_path / "long.wav", "w", 44100, 2, "PCM_16") as file:
        block = noise(441000)
        for _ in range(40):
            file.write(block)
    command = [sys.executable, "-m", "stemwise.cli", "separate", "long.wav", "-n", str(model)]
    process = subprocess.Popen(
        [*command, "--segment", "2", *more],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # shells start background jobs with Ctrl-C ignored, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        parts = list(tmp_path.glob("separated/.long.*.part/*/.*.part"))
        if len(parts) == 4 and all(part.stat().st_size > 100000 for part in parts):
            return process
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"no samples on disk: {process.communicate()}")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupt_removes_everything(
    model: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    process = _start(tmp_path, model)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert err == "stemwise: stopped; unfinished results were removed.\n"
    assert not (tmp_path / "separated").exists()


def test_kill_leaves_no_final_names_and_the_next_run_clears_up(
    stemwise: Stemwise, model: Path, tmp_path: Path
) -> None:
    process = _start(tmp_path, model)
    process.kill()
    process.communicate(timeout=60)
    left = [one for one in (tmp_path / "separated").rglob("*") if one.is_file()]
    assert left
    assert all(one.name.startswith(".") and one.suffix == ".part" for one in left)
    assert set(leftovers(tmp_path)) >= set(left)
    # another song leaves them alone, and nobody touches what a living process writes
    song(tmp_path / "lon.wav", 500)
    song(tmp_path / "long.wav", 500)
    living = tmp_path / f"separated/.long.{os.getppid()}.abc123.part"
    living.mkdir()
    assert stemwise("separate", "lon.wav", "-n", model).status == 0
    assert all(one.is_file() for one in left)
    assert stemwise("separate", "long.wav", "-n", model).status == 0
    assert leftovers(tmp_path) == [living]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or not sys.platform.startswith("linux"):
        pytest.skip("there is no way to mount a small disk here")
    options = ["-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    done = subprocess.run([mount, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("extension", ["wav", "flac", "mp3", "opus"])
def test_really_full_disk(
    stemwise: Stemwise, model: Path, tmp_path: Path, small_disk: Path, extension: str
) -> None:
    song(tmp_path / "a.wav", 44100 * 8)
    (small_disk / "mine").write_bytes(bytes(600_000))
    result = stemwise("separate", "a.wav", "-n", model, "-o", "disk/out", "--format", extension)
    assert result.status == 1
    assert result.err.count("\n") == 1
    assert "disk is full: free some space" in result.err
    assert ".part" not in result.err
    assert [one.name for one in small_disk.iterdir()] == ["mine"]
