"""Integrated loudness after ITU-R BS.1770-4 of recordings that stream by, of up to eight channels.

`stemwise.evaluation.loudness` scores short arrays by the same filters and gates, and adds rules for
windows; here whole songs are metered block by block, and nothing is said where the standard says
nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]

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
_SURROUND = 1.41
WEIGHTS: dict[int, tuple[float, ...]] = {
    1: (1.0,),
    2: (1.0, 1.0),
    3: (1.0, 1.0, 1.0),  # L R C
    4: (1.0, 1.0, _SURROUND, _SURROUND),  # L R Ls Rs
    5: (1.0, 1.0, 1.0, _SURROUND, _SURROUND),  # L R C Ls Rs
    6: (1.0, 1.0, 1.0, 0.0, _SURROUND, _SURROUND),  # L R C LFE Ls Rs
    7: (1.0, 1.0, 1.0, 0.0, 1.0, _SURROUND, _SURROUND),  # L R C LFE back Lss Rss
    8: (1.0, 1.0, 1.0, 0.0, 1.0, 1.0, _SURROUND, _SURROUND),  # L R C LFE Lb Rb Lss Rss
}
"""Weight of each channel by their number, in the order of WAV and FLAC (tables 3 and 4).

Speakers at 60 to 120 degrees count 1.41 times, low-frequency effects not at all.
"""
_HOPS = 4  # blocks of 400 ms start every 100 ms


class LoudnessMeter:
    """Collects the loudness of a recording from blocks (channel, sample), full scale at one.

    channels: 1 to 8, in the order of WAV and FLAC; one channel counts once, so that a mono
    recording is 3 dB softer than the same signal in two channels. Raises ValueError for others.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        if channels not in WEIGHTS:
            raise ValueError(f"expected 1 to {max(WEIGHTS)} channels, not {channels}")
        self._measurable = sample_rate >= SLOWEST
        self._hop = round(0.1 * sample_rate)
        self._weights = np.asarray(WEIGHTS[channels])
        self._energies: list[NDArray[np.float64]] = []  # of whole hops
        self._rest = np.zeros(0)  # weighted squares of the hop that has begun
        if self._measurable:
            stages = [np.concatenate(at_rate(*one, sample_rate)) for one in (SHELF, HIGH_PASS)]
            self._sections = np.stack(stages)
            self._state = np.zeros((len(stages), channels, 2))

    def add(self, block: NDArray[np.float32]) -> None:
        """Take the next block (channel, sample)."""
        from scipy.signal import sosfilt

        if not self._measurable or not block.shape[1]:
            return
        weighted, self._state = sosfilt(self._sections, block, axis=-1, zi=self._state)
        np.square(weighted, out=weighted)
        squares = np.concatenate([self._rest, self._weights @ weighted])
        whole = squares.size // self._hop * self._hop
        self._energies.append(squares[:whole].reshape(-1, self._hop).sum(axis=1))
        self._rest = squares[whole:].copy()

    def loudness(self) -> float | None:
        """Integrated loudness in LUFS of what was added (BS.1770-4, equations 5 to 7).

        None where there is none: nothing above -70 LUFS, less than 400 ms, or a sample rate below
        4 kHz, which cannot hold the weighting.
        """
        hops = np.concatenate([np.zeros(0), *self._energies])
        if hops.size < _HOPS:
            return None
        powers = np.convolve(hops, np.ones(_HOPS), mode="valid") / (_HOPS * self._hop)
        return gated(powers)


def gated(powers: Real) -> float | None:
    """Loudness in LUFS of weighted powers (block,), equations 5 to 7; None where all are silent."""
    loud = powers[powers > 10 ** ((ABSOLUTE_GATE - OFFSET) / 10)]
    if not loud.size:
        return None
    loud = loud[loud > loud.mean() * 10 ** (RELATIVE_GATE / 10)]
    return float(OFFSET + 10 * np.log10(loud.mean()))


def at_rate(
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
