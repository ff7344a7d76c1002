"""Correlations, the normal equations and their solvers, each against its definition."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy.signal import butter, sosfilt

from stemwise.evaluation import correlations, filters, toeplitz
from stemwise.evaluation.correlations import Correlator
from stemwise.evaluation.parallel import workers

Array = npt.NDArray[np.float64]


def correlate(signals: Array, references: int, lags: int) -> Array:
    """By definition: sum of x_i(t) y_j(t + lag)."""
    samples = signals.shape[1]
    sums = np.zeros((references, len(signals), lags))
    for lag in range(min(lags, samples)):
        sums[:, :, lag] = signals[:references, : samples - lag] @ signals[:, lag:].T
    return sums


@pytest.mark.parametrize("lags", [1, 2, 7, 40])
@pytest.mark.parametrize("samples", [1, 39, 160, 1000, 3001])
def test_correlations(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator, lags: int, samples: int
) -> None:
    monkeypatch.setattr(correlations, "TRANSFORM", 128)
    signals = rng.standard_normal((4, samples))
    with workers(1) as pool:
        correlator = Correlator(4, 2, lags, pool)
        for start in range(0, samples, 301):
            piece = signals[:, start : start + 301]
            correlator.add(piece[:2, None], piece[2:, None])
        found = correlator.finish()
    assert correlator.samples == samples
    np.testing.assert_allclose(found, correlate(signals, 2, lags), atol=1e-9)


def test_normal_matrix(rng: np.random.Generator) -> None:
    signals, taps = rng.standard_normal((3, 50)), 5
    delayed = np.zeros((taps, 3, 50 + taps - 1))
    for tap in range(taps):
        delayed[tap, :, tap : tap + 50] = signals
    flat = delayed.reshape(3 * taps, -1)
    found = filters.normal_matrix(correlate(signals, 3, taps))
    np.testing.assert_allclose(found, flat @ flat.T, atol=1e-12)


@pytest.mark.parametrize("dense", [0, 10**6])
def test_filters_are_found_again(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator, dense: int
) -> None:
    """Estimates that are filtered references give back the filters."""
    monkeypatch.setattr(filters, "DENSE", dense)
    true = rng.standard_normal((4, 4, 20))
    references = rng.standard_normal((4, 3000))
    estimates = np.stack(
        [
            sum(np.convolve(x, h) for x, h in zip(references, true[:, out], strict=True))
            for out in range(4)
        ]
    )
    padded = np.pad(references, ((0, 0), (0, 19)))
    both = correlate(np.concatenate([padded, estimates]), 4, 20)
    fitted = filters.fit_filters(both, 2)
    assert fitted.solver == "cholesky"
    np.testing.assert_allclose(fitted.every, true, atol=1e-12)
    assert not fitted.own[:2, 2:].any()
    assert not fitted.own[2:, :2].any()


def low_passed(rng: np.random.Generator, cutoff: float, floor: float) -> tuple[Array, Array]:
    """Equations of music-like references, the worse determined the lower both arguments are."""
    sections = butter(6, cutoff, output="sos")
    signals = sosfilt(sections, rng.standard_normal((4, 6000)), axis=-1)
    signals += floor * rng.standard_normal(signals.shape)
    both = correlate(np.concatenate([signals, signals[::-1] ** 2]), 4, 48)
    blocks = both[:, :4].transpose(2, 1, 0).copy()
    return blocks, np.ascontiguousarray(both[:, 4:].transpose(2, 0, 1))


@pytest.mark.parametrize(("cutoff", "floor"), [(0.9, 1e-1), (0.5, 1e-3), (0.3, 1e-5)])
def test_toeplitz_is_as_accurate_as_lapack(
    rng: np.random.Generator, cutoff: float, floor: float
) -> None:
    blocks, right = low_passed(rng, cutoff, floor)
    matrix = filters.normal_matrix(blocks.transpose(2, 1, 0))
    flat = right.reshape(-1, 4)
    solution = toeplitz.solve_toeplitz(blocks, right)
    assert solution is not None
    usual = np.linalg.solve(matrix, flat)
    found = np.linalg.norm(matrix @ solution.reshape(flat.shape) - flat)
    assert found <= 3 * np.linalg.norm(matrix @ usual - flat) + 1e-13 * np.linalg.norm(flat)


def test_toeplitz_refuses_what_is_not_positive_definite(rng: np.random.Generator) -> None:
    blocks, right = low_passed(rng, 0.5, 1e-1)
    assert toeplitz.solve_toeplitz(-blocks, right) is None
    blocks[1] *= 3
    assert toeplitz.solve_toeplitz(blocks, right) is None
    blocks[:] = blocks[:, :1, :1]  # four times the same reference
    assert toeplitz.solve_toeplitz(blocks, right) is None


def test_indefinite_equations_are_left_to_lu(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    monkeypatch.setattr(filters, "DENSE", 0)
    blocks, right = low_passed(rng, 0.5, 1e-1)
    blocks[1] *= 3
    between, onto = blocks.transpose(2, 1, 0).copy(), right.transpose(1, 2, 0)
    found, solver = filters.solve(between, onto)
    assert solver == "lu"
    matrix = filters.normal_matrix(between)
    expected = np.linalg.solve(matrix, right.reshape(-1, 4)).reshape(48, 4, 4)
    np.testing.assert_allclose(found, expected.transpose(1, 2, 0), atol=1e-9)


def test_threads_must_exist() -> None:
    with pytest.raises(ValueError, match="at least one thread"), workers(0):
        pass
