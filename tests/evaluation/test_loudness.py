"""Integrated loudness against the standard's own test signals and against pyloudnorm."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stemwise.errors import EvaluationError
from stemwise.evaluation.loudness import integrated_loudness
from stemwise.loudness import HIGH_PASS, SHELF, at_rate


def sine(level: float, seconds: float, rate: int, frequency: float = 1000) -> np.ndarray:
    """A sine of `level` dB relative to full scale at its peak."""
    return 10 ** (level / 20) * np.sin(2 * np.pi * frequency * np.arange(seconds * rate) / rate)


@pytest.mark.parametrize(
    ("rate", "apart"), [(16000, 0.06), (22050, 0.03), (44100, 0.01), (48000, 0.01), (96000, 0.02)]
)
def test_full_scale_at_997_hz_in_one_channel(rate: int, apart: float) -> None:
    """BS.1770-4: -3.01 LUFS; at low rates the bilinear transform bends the shelf."""
    tone = sine(0, 2, rate, 997)
    found = integrated_loudness(np.stack([tone, 0 * tone]), rate)
    assert found == pytest.approx(-3.01, abs=apart)
    assert integrated_loudness(tone, rate) == pytest.approx(found)
    assert integrated_loudness(np.stack([tone, tone]), rate) == pytest.approx(
        found + 3.0103, abs=1e-4
    )


@pytest.mark.parametrize(
    "levels",
    [
        [(-23, 20)],
        [(-36, 10), (-23, 60), (-36, 10)],
        [(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)],
        [(-26, 20), (-20, 20.1), (-26, 20)],
    ],
)
def test_the_gates(levels: list[tuple[float, float]]) -> None:
    """Cases 1, 3, 4 and 5 of EBU Tech 3341: -23.0 LUFS within 0.1."""
    tone = np.concatenate([sine(level, seconds, 16000) for level, seconds in levels])
    assert integrated_loudness(np.stack([tone, tone]), 16000) == pytest.approx(-23, abs=0.1)


@pytest.mark.parametrize(("rate", "apart"), [(22050, 0.06), (44100, 0.005), (48000, 1e-6)])
@pytest.mark.parametrize("channels", [1, 2])
def test_pyloudnorm_with_the_standards_filters(
    rng: np.random.Generator, rate: int, apart: float, channels: int
) -> None:
    """Its filters meet the standard's table at 48 kHz; elsewhere its high-pass gains a little."""
    pyloudnorm = pytest.importorskip("pyloudnorm", reason="pyloudnorm is the outside reference")
    noise = rng.standard_normal((channels, 4 * rate)) * 10 ** rng.uniform(-3, 0, 4).repeat(rate)
    found = integrated_loudness(noise, rate)
    meter = pyloudnorm.Meter(rate, filter_class="DeMan")
    assert found == pytest.approx(meter.integrated_loudness(noise.T), abs=apart)
    # its default filters are an approximation
    assert found == pytest.approx(pyloudnorm.Meter(rate).integrated_loudness(noise.T), abs=0.2)


@pytest.mark.parametrize("stage", [SHELF, HIGH_PASS])
def test_filters_move_to_other_rates_without_a_jump(
    stage: tuple[tuple[float, float, float], tuple[float, float, float]],
) -> None:
    for found, printed in zip(at_rate(*stage, 48000.001), stage, strict=True):
        np.testing.assert_allclose(found, printed, atol=1e-6)


def test_silence_and_near_silence_have_no_loudness(rng: np.random.Generator) -> None:
    assert integrated_loudness(np.zeros((2, 8000)), 8000) == -math.inf
    assert integrated_loudness(1e-5 * rng.standard_normal((2, 8000)), 8000) == -math.inf


@pytest.mark.parametrize("samples", [1, 100, 3199, 3200, 3999])
def test_short_signals_are_one_block(rng: np.random.Generator, samples: int) -> None:
    assert math.isfinite(integrated_loudness(1 + rng.random(samples), 8000))


@pytest.mark.parametrize(
    ("signal", "rate", "words"),
    [
        (np.zeros((3, 9000)), 8000, "one or two channels"),
        (np.zeros((1, 0)), 8000, "one or two channels"),
        (np.full(9000, np.nan), 8000, "NaN"),
        (np.zeros(9000), 1000, "1000 Hz"),
    ],
)
def test_what_has_no_loudness_is_refused(signal: np.ndarray, rate: int, words: str) -> None:
    with pytest.raises(EvaluationError, match=words):
        integrated_loudness(signal, rate)
