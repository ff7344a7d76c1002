"""What is asked for in addresses: formats, gains, stems. Every mistake is a 422 with a sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import Query

from stemwise.audio import AudioFormat
from stemwise.audio.format import BITRATES, Subtype
from stemwise.errors import hint
from stemwise.remix import LOUDEST
from stemwise.studio.answers import refuse

Extension = Literal["wav", "flac", "mp3", "opus", "ogg", "m4a"]
Bits = Annotated[
    Literal["16", "24", "32"] | None,
    Query(description="Bits per sample of wav (32: float) and flac; 16 if none are given."),
]
_SUBTYPES: dict[str, Subtype] = {"16": "int16", "24": "int24", "32": "float32"}


def audio_format(extension: Extension, bits: Literal["16", "24", "32"] | None) -> AudioFormat:
    """The format of `stemwise separate` with the same options. Raises 422."""
    if bits is not None and extension in BITRATES:
        raise refuse(422, f"A file of {extension} has no bits per sample: leave bits out.")
    if bits == "32" and extension == "flac":
        raise refuse(422, "FLAC holds 16 or 24 bits per sample.")
    return AudioFormat(extension, _SUBTYPES[bits or "16"], BITRATES.get(extension, 320))


def parse_names(text: str, stems: Sequence[str]) -> tuple[str, ...]:
    """Stems of `vocals,drums`. Raises 422 for those that the job has not."""
    names = [one.strip() for one in text.split(",") if one.strip()]
    for name in names:
        if name not in stems:
            raise refuse(422, f"The job has no stem {name!r}: {hint(name, stems)}")
    return tuple(dict.fromkeys(names))


def parse_gains(text: str, stems: Sequence[str]) -> dict[str, float]:
    """Gains of `vocals:0,drums:0.8`. Raises 422 for what is not possible."""
    gains: dict[str, float] = {}
    for part in filter(str.strip, text.split(",")):
        name, colon, number = part.rpartition(":")
        [name] = parse_names(name, stems) or ("",)
        if not colon or not name or name in gains:
            raise refuse(422, "Give every gain once, as in vocals:0,drums:0.8.")
        try:
            gain = float(number)
        except ValueError:
            gain = math.nan
        if not 0 <= gain <= LOUDEST:
            raise refuse(422, f"The gain of {name} must be a number from 0 to {LOUDEST:g}.")
        gains[name] = gain
    return gains
