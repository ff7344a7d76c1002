"""Least-squares projections of BSS Eval v3 over one stretch of signal, and their energies.

Correlations, and energies of what was filtered, come from short blocks, so that besides the signals
only the normal equations take memory: (channels of all references x 512)^2 numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import fft, linalg

from stemwise.evaluation.correlations import Correlator
from stemwise.evaluation.filters import TAPS, Solver, least_squares, normal_matrix
from stemwise.evaluation.parallel import workers
from stemwise.evaluation.spectra import cut

Real: TypeAlias = npt.NDArray[np.float64]

TRANSFORM = 1 << 14
"""Samples of one transform of `energies`: short enough for the cache."""


@dataclass(frozen=True)
class Filters:
    """Filters onto all references, and per source onto it alone: (reference, estimate, tap).

    `own[j]` has rows for the channels of source j and columns for those of `scored[j]`.
    """

    every: Real
    own: tuple[Real, ...]
    scored: tuple[slice, ...]


def fit(true: Real, found: Real, permutation: bool, threads: int | None) -> tuple[Filters, Solver]:
    sources, channels, _ = true.shape
    rows = sources * channels
    with workers(threads) as pool:
        correlator = Correlator(2 * rows, rows, TAPS, pool)
        correlator.add(true, found)
        sums = correlator.finish()
    between, onto = sums[:, :rows], sums[:, rows:]
    every, solver = solve(between, onto)
    own, scored = [], []
    for source in range(sources):
        mine = slice(source * channels, (source + 1) * channels)
        scored.append(slice(0, rows) if permutation else mine)
        if sources == 1:  # the very same equations: P - A is exactly zero
            own.append(every)
            continue
        filters, used = solve(between[mine, mine], onto[mine, scored[-1]])
        own.append(filters)
        solver = "lstsq" if used == "lstsq" else solver
    return Filters(every, tuple(own), tuple(scored)), solver


def solve(between: Real, onto: Real) -> tuple[Real, Solver]:
    """Least-squares filters (reference, estimate, tap), and how they were found.

    `between` (reference, reference, lag) correlates x_i(t) with x_j(t + lag), `onto`
    (reference, estimate, lag) x_i(t) with e(t + lag). Where the equations are singular to working
    precision, delayed references that the others already span get no tap.
    """
    references, estimates, taps = onto.shape
    energy = between[np.arange(references), np.arange(references), 0]
    # references of any level weigh the same in what counts as singular
    scale = np.divide(1, np.sqrt(np.abs(energy)), where=energy > 0, out=np.zeros(references))
    column = scale[:, np.newaxis, np.newaxis]
    scaled = between * column * scale[:, np.newaxis]
    right = (onto * column).transpose(2, 0, 1).reshape(taps * references, estimates)
    solution = _solve_regular(normal_matrix(scaled), right)
    solver: Solver = "cholesky"
    if solution is None:
        solver = "lstsq"
        solution = least_squares(normal_matrix(scaled), right)
    filters = solution.reshape(taps, references, estimates).transpose(1, 2, 0)
    return filters * column, solver


def _solve_regular(matrix: Real, right: Real) -> Real | None:
    """Solve by Cholesky in the matrix's own memory; None where it is singular to rounding."""
    norm = float(linalg.norm(matrix, 1))
    # the transpose of a symmetric C array is what LAPACK can overwrite without a copy
    factor, failed = linalg.lapack.dpotrf(matrix.T, lower=1, clean=0, overwrite_a=1)
    if failed:
        return None
    reciprocal, _ = linalg.lapack.dpocon(factor, norm, uplo="L")
    if reciprocal < len(matrix) * np.finfo(np.float64).eps:
        return None
    solution: Real = linalg.lapack.dpotrs(factor, right, lower=1)[0]
    return solution


@dataclass(frozen=True)
class Energy:
    """Sums of squares (estimate, reference) over channels and samples; see the module."""

    reference: Real
    error: Real
    rest: Real
    own: Real
    spatial: Real
    interference: Real
    every: Real
    artefacts: Real


def energies(true: Real, found: Real, filters: Filters) -> Energy:
    """Filter in blocks (overlap-save) and sum up; differences are formed before squaring."""
    sources, channels, samples = true.shape
    lead, rows = TAPS - 1, sources * channels
    total = samples + lead  # the filters' tails count
    size = fft.next_fast_len(min(TRANSFORM, total + lead), real=True)
    sums = np.zeros((8, sources, sources))
    every = fft.rfft(filters.every, size, axis=-1)
    own = [fft.rfft(one, size, axis=-1) for one in filters.own]
    for start in range(0, total, size - lead):
        length = min(size - lead, total - start)
        past = fft.rfft(cut(true, start - lead, size).reshape(rows, size), axis=-1)
        reference, estimate = cut(true, start, length), cut(found, start, length)
        inside = slice(lead, lead + length)
        onto_all = _filtered(past, every, size)[:, inside].reshape(estimate.shape)
        sums[6] += _squared(onto_all)[:, np.newaxis]
        sums[7] += _squared(estimate - onto_all)[:, np.newaxis]
        for source in range(sources):
            columns = filters.scored[source]
            mine = slice(source * channels, (source + 1) * channels)
            onto_own = _filtered(past[mine], own[source], size)[:, inside]
            image = onto_own.reshape(-1, channels, length)
            at = slice(columns.start // channels, columns.stop // channels)
            sums[0, at, source] += np.square(reference[source]).sum()
            sums[1, at, source] += _squared(estimate[at] - reference[source])
            sums[2, at, source] += _squared(estimate[at] - image)
            sums[3, at, source] += _squared(image)
            sums[4, at, source] += _squared(image - reference[source])
            sums[5, at, source] += _squared(onto_all[at] - image)
    return Energy(*sums)


def _filtered(
    past: npt.NDArray[np.complex128], filters: npt.NDArray[np.complex128], size: int
) -> Real:
    """Reference spectra (reference, bin) through (reference, estimate, bin): (estimate, sample)."""
    spectrum = np.einsum("rf,ref->ef", past, filters)
    filtered: Real = fft.irfft(spectrum, size, axis=-1)
    return filtered


def _squared(signals: Real) -> Real:
    """Energy (estimate,) of (estimate, channel, sample)."""
    energy: Real = np.einsum("ecn,ecn->e", signals, signals)
    return energy
