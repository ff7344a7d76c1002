"""The tracks of a run: songs with stems, named by folders, patterns, manifests and URLs.

A track is a folder of stems (`song/vocals.wav`), or a file `song.stem.mp4`. Behind a URL it may
lie at any depth; what lies in a track's folder belongs to it.
"""

from __future__ import annotations

import glob
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from stemwise.activity_files import SUFFIXES
from stemwise.catalogue.entries import Entry, checked_id, fixed_part, is_pattern, source_name
from stemwise.catalogue.manifest import is_manifest, read_manifest
from stemwise.catalogue.redaction import redacted
from stemwise.catalogue.storage import fetch, find_files, is_url, name_in, size_of
from stemwise.data.folder import read_track
from stemwise.data.track import Part, Track
from stemwise.errors import CatalogueError
from stemwise.evaluation.layout import AUDIO, SPLITS, STEM_FILE, is_track, list_references


@dataclass(frozen=True, slots=True)
class TrackEntry(Entry):
    """A track of a run; `source` is its folder or stem file.

    split: "train", "validation", "test", or "" for none. files: the parts of its sources, where
    the reader of its data set has found them.
    """

    split: str = ""
    files: Mapping[str, tuple[Part, ...]] | None = None


def read_tracks(
    arguments: Sequence[str], *, split: str | None = None, broken: list[str] | None = None
) -> list[TrackEntry]:
    """The tracks that a command line names, in its order.

    arguments: folders of tracks or data sets, single tracks, patterns whose matches are tracks,
    manifests with a track a row, and URLs of all of these but data sets with a layout of their own.
    split: only this one. broken: where sentences on broken tracks of data sets go.

    Raises CatalogueError where nothing is found, EvaluationError as `list_references`.
    """
    tracks: list[TrackEntry] = []
    for argument in arguments:
        found = list(_expand(argument, split, [] if broken is None else broken))
        if not found:
            which = "" if split is None else f" of the split {split!r}"
            raise CatalogueError(
                f"There are no tracks{which} in {redacted(argument)}: they are folders of stems "
                f"(song/vocals.wav), or files *{STEM_FILE}."
            )
        tracks += found
    return tracks


def is_plain(place: str) -> bool:
    """Whether a place is a path of this machine, and neither pattern nor manifest."""
    if is_manifest(place) or is_url(place):
        return False
    return Path(place).exists() or not is_pattern(place)


def _expand(argument: str, split: str | None, broken: list[str]) -> Iterator[TrackEntry]:
    if is_manifest(argument):
        yield from _of_manifest(argument)
    elif is_url(argument):
        yield from (one for one in _of_url(argument) if split in (None, one.split))
    elif not is_plain(argument):
        yield from (one for one in _of_pattern(argument) if split in (None, one.split))
    else:
        entries, sentences = list_references(Path(argument), split)
        broken += sentences
        for one in entries:
            name = f"{one.split}/{one.name}" if one.split else one.name
            yield TrackEntry(name, str(one.path), {}, one.split, one.files)


def _of_manifest(place: str) -> Iterator[TrackEntry]:
    for row in read_manifest(place):
        if row.options:
            raise CatalogueError(f"{row.place}: tracks have no options of their own.")
        name = _name(row.source) if row.id is None else checked_id(row.id, row.place)
        yield TrackEntry(name, row.source)


def _name(place: str) -> str:
    """What a track is called: a folder by its whole name, a stem file without the suffix."""
    if _is_stem_file(place):
        return source_name(place)
    return (name_in(place) if is_url(place) else Path(place).name) or "track"


def _of_pattern(pattern: str) -> Iterator[TrackEntry]:
    cut = len(fixed_part(pattern))
    for place in sorted(glob.glob(pattern, recursive=True)):
        if is_track(Path(place)):
            yield _entry(Path(place[cut:]).as_posix(), place)


def _of_url(place: str) -> Iterator[TrackEntry]:
    if _is_stem_file(place) and not is_pattern(place):
        yield TrackEntry(_name(place), place)
        return
    root = fixed_part(place).rstrip("/")
    wanted = _matcher(place[len(root) + 1 :]) if is_pattern(place) else None
    places: dict[str, str] = {}  # URLs of all files and folders by their paths below
    for below, url in find_files(f"{root}/"):
        places[below] = url
        for above in PurePosixPath(below).parents:
            url = url.rpartition("/")[0]
            places[str(above)] = url
    tracks = _tracks_among(places)
    if tracks == [""]:
        yield TrackEntry(_name(root), root)
        return
    splits = ("", *SPLITS)
    found = [(path, _entry(path, places[path])) for path in tracks]
    for path, one in sorted(found, key=lambda one: splits.index(one[1].split)):  # as in sets
        if wanted is None or wanted.fullmatch(path):
            yield one


def _matcher(pattern: str) -> re.Pattern[str]:
    from fsspec.utils import glob_translate

    return re.compile(glob_translate(pattern.rstrip("/")))


def _entry(below: str, place: str) -> TrackEntry:
    """A track by its path below the folder that was named."""
    path = PurePosixPath(below)
    split = path.parts[0] if len(path.parts) > 1 and path.parts[0] in SPLITS else ""
    return TrackEntry(str(path.with_name(_name(path.name))), place, {}, split)


def _tracks_among(files: Iterable[str]) -> list[str]:
    """Paths of tracks among those of files: stem files, and the outermost folders of audio.

    The folder that was named is a track itself ("") where stems lie in it.
    """
    stem_files, folders = set(), set()
    for file in files:
        path = PurePosixPath(file)
        if any(part.startswith(".") for part in path.parts):
            continue
        if path.name.lower().endswith(STEM_FILE):
            stem_files.add(file)
        elif path.suffix.lower() in AUDIO:
            folders.add("" if len(path.parts) == 1 else str(path.parent))
    if "" in folders and not stem_files:
        return [""]
    outermost = {
        folder
        for folder in folders - {""}
        if not folders & {str(above) for above in PurePosixPath(folder).parents}
    }
    return sorted(outermost | {one for one in stem_files if not _within(one, outermost)})


def _within(file: str, folders: set[str]) -> bool:
    return any(str(above) in folders for above in PurePosixPath(file).parents)


def fetch_track(source: str, folder: Path, cancel: threading.Event | None = None) -> Path:
    """A track as a local folder or stem file: itself where it is one, else a copy in `folder`.

    Its label file comes with it. Raises CatalogueError, Cancelled.
    """
    if not is_url(source):
        if not Path(source).exists():
            raise CatalogueError(f"There is no track {source}.")
        return Path(source)
    if _is_stem_file(source):
        return fetch(source, folder, cancel)
    copy = folder / _name(source)
    copy.mkdir()
    for url in _files_of(source):
        fetch(url, copy, cancel)
    return copy


def _is_stem_file(source: str) -> bool:
    return source.partition("?")[0].lower().endswith(STEM_FILE)


def _files_of(source: str) -> list[str]:
    """URLs of the stems in a track's folder, and of its labels; raises CatalogueError."""
    urls = []
    for below, url in find_files(f"{source.rstrip('/')}/"):
        path = PurePosixPath(below)
        labels = path.stem == "activity" and path.suffix.lower() in SUFFIXES
        if len(path.parts) == 1 and (labels or path.suffix.lower() in AUDIO):
            urls.append(url)
    if not urls:
        raise CatalogueError(f"There is no track {redacted(source)}.")
    return urls


@dataclass(frozen=True)
class AwayTrack:
    """A track behind a URL that is prepared for training (see `data.away.Away`)."""

    entry: TrackEntry

    @property
    def name(self) -> str:
        """Its id."""
        return self.entry.id

    @property
    def split(self) -> str:
        """Its split, "" for none."""
        return self.entry.split

    @property
    def base(self) -> str:
        """The folder of its folder or stem file, with a slash."""
        place = self.entry.source.partition("?")[0].rstrip("/")
        return redacted(f"{place.rpartition('/')[0]}/")

    def sizes(self) -> dict[str, int | None]:
        """Bytes of its files by their URLs as records have them; raises CatalogueError."""
        source = self.entry.source
        urls = [source] if _is_stem_file(source) else _files_of(source)
        beside = "" if _is_stem_file(source) else f"{_name(source)}/"
        return {f"{self.base}{beside}{name_in(url)}": size_of(url) for url in urls}

    def bring(self, folder: Path, cancel: threading.Event | None) -> Track:
        """Copy its files into `folder`; raises CatalogueError, DataError, Cancelled."""
        return read_track(fetch_track(self.entry.source, folder, cancel), self.name, self.split)
