"""Estimates by someone who knows the answer: upper and lower bounds for separation.

Each oracle filters the mixture's short-time spectrum by what the references say and keeps the
mixture's phase. Names and definitions follow the oracles of SiSEC 2018 (Stoeter et al. 2018), with
transforms of 2048 samples and hop 1024 as there; X is the mixture, Y_j a source, per channel:

    ibm      1 where |Y_j|^a >= theta |X|^a, else 0 (ideal binary mask; a = 1, theta = 0.5)
    irm      |Y_j|^a / sum_k |Y_k|^a (ideal ratio mask; a = 2, or 1 for SiSEC's IRM1)
    iam      min(|Y_j| / |X|, 10) (ideal amplitude mask; Kadandale et al. 2020)
    mwf      multichannel Wiener filter: all channels jointly, source covariances v_j(f, t) R_j(f)
    mixture  the mixture itself, for the input SDR
    equal    the mixture divided by the number of sources

Where the mixture, or all sources, are zero, a mask is 0, so that silence stays silence. The masks
of "irm", "mwf" and "equal" sum to the mixture.

Memory: references and estimates as float64, the mixture, one weight per sample, and spectra of 32
frames at a time, 30 MB for four stereo sources at any length.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from stemwise.errors import EvaluationError, hint
from stemwise.evaluation.arrays import waveforms
from stemwise.evaluation.spectra import Complex, Grid, Synthesis

Real: TypeAlias = npt.NDArray[np.float64]

N_FFT = 2048
HOP = 1024
LARGEST_MASK = 10.0
"""Where the ideal amplitude mask is cut off."""
EPS = float(np.finfo(np.float64).eps)

Separate = Callable[[Complex, Complex], Complex]
"""Spectra of sources (source, channel, frame, bin) and mixture to those of the estimates."""


def oracle(
    name: str,
    references: npt.ArrayLike,
    sample_rate: float | None = None,
    *,
    mixture: npt.ArrayLike | None = None,
    n_fft: int = N_FFT,
    hop: int = HOP,
    exponent: float | None = None,
    threshold: float = 0.5,
) -> Real:
    """Estimates of the same shape as `references`, (source, channel, sample) or (source, sample).

    `mixture` (channel, sample) or (sample,): default the sum of the references. `exponent`: a of
    "ibm" and "irm". `threshold`: theta of "ibm". `sample_rate` in Hz changes nothing: transforms
    are in samples, as published. Any length works, also one shorter than a frame. Raises
    EvaluationError for an unknown name, a mixture of another shape, or settings that make no mask.
    """
    if name not in ORACLES:
        raise EvaluationError(f"There is no oracle {name!r}: {hint(name, ORACLES)}")
    true = waveforms(references, "references")
    if sample_rate is not None and not sample_rate > 0:
        raise EvaluationError(f"A sample rate of {sample_rate} Hz is no sample rate.")
    if exponent is not None and not 0 < exponent < np.inf:
        raise EvaluationError(f"A mask cannot have the exponent {exponent}: take one above 0.")
    mixed = _mixture(true, mixture)
    if name in ("mixture", "equal"):
        share = mixed if name == "mixture" else mixed / len(true)
        estimates = np.repeat(share[np.newaxis], len(true), axis=0)
    else:
        grid = Grid(true.shape[-1], n_fft, hop)
        separate = _separator(name, true, grid, exponent, threshold)
        estimates = _resynthesised(true, mixed, grid, separate)
    return np.asarray(estimates.reshape(np.shape(references)))


ORACLES = ("ibm", "irm", "iam", "mwf", "mixture", "equal")


def _mixture(true: Real, mixture: npt.ArrayLike | None) -> Real:
    if mixture is None:
        return np.asarray(true.sum(axis=0))
    mixed = np.asarray(mixture)
    mixed = mixed[np.newaxis] if mixed.ndim == 1 else mixed
    if mixed.shape != true.shape[1:]:
        raise EvaluationError(
            f"A mixture of shape {mixed.shape} does not belong to references of shape {true.shape}."
        )
    return np.asarray(waveforms(mixed[np.newaxis], "mixture")[0])


def _separator(
    name: str, true: Real, grid: Grid, exponent: float | None, threshold: float
) -> Separate:
    if name == "ibm":
        power = 1.0 if exponent is None else exponent
        return lambda sources, mixture: _binary(sources, mixture, power, threshold)
    if name == "irm":
        power = 2.0 if exponent is None else exponent
        return lambda sources, mixture: _ratio(sources, mixture, power)
    if name == "iam":
        return _amplitude
    covariances = _spatial_covariances(true, grid)
    return lambda sources, mixture: _wiener(sources, mixture, covariances)


def _resynthesised(true: Real, mixed: Real, grid: Grid, separate: Separate) -> Real:
    """Cut into frames, separate and add up again, chunk after chunk."""
    synthesis = Synthesis(grid, true.shape[:-1])
    for first, last in grid.chunks():
        sources, mixture = grid.forward(true, first, last), grid.forward(mixed, first, last)
        synthesis.add(separate(sources, mixture), first)
    return synthesis.finish()


def _binary(sources: Complex, mixture: Complex, exponent: float, threshold: float) -> Complex:
    wanted = np.abs(sources) ** exponent >= threshold * np.abs(mixture) ** exponent
    return np.where(wanted & (mixture != 0), mixture, 0)


def _ratio(sources: Complex, mixture: Complex, exponent: float) -> Complex:
    parts = np.abs(sources)
    # relative to the largest, or a high exponent would underflow to 0 / 0
    largest = parts.max(axis=0)
    parts = np.divide(parts, largest, where=largest > 0, out=np.zeros_like(parts)) ** exponent
    total = parts.sum(axis=0)
    masks = np.divide(parts, total, where=total > 0, out=np.zeros_like(parts))
    masked: Complex = masks * mixture
    return masked


def _amplitude(sources: Complex, mixture: Complex) -> Complex:
    level, mixed = np.abs(sources), np.broadcast_to(np.abs(mixture), sources.shape)
    masks = np.divide(level, mixed, where=mixed > 0, out=np.zeros_like(level))
    masked: Complex = np.minimum(masks, LARGEST_MASK) * mixture
    return masked


def _spatial_covariances(true: Real, grid: Grid) -> Complex:
    """R_j (source, bin, channel, channel): mean over time of y y^H relative to its mean power.

    Scaled to a trace of the number of channels, plus a trifle on the diagonal, so that it can be
    inverted; frames in which a source is silent do not count.
    """
    sources, channels, _ = true.shape
    total = np.zeros((sources, grid.n_fft // 2 + 1, channels, channels), np.complex128)
    for first, last in grid.chunks():
        y = grid.forward(true, first, last)
        power = np.mean(np.square(np.abs(y)), axis=1, keepdims=True)
        white = np.divide(y, np.sqrt(power), where=power > 0, out=np.zeros_like(y))
        total += np.einsum("sctf,sdtf->sfcd", white, white.conj())
    trace = np.einsum("sfcc->sf", total).real[..., np.newaxis, np.newaxis]
    scaled = np.divide(total * channels, trace, where=trace > 0, out=np.zeros_like(total))
    return np.asarray(scaled + _LEAST * np.eye(channels))


_LEAST = 1e-10
"""Diagonal that keeps covariances of rank one (a mono source in two channels) invertible."""


def _wiener(sources: Complex, mixture: Complex, covariances: Complex) -> Complex:
    """v_j R_j (sum_k v_k R_k)^-1 x, where v_j = y_j^H R_j^-1 y_j / channels is the power of y_j."""
    channels = mixture.shape[0]
    y = sources.transpose(0, 3, 2, 1)[..., np.newaxis]  # (source, bin, frame, channel, 1)
    inverse = np.linalg.inv(covariances)[:, :, np.newaxis]
    power = (y.conj() * (inverse @ y)).sum(axis=(-2, -1)).real / channels
    spread = np.maximum(power, 0)[..., np.newaxis, np.newaxis] * covariances[:, :, np.newaxis]
    total = spread.sum(axis=0)
    level = np.einsum("ftcc->ft", total).real[..., np.newaxis, np.newaxis] / channels
    # relative to the level, so that quiet frames are filtered as loud ones are
    total = np.divide(total, level, where=level > 0, out=np.zeros_like(total))
    spread = np.divide(spread, level, where=level > 0, out=np.zeros_like(spread))
    total += np.where(level > 0, EPS, 1.0) * np.eye(channels)
    x = mixture.transpose(2, 1, 0)[..., np.newaxis]
    images = spread @ np.linalg.solve(total, x)
    return np.asarray(images[..., 0].transpose(0, 3, 2, 1))
