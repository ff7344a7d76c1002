"""Writing WAV: 16-bit, 24-bit, float; more than two channels; RF64 when a file outgrows 4 GB."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stemwise.audio.format import Samples, Subtype

_INFO = {
    "title": b"INAM",
    "artist": b"IART",
    "album": b"IPRD",
    "date": b"ICRD",
    "genre": b"IGNR",
    "comment": b"ICMT",
    "track": b"IPRT",
    "copyright": b"ICOP",
}
# loudspeaker positions of 1 to 8 channels: mono, stereo, 3.0, quad, 5.0, 5.1, 6.1, 7.1
_SPEAKERS = (0x4, 0x3, 0x7, 0x33, 0x37, 0x3F, 0x70F, 0x63F)
_KSDATAFORMAT = bytes.fromhex("000000001000800000aa00389b71")
_RIFF_LIMIT = 0xFFFFFFFF
_BYTES: dict[Subtype, int] = {"int16": 2, "int24": 3, "float32": 4}
_STEP = 16384
"""Samples of each channel that are rounded and interleaved at a time."""


def quantise(block: Samples, bits: int) -> NDArray[np.int32]:
    """Samples as integers of 16 or 24 bits: rounded half to even, clipped, without dither."""
    return _rounded(block, bits).astype(np.int32)


def _rounded(block: Samples, bits: int) -> Samples:
    full = np.float32(1 << (bits - 1))
    with np.errstate(over="ignore"):  # beyond every full scale is clipped like the rest
        # exact: a power of two, and no more bits than a mantissa has
        scaled: Samples = np.rint(block * full)
    np.clip(scaled, -full, full - 1, out=scaled)
    return scaled


def interleaved(block: Samples, bits: int) -> Iterator[NDArray[np.signedinteger]]:
    """A block (channel, sample) as consecutive parts (sample, channel) of `quantise`d samples.

    Parts of 16 bits are int16, others int32; each is small enough to stay in a core's cache.
    """
    for start in range(0, block.shape[1], _STEP):
        rounded = _rounded(block[:, start : start + _STEP], bits)
        part = np.empty(rounded.shape[::-1], np.int16 if bits == 16 else np.int32)
        for channel, samples in enumerate(rounded):
            part[:, channel] = samples.astype(part.dtype)  # faster than to convert and turn at once
        yield part


class WavEncoder:
    """Write float32 (channel, sample) blocks to `path`; sizes are filled in by `finish`."""

    def __init__(
        self,
        path: Path,
        sample_rate: int,
        channels: int,
        subtype: Subtype,
        tags: Mapping[str, str],
        *,
        riff_limit: int = _RIFF_LIMIT,
    ) -> None:
        self._channels, self._subtype, self._limit = channels, subtype, riff_limit
        self._frame_bytes = channels * _BYTES[subtype]
        self._frames = 0
        head = b"RIFF\0\0\0\0WAVE" + _chunk(b"JUNK", bytes(28))  # room for RF64's ds64
        head += _chunk(b"fmt ", _format(sample_rate, channels, subtype))
        self._fact_at = 0
        if subtype == "float32":
            self._fact_at = len(head) + 8
            head += _chunk(b"fact", bytes(4))
        head += _info(tags) + b"data\0\0\0\0"
        self._data_at = len(head)
        self._file = open(path, "wb", buffering=1 << 20)  # noqa: SIM115 - closed by finish or abort
        self._file.write(head)

    def write(self, block: Samples) -> None:
        """Append (channel, sample)."""
        self._frames += block.shape[1]
        if self._subtype == "float32":
            self._file.write(np.ascontiguousarray(block.T, "<f4").data)
            return
        bits = 8 * _BYTES[self._subtype]
        for part in interleaved(block, bits):
            if bits == 16:
                self._file.write(part.astype("<i2", copy=False).data)
            else:
                whole = part.astype("<i4", copy=False).view(np.uint8)
                self._file.write(whole.reshape(-1, 4)[:, :3].tobytes())

    def finish(self) -> None:
        """Fill in the sizes and close."""
        data = self._frames * self._frame_bytes
        if data % 2:
            self._file.write(b"\0")
        total = self._file.seek(0, 2)
        if total - 8 > self._limit:
            self._patch(0, b"RF64\xff\xff\xff\xff")
            sizes = [total - 8, data, self._frames]
            body = b"".join(size.to_bytes(8, "little") for size in sizes) + bytes(4)
            self._patch(12, _chunk(b"ds64", body))
            small_data, small_frames = 0xFFFFFFFF, 0xFFFFFFFF
        else:
            self._patch(4, (total - 8).to_bytes(4, "little"))
            small_data, small_frames = data, self._frames
        self._patch(self._data_at - 4, small_data.to_bytes(4, "little"))
        if self._fact_at:
            self._patch(self._fact_at, small_frames.to_bytes(4, "little"))
        self._file.close()

    def abort(self) -> None:
        """Close without finishing."""
        # what is still buffered may have no room on a full disk, and is not wanted
        with contextlib.suppress(OSError):
            self._file.close()

    def _patch(self, at: int, data: bytes) -> None:
        self._file.seek(at)
        self._file.write(data)


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)


def _format(sample_rate: int, channels: int, subtype: Subtype) -> bytes:
    width = _BYTES[subtype]
    code = 3 if subtype == "float32" else 1
    extensible = channels > 2
    numbers = (
        (0xFFFE if extensible else code, 2),
        (channels, 2),
        (sample_rate, 4),
        (sample_rate * channels * width, 4),
        (channels * width, 2),
        (width * 8, 2),
    )
    body = b"".join(number.to_bytes(size, "little") for number, size in numbers)
    if extensible:
        mask = _SPEAKERS[channels - 1]
        body += (22).to_bytes(2, "little") + (width * 8).to_bytes(2, "little")
        body += mask.to_bytes(4, "little") + code.to_bytes(2, "little") + _KSDATAFORMAT
    return body


def _info(tags: Mapping[str, str]) -> bytes:
    entries = b"".join(
        _chunk(_INFO[name], value.encode() + b"\0") for name, value in tags.items() if name in _INFO
    )
    return _chunk(b"LIST", b"INFO" + entries) if entries else b""
