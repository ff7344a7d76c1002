"""Songs of the data sets of a table, in the form that networks take, to train and to test.

Every set is decoded once into a store per form; test songs are then written out as files at the
same rate, because evaluation reads files. Both are kept in the folder of the reproduction.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from stemwise.activity import Activity, write_activity
from stemwise.audio import AudioFormat, create_audio
from stemwise.data.places import Place
from stemwise.data.prepare import Done, prepare
from stemwise.data.sets import SETS
from stemwise.data.store import StoredTrack
from stemwise.data.track import Part, Song, Track
from stemwise.errors import DataError
from stemwise.reproduction.experiments import FOUR, Form
from stemwise.reproduction.pool import (
    ALIKE,
    LABELS_ONLY,
    SHARES,
    LabelOnly,
    Splits,
    assign,
    assign_instruments,
    by_instrument,
    overlapping,
    sounding,
)

EQUAL_RMS = 0.05
"""Linear RMS of the sounding parts of every stem of an equalised mix."""
PEAK = 0.99
FULL_SCALE = 1 / 32768
"""Of a stored 16-bit number."""
HELD_OUT = {"dsd100": 10, "jamendo": 10}
"""Training songs that are held out for validation (ours; Stoller et al. select on test songs)."""
BLOCK = 1 << 20


@dataclass(frozen=True)
class TestSong:
    """A song to be scored: files of its stems and mixture at one rate, and when sources play."""

    __test__ = False  # not a test case

    track: Track
    labels: Activity | None


class Library:
    """Songs by data set, split and form.

    Args:
        root: where stores and test songs are kept.
        data: places of data sets by name.
        pool: songs that stand in for every set of a table; None where data sets are given.
        most, tests_at_most: stand-in songs of a set, and test songs among them, at most.
        seed: of what is drawn: the parts of the pool, splits of sets without any.
        workers: processes that decode.
        tell: told what is being done.
    """

    def __init__(
        self,
        root: Path,
        data: Mapping[str, Place],
        pool: Sequence[Track] | None,
        *,
        most: int | None = None,
        tests_at_most: int | None = None,
        seed: int = 42,
        workers: int = 1,
        tell: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        self.root, self.data, self.pool = root, data, pool
        self.most, self.tests_at_most = most, tests_at_most
        self.seed, self.workers, self.tell = seed, workers, tell
        self._known: dict[str, bool] = {}
        self._stores: dict[tuple[str, ...], dict[str, Song]] = {}
        self._real: dict[tuple[str, Form], dict[str, list[Song]]] = {}

    def check(self, sets: Sequence[str]) -> None:
        """Raise DataError, naming what is missing, unless there are songs for all the sets."""
        missing = [] if self.pool is not None else [one for one in sets if one not in self.data]
        if missing:
            names = ", ".join(f"{one} ({SETS[one].title}: {SETS[one].layout})" for one in missing)
            raise DataError(
                f"the table needs {names}: give --data {missing[0]}=FOLDER (docs/data.md tells how "
                "each set lies on disk), or --songs FOLDER with songs that stand in for it"
            )

    def notes(self, sets: Sequence[str]) -> list[str]:
        """What is to be known of the songs of a table."""
        if self.pool is None:
            unlisted = [SETS[one].title for one in sets if one in ("medleydb", "mixing_secrets")]
            joined = " and ".join(unlisted)
            return [f"{joined}: split by a seed, not by the paper's lists."] if unlisted else []
        if len(sets) > 1 and overlapping(len(self._names(False, len(_distinct(sets)))), sets):
            return ["There are too few songs for disjoint sets: all sets have the same ones."]
        return []

    def counts(self, sets: Sequence[str], form: Form) -> str:
        """How many songs each set of a table has, e.g. "DSD100: 29 + 6 + 13"."""
        told = []
        for name in sets:
            splits = ("train", "validation", "test")
            sizes = [len(self.songs(sets, name, split, form)) for split in splits]
            if any(sizes):
                told.append(f"{SETS[name].title}: {' + '.join(map(str, sizes))}")
        return f"Songs for training + validation + test: {'; '.join(told)}."

    def songs(self, sets: Sequence[str], name: str, split: str, form: Form) -> list[Song]:
        """Songs of one of a table's `sets` at the form's rate."""
        if self.pool is None:
            return self._from_data(name, form)[split]
        dealt = self._dealt(sets, form)[name]
        store = self._stand_in(sets, form)
        songs = [store[one] for one in dealt[split] if one in store]
        return [LabelOnly(one) for one in songs] if name in LABELS_ONLY else songs

    def tests(self, sets: Sequence[str], name: str, form: Form) -> list[TestSong]:
        """The test songs of a set, written out as files."""
        label = name if self.pool is None else "+".join(_distinct(sets))
        equal = "-equal" if form.equalised else ""
        root = self.root / "tests" / f"{form.name}{equal}" / label
        found = []
        for song in self.songs(sets, name, "test", form):
            stems = () if isinstance(song, LabelOnly) else song.stems
            ending = "-labels" if isinstance(song, LabelOnly) else ""
            folder = root / (safe_name(song.name) + ending)
            gains = _equal_gains(song, stems) if form.equalised else {}
            track = write_song(song, folder, stems, form.channels, gains)
            found.append(TestSong(track, song.labels))
        return found

    def _names(self, instruments: bool, sets: int) -> list[str]:
        """Names of the songs that stand in for as many sets, sorted."""
        return sorted(self._tracks(instruments, sets))

    def _tracks(self, instruments: bool, sets: int) -> dict[str, Track]:
        """Pool songs in which all four stems are heard, or as they are by instrument."""
        if instruments:
            return self._instruments
        return self._heard(None if self.most is None else self.most * sets)

    def _heard(self, count: int | None) -> dict[str, Track]:
        """The first `count` such songs in an order that the seed gives; more are a superset."""
        assert self.pool is not None
        songs = {safe_name(track.name): track for track in self.pool}
        order = np.random.default_rng([self.seed, len(songs), 1]).permutation(sorted(songs))
        found: dict[str, Track] = {}
        for name in order.tolist():
            if len(found) == count:
                break
            if name not in self._known:
                self._known[name] = len(sounding(songs[name], FOUR)) == len(FOUR)
            if self._known[name]:
                found[name] = songs[name]
        if not found:
            raise DataError(f"no song of the pool has all of {', '.join(FOUR)} heard: use others")
        return found

    @cached_property
    def _instruments(self) -> dict[str, Track]:
        chosen = self._heard(None if self.most is None else 2 * self.most)
        return {safe_name(track.name): track for track in by_instrument(list(chosen.values()))}

    def _dealt(self, sets: Sequence[str], form: Form) -> dict[str, Splits]:
        names = self._names(form.instruments, len(_distinct(sets)))
        if form.instruments:
            having = {name: self._instruments[name].stems for name in names}
            return assign_instruments(having, sets, self.seed)
        return assign(names, sets, self.seed, self.tests_at_most)

    def _stand_in(self, sets: Sequence[str], form: Form) -> dict[str, Song]:
        """The store of all stand-in songs of a table, by name."""
        distinct = _distinct(sets)
        key = (form.name, *distinct)
        if key not in self._stores:
            tracks = self._tracks(form.instruments, len(distinct))
            names = sorted(tracks)
            folder = self.root / "stores" / form.name / "+".join(distinct)
            self._stores[key] = self._prepared([tracks[one] for one in names], folder, form)
        return self._stores[key]

    def _prepared(self, tracks: Sequence[Track], folder: Path, form: Form) -> dict[str, Song]:
        count = 0

        def progress(done: Done) -> None:
            nonlocal count
            count += 1
            if not done.kept:
                self.tell(f"song {count} of {len(tracks)} decoded for {form.name}")

        store = prepare(
            tracks,
            folder,
            sample_rate=form.sample_rate,
            channels=form.channels,
            labels=True,
            workers=self.workers,
            progress=progress,
        )
        return {safe_name(song.name): song for song in store.tracks}

    def _from_data(self, name: str, form: Form) -> dict[str, list[Song]]:
        """The songs of a data set by split."""
        key = (name, form)
        if key not in self._real:
            place = self.data[name]
            songs = place.songs()
            if place.kind is not None:
                tracks = [song for song in songs if isinstance(song, Track)]
                folder = self.root / "stores" / form.name / name
                songs = list(self._prepared(tracks, folder, form).values())
            for song in songs:
                if song.sample_rate != form.sample_rate:
                    raise DataError(
                        f"{place.where} has {song.sample_rate} Hz and the networks take "
                        f"{form.sample_rate} Hz: give the folder of the data set, or such a store"
                    )
            self._real[key] = split_songs(name, songs, self.seed)
        return self._real[key]


def _distinct(sets: Sequence[str]) -> list[str]:
    """Sets that have songs of their own where a pool stands in for them, sorted."""
    return sorted({ALIKE.get(one, one) for one in sets})


def split_songs(name: str, songs: Sequence[Song], seed: int) -> dict[str, list[Song]]:
    """Songs of a data set as the papers split it.

    DSD100 and Jamendo hold 10 training songs out for validation; Jamendo is tested on its
    validation and test songs (Stoller et al. 2018). Sets without splits are split by the seed.
    """
    found: dict[str, list[Song]] = {"train": [], "validation": [], "test": []}
    if all(not song.split for song in songs):
        order = np.random.default_rng([seed, len(songs)]).permutation(len(songs)).tolist()
        test, held = (max(1, round(share * len(songs))) for share in (SHARES[2], SHARES[1]))
        for place, number in enumerate(order):
            split = "test" if place < test else "validation" if place < test + held else "train"
            found[split].append(songs[number])
        return found
    for song in songs:
        jamendo = name == "jamendo" and song.split == "validation"
        found["test" if jamendo else song.split or "train"].append(song)
    if name in HELD_OUT and not found["validation"]:
        order = np.random.default_rng(seed).permutation(len(found["train"])).tolist()
        held = min(HELD_OUT[name], max(1, len(order) // 4))
        train = found["train"]
        found["validation"] = [train[number] for number in sorted(order[:held])]
        found["train"] = [train[number] for number in sorted(order[held:])]
    return found


def write_song(
    song: Song,
    folder: Path,
    stems: Collection[str],
    channels: int,
    gains: Mapping[str, float] | None = None,
) -> Track:
    """A song as files `<folder>/<source>.wav`, kept where it is there already; returns the track.

    gains: of its stems; the mixture is then their sum. Mixture and labels are written too.
    """
    names = [*stems, "mixture"]
    parts = {name: (Part(folder / f"{name}.wav"),) for name in names}
    labels = folder / "activity.csv"
    if not folder.is_dir():
        temporary = folder.with_name(f".{folder.name}.{os.getpid()}.part")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for name in names:
            _write_signal(song, name, temporary / f"{name}.wav", channels, gains or {})
        if song.labels is not None:
            write_activity(temporary / labels.name, song.labels)
        os.replace(temporary, folder)
    known = labels if song.labels is not None else None
    own = {name: parts[name] for name in stems}
    rate, samples = song.sample_rate, song.samples
    return Track(song.name, "test", rate, samples, own, parts["mixture"], known)


def _write_signal(
    song: Song, name: str, path: Path, channels: int, gains: Mapping[str, float]
) -> None:
    """One stem, or the mixture; in 16 bits where they hold it just as it is stored."""
    exact = not gains and name in song.stems and isinstance(song, StoredTrack)
    if isinstance(song, StoredTrack):
        exact = exact and channels == song.channels and song.scale(name) <= FULL_SCALE
    format = AudioFormat("wav", "int16" if exact else "float32")
    with create_audio(path, song.sample_rate, channels, format=format) as writer:
        for start in range(0, song.samples, BLOCK):
            count = min(BLOCK, song.samples - start)
            if name != "mixture":
                block = song.read_stem(name, start, count) * np.float32(gains.get(name, 1.0))
            elif gains:
                block = np.zeros((2, count), np.float32)
                for source, gain in gains.items():
                    block += song.read_stem(source, start, count) * np.float32(gain)
            else:
                block = song.read_mixture(start, count)
            writer.write(block if channels == 2 else block.mean(axis=0, keepdims=True))


def _equal_gains(song: Song, stems: Collection[str]) -> dict[str, float]:
    """Gains that bring stems to equal RMS, all quieter where their mixture could clip."""
    levels = {name: song.active_level(name) for name in stems}
    gains = {name: EQUAL_RMS / level for name, level in levels.items() if level}
    loudest = 0.0
    for start in range(0, song.samples, BLOCK):
        count = min(BLOCK, song.samples - start)
        total = sum(song.read_stem(name, start, count) * gain for name, gain in gains.items())
        loudest = max(loudest, float(np.max(np.abs(total), initial=0.0)))
    factor = min(1.0, PEAK / loudest) if loudest else 1.0
    return {name: gain * factor for name, gain in gains.items()}


def safe_name(name: str) -> str:
    """A song's name as the name of a file, unique where the names are."""
    plain = re.sub(r"[^\w .,()&+-]+", "_", name).strip(" .")
    if plain == name:
        return plain
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
