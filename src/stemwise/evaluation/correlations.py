"""Correlations of whole signals at short lags, from one reading of their samples in blocks.

Blocks are transformed one by one and multiplied in the frequency domain, which leaves out the
products of samples on both sides of a block's border; those come from short transforms of the last
samples of one block and the first of the next. Memory does not depend on the length.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft

from stemwise.evaluation.blocks import Samples
from stemwise.evaluation.parallel import Workers

Real = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

TRANSFORM = 1 << 14
"""Samples of one transform: short enough for the cache, long beside the filters."""
BLOCKS = 8
"""Blocks whose products are summed by one matrix product per bin."""
TILE = 512
"""Bins per piece of work: fewer, and threads would wait for Python's lock more than work."""


class Correlator:
    """Sums x_i(t) y_j(t + lag) over all t, for `lags` lags from 0 on.

    The signals y are all `signals` of them, the x the first `references` of those.
    """

    def __init__(self, signals: int, references: int, lags: int, workers: Workers) -> None:
        self._size = max(TRANSFORM, fft.next_fast_len(8 * lags, real=True))
        self._block = self._size - (lags - 1)
        self._lags, self._references, self._workers = lags, references, workers
        self._border = fft.next_fast_len(max(2 * lags - 3, 2), real=True)
        self._staged = np.zeros((signals, BLOCKS, self._size))
        # slot 0 of the tails is the last block of the samples before the staged ones
        self._tails = np.zeros((references, BLOCKS + 1, self._border))
        self._heads = np.zeros((signals, BLOCKS, self._border))
        self._inner = np.zeros((self._size // 2 + 1, references, signals), np.complex128)
        self._across = np.zeros((self._border // 2 + 1, references, signals), np.complex128)
        self._filled = 0  # samples staged
        self.samples = 0

    def add(self, references: Samples, estimates: Samples) -> None:
        """Append samples: (source, channel, sample) of the x, and as many of the other y."""
        length, done = references.shape[-1], 0
        while done < length:
            slot, offset = divmod(self._filled, self._block)
            count = min(length - done, self._block - offset)
            target = self._staged[:, slot, offset : offset + count]
            rows = (references.shape[0], references.shape[1], count)
            target[: self._references].reshape(rows)[:] = references[..., done : done + count]
            target[self._references :].reshape(rows)[:] = estimates[..., done : done + count]
            done += count
            self._filled += count
            if self._filled == BLOCKS * self._block:
                self._sum()
        self.samples += length

    def finish(self) -> Real:
        """The sums (reference, signal, lag)."""
        if self._filled:
            slot, offset = divmod(self._filled, self._block)
            self._staged[:, slot, offset : self._block] = 0
            self._staged[:, slot + 1 :, : self._block] = 0
            self._sum()
        lags, border = self._lags, self._border
        sums = np.empty((self._references, self._inner.shape[2], lags))
        for row in range(self._references):
            within = np.ascontiguousarray(self._inner[:, row].T)
            sums[row] = fft.irfft(within, self._size, axis=-1)[:, :lags]
            if lags > 1:
                # a tail's sample a and a head's sample b are b - a + lags - 1 samples apart
                across = fft.irfft(np.ascontiguousarray(self._across[:, row].T), border, axis=-1)
                apart = np.arange(2 - lags, 1) % border
                sums[row, :, 1:] += across[:, apart]
        return sums

    def _sum(self) -> None:
        lags, threads = self._lags, self._workers.threads
        spectra = fft.rfft(self._staged, axis=-1, workers=threads)
        self._accumulate(None, spectra, self._inner)
        if lags > 1:
            near = lags - 1
            block = self._block
            self._heads[..., :near] = self._staged[..., :near]
            last = self._staged[: self._references, :, block - near : block]
            self._tails[:, 1:, :near] = last
            tails = fft.rfft(self._tails[:, :-1], axis=-1, workers=threads)
            heads = fft.rfft(self._heads, axis=-1, workers=threads)
            self._accumulate(tails, heads, self._across)
            self._tails[:, 0] = self._tails[:, -1]
        self._filled = 0

    def _accumulate(self, first: Complex | None, second: Complex, sums: Complex) -> None:
        """Add conj(first) second, summed over blocks, to `sums` (bin, reference, signal).

        Without `first` the references among `second` are taken.
        """

        def add(start: int) -> None:
            bins = slice(start, start + TILE)
            right = np.ascontiguousarray(second[..., bins].transpose(2, 0, 1))
            if first is None:
                left = right[:, : self._references].conj()
            else:
                left = np.ascontiguousarray(first[..., bins].transpose(2, 0, 1))
                np.conjugate(left, out=left)
            # samples that are not numbers are found by their sums
            with np.errstate(invalid="ignore", over="ignore"):
                sums[bins] += left @ right.transpose(0, 2, 1)

        self._workers.each(add, range(0, sums.shape[0], TILE))
