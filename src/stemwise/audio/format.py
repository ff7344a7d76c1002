"""What is known about a piece of audio: its samples, its file, the format it is written in."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stemwise.errors import AudioError

Samples = NDArray[np.float32]
Subtype = Literal["int16", "int24", "float32"]

EXTENSIONS = ("wav", "flac", "mp3", "opus", "ogg", "m4a")
SUBTYPES: tuple[Subtype, ...] = ("int16", "int24", "float32")
BITRATES = {"mp3": 320, "opus": 192, "ogg": 256, "m4a": 256}
"""kbit/s of the formats that have them, where none is asked for."""
_ALIASES = {"wave": "wav", "oga": "ogg", "aac": "m4a", "mp4": "m4a"}


@dataclass
class Audio:
    """Samples in memory: float32 (channel, sample), nominal range [-1, 1], at `sample_rate` Hz."""

    samples: Samples
    sample_rate: int
    tags: dict[str, str] = field(default_factory=dict)
    cover: bytes | None = None

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.samples.shape[0])

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return float(self.samples.shape[1]) / self.sample_rate


@dataclass(frozen=True)
class AudioInfo:
    """What a file says about itself before it is decoded.

    `samples` (per channel) is exact, or None where only decoding tells; `duration` in seconds
    may be approximate, or None; `streams` counts audio streams. Tags and cover are read from the
    file when they are first asked for, since that takes as long as all the rest.
    """

    path: Path
    container: str
    codec: str
    sample_rate: int
    channels: int
    samples: int | None
    duration: float | None = None
    streams: int = 1

    @property
    def tags(self) -> dict[str, str]:
        """Text by the lower-case names title, artist, album, date, track, genre, comment ..."""
        return self._tagged[0]

    @property
    def cover(self) -> bytes | None:
        """The attached picture's bytes."""
        return self._tagged[1]

    @cached_property
    def _tagged(self) -> tuple[dict[str, str], bytes | None]:
        from stemwise.audio.tags import read_tags

        return read_tags(self.path)


@dataclass(frozen=True)
class AudioFormat:
    """How audio is written: `subtype` for wav and flac, `bitrate` (kbit/s) for the lossy ones."""

    extension: str = "wav"
    subtype: Subtype = "int16"
    bitrate: int = 320

    def __post_init__(self) -> None:
        if self.extension not in EXTENSIONS:
            raise AudioError(
                f"audio cannot be written as '{self.extension}': choose one of "
                f"{', '.join(EXTENSIONS)}"
            )
        if self.subtype not in SUBTYPES:
            raise AudioError(
                f"unknown sample format '{self.subtype}': choose one of {', '.join(SUBTYPES)}"
            )
        if self.extension == "flac" and self.subtype == "float32":
            raise AudioError("FLAC holds no float samples: choose int16, int24, or a wav file")
        if not 8 <= self.bitrate <= 4096:
            raise AudioError(f"a bitrate of {self.bitrate} kbit/s is outside 8 to 4096")

    @staticmethod
    def of(path: Path) -> AudioFormat:
        """The format that the suffix of `path` names; raises AudioError for an unknown suffix."""
        suffix = path.suffix.lower().lstrip(".")
        if not suffix:
            raise AudioError(
                f"{path.name} has no suffix: end the name with one of "
                f"{', '.join('.' + name for name in EXTENSIONS)}"
            )
        return AudioFormat(_ALIASES.get(suffix, suffix))
