"""One pass over a recording: its outline, levels, loudness, picture, and a copy for the browser."""

from __future__ import annotations

import base64
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stemwise.audio import AudioFormat, AudioReader, AudioWriter, create_audio, open_audio
from stemwise.cores import cores
from stemwise.errors import AudioError, Cancelled
from stemwise.loudness import LoudnessMeter
from stemwise.remix import in_step
from stemwise.report.peaks import Envelope, PeakMeter
from stemwise.report.spectrogram import LOWEST, Picture, SpectrogramMeter

PREVIEW = AudioFormat("opus", bitrate=96)
"""Every current browser plays it, and a page is made in a quarter of the time that MP3 takes."""
COLUMNS = 4000
"""Columns of an outline: enough for a wide screen of small pixels."""


@dataclass(frozen=True)
class Recording:
    """What one pass over a recording tells.

    loudness: in LUFS; None for silence and for less than 0.4 s. picture: None if not asked for, or
    at a sample rate with nothing to draw. preview: a data: URL of compressed audio, if asked for.
    """

    name: str
    sample_rate: int
    channels: int
    envelope: Envelope
    loudness: float | None
    picture: Picture | None = None
    preview: str | None = None

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.envelope.samples / self.sample_rate


@dataclass(frozen=True)
class Stream:
    """Audio being read: blocks (channel, sample); duration in seconds, as the headers tell."""

    sample_rate: int
    channels: int
    duration: float | None
    blocks: Iterable[NDArray[np.float32]]


@contextmanager
def opened(source: Path | Sequence[Path]) -> Iterator[Stream]:
    """A file, or the sum of several as if it were one.

    Raises AudioError for files that cannot be read or differ in rate, channels or length.
    """
    paths = [source] if isinstance(source, Path) else source
    with ExitStack() as files:
        # what could not be read was said when the song was separated
        readers = [files.enter_context(open_audio(path, warn=False)) for path in paths]
        first = readers[0]
        for other in readers:
            if (other.sample_rate, other.channels) != (first.sample_rate, first.channels):
                raise AudioError(
                    f"{first.path} has {_shape(first)} and {other.path} has {_shape(other)}: "
                    "stems of one song have the same."
                )
        blocks = first if len(readers) == 1 else _summed(readers)
        yield Stream(first.sample_rate, first.channels, first.info.duration, blocks)


def _summed(readers: Sequence[AudioReader]) -> Iterator[NDArray[np.float32]]:
    for blocks in in_step(readers):
        yield np.stack(blocks).sum(axis=0, dtype=np.float64).astype(np.float32)


def _shape(reader: AudioReader) -> str:
    return f"{reader.sample_rate} Hz and {reader.channels} channels"


def listen_all(
    sources: Mapping[str, Path | Sequence[Path]],
    *,
    preview: bool = False,
    pictures: bool = True,
    copies: Mapping[str, Path] | None = None,
    cancel: threading.Event | None = None,
) -> list[Recording]:
    """`listen` to several recordings at a time: encoding leaves the interpreter free."""
    given = copies or {}
    failed = threading.Event()
    with ThreadPoolExecutor(cores()) as pool:
        running = [
            pool.submit(
                listen,
                name,
                source,
                preview=preview,
                picture=pictures,
                copy=given.get(name),
                cancelled=lambda: failed.is_set() or (cancel is not None and cancel.is_set()),
            )
            for name, source in sources.items()
        ]
        try:
            return [one.result() for one in running]
        except BaseException:
            failed.set()  # nobody waits for the others
            raise


def listen(
    name: str,
    source: Path | Sequence[Path],
    *,
    preview: bool = False,
    picture: bool = True,
    copy: Path | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Recording:
    """Measure a file, or the sum of several, block by block.

    copy: an Opus file of it to write. Raises AudioError, OutputError, and Cancelled soon after
    `cancelled` says so.
    """
    with ExitStack() as files:
        stream = files.enter_context(opened(source))
        rate, channels = stream.sample_rate, stream.channels
        peaks, loudness = PeakMeter(), LoudnessMeter(rate, channels)
        spectrogram = None
        if picture and rate >= 4 * LOWEST:
            spectrogram = SpectrogramMeter(rate, channels, stream.duration)
        folder = Path(files.enter_context(tempfile.TemporaryDirectory()))
        embedded = folder / "preview.opus" if preview else None
        copies = [
            files.enter_context(_small_copy(path, rate, channels))
            for path in (embedded, copy)
            if path is not None
        ]
        meters = [meter.add for meter in (peaks, loudness, spectrogram) if meter is not None]
        for block in stream.blocks:
            if cancelled():
                raise Cancelled("The report was cancelled.")
            for take in (*meters, *(_writing(one, channels) for one in copies)):
                take(block)
        for one in copies:
            _close(one)
        return Recording(
            name,
            rate,
            channels,
            peaks.envelope(COLUMNS),
            loudness.loudness(),
            None if spectrogram is None else spectrogram.picture(),
            None if embedded is None else data_url("audio/ogg", embedded.read_bytes()),
        )


def _small_copy(path: Path, sample_rate: int, channels: int) -> AudioWriter:
    return create_audio(path, sample_rate, channels if channels <= 2 else 1, format=PREVIEW)


def _writing(writer: AudioWriter, channels: int) -> Callable[[NDArray[np.float32]], None]:
    if writer.channels == channels:
        return writer.write
    # songs of more than two channels are heard as their mean
    return lambda block: writer.write(block.mean(axis=0, keepdims=True))


def _close(writer: AudioWriter) -> None:
    # Opus runs at 48 kHz, where less than this would be no sample at all
    missing = max(0, -(-writer.sample_rate // 48000) - writer.samples)
    writer.write(np.zeros((writer.channels, missing), np.float32))
    writer.close()


def data_url(kind: str, content: bytes) -> str:
    """Content of a MIME type as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
