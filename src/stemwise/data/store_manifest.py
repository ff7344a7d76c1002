"""What a store says about itself: `store.json` at its root, and one record per track in it.

A store is a folder:

    store.json                  manifest: settings, where the songs came from, a record per track
    tracks/<name>-<hash>.pcm    one file per track, little-endian, without a header:
                                samples (signal, channel, sample) of the manifest's dtype,
                                then from `levels_at` on float32 (level row, 0.1 s block), mean
                                squares of every signal and of what is derived from them,
                                then from `labels_at` on float32 (label source, frame)
    .unfinished/<file>.json     records of finished tracks while the store is being prepared

Signals are planar: an excerpt of a stem is one contiguous piece per channel.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from stemwise.errors import DataError

MANIFEST = "store.json"
TRACKS = "tracks"
UNFINISHED = ".unfinished"
FORMAT: Literal["stemwise store"] = "stemwise store"
VERSION = 1
CHUNK = 4 << 20
"""Bytes of a data file that have a checksum of their own, which tells where a file is damaged."""

_BLANK = "0" * 64

Dtype = Literal["int16", "float16", "float32"]
DTYPES: tuple[Dtype, ...] = ("int16", "float16", "float32")
NUMPY: dict[Dtype, np.dtype[np.generic]] = {
    "int16": np.dtype("<i2"),
    "float16": np.dtype("<f2"),
    "float32": np.dtype("<f4"),
}


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceFile(_Record):
    """A file that a track was made from; `path` relative to the root of the data set."""

    path: str
    bytes: int
    mtime_ns: int
    sha256: str


class SignalPart(_Record):
    """One of the parts whose sum a signal is (see `data.track.Part`)."""

    path: str
    stream: int
    channel: int | None


class Signal(_Record):
    """One stem, or the mixture: a stored number times `scale` is a sample in full scale 1."""

    name: str
    scale: float
    parts: tuple[SignalPart, ...]


class Level(_Record):
    """How loud one signal of a song is; linear full scale, None where it has no such value.

    rms: over the whole song; peak: largest absolute sample; active: share of the 0.1 s blocks
    above -60 dBFS; active_rms: over those; loud: share of 10 ms windows whose mean absolute
    amplitude exceeds 5e-4; loudness: of the mixture only, integrated, BS.1770, in LUFS.
    """

    name: str
    rms: float
    peak: float
    active: float
    active_rms: float | None
    loud: float
    loudness: float | None


class Labels(_Record):
    """Activity labels of a track: their frames are behind its samples."""

    sources: tuple[str, ...]
    frames: int
    frame_rate: float
    duration: float


class TrackRecord(_Record):
    """One track: what is in its data file, and what that was made from."""

    name: str
    split: str
    file: str
    sample_rate: int
    channels: int
    samples: int
    signals: tuple[Signal, ...]
    levels: tuple[Level, ...]
    labels: Labels | None
    bytes: int
    sha256: str
    chunks: tuple[str, ...]
    sources: tuple[SourceFile, ...]

    def row(self, signal: str) -> int:
        """Position of a signal in the data file; raises KeyError."""
        for index, one in enumerate(self.signals):
            if one.name == signal:
                return index
        raise KeyError(signal)


class Settings(_Record):
    """How every track was written; None: as it is in its files.

    labels: whether tracks without any have labels computed from their stems.
    """

    sample_rate: int | None = None
    channels: int | None = None
    sources: tuple[str, ...] | None = None
    dtype: Dtype = "int16"
    labels: bool = False


class Origin(_Record):
    """The data set behind a store."""

    kind: str = "folder"
    root: str = ""
    split: str | None = None


class Manifest(_Record):
    """The whole store; not `complete` while tracks are missing.

    `sha256` is that of the file itself with zeros in its place.
    """

    format: Literal["stemwise store"] = FORMAT
    version: int = VERSION
    sha256: str = _BLANK
    complete: bool
    expected: int
    settings: Settings
    origin: Origin
    skipped: tuple[str, ...] = ()
    tracks: tuple[TrackRecord, ...] = ()


def levels_at(signals: int, channels: int, samples: int, dtype: Dtype) -> int:
    """Byte at which the levels begin: behind the samples, at a multiple of 64."""
    end = signals * channels * samples * NUMPY[dtype].itemsize
    return -(-end // 64) * 64


def level_blocks(samples: int, sample_rate: int) -> int:
    """Number of 0.1 s blocks of a track, the last of which may be shorter."""
    return len(block_starts(samples, sample_rate, 10))


def block_starts(samples: int, sample_rate: int, per_second: int) -> np.ndarray:
    """First sample of every block; each second begins with one at any sample rate."""
    count = -(-samples * per_second // sample_rate)
    # halves go up, whether the second began at an even sample or not
    starts = np.floor(np.arange(count) * (sample_rate / per_second) + 0.5).astype(np.int64)
    return np.asarray(starts[starts < samples])


def labels_at(record: TrackRecord, dtype: Dtype) -> int:
    """Byte at which the labels of a track begin."""
    at = levels_at(len(record.signals), record.channels, record.samples, dtype)
    return at + len(record.levels) * level_blocks(record.samples, record.sample_rate) * 4


def data_bytes(record: TrackRecord, dtype: Dtype) -> int:
    """Size of the data file of a track by its record."""
    labels = 0 if record.labels is None else len(record.labels.sources) * record.labels.frames
    return labels_at(record, dtype) + labels * 4


def file_name(track: str) -> str:
    """Name of a track's data file: readable, unique, and safe on every disk and in every URL."""
    plain = unicodedata.normalize("NFKD", track).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:80].strip("-")
    digest = hashlib.sha256(track.encode("utf-8")).hexdigest()[:10]
    return f"{TRACKS}/{slug or 'track'}-{digest}.pcm"


def dump(record: BaseModel) -> bytes:
    """JSON of a record or manifest, the same bytes for the same content."""
    content = record.model_dump(mode="json")
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode("utf-8")


def dump_manifest(manifest: Manifest) -> bytes:
    """JSON of a manifest with its checksum."""
    content = dump(manifest.model_copy(update={"sha256": _BLANK}))
    digest = hashlib.sha256(content).hexdigest()
    return content.replace(_BLANK.encode(), digest.encode(), 1)


def parse_manifest(content: bytes, where: str) -> Manifest:
    """Read a manifest found at `where`; raises DataError."""
    remedy = "run stemwise prepare again into an empty folder"
    try:
        found = json.loads(content)
        named = isinstance(found, dict) and found.get("format") == FORMAT
        if not named:
            raise DataError(f"{where} is not the manifest of a stemwise store")
        if found.get("version") != VERSION:
            raise DataError(
                f"{where} is of store version {found.get('version')}, and this release reads "
                f"version {VERSION}: {remedy}"
            )
        manifest = Manifest.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{where} is damaged at {place} ({first['msg'].lower()}): {remedy}"
        ) from error
    except ValueError as error:
        raise DataError(f"{where} is damaged ({error}): {remedy}") from error
    blank = content.replace(manifest.sha256.encode(), _BLANK.encode(), 1)
    if hashlib.sha256(blank).hexdigest() != manifest.sha256:
        raise DataError(f"{where} is damaged (its checksum is wrong): {remedy}")
    return manifest


def read_unfinished(folder: Path) -> list[TrackRecord]:
    """Records of tracks that an interrupted preparation has finished, sorted by file name."""
    records = []
    for path in sorted((folder / UNFINISHED).glob("*.json")):
        try:
            records.append(TrackRecord.model_validate_json(path.read_bytes()))
        except (OSError, ValueError):
            continue  # the track is prepared once more
    return records
