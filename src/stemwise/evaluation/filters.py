"""The distortion filters of BSS Eval: least-squares FIR filters from references to estimates.

For every estimate channel e they minimise sum_t (e(t) - sum_i sum_k h_i(k) x_i(t - k))^2 over all
of the track, k = 0 .. length - 1. The normal equations are block-Toeplitz and positive definite
unless references depend on each other (Vincent et al. 2006, section III.C, for several channels).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from scipy import linalg

from stemwise.evaluation.toeplitz import solve_toeplitz

Real = npt.NDArray[np.float64]
Solver = Literal["cholesky", "lu", "lstsq"]
SOLVERS: tuple[Solver, ...] = ("cholesky", "lu", "lstsq")
"""From the usual one to the last resort."""

TAPS = 512
"""Taps of the distortion filters in every published evaluation."""

DENSE = 1500
"""Equations up to which LAPACK is faster than Schur's algorithm."""

LARGEST = 1e11
"""Filters, relative to the equations, beyond which rounding shows in the scores."""

EPSILON = float(np.finfo(np.float64).eps)
"""What museval adds to the diagonal."""


@dataclass(frozen=True)
class Filters:
    """Filters onto every estimate channel: from all references, and from its own source alone.

    `every` and `own` are (reference channel, estimate channel, tap); `own` is zero where the two
    channels are of different sources. `solver` is the last resort that either needed.
    """

    every: Real
    own: Real
    solver: Solver


def fit_filters(correlations: Real, channels: int) -> Filters:
    """Filters from `correlations` (reference channel, reference or estimate channel, lag)."""
    rows = len(correlations)
    between, onto = correlations[:, :rows], correlations[:, rows:]
    every, solver = solve(between, onto)
    if rows == channels:  # the same equations
        return Filters(every, every, solver)
    used, own = [solver], np.zeros_like(every)
    for first in range(0, rows, channels):
        mine = slice(first, first + channels)
        own[mine, mine], solver = solve(between[mine, mine], onto[mine, mine])
        used.append(solver)
    return Filters(every, own, max(used, key=SOLVERS.index))


def solve(between: Real, onto: Real) -> tuple[Real, Solver]:
    """Filters (reference, estimate, tap) and how they were found.

    `between` (reference, reference, lag) correlates x_i(t) with x_j(t + lag), `onto`
    (reference, estimate, lag) x_i(t) with e(t + lag). Dependent references, which rounding can make
    indefinite, need LU, and least squares where a pivot of that is zero or mere rounding.
    """
    references, estimates, taps = onto.shape
    right = np.ascontiguousarray(onto.transpose(2, 0, 1))
    solution, solver = None, SOLVERS[0]
    if taps * references > DENSE:
        solution = solve_toeplitz(_first_row(between), right)
    if solution is None or not _trusted(between, right, solution):
        flat = right.reshape(taps * references, estimates)
        solution, solver = _solve_dense(between, flat)
    filters = solution.reshape(taps, references, estimates).transpose(1, 2, 0)
    return np.ascontiguousarray(filters), solver


def _first_row(between: Real) -> Real:
    """Blocks (lag, reference, reference) of the first block row of the normal equations."""
    blocks: Real = between.transpose(2, 1, 0).copy()
    blocks[0] = (blocks[0] + blocks[0].T) / 2
    blocks[0].flat[:: len(blocks[0]) + 1] += EPSILON
    return blocks


def _solve_dense(between: Real, right: Real) -> tuple[Real, Solver]:
    matrix = _regular(between)
    # the transpose of a symmetric C array is what LAPACK can overwrite without a copy
    factor, failed = linalg.lapack.dpotrf(matrix.T, lower=1, clean=0, overwrite_a=1)
    if not failed:
        solution, _ = linalg.lapack.dpotrs(factor, right, lower=1)
        if _trusted(between, right, solution):
            return solution, "cholesky"
    del factor, matrix
    matrix = _regular(between)
    _, _, solution, failed = linalg.lapack.dgesv(matrix.T, right, overwrite_a=1)
    if not failed and _trusted(between, right, solution):
        return solution, "lu"
    del matrix
    return least_squares(normal_matrix(between), right), "lstsq"


def _trusted(between: Real, right: Real, solution: Real) -> bool:
    """Are the filters so small that what cancels in their outputs leaves digits?"""
    loudest = between[..., 0].diagonal().max()
    return bool(np.abs(solution).max() * loudest <= LARGEST * np.abs(right).max())


def least_squares(matrix: Real, right: Real) -> Real:
    """A solution with zeros for the delayed references that depend on others.

    The projection is the same for every solution; Cholesky with pivots finds one in a fraction of
    the time that singular values take.
    """
    factor, order, rank, _ = linalg.lapack.dpstrf(matrix.T, lower=1, overwrite_a=1)
    order = order - 1
    factor[rank:] = 0  # what depends is its own equation: nothing
    factor[range(rank, len(factor)), range(rank, len(factor))] = 1
    ordered = right[order]
    ordered[rank:] = 0
    solution: Real = np.empty_like(right)
    solution[order], _ = linalg.lapack.dpotrs(factor, ordered, lower=1)
    return solution


def _regular(between: Real) -> Real:
    matrix = normal_matrix(between)
    matrix.flat[:: matrix.shape[0] + 1] += EPSILON
    return matrix


def normal_matrix(between: Real) -> Real:
    """The symmetric matrix of the normal equations, rows and columns (tap, reference)."""
    references, _, taps = between.shape
    lagged = np.empty((references, 2 * taps - 1, references))
    # x_i(t) x_j(t - lag) summed is the positive lag of the exchanged pair
    lagged[:, taps - 1 :] = between.transpose(1, 2, 0)
    lagged[:, taps - 1 :: -1] = between.transpose(0, 2, 1)
    middle = lagged[:, taps - 1]
    lagged[:, taps - 1] = (middle + middle.T) / 2
    flat = lagged.reshape(references, -1)
    width = taps * references
    shifted = sliding_window_view(flat, width, axis=1)[:, ::references]
    matrix = np.empty((taps, references, width))
    for tap in range(taps):
        matrix[tap] = shifted[:, taps - 1 - tap]
    return matrix.reshape(width, width)
