"""Finds what is wrong with a store, and names it: the file, the stem and the time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stemwise.data.prepare import is_unchanged
from stemwise.data.store import read_manifest
from stemwise.data.store_files import Files, open_files
from stemwise.data.store_manifest import CHUNK, NUMPY, Dtype, Manifest, TrackRecord, data_bytes
from stemwise.data.store_write import file_digest
from stemwise.errors import DataError

_REMEDY = "remove it and run stemwise prepare again"


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        problems: one sentence each.
        tracks, bytes: how many were compared with their checksums.
        sources: how many source files were compared.
        unchecked: why no source file was; None where they were.
    """

    problems: tuple[str, ...]
    tracks: int
    bytes: int
    sources: int
    unchecked: str | None


def check_store(
    url: str | Path,
    *,
    root: str | Path | None = None,
    hash_sources: bool = False,
    progress: Callable[[TrackRecord], None] = lambda record: None,
) -> Report:
    """Compare every byte of a store with its checksums, and the source files with their records.

    Args:
        url: the store's folder or URL.
        root: where the data set is now; None looks where it was when it was prepared.
        hash_sources: read the source files too, instead of trusting their size and time.
        progress: called with every track that was compared.

    Raises DataError where there is no store, or one whose manifest is damaged.
    """
    files = open_files(url)
    manifest = read_manifest(files)
    problems: list[str] = []
    if not manifest.complete:
        problems.append(
            f"{files.where} is not finished ({len(manifest.tracks)} of {manifest.expected} "
            "tracks): run the same stemwise prepare again, which continues"
        )
    for record in manifest.tracks:
        problems += _data_problems(files, record, manifest.settings.dtype)
        progress(record)
    folder = Path(root if root is not None else manifest.origin.root)
    unchecked = None if folder.is_dir() else f"{folder} does not exist"
    sources = {} if unchecked else _sources(manifest, folder)
    for path, (record, at) in sources.items():
        problems += _source_problems(path, record, at, hash_sources)
    size = sum(record.bytes for record in manifest.tracks)
    return Report(tuple(problems), len(manifest.tracks), size, len(sources), unchecked)


def _data_problems(files: Files, record: TrackRecord, dtype: Dtype) -> Iterator[str]:
    """Sentences on a track's data file: missing, cut off, or changed within some chunks."""
    where = f"{files.where}/{record.file}"
    try:
        size, expected = files.size(record.file), data_bytes(record, dtype)
        if size != expected:
            yield f"{where} has {size} bytes instead of {expected}: {_REMEDY}"
            return
        damaged = []
        for number, digest in enumerate(record.chunks):
            start = number * CHUNK
            chunk = np.empty(min(CHUNK, size - start), np.uint8)
            files.fill(record.file, [(start, chunk)])
            if hashlib.sha256(chunk.data).hexdigest() != digest:
                damaged.append((start, start + len(chunk)))
    except DataError as error:
        yield str(error)
        return
    if damaged:
        start, end = damaged[0]
        span = f"{_place(record, dtype, start)} and {_place(record, dtype, end - 1)}"
        more = f", and in {len(damaged) - 1} more places" if len(damaged) > 1 else ""
        yield f"{where} is damaged between {span}{more}: {_REMEDY}"


def _place(record: TrackRecord, dtype: Dtype, byte: int) -> str:
    """What a byte of a data file belongs to."""
    plane, at = divmod(byte // NUMPY[dtype].itemsize, record.samples)
    signal = plane // record.channels
    if signal >= len(record.signals):
        return "its levels and labels"
    return f"'{record.signals[signal].name}' at {at / record.sample_rate:.1f} s"


def _sources(manifest: Manifest, folder: Path) -> dict[Path, tuple[TrackRecord, int]]:
    """Every source file with a record that has it, and its place in there."""
    return {
        folder / source.path: (record, at)
        for record in manifest.tracks
        for at, source in enumerate(record.sources)
        if "://" not in source.path  # fetched from there; nobody fetches it again to compare
    }


def _source_problems(path: Path, record: TrackRecord, at: int, hashed: bool) -> Iterator[str]:
    source = record.sources[at]
    if not path.is_file():
        yield f"{path} is gone, from which '{record.name}' was prepared: restore it"
        return
    same = file_digest(path) == source.sha256 if hashed else is_unchanged(source, path)
    if not same:
        yield f"{path} has changed since '{record.name}' was prepared: run stemwise prepare again"
