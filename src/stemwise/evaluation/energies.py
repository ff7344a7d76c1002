"""Energies of the parts of every estimate, window by window, from spectra alone.

With A the projection of an estimate onto its own source (all channels), P onto all sources, R the
reference and E the estimate, BSS Eval needs the energies of A, A - R, P - A, P and E - P over each
window cut from the unfiltered signals and followed by the filters' tails. By Parseval they are sums
over frequency: no filtered signal is computed. Differences are formed before squaring: the other
way loses all digits where an estimate is good.

A long window is the sum of segments, whose responses overlap by the filters' tails; what the
overlaps add is computed from the last samples of one segment and the first of the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

from stemwise.evaluation.blocks import PairedBlocks
from stemwise.evaluation.filters import Filters
from stemwise.evaluation.framing import Framing, MovingRange, Segment, Segments
from stemwise.evaluation.parallel import Workers

Real = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

LONGEST = 1 << 17
"""Samples of the longest window that is transformed at once."""
SPECTRA_BYTES = 48 << 20
"""Memory for the spectra of the segments that are worked on together."""
TILE = 512
"""Bins per piece of work: fewer, and threads would wait for Python's lock more than work."""
OWN, SPATIAL, INTERFERENCE, EVERY, ARTEFACTS = range(5)
"""Energies of A, A - R, P - A, P, E - P."""


@dataclass(frozen=True)
class Energies:
    """Sums over the samples and channels of each window.

    `parts` (part, source, window) of A, A - R, P - A, P, E - P; `reference` and `error` (source,
    window) of R and R - E; `silent` (signal, window): is the sum over channels zero throughout? Its
    signals are the references, then the estimates. `parts` mean nothing where one is silent.
    """

    parts: Real
    reference: Real
    error: Real
    silent: npt.NDArray[np.bool_]


def window_energies(
    blocks: PairedBlocks, framing: Framing, filters: Filters, channels: int, workers: Workers
) -> Energies:
    """Read all samples and sum the energies of every window."""
    segments = Segments(framing, max(LONGEST, 8 * filters.every.shape[-1]))
    signals = _Signals(framing.count, filters.every.shape[0], channels)
    parts = _Parts(segments, filters, channels, workers)
    samples = MovingRange(workers.ahead(blocks), segments.length)
    for segment in segments.in_order():
        window = samples.take(segment.start, segment.stop)
        signals.add(segment, window)
        if not (segment.first and segment.last and signals.silent[:, segment.window].any()):
            parts.add(segment, window)
    return Energies(parts.finish(), signals.reference, signals.error, signals.silent)


class _Signals:
    """What needs no filter: energies of references and errors, and silence."""

    def __init__(self, windows: int, rows: int, channels: int) -> None:
        self._rows, self._channels = rows, channels
        self.reference = np.zeros((rows // channels, windows))
        self.error = np.zeros((rows // channels, windows))
        self.silent = np.ones((2 * rows // channels, windows), np.bool_)

    def add(self, segment: Segment, samples: Real) -> None:
        """Add a segment's samples (signal, sample)."""
        shape = (-1, self._channels, samples.shape[1])
        references = samples[: self._rows].reshape(shape)
        errors = references - samples[self._rows :].reshape(shape)
        self.reference[:, segment.window] += np.einsum("sct,sct->s", references, references)
        self.error[:, segment.window] += np.einsum("sct,sct->s", errors, errors)
        silent = self.silent[:, segment.window]
        for signal, several in enumerate(samples.reshape(shape)):
            silent[signal] &= not several.sum(axis=0).any()


class _Parts:
    """Energies of the parts of all estimates; collects segments and transforms several at once."""

    def __init__(
        self, segments: Segments, filters: Filters, channels: int, workers: Workers
    ) -> None:
        self._rows, _, taps = filters.every.shape
        self._size = fft.next_fast_len(segments.length + taps - 1, real=True)
        while self._size % 2:
            self._size = fft.next_fast_len(self._size + 1, real=True)
        self._every = _spectra(filters.every, self._size)
        self._own = _spectra(filters.own, self._size)
        bins = self._size // 2 + 1
        self._slots = max(1, SPECTRA_BYTES // (2 * self._rows * bins * 16))
        self._waiting: list[tuple[int, Complex]] = []  # window, spectra (signal, bin)
        self._staged = np.zeros((2 * self._rows, self._size))
        self._workers, self._channels = workers, channels
        # of a real signal's spectrum only the first and the last bin stand for themselves alone
        tiles = [slice(at, min(at + TILE, bins - 1)) for at in range(1, bins - 1, TILE)]
        self._tiles = [slice(0, None, bins - 1), *tiles]
        self._parts = np.zeros((5, self._rows // channels, segments.framing.count))
        self._borders = _Borders(filters)

    def add(self, segment: Segment, samples: Real) -> None:
        """Add a segment's samples (signal, sample)."""
        length = samples.shape[1]
        self._staged[:, :length] = samples
        self._staged[:, length:] = 0
        spectra = fft.rfft(self._staged, axis=-1, workers=self._workers.threads)
        self._waiting.append((segment.window, spectra))
        if not (segment.first and segment.last):
            self._parts[:, :, segment.window] += self._by_source(
                self._borders.cross(segment, samples)
            )
        if len(self._waiting) == self._slots:
            self._sum()

    def finish(self) -> Real:
        """(part, source, window)."""
        self._sum()
        # rounding may leave less than nothing of an overlap of opposite signs
        return np.maximum(self._parts, 0)

    def _sum(self) -> None:
        if not self._waiting:
            return
        slots, rows = len(self._waiting), self._rows
        sums = np.empty((len(self._tiles), 5, slots, rows))

        def work(tile: int) -> None:
            bins = self._tiles[tile]
            count = len(range(*bins.indices(self._size // 2 + 1)))
            references = np.empty((count, slots, rows), np.complex128)
            estimates = np.empty_like(references)
            for slot, (_, spectra) in enumerate(self._waiting):
                references[:, slot] = spectra[:rows, bins].T
                estimates[:, slot] = spectra[rows:, bins].T
            own = references @ self._own[bins]
            every = references @ self._every[bins]
            part = sums[tile]
            part[OWN] = _power(own)
            part[SPATIAL] = _power(np.subtract(own, references, out=references))
            part[INTERFERENCE] = _power(np.subtract(every, own, out=own))
            part[EVERY] = _power(every)
            part[ARTEFACTS] = _power(np.subtract(estimates, every, out=every))

        self._workers.each(work, range(len(self._tiles)))
        total = (sums[0] + 2 * sums[1:].sum(axis=0)) / self._size
        for slot, (window, _) in enumerate(self._waiting):
            self._parts[:, :, window] += self._by_source(total[:, slot])
        self._waiting.clear()

    def _by_source(self, energies: Real) -> Real:
        """Sum (part, signal) over the channels of each source."""
        summed: Real = energies.reshape(5, -1, self._channels).sum(axis=-1)
        return summed


class _Borders:
    """What neighbouring segments of one window add to its energies together."""

    def __init__(self, filters: Filters) -> None:
        self._rows, _, taps = filters.every.shape
        self._near = taps - 1
        self._size = fft.next_fast_len(max(2 * self._near, 2), real=True)
        self._every = fft.rfft(filters.every, self._size, axis=-1)
        self._own = fft.rfft(filters.own, self._size, axis=-1)
        self._ends: dict[int, Real] = {}  # of the segment before, by window

    def cross(self, segment: Segment, samples: Real) -> Real:
        """Twice the product of this segment's parts and the tails of the one before.

        (part, signal); zero for a window's first segment.
        """
        before = self._ends.pop(segment.window, None)
        if self._near and not segment.last:
            self._ends[segment.window] = samples[: self._rows, -self._near :].copy()
        if before is None or not self._near:
            return np.zeros((5, self._rows))
        references = samples[: self._rows, : self._near]
        estimates = samples[self._rows :, : self._near]
        tail = slice(self._near, 2 * self._near)
        own_tail, every_tail = self._responses(before, tail)
        own, every = self._responses(references, slice(0, self._near))
        # references and estimates have no tails
        pairs = (
            (own_tail, own),
            (own_tail, own - references),
            (every_tail - own_tail, every - own),
            (every_tail, every),
            (-every_tail, estimates - every),
        )
        return np.stack([2 * np.einsum("ct,ct->c", one, other) for one, other in pairs])

    def _responses(self, samples: Real, which: slice) -> tuple[Real, Real]:
        spectra = fft.rfft(samples, self._size, axis=-1)
        own, every = (
            fft.irfft(np.einsum("if,iqf->qf", spectra, filters), self._size, axis=-1)
            for filters in (self._own, self._every)
        )
        return own[:, which], every[:, which]


def _spectra(filters: Real, size: int) -> Complex:
    """(bin, reference, estimate) of filters (reference, estimate, tap)."""
    references, estimates, _ = filters.shape
    spectra = np.empty((size // 2 + 1, references, estimates), np.complex128)
    for row, taps in enumerate(filters):
        spectra[:, row] = fft.rfft(taps, size, axis=-1).T
    return spectra


def _power(spectra: Complex) -> Real:
    """Sum of |spectra|^2 over bins, (bin, slot, signal) to (slot, signal)."""
    bins, slots, signals = spectra.shape
    values = spectra.view(np.float64).reshape(bins, -1)
    squares = np.einsum("fk,fk->k", values, values)
    power: Real = squares.reshape(slots, signals, 2).sum(axis=-1)
    return power
