"""Manifests: tables of songs in CSV, JSON lines or Parquet.

Columns: `path` or `url` says where a song is (a relative path is meant from the manifest's folder),
`id` names its results, and `options` are its own, as `key=value` pairs apart by spaces or, in JSON
lines and Parquet, as an object. Other columns (artist, title ...) are nobody's business here.
"""

from __future__ import annotations

import csv
import io
import json
import os
import posixpath
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from stemwise.catalogue.redaction import redacted
from stemwise.catalogue.storage import is_url, opened
from stemwise.errors import CatalogueError

SUFFIXES = (".csv", ".jsonl", ".ndjson", ".parquet")
SOURCES = ("path", "url")
NONE: Mapping[str, Any] = {}
"""The options of songs without any: one object for a million songs, and nobody's to change."""


@dataclass(frozen=True, slots=True)
class Row:
    """A song of a manifest; `place` is where it stands, for messages."""

    place: str
    source: str
    id: str | None = None
    options: Mapping[str, Any] = field(default_factory=lambda: NONE)


def is_manifest(place: str) -> bool:
    """Whether a path or URL is that of a manifest, by its suffix."""
    return PurePosixPath(place.partition("?")[0]).suffix.lower() in SUFFIXES


def read_manifest(place: str) -> Iterator[Row]:
    """The songs of a manifest, a path or URL, in its order.

    Raises CatalogueError, naming the row, for what cannot be read or lacks what a song needs.
    """
    suffix = PurePosixPath(place.partition("?")[0]).suffix.lower()
    read = {".csv": _read_csv, ".parquet": _read_parquet}.get(suffix, _read_lines)
    with opened(place) as file:
        for number, cells in read(file, redacted(place)):
            yield _row(place, number, cells)


def _row(place: str, number: int, cells: Mapping[str, Any]) -> Row:
    where = f"{redacted(place)}, row {number}"
    given = {name: str(cells[name]).strip() for name in SOURCES if cells.get(name)}
    if len(given) != 1:
        what = "both a path and a url" if given else "neither a path nor a url"
        raise CatalogueError(f"{where} has {what}: give it one of them.")
    [source] = given.values()
    if not is_url(source) and not os.path.isabs(source):
        source = _beside(place, source)
    name = cells.get("id")
    name = None if name is None or str(name).strip() == "" else str(name).strip()
    return Row(where, source, name, _options(where, cells.get("options")))


def _beside(manifest: str, source: str) -> str:
    if not is_url(manifest):
        return str(Path(manifest).parent / source)
    # what opened the manifest is not for other files: a signature is of one URL
    scheme, _, place = manifest.partition("?")[0].partition("://")
    host, _, path = place.partition("/")
    beside = posixpath.normpath("/" + posixpath.join(posixpath.dirname(path), source))
    return f"{scheme}://{host}{beside}"


def _options(where: str, cell: Any) -> Mapping[str, Any]:
    if cell is None or cell == "":
        return NONE
    if isinstance(cell, Mapping):
        return {key: value for key, value in cell.items() if value is not None}
    pairs = [pair.partition("=") for pair in shlex.split(str(cell))]
    if not all(key and equals for key, equals, _ in pairs):
        raise CatalogueError(f"{where}: the options {cell!r} must be key=value, apart by spaces.")
    return {key: value for key, _, value in pairs}


def _read_csv(file: IO[bytes], place: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        table = csv.DictReader(io.TextIOWrapper(file, "utf-8-sig", newline=""), strict=True)
        _check_columns(place, table.fieldnames or ())
        for cells in table:
            if None in cells:
                raise CatalogueError(
                    f"{place}, row {table.line_num} has more cells than columns: put cells "
                    "with commas in quotes."
                )
            yield table.line_num, cells
    except (csv.Error, UnicodeDecodeError) as error:
        raise CatalogueError(f"{place} cannot be read as CSV in UTF-8 ({error}).") from error


def _read_lines(file: IO[bytes], place: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except ValueError as error:
            raise CatalogueError(f"{place}, row {number} is no JSON ({error}).") from error
        if not isinstance(cells, dict):
            raise CatalogueError(f"{place}, row {number} is no JSON object.")
        yield number, cells


def _read_parquet(file: IO[bytes], place: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise CatalogueError(
            "Parquet needs pyarrow, which is not installed: pip install 'stemwise[parquet]'."
        ) from error
    try:
        table = pyarrow.parquet.ParquetFile(file)
        _check_columns(place, table.schema_arrow.names)
        wanted = [n for n in (*SOURCES, "id", "options") if n in table.schema_arrow.names]
        rows = (row for batch in table.iter_batches(columns=wanted) for row in batch.to_pylist())
        yield from enumerate(rows, 1)
    except pyarrow.ArrowException as error:
        raise CatalogueError(f"{place} cannot be read as Parquet ({error}).") from error


def _check_columns(place: str, names: Iterable[str]) -> None:
    if not set(SOURCES) & set(names):
        found = ", ".join(names) or "none"
        raise CatalogueError(f"{place} has no column path or url: its columns are {found}.")
