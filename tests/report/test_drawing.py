"""Peaks of streamed audio, and their drawings."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemwise.report import drawing
from stemwise.report.page import decibels
from stemwise.report.peaks import CELL, PeakMeter


def points(path: str) -> np.ndarray:
    """(point, 2) of a path of straight lines."""
    return np.array([list(map(float, p.split())) for p in re.split("[MLZ]", path) if p])


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


def test_outline_spans_its_share_of_the_axis_and_fills_the_height() -> None:
    meter = PeakMeter()
    meter.add(np.sin(np.arange(100 * CELL) * 0.3)[np.newaxis].astype(np.float32) * 0.5)
    envelope = meter.envelope(100)
    outline = points(drawing.outline(envelope, 2.0, 0.5))
    assert outline[:, 0].min() >= 0
    assert outline[:, 0].max() <= drawing.WIDTH / 2
    assert outline[:, 1].min() == pytest.approx(0, abs=0.2)
    assert outline[:, 1].max() == pytest.approx(drawing.HEIGHT, abs=0.2)
    body = points(drawing.body(envelope, 2.0, 0.5))
    height = drawing.HEIGHT / 2 * (1 - np.sqrt(0.5) ** drawing.POWER)
    assert body[:, 1].min() == pytest.approx(height, abs=0.5)


def test_probability_keeps_short_peaks() -> None:
    row = np.zeros(10_000, np.float32)
    row[5_003] = 1.0
    area = points(drawing.probability(row, 100.0, 100.0))
    assert area[:, 1].min() == 0
    assert area[area[:, 1].argmin(), 0] == pytest.approx(drawing.WIDTH / 2, abs=4)
    assert area[:, 0].max() == drawing.WIDTH


def test_bars() -> None:
    path = drawing.bars([(0.0, 2.5), (7.5, 12.0)], 10.0)
    foot, bar = drawing.LANE, drawing.BAR
    assert path == f"M0.0 {foot}h400.0v-{bar}H0.0zM1200.0 {foot}h400.0v-{bar}H1200.0z"
    assert drawing.bars([], 10.0) == ""


@pytest.mark.parametrize("duration", [1e-5, 0.04, 1.0, 7.3, 30.0, 187.2, 3599.0, 10800.0, 90000.0])
def test_ticks_are_few_round_and_inside(duration: float) -> None:
    marks = drawing.ticks(duration)
    assert marks[0].position == 0
    assert len(marks) <= 26
    assert all(0 <= mark.position <= 1 + 1e-9 for mark in marks)
    assert len({mark.label for mark in marks}) == len(marks)


@pytest.mark.parametrize(
    ("seconds", "exact", "text"),
    [
        (0, False, "0:00"),
        (59.6, False, "1:00"),
        (61, False, "1:01"),
        (3661, False, "1:01:01"),
        (59.999, True, "1:00.00"),
        (1.5, True, "0:01.50"),
        (3600.25, True, "1:00:00.25"),
    ],
)
def test_clock(seconds: float, exact: bool, text: str) -> None:
    assert drawing.clock(seconds, exact=exact) == text


def test_decibels() -> None:
    assert decibels(1.0) == "0.0 dB"
    assert decibels(0.9999) == "0.0 dB"
    assert decibels(0.5) == "−6.0 dB"
    assert decibels(0.0) == "silent"
