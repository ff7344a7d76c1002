"""What is drawn at random for an excerpt: strengths in, values out, from one or two generators.

The values are applied to whole batches on the training device (`augment.py`); only the choice of
songs and the length that is read depend on them here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FILTER_KNOTS = (60.0, 150.0, 400.0, 1000.0, 2500.0, 5000.0, 9000.0)
"""Frequencies in hertz at which a stem's smooth random filter is drawn."""
LOW_CORNERS, HIGH_CORNERS = (60.0, 500.0), (1500.0, 9000.0)
"""Hertz between which the corners of the random shelves are drawn, evenly over the logarithm."""
BAND_CENTRES, BAND_OCTAVES = (100.0, 8000.0), (0.25, 1.5)
"""The same for the centre of a random band, and for its width in octaves."""


@dataclass(frozen=True)
class Augmentation:
    """How strongly excerpts are changed. All zeros: excerpts as they are in the songs.

    Attributes:
        remix: probability that the stems come from different songs.
        gain_db: standard deviation of the gain of each stem, in decibels.
        level_db: standard deviation of the gain of the whole mix, in decibels.
        swap: probability that left and right are exchanged, in all stems together.
        drop: per stem, the probability that it is left out of the mix.
        prefer_active: probability that an excerpt is one in which a randomly chosen stem plays.
        polarity: probability, per stem, that its sign is flipped.
        equalise: bring the active parts of all stems to one RMS before the other gains.
        width_db: standard deviation of the gain of the whole mix's side signal, in decibels; what
            is centred stays centred.
        filter_db: standard deviation of a stem's smooth random filter at each of FILTER_KNOTS, in
            decibels; both channels get the same.
        speed: a stem is played faster or slower by up to this share, pitch and formants with it;
            the stems of one song keep together.
        gain_range: lowest and highest linear gain of each stem, drawn evenly ((0.25, 1.25) in
            papers 001 and 002), besides gain_db; None draws none.
        equalise_limit: largest linear gain or attenuation of `equalise` (4: 12 dB), so that faint
            stems are not blown up.
        swap_stems: probability, per stem, that its channels are exchanged.
        pan: a stem moves by up to this share of the way to either side, with constant power.
        shelf_db: standard deviation of the gains of a low and a high shelf per stem, in decibels.
        band_db: standard deviation of the gain of one band per stem, in decibels.
        pitch: a stem is shifted by up to this many semitones, its duration kept; the stems of one
            song keep together.
        tempo: a stem is played faster or slower by up to this share, its pitch kept; the stems of
            one song keep together.
    """

    remix: float = 0.0
    gain_db: float = 0.0
    level_db: float = 0.0
    swap: float = 0.0
    drop: dict[str, float] = field(default_factory=dict)
    prefer_active: float = 0.0
    polarity: float = 0.0
    equalise: bool = False
    width_db: float = 0.0
    filter_db: float = 0.0
    speed: float = 0.0
    gain_range: tuple[float, float] | None = None
    equalise_limit: float = 4.0
    swap_stems: float = 0.0
    pan: float = 0.0
    shelf_db: float = 0.0
    band_db: float = 0.0
    pitch: float = 0.0
    tempo: float = 0.0


@dataclass
class Draws:
    """The values drawn for one excerpt; None where nothing of that kind was asked for.

    Attributes:
        remix: whether the stems come from different songs.
        swap: whether the channels of the whole mix are exchanged.
        level: linear gain of the whole mix.
        width: linear gain of the whole mix's side signal.
        gains: (source,), signed linear gain of each stem.
        dropped: bool (source,), stems left out of the mix.
        filters: (source, knot), each stem's smooth filter in decibels at FILTER_KNOTS.
        speeds: (source,), read samples per played sample; 1 leaves pitch and tempo.
        swaps: bool (source,), stems whose own channels are exchanged.
        pan: (source,) in [-1, 1], -1 is hard left.
        shelves: (source, 4): gain in decibels and corner in hertz of the low, then the high shelf.
        bands: (source, 3): gain in decibels, centre in hertz, width in octaves.
        pitch: (source,) in semitones.
        tempo: (source,), 1 leaves it, 2 plays twice as fast.
    """

    remix: bool
    swap: bool
    level: float
    width: float
    gains: Floats
    dropped: NDArray[np.bool_]
    filters: Floats
    speeds: Floats
    swaps: NDArray[np.bool_] | None = None
    pan: Floats | None = None
    shelves: Floats | None = None
    bands: Floats | None = None
    pitch: Floats | None = None
    tempo: Floats | None = None

    def keep_together(self) -> None:
        """Give all stems the speed, pitch and tempo of the first: they are of one song."""
        for values in (self.speeds, self.pitch, self.tempo):
            if values is not None:
                values[:] = values[0]

    def leave_stems(self) -> None:
        """Undo every change of single stems, for a song whose stems are not all known."""
        self.gains, self.filters = np.ones_like(self.gains), np.zeros_like(self.filters)
        self.speeds = np.ones_like(self.speeds)
        self.dropped = np.zeros_like(self.dropped)
        self.swaps = self.pan = self.shelves = self.bands = self.pitch = self.tempo = None


class Drawer:
    """Draws the values of excerpts, always in the same order, used or not.

    Switching one augmentation off so leaves the other draws of the same excerpt as they were.
    """

    def __init__(self, augmentation: Augmentation, sources: tuple[str, ...]) -> None:
        self.augmentation = augmentation
        self._count = len(sources)
        self._drop = np.array([augmentation.drop.get(source, 0.0) for source in sources])
        one = augmentation
        more = (one.swap_stems, one.pan, one.shelf_db, one.band_db, one.pitch, one.tempo)
        self._more = one.gain_range is not None or any(more)

    def draw(self, rng: np.random.Generator, again: Sequence[int]) -> Draws:
        """The values of an excerpt.

        rng: its first generator. again: the seed of its second one, which is made when needed.
        """
        strength, count = self.augmentation, self._count
        remix = rng.random() < strength.remix
        swap = bool(rng.random() < strength.swap)
        level = _linear(strength.level_db, rng.standard_normal())
        gains = _linear(strength.gain_db, rng.standard_normal(count))
        signs = rng.random(count) < strength.polarity
        dropped = rng.random(count) < self._drop
        width = _linear(strength.width_db, rng.standard_normal())
        filters = strength.filter_db * rng.standard_normal((count, len(FILTER_KNOTS)))
        # Generator.uniform gives the same numbers in twice the time
        speeds = rng.random(count)
        speeds = 1.0 + strength.speed * (-1.0 + 2.0 * speeds) if strength.speed else np.ones(count)
        if strength.polarity:
            gains[signs] *= -1.0
        draws = Draws(remix, swap, float(level), float(width), gains, dropped, filters, speeds)
        if self._more:
            self._draw_more(draws, np.random.default_rng(again))
        return draws

    def _draw_more(self, draws: Draws, rng: np.random.Generator) -> None:
        strength, count = self.augmentation, self._count
        even = rng.uniform(0.0, 1.0, count)
        swaps = rng.random(count) < strength.swap_stems
        pan = strength.pan * rng.uniform(-1.0, 1.0, count)
        shelves = strength.shelf_db * rng.standard_normal((count, 2))
        corners = rng.random((count, 2))
        band, at, width = strength.band_db * rng.standard_normal(count), *rng.random((2, count))
        pitch = strength.pitch * rng.uniform(-1.0, 1.0, count)
        tempo = 1.0 + strength.tempo * rng.uniform(-1.0, 1.0, count)
        if strength.gain_range is not None:
            low, high = strength.gain_range
            draws.gains *= low + (high - low) * even
        if strength.shelf_db:
            low_corners = _between(LOW_CORNERS, corners[:, 0])
            high_corners = _between(HIGH_CORNERS, corners[:, 1])
            draws.shelves = np.stack(
                [shelves[:, 0], low_corners, shelves[:, 1], high_corners], axis=1
            )
        if strength.band_db:
            octaves = BAND_OCTAVES[0] + (BAND_OCTAVES[1] - BAND_OCTAVES[0]) * width
            draws.bands = np.stack([band, _between(BAND_CENTRES, at), octaves], axis=1)
        draws.swaps = swaps if strength.swap_stems else None
        draws.pan = pan if strength.pan else None
        draws.pitch = pitch if strength.pitch else None
        draws.tempo = tempo if strength.tempo else None


def _linear(strength: float, normal: Any) -> Any:
    """Linear gains of normal numbers times a strength in decibels."""
    if not strength:
        return np.ones(np.shape(normal)) if np.ndim(normal) else 1.0
    return 10 ** (strength * normal / 20)


def _between(bounds: tuple[float, float], share: Floats) -> Floats:
    """Values between two bounds, even over the logarithm for shares that are even in [0, 1)."""
    low, high = np.log(bounds)
    values: Floats = np.exp(low + (high - low) * share)
    return values
