"""A prepared data set: every song decoded once, excerpts as plain reads of byte ranges.

`stemwise prepare` writes a store (`prepare`, layout in `store_manifest`), `open_store` reads it
from a folder or from any URL that fsspec knows. Its tracks satisfy the `Song` protocol.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemwise.activity import Activity
from stemwise.data.store_files import Files, LocalFiles, RemoteFiles, open_files
from stemwise.data.store_manifest import (
    MANIFEST,
    NUMPY,
    Dtype,
    Manifest,
    TrackRecord,
    data_bytes,
    labels_at,
    level_blocks,
    levels_at,
    parse_manifest,
    read_unfinished,
)
from stemwise.errors import DataError, hint

_LABELS_KEPT = 64  # tracks
MIXTURE = "mixture"
MAPPED = 1 << 30
"""Bytes of the largest store that is memory-mapped."""


class Store:
    """The tracks of a store, in the order of their data set.

    Attributes:
        where: its folder or URL.
        manifest: settings, origin, and a record per track.
        tracks: what training reads.
    """

    def __init__(self, files: Files, manifest: Manifest) -> None:
        self.where, self.manifest = files.where, manifest
        self.tracks = _stored(files, manifest)

    def split(self, name: str | None) -> list[StoredTrack]:
        """Tracks of one split; None takes all. Raises DataError where there is no such split."""
        if name is None:
            return list(self.tracks)
        chosen = [track for track in self.tracks if track.split == name]
        if not chosen:
            found = sorted({track.split for track in self.tracks if track.split})
            raise DataError(
                f"{self.where} has no split '{name}'; it has {', '.join(found) or 'no splits'}"
            )
        return chosen


class StoredTrack:
    """One song of a store; see `data.track.Song`.

    Attributes:
        name, split, sample_rate (hertz), samples: as in its data set, or as prepared.
        stems: sources that it has a stem of.
        channels: 1 or 2, of every stored signal.
        record: all that the manifest says about it.
    """

    def __init__(self, files: Files, record: TrackRecord, dtype: Dtype, labels: LabelCache) -> None:
        self.name, self.split = record.name, record.split
        self.sample_rate, self.samples = record.sample_rate, record.samples
        self.channels, self.record, self.dtype = record.channels, record, NUMPY[dtype]
        self.stems = tuple(one.name for one in record.signals if one.name != MIXTURE)
        self._files, self._kind, self._labels = files, dtype, labels
        self._rows = {one.name: row for row, one in enumerate(record.signals)}
        self._scales = {one.name: one.scale for one in record.signals}
        self._map: NDArray[Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_map": None}  # another process maps the file itself

    @property
    def has_mixture(self) -> bool:
        """Whether the mixture is stored; else it is the sum of the stems."""
        return MIXTURE in self._rows

    def scale(self, source: str) -> float:
        """What stored numbers of a stem, or of "mixture", are multiplied by to be samples."""
        scale = self._scales.get(source)
        return self.record.signals[self._row(source)].scale if scale is None else scale

    def read_pcm(
        self, source: str, start: int, samples: int, out: NDArray[Any] | None = None
    ) -> NDArray[Any]:
        """Stored numbers [start, start + samples) of a stem, or of "mixture".

        Args:
            out: array (channel, sample) of the store's dtype, each channel contiguous, that is
                filled and returned; with two channels both get what a mono track holds.

        Returns (channel, sample) in the store's dtype; times `scale(source)` they are samples.
        Without `out` it is read-only and costs no copy where the store is mapped.
        Raises DataError for what lies outside the track and for files that cannot be read.
        """
        if start < 0 or start + samples > self.samples:
            raise DataError(
                f"track '{self.name}' ends at sample {self.samples}, before {start + samples}"
            )
        row = self._row(source)
        if isinstance(self._files, LocalFiles) and self._files.mapped:
            stored = self._mapped(self._files)[row, :, start : start + samples]
            if out is None:
                return stored
            out[...] = stored  # a mono track's one channel goes into both
            return out
        if out is None:
            out = np.empty((self.channels, samples), self.dtype)
        first, size = row * self.channels, self.dtype.itemsize
        ranges = [
            (((first + channel) * self.samples + start) * size, out[channel])
            for channel in range(self.channels)
        ]
        self._files.fill(self.record.file, ranges)
        if len(out) > self.channels:
            out[self.channels :] = out[0]
        return out

    def read_stem(self, source: str, start: int, samples: int) -> NDArray[np.float32]:
        """Stereo samples [start, start + samples) of one stem as float32 (channel, sample)."""
        return self._read(source, start, samples)

    def read_mixture(self, start: int, samples: int) -> NDArray[np.float32]:
        """The mixture, or the sum of stems where it is not stored, as float32 (channel, sample)."""
        if self.has_mixture:
            return self._read(MIXTURE, start, samples)
        total = np.zeros((2, samples), np.float32)
        for source in self.stems:
            total += self._read(source, start, samples)
        return total

    @property
    def labels(self) -> Activity | None:
        """The track's activity labels; None where it has none. Read anew when long unused."""
        return None if self.record.labels is None else self._labels.get(self.name)

    def levels(self, source: str) -> NDArray[np.float32]:
        """Mean squares (block,) of a stem's 0.1 s blocks, over both channels.

        Also of "mixture" and, where there are vocals among the stems, of "accompaniment".
        """
        names = [level.name for level in self.record.levels]
        if source not in names:
            raise DataError(
                f"track '{self.name}' has no levels of '{source}': {hint(source, names)}"
            )
        return np.asarray(self._levels[names.index(source)])

    def active_level(self, source: str) -> float | None:
        """RMS of a stem over its non-silent 0.1 s blocks (full scale 1); None if all silent."""
        for level in self.record.levels:
            if level.name == source:
                return level.active_rms
        raise DataError(f"track '{self.name}' has no stem '{source}'")

    @cached_property
    def _levels(self) -> NDArray[np.float32]:
        record = self.record
        blocks = level_blocks(record.samples, record.sample_rate)
        levels = np.empty((len(record.levels), blocks), "<f4")
        at = levels_at(len(record.signals), record.channels, record.samples, self._kind)
        self._files.fill(record.file, [(at, levels)])
        return levels.astype(np.float32, copy=False)

    def _mapped(self, files: LocalFiles) -> NDArray[Any]:
        """All stored numbers (signal, channel, sample) in the file's memory map."""
        if self._map is None:
            shape = (len(self.record.signals), self.channels, self.samples)
            stored = files.view(self.record.file, 0, math.prod(shape), self.dtype)
            self._map = stored.reshape(shape)
        return self._map

    def _row(self, source: str) -> int:
        row = self._rows.get(source)
        if row is None:
            raise DataError(
                f"track '{self.name}' has no stem '{source}': {hint(source, tuple(self._rows))}"
            )
        return row

    def _read(self, source: str, start: int, samples: int) -> NDArray[np.float32]:
        if self.dtype.kind == "f" and self.dtype.itemsize == 4:
            stereo = np.empty((2, samples), np.float32)
            return self.read_pcm(source, start, samples, stereo)
        pcm = self.read_pcm(source, start, samples)
        stereo = np.empty((2, samples), np.float32)
        stereo[...] = pcm
        # converting, then scaling in place, takes half the time of doing both in one call
        scale = self.scale(source)
        if scale != 1:
            stereo *= np.float32(scale)
        return stereo


class LabelCache:
    """Labels of the tracks used last: as many stay in memory, however large the store is."""

    def __init__(self, files: Files, records: Sequence[TrackRecord], dtype: Dtype) -> None:
        self._files, self._dtype = files, dtype
        self._records = {record.name: record for record in records}
        self.get = lru_cache(_LABELS_KEPT)(self._read)

    def __reduce__(self) -> tuple[Any, ...]:
        return (LabelCache, (self._files, tuple(self._records.values()), self._dtype))

    def _read(self, name: str) -> Activity:
        record = self._records[name]
        assert record.labels is not None
        about = record.labels
        frames = np.empty((len(about.sources), about.frames), "<f4")
        self._files.fill(record.file, [(labels_at(record, self._dtype), frames)])
        probabilities = frames.astype(np.float32, copy=False)
        return Activity(about.sources, probabilities, about.frame_rate, about.duration)


def _stored(files: Files, manifest: Manifest) -> list[StoredTrack]:
    dtype = manifest.settings.dtype
    labels = LabelCache(files, manifest.tracks, dtype)
    return [StoredTrack(files, record, dtype, labels) for record in manifest.tracks]


def open_store(
    url: str | Path,
    *,
    partial: bool = False,
    mapped: int = MAPPED,
    options: dict[str, Any] | None = None,
) -> Store:
    """Open a store.

    Args:
        url: a folder, or a URL that fsspec knows (http, s3, memory ...).
        partial: also open a store whose preparation was interrupted, with what it holds.
        mapped: a local store of up to as many bytes is memory-mapped, which bounds the memory
            that this takes; a larger one is read.
        options: what fsspec needs for the URL, e.g. credentials and an endpoint.

    Raises DataError: no store there, damaged, not finished, or (in a folder) a data file that is
    missing or has another size than it was written with.
    """
    files = open_files(url, options)
    manifest = read_manifest(files)
    if not manifest.complete and not partial:
        raise DataError(
            f"{files.where} is not finished ({len(manifest.tracks)} of {manifest.expected} "
            "tracks): run the same stemwise prepare again, which continues"
        )
    if isinstance(files, LocalFiles):
        check_sizes(files, manifest.tracks, manifest.settings.dtype)
        files.mapped = sum(record.bytes for record in manifest.tracks) <= mapped
    return Store(files, manifest)


def read_manifest(files: LocalFiles | RemoteFiles) -> Manifest:
    """The manifest of a store, while it is unfinished with the records that are not in it yet.

    Raises DataError where there is no store, or one whose manifest is damaged.
    """
    if isinstance(files, LocalFiles) and not (Path(files.where) / MANIFEST).is_file():
        raise DataError(f"{files.where} is not a store: name a folder that stemwise prepare wrote")
    manifest = parse_manifest(files.read(MANIFEST), f"{files.where}/{MANIFEST}")
    if manifest.complete or not isinstance(files, LocalFiles):
        return manifest
    records = {record.name: record for record in manifest.tracks}
    records.update((record.name, record) for record in read_unfinished(Path(files.where)))
    return manifest.model_copy(update={"tracks": tuple(records[name] for name in sorted(records))})


def check_sizes(files: Files, records: Sequence[TrackRecord], dtype: Dtype) -> None:
    """Raise DataError unless every data file has the size that its record needs."""
    for record in records:
        size, expected = files.size(record.file), data_bytes(record, dtype)
        if size != expected:
            raise DataError(
                f"{files.where}/{record.file} has {size} bytes instead of {expected}: remove it "
                "and run stemwise prepare again"
            )
