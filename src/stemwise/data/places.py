"""Data sets as a command line names them: a store, a folder of a known layout, or KIND=ROOT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stemwise.data.sets import READERS, detect_kind, read_set
from stemwise.data.store import open_store
from stemwise.data.store_manifest import MANIFEST
from stemwise.data.track import Song
from stemwise.errors import DataError


@dataclass(frozen=True)
class Place:
    """Where a data set is: the folder or URL of a store (`kind` None), or a folder of a kind."""

    kind: str | None
    where: str

    def songs(self, split: str | None = None, *, broken: list[str] | None = None) -> list[Song]:
        """Its songs, all of them or those of one split; `broken` as in `read_set`."""
        if self.kind is None:
            return list(open_store(self.where).split(split))
        return list(read_set(self.kind, self.where, split, broken=broken))


def of_split(songs: Sequence[Song], split: str) -> list[Song]:
    """The songs of a split, and those of data sets without splits."""
    return [song for song in songs if song.split in (split, "")]


def name_places(texts: Sequence[str]) -> dict[str, Place]:
    """Places by the name of the data set, from PLACE, KIND=PLACE, NAME=PLACE or NAME=KIND=PLACE.

    A set without a name is called as its folder. Raises DataError for folders that are no data
    set, and for two sets of one name.
    """
    named: dict[str, Place] = {}
    for text in texts:
        name, kind, where = None, None, text
        head, equals, tail = where.partition("=")
        if equals and head not in READERS and not Path(where).exists() and "/" not in head:
            name, where = head, tail
            head, equals, tail = where.partition("=")
        if equals and head in READERS and _is_store(tail):
            name, where = name or head, tail  # a store needs no reader: this is a name
        elif equals and head in READERS:
            kind, where = head, tail
        elif not _is_store(where):
            kind = detect_kind(where)
        name = name or where.rstrip("/").rpartition("/")[2] or where
        if name in named:
            raise DataError(f"two data sets are named {name!r}: name one as NAME={text}")
        named[name] = Place(kind, where)
    return named


def _is_store(where: str) -> bool:
    return "://" in where or (Path(where) / MANIFEST).exists()
