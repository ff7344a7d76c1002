"""References and estimates as arrays: checked once, in front of every metric."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stemwise.errors import EvaluationError

Real = npt.NDArray[np.float64]


def waveforms(given: npt.ArrayLike, name: str) -> Real:
    """float64 (source, channel, sample) of that or (source, sample), which is one channel.

    Raises EvaluationError, calling the array `name`, for any other shape or type, for an empty
    one, and for NaN and infinities.
    """
    array = np.asarray(given)
    if array.ndim not in (2, 3) or not np.issubdtype(array.dtype, np.number):
        raise EvaluationError(
            f"The {name} must be numbers (source, channel, sample) or (source, sample), not "
            f"{array.dtype} of shape {array.shape}."
        )
    if np.iscomplexobj(array):
        raise EvaluationError(f"The {name} are complex: give waveforms, not spectra.")
    if not array.size:
        raise EvaluationError(f"The {name} are empty: their shape is {array.shape}.")
    if not np.isfinite(array).all():
        raise EvaluationError(f"The {name} hold NaN or infinite samples.")
    real = array.astype(np.float64, copy=False)
    return real[:, np.newaxis] if real.ndim == 2 else real


def paired(references: npt.ArrayLike, estimates: npt.ArrayLike) -> tuple[Real, Real]:
    """Both as `waveforms`; raises EvaluationError where their shapes differ."""
    true, found = waveforms(references, "references"), waveforms(estimates, "estimates")
    if true.shape != found.shape:
        raise EvaluationError(
            f"References of shape {true.shape} and estimates of shape {found.shape} cannot be "
            "compared: give both the same sources, channels and samples."
        )
    return true, found


def silent(signals: Real) -> npt.NDArray[np.bool_]:
    """BSS Eval's silence of (source, channel, sample): is the sum over channels zero throughout?"""
    quiet: npt.NDArray[np.bool_] = ~np.any(signals.sum(axis=1) != 0, axis=-1)
    return quiet
