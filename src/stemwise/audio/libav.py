"""Compressed writing through libav: MP3, Opus, AAC in MP4 (one stream or several)."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from stemwise.audio.format import Samples
from stemwise.audio.gapless import MP3_LEAD, state_mp3_length
from stemwise.audio.ogg import fix_serial
from stemwise.audio.part import Sink
from stemwise.audio.resample import StreamResampler
from stemwise.audio.tags import ogg_picture, picture_codec, picture_size, vorbis_comments
from stemwise.errors import AudioError

_LAYOUTS = ("mono", "stereo", "3.0", "quad", "5.0", "5.1", "6.1", "7.1")
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_AAC_RATES = (7350, *_MP3_RATES, 64000, 88200, 96000)
_OPUS_RATE = 48000


@dataclass(frozen=True)
class _Codec:
    muxer: str
    encoder: str
    sample_format: str
    rates: tuple[int, ...]
    channels: tuple[int, ...]
    most: int  # kbit/s per channel
    alternative: str


CODECS = {
    "mp3": _Codec("mp3", "libmp3lame", "fltp", _MP3_RATES, (1, 2), 320, "flac, opus or wav"),
    # libav interleaves 5 and 7 channels of Opus in a wrong order
    "opus": _Codec("ogg", "libopus", "flt", (), (1, 2, 3, 4, 6, 8), 256, "flac or wav"),
    "m4a": _Codec("mp4", "aac", "fltp", _AAC_RATES, tuple(range(1, 8)), 288, "flac, opus or wav"),
}


class LibavEncoder:
    """Encode one or several streams of equal rate and channel count into `path`.

    Opus is 48 kHz inside: other rates are resampled to round(samples * 48000 / rate) samples, one
    at least.
    """

    def __init__(
        self,
        path: Path,
        extension: str,
        sample_rate: int,
        channels: int,
        bitrate: int,
        tags: Mapping[str, str],
        cover: bytes | None,
        *,
        titles: Sequence[str] = ("",),
    ) -> None:
        codec = CODECS[extension]
        _check(extension, codec, sample_rate, channels)
        self._path, self._codec, self._channels = path, codec, channels
        self._rate = sample_rate if codec.rates else _OPUS_RATE
        self._resampler = StreamResampler(sample_rate, self._rate, channels)
        self._pending = [np.zeros((channels, 0), np.float32) for _ in titles]
        self._done = [0 for _ in titles]
        self._file = Sink(path)
        try:
            # the movie's clock is the sample clock, so that the edit list keeps the exact length
            options = {"movie_timescale": str(self._rate)} if codec.muxer == "mp4" else {}
            self._container = av.open(self._file, "w", format=codec.muxer, options=options)
            self._streams = [self._add_stream(codec, bitrate, title) for title in titles]
            self._add_tags(codec, tags, cover)
        except BaseException:
            self._file.close()
            raise
        self._frame = int(self._streams[0].codec_context.frame_size)

    def _add_stream(self, codec: _Codec, bitrate: int, title: str) -> Any:
        stream: Any = self._container.add_stream(
            codec.encoder, rate=self._rate, layout=_LAYOUTS[self._channels - 1]
        )
        context = stream.codec_context
        context.format = codec.sample_format
        most = min(codec.most * self._channels, _limit(codec, self._rate))
        context.bit_rate = 1000 * min(bitrate, most)
        if title:
            stream.metadata["title"] = title
            stream.metadata["handler_name"] = title
        context.open()
        return stream

    def _add_tags(self, codec: _Codec, tags: Mapping[str, str], cover: bytes | None) -> None:
        metadata = dict(tags)
        kind = None if cover is None else picture_codec(cover)
        if codec.muxer == "ogg":
            metadata = vorbis_comments(tags)
            if cover is not None and kind is not None:
                metadata["METADATA_BLOCK_PICTURE"] = ogg_picture(cover)
        self._container.metadata.update(metadata)
        if cover is None or kind is None or codec.muxer == "ogg":
            return
        width, height = picture_size(cover)
        picture: Any = self._container.add_mux_stream(kind, width=width, height=height)
        picture.disposition = av.stream.Disposition.attached_pic
        self._container.start_encoding()
        packet = av.Packet(cover)
        packet.stream = picture
        packet.pts = packet.dts = 0
        packet.time_base = Fraction(1, 90000)
        packet.is_keyframe = True
        self._container.mux(packet)

    def write(self, block: Samples) -> None:
        """Append (channel, sample) to the only stream."""
        self._append(0, self._resampler.process(block))

    def write_streams(self, blocks: Sequence[Samples]) -> None:
        """Append one equally long block to every stream."""
        for index, block in enumerate(blocks):
            self._append(index, block)

    def _append(self, index: int, block: Samples) -> None:
        pending = self._pending[index]
        samples = np.concatenate([pending, block], axis=1) if pending.shape[1] else block
        whole = samples.shape[1] - samples.shape[1] % self._frame
        for start in range(0, whole, self._frame):
            self._encode(index, samples[:, start : start + self._frame])
        self._pending[index] = samples[:, whole:].copy()

    def _encode(self, index: int, samples: Samples) -> None:
        packed = not self._codec.sample_format.endswith("p")
        array = samples.T.reshape(1, -1) if packed else samples
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(array),
            format=self._codec.sample_format,
            layout=_LAYOUTS[self._channels - 1],
        )
        frame.sample_rate = self._rate
        frame.pts = self._done[index]
        frame.time_base = Fraction(1, self._rate)
        self._done[index] += samples.shape[1]
        stream = self._streams[index]
        self._container.mux(stream.encode(frame))
        self._file.check()

    def finish(self) -> None:
        """Encode what is pending, write the trailer, close."""
        if len(self._streams) == 1:
            self._append(0, self._resampler.flush())
            self._fill_up()
        lead = self._lead()
        for index, stream in enumerate(self._streams):
            if self._pending[index].shape[1]:
                self._encode(index, self._pending[index])
            self._container.mux(stream.encode(None))
        self._container.close()
        self._file.close()
        self._file.check()
        if self._codec.muxer == "mp3":
            state_mp3_length(self._path, self._done[0] - lead, self._frame, lead)
        elif self._codec.muxer == "ogg":
            fix_serial(self._path)

    def _fill_up(self) -> None:
        """One sample at least: at 48 kHz, a few samples of higher rates are less than one."""
        if not self._done[0] and not self._pending[0].shape[1]:
            self._append(0, np.zeros((self._channels, 1), np.float32))

    def _lead(self) -> int:
        """Put zeros before an MP3 of a few samples, and return how many.

        libav keeps the encoder's delay when the same MP3 frame holds the end of the sound.
        """
        if self._codec.muxer != "mp3" or self._done[0] or self._pending[0].shape[1] > MP3_LEAD:
            return 0
        zeros = np.zeros((self._channels, MP3_LEAD), np.float32)
        self._pending[0] = np.concatenate([zeros, self._pending[0]], axis=1)
        return MP3_LEAD

    def abort(self) -> None:
        """Close without finishing."""
        with contextlib.suppress(av.error.FFmpegError, ValueError):
            self._container.close()  # writes the trailer of a file that is thrown away
        self._file.close()


def _limit(codec: _Codec, rate: int) -> int:
    # MPEG-2 and 2.5 layer III (up to 24 kHz) end at 160 kbit/s
    return 160 if codec.muxer == "mp3" and rate <= 24000 else 1 << 20


def _check(extension: str, codec: _Codec, sample_rate: int, channels: int) -> None:
    if channels not in codec.channels:
        raise AudioError(
            f"{extension} files are written with {', '.join(map(str, codec.channels))} channels, "
            f"not {channels}: write {codec.alternative} instead"
        )
    if codec.rates and sample_rate not in codec.rates:
        raise AudioError(
            f"{extension} files cannot hold a sample rate of {sample_rate} Hz: "
            f"write {codec.alternative} instead"
        )
