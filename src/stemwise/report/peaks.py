"""What a waveform looks like from afar, gathered while the song streams by.

The meter keeps lowest and highest sample and energy of every 256 samples, so that a song of any
length costs little memory and its length need not be known; the envelope merges these into as many
columns as the drawing has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CELL = 256
"""Samples per cell of the meter: 3 hours at 44.1 kHz are 1.9 million cells."""


@dataclass(frozen=True, eq=False)
class Envelope:
    """Outline of a waveform: lows and highs in [-1, 1] and rms in [0, 1], float32 (column,).

    The columns divide `samples` evenly. peak and rms_level are linear, of all channels together.
    """

    lows: NDArray[np.float32]
    highs: NDArray[np.float32]
    rms: NDArray[np.float32]
    samples: int
    peak: float
    rms_level: float


class PeakMeter:
    """Collects the outline of a song from blocks (channel, sample)."""

    def __init__(self) -> None:
        self._lows: list[NDArray[np.float32]] = []
        self._highs: list[NDArray[np.float32]] = []
        self._powers: list[NDArray[np.float32]] = []
        self._rest: NDArray[np.float32] | None = None
        self._samples = 0
        self._energy = 0.0

    def add(self, block: NDArray[np.float32]) -> None:
        """Take the next block; the channels share one outline."""
        self._samples += block.shape[1]
        self._energy += float(np.square(block, dtype=np.float64).mean(axis=0).sum())
        joined = block if self._rest is None else np.concatenate([self._rest, block], axis=1)
        whole = joined.shape[1] // CELL * CELL
        if whole:
            self._measure(joined[:, :whole].reshape(len(joined), -1, CELL))
        self._rest = joined[:, whole:].copy()

    def _measure(self, cells: NDArray[np.float32]) -> None:
        """cells: (channel, cell, sample)."""
        self._lows.append(cells.min(axis=(0, 2)))
        self._highs.append(cells.max(axis=(0, 2)))
        self._powers.append(np.square(cells).mean(axis=(0, 2)))

    def envelope(self, columns: int) -> Envelope:
        """The outline so far in at most `columns` columns, none of them empty."""
        if not self._samples:
            raise ValueError("no samples were added")
        rest = self._rest
        if rest is not None and rest.shape[1]:
            self._measure(rest[:, np.newaxis])
            self._rest = None
        lows, highs, powers = (np.concatenate(x) for x in (self._lows, self._highs, self._powers))
        columns = min(columns, len(lows))
        starts = np.arange(columns) * len(lows) // columns
        widths = np.diff(starts, append=len(lows))
        return Envelope(
            lows=np.minimum.reduceat(lows, starts),
            highs=np.maximum.reduceat(highs, starts),
            rms=np.sqrt(np.add.reduceat(powers, starts) / widths).astype(np.float32),
            samples=self._samples,
            peak=float(max(-lows.min(), highs.max(), 0.0)),
            rms_level=float(np.sqrt(self._energy / self._samples)),
        )
