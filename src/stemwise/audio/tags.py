"""Metadata tags and cover pictures: read from any container, written into FLAC, Ogg and MP4."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import av

from stemwise.audio.decoders import open_container
from stemwise.errors import AudioError

_FLAC_BLOCK = (1 << 24) - 1  # bytes of a metadata block, whose length has 24 bits
# what containers and encoders say about themselves, not about the song
_TECHNICAL = {
    "encoder", "major_brand", "minor_version", "compatible_brands", "creation_time", "language",
    "handler_name", "vendor_id", "metadata_block_picture", "timecode", "duration",
}  # fmt: skip
_HEADERS = {"probesize": "32", "analyzeduration": "1"}
"""Tags are in the headers: libav shall not decode, which it does for 25 ms in a WAV file."""
_VORBIS_NAMES = {
    "track": "TRACKNUMBER",
    "disc": "DISCNUMBER",
    "album_artist": "ALBUMARTIST",
}


def read_tags(path: Path) -> tuple[dict[str, str], bytes | None]:
    """The song's tags with lower-case names, and the attached cover picture's bytes."""
    try:
        container, file = open_container(path, _HEADERS)
    except AudioError:
        return {}, None  # libsndfile reads some containers that libav does not
    with file, container:
        found: dict[str, str] = {}
        audio = container.streams.audio
        for metadata in (audio[0].metadata if audio else {}, container.metadata):
            for name, value in metadata.items():
                if name.lower() not in _TECHNICAL and value:
                    found[name.lower()] = value
        return found, _cover(container)


def _cover(container: av.container.InputContainer) -> bytes | None:
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            continue
        try:
            for packet in container.demux(stream):
                return bytes(packet) or None
        except av.error.FFmpegError:
            return None
    return None


def picture_codec(cover: bytes) -> str | None:
    """libav's codec name of a picture ('mjpeg' or 'png'); None for other kinds."""
    if cover.startswith(b"\xff\xd8\xff"):
        return "mjpeg"
    return "png" if cover.startswith(b"\x89PNG\r\n\x1a\n") else None


def picture_size(cover: bytes) -> tuple[int, int]:
    """(width, height) of a JPEG or PNG picture in pixels; (0, 0) where its header is damaged."""
    if picture_codec(cover) == "png":
        return int.from_bytes(cover[16:20], "big"), int.from_bytes(cover[20:24], "big")
    at = 2
    while at + 9 < len(cover) and cover[at] == 0xFF:
        kind, size = cover[at + 1], int.from_bytes(cover[at + 2 : at + 4], "big")
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = cover[at + 5 : at + 7], cover[at + 7 : at + 9]
            return int.from_bytes(width, "big"), int.from_bytes(height, "big")
        at += 2 + size
    return 0, 0


def picture_block(cover: bytes) -> bytes:
    """A FLAC PICTURE block body (front cover), which Ogg files hold in base64."""
    mime = b"image/png" if picture_codec(cover) == "png" else b"image/jpeg"
    width, height = picture_size(cover)
    numbers = [width, height, 24, 0, len(cover)]
    return (
        (3).to_bytes(4, "big")
        + len(mime).to_bytes(4, "big")
        + mime
        + (0).to_bytes(4, "big")
        + b"".join(number.to_bytes(4, "big") for number in numbers)
        + cover
    )


def fits_flac(cover: bytes) -> bool:
    """Whether a FLAC file can hold the picture."""
    return len(picture_block(cover)) <= _FLAC_BLOCK


def ogg_picture(cover: bytes) -> str:
    """The value of the Vorbis comment METADATA_BLOCK_PICTURE."""
    return base64.b64encode(picture_block(cover)).decode("ascii")


def vorbis_comments(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags under the names that FLAC and Ogg files use."""
    return {_VORBIS_NAMES.get(name, name.upper()): value for name, value in tags.items()}


def tag_flac(path: Path, tags: Mapping[str, str], cover: bytes | None) -> None:
    """Replace the comment and picture blocks of a FLAC file."""
    comments = [f"{name}={value}".encode() for name, value in vorbis_comments(tags).items()]
    fields = [len(text).to_bytes(4, "little") + text for text in (b"stemwise", *comments)]
    fields.insert(1, len(comments).to_bytes(4, "little"))
    body = b"".join(fields)
    blocks = [(4, body)]
    if cover is not None:
        blocks.append((6, picture_block(cover)))
    changed = path.with_name(path.name + ".tagged")
    try:
        with open(path, "rb") as source, open(changed, "wb") as target:
            target.write(source.read(4))
            kept, last = [], False
            while not last:
                head = source.read(4)
                last = bool(head[0] & 0x80)
                block = source.read(int.from_bytes(head[1:4], "big"))
                if head[0] & 0x7F in (0, 3):  # STREAMINFO and the seek table
                    kept.append((head[0] & 0x7F, block))
            every = kept + blocks
            for index, (kind, block) in enumerate(every):
                flag = 0x80 if index == len(every) - 1 else 0
                target.write(bytes([kind | flag]) + len(block).to_bytes(3, "big") + block)
            shutil.copyfileobj(source, target, 1 << 20)
        os.replace(changed, path)
    except BaseException:
        changed.unlink(missing_ok=True)
        raise
