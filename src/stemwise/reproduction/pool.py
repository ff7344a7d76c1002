"""Songs that stand in for the data sets of a table: rendered ones, or a folder of multitracks.

One pool of songs serves all sets of a table: every song belongs to one set, and within it to one of
training, validation and test. Sets that have labels only get songs whose stems are hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from stemwise.activity import Activity
from stemwise.data.places import Place
from stemwise.data.reading import make_track
from stemwise.data.regrouped import SongView
from stemwise.data.store import StoredTrack
from stemwise.data.track import Part, Track
from stemwise.errors import DataError
from stemwise.reproduction.experiments import FOUR, TARGETS
from stemwise.reproduction.scales import Scale

Splits = dict[str, list[str]]
"""Names of songs by split."""
SPLITS = ("train", "validation", "test")
SHARES = (0.6, 0.12, 0.28)
"""Of a stand-in set's songs."""
FEWEST = 4
"""Songs that a stand-in set needs: two to train on, one to validate, one to test."""
LABELS_ONLY = ("jamendo", "rwc")
"""Sets of mixtures with labels of vocals."""
GUITAR, GUITARS = "guitar", ("electric guitar", "acoustic guitar")
ALIKE = {"musdb18hq": "musdb18"}
"""Sets of the same songs; they are stood in for by the same songs."""


def render_pool(
    root: Path, scale: Scale, seed: int, workers: int, tell: Callable[[str], None]
) -> Path:
    """The songs that a scale renders for itself, in a folder of tracks; those there are kept."""
    from stemwise.band.render import render_folder

    folder = root / "songs"
    tracks = render_folder(
        folder,
        scale.rendered,
        seed,
        family="dsp",
        duration=scale.seconds,
        workers=workers,
        mixture=False,
        parts=True,
        suffix="flac",
        instrumental=False,
        a_cappella=False,
    )
    for done, _ in enumerate(tracks, 1):
        tell(f"song {done} of {scale.rendered} rendered")
    return folder


def read_pool(place: Place, root: Path) -> list[Track]:
    """The multitrack songs of a folder or store that have all four stems.

    A store is unpacked into files below `root` first. Raises DataError where no song has them.
    """
    songs = place.songs()
    whole = [song for song in songs if all(source in song.stems for source in FOUR)]
    if not whole:
        found = sorted({source for song in songs for source in song.stems})
        having = f"its songs have {', '.join(found)}" if found else "its songs have no stems"
        raise DataError(
            f"{place.where} cannot stand in for the data sets: it needs songs with the stems "
            f"{', '.join(FOUR)}, and {having}"
        )
    tracks = [song for song in whole if isinstance(song, Track)]
    stored = [song for song in whole if isinstance(song, StoredTrack)]
    return tracks + [_unpacked(song, root / "songs" / "unpacked") for song in stored]


def _unpacked(song: StoredTrack, root: Path) -> Track:
    from stemwise.reproduction.library import safe_name, write_song

    return write_song(song, root / safe_name(song.name), song.stems, 2)


def sounding(track: Track, sources: Sequence[str]) -> list[str]:
    """Those of the sources that are heard at all; labels tell it faster than the stems."""
    labels = track.labels
    known = () if labels is None else labels.sources
    return [
        source
        for source in sources
        if (
            bool((labels[source] > 0.5).any())
            if labels is not None and source in known
            else track.active_level(source) is not None
        )
    ]


def by_instrument(tracks: Sequence[Track]) -> list[Track]:
    """The tracks with a stem per instrument, those in which two or more of the targets play.

    Rendered songs keep the parts of their accompaniment in `parts/`. The band has one guitar, which
    is an electric and an acoustic one by turns. Stems that are silent throughout are left out, as a
    song of MedleyDB only has stems of what plays.
    """
    found = []
    guitars = 0
    for track in tracks:
        stems = dict(track.stems)
        folder = next(iter(track.stems.values()))[0].path.parent / "parts"
        for file in sorted(folder.glob("*.*")):
            stems[file.stem] = (Part(file),)
        heard = sounding(replace(track, stems=stems), list(stems))
        kept = {source: stems[source] for source in heard}
        if GUITAR in kept:
            kept[GUITARS[guitars % 2]] = kept.pop(GUITAR)
            guitars += 1
        if len(set(kept) & set(TARGETS)) > 1:
            found.append(make_track(track.name, track.split, kept))
    return found


def assign(
    names: Sequence[str], sets: Sequence[str], seed: int, tests: int | None = None
) -> dict[str, Splits]:
    """Deal songs to sets, and within each to training, validation and test.

    tests: test songs of a set at most. Where the songs are too few for disjoint sets, every set has
    all of them (`overlapping`). Raises DataError for fewer than FEWEST songs.
    """
    if len(names) < FEWEST:
        raise DataError(
            f"{len(names)} songs are too few to train, validate and test on: give {FEWEST} or more"
        )
    found = {}
    canonical = list(dict.fromkeys(ALIKE.get(one, one) for one in sets))
    order = np.random.default_rng([seed, len(names)]).permutation(sorted(names)).tolist()
    for number, name in enumerate(canonical):
        mine = order if overlapping(len(names), sets) else order[number :: len(canonical)]
        test = min(max(1, round(SHARES[2] * len(mine))), tests or len(mine))
        held = max(1, round(SHARES[1] * len(mine)))
        found[name] = {
            "test": mine[:test],
            "validation": mine[test : test + held],
            "train": mine[test + held :],
        }
    return {name: found[ALIKE.get(name, name)] for name in sets}


def assign_instruments(
    having: Mapping[str, Collection[str]], sets: Sequence[str], seed: int
) -> dict[str, Splits]:
    """Deal songs with stems by instrument: all are of the first set, which the others join.

    having: stems by song. Every target is in a song of each split as far as training can spare one:
    rare instruments would else be missing in some.
    """
    if len(having) < FEWEST:
        raise DataError(f"{len(having)} songs have stems by instrument: give {FEWEST} or more")
    order = np.random.default_rng([seed, len(having)]).permutation(sorted(having)).tolist()
    parts: Splits = {"train": list(order), "test": [], "validation": []}
    rare = sorted(TARGETS, key=lambda target: sum(target in one for one in having.values()))
    for split in ("test", "validation"):
        for target in rare:
            if not any(target in having[name] for name in parts[split]):
                _move(parts, split, having, target)
        count = max(1, round(SHARES[SPLITS.index(split)] * len(order)))
        while len(parts[split]) < count and _move(parts, split, having):
            pass
    found: dict[str, Splits] = {name: {split: [] for split in SPLITS} for name in sets}
    found[sets[0]] = parts
    return found


def _move(
    parts: Splits, split: str, having: Mapping[str, Collection[str]], target: str | None = None
) -> bool:
    """Move the first training song (with the target) that training can spare to another split.

    Another training song has each of its targets. Returns whether there was one.
    """
    train = parts["train"]
    for name in train:
        others = [having[other] for other in train if other != name]
        wanted = target is None or target in having[name]
        own = set(having[name]) & set(TARGETS)
        if wanted and all(any(one in other for other in others) for one in own):
            train.remove(name)
            parts[split].append(name)
            return True
    return False


def overlapping(songs: int, sets: Sequence[str]) -> bool:
    """Whether songs are too few to give every set its own."""
    canonical = {ALIKE.get(one, one) for one in sets}
    return songs < FEWEST * len(canonical)


class LabelOnly(SongView):
    """A song whose stems are hidden: its mixture, and labels of vocals."""

    @property
    def stems(self) -> tuple[str, ...]:
        """None that may be read."""
        return ()

    @property
    def labels(self) -> Activity | None:
        """Those of vocals alone."""
        known = self.song.labels
        if known is None or "vocals" not in known.sources:
            return None
        return replace(known, sources=("vocals",), probabilities=known["vocals"][None])

    def read_stem(self, source: str, start: int, samples: int) -> np.ndarray:
        """Raises DataError: there is none."""
        raise DataError(f"{self.name} has no stem of '{source}': it only has labels here")

    def active_level(self, source: str) -> float | None:
        """None: no stem is known."""
        return None
