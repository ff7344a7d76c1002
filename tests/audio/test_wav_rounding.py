"""Whole-number samples: rounded as exactly as wider arithmetic does, in files of every kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemwise.audio import AudioFormat, create_audio
from stemwise.audio.wav import interleaved, quantise


def _samples(channels: int, count: int) -> np.ndarray:
    """Noise around full scale, with halves between integers and numbers far beyond."""
    samples = np.random.default_rng(1).standard_normal((channels, count)).astype(np.float32) * 0.5
    edges = [1, -1, 2.5 / 32768, -1.5 / 32768, 0.5 / 32768, 1 - 2**-24, 3e38, -3e38, 1e-40]
    samples[0, : len(edges)] = edges
    return samples


@pytest.mark.parametrize("bits", [16, 24])
def test_samples_are_rounded_half_to_even_and_clipped(bits: int) -> None:
    samples, full = _samples(3, 40000), 2.0 ** (bits - 1)
    exact = np.clip(np.rint(samples.astype(np.float64) * full), -full, full - 1)
    assert np.array_equal(quantise(samples, bits), exact)
    parts = list(interleaved(samples, bits))
    assert len(parts) > 1
    assert np.array_equal(np.concatenate(parts).T, exact)


@pytest.mark.parametrize("format", ["wav", "flac"])
@pytest.mark.parametrize("subtype", ["int16", "int24"])
def test_files_hold_the_rounded_samples(tmp_path: Path, format: str, subtype: str) -> None:
    samples, bits = _samples(2, 40000), int(subtype[3:])
    with create_audio(tmp_path / "a", 44100, 2, format=AudioFormat(format, subtype)) as writer:
        for start in (0, 100, 30000):
            writer.write(samples[:, start : {0: 100, 100: 30000}.get(start)])
    read = soundfile.read(tmp_path / "a", dtype="int32")[0]
    assert np.array_equal(read >> (32 - bits), quantise(samples, bits).T)
