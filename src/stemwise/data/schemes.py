"""How the songs and starts of excerpts are chosen, by name; finite schemes are in `epochs.py`.

A scheme turns the number of an excerpt and its generator into a plan, and nothing else: the same
number always gives the same plan, whoever asks and in whatever order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from stemwise.data.draws import Augmentation, Draws
from stemwise.data.excerpts import ACTIVE, SILENT, Clip, LabelClip, Layout, Plan
from stemwise.data.presence import Windows, plays
from stemwise.data.track import Song
from stemwise.errors import DataError

TARGET_LEVEL = 0.1
"""Linear RMS that `equalise` brings a stem's active parts to."""


class Scheme(ABC):
    """Chooses what an excerpt is read from.

    Args:
        songs: each at least as long as an excerpt.
        layout: of the excerpts.
        augmentation: strengths; schemes that remix or equalise look at them.
        seed: of whatever a scheme shuffles besides an excerpt's own draws.

    Attributes:
        total: excerpts after which the stream ends; None where it never does.
    """

    total: int | None = None

    def __init__(
        self, songs: Sequence[Song], layout: Layout, augmentation: Augmentation, seed: int
    ) -> None:
        self.songs, self.layout = list(songs), layout
        self.augmentation, self.seed = augmentation, seed

    @abstractmethod
    def choose(self, index: int, rng: np.random.Generator, draws: Draws) -> Plan:
        """The plan of excerpt `index` with what was drawn for it."""

    @property
    def mixes_only_stems(self) -> bool:
        """Whether every stem of every plan is one clip of a song, and no plan has a rest."""
        return False

    def from_stems(self, origins: Sequence[tuple[Song, int]], draws: Draws) -> Plan:
        """A mix of one stem per source, each from its own song and start."""
        layout = self.layout
        rates, played = self._rates(draws)
        dropped: list[bool] = draws.dropped.tolist()
        stems: list[tuple[Clip, ...]] = []
        places: dict[str, LabelClip] = {}
        for i, (source, (song, start)) in enumerate(zip(layout.sources, origins, strict=True)):
            length = self.read_length(song, rates[i])
            stems.append(() if dropped[i] else (Clip(song, source, start, length, played[i]),))
            places[source] = LabelClip(song, start, length / layout.samples)
        # a label without stem belongs to its own song's mix
        whole, start = origins[0]
        one_song = all(song is whole and at == start for song, at in origins)
        other = places[layout.sources[0]] if one_song else None
        if any(dropped):
            left_out = {name for name, out in zip(layout.sources, dropped, strict=True) if out}
        else:
            left_out = set()
        labels = [
            SILENT if source in left_out else places.get(source, other)
            for source in layout.activity_sources
        ]
        if self.augmentation.equalise:
            draws.gains *= [
                1.0 if out else equaliser(song, source, self.augmentation.equalise_limit)
                for (song, _), source, out in zip(origins, layout.sources, dropped, strict=True)
            ]
        if left_out:
            draws.gains[draws.dropped] = 0.0
        return Plan(stems, [True] * len(stems), labels, draws, origins=_origins(origins))

    def from_mixture(self, song: Song, start: int, draws: Draws) -> Plan:
        """An excerpt of a song that lacks stems: those it has, and the rest of its mixture."""
        samples = self.layout.samples
        draws.leave_stems()
        known = [source in song.stems for source in self.layout.sources]
        stems: list[tuple[Clip, ...]] = [
            (Clip(song, source, start, samples, samples),) if here else ()
            for source, here in zip(self.layout.sources, known, strict=True)
        ]
        place = LabelClip(song, start, 1.0)
        return Plan(
            stems,
            known,
            [place] * len(self.layout.activity_sources),
            draws,
            origins=_origins([(song, start)]),
            rest=(Clip(song, None, start, samples, samples),),
            subtract=True,
        )

    def read_length(self, song: Song, speed: float) -> int:
        """Samples of a song that make an excerpt at `speed`; all of them where it is shorter."""
        return min(song.samples, round(self.layout.samples * speed))

    def _rates(self, draws: Draws) -> tuple[list[float], list[int]]:
        """Per stem, read samples per excerpt sample, and samples before its tempo is changed."""
        speeds: list[float] = draws.speeds.tolist()
        if draws.tempo is None:
            return speeds, [self.layout.samples] * len(speeds)
        tempo: list[float] = draws.tempo.tolist()
        rates = [speed * one for speed, one in zip(speeds, tempo, strict=True)]
        return rates, [round(self.layout.samples * one) for one in tempo]


class Random(Scheme):
    """A random song and start; with `remix`, a song and start of its own for every stem.

    Songs that lack stems are taken as they are: what is missing can neither be remixed, filtered
    nor left out of the mix.
    """

    def __init__(
        self, songs: Sequence[Song], layout: Layout, augmentation: Augmentation, seed: int
    ) -> None:
        super().__init__(songs, layout, augmentation, seed)
        self._with_source = [[s for s in self.songs if name in s.stems] for name in layout.sources]
        self._whole = [all(name in song.stems for name in layout.sources) for song in self.songs]

    @property
    def mixes_only_stems(self) -> bool:
        """Whether no song lacks a stem."""
        return all(self._whole)

    def choose(self, index: int, rng: np.random.Generator, draws: Draws) -> Plan:
        """A plan from one song, or from one per stem."""
        number = int(rng.integers(len(self.songs)))
        song = self.songs[number]
        if not self._whole[number]:
            return self.from_mixture(song, self._start(song, None, self.layout.samples, rng), draws)
        if draws.remix:
            origins = []
            rates, _ = self._rates(draws)
            for source, choices, rate in zip(
                self.layout.sources, self._with_source, rates, strict=True
            ):
                song = choices[int(rng.integers(len(choices)))]
                length = self.read_length(song, rate)
                origins.append((song, self._start(song, source, length, rng)))
        else:
            draws.keep_together()
            length = self.read_length(song, self._rates(draws)[0][0])
            origins = [(song, self._start(song, None, length, rng))] * len(self.layout.sources)
        return self.from_stems(origins, draws)

    def _start(self, song: Song, source: str | None, length: int, rng: np.random.Generator) -> int:
        """A random start; with probability `prefer_active` of an excerpt in which a stem plays."""
        last = song.samples - length
        start = int(rng.integers(last + 1))
        prefer = rng.random() < self.augmentation.prefer_active
        choice, position = rng.random(2)
        labels = song.labels if prefer else None
        if labels is None:
            return start
        if source is None:
            source = self.layout.sources[int(choice * len(self.layout.sources))]
        if source not in labels.sources:
            return start
        active = np.flatnonzero(labels[source] > ACTIVE)
        if not len(active):
            return start
        centre = active[int(position * len(active))] / labels.frame_rate * song.sample_rate
        # Anywhere in the excerpt, not always in its middle: keep the uniform draw's fraction.
        offset = start / max(1, last) * length
        return int(np.clip(centre - offset, 0, last))


class NonSilentSource(Scheme):
    """Excerpts of one song in which a chosen source plays.

    Args:
        source: that must play; "" for the first of the layout.
        share: smallest share of the excerpt that it plays; 0: at least one frame.

    Raises DataError where it plays in no song.
    """

    def __init__(
        self,
        songs: Sequence[Song],
        layout: Layout,
        augmentation: Augmentation,
        seed: int,
        *,
        source: str = "",
        share: float = 0.0,
    ) -> None:
        super().__init__(songs, layout, augmentation, seed)
        self.source = source or layout.sources[0]
        songs = [song for song in self.songs if _tells(song, self.source)]
        self._windows = Windows(songs, self.source, layout.samples, share=share)
        if not len(self._windows):
            raise DataError(f"'{self.source}' plays in no song: choose another source")

    @property
    def mixes_only_stems(self) -> bool:
        """Whether no song lacks a stem."""
        return all(_whole(song, self.layout) for song in self._windows.songs)

    def choose(self, index: int, rng: np.random.Generator, draws: Draws) -> Plan:
        """An excerpt at its own speed: another one could end where the source is silent."""
        song, start = self._windows.draw(rng)
        if not _whole(song, self.layout):
            return self.from_mixture(song, start, draws)
        draws.speeds[:], draws.tempo = 1.0, None
        draws.keep_together()
        return self.from_stems([(song, start)] * len(self.layout.sources), draws)


class NonVocalReplacement(Random):
    """Random excerpts, those with silent vocals partly replaced by ones of label-only songs.

    Paper 000, section 2.1, "Using additional non-vocal sections": with N songs that have stems and
    M that have labels only, a drawn excerpt with silent vocals is replaced with probability
    M / (N + M) by a random non-vocal one of the M, whose vocals are silence and whose accompaniment
    is its mixture. So non-vocal sections come from all songs alike.

    Args:
        source: what is silent.
        accompaniment: what the mixture of such an excerpt is, where the layout has that source.
        printed: the probability as the paper prints it, N / (N + M), against its stated purpose.

    Raises DataError where there are no songs of either kind.
    """

    def __init__(
        self,
        songs: Sequence[Song],
        layout: Layout,
        augmentation: Augmentation,
        seed: int,
        *,
        source: str = "vocals",
        accompaniment: str = "accompaniment",
        printed: bool = False,
    ) -> None:
        with_stems = [song for song in songs if source in song.stems]
        labelled = [song for song in songs if source not in song.stems and _tells(song, source)]
        if not with_stems or not labelled:
            kind = f"stems of '{source}'" if not with_stems else f"labels of '{source}' only"
            raise DataError(f"non-vocal replacement needs songs with {kind}: add a set that has")
        super().__init__(with_stems, layout, augmentation, seed)
        self.source, self.accompaniment = source, accompaniment
        count, extra = len(with_stems), len(labelled)
        self.probability = (count if printed else extra) / (count + extra)
        self._silent = Windows(labelled, source, layout.samples, plays=False)
        if not len(self._silent):
            raise DataError(f"no label-only song has an excerpt without '{source}'")
        self._quiet: dict[tuple[str, int], Windows] = {}

    @property
    def mixes_only_stems(self) -> bool:
        """Never: the mixture of a replacement is read as a mixture."""
        return False

    def choose(self, index: int, rng: np.random.Generator, draws: Draws) -> Plan:
        """A random excerpt or its replacement."""
        plan = super().choose(index, rng, draws)
        replace = rng.random() < self.probability
        if not replace or not self._is_silent(plan):
            return plan
        return self._replacement(*self._silent.draw(rng), draws)

    def _is_silent(self, plan: Plan) -> bool:
        """Whether the source is left out of a plan, or plays nowhere in what is read of it."""
        if self.source not in self.layout.sources:
            return False
        clips = plan.stems[self.layout.sources.index(self.source)]
        return not any(plays(clip.song, self.source, clip.start, clip.length) for clip in clips)

    def _replacement(self, song: Song, start: int, draws: Draws) -> Plan:
        samples = self.layout.samples
        draws.leave_stems()
        mixture = (Clip(song, None, start, samples, samples),)
        whole = self.accompaniment in self.layout.sources
        stems: list[tuple[Clip, ...]] = [
            mixture if source == self.accompaniment else () for source in self.layout.sources
        ]
        known = [source in (self.source, self.accompaniment) for source in self.layout.sources]
        labels: list[LabelClip | str | None] = [
            SILENT if source == self.source else LabelClip(song, start, 1.0)
            for source in self.layout.activity_sources
        ]
        origins = _origins([(song, start)])
        return Plan(stems, known, labels, draws, origins=origins, rest=None if whole else mixture)


class PoolMix(Scheme):
    """A target mixed with some stems of other instruments, each from a random song (paper 001).

    The songs' stems form two groups, those of the target and all others (section 4.1, MM dataset):
    a target stem and `fewest` to `most` of the others, each with its own start and gain. Turn on
    `equalise` for the paper's equal RMS, and gain_range [0.25, 1.25] for its gains.

    Raises DataError where there is no target, or nothing else.
    """

    def __init__(
        self,
        songs: Sequence[Song],
        layout: Layout,
        augmentation: Augmentation,
        seed: int,
        *,
        source: str = "",
        fewest: int = 1,
        most: int = 5,
    ) -> None:
        super().__init__(songs, layout, augmentation, seed)
        self.source = source or layout.sources[0]
        if self.source not in layout.sources:
            raise DataError(f"the separator has no source '{self.source}' to mix a pool with")
        self._targets = [song for song in self.songs if self.source in song.stems]
        self._pool = [(s, name) for s in self.songs for name in s.stems if name != self.source]
        self.fewest, self.most = fewest, most
        if not self._targets or not self._pool:
            missing = f"of '{self.source}'" if not self._targets else "of another instrument"
            raise DataError(f"no song has a stem {missing}: pool mixing needs both")

    def choose(self, index: int, rng: np.random.Generator, draws: Draws) -> Plan:
        """A target and its accompaniment; only the target is supervised."""
        row = self.layout.sources.index(self.source)
        song = self._targets[int(rng.integers(len(self._targets)))]
        length = self.read_length(song, float(draws.speeds[row]))
        start = int(rng.integers(song.samples - length + 1))
        target = Clip(song, self.source, start, length, self.layout.samples)
        limit = self.augmentation.equalise_limit
        gain = equaliser(song, self.source, limit) if self.augmentation.equalise else 1.0
        others = [self._other(rng) for _ in range(int(rng.integers(self.fewest, self.most + 1)))]
        known = [source == self.source for source in self.layout.sources]
        draws.dropped[:], draws.tempo = False, None  # a rest that is mixed already has no tempo
        draws.gains *= gain
        labels: list[LabelClip | str | None] = [
            LabelClip(song, start, length / self.layout.samples) if name == self.source else None
            for name in self.layout.activity_sources
        ]
        return Plan(
            [(target,) if here else () for here in known],
            known,
            labels,
            draws,
            origins=_origins([(song, start), *((clip.song, clip.start) for clip in others)]),
            rest=tuple(others),
        )

    def _other(self, rng: np.random.Generator) -> Clip:
        song, source = self._pool[int(rng.integers(len(self._pool)))]
        samples, strength = self.layout.samples, self.augmentation
        start = int(rng.integers(song.samples - samples + 1))
        even, normal = rng.random(), rng.standard_normal()
        gain = 10 ** (strength.gain_db * normal / 20)
        if strength.gain_range is not None:
            low, high = strength.gain_range
            gain *= low + (high - low) * even
        if strength.equalise:
            gain *= equaliser(song, source, strength.equalise_limit)
        return Clip(song, source, start, samples, samples, float(gain))


def equaliser(song: Song, source: str, limit: float) -> float:
    """Gain that brings a stem's active parts to the common level, at most by `limit`."""
    level = song.active_level(source)
    if level is None:
        return 1.0
    return float(np.clip(TARGET_LEVEL / level, 1 / limit, limit))


def _whole(song: Song, layout: Layout) -> bool:
    return all(source in song.stems for source in layout.sources)


def _tells(song: Song, source: str) -> bool:
    """Whether a song says where a source plays."""
    labels = song.labels
    return source in song.stems or (labels is not None and source in labels.sources)


def _origins(places: Sequence[tuple[Song, int]]) -> tuple[str, ...]:
    """ "song@seconds" of every song that is read, each once."""
    names = [f"{song.name}@{start / song.sample_rate:.2f}s" for song, start in places]
    return tuple(dict.fromkeys(names))
