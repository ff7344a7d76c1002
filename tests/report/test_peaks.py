"""Peaks of streamed audio."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemwise.report.peaks import CELL, PeakMeter


def test_peaks_are_those_of_the_samples() -> None:
    rng = np.random.default_rng(1)
    song = rng.uniform(-1, 1, (2, 40 * CELL)).astype(np.float32)
    song[:, : 10 * CELL] *= 0.1
    song[1, 25 * CELL + 7] = -1.0
    meter = PeakMeter()
    meter.add(song)
    envelope = meter.envelope(4)
    quarters = song.reshape(2, 4, -1)
    np.testing.assert_array_equal(envelope.lows, quarters.min(axis=(0, 2)))
    np.testing.assert_array_equal(envelope.highs, quarters.max(axis=(0, 2)))
    expected = np.sqrt(np.square(quarters, dtype=np.float64).mean(axis=(0, 2)))
    np.testing.assert_allclose(envelope.rms, expected, rtol=1e-4)
    assert envelope.peak == 1.0
    whole = np.sqrt(np.square(song, dtype=np.float64).mean())
    assert envelope.rms_level == pytest.approx(whole, rel=1e-6)
    assert envelope.samples == song.shape[1]


@settings(deadline=None, max_examples=40)
@given(
    cuts=st.lists(st.integers(0, 3000), max_size=6),
    samples=st.integers(1, 3000),
    columns=st.integers(1, 20),
)
def test_blocks_do_not_matter(cuts: list[int], samples: int, columns: int) -> None:
    song = np.random.default_rng(samples).uniform(-1, 1, (2, samples)).astype(np.float32)
    whole, parts = PeakMeter(), PeakMeter()
    whole.add(song)
    for block in np.split(song, sorted(min(cut, samples) for cut in cuts), axis=1):
        parts.add(block)
    one, other = whole.envelope(columns), parts.envelope(columns)
    np.testing.assert_array_equal(one.lows, other.lows)
    np.testing.assert_array_equal(one.highs, other.highs)
    np.testing.assert_allclose(one.rms, other.rms, rtol=1e-5)
    assert one.samples == other.samples == samples
    assert one.peak == np.abs(song).max()
    assert one.highs.max() == song.max()
    assert 1 <= len(one.lows) <= columns
