"""One song of a data set: which stems and labels it has, and cheap reads of short excerpts.

Partial supervision is normal: a track may have all stems, a few stems and a mixture, or a mixture
with labels only. What a track does not have is absent from it, never a zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import soundfile

from stemwise.activity import Activity, read_activity
from stemwise.errors import DataError

_LEVEL_BLOCK = 0.1  # seconds per block when a stem's loudness is measured
_ACTIVE_FLOOR = 1e-3  # blocks below -60 dBFS RMS count as silence


@dataclass(frozen=True)
class Track:
    """One song.

    Attributes:
        name: unique within its data set.
        split: "train", "validation", "test", or "" where the data set has none.
        sample_rate: of every file of the track, in hertz.
        samples: length of the shortest file, in samples.
        stems: file of each stem that exists.
        mixture: file of the mixture; None where the mixture is the sum of the stems.
        activity: file of activity labels, None where there is none.
    """

    name: str
    split: str
    sample_rate: int
    samples: int
    stems: Mapping[str, Path] = field(default_factory=dict)
    mixture: Path | None = None
    activity: Path | None = None

    def read_stem(self, source: str, start: int, samples: int) -> np.ndarray:
        """Stereo samples [start, start + samples) of one stem as float32 (channel, sample)."""
        return read_stereo(self.stems[source], start, samples)

    def read_mixture(self, start: int, samples: int) -> np.ndarray:
        """The mixture, or the sum of stems where it has no file, as float32 (channel, sample)."""
        if self.mixture is not None:
            return read_stereo(self.mixture, start, samples)
        total = np.zeros((2, samples), dtype=np.float32)
        for source in self.stems:
            total += self.read_stem(source, start, samples)
        return total

    @cached_property
    def labels(self) -> Activity | None:
        """The track's activity labels, read once; None where it has no label file."""
        return None if self.activity is None else read_activity(self.activity)

    def active_level(self, source: str) -> float | None:
        """RMS of a stem over its non-silent 0.1 s blocks (linear full scale); None if all silent.

        Reads the whole stem the first time, so training asks for it once per song and stem.
        """
        if source not in self._levels:
            self._levels[source] = _measure_level(self.stems[source])
        return self._levels[source]

    @cached_property
    def _levels(self) -> dict[str, float | None]:
        return {}


def read_stereo(path: Path, start: int, samples: int) -> np.ndarray:
    """Read samples [start, start + samples) of a file by seeking; no other part is decoded.

    Returns float32 (channel, sample) with two channels: mono files are doubled.
    Raises DataError when the file cannot be read, has more than two channels, or is too short.
    """
    try:
        with soundfile.SoundFile(str(path)) as file:
            file.seek(start)
            block = file.read(samples, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        raise DataError(f"cannot read {path}: {error}; prepare the data set again") from error
    if len(block) != samples:
        raise DataError(f"{path} ends before sample {start + samples}; prepare the data set again")
    if block.shape[1] > 2:
        raise DataError(f"{path} has {block.shape[1]} channels; stems must be mono or stereo")
    if block.shape[1] == 1:
        block = np.repeat(block, 2, axis=1)
    stereo: np.ndarray = block.T
    return stereo


def _measure_level(path: Path) -> float | None:
    with soundfile.SoundFile(str(path)) as file:
        length = max(1, round(_LEVEL_BLOCK * file.samplerate))
        powers = np.array(
            [np.mean(np.square(block)) for block in file.blocks(length, dtype="float32")]
        )
    active = powers[powers > _ACTIVE_FLOOR**2]
    return float(np.sqrt(active.mean())) if len(active) else None
