"""Windows of BSS Eval v4 over a track, and the samples of each from one forward reading."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stemwise.errors import EvaluationError
from stemwise.evaluation.blocks import Samples

Real = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Framing:
    """museval's windows over a track of `samples`; an incomplete last one is left out.

    `window` and `hop` in samples. A window that is no shorter than the track is the whole track.
    """

    samples: int
    window: int
    hop: int

    @property
    def count(self) -> int:
        """Number of windows."""
        if self.window < self.samples:
            return (self.samples - self.window + self.hop) // self.hop
        return 1

    @property
    def length(self) -> int:
        """Samples in every window."""
        return min(self.window, self.samples)

    def starts(self) -> npt.NDArray[np.int64]:
        """First sample of every window."""
        return np.arange(self.count, dtype=np.int64) * self.hop


@dataclass(frozen=True)
class Segment:
    """Samples `start` to `stop` (exclusive) of window number `window`."""

    window: int
    start: int
    stop: int
    first: bool
    last: bool


@dataclass(frozen=True)
class Segments:
    """All windows, each cut into as few pieces as `longest` samples allow, of nearly one length."""

    framing: Framing
    longest: int

    @property
    def length(self) -> int:
        """Samples in every segment but, perhaps, the last of a window."""
        return math.ceil(self.framing.length / math.ceil(self.framing.length / self.longest))

    def in_order(self) -> list[Segment]:
        """Segments in the order in which they end."""
        found = []
        for window, start in enumerate(self.framing.starts().tolist()):
            stop = start + self.framing.length
            for at in range(start, stop, self.length):
                end = min(at + self.length, stop)
                found.append(Segment(window, at, end, at == start, end == stop))
        return sorted(found, key=lambda segment: segment.stop)


class MovingRange:
    """Samples of a track as rows, references first, by a range that only moves forward."""

    def __init__(self, blocks: Iterator[tuple[Samples, Samples]], longest: int) -> None:
        self._blocks, self._longest = blocks, longest
        self._held = np.zeros((0, 0))
        self._start = self._stop = 0  # of what is held, in samples of the track

    def take(self, start: int, stop: int) -> Real:
        """(signal, sample) from `start` to `stop`, which may not be less than in earlier calls.

        The array is good until the next call. Raises EvaluationError where the track ends before.
        """
        while self._stop < stop:
            pair = next(self._blocks, None)
            if pair is None:
                raise EvaluationError(
                    f"The second reading of the audio ended after {self._stop} samples, before "
                    "the first one did: give a source of blocks that can be read twice."
                )
            self._append(*pair, keep=stop - self._longest)
        return self._held[:, start - self._start : stop - self._start]

    def _append(self, references: Samples, estimates: Samples, keep: int) -> None:
        """Add a block at the end, and forget samples before `keep`."""
        rows, added = references.shape[0] * references.shape[1], references.shape[-1]
        kept_from = min(max(keep, self._start), self._stop)
        kept = self._stop - kept_from
        old = self._held[:, kept_from - self._start : self._stop - self._start]
        if self._held.shape[1] < kept + added:
            self._held = np.empty((2 * rows, kept + added))
        if kept:
            self._held[:, :kept] = old  # NumPy copes with the two overlapping
        new = self._held[:, kept : kept + added]
        shape = (references.shape[0], references.shape[1], added)
        new[:rows].reshape(shape)[:] = references
        new[rows:].reshape(shape)[:] = estimates
        self._start, self._stop = kept_from, self._stop + added
