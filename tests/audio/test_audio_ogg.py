"""Ogg files are the same in every run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stemwise.audio import Audio, AudioFormat, read, write
from stemwise.audio.ogg import fix_serial


def checksum(page: bytes) -> int:
    """Of a page whose own checksum is left out, byte by byte as RFC 3533 says."""
    register = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1) ^ (0x104C11DB7 if register >> 31 else 0)
    return register


def pages(content: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(content):
        head = content[at : at + 27]
        size = 27 + head[26] + sum(content[at + 27 : at + 27 + head[26]])
        found.append(content[at : at + size])
        at += size
    return found


@pytest.mark.parametrize("extension", ["opus", "ogg"])
def test_two_runs_write_one_file(tmp_path: Path, rng: np.random.Generator, extension: str) -> None:
    """The encoders draw a serial number for each file."""
    noise = (0.1 * rng.standard_normal((2, 30000))).astype(np.float32)
    audio = Audio(noise, 44100, {"title": "Song"})
    contents = []
    for name in "ab":
        path = tmp_path / f"{name}.{extension}"
        write(path, audio, format=AudioFormat(extension, bitrate=96))
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]
    found = pages(contents[0])
    assert len(found) >= 3
    assert {page[14:18] for page in found} == {b"\1\0\0\0"}
    for page in found:
        assert checksum(page) == int.from_bytes(page[22:26], "little")
    assert read(path).tags["title"] == "Song"


def test_what_is_no_ogg_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.ogg"
    path.write_bytes(b"RIFF" + bytes(40))
    with pytest.raises(ValueError, match="is no Ogg file at byte 0"):
        fix_serial(path)
    assert path.read_bytes() == b"RIFF" + bytes(40)
