"""Writing audio block by block; a file appears under its name only when it is whole."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile

from stemwise.audio.decoders import VORBIS_ORDERS
from stemwise.audio.format import Audio, AudioFormat, Samples
from stemwise.audio.libav import LibavEncoder
from stemwise.audio.ogg import fix_serial
from stemwise.audio.part import PartFile, Sink, output_errors
from stemwise.audio.staged import Finisher, StagedWriter
from stemwise.audio.tags import fits_flac, tag_flac
from stemwise.audio.wav import WavEncoder, interleaved
from stemwise.errors import AudioError, AudioWarning

# kbit/s of Vorbis qualities 0 to 1 at 44.1 kHz stereo (libsndfile counts them from 1 down to 0)
_VORBIS_BITRATES = (64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 500)
_VORBIS_STEP = 4096  # libsndfile's Vorbis encoder keeps one call's block on the stack


class Encoder(Finisher, Protocol):
    """Turns blocks into the bytes of one file."""

    def write(self, block: Samples) -> None:
        """Append (channel, sample)."""


class AudioWriter(StagedWriter):
    """Write float32 (channel, sample) blocks; `close` renames the finished file to `path`.

    As a context manager it closes on a clean exit and removes everything on an exception. Integers
    are rounded half to even and clipped at full scale, without dither. `warnings` lists what the
    file could not hold. Raises OutputError.
    """

    def __init__(self, part: PartFile, encoder: Encoder, sample_rate: int, channels: int) -> None:
        super().__init__(part, encoder)
        self.sample_rate, self.channels = sample_rate, channels
        self.warnings: list[str] = []
        self._encoder = encoder

    def write(self, block: Samples) -> None:
        """Append a block (channel, sample), nominal range [-1, 1]."""
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise ValueError(f"expected ({self.channels}, samples), got {block.shape}")
        if not self._open:
            raise ValueError(f"{self.path} is closed already")
        if block.shape[1]:
            with output_errors(self.path):
                self._encoder.write(np.asarray(block, np.float32))
            self.samples += block.shape[1]


class _SoundEncoder:
    """FLAC and Ogg Vorbis through libsndfile."""

    def __init__(
        self,
        path: Path,
        sample_rate: int,
        channels: int,
        kind: AudioFormat,
        tags: Mapping[str, str],
        cover: bytes | None,
    ) -> None:
        self._path, self._tags, self._cover = path, dict(tags), cover
        self._bits = {"int16": 16, "int24": 24}.get(kind.subtype, 0)
        self._flac = kind.extension == "flac"
        self._sink = Sink(path)
        try:
            self._file = self._open(sample_rate, channels, kind.bitrate)
        except BaseException:
            self._sink.close()
            raise
        if self._flac:
            return
        for name, value in self._tags.items():
            field = {"track": "tracknumber"}.get(name, name)
            if field in _VORBIS_TAGS:
                setattr(self._file, field, value)

    def _open(self, sample_rate: int, channels: int, bitrate: int) -> soundfile.SoundFile:
        shape = (sample_rate, channels)
        if self._flac:
            return soundfile.SoundFile(self._sink, "w", *shape, f"PCM_{self._bits}", format="FLAC")
        quality = float(np.interp(bitrate, _VORBIS_BITRATES, np.linspace(0, 1, 11)))
        level = {"compression_level": 1 - quality}
        return soundfile.SoundFile(self._sink, "w", *shape, "VORBIS", format="OGG", **level)

    def write(self, block: Samples) -> None:
        """Append (channel, sample)."""
        if self._flac:
            for part in interleaved(block, self._bits):
                self._file.write(part << (8 * part.itemsize - self._bits))
        else:
            if len(block) in VORBIS_ORDERS:
                block = block[list(VORBIS_ORDERS[len(block)])]
            for start in range(0, block.shape[1], _VORBIS_STEP):
                self._file.write(block[:, start : start + _VORBIS_STEP].T)
        self._sink.check()

    def finish(self) -> None:
        """Close, put the tags into FLAC, and make Ogg the same in every run."""
        self._file.close()
        self._sink.close()
        self._sink.check()
        if not self._flac:
            fix_serial(self._path)
        elif self._tags or self._cover is not None:
            tag_flac(self._path, self._tags, self._cover)

    def abort(self) -> None:
        """Close without finishing."""
        with contextlib.suppress(RuntimeError):
            self._file.close()
        self._sink.close()


_VORBIS_TAGS = frozenset(
    ("title", "artist", "album", "date", "tracknumber", "genre", "comment", "copyright")
)


def create_audio(
    path: str | Path,
    sample_rate: int,
    channels: int,
    *,
    format: AudioFormat | None = None,
    tags: Mapping[str, str] | None = None,
    cover: bytes | None = None,
) -> AudioWriter:
    """Open a file for writing; `format` comes from the suffix unless it is given.

    Tags survive in every format (wav and ogg hold title, artist, album, date, track, genre, comment
    and copyright; the others any), the JPEG or PNG `cover` in flac, mp3, opus and m4a; wav and ogg
    files have no common place for it, and it is left out there; from a flac file it is left out
    with an AudioWarning where it is too large. Raises AudioError for what the format cannot hold,
    OutputError for what cannot be written.
    """
    path = Path(path)
    kind = AudioFormat.of(path) if format is None else format
    if not 1 <= channels <= 8 or sample_rate <= 0:
        raise AudioError(f"{path} cannot hold {channels} channels at {sample_rate} Hz")
    complaints = []
    if kind.extension == "flac" and cover is not None and not fits_flac(cover):
        size = len(cover) / (1 << 20)
        complaints.append(f"the cover of {size:.1f} MiB is left out: FLAC holds less than 16 MiB")
        warnings.warn(f"{path}: {complaints[0]}", AudioWarning, stacklevel=2)
        cover = None
    part = PartFile(path)
    try:
        with output_errors(path):
            encoder = _encoder(part.temporary, sample_rate, channels, kind, tags or {}, cover)
    except BaseException:
        part.discard()
        raise
    writer = AudioWriter(part, encoder, sample_rate, channels)
    writer.warnings += complaints
    return writer


def _encoder(
    path: Path,
    sample_rate: int,
    channels: int,
    kind: AudioFormat,
    tags: Mapping[str, str],
    cover: bytes | None,
) -> Encoder:
    if kind.extension == "wav":
        return WavEncoder(path, sample_rate, channels, kind.subtype, tags)
    if kind.extension in ("flac", "ogg"):
        return _SoundEncoder(path, sample_rate, channels, kind, tags, cover)
    return LibavEncoder(path, kind.extension, sample_rate, channels, kind.bitrate, tags, cover)


def write(path: str | Path, audio: Audio, *, format: AudioFormat | None = None) -> None:
    """Write audio from memory, with its tags and cover; raises AudioError and OutputError."""
    with create_audio(
        path,
        audio.sample_rate,
        audio.channels,
        format=format,
        tags=audio.tags,
        cover=audio.cover,
    ) as writer:
        writer.write(audio.samples)
