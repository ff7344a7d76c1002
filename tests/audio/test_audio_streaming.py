"""Blocks, parts of files, constant memory, resampling, stem files."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemwise.audio import (
    STEM_NAMES,
    Audio,
    AudioError,
    StreamResampler,
    create_audio,
    create_stem_file,
    open_audio,
    probe,
    read,
    read_stem_file,
    resample,
    write,
)


def noise(channels: int, samples: int) -> np.ndarray:
    generator = np.random.default_rng(3)
    return (0.1 * generator.standard_normal((channels, samples))).astype(np.float32)


@pytest.mark.parametrize("extension", ["wav", "flac", "mp3", "m4a"])
@pytest.mark.parametrize("block", [1000, 4096, 200_000])
def test_blocks_are_full_but_the_last(tmp_path: Path, extension: str, block: int) -> None:
    path = tmp_path / f"song.{extension}"
    write(path, Audio(noise(2, 50_001), 44100))
    with open_audio(path, block=block) as reader:
        blocks = list(reader)
    assert all(one.shape == (2, block) for one in blocks[:-1])
    assert 0 < blocks[-1].shape[1] <= block
    assert all(one.dtype == np.float32 for one in blocks)
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), read(path).samples)


@pytest.mark.parametrize("extension", ["wav", "flac", "mp3", "ogg"])
@pytest.mark.parametrize(
    ("start", "stop"), [(0, 10), (70_000, 70_500), (99_000, None), (200_000, None)]
)
def test_part_of_a_file(tmp_path: Path, extension: str, start: int, stop: int | None) -> None:
    path = tmp_path / f"song.{extension}"
    write(path, Audio(noise(2, 100_000), 44100))
    whole = read(path).samples
    np.testing.assert_allclose(
        read(path, start=start, stop=stop).samples, whole[:, start:stop], atol=1e-6
    )


@pytest.mark.parametrize("extension", ["wav", "flac", "mp3", "opus", "m4a"])
def test_writing_in_blocks_of_any_size_is_the_same(tmp_path: Path, extension: str) -> None:
    samples = noise(2, 30_011)
    whole, parts = tmp_path / f"whole.{extension}", tmp_path / f"parts.{extension}"
    write(whole, Audio(samples, 48000))
    with create_audio(parts, 48000, 2) as writer:
        for start in range(0, samples.shape[1], 777):
            writer.write(samples[:, start : start + 777])
    np.testing.assert_array_equal(read(parts).samples, read(whole).samples)


def test_three_sparse_hours_need_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    rate, hours = 8000, 3
    samples = rate * 3600 * hours
    write(path, Audio(np.zeros((1, 1), np.float32), rate))
    data_at = path.read_bytes().index(b"data") + 4
    with open(path, "r+b") as file:
        file.truncate(data_at + 4 + 2 * samples)
        file.seek(4)
        file.write((data_at - 4 + 2 * samples).to_bytes(4, "little"))
        file.seek(data_at)
        file.write((2 * samples).to_bytes(4, "little"))
    assert probe(path).samples == samples
    tracemalloc.start()
    with open_audio(path) as reader:
        total = sum(block.shape[1] for block in reader)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == samples
    assert peak < 8e6


def test_mp3_memory_does_not_grow(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    with create_audio(path, 44100, 2) as writer:
        for _ in range(20):
            writer.write(noise(2, 65536))
    tracemalloc.start()
    with open_audio(path) as reader:
        assert sum(block.shape[1] for block in reader) == 20 * 65536
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6e6


def test_writer_checks_shapes(tmp_path: Path) -> None:
    with create_audio(tmp_path / "song.wav", 44100, 2) as writer:
        with pytest.raises(ValueError, match="expected"):
            writer.write(np.zeros((1, 10), np.float32))
        writer.write(np.zeros((2, 10), np.float32))
    with pytest.raises(ValueError, match="closed"):
        writer.write(np.zeros((2, 10), np.float32))


RATES = st.sampled_from([8000, 16000, 22050, 44100, 48000, 96000, 12345])


@settings(max_examples=60, deadline=None)
@given(source=RATES, target=RATES, channels=st.integers(1, 3), sizes=st.lists(st.integers(0, 3000)))
def test_resampled_length_is_exact(
    source: int, target: int, channels: int, sizes: list[int]
) -> None:
    resampler = StreamResampler(source, target, channels)
    parts = [resampler.process(np.ones((channels, size), np.float32)) for size in sizes]
    parts.append(resampler.flush())
    assert all(part.shape[0] == channels for part in parts)
    assert sum(part.shape[1] for part in parts) == round(sum(sizes) * target / source)


@pytest.mark.parametrize(("source", "target"), [(44100, 22050), (22050, 44100), (48000, 44100)])
def test_resampled_tone_is_in_place(source: int, target: int) -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(source) / source, dtype=np.float64)
    wanted = np.sin(2 * np.pi * 440 * np.arange(target) / target)
    found = resample(tone[np.newaxis].astype(np.float32), source, target)[0]
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found[500:-500], wanted[500:-500], atol=1e-4)


def test_equal_rates_pass_through() -> None:
    block = noise(2, 100)
    resampler = StreamResampler(44100, 44100, 2)
    assert resampler.process(block) is block
    assert resampler.flush().shape == (2, 0)


def test_resampling_is_independent_of_block_sizes() -> None:
    samples = noise(2, 20_000)
    whole = resample(samples, 44100, 22050)
    resampler = StreamResampler(44100, 22050, 2)
    parts = [resampler.process(samples[:, start : start + 999]) for start in range(0, 20_000, 999)]
    joined = np.concatenate([*parts, resampler.flush()], axis=1)
    np.testing.assert_allclose(joined, whole, atol=1e-6)


@pytest.mark.parametrize("samples", [1, 1024, 30_003])
def test_stem_file(tmp_path: Path, samples: int) -> None:
    path = tmp_path / "song.stem.mp4"
    time = np.arange(samples) / 44100
    stems = {
        name: np.array([[0.2], [0.1]]) * np.sin(2 * np.pi * 200 * (index + 1) * time)
        for index, name in enumerate(STEM_NAMES)
    }
    with create_stem_file(path, 44100, tags={"title": "Lied"}) as writer:
        for start in range(0, samples, 5000):
            writer.write({name: stem[:, start : start + 5000] for name, stem in stems.items()})
    info = probe(path)
    assert (info.streams, info.samples, info.channels) == (5, samples, 2)
    assert info.tags["title"] == "Lied"
    found = read_stem_file(path)
    assert tuple(found) == STEM_NAMES
    for name, audio in found.items():
        assert audio.samples.shape == (2, samples)
        if samples > 10_000:
            error = audio.samples - stems[name]
            assert float(np.sqrt((error[:, 2000:-2000] ** 2).mean())) < 0.005
    np.testing.assert_array_equal(read(path, stream=3).samples, found["other"].samples)


def test_a_file_of_one_stream_is_no_stem_file(tmp_path: Path) -> None:
    path = tmp_path / "song.m4a"
    write(path, Audio(noise(2, 3000), 44100))
    with pytest.raises(AudioError, match="1 audio streams"):
        read_stem_file(path)


def test_real_stem_file(real_audio: Path, tmp_path: Path) -> None:
    path = real_audio / "Music Delta - 80s Rock.stem.mp4"
    stems = read_stem_file(path)
    # 293 AAC frames of 1024, as musdb's decoders give them
    assert all(stem.samples.shape == (2, 300_032) for stem in stems.values())
    total = sum(stems[name].samples for name in STEM_NAMES[1:])
    mixture = stems["mixture"].samples
    assert float(((total - mixture) ** 2).sum() / (mixture**2).sum()) < 0.01
    assert probe(path).cover is not None
    copy = tmp_path / "copy.stem.mp4"
    with create_stem_file(copy, 44100) as writer:
        writer.write({name: stem.samples for name, stem in stems.items()})
    assert read_stem_file(copy)["vocals"].samples.shape == (2, 300_032)


def test_importing_audio_does_not_import_torch() -> None:
    code = "import sys, stemwise.audio, stemwise.activity; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
