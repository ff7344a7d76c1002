"""What MP3 and MP4 files state about their exact length, read and corrected byte by byte."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_DECODER_DELAY = 529  # samples, of every MPEG layer III decoder
_LAME_DELAY = 576  # samples that LAME puts before the sound
MP3_LEAD = 1152 - _LAME_DELAY - _DECODER_DELAY
"""Zeros after which a sound begins with an MP3 frame, whether of 576 or 1152 samples."""


def _xing_offset(file: BinaryIO) -> int | None:
    """Offset of the Xing or Info header of an MP3 file, behind its ID3 tag; None without one."""
    file.seek(0)
    head = file.read(10)
    start = 0
    if head[:3] == b"ID3" and len(head) == 10:
        size = 0
        for byte in head[6:10]:
            size = size << 7 | byte & 0x7F
        start = 10 + size
    file.seek(start)
    frame = file.read(256)
    for name in (b"Xing", b"Info"):
        if (at := frame.find(name)) >= 0:
            return start + at
    return None


def mp3_states_length(path: Path) -> bool:
    """Whether an MP3 file has the header that states its number of frames."""
    with open(path, "rb") as file:
        return _xing_offset(file) is not None


def state_mp3_length(path: Path, samples: int, frame: int, lead: int = 0) -> None:
    """Write the padding that makes a LAME-tagged file exactly `samples` long.

    `frame` is the number of samples per MP3 frame (1152, or 576 up to 24 kHz), `lead` that of
    zeros which were encoded before the sound, and which players leave out as well. libav leaves the
    padding out when the last frame comes before the encoder is flushed.
    """
    with open(path, "r+b") as file:
        at = _xing_offset(file)
        if at is None:
            return
        file.seek(at)
        tag = bytearray(file.read(156))
        flags = int.from_bytes(tag[4:8], "big")
        if flags & 0xF != 0xF or len(tag) < 156:
            return
        frames = int.from_bytes(tag[8:12], "big")
        delay = int.from_bytes(tag[141:144], "big") >> 12
        delay += lead
        padding = frames * frame - delay - samples
        if not _DECODER_DELAY <= padding < 4096:
            return
        tag[141:144] = (delay << 12 | padding).to_bytes(3, "big")
        file.seek(at)
        file.write(tag)


def movie_timescale(path: Path) -> int:
    """Ticks per second of an MP4 file's edit lists (`mvhd`); 1 where there is none."""
    with open(path, "rb") as file:
        end = path.stat().st_size
        for name in (b"moov", b"mvhd"):
            found = _enter_box(file, end, name)
            if found is None:
                return 1
            end = found
        body = file.read(24)
    at = 20 if body[:1] == b"\x01" else 12
    return int.from_bytes(body[at : at + 4], "big") or 1


def _enter_box(file: BinaryIO, end: int, name: bytes) -> int | None:
    """Move to the content of the next box called `name` before `end`; return its end."""
    while file.tell() + 8 <= end:
        start = file.tell()
        head = file.read(8)
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(file.read(8), "big")
        stop = end if size == 0 else start + size
        if head[4:8] == name:
            return stop
        if stop <= start:
            return None
        file.seek(stop)
    return None
