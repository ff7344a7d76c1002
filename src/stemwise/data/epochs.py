"""Schemes that go through their songs in order or in shuffled epochs: every excerpt in its turn.

The excerpt of number i follows from i and the seed alone: its epoch is a division, its place in the
epoch's order an index into a permutation that the seed and the epoch give.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stemwise.data.draws import Augmentation, Draws
from stemwise.data.excerpts import Clip, LabelClip, Layout, Plan
from stemwise.data.presence import energies
from stemwise.data.schemes import Scheme
from stemwise.data.track import Song
from stemwise.errors import DataError

Part = Literal["train", "validation"]
_SILENT_ENERGY = 0.5  # sums of squares below it round to 0 (paper 004)


class Sequential(Scheme):
    """Every excerpt of every song once, in order; a song's last one ends at its last sample."""

    def __init__(
        self, songs: Sequence[Song], layout: Layout, augmentation: Augmentation, seed: int
    ) -> None:
        super().__init__(songs, layout, augmentation, seed)
        counts = [-(-song.samples // layout.samples) for song in self.songs]
        self._ends = np.cumsum(counts)
        self.total = int(self._ends[-1])

    @property
    def mixes_only_stems(self) -> bool:
        """Whether no song lacks a stem."""
        return all(name in song.stems for song in self.songs for name in self.layout.sources)

    def choose(self, index: int, rng: np.random.Generator, draws: Draws) -> Plan:
        """Excerpt `index` of all; DataError behind the last one."""
        if index >= int(self._ends[-1]):
            raise DataError(f"there are {self._ends[-1]} excerpts, none of number {index}")
        number = int(np.searchsorted(self._ends, index, side="right"))
        song = self.songs[number]
        position = index - (int(self._ends[number - 1]) if number else 0)
        start = min(position * self.layout.samples, song.samples - self.layout.samples)
        return whole_song(self, song, start, draws)


class Chunks(Scheme):
    """Excerpts without overlap in shuffled epochs; those with a silent source may be dropped.

    Paper 004, section IV-A: chunks of all songs, a share of them held out for validation, and of
    the others those dropped in which some source is silent (the sum of its squared mono samples
    rounds to 0). Validation keeps them, and has no order but the songs'.

    Args:
        part: "train" or "validation".
        held_out: share of all chunks that is for validation.
        shares: shares of the songs for training and validation, in place of `held_out`: the
            database of paper 003 with all its sources (75 and 15 of 100 songs).
        drop_silent: whether training drops chunks with a silent source.

    Raises DataError where nothing is left.
    """

    def __init__(
        self,
        songs: Sequence[Song],
        layout: Layout,
        augmentation: Augmentation,
        seed: int,
        *,
        part: Part = "train",
        held_out: float = 0.05,
        shares: tuple[float, float] | None = None,
        drop_silent: bool = True,
    ) -> None:
        if shares is not None:
            order = np.random.default_rng([seed, len(songs)]).permutation(len(songs))
            chosen, held_out = _of_part(order, shares, part), float(part == "validation")
            songs = [songs[number] for number in sorted(chosen.tolist())]
        super().__init__(songs, layout, augmentation, seed)
        samples = layout.samples
        chunks = [
            (number, start)
            for number, song in enumerate(self.songs)
            for start in range(0, song.samples - samples + 1, samples)
        ]
        order = np.random.default_rng([seed, len(chunks)]).permutation(len(chunks))
        kept = round(held_out * len(chunks))
        chosen = np.sort(order[:kept] if part == "validation" else order[kept:])
        if part == "train" and drop_silent:
            sounding = self._sounding()
            chosen = chosen[sounding[chosen]]
        if not len(chosen):
            raise DataError("no excerpt is left: use longer songs, or keep those with silence")
        self._chunks = np.array(chunks, dtype=np.int64)[chosen]
        self._shuffle = _Shuffle(seed, _KEEP)
        self.part = part
        self.total = len(chosen) if part == "validation" else None

    def __len__(self) -> int:
        """Excerpts of an epoch."""
        return len(self._chunks)

    @property
    def mixes_only_stems(self) -> bool:
        """Whether no song lacks a stem."""
        return all(name in song.stems for song in self.songs for name in self.layout.sources)

    def choose(self, index: int, rng: np.random.Generator, draws: Draws) -> Plan:
        """Excerpt `index` of the endless row of epochs, or of the one pass of validation."""
        if self.part == "validation":
            if index >= len(self):
                raise DataError(f"there are {len(self)} excerpts, none of number {index}")
            place = index
        else:
            epoch, position = divmod(index, len(self))
            place = int(self._shuffle(0, epoch, len(self))[position])
        number, start = self._chunks[place].tolist()
        return whole_song(self, self.songs[number], start, draws)

    def _sounding(self) -> NDArray[np.bool_]:
        """Per chunk, whether no known source of it is silent."""
        found = []
        for song in self.songs:
            known = [name for name in self.layout.sources if name in song.stems]
            count = song.samples // self.layout.samples
            sounding = np.ones(count, dtype=bool)
            for name in known:
                sounding &= energies(song, name, self.layout.samples) >= _SILENT_ENERGY
            found.append(sounding)
        return np.concatenate(found)


class Independent(Scheme):
    """A database per source, each with its own songs, in rounds of one batch per source.

    Paper 003, section IV-A: every source has another random split into training and validation
    songs and another order of its pairs (mixture, target). In every round each source has a batch
    of its own, the sources in a new order each time. Databases are cut to the length of the
    smallest by random subsets that are redrawn every epoch. Only the batch's source is supervised.

    Args:
        batch: excerpts per batch, over all processes of a run together.
        part: "train" or "validation".
        shares: shares of a source's songs for training and validation (75 and 15 of 100).

    Raises DataError where a source has no excerpt, or fewer than a batch.
    """

    def __init__(
        self,
        songs: Sequence[Song],
        layout: Layout,
        augmentation: Augmentation,
        seed: int,
        *,
        batch: int = 1,
        part: Part = "train",
        shares: tuple[float, float] = (0.75, 0.15),
    ) -> None:
        super().__init__(songs, layout, augmentation, seed)
        self.batch, self.part = batch, part
        self.databases = [self._database(source, shares) for source in layout.sources]
        shortest = min(len(database) for database in self.databases)
        self.rounds = shortest // batch
        if not self.rounds:
            raise DataError(
                f"the smallest database has {shortest} excerpts, less than a batch of {batch}: "
                "use more songs, shorter excerpts or a smaller batch"
            )
        self._shuffle = _Shuffle(seed, _KEEP * len(layout.sources))
        if part == "validation":
            self.total = self.rounds * batch * len(layout.sources)

    def __len__(self) -> int:
        """Excerpts of an epoch, of all sources."""
        return self.rounds * self.batch * len(self.databases)

    def source(self, index: int) -> str:
        """The source whose database excerpt `index` comes from."""
        return self.layout.sources[self._place(index)[0]]

    def choose(self, index: int, rng: np.random.Generator, draws: Draws) -> Plan:
        """An excerpt of one source's database, and the rest of its mixture."""
        if self.total is not None and index >= self.total:
            raise DataError(f"there are {self.total} excerpts, none of number {index}")
        row, epoch, position = self._place(index)
        database = self.databases[row]
        order = self._shuffle(1 + row, epoch, len(database))
        number, start = database[int(order[position])].tolist()
        song, source, samples = self.songs[number], self.layout.sources[row], self.layout.samples
        known = [name == source for name in self.layout.sources]
        draws.speeds[:], draws.tempo = 1.0, None  # the rest of the mixture keeps its own
        draws.dropped[:] = False
        clip = Clip(song, source, start, samples, samples)
        place = LabelClip(song, start, 1.0)
        return Plan(
            [(clip,) if here else () for here in known],
            known,
            [place if name == source else None for name in self.layout.activity_sources],
            draws,
            origins=(f"{song.name}@{start / song.sample_rate:.2f}s",),
            rest=(Clip(song, None, start, samples, samples),),
            subtract=True,
        )

    def _database(self, source: str, shares: tuple[float, float]) -> NDArray[np.int64]:
        """Song number and start (excerpt, 2) of one source's excerpts."""
        having = [k for k, song in enumerate(self.songs) if source in song.stems]
        row = self.layout.sources.index(source)
        order = np.random.default_rng([self.seed, row, len(having)]).permutation(having)
        chosen = _of_part(order, shares, self.part)
        samples = self.layout.samples
        places = [
            (int(number), start)
            for number in sorted(chosen.tolist())
            for start in range(0, self.songs[number].samples - samples + 1, samples)
        ]
        if not places:
            raise DataError(
                f"no {self.part} song is left for '{source}': {len(having)} songs have it, use more"
            )
        return np.array(places, dtype=np.int64)

    def _place(self, index: int) -> tuple[int, int, int]:
        """Source number, epoch, and position in that source's epoch of excerpt `index`."""
        block, offset = divmod(index, self.batch)
        turn, place = divmod(block, len(self.databases))
        row = int(self._shuffle(0, turn, len(self.databases))[place])
        epoch, position = divmod(turn, self.rounds)
        return row, epoch, position * self.batch + offset


_KEEP = 4  # permutations: batches that are read ahead may be of another epoch


class _Shuffle:
    """Permutations by (stream, number), the last few kept; the same whoever asks and when."""

    def __init__(self, seed: int, keep: int) -> None:
        self._seed, self._keep = seed, keep
        self._kept: OrderedDict[tuple[int, int], NDArray[np.int64]] = OrderedDict()

    def __call__(self, stream: int, number: int, length: int) -> NDArray[np.int64]:
        order = self._kept.get((stream, number))
        if order is None:
            rng = np.random.default_rng([self._seed, 7, stream, number])
            order = rng.permutation(length)
            self._kept[stream, number] = order
            while len(self._kept) > self._keep:
                try:
                    self._kept.popitem(last=False)
                except KeyError:  # another thread took the last one away
                    break
        return order


def _of_part(
    order: NDArray[np.int64], shares: tuple[float, float], part: Part
) -> NDArray[np.int64]:
    """Those of the songs `order` that are for training, or for validation, by their shares."""
    count = round(shares[0] * len(order))
    until = count + max(1, round(shares[1] * len(order)))
    return order[:count] if part == "train" else order[count:until]


def whole_song(scheme: Scheme, song: Song, start: int, draws: Draws) -> Plan:
    """An excerpt of one song at its own speed: where the next one begins, this one must end."""
    draws.speeds[:], draws.tempo = 1.0, None
    draws.keep_together()
    if not all(source in song.stems for source in scheme.layout.sources):
        return scheme.from_mixture(song, start, draws)
    return scheme.from_stems([(song, start)] * len(scheme.layout.sources), draws)
