"""Decodes one track into its data file of a store: under a temporary name, then renamed.

Whatever happens on the way, a data file under its final name is whole, and its record is written
after it. The bytes depend on the songs and settings only: not on time, place or processes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from stemwise.activity import Activity, confidence_from_envelopes, stem_envelope
from stemwise.audio import PartFile, StreamResampler, probe
from stemwise.audio.format import Samples
from stemwise.audio.part import output_errors
from stemwise.data.levels import LevelMeter
from stemwise.data.signals import signal_blocks, with_derived
from stemwise.data.store import MIXTURE
from stemwise.data.store_manifest import (
    CHUNK,
    NUMPY,
    UNFINISHED,
    Labels,
    Level,
    Settings,
    Signal,
    SignalPart,
    SourceFile,
    TrackRecord,
    dump,
    file_name,
    levels_at,
)
from stemwise.data.track import Part, Track
from stemwise.errors import AudioError, DataError

_FULL = 32768.0
_MISSING = 0.1  # of a mixture's energy may be in none of its stems, e.g. by their coding
_MEASURED = 10  # seconds per piece while levels are measured
Check = Callable[[], None]


@dataclass(frozen=True)
class Job:
    """One track to write into the store `folder`.

    root: absolute, what its paths leave out. base: what they have instead, for copies of files that
    are elsewhere.
    """

    track: Track
    folder: Path
    root: Path | None
    settings: Settings
    base: str = ""

    @property
    def sample_rate(self) -> int:
        """Of the stored samples."""
        return self.settings.sample_rate or self.track.sample_rate

    @property
    def samples(self) -> int:
        """Length of the stored signals, as resampling gives it."""
        return round(self.track.samples * self.sample_rate / self.track.sample_rate)

    @property
    def signals(self) -> dict[str, tuple[Part, ...]]:
        """What is stored: the wanted stems, and the mixture where they do not sum to it."""
        stems, wanted = self.track.stems, self.settings.sources
        kept = {name: parts for name, parts in stems.items() if wanted is None or name in wanted}
        if self.track.mixture:
            kept[MIXTURE] = self.track.mixture
        elif len(kept) < len(stems):
            kept[MIXTURE] = tuple(part for parts in stems.values() for part in parts)
        return kept

    @property
    def files(self) -> list[Path]:
        """Every file that the track is made from, in order of first use."""
        paths = [part.path for parts in self.signals.values() for part in parts]
        labels = self.track.activity
        if labels is not None:
            paths.append(labels if isinstance(labels, Path) else labels.path)
        return list(dict.fromkeys(paths))

    def relative(self, path: Path) -> str:
        """A source path as the record has it."""
        full = Path(os.path.abspath(path))
        if self.root is not None and full.is_relative_to(self.root):
            return self.base + full.relative_to(self.root).as_posix()
        return full.as_posix()

    def described(self) -> list[tuple[str, tuple[SignalPart, ...]]]:
        """Names and parts of the signals, as records have them."""
        return [
            (
                name,
                tuple(
                    SignalPart(path=self.relative(one.path), stream=one.stream, channel=one.channel)
                    for one in parts
                ),
            )
            for name, parts in self.signals.items()
        ]


def write_track(job: Job, check: Check = lambda: None) -> TrackRecord:
    """Write a track's data file and its record; `check` is called often and may raise.

    Raises DataError for a track that cannot be read as it says, OutputError for a full disk.
    """
    track = job.track
    if not job.signals:
        raise DataError(f"track '{track.name}' has neither a stem that is wanted nor a mixture")
    if job.samples < 1:
        raise DataError(f"track '{track.name}' has no samples")
    files = [(path, *fingerprint(path)) for path in job.files]
    try:
        content = _write_data(job, track.labels, check)
    except AudioError as error:
        raise DataError(str(error)) from error
    record = TrackRecord(
        name=track.name,
        split=track.split,
        file=file_name(track.name),
        sample_rate=job.sample_rate,
        samples=job.samples,
        sources=tuple(_source(job, *file) for file in files),
        **content,
    )
    write_bytes(job.folder / UNFINISHED / (Path(record.file).stem + ".json"), dump(record))
    return record


def _write_data(job: Job, labels: Activity | None, check: Check) -> dict[str, Any]:
    """Write the data file; returns what the record says about its content."""
    target = job.folder / file_name(job.track.name)
    channels = job.settings.channels or _channels(job)
    with PartFile(target) as part, open(part.temporary, "r+b") as file:
        writer = _Writer(job, channels, file, check)
        signals = tuple(
            Signal(name=name, parts=parts, scale=writer.write(row, job.signals[name]))
            for row, (name, parts) in enumerate(job.described())
        )
        levels, powers = writer.measure(signals)
        if labels is None and job.settings.labels:
            labels = writer.labels(signals)
        end = levels_at(len(signals), channels, job.samples, job.settings.dtype)
        writer.append(end, powers)
        if labels is not None:
            writer.append(None, labels.probabilities)
        with output_errors(target):
            file.flush()
            os.fsync(file.fileno())
            whole, chunks = checksums(file, check)
        return {
            "channels": channels,
            "signals": signals,
            "levels": levels,
            "labels": None if labels is None else _described(labels),
            "bytes": file.tell(),
            "sha256": whole,
            "chunks": chunks,
        }


def _described(labels: Activity) -> Labels:
    return Labels(
        sources=labels.sources,
        frames=labels.probabilities.shape[1],
        frame_rate=labels.frame_rate,
        duration=labels.duration,
    )


def write_bytes(path: Path, content: bytes) -> None:
    """Write a small file under a temporary name, then give it its own; raises OutputError."""
    with PartFile(path) as part, output_errors(path), open(part.temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


class _Writer:
    """Fills the planes of one data file."""

    def __init__(self, job: Job, channels: int, file: BinaryIO, check: Check) -> None:
        self._job, self._channels, self._file, self._check = job, channels, file, check
        self._dtype = NUMPY[job.settings.dtype]
        self._target = job.folder / file_name(job.track.name)

    def write(self, row: int, parts: Sequence[Part]) -> float:
        """Write one signal; returns its scale."""
        if self._dtype.kind == "f":
            self._write_scaled(row, parts, 1.0)
            return 1.0
        scale = 1 / _FULL
        # float and lossy files may exceed full scale: nothing is clipped, and what does not
        # exceed it keeps the scale under which 16-bit files are stored exactly
        while (highest := self._write_scaled(row, parts, scale)) > 1:
            scale *= 2.0 ** np.ceil(np.log2(highest))
        return float(scale)

    def _write_scaled(self, row: int, parts: Sequence[Part], scale: float) -> float:
        """Write a signal divided by `scale`; returns how far beyond int16's range it went."""
        highest, at = 0.0, 0
        for block in self._blocks(parts):
            self._check()
            if self._dtype.kind == "f":
                stored = block.astype(self._dtype)
            else:
                # exact: the scale is a power of two, and 24 bits hold what is rounded to 16
                rounded = np.rint(block * np.float32(1 / scale))
                reach = max(float(rounded.max()) / (_FULL - 1), float(-rounded.min()) / _FULL)
                highest = max(highest, reach)
                stored = np.clip(rounded, -_FULL, _FULL - 1).astype(self._dtype)
            for channel, plane in enumerate(stored):
                place = (row * self._channels + channel) * self._job.samples + at
                self._put(place * self._dtype.itemsize, plane)
            at += block.shape[1]
        if at != self._job.samples:
            raise AssertionError(f"{at} samples instead of {self._job.samples}")
        return highest

    def _blocks(self, parts: Sequence[Part]) -> Iterator[Samples]:
        """A signal (channel, sample) at the store's rate."""
        source, target = self._job.track.sample_rate, self._job.sample_rate
        resampler = StreamResampler(source, target, self._channels)
        for block in signal_blocks(parts, self._job.track.samples, source, self._channels):
            converted = resampler.process(block)
            if converted.shape[1]:
                yield converted
        rest = resampler.flush()
        if rest.shape[1]:
            yield rest

    def measure(self, signals: Sequence[Signal]) -> tuple[tuple[Level, ...], NDArray[np.float32]]:
        """Levels of what was written, and of mixture and accompaniment, and their block powers."""
        rate = self._job.sample_rate
        meters: dict[str, LevelMeter] = {}
        for start in range(0, self._job.samples, _MEASURED * rate):
            self._check()
            count = min(_MEASURED * rate, self._job.samples - start)
            pieces = {
                one.name: self._read(row, one, start, count) for row, one in enumerate(signals)
            }
            for name, piece in with_derived(pieces).items():
                if name not in meters:
                    meters[name] = LevelMeter(name, rate, loudness=name == MIXTURE)
                meters[name].add(piece)
        levels = tuple(meter.level() for meter in meters.values())
        return levels, np.stack([meter.powers for meter in meters.values()])

    def _read(self, row: int, signal: Signal, start: int, count: int) -> Samples:
        stereo = np.empty((2, count), np.float32)
        for channel in range(self._channels):
            place = (row * self._channels + channel) * self._job.samples + start
            self._file.seek(place * self._dtype.itemsize)
            content = self._file.read(count * self._dtype.itemsize)
            stereo[channel] = np.frombuffer(content, self._dtype)
        if self._channels == 1:
            stereo[1] = stereo[0]
        stereo *= np.float32(signal.scale)
        return stereo

    def labels(self, signals: Sequence[Signal]) -> Activity | None:
        """MedleyDB's activation confidence; None where the stems are not the whole mixture."""
        rate, samples = self._job.sample_rate, self._job.samples
        envelopes = {}
        total = np.zeros((2, samples), np.float32)
        mixture: Samples | None = None
        for row, one in enumerate(signals):
            self._check()
            signal = self._read(row, one, 0, samples)
            if one.name == MIXTURE:
                mixture = signal
            else:
                total += signal
                envelopes[one.name] = stem_envelope(signal, rate)
        if len(envelopes) < 2:
            return None
        if mixture is not None:
            missing = np.square(mixture - total).mean(dtype=np.float64)
            if missing > _MISSING * np.square(mixture).mean(dtype=np.float64):
                return None
        return confidence_from_envelopes(envelopes, samples / rate)

    def append(self, at: int | None, rows: NDArray[np.float32]) -> None:
        """Write rows of float32 from byte `at` on, or where the last ones ended."""
        end = self._file.seek(0, os.SEEK_END)
        if at is not None:
            self._put(end, np.zeros(at - end, np.uint8))
        self._put(max(at or 0, end), rows.astype("<f4"))

    def _put(self, place: int, numbers: NDArray[Any]) -> None:
        with output_errors(self._target):
            self._file.seek(place)
            self._file.write(np.ascontiguousarray(numbers).data)


def _channels(job: Job) -> int:
    """1 where every part of a track is mono, else 2."""
    parts = {part for parts in job.signals.values() for part in parts if part.channel is None}
    return 2 if any(probe(one.path, stream=one.stream).channels > 1 for one in parts) else 1


def fingerprint(path: Path) -> tuple[int, int]:
    """Bytes and time of change (nanoseconds) of a source file; raises DataError."""
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): restore it") from error
    return status.st_size, status.st_mtime_ns


def _source(job: Job, path: Path, size: int, mtime: int) -> SourceFile:
    """What is remembered of a source file, unless it has changed while it was decoded."""
    digest = file_digest(path)
    if fingerprint(path) != (size, mtime):
        raise DataError(f"{path} changed while it was being prepared: run the command again")
    return SourceFile(path=job.relative(path), bytes=size, mtime_ns=mtime, sha256=digest)


def file_digest(path: Path) -> str:
    """SHA-256 of a file in hexadecimal; raises DataError."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): restore it") from error
    return digest.hexdigest()


def checksums(file: BinaryIO, check: Check = lambda: None) -> tuple[str, tuple[str, ...]]:
    """SHA-256 of an open file, and of each of its pieces of CHUNK bytes."""
    whole = hashlib.sha256()
    chunks: list[str] = []
    file.seek(0)
    while block := file.read(CHUNK):
        check()
        whole.update(block)
        chunks.append(hashlib.sha256(block).hexdigest())
    return whole.hexdigest(), tuple(chunks)
