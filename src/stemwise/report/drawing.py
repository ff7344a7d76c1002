"""Waveforms, activity and time as SVG paths and marks on one time axis.

Drawings are `WIDTH` units wide for the whole time axis, whatever their width on the screen.
Amplitudes are drawn to the power 0.6, so that a bass 20 dB below the drums is still to be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemwise.report.peaks import Envelope

WIDTH = 1600
HEIGHT = 100
POWER = 0.6
LANE = 20
BAR = 5
_LANE_COLUMNS = 800


def outline(envelope: Envelope, scale: float, share: float) -> str:
    """Closed path between highs and lows; `scale` makes the loudest sample of the song fill it.

    share: the part of the time axis, 0 to 1, that this recording takes.
    """
    return _band(_drawn(envelope.highs * scale), _drawn(envelope.lows * scale), share)


def body(envelope: Envelope, scale: float, share: float) -> str:
    """Closed path of the root mean square, mirrored: how loud it is, inside how high it peaks."""
    height = _drawn(envelope.rms * scale)
    return _band(height, -height, share)


def _drawn(amplitudes: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.sign(amplitudes) * np.abs(amplitudes) ** POWER)


def _band(top: NDArray[np.float32], bottom: NDArray[np.float32], share: float) -> str:
    middle = HEIGHT / 2
    # half a unit at least, so that silence is a line and not a hole
    upper = np.minimum(middle - top * middle, middle - 0.5)
    lower = np.maximum(middle - bottom * middle, middle + 0.5)
    edges = np.linspace(0, WIDTH * share, len(top) + 1)
    if len(top) == 1:
        return _polygon(edges, np.repeat(upper, 2), np.repeat(lower, 2))
    return _polygon((edges[:-1] + edges[1:]) / 2, upper, lower)


def _polygon(x: NDArray[np.float64], upper: NDArray[np.float32], lower: NDArray[np.float32]) -> str:
    forth = [f"{a:.1f} {b:.1f}" for a, b in zip(x, upper, strict=True)]
    back = [f"{a:.1f} {b:.1f}" for a, b in zip(x[::-1], lower[::-1], strict=True)]
    return f"M{'L'.join(forth + back)}Z"


def probability(row: NDArray[np.float32], frame_rate: float, axis: float) -> str:
    """Area under the probability curve (frame,), highest of the frames that share a column."""
    columns = min(len(row), _LANE_COLUMNS)
    if not columns:
        return ""
    starts = np.arange(columns) * len(row) // columns
    values = np.maximum.reduceat(row, starts)
    times = np.append(starts, len(row)) / frame_rate
    x = np.minimum(times / axis, 1) * WIDTH
    points = [f"{a:.1f} {LANE * (1 - v):.1f}" for a, v in zip(x[:-1], values, strict=True)]
    last = f"{x[-1]:.1f} {LANE * (1 - values[-1]):.1f}"
    return f"M0 {LANE}L{'L'.join(points)}L{last}L{x[-1]:.1f} {LANE}Z"


def bars(segments: Sequence[tuple[float, float]], axis: float) -> str:
    """One path with a bar at the foot of the lane per segment (start, end) in seconds."""
    parts = []
    for start, end in segments:
        x, right = start / axis * WIDTH, min(end / axis, 1) * WIDTH
        # a segment is never thinner than a line on a wide screen
        parts.append(f"M{x:.1f} {LANE}h{max(right - x, 1):.1f}v-{BAR}H{x:.1f}z")
    return "".join(parts)


@dataclass(frozen=True)
class Tick:
    """A mark of the time axis: where (0 to 1) and what it says."""

    position: float
    label: str


def ticks(duration: float, most: int = 10) -> list[Tick]:
    """At most `most` round times from 0 on, and always the 0."""
    steps = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800)
    step = next((x for x in steps if duration / x <= most), 3600)
    count = int(duration / step + 1e-9) + 1
    return [Tick(i * step / duration, clock(i * step, exact=step < 1)) for i in range(count)]


def clock(seconds: float, *, exact: bool = False) -> str:
    """m:ss or h:mm:ss; exact: with hundredths."""
    hundredths = round(seconds * 100) if exact else round(seconds) * 100
    minutes, rest = divmod(hundredths, 6000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest // 100:02d}" + (f".{rest % 100:02d}" if exact else "")
    return f"{hours}:{minutes:02d}:{text}" if hours else f"{minutes}:{text}"
