"""Broken input and full or forbidden output: one sentence, and never a file that is not whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemwise.audio import (
    Audio,
    AudioError,
    AudioWarning,
    OutputError,
    create_audio,
    create_stem_file,
    open_audio,
    probe,
    read,
    write,
)
from stemwise.audio import part as part_module

EXTENSIONS = ["wav", "flac", "mp3", "opus", "ogg", "m4a"]


def noise(seconds: float = 2.0, rate: int = 48000) -> Audio:
    samples = 0.1 * np.random.default_rng(1).standard_normal((2, int(seconds * rate)))
    return Audio(samples.astype(np.float32), rate)


def refused(path: Path) -> str:
    with pytest.raises(AudioError) as caught:
        read(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.wav", b""),
        ("empty.mp3", b""),
        ("text.mp3", b"these are words, not music\n" * 400),
        ("page.wav", b"<html><body>404</body></html>" * 50),
        ("two bytes.flac", b"fL"),
        ("no samples.wav", None),
    ],
)
def test_what_is_no_audio_is_named(tmp_path: Path, name: str, content: bytes | None) -> None:
    path = tmp_path / name
    if content is None:
        soundfile.write(path, np.zeros((0, 2)), 44100)
    else:
        path.write_bytes(content)
    text = refused(path)
    if content == b"":
        assert "empty" in text
    if content is None:
        assert "no audio samples" in text


@pytest.mark.parametrize("seed", range(12))
def test_random_bytes_are_no_audio(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "song.mp3"
    path.write_bytes(np.random.default_rng(seed).bytes(60_000))
    refused(path)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_truncated_header(tmp_path: Path, extension: str) -> None:
    whole, cut = tmp_path / f"whole.{extension}", tmp_path / f"cut.{extension}"
    write(whole, noise(0.5))
    cut.write_bytes(whole.read_bytes()[:40])
    refused(cut)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "no.wav")
    assert "folder" in refused(tmp_path)
    with pytest.raises(AudioError, match="does not exist"):
        probe(tmp_path / "no.wav")


def test_picture_without_audio(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    refused(path)


@pytest.mark.parametrize("extension", ["wav", "mp3", "flac"])
def test_cut_off_song_is_used_as_far_as_it_goes(tmp_path: Path, extension: str) -> None:
    whole, cut = tmp_path / f"whole.{extension}", tmp_path / f"cut.{extension}"
    audio = noise(6)
    write(whole, audio)
    data = whole.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    reader = open_audio(cut)
    with pytest.warns(AudioWarning, match="cut off|damaged"):
        blocks = list(reader)
    reader.close()
    assert len(reader.warnings) == 1
    assert str(cut) in reader.warnings[0]
    found = np.concatenate(blocks, axis=1)
    reference = read(whole).samples
    assert 65536 <= found.shape[1] <= 0.55 * reference.shape[1]
    settled = found.shape[1] - 3000
    np.testing.assert_allclose(found[:, :settled], reference[:, :settled], atol=1e-3)


def test_damage_in_mid_song_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    audio = noise(4)
    write(path, audio)
    data = bytearray(path.read_bytes())
    data[40_000:43_000] = np.random.default_rng(5).bytes(3000)
    path.write_bytes(bytes(data))
    with pytest.warns(AudioWarning, match="damaged|cut off"):
        found = read(path).samples
    assert found.shape[1] > 0.9 * audio.samples.shape[1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_no_number_is_located(tmp_path: Path, bad: float) -> None:
    path = tmp_path / "song.wav"
    samples = np.zeros((100_000, 2), np.float32)
    samples[88_200, 1] = bad
    soundfile.write(path, samples, 44100, subtype="FLOAT")
    assert "2.000 s" in refused(path)


def test_a_late_sample_that_is_no_number_is_found_before_any_work(tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    samples = np.zeros((300_000, 1), np.float32)
    samples[290_000] = np.nan
    soundfile.write(path, samples, 44100, subtype="FLOAT")
    with open_audio(path) as reader:
        with pytest.raises(AudioError, match=r"6\.576 s"):
            reader.verify()
        assert next(iter(reader)).shape == (1, 65536)  # its own position has not moved


@pytest.mark.parametrize("stream", [-1, 1, 5])
def test_missing_stream(tmp_path: Path, stream: int) -> None:
    path = tmp_path / "song.m4a"
    write(path, noise(0.1))
    with pytest.raises(AudioError, match="no audio stream"):
        open_audio(path, stream=stream)


def test_more_channels_than_supported(tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    soundfile.write(path, np.zeros((10, 9)), 44100)
    assert "9 channels" in refused(path)


def _start_and_stop(path: Path) -> None:
    with create_audio(path, 48000, 2) as writer:
        writer.write(noise().samples)
        assert len(list(path.parent.iterdir())) == 2
        raise RuntimeError("stop")


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_an_error_leaves_nothing(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"song.{extension}"
    path.write_bytes(b"the earlier file")
    with pytest.raises(RuntimeError, match="stop"):
        _start_and_stop(path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"the earlier file"


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_no_samples_make_no_file(tmp_path: Path, extension: str) -> None:
    with (
        pytest.raises(AudioError, match="no samples"),
        create_audio(tmp_path / f"song.{extension}", 48000, 2),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_output_that_is_a_folder_or_has_none(tmp_path: Path) -> None:
    (tmp_path / "song.wav").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        create_audio(tmp_path / "song.wav", 44100, 1)
    with pytest.raises(OutputError, match="not an existing folder"):
        create_audio(tmp_path / "nowhere" / "song.wav", 44100, 1)
    with pytest.raises(OutputError, match="too long"):
        write(tmp_path / f"{'x' * 300}.wav", noise(0.1))
    assert [entry.name for entry in tmp_path.iterdir()] == ["song.wav"]


@pytest.fixture
def read_only_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The present folder, seen by an ordinary user: the superuser may write into any."""
    monkeypatch.chdir(tmp_path)  # the folders above it are closed to others
    tmp_path.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield Path()
    os.seteuid(user)
    tmp_path.chmod(0o700)


def test_read_only_folder(read_only_folder: Path) -> None:
    with pytest.raises(OutputError, match="permissions"):
        create_audio(read_only_folder / "song.wav", 44100, 1)
    assert list(read_only_folder.iterdir()) == []


@pytest.mark.parametrize("code", [13, 30])
def test_refused_permission_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(part_module, "open", refuse, raising=False)
    with pytest.raises(OutputError, match="permissions"):
        create_audio(tmp_path / "song.flac", 44100, 1)


LIMITED = """
import resource, sys
import numpy as np
from stemwise.audio import OutputError, create_audio, create_stem_file, STEM_NAMES
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))
rng = np.random.default_rng(0)
path = sys.argv[1]
try:
    stems = path.endswith(".stem.mp4")
    with (create_stem_file(path, 44100) if stems else create_audio(path, 44100, 2)) as writer:
        for _ in range(16):
            block = (0.3 * rng.standard_normal((2, 65536))).astype("f4")
            writer.write({name: block for name in STEM_NAMES} if stems else block)
except OutputError as error:
    print(error)
"""


@pytest.mark.parametrize("extension", [*EXTENSIONS, "stem.mp4"])
def test_full_disk(tmp_path: Path, extension: str) -> None:
    # a limit on the size of files fails in the same calls as a disk without space
    path = tmp_path / f"song.{extension}"
    run = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, check=True
    )
    assert run.stdout == (
        f"{path} could not be written because the disk is full: free some space\n"
    )
    assert run.stderr == ""
    assert list(tmp_path.iterdir()) == []


KILLED = """
import sys
import numpy as np
from stemwise.audio import create_audio
writer = create_audio(sys.argv[1], 44100, 2)
block = (0.3 * np.random.default_rng(0).standard_normal((2, 65536))).astype("f4")
while True:
    writer.write(block)
    print("block", flush=True)
"""


@pytest.mark.parametrize("extension", ["wav", "mp3"])
def test_a_killed_process_leaves_no_final_name(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"song.{extension}"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(3):
        assert process.stdout.readline() == "block\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert [entry.name for entry in tmp_path.iterdir()] == [f".song.{extension}.{process.pid}.part"]


def test_stem_file_errors_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="12345 Hz"):
        create_stem_file(tmp_path / "song.stem.mp4", 12345)
    writer = create_stem_file(tmp_path / "song.stem.mp4", 44100)
    with pytest.raises(ValueError, match="expected blocks"), writer:
        writer.write({"mixture": np.zeros((2, 10), np.float32)})
    assert list(tmp_path.iterdir()) == []


def test_short_cut_flac_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole.flac", tmp_path / "cut.flac"
    audio = noise(1)
    write(whole, audio)
    data = whole.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    with pytest.warns(AudioWarning, match="damaged|ends"):
        found = read(cut).samples
    assert found.shape[1] > 0.3 * audio.samples.shape[1]
    np.testing.assert_allclose(found, audio.samples[:, : found.shape[1]], atol=2e-5)
