"""What a data set is like: how often there are vocals, how loud they and all else are.

Per song, the three properties of figure 2 of Stoller et al. (2018), "Jointly detecting and
separating singing voice", section 2.2, and per 6 s excerpt the energy of every source, as in figure
2 of the multi-channel U-Net paper, whose energy-based weights follow from it. Songs with labels
only contribute what labels tell.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stemwise.activity import Activity
from stemwise.audio.format import Samples
from stemwise.data.levels import ACTIVE_FLOOR, PER_SECOND, LevelMeter
from stemwise.data.signals import ACCOMPANIMENT, VOCALS, signal_blocks, with_derived
from stemwise.data.store import MIXTURE, StoredTrack
from stemwise.data.store_manifest import Level, Settings
from stemwise.data.store_write import Job, write_bytes
from stemwise.data.track import Part, Track
from stemwise.errors import AudioError, DataError

EXCERPT = 6
"""Seconds of the excerpts whose energy is taken."""
_PIECE = 10  # seconds that are decoded at a time
_INSTRUMENTAL = 0.01  # songs with vocals for less than this share have none to compare


@dataclass(frozen=True)
class SongStatistics:
    """What one song tells; None where it cannot.

    Attributes:
        song, split: its name and split.
        seconds: its length.
        vocal_activity: share of time with vocals, 0 to 1: of 10 ms windows whose mean absolute
            amplitude exceeds 5e-4; without a vocal stem, of the labels' frames.
        vocal_ratio: energy of the vocals over that of the accompaniment in decibels; None also
            for instrumental and a-cappella songs.
        loudness: of the mixture, integrated after BS.1770, in LUFS; None for silence.
        energies: per source, the mean square of every 6 s excerpt (excerpt,).
    """

    song: str
    split: str
    seconds: float
    vocal_activity: float | None
    vocal_ratio: float | None
    loudness: float | None
    energies: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)


@dataclass(frozen=True)
class SetStatistics:
    """All songs of one data set under the name that figures and tables give it."""

    name: str
    songs: tuple[SongStatistics, ...]

    def values(self, property: str) -> NDArray[np.float64]:
        """What songs have of a property, those that have none left out."""
        found = [getattr(song, property) for song in self.songs]
        return np.array([value for value in found if value is not None], np.float64)

    def energies(self, source: str) -> NDArray[np.float64]:
        """Mean squares of all excerpts of a source."""
        found = [song.energies[source] for song in self.songs if source in song.energies]
        return np.concatenate(found) if found else np.zeros(0)

    @property
    def sources(self) -> list[str]:
        """Sources with energies: vocals and accompaniment, then the others, most frequent first."""
        counts: dict[str, int] = {}
        for song in self.songs:
            for source in song.energies:
                counts[source] = counts.get(source, 0) + 1
        pair = [name for name in (VOCALS, ACCOMPANIMENT) if name in counts]
        others = [name for name in counts if name not in pair and name != MIXTURE]
        return pair + sorted(others, key=lambda name: (-counts[name], name))


def of_stored(track: StoredTrack) -> SongStatistics:
    """Statistics of a track of a store, which has measured it: no samples are read."""
    levels = {level.name: level for level in track.record.levels}
    powers = {name: track.levels(name) for name in levels}
    return _statistics(track, track.labels, levels, powers)


def of_track(track: Track) -> SongStatistics:
    """Statistics of a track that is not in a store: all of it is decoded, a few seconds at a time.

    Raises DataError for files that cannot be read.
    """
    job = Job(track, Path(), None, Settings())
    meters: dict[str, LevelMeter] = {}
    try:
        for pieces in _together(job.signals, track):
            for name, piece in with_derived(pieces).items():
                if name not in meters:
                    heard = name == MIXTURE
                    meters[name] = LevelMeter(name, track.sample_rate, loudness=heard)
                meters[name].add(piece)
    except AudioError as error:
        raise DataError(str(error)) from error
    levels = {name: meter.level() for name, meter in meters.items()}
    powers = {name: meter.powers for name, meter in meters.items()}
    return _statistics(track, track.labels, levels, powers)


def _together(
    signals: Mapping[str, tuple[Part, ...]], track: Track
) -> Iterator[dict[str, Samples]]:
    """The same seconds of all signals (2, sample), again and again."""
    size = _PIECE * track.sample_rate
    streams = [
        _pieces(signal_blocks(parts, track.samples, track.sample_rate, 2), size)
        for parts in signals.values()
    ]
    for pieces in zip(*streams, strict=True):
        yield dict(zip(signals, pieces, strict=True))


def _pieces(blocks: Iterable[Samples], size: int) -> Iterator[Samples]:
    """Blocks (2, sample) cut anew into pieces of `size` samples and a shorter last one."""
    held: list[Samples] = []
    count = 0
    for block in blocks:
        held.append(block)
        count += block.shape[1]
        while count >= size:
            joined = np.concatenate(held, axis=1)
            yield joined[:, :size]
            held, count = [joined[:, size:]], count - size
    if count:
        yield np.concatenate(held, axis=1)


def _statistics(
    track: Track | StoredTrack,
    labels: Activity | None,
    levels: Mapping[str, Level],
    powers: Mapping[str, NDArray[np.float32]],
) -> SongStatistics:
    vocals, rest = levels.get(VOCALS), levels.get(ACCOMPANIMENT)
    activity = ratio = None
    if vocals is not None:
        activity = vocals.loud
    elif labels is not None and VOCALS in labels.sources:
        activity = labels.ratio()[VOCALS]
    if vocals is not None and rest is not None and vocals.loud >= _INSTRUMENTAL and rest.rms > 0:
        ratio = 20 * math.log10(vocals.rms / rest.rms)
    return SongStatistics(
        song=track.name,
        split=track.split,
        seconds=track.samples / track.sample_rate,
        vocal_activity=activity,
        vocal_ratio=ratio,
        loudness=levels[MIXTURE].loudness if MIXTURE in levels else None,
        energies={name: excerpt_energies(one) for name, one in powers.items() if name != MIXTURE},
    )


def excerpt_energies(powers: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean squares of 6 s excerpts without overlap from those of 0.1 s blocks.

    A shorter rest is left out; a shorter song is one excerpt.
    """
    count = EXCERPT * PER_SECOND
    if len(powers) < count:
        return np.array([powers.mean(dtype=np.float64)])
    whole = len(powers) // count * count
    means: NDArray[np.float64] = powers[:whole].reshape(-1, count).mean(axis=1, dtype=np.float64)
    return means


@dataclass(frozen=True)
class SourceEnergy:
    """Energy of one source of one set.

    Attributes:
        songs, excerpts: how many have it.
        silent: share of the excerpts below -60 dBFS.
        mean: mean square over all excerpts, silent ones too.
        median: of the excerpts that are not silent; None where all are.
        weight: max_j mean_j / mean (equation 6, "EBW_P1") among the stems.
        pair_weight: the same among vocals and accompaniment.
    """

    set: str
    source: str
    songs: int
    excerpts: int
    silent: float
    mean: float
    median: float | None
    weight: float | None
    pair_weight: float | None


def source_energies(statistics: SetStatistics) -> list[SourceEnergy]:
    """Energy of every source of a set, and the weights that follow from it."""
    means = {name: float(statistics.energies(name).mean()) for name in statistics.sources}
    pair = {name: mean for name, mean in means.items() if name in (VOCALS, ACCOMPANIMENT)}
    stems = {name: mean for name, mean in means.items() if name != ACCOMPANIMENT}
    rows = []
    for name, mean in means.items():
        energies = statistics.energies(name)
        heard = energies[energies > ACTIVE_FLOOR**2]
        rows.append(
            SourceEnergy(
                set=statistics.name,
                source=name,
                songs=sum(name in song.energies for song in statistics.songs),
                excerpts=len(energies),
                silent=1 - len(heard) / len(energies),
                mean=mean,
                median=float(np.median(heard)) if len(heard) else None,
                weight=_weight(name, stems),
                pair_weight=_weight(name, pair),
            )
        )
    return rows


def _weight(source: str, means: Mapping[str, float]) -> float | None:
    mean = means.get(source, 0.0)
    return max(means.values()) / mean if len(means) > 1 and mean > 0 else None


def decibels(power: float | None) -> float | None:
    """A mean square in decibels below full scale; None for silence."""
    return None if power is None or power <= 0 else 10 * math.log10(power)


SONG_COLUMNS = (
    "set",
    "song",
    "split",
    "seconds",
    "vocal_activity",
    "vocal_ratio_db",
    "loudness_lufs",
)
ENERGY_COLUMNS = (
    *("set", "source", "songs", "excerpts", "silent_share"),
    *("mean_energy", "mean_energy_db", "median_energy_db", "weight", "pair_weight"),
)


def write_tables(sets: Sequence[SetStatistics], folder: Path) -> list[Path]:
    """Write songs.csv (a row per song) and energy.csv (a row per set and source)."""
    songs = [
        (
            *(one.name, song.song, song.split, _number(song.seconds, 3)),
            *(_number(song.vocal_activity), _number(song.vocal_ratio), _number(song.loudness)),
        )
        for one in sets
        for song in one.songs
    ]
    energies = [
        (
            *(row.set, row.source, row.songs, row.excerpts, _number(row.silent)),
            f"{row.mean:.6g}",
            *(_number(decibels(row.mean)), _number(decibels(row.median))),
            *(_number(row.weight), _number(row.pair_weight)),
        )
        for one in sets
        for row in source_energies(one)
    ]
    paths = [folder / "songs.csv", folder / "energy.csv"]
    tables: tuple[tuple[tuple[str, ...], list[tuple[object, ...]]], ...] = (
        (SONG_COLUMNS, list(songs)),
        (ENERGY_COLUMNS, list(energies)),
    )
    for path, (columns, rows) in zip(paths, tables, strict=True):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
        write_bytes(path, text.getvalue().encode("utf-8"))
    return paths


def _number(value: float | None, digits: int = 4) -> str:
    return "" if value is None else f"{value:.{digits}f}"
