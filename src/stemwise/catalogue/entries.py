"""The songs of a run: files, folders, patterns, manifests and URLs, each with its results' name."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from stemwise.catalogue.manifest import is_manifest, read_manifest
from stemwise.catalogue.redaction import redacted
from stemwise.catalogue.storage import find_files, is_url, name_in
from stemwise.data.reading import AUDIO_SUFFIXES
from stemwise.errors import CatalogueError
from stemwise.naming import track_name

SORTED_AT_MOST = 10_000
"""Among more songs the last ones matter little, and looking at every file takes a while."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A song of a run.

    id: names the song in the ledger and its results; may hold folders ("album/song"), never "..".
    source: path or URL. options: of this song alone, in place of those of the run.
    """

    id: str
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_remote(self) -> bool:
        """Whether the song has to be fetched."""
        return is_url(self.source)

    @property
    def shown(self) -> str:
        """Its path or URL as people and the ledger may see it."""
        return redacted(self.source)


def read_entries(arguments: Sequence[str], *, leave_out: Path | None = None) -> list[Entry]:
    """The songs that a command line names, in its order; those of a folder sorted by name.

    arguments: audio files; folders and patterns (`songs/**/*.mp3`), whose songs are called by their
    path below them; manifests (see `read_manifest`); URLs of all of these, for every file system
    that fsspec knows. leave_out: a folder whose files are no songs, such as that of the results.

    Raises CatalogueError where nothing is found.
    """
    entries: list[Entry] = []
    for argument in arguments:
        found = list(_expand(argument, leave_out))
        if not found:
            raise CatalogueError(
                f"There are no songs in {redacted(argument)}: they are known by their suffixes "
                f"({_suffixes()})."
            )
        entries += found
    return entries


def largest_first(entries: Sequence[Entry]) -> Sequence[Entry]:
    """The songs by the size of their files, so that no long one begins when all others are done.

    Those that are no files of this machine come last, in their order; more than `SORTED_AT_MOST`
    songs stay as they are.
    """
    if len(entries) > SORTED_AT_MOST:
        return entries
    return sorted(entries, key=_size, reverse=True)


def _size(entry: Entry) -> int:
    if entry.is_remote or os.path.isdir(entry.source):
        return 0
    try:
        return os.stat(entry.source).st_size
    except (OSError, ValueError):  # what is wrong is told when it is its turn
        return 0


def is_many(argument: str) -> bool:
    """Whether an argument is a folder, pattern or manifest, and not a song."""
    if is_manifest(argument):
        return True
    if is_url(argument):
        return argument.endswith("/") or is_pattern(argument)
    path = Path(argument)
    return path.is_dir() or (not path.exists() and is_pattern(argument))


def _expand(argument: str, leave_out: Path | None) -> Iterator[Entry]:
    if is_manifest(argument):
        yield from _of_manifest(argument)
    elif not is_many(argument):
        yield Entry(source_name(argument), argument)
    elif is_url(argument):
        root = fixed_part(argument)
        yield from _named(find_files(root, argument if is_pattern(argument) else None))
    else:
        files = _matching(argument) if is_pattern(argument) else _walk(Path(argument))
        cut = len(fixed_part(argument))
        kept = (file for file in files if leave_out is None or not _inside(file, leave_out))
        yield from _named((file[cut:], file) for file in kept)


def is_pattern(text: str) -> bool:
    """Whether a path or URL has wildcards."""
    # in a URL a question mark begins the query
    return "*" in text.partition("?")[0] if is_url(text) else glob.has_magic(text)


def _of_manifest(place: str) -> Iterator[Entry]:
    for row in read_manifest(place):
        name = source_name(row.source) if row.id is None else checked_id(row.id, row.place)
        yield Entry(name, row.source, row.options)


def source_name(source: str) -> str:
    """What the results of a file or URL are called: its name without the suffix."""
    if not is_url(source):
        return track_name(Path(source))
    return track_name(Path(name_in(source)))


def checked_id(name: str, place: str) -> str:
    """An id that a manifest gives at `place`; raises CatalogueError if it names no folder."""
    path = PurePosixPath(name.replace(os.sep, "/"))
    if not name.strip() or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise CatalogueError(
            f"{place}: the id {name!r} cannot name a folder of results: use a name, or names "
            "parted by /, without '..'."
        )
    return str(path)


def _named(files: Iterable[tuple[str, str]]) -> Iterator[Entry]:
    """Songs among files (path below the folder, path or URL), called by the former."""
    for below, file in files:
        path = PurePosixPath(below.replace(os.sep, "/").lstrip("/"))
        if path.suffix.lower() in AUDIO_SUFFIXES:
            yield Entry(str(path.with_name(track_name(Path(path.name)))), file)


def fixed_part(argument: str) -> str:
    """The folder in front of the first wildcard, or the folder itself, ending with a separator."""
    if not is_pattern(argument):
        return argument if is_url(argument) else os.path.join(argument, "")
    parts = argument.replace(os.sep, "/").split("/")
    fixed = next(index for index, part in enumerate(parts) if is_pattern(part))
    return "/".join([*parts[:fixed], ""])


def _matching(pattern: str) -> Iterator[str]:
    yield from sorted(file for file in glob.glob(pattern, recursive=True) if os.path.isfile(file))


def _walk(folder: Path) -> Iterator[str]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(root, name) for name in sorted(files) if name[0] != ".")


def _inside(file: str, folder: Path) -> bool:
    return Path(os.path.abspath(file)).is_relative_to(os.path.abspath(folder))


def _suffixes() -> str:
    return ", ".join(suffix[1:] for suffix in sorted(AUDIO_SUFFIXES))


def refuse_same_ids(entries: Iterable[Entry]) -> None:
    """Raise CatalogueError where two songs have the same name, also but for letter case."""
    sources: dict[str, str] = {}
    for entry in entries:
        key = entry.id.casefold()  # some file systems do not tell them apart
        if key in sources:
            what = "is given twice" if sources[key] == entry.source else "has the same name"
            raise CatalogueError(
                f"{entry.shown} {what} ({entry.id}, {redacted(sources[key])}): name every song "
                "once, or give ids in a manifest."
            )
        sources[key] = entry.source
