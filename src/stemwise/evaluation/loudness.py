"""Integrated loudness after ITU-R BS.1770-4, for one or two channels.

An own implementation, not pyloudnorm: its default filters are not the standard's, it refuses
signals shorter than 400 ms and warns on silence, and windows of one second need rules for both.

Definition. Both channels pass the K-weighting (a shelf of +4 dB above 1.7 kHz, a high-pass at
38 Hz); the loudness of a block is -0.691 + 10 log10 of the sum over channels of its mean square.
Blocks of 400 ms start every 100 ms (rounded to samples); an incomplete last one is left out.
Those above -70 LUFS give a first mean, and those more than 10 LU above nothing less than this
mean the result, in LUFS. One channel counts once, so that a mono file is 3 dB softer than the same
signal in both channels.

Silence: a signal with no block above -70 LUFS has a loudness of -inf. A signal shorter than one
block is one block.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import signal as filtering

from stemwise.errors import EvaluationError
from stemwise.loudness import HIGH_PASS, SHELF, SLOWEST, at_rate, gated

Real = npt.NDArray[np.float64]


def integrated_loudness(signal: npt.ArrayLike, sample_rate: float) -> float:
    """Loudness in LUFS of (channel, sample) or (sample,); -inf for silence. See the module.

    Raises EvaluationError for more than two channels, no samples, NaN or infinite ones, and sample
    rates below 4 kHz.
    """
    samples = validate(signal, sample_rate)
    powers = _block_powers(k_weighted(samples, sample_rate), round(0.1 * sample_rate))
    loudness = gated(powers)
    return float("-inf") if loudness is None else loudness


def validate(signal: npt.ArrayLike, sample_rate: float) -> Real:
    """The signal as float64 (channel, sample); raises EvaluationError."""
    samples = np.atleast_2d(np.asarray(signal, np.float64))
    if samples.ndim != 2 or not samples.size or samples.shape[0] > 2:
        raise EvaluationError(
            "Loudness is measured of one or two channels (channel, sample) with samples, not of "
            f"shape {samples.shape}."
        )
    if not np.isfinite(samples).all():
        raise EvaluationError("Loudness cannot be measured: the signal holds NaN or infinities.")
    if not SLOWEST <= sample_rate < np.inf:
        raise EvaluationError(
            f"Loudness cannot be measured at {sample_rate} Hz: the least is {SLOWEST} Hz."
        )
    return samples


def k_weighted(samples: Real, sample_rate: float) -> Real:
    """(channel, sample) through both filters, from rest."""
    for numerator, denominator in (SHELF, HIGH_PASS):
        b, a = at_rate(numerator, denominator, sample_rate)
        samples = filtering.lfilter(b, a, samples, axis=-1)
    return samples


def _block_powers(weighted: Real, hop: int) -> Real:
    """Sum over channels of the mean square of every block of four hops."""
    squares = np.square(weighted).sum(axis=0)
    hops = squares.size // hop
    if hops < 4:
        return np.asarray([squares.mean()])
    sums = squares[: hops * hop].reshape(hops, hop).sum(axis=1)
    return np.convolve(sums, np.ones(4), mode="valid") / (4 * hop)
