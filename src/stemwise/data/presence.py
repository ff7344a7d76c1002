"""Where in its songs a source plays or is silent, so that excerpts of either kind can be drawn.

Labels say it where a song has them for the source; otherwise its stem does: 0.1 s blocks above
-60 dBFS RMS count as playing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from stemwise.data.levels import ACTIVE_FLOOR, PER_SECOND
from stemwise.data.track import Song
from stemwise.errors import DataError

_ACTIVE = 0.5
_READ = 30  # seconds per read when a stem has no labels


@runtime_checkable
class _Measured(Protocol):
    def levels(self, source: str) -> NDArray[np.float32]:
        """Mean squares (block,) of a stem's 0.1 s blocks."""


def active_frames(song: Song, source: str) -> tuple[NDArray[np.bool_], float]:
    """Whether a source plays, per frame, and the frames per second.

    Raises DataError where the song has neither labels nor a stem of it.
    """
    labels = song.labels
    if labels is not None and source in labels.sources:
        return labels[source] > _ACTIVE, labels.frame_rate
    if source not in song.stems:
        raise DataError(
            f"track '{song.name}' has neither labels nor a stem of '{source}': add activity labels"
        )
    powers = stem_powers(song, source)
    return powers > ACTIVE_FLOOR**2, float(PER_SECOND)


def plays(song: Song, source: str, start: int, samples: int) -> bool:
    """Whether a source plays anywhere in a stretch of a song that has a stem of it."""
    labels = song.labels
    if labels is None or source not in labels.sources:
        stem = song.read_stem(source, start, samples)
        return bool((_block_powers(stem, song.sample_rate) > ACTIVE_FLOOR**2).any())
    ends = np.array([start, start + samples]) / song.sample_rate * labels.frame_rate
    first, last = np.rint(ends).astype(int)
    return bool((labels[source][first : last + 1] > _ACTIVE).any())


def stem_powers(song: Song, source: str, *, read: bool = False) -> NDArray[np.float32]:
    """Mean squares (block,) of a whole stem's 0.1 s blocks, both channels together.

    read: measure them even where the song has them stored.
    """
    if isinstance(song, _Measured) and not read:
        return song.levels(source)
    step = max(1, song.sample_rate // PER_SECOND) * PER_SECOND * _READ
    found = [
        _block_powers(
            song.read_stem(source, start, min(step, song.samples - start)), song.sample_rate
        )
        for start in range(0, song.samples, step)
    ]
    return np.concatenate(found).astype(np.float32)


def _block_powers(stem: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    block = max(1, sample_rate // PER_SECOND)
    squares = np.square(stem).mean(axis=0)
    starts = np.arange(0, len(squares), block)
    lengths = np.diff(starts, append=len(squares))
    powers: NDArray[np.float32] = (np.add.reduceat(squares, starts) / lengths).astype(np.float32)
    return powers


def energies(song: Song, source: str, samples: int) -> NDArray[np.float64]:
    """Sum of squared mono samples of every whole excerpt, one after the other (paper 004)."""
    found = [
        np.square(song.read_stem(source, start, samples).mean(axis=0, dtype=np.float64)).sum()
        for start in range(0, song.samples - samples + 1, samples)
    ]
    return np.array(found, dtype=np.float64)


class Windows:
    """All excerpts of some songs in which a source plays, or in which it is silent.

    Args:
        songs: searched when this is made; only intervals of starts are kept of them.
        source: whose playing counts.
        samples: excerpt length.
        plays: wanted are excerpts in which it plays, or those in which it never does.
        share: smallest share of an excerpt that it must play, in (0, 1]; 0: for one frame.

    Attributes:
        songs: those that have any such excerpt.
    """

    def __init__(
        self,
        songs: Sequence[Song],
        source: str,
        samples: int,
        *,
        plays: bool = True,
        share: float = 0.0,
    ) -> None:
        self.songs: list[Song] = []
        self._runs: list[tuple[NDArray[np.int64], NDArray[np.int64], float]] = []
        for song in songs:
            if song.samples < samples:
                continue
            active, rate = active_frames(song, source)
            good = _starts(active, rate, song, samples, plays, share)
            edges = np.flatnonzero(np.diff(good.astype(np.int8), prepend=0, append=0))
            if len(edges):
                firsts, lengths = edges[::2], edges[1::2] - edges[::2]
                self.songs.append(song)
                self._runs.append((firsts, np.cumsum(lengths), rate))
        self._samples = samples
        self._numbers = {id(song): number for number, song in enumerate(self.songs)}

    def __len__(self) -> int:
        return len(self.songs)

    def draw(self, rng: np.random.Generator) -> tuple[Song, int]:
        """A song, each as likely, and the start of one of its excerpts, each as likely."""
        choice, position = rng.random(2)
        song = self.songs[int(choice * len(self.songs))]
        return song, self.start(song, position)

    def holds(self, song: Song) -> bool:
        """Whether the song has any such excerpt."""
        return id(song) in self._numbers

    def start(self, song: Song, position: float) -> int:
        """The start of the song's excerpt at `position` in [0, 1) of all that it has."""
        firsts, ends, rate = self._runs[self._numbers[id(song)]]
        frame = int(position * ends[-1])
        run = int(np.searchsorted(ends, frame, side="right"))
        frame += int(firsts[run] - (ends[run - 1] if run else 0))
        start = round(frame / rate * song.sample_rate)
        return min(start, song.samples - self._samples)


def _starts(
    active: NDArray[np.bool_], rate: float, song: Song, samples: int, plays: bool, share: float
) -> NDArray[np.bool_]:
    """Of the frames at which an excerpt can start, those at which a wanted one does."""
    frames = samples / song.sample_rate * rate
    # what plays must be well inside; what is silent, up to both borders
    length = max(1, int(frames)) if plays else int(np.ceil(frames)) + 1
    last = int((song.samples - samples) / song.sample_rate * rate)
    before = np.concatenate([[0], np.cumsum(active)])
    starts = np.arange(last + 1)
    ends = np.minimum(starts + length, len(active))
    count = before[ends] - before[np.minimum(starts, len(active))]
    enough = max(1.0, share * length)
    wanted: NDArray[np.bool_] = count >= enough if plays else count == 0
    return wanted
