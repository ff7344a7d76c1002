"""Integrated loudness after ITU-R BS.1770-4 of recordings that stream by, of up to eight channels.

The same measure as `stemwise.evaluation.loudness`, whose filters it shares: that one scores short
arrays of one or two channels and has rules for windows, this one meters whole songs block by block
and says nothing where the standard says nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stemwise.evaluation.loudness import (
    ABSOLUTE_GATE,
    HIGH_PASS,
    OFFSET,
    RELATIVE_GATE,
    SHELF,
    SLOWEST,
    _at_rate,
)

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
            stages = [np.concatenate(_at_rate(*one, sample_rate)) for one in (SHELF, HIGH_PASS)]
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
        loud = powers[powers > _power(ABSOLUTE_GATE)]
        if not loud.size:
            return None
        loud = loud[loud > loud.mean() * 10 ** (RELATIVE_GATE / 10)]
        return float(OFFSET + 10 * np.log10(loud.mean()))


def _power(loudness: float) -> float:
    """Weighted mean square of a loudness in LUFS (equation 4)."""
    return float(10 ** ((loudness - OFFSET) / 10))
