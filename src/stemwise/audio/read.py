"""Reading audio of any rate, 1 to 8 channels and any length as a stream of blocks.

libsndfile decodes WAV, AIFF, FLAC, Ogg Vorbis and their relatives; libav (PyAV) decodes MP3, Opus,
AAC and every other container it knows. Encoder delay and padding are removed where the file states
them (LAME header, Opus pre-skip, sample-exact MP4 edit lists).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

from stemwise.audio.decoders import Decoder, open_decoder
from stemwise.audio.format import Audio, AudioInfo, Samples
from stemwise.errors import AudioError, AudioWarning

BLOCK = 65536
MAX_CHANNELS = 8
FLOAT_CODECS = ("float", "double", "pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be")
"""Codecs whose samples may be NaN or infinite; what others decode to is always finite."""


class AudioReader:
    """A file being decoded: iterate over float32 blocks (channel, sample) of `block` samples.

    Only the last block may be shorter. `warnings` lists what was wrong with a file that could be
    read only in part; with `warn` each is also issued as AudioWarning. Raises AudioError for NaN
    or infinite samples and for files without a single sample.
    """

    def __init__(
        self, path: str | Path, *, block: int = BLOCK, stream: int = 0, warn: bool = True
    ) -> None:
        if block < 1:
            raise ValueError("a block has at least one sample")
        self.path = Path(path)
        self.warnings: list[str] = []
        self._block, self._stream, self._warn = block, stream, warn
        self._position = 0  # of the first sample that iterating gives
        self._decoder: Decoder = open_decoder(self.path, stream)
        try:
            self.info = _info(self.path, self._decoder)
            self._blocks = self._checked()
            # decoding the first block here makes a broken file fail when it is opened
            self._first: Samples | None = next(self._blocks, None)
        except BaseException:
            self._decoder.close()
            raise
        if self._first is None:
            self._decoder.close()
            raise AudioError(f"{self.path} contains no audio samples")

    @property
    def sample_rate(self) -> int:
        """Samples per second and channel."""
        return self.info.sample_rate

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.info.channels

    def __iter__(self) -> Iterator[Samples]:
        if self._first is not None:
            first, self._first = self._first, None
            yield first
        yield from self._blocks

    def verify(self) -> None:
        """Raise AudioError for a NaN or infinite sample anywhere in the file, before work on it.

        Only files of floating-point samples are read for this, at the speed of the disk; pipes,
        which can be read once only, are left to the iteration.
        """
        if self.info.codec in FLOAT_CODECS and self.path.is_file():
            with AudioReader(self.path, stream=self._stream, warn=False) as reader:
                for _ in reader:
                    pass

    def seek(self, sample: int) -> int:
        """Move to `sample` before iterating, where the format seeks exactly; return the position.

        Formats that cannot seek exactly stay at 0 and are decoded from their beginning.
        """
        if sample >= self._block and self._decoder.seek(sample):
            self._first, self._position = None, sample
            self._blocks = self._checked()
        return self._position

    def close(self) -> None:
        """Close the file."""
        self._decoder.close()

    def __enter__(self) -> AudioReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _checked(self) -> Iterator[Samples]:
        position = self._position
        for samples in self._decoder.blocks(self._block):
            if not np.isfinite(samples).all():
                bad = position + int(np.argmin(np.isfinite(samples).all(axis=0)))
                raise AudioError(
                    f"{self.path} has a sample that is not a number at "
                    f"{bad / self.info.sample_rate:.3f} s: repair or export the file again"
                )
            position += samples.shape[1]
            yield samples
        if position:
            for text in self._decoder.complaints(position):
                message = f"{self.path} {text}"
                self.warnings.append(message)
                if self._warn:
                    warnings.warn(message, AudioWarning, stacklevel=3)


def _info(path: Path, decoder: Decoder) -> AudioInfo:
    if not 1 <= decoder.channels <= MAX_CHANNELS:
        raise AudioError(
            f"{path} has {decoder.channels} channels, and 1 to {MAX_CHANNELS} are supported"
        )
    if decoder.samples == 0:
        raise AudioError(f"{path} contains no audio samples")
    return AudioInfo(
        path=path,
        container=decoder.container,
        codec=decoder.codec,
        sample_rate=decoder.sample_rate,
        channels=decoder.channels,
        samples=decoder.samples,
        duration=decoder.duration,
        streams=decoder.streams,
    )


def probe(path: str | Path, *, stream: int = 0) -> AudioInfo:
    """What the file's headers say, without decoding it; raises AudioError."""
    path = Path(path)
    decoder = open_decoder(path, stream)
    try:
        return _info(path, decoder)
    finally:
        decoder.close()


def open_audio(
    path: str | Path, *, block: int = BLOCK, stream: int = 0, warn: bool = True
) -> AudioReader:
    """Open audio stream number `stream` of a file for reading in blocks; raises AudioError."""
    return AudioReader(path, block=block, stream=stream, warn=warn)


def read(path: str | Path, *, stream: int = 0, start: int = 0, stop: int | None = None) -> Audio:
    """Read samples `start` to `stop` (exclusive; None: the end) into memory; raises AudioError.

    Samples after the end of the file are left out, never invented.
    """
    if start < 0 or (stop is not None and stop < start):
        raise ValueError("expected 0 <= start <= stop")
    parts: list[Samples] = []
    with open_audio(path, stream=stream) as reader:
        position = reader.seek(start)
        for samples in reader:
            end = position + samples.shape[1]
            last = end if stop is None else min(end, stop)
            if last > start:
                parts.append(samples[:, max(start - position, 0) : last - position])
            position = end
            if stop is not None and position >= stop:
                break
        info = reader.info
    empty = np.zeros((info.channels, 0), np.float32)
    joined = parts[0] if len(parts) == 1 else np.concatenate([empty, *parts], axis=1)
    return Audio(np.ascontiguousarray(joined), info.sample_rate, dict(info.tags), info.cover)
