"""The two decoders behind `AudioReader`: libsndfile and libav."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import av
import numpy as np
import soundfile

from stemwise.audio.format import Samples
from stemwise.audio.gapless import movie_timescale, mp3_states_length
from stemwise.errors import AudioError

_SOUND_MAGIC = (b"RIFF", b"RF64", b"RIFX", b"FORM", b"fLaC", b".snd", b"caff", b"riff")
# which of our channels (the order of WAV) comes where in surround Vorbis; libsndfile leaves it so
VORBIS_ORDERS = {
    3: (0, 2, 1),
    5: (0, 2, 1, 3, 4),
    6: (0, 2, 1, 4, 5, 3),
    7: (0, 2, 1, 5, 6, 4, 3),
    8: (0, 2, 1, 6, 7, 4, 5, 3),
}
_SMALL = 1024
_UNKNOWN_LENGTH = 1 << 60  # libsndfile's answer for piped FLAC
_PLANES = 8
_UNSIGNED_8 = {"u8", "u8p"}
_SCALE = {"s16": 1 << 15, "s32": 1 << 31, "s64": 1 << 63}


class Decoder(Protocol):
    """An open file; see `AudioInfo` for the meaning of its attributes."""

    container: str
    codec: str
    sample_rate: int
    channels: int
    samples: int | None
    duration: float | None
    streams: int

    def blocks(self, size: int) -> Iterator[Samples]:
        """Decode into full blocks (channel, sample) of `size` samples and a shorter last one."""

    def seek(self, sample: int) -> bool:
        """Continue at `sample`; False where the format cannot do that exactly."""

    def complaints(self, decoded: int) -> list[str]:
        """What was wrong, after `decoded` samples were the end."""

    def close(self) -> None:
        """Close the file."""


def open_decoder(path: Path, stream: int) -> Decoder:
    """Choose the decoder by the file's first bytes; raises AudioError with one sentence."""
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except FileNotFoundError as error:
        raise AudioError(f"{path} does not exist: check the name") from error
    except IsADirectoryError as error:
        raise AudioError(f"{path} is a folder: name an audio file") from error
    except OSError as error:
        raise AudioError(f"{path} cannot be read ({error.strerror})") from error
    if not head:
        raise AudioError(f"{path} is empty")
    vorbis = head.startswith(b"OggS") and b"\x01vorbis" in head
    if stream == 0 and (head.startswith(_SOUND_MAGIC) or vorbis):
        try:
            return SoundDecoder(path)
        except soundfile.LibsndfileError:
            pass  # a codec that only libav knows; its error is the one reported
    return LibavDecoder(path, stream)


class SoundDecoder:
    """WAV, AIFF, FLAC, Ogg Vorbis, CAF ... through libsndfile."""

    streams = 1

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = soundfile.SoundFile(path)
        self.container = str(self._file.format).lower()
        self.codec = str(self._file.subtype).lower()
        self.sample_rate = int(self._file.samplerate)
        self.channels = int(self._file.channels)
        frames = int(self._file.frames)
        self.samples = frames if frames < _UNKNOWN_LENGTH else None
        self.duration = None if self.samples is None else self.samples / self.sample_rate
        self._damage: str | None = None
        if self.sample_rate <= 0:
            raise AudioError(f"{path} states a sample rate of {self.sample_rate} Hz")

    def blocks(self, size: int) -> Iterator[Samples]:
        """Decode into blocks; damage behind the first samples ends the stream with a complaint."""
        while True:
            position = int(self._file.tell())
            try:
                samples = self._file.read(size, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                self._damage = str(error.error_string)
                samples = self._sound_part(position)
                if not position and not len(samples):
                    raise AudioError(f"{self._path} is damaged ({self._damage})") from error
            if len(samples):
                channels = samples.T
                if self.codec == "vorbis" and self.channels in VORBIS_ORDERS:
                    channels = channels[np.argsort(VORBIS_ORDERS[self.channels])]
                yield np.ascontiguousarray(channels)
            if len(samples) < size:
                return

    def _sound_part(self, position: int) -> Samples:
        """What is readable between `position` and the damage, (sample, channel)."""
        parts = [np.zeros((0, self.channels), np.float32)]
        with (
            contextlib.suppress(soundfile.LibsndfileError),
            soundfile.SoundFile(self._path) as file,
        ):
            file.seek(position)
            while len(part := file.read(_SMALL, dtype="float32", always_2d=True)):
                parts.append(part)
        return np.concatenate(parts)

    def seek(self, sample: int) -> bool:
        """Lossless formats seek to the exact sample; libsndfile misses it in Vorbis."""
        if self.samples is None or self.codec == "vorbis" or not self._file.seekable():
            return False
        self._file.seek(min(sample, self.samples))
        return True

    def complaints(self, decoded: int) -> list[str]:
        """Damage, or fewer samples than the header promises."""
        seconds = decoded / self.sample_rate
        if self._damage is not None:
            return [f"is damaged after {seconds:.2f} s and is used up to there"]
        promised = self.samples
        if promised is not None and decoded < promised:
            return [f"ends after {seconds:.2f} s of {promised / self.sample_rate:.2f} s"]
        if _riff_is_cut(self._path):
            return [f"is cut off: only its first {seconds:.2f} s are there"]
        return []

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _riff_is_cut(path: Path) -> bool:
    """Whether a RIFF file promises more bytes than there are (streamed files promise 'unknown')."""
    with open(path, "rb") as file:
        head = file.read(12)
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return False
    promised = int.from_bytes(head[4:8], "little")
    return 0 < promised < 0x7FFFFFFF and promised + 8 > path.stat().st_size + 1


class _Nameless:
    """A file without a name, so that libav judges it by its content only."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


def open_container(path: Path, options: Mapping[str, str] | None = None) -> tuple[Any, BinaryIO]:
    """Open with libav by content: (container, its file), both to be closed; raises AudioError.

    options: of libav's for this container.
    """
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed by the caller
    except OSError as error:
        raise AudioError(f"{path} cannot be read ({error.strerror})") from error
    # libav does not recognise every MP3 of a few frames, but one with a LAME header is no other
    kinds = (None, "mp3") if mp3_states_length(path) else (None,)
    for kind in kinds:
        file.seek(0)
        with contextlib.suppress(av.error.FFmpegError, ValueError):
            opened = av.open(
                _Nameless(file),
                "r",
                kind,
                container_options=dict(options or {}),
                metadata_errors="replace",
            )
            return opened, file
    file.close()
    raise AudioError(f"{path} is not an audio file that can be read")


class LibavDecoder:
    """MP3, Opus, AAC, MP4, WMA ... through libav."""

    def __init__(self, path: Path, stream: int = 0) -> None:
        self._path = path
        self._container, self._file = open_container(path)
        audio = self._container.streams.audio
        self.streams = len(audio)
        self._bad = 0
        self._good = 0
        self._stopped: str | None = None
        self._interleaver: Any = None
        try:
            if not audio:
                raise AudioError(f"{path} contains no audio")
            if not 0 <= stream < len(audio):
                raise AudioError(f"{path} has no audio stream {stream}, only {len(audio)}")
            self._stream = audio[stream]
            context = self._stream.codec_context
            if context is None:
                raise AudioError(f"{path} holds audio of an unknown kind")
            self.container = str(self._container.format.name)
            self.codec = str(context.codec.canonical_name)
            self.sample_rate = int(context.sample_rate)
            self.channels = int(context.channels)
            if self.sample_rate <= 0 or self.channels <= 0:
                raise AudioError(f"{path} is not an audio file that can be read")
            self.samples, self._limit, self.duration = self._length()
        except BaseException:
            self.close()
            raise

    def _length(self) -> tuple[int | None, int | None, float | None]:
        """(exact samples, samples to stop at, approximate seconds), None where not stated."""
        if self._stream.duration is None or self._stream.time_base is None:
            total = self._container.duration
            return None, None, None if total is None else total / av.time_base
        seconds = self._stream.duration * self._stream.time_base
        samples = round(seconds * self.sample_rate)
        # edit lists in milliseconds are rounded, and musdb's decoders keep the whole last frame
        if "mp4" in self.container and movie_timescale(self._path) % self.sample_rate == 0:
            return samples, samples, float(seconds)
        if self.container == "ogg" and self.codec == "opus":
            header = bytes(self._stream.codec_context.extradata or b"")
            samples -= int.from_bytes(header[10:12], "little")
            return samples, None, samples / self.sample_rate
        if self.container == "mp3" and mp3_states_length(self._path):
            return samples, None, float(seconds)
        return None, None, float(seconds)

    def blocks(self, size: int) -> Iterator[Samples]:
        """Decode into blocks; damaged packets are left out and counted."""
        buffer = np.empty((self.channels, size), np.float32)
        filled = total = 0
        for samples in self._frames():
            if self._limit is not None:
                samples = samples[:, : self._limit - total]
            total += samples.shape[1]
            while samples.shape[1]:
                part = samples[:, : size - filled]
                buffer[:, filled : filled + part.shape[1]] = part
                filled += part.shape[1]
                samples = samples[:, part.shape[1] :]
                if filled == size:
                    yield buffer
                    buffer, filled = np.empty((self.channels, size), np.float32), 0
        if total == 0 and self._bad:
            raise AudioError(f"{self._path} is not an audio file that can be read")
        if filled:
            yield buffer[:, :filled].copy()

    def _frames(self) -> Iterator[Samples]:
        for packet in self._packets():
            try:
                frames = self._stream.codec_context.decode(packet)
            except (av.error.FFmpegError, ValueError):
                self._bad += 1
                if self._bad > 20 and self._bad > self._good:
                    raise AudioError(
                        f"{self._path} is not an audio file that can be read"
                    ) from None
                continue
            for frame in frames:
                if frame.layout.nb_channels != self.channels or (
                    frame.sample_rate != self.sample_rate
                ):
                    self._stopped = "changes its sample rate or channels"
                    return
                self._good += 1
                yield from self._to_float(frame)

    def _to_float(self, frame: Any) -> Iterator[Samples]:
        if self.channels < _PLANES or not frame.format.is_planar:
            yield to_float(frame)
            return
        # PyAV 18 reads past the end of a frame with exactly 8 planes, so it is interleaved first
        if self._interleaver is None:
            self._interleaver = av.AudioResampler(format="flt")
        for interleaved in self._interleaver.resample(frame):
            yield to_float(interleaved)

    def _packets(self) -> Iterator[Any]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.error.FFmpegError, ValueError):
                self._stopped = "is damaged"
                packet = None
            yield packet
            if packet is None:
                return

    def seek(self, sample: int) -> bool:
        """Compressed packets depend on earlier ones: decoding starts at the beginning."""
        return False

    def complaints(self, decoded: int) -> list[str]:
        """Damaged packets, or an end before the stated one."""
        seconds = decoded / self.sample_rate
        texts = []
        if self._bad:
            texts.append(f"has {self._bad} damaged pieces, which were left out")
        if self._stopped is not None:
            texts.append(f"{self._stopped} after {seconds:.2f} s and is used up to there")
        elif not self._bad and self.samples is not None:
            stated = self.samples / self.sample_rate
            if seconds < stated - 0.05:
                texts.append(f"is cut off: {seconds:.2f} s of its {stated:.2f} s are there")
        return texts

    def close(self) -> None:
        """Close the file."""
        self._container.close()
        self._file.close()


def to_float(frame: Any) -> Samples:
    """One decoded frame as float32 (channel, sample), full scale 1."""
    name = str(frame.format.name)
    array = frame.to_ndarray()
    if not frame.format.is_planar:
        array = array.reshape(-1, frame.layout.nb_channels).T
    if name.startswith(("flt", "dbl")):
        return np.asarray(array, np.float32)
    if name in _UNSIGNED_8:
        return np.asarray((array.astype(np.float32) - 128) / 128, np.float32)
    scale = _SCALE[name.removesuffix("p")]
    return np.asarray(array.astype(np.float64) / scale, np.float32)
