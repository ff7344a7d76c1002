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

Real = npt.NDArray[np.float64]

TABLE_RATE = 48000
SHELF = (
    (1.53512485958697, -2.69169618940638, 1.19839281085285),
    (1.0, -1.69065929318241, 0.73248077421585),
)
"""Table 1 of the standard: numerator and denominator at 48 kHz."""
HIGH_PASS = ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621))
"""Table 2 of the standard."""
OFFSET = -0.691
ABSOLUTE_GATE = -70.0
RELATIVE_GATE = -10.0
SLOWEST = 4000
"""Sample rates below this cannot hold the shelf."""


def integrated_loudness(signal: npt.ArrayLike, sample_rate: float) -> float:
    """Loudness in LUFS of (channel, sample) or (sample,); -inf for silence. See the module.

    Raises EvaluationError for more than two channels, no samples, NaN or infinite ones, and sample
    rates below 4 kHz.
    """
    samples = validate(signal, sample_rate)
    power = _block_powers(k_weighted(samples, sample_rate), round(0.1 * sample_rate))
    with np.errstate(divide="ignore"):
        loud = power[OFFSET + 10 * np.log10(power) > ABSOLUTE_GATE]
        if not loud.size:
            return float("-inf")
        gate = OFFSET + 10 * np.log10(loud.mean()) + RELATIVE_GATE
        loud = loud[OFFSET + 10 * np.log10(loud) > gate]
    return float(OFFSET + 10 * np.log10(loud.mean()))


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
        b, a = _at_rate(numerator, denominator, sample_rate)
        samples = filtering.lfilter(b, a, samples, axis=-1)
    return samples


def _at_rate(
    numerator: tuple[float, float, float], denominator: tuple[float, float, float], rate: float
) -> tuple[Real, Real]:
    """A second-order filter of the tables at another sample rate.

    The standard prints 48 kHz only and asks for the same response elsewhere. The bilinear
    transform leads back to the analogue filter in p = (z - 1) / (z + 1); its corner, where the
    denominator's outer terms weigh the same, is put at the same frequency at the new rate.
    """
    if rate == TABLE_RATE:
        return np.asarray(numerator), np.asarray(denominator)
    # z = (1 + p) / (1 - p), times (1 - p)^2: rows are z^0, z^-1, z^-2, columns p^0, p^1, p^2
    to_analogue = np.array([[1.0, 2.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]])
    above, below = np.asarray(numerator) @ to_analogue, np.asarray(denominator) @ to_analogue
    corner = np.sqrt(below[0] / below[2])  # tan(pi frequency / 48 kHz)
    moved = np.tan(np.arctan(corner) * TABLE_RATE / rate)
    stretch = (corner / moved) ** np.arange(3)
    # the matrix is its own inverse but for a factor of 4, which cancels
    b, a = (above * stretch) @ to_analogue, (below * stretch) @ to_analogue
    return b / a[0], a / a[0]


def _block_powers(weighted: Real, hop: int) -> Real:
    """Sum over channels of the mean square of every block of four hops."""
    squares = np.square(weighted).sum(axis=0)
    hops = squares.size // hop
    if hops < 4:
        return np.asarray([squares.mean()])
    sums = squares[: hops * hop].reshape(hops, hop).sum(axis=1)
    return np.convolve(sums, np.ones(4), mode="valid") / (4 * hop)
