"""Zero-padded cuts and short-time spectra of arrays, in NumPy.

The conventions are those of `stemwise.spectral`: centred frames, a periodic Hann window, zeros
outside the signal, least-squares inversion; frame i is centred at sample i * hop. One frame more
than there is kept where a song is no whole number of hops long, so that each of its samples lies
between the centres of two frames and inversion is exact everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from scipy import fft

from stemwise.errors import EvaluationError

Real = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

CHUNK = 32
"""Frames at a time that are transformed."""


def cut(signals: npt.NDArray[np.floating], start: int, length: int) -> Real:
    """Samples `start` to `start + length` of (..., sample), zero outside the signals."""
    piece = np.zeros((*signals.shape[:-1], length))
    first, last = max(start, 0), min(start + length, signals.shape[-1])
    if first < last:
        piece[..., first - start : last - start] = signals[..., first:last]
    return piece


@dataclass(frozen=True)
class Grid:
    """Frames of `n_fft` samples, `hop` samples apart, over signals of `samples`."""

    samples: int
    n_fft: int
    hop: int

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise EvaluationError("There is no sample to transform: give signals that are longer.")
        if self.n_fft < 2 or self.n_fft % 2 or not 1 <= self.hop <= self.n_fft // 2:
            raise EvaluationError(
                f"A transform of {self.n_fft} samples with hop {self.hop} cannot be inverted: take "
                "an even length of at least 2 and a hop of at most half of it."
            )

    @property
    def frames(self) -> int:
        """Number of frames; the last is centred at or behind the end."""
        return -(-self.samples // self.hop) + 1

    def window(self) -> Real:
        """The periodic Hann window (sample,)."""
        angles = 2 * np.pi * np.arange(self.n_fft) / self.n_fft
        window: Real = 0.5 - 0.5 * np.cos(angles)
        return window

    def chunks(self) -> Iterator[tuple[int, int]]:
        """First and last frame (exclusive) of every piece of work."""
        for first in range(0, self.frames, CHUNK):
            yield first, min(first + CHUNK, self.frames)

    def forward(self, signals: npt.NDArray[np.floating], first: int, last: int) -> Complex:
        """Frames `first` to `last` of (..., sample): complex (..., frame, bin)."""
        start = first * self.hop - self.n_fft // 2
        piece = cut(signals, start, (last - first - 1) * self.hop + self.n_fft)
        frames = sliding_window_view(piece, self.n_fft, axis=-1)[..., :: self.hop, :]
        spectrum: Complex = fft.rfft(frames * self.window(), axis=-1)
        return spectrum


class Synthesis:
    """Adds frames of `forward` up again, chunk after chunk, into signals (..., sample)."""

    def __init__(self, grid: Grid, shape: tuple[int, ...]) -> None:
        self.grid = grid
        self.signals = np.zeros((*shape, grid.samples))
        self._weight = np.zeros(grid.samples)

    def add(self, spectrum: Complex, first: int) -> None:
        """Add frames (..., frame, bin), the first of which is frame `first` of the signals."""
        grid = self.grid
        window = grid.window()
        pieces = fft.irfft(spectrum, grid.n_fft, axis=-1) * window
        for index in range(spectrum.shape[-2]):
            start = (first + index) * grid.hop - grid.n_fft // 2
            begin, end = max(start, 0), min(start + grid.n_fft, grid.samples)
            if begin < end:
                inside = slice(begin - start, end - start)
                self.signals[..., begin:end] += pieces[..., index, inside]
                self._weight[begin:end] += np.square(window[inside])

    def finish(self) -> Real:
        """The signals, once every frame is added."""
        self.signals /= self._weight
        return self.signals
