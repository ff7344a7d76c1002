"""Symmetric positive definite block-Toeplitz systems, solved in quadratic time.

Schur's algorithm gives the Cholesky factor of such a matrix row by row, from two block rows
instead of the whole matrix (Kailath and Sayed, "Displacement structure: theory and applications",
SIAM Review 37, 1995). Each step is a hyperbolic rotation, applied in the mixed form that keeps the
residual at rounding level (Bojanczyk, Brent, Van Dooren and de Hoog, 1987). That is checked: a
solution is refined and accepted by its backward error, computed with FFTs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft

Real = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]

ACCURACY = 8 * float(np.finfo(np.float64).eps)
"""Backward error, relative to the matrix and the solution, up to which a solution is accepted."""
REFINEMENTS = 3


def solve_toeplitz(blocks: Real, right: Real) -> Real | None:
    """Solve T x = right; None where T is not numerically positive definite.

    `blocks` (block, row, column) is the first block row of T, whose block (i, j) is
    blocks[j - i] or the transpose of blocks[i - j]; `right` (block, row, system).
    """
    factor = _Factor.of(blocks)
    if factor is None:
        return None
    product = _Product(blocks)
    solution = factor.solve(right)
    for _ in range(REFINEMENTS):
        residual = right - product(solution)
        if product.backward_error(residual, solution, right) <= ACCURACY:
            return solution
        solution += factor.solve(residual)
    residual = right - product(solution)
    accepted = product.backward_error(residual, solution, right) <= ACCURACY
    return solution if accepted else None


class _Factor:
    """Block rows R_k of the upper triangular factor, T = R^T R, each from its diagonal on."""

    def __init__(self, rows: list[Real]) -> None:
        self._rows = rows
        size = len(rows[0])
        # one call instead of one per block; refinement makes up for the rounding
        self._inverse = np.linalg.inv(np.stack([row[:, :size] for row in rows]))

    @classmethod
    def of(cls, blocks: Real) -> _Factor | None:
        """Schur's algorithm; None where a pivot is not positive."""
        count, size, _ = blocks.shape
        try:
            corner = np.linalg.cholesky(blocks[0])
        except np.linalg.LinAlgError:
            return None
        # T less T moved by one block down its diagonal is positive^T positive - negative^T negative
        flat = np.ascontiguousarray(blocks.transpose(1, 0, 2)).reshape(size, count * size)
        positive = np.linalg.solve(corner, flat)
        negative = positive.copy()
        rows = [positive]
        for _ in range(1, count):
            above, below = positive[:, :-size], negative[:, size:]
            rotation = _rotation(above[:, :size], below[:, :size])
            if rotation is None:
                return None
            right, left, sine, cosine = rotation
            positive = (right / cosine) @ above
            positive -= (left * (sine / cosine)) @ below
            negative = (left * cosine) @ below
            negative -= sine * positive
            rows.append(positive)
        try:
            return cls(rows)
        except np.linalg.LinAlgError:
            return None

    def solve(self, right: Real) -> Real:
        """x (block, row, system) of R^T R x = right."""
        count, size, systems = right.shape
        values = right.reshape(count * size, systems).copy()
        for step, row in enumerate(self._rows):
            here, below = step * size, (step + 1) * size
            values[here:below] = self._inverse[step].T @ values[here:below]
            values[below:] -= row[:, size:].T @ values[here:below]
        for step in range(count - 1, -1, -1):
            row = self._rows[step]
            here, below = step * size, (step + 1) * size
            rest = values[here:below] - row[:, size:] @ values[below:]
            values[here:below] = self._inverse[step] @ rest
        solution: Real = values.reshape(right.shape)
        return solution


def _rotation(above: Real, below: Real) -> tuple[Real, Real, Real, Real] | None:
    """The rotation that takes `below` to zero: two orthogonal matrices, sines and cosines.

    None where `above` does not outweigh `below` in some direction: T is not positive definite.
    """
    try:
        left, sine, right = np.linalg.svd(np.linalg.solve(above.T, below.T).T)
    except np.linalg.LinAlgError:
        return None
    if not sine[0] < 1:
        return None
    cosine = np.sqrt((1 - sine) * (1 + sine))
    return right, left.T, sine[:, None], cosine[:, None]


class _Product:
    """Products with T by FFT, and the sizes that make a residual small or large."""

    def __init__(self, blocks: Real) -> None:
        self._count = blocks.shape[0]
        self._size = fft.next_fast_len(2 * self._count - 1, real=True)
        ring = np.zeros((self._size, *blocks.shape[1:]))
        ring[: self._count] = blocks
        # block row i sums over j what lies j - i blocks on: a correlation
        ring[self._size - self._count + 1 :] = blocks[:0:-1].transpose(0, 2, 1)
        self._spectra = fft.rfft(ring, axis=0).conj()
        # the matrix's spectral norm is the largest of its symbol's, or less
        self._norm = float(np.linalg.norm(self._spectra, 2, axis=(1, 2)).max())

    def __call__(self, values: Real) -> Real:
        """T values, (block, row, system)."""
        spectra = self._spectra @ fft.rfft(values, self._size, axis=0)
        product: Real = fft.irfft(spectra, self._size, axis=0)[: self._count]
        return product

    def backward_error(self, residual: Real, solution: Real, right: Real) -> float:
        """How far T and `right` are from ones that `solution` solves exactly, relatively."""
        scale = self._norm * np.linalg.norm(solution) + np.linalg.norm(right)
        return float(np.linalg.norm(residual) / scale) if scale else 0.0
