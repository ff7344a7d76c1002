"""Songs seen with other stems: sums of those they have, e.g. an accompaniment."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemwise.activity import Activity
from stemwise.data.excerpts import PcmSong
from stemwise.data.levels import ACTIVE_FLOOR
from stemwise.data.presence import stem_powers
from stemwise.data.track import Song


def regroup(song: Song, groups: Mapping[str, Sequence[str]]) -> Song:
    """A song with `groups` of its stems in the place of those they consist of.

    A group of which the song lacks a stem is left out, and its other stems stay: a song that has an
    accompaniment already keeps it. The mixture is what it was. Reads sum at every read; nothing is
    stored.
    """
    made = {
        name: tuple(parts)
        for name, parts in groups.items()
        if parts and all(part in song.stems for part in parts)
    }
    used = {part for parts in made.values() for part in parts}
    kept = {name: (name,) for name in song.stems if name not in used and name not in made}
    stems = {**made, **kept}
    if all(parts == (name,) for name, parts in stems.items()):
        return song
    if isinstance(song, PcmSong) and all(len(parts) == 1 for parts in stems.values()):
        return RenamedPcm(song, stems)
    return Regrouped(song, stems)


class SongView:
    """What a song shown with other stems or labels keeps; see `data.track.Song`."""

    def __init__(self, song: Song) -> None:
        self.song = song

    @property
    def name(self) -> str:
        """That of the song."""
        return self.song.name

    @property
    def split(self) -> str:
        """That of the song."""
        return self.song.split

    @property
    def sample_rate(self) -> int:
        """In hertz."""
        return self.song.sample_rate

    @property
    def samples(self) -> int:
        """Length in samples."""
        return self.song.samples

    def read_mixture(self, start: int, samples: int) -> NDArray[np.float32]:
        """Stereo samples [start, start + samples) of the mixture as float32 (channel, sample)."""
        return self.song.read_mixture(start, samples)


class Regrouped(SongView):
    """A song whose stems are sums of another's.

    song: what is read. parts: per stem, the stems of `song` whose sum it is.
    """

    def __init__(self, song: Song, parts: Mapping[str, tuple[str, ...]]) -> None:
        super().__init__(song)
        self.parts = dict(parts)
        self._levels: dict[str, NDArray[np.float32]] = {}
        self._labels: tuple[Activity, Activity] | None = None

    @property
    def stems(self) -> Collection[str]:
        """Names of the groups, and of the stems that are in none."""
        return tuple(self.parts)

    @property
    def labels(self) -> Activity | None:
        """The song's labels; a group plays when any of its stems does, where all are labelled."""
        labels = self.song.labels
        if labels is None:
            return None
        if self._labels is None or self._labels[0] is not labels:
            self._labels = labels, self._grouped(labels)
        return self._labels[1]

    def read_stem(self, source: str, start: int, samples: int) -> NDArray[np.float32]:
        """Stereo samples [start, start + samples) of one stem as float32 (channel, sample)."""
        first, *others = self.parts[source]
        total = self.song.read_stem(first, start, samples)
        for part in others:
            total = total + self.song.read_stem(part, start, samples)
        return total

    def active_level(self, source: str) -> float | None:
        """RMS of a stem over its non-silent 0.1 s blocks; None if all silent."""
        parts = self.parts[source]
        if len(parts) == 1:
            return self.song.active_level(parts[0])
        powers = self.levels(source)
        active = powers[powers > ACTIVE_FLOOR**2]
        return float(np.sqrt(active.mean())) if len(active) else None

    def levels(self, source: str) -> NDArray[np.float32]:
        """Mean squares (block,) of a stem's 0.1 s blocks; a group is read once to measure them."""
        if source not in self._levels:
            parts = self.parts[source]
            one = len(parts) == 1
            self._levels[source] = (
                stem_powers(self.song, parts[0]) if one else stem_powers(self, source, read=True)
            )
        return self._levels[source]

    def _grouped(self, labels: Activity) -> Activity:
        rows = {source: labels[source] for source in labels.sources}
        for name, parts in self.parts.items():
            if name not in rows and all(part in labels.sources for part in parts):
                rows[name] = np.max([labels[part] for part in parts], axis=0)
        return Activity(
            tuple(rows), np.stack(list(rows.values())), labels.frame_rate, labels.duration
        )


class RenamedPcm(Regrouped):
    """The same of a store's song whose stems have other names alone: it is read as it is stored."""

    def __init__(self, song: Song, parts: Mapping[str, tuple[str, ...]]) -> None:
        super().__init__(song, parts)
        assert isinstance(song, PcmSong)
        self._stored: PcmSong = song
        self.dtype: np.dtype[Any] = song.dtype

    def read_pcm(
        self, source: str, start: int, samples: int, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Stored numbers [start, start + samples) of a stem: (channel, sample), or filled `out`."""
        return self._stored.read_pcm(self.parts[source][0], start, samples, out)

    def scale(self, source: str) -> float:
        """What stored numbers of a stem are multiplied by to be samples."""
        return self._stored.scale(self.parts[source][0])
