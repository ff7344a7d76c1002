"""Random excerpts for training, each a pure function of (seed, index).

Excerpt i never depends on how many threads read, nor on where a run was interrupted: batch t of
batch size B is excerpts t * B ... t * B + B - 1. Reading and drawing happen here (NumPy, CPU);
applying the drawn gains and swaps to the samples happens on the training device (`augment.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import soxr

from stemwise.data.track import Song

_TARGET_LEVEL = 0.1  # linear RMS that `equalise` brings a stem's active parts to
_EQUALISE_LIMIT = 4.0  # largest gain or attenuation (12 dB): faint stems are not blown up
_ACTIVE = 0.5  # label probability above which a frame counts as active
FILTER_KNOTS = (60.0, 150.0, 400.0, 1000.0, 2500.0, 5000.0, 9000.0)
"""Frequencies in hertz at which a stem's random filter is drawn."""


@dataclass(frozen=True)
class Augmentation:
    """What is drawn at random for an excerpt. All zeros: excerpts as they are in the songs.

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


@dataclass
class Excerpt:
    """One excerpt before its gains are applied.

    Attributes:
        stems: float32 (source, channel, sample); zeros where a stem is unknown or dropped.
        rest: float32 (channel, sample), what the mixture holds besides the known stems; None
            where the stems are the whole mixture.
        supervised: bool (source,), whether the stem is known.
        activity: float32 (activity source, frame), 1 while the source plays; frame i is centred
            at sample i * hop.
        activity_known: bool (activity source,).
        gains: float32 (source,), signed linear gain of each stem; 0 for a dropped one.
        level: linear gain of the whole mix.
        swap: whether the channels are exchanged.
        width: linear gain of the whole mix's side signal.
        filters: float32 (source, knot), each stem's filter in decibels at FILTER_KNOTS.
        origin: "track@seconds" of every song that was read, for error messages.
    """

    stems: np.ndarray
    rest: np.ndarray | None
    supervised: np.ndarray
    activity: np.ndarray
    activity_known: np.ndarray
    gains: np.ndarray
    level: float
    swap: bool
    width: float
    filters: np.ndarray
    origin: tuple[str, ...]


class Sampler:
    """Draws excerpts of a fixed length from tracks.

    Args:
        tracks: songs of one sample rate, each at least `samples` long.
        sources: order of the stems.
        activity_sources: order of the activity labels.
        samples: excerpt length.
        hop: samples per activity frame.
        seed: stream of excerpts; other seeds give other excerpts.
    """

    def __init__(
        self,
        tracks: Sequence[Song],
        sources: Sequence[str],
        activity_sources: Sequence[str],
        samples: int,
        hop: int,
        seed: int,
        augmentation: Augmentation | None = None,
    ) -> None:
        self.tracks = list(tracks)
        self.sources = tuple(sources)
        self.activity_sources = tuple(activity_sources)
        self.samples = samples
        self.hop = hop
        self.seed = seed
        self.augmentation = augmentation or Augmentation()
        self._with_source = {s: [t for t in self.tracks if s in t.stems] for s in self.sources}

    @property
    def frames(self) -> int:
        """Activity frames of an excerpt: one at its first sample, then one per hop."""
        return self.samples // self.hop + 1

    def excerpt(self, index: int) -> Excerpt:
        """Excerpt number `index` (>= 0) of this sampler's stream."""
        rng = np.random.default_rng([self.seed, index])
        augmentation = self.augmentation
        # Every random number is drawn whether used or not, so that switching one augmentation
        # off leaves the other draws of the same index as they were.
        count = len(self.sources)
        remix = rng.random() < augmentation.remix
        swap = bool(rng.random() < augmentation.swap)
        level = float(10 ** (augmentation.level_db * rng.standard_normal() / 20))
        gains = 10 ** (augmentation.gain_db * rng.standard_normal(count) / 20)
        signs = np.where(rng.random(count) < augmentation.polarity, -1.0, 1.0)
        drops = np.array([augmentation.drop.get(source, 0.0) for source in self.sources])
        dropped = rng.random(count) < drops
        width = float(10 ** (augmentation.width_db * rng.standard_normal() / 20))
        filters = augmentation.filter_db * rng.standard_normal((count, len(FILTER_KNOTS)))
        speeds = 1.0 + augmentation.speed * rng.uniform(-1.0, 1.0, count)
        song = self.tracks[int(rng.integers(len(self.tracks)))]
        whole = all(source in song.stems for source in self.sources)
        if whole:
            if not remix:
                speeds[:] = speeds[0]
            origins = self._draw_origins(song, remix, speeds, rng)
            excerpt = self._from_stems(origins, dropped, speeds)
        else:  # what is missing can neither be remixed, filtered nor left out of the mix
            gains, signs, filters = np.ones(count), np.ones(count), np.zeros_like(filters)
            excerpt = self._from_mixture(song, self._draw_start(song, None, self.samples, rng))
            origins = []
        if augmentation.equalise:
            gains = (
                gains
                * [
                    _equaliser(track, source) if not out else 1.0
                    for (track, _), source, out in zip(origins, self.sources, dropped, strict=True)
                ]
                if whole
                else gains
            )
        excerpt.gains = np.where(dropped & whole, 0.0, gains * signs).astype(np.float32)
        excerpt.level = level
        excerpt.swap = swap
        excerpt.width = width
        excerpt.filters = filters.astype(np.float32)
        return excerpt

    def _read_length(self, track: Song, speed: float) -> int:
        """Samples of a track that make an excerpt at `speed`; all of them where it is shorter."""
        return min(track.samples, round(self.samples * speed))

    def _draw_origins(
        self, song: Song, remix: bool, speeds: np.ndarray, rng: np.random.Generator
    ) -> list[tuple[Song, int]]:
        """Song and start of every stem: the same for all, or one of its own each for a remix."""
        if not remix:
            length = self._read_length(song, speeds[0])
            return [(song, self._draw_start(song, None, length, rng))] * len(self.sources)
        origins: list[tuple[Song, int]] = []
        for source, speed in zip(self.sources, speeds, strict=True):
            choices = self._with_source[source]
            track = choices[int(rng.integers(len(choices)))]
            length = self._read_length(track, speed)
            origins.append((track, self._draw_start(track, source, length, rng)))
        return origins

    def _draw_start(
        self, track: Song, source: str | None, length: int, rng: np.random.Generator
    ) -> int:
        """A random start; with probability `prefer_active` of an excerpt in which a stem plays."""
        last = track.samples - length
        start = int(rng.integers(last + 1))
        prefer = rng.random() < self.augmentation.prefer_active
        choice, position = rng.random(2)
        labels = track.labels
        if not prefer or labels is None:
            return start
        if source is None:
            source = self.sources[int(choice * len(self.sources))]
        if source not in labels.sources:
            return start
        active = np.flatnonzero(labels.probabilities[labels.sources.index(source)] > _ACTIVE)
        if not len(active):
            return start
        centre = active[int(position * len(active))] / labels.frame_rate * track.sample_rate
        # Anywhere in the excerpt, not always in its middle: keep the uniform draw's fraction.
        offset = start / max(1, last) * length
        return int(np.clip(centre - offset, 0, last))

    def _from_stems(
        self, origins: list[tuple[Song, int]], dropped: np.ndarray, speeds: np.ndarray
    ) -> Excerpt:
        excerpt = self._empty()
        names: list[str] = []
        by_source: dict[str, tuple[Song, int, float]] = {}
        for i, (source, (track, start)) in enumerate(zip(self.sources, origins, strict=True)):
            length = self._read_length(track, speeds[i])
            if not dropped[i]:
                stem = track.read_stem(source, start, length)
                excerpt.stems[i] = _stretched(stem, self.samples)
            names.append(_origin(track, start))
            by_source[source] = (track, start, length / self.samples)
        excerpt.supervised[:] = True
        lost = dict(zip(self.sources, dropped, strict=True))
        for j, source in enumerate(self.activity_sources):
            if lost.get(source, False):
                excerpt.activity_known[j] = True  # left out of the mix: silent for certain
            elif source in by_source:
                self._label(excerpt, j, *by_source[source])
            elif len(set(names)) == 1:  # a label without stem belongs to its own song's mix
                self._label(excerpt, j, *by_source[self.sources[0]])
        excerpt.origin = tuple(dict.fromkeys(names))
        return excerpt

    def _from_mixture(self, track: Song, start: int) -> Excerpt:
        """An excerpt of a track that lacks stems: known stems, and the rest of its mixture."""
        excerpt = self._empty()
        excerpt.rest = track.read_mixture(start, self.samples).copy()
        for i, source in enumerate(self.sources):
            if source in track.stems:
                excerpt.stems[i] = track.read_stem(source, start, self.samples)
                excerpt.supervised[i] = True
                excerpt.rest -= excerpt.stems[i]
        for j in range(len(self.activity_sources)):
            self._label(excerpt, j, track, start, 1.0)
        excerpt.origin = (_origin(track, start),)
        return excerpt

    def _label(self, excerpt: Excerpt, row: int, track: Song, start: int, speed: float) -> None:
        """Fill one row of activity by nearest time; leave it unknown where there is no label."""
        labels = track.labels
        source = self.activity_sources[row]
        if labels is None or source not in labels.sources:
            return
        times = (start + speed * self.hop * np.arange(self.frames)) / track.sample_rate
        frames = np.rint(times * labels.frame_rate).astype(np.int64)
        probabilities = labels.probabilities[labels.sources.index(source)]
        frames = np.minimum(frames, len(probabilities) - 1)
        excerpt.activity[row] = probabilities[frames] > _ACTIVE
        excerpt.activity_known[row] = True

    def _empty(self) -> Excerpt:
        return Excerpt(
            stems=np.zeros((len(self.sources), 2, self.samples), dtype=np.float32),
            rest=None,
            supervised=np.zeros(len(self.sources), dtype=bool),
            activity=np.zeros((len(self.activity_sources), self.frames), dtype=np.float32),
            activity_known=np.zeros(len(self.activity_sources), dtype=bool),
            gains=np.ones(len(self.sources), dtype=np.float32),
            level=1.0,
            swap=False,
            width=1.0,
            filters=np.zeros((len(self.sources), len(FILTER_KNOTS)), dtype=np.float32),
            origin=(),
        )


def _stretched(stem: np.ndarray, samples: int) -> np.ndarray:
    """Play a stem (channel, sample) faster or slower so that it lasts `samples`."""
    if stem.shape[1] == samples:
        return stem
    played = soxr.resample(stem.T, stem.shape[1], samples, quality="MQ").T
    fitted = np.zeros((len(stem), samples), dtype=np.float32)
    length = min(samples, played.shape[1])
    fitted[:, :length] = played[:, :length]
    return fitted


def _origin(track: Song, start: int) -> str:
    return f"{track.name}@{start / track.sample_rate:.2f}s"


def _equaliser(track: Song, source: str) -> float:
    """Gain that brings a stem's active parts to the common level, within 12 dB."""
    level = track.active_level(source)
    if level is None:
        return 1.0
    return float(np.clip(_TARGET_LEVEL / level, 1 / _EQUALISE_LIMIT, _EQUALISE_LIMIT))
