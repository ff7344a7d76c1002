"""How loud a signal is and when, measured in one pass over its blocks.

What the statistics of data sets, RMS equalisation and the choice of non-silent excerpts need:
mean squares per 0.1 s, peak, the 10 ms rule for active vocals, and loudness after BS.1770.
"""

from __future__ import annotations

from math import log10, pi, tan

import numpy as np
from numpy.typing import NDArray

from stemwise.activity import loud_windows
from stemwise.data.store_manifest import Level, block_starts

PER_SECOND = 10
"""Blocks per second of mean squares."""
ACTIVE_FLOOR = 1e-3
"""Blocks below this RMS (-60 dBFS) count as silent."""

# ITU-R BS.1770-4: 400 ms gating blocks every 100 ms, gates at -70 LUFS and 10 LU below the rest
_GATING = 4
_ABSOLUTE_GATE, _RELATIVE_GATE = -70.0, -10.0
_OFFSET = -0.691


class LevelMeter:
    """Takes a song's signal in pieces of whole seconds (the last may be shorter).

    Its filters make `loudness` take longer than all else.
    """

    def __init__(self, name: str, sample_rate: int, *, loudness: bool = True) -> None:
        self.name, self.sample_rate, self._loudness = name, sample_rate, loudness
        self._powers: list[NDArray[np.float64]] = []
        self._weighted: list[NDArray[np.float64]] = []
        self._loud = self._windows = 0
        self._peak, self._square, self._samples = 0.0, 0.0, 0
        self._filter = _k_weighting(sample_rate)
        self._state = np.zeros((len(self._filter), 2, 2))

    def add(self, stereo: NDArray[np.float32]) -> None:
        """Append (2, sample), a whole number of seconds but for the last piece."""
        if self._samples % self.sample_rate:
            raise ValueError("only the last piece may end within a second")
        exact = stereo.astype(np.float64)
        starts = block_starts(stereo.shape[1], self.sample_rate, PER_SECOND)
        lengths = np.diff(starts, append=stereo.shape[1])
        sums = np.add.reduceat(np.square(exact).sum(axis=0), starts)
        self._powers.append(sums / (2 * lengths))
        if self._loudness:
            from scipy.signal import sosfilt  # takes a second, and few need it

            weighted, self._state = sosfilt(self._filter, exact, axis=1, zi=self._state)
            # BS.1770 adds the channels up instead of taking their mean
            squares = np.square(weighted).sum(axis=0)
            self._weighted.append(np.add.reduceat(squares, starts) / lengths)
        loud = loud_windows(stereo, self.sample_rate)
        self._loud, self._windows = self._loud + int(loud.sum()), self._windows + len(loud)
        self._peak = max(self._peak, float(np.abs(stereo).max()))
        self._square += float(sums.sum())
        self._samples += stereo.shape[1]

    @property
    def powers(self) -> NDArray[np.float32]:
        """Mean square of every 0.1 s block, over both channels."""
        return np.concatenate(self._powers).astype(np.float32)

    def level(self) -> Level:
        """The summary of all that was added."""
        powers = np.concatenate(self._powers)
        active = powers[powers > ACTIVE_FLOOR**2]
        return Level(
            name=self.name,
            rms=_rounded((self._square / (2 * self._samples)) ** 0.5),
            peak=_rounded(self._peak),
            active=_rounded(len(active) / len(powers)),
            active_rms=_rounded(float(np.sqrt(active.mean()))) if len(active) else None,
            loud=_rounded(self._loud / self._windows),
            loudness=integrated_loudness(np.concatenate(self._weighted or [np.zeros(1)])),
        )


def _rounded(value: float) -> float:
    # sums of other lengths or processors must not differ in the last digits
    return float(f"{value:.9g}")


def integrated_loudness(weighted: NDArray[np.float64]) -> float | None:
    """Integrated loudness in LUFS of K-weighted powers per 0.1 s block; None below the gate.

    ITU-R BS.1770-4, section "Gating"; songs shorter than 400 ms are one gating block.
    """
    width = min(_GATING, len(weighted))
    blocks = np.convolve(weighted, np.full(width, 1 / width), "valid")
    loud = blocks[blocks > _power(_ABSOLUTE_GATE)]
    if not len(loud):
        return None
    gate = _OFFSET + 10 * log10(loud.mean()) + _RELATIVE_GATE
    loud = loud[loud > _power(gate)]
    return round(_OFFSET + 10 * log10(loud.mean()), 4)


def _power(loudness: float) -> float:
    return float(10 ** ((loudness - _OFFSET) / 10))


def _k_weighting(sample_rate: int) -> NDArray[np.float64]:
    """The two filters of BS.1770 as second-order sections, for any sample rate.

    The standard gives coefficients for 48 kHz only; these analogue parameters reproduce them.
    """
    k, q = tan(pi * 1681.974450955533 / sample_rate), 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    band = high**0.4996667741545416
    shelf = [
        high + band * k / q + k * k,
        2 * (k * k - high),
        high - band * k / q + k * k,
        1 + k / q + k * k,
        2 * (k * k - 1),
        1 - k / q + k * k,
    ]
    k, q = tan(pi * 38.13547087602444 / sample_rate), 0.5003270373238773
    rumble = [1.0, -2.0, 1.0, 1 + k / q + k * k, 2 * (k * k - 1), 1 - k / q + k * k]
    sections = np.array([shelf, rumble])
    sections[0] /= sections[0, 3]
    sections[1, 3:] /= sections[1, 3]
    return np.asarray(sections)
