"""One song of a data set: which stems and labels it has, and cheap reads of short excerpts.

Partial supervision is normal: a track may have all stems, a few stems and a mixture, or a mixture
with labels only. What a track does not have is absent from it, never a zero.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile

from stemwise.activity import (
    Activity,
    confidence_from_envelopes,
    read_activity,
    stem_envelope,
)
from stemwise.activity_files import LabelFile
from stemwise.audio import AudioReader, read
from stemwise.errors import AudioError, DataError

_LEVEL_BLOCK = 0.1  # seconds per block when a stem's loudness is measured
_ACTIVE_FLOOR = 1e-3  # blocks below -60 dBFS RMS count as silence
_SEEKABLE = frozenset(("WAV", "WAVEX", "RF64", "W64", "FLAC", "AIFF", "AU", "CAF"))


class Song(Protocol):
    """All that sampling and training know of a track, wherever its samples are kept."""

    @property
    def name(self) -> str:
        """Unique within its data set."""

    @property
    def split(self) -> str:
        """ "train", "validation", "test", or "" where the data set has none."""

    @property
    def sample_rate(self) -> int:
        """In hertz."""

    @property
    def samples(self) -> int:
        """Length in samples."""

    @property
    def stems(self) -> Collection[str]:
        """Sources that the song has a stem of."""

    @property
    def labels(self) -> Activity | None:
        """Activity labels; None where there are none."""

    def read_stem(self, source: str, start: int, samples: int) -> np.ndarray:
        """Stereo samples [start, start + samples) of one stem as float32 (channel, sample)."""

    def read_mixture(self, start: int, samples: int) -> np.ndarray:
        """The same of the mixture."""

    def active_level(self, source: str) -> float | None:
        """RMS of a stem over its non-silent 0.1 s blocks (linear full scale); None if all silent.

        May read the whole stem the first time, so training asks once per song and stem.
        """


@dataclass(frozen=True)
class Part:
    """One signal in one file.

    Attributes:
        path: the file.
        stream: audio stream of a container (.stem.mp4: 0 mixture, 1 drums ...).
        channel: one channel of the stream (iKala: 0 accompaniment, 1 voice); None takes all.
    """

    path: Path
    stream: int = 0
    channel: int | None = None


@dataclass(frozen=True)
class Track:
    """One song in the files of its data set.

    Reads seek in WAV, FLAC and their like. In compressed files (.stem.mp4, MP3, Ogg) every read
    decodes from the beginning: train on a prepared store of them.

    Attributes:
        name: unique within its data set.
        split: "train", "validation", "test", or "" where the data set has none.
        sample_rate: of every file of the track, in hertz.
        samples: length of the shortest file, in samples.
        stems: parts whose sum each stem is.
        mixture: parts whose sum the mixture is; empty where it is the sum of the stems.
        activity: file of activity labels, None where there is none.
    """

    name: str
    split: str
    sample_rate: int
    samples: int
    stems: Mapping[str, tuple[Part, ...]] = field(default_factory=dict)
    mixture: tuple[Part, ...] = ()
    activity: LabelFile | Path | None = None

    def read_stem(self, source: str, start: int, samples: int) -> np.ndarray:
        """Stereo samples [start, start + samples) of one stem as float32 (channel, sample)."""
        return _sum(self.stems[source], start, samples)

    def read_mixture(self, start: int, samples: int) -> np.ndarray:
        """The mixture, or the sum of stems where it has no file, as float32 (channel, sample)."""
        if self.mixture:
            return _sum(self.mixture, start, samples)
        total = np.zeros((2, samples), dtype=np.float32)
        for source in self.stems:
            total += self.read_stem(source, start, samples)
        return total

    @cached_property
    def labels(self) -> Activity | None:
        """The track's activity labels, read once; None where it has no label file."""
        if self.activity is None:
            return None
        if isinstance(self.activity, LabelFile):
            return self.activity.read()
        return read_activity(self.activity)

    def active_level(self, source: str) -> float | None:
        """RMS of a stem over its non-silent 0.1 s blocks (linear full scale); None if all silent.

        Reads the whole stem the first time, so training asks for it once per song and stem.
        """
        if source not in self._levels:
            length = max(1, round(_LEVEL_BLOCK * self.sample_rate))
            self._levels[source] = _measure_level(_blocks(self.stems[source], length))
        return self._levels[source]

    @cached_property
    def _levels(self) -> dict[str, float | None]:
        return {}

    def regrouped(self, groups: Mapping[str, Sequence[str]]) -> Track:
        """The track with other stems, each the sum of those it has of a group.

        E.g. {"vocals": ["vocals"], "accompaniment": ["drums", "bass", "other"]}. A group of which
        the track lacks a stem is absent. Its mixture stays what it was.
        """
        stems = {
            name: tuple(part for source in sources for part in self.stems[source])
            for name, sources in groups.items()
            if all(source in self.stems for source in sources)
        }
        whole = tuple(part for parts in self.stems.values() for part in parts)
        return Track(
            self.name,
            self.split,
            self.sample_rate,
            self.samples,
            stems,
            self.mixture or whole,
            self.activity,
        )


class SelfLabelled(Track):
    """A track without label file whose labels are made from its stems when first asked for."""

    @cached_property
    def labels(self) -> Activity:
        """See `labels_from_stems`; all stems are read once for it."""
        return labels_from_stems(self)

    @classmethod
    def of(cls, track: Track) -> SelfLabelled:
        """The track as it is, but for its labels."""
        return cls(**{one.name: getattr(track, one.name) for one in fields(track)})


def labels_from_stems(song: Song) -> Activity:
    """MedleyDB's activation confidence of a song that has all its stems, one read after another.

    For sets without labels, as Hung & Lerch (2020) label MUSDB18-HQ.
    """
    envelopes = {
        source: stem_envelope(song.read_stem(source, 0, song.samples), song.sample_rate)
        for source in song.stems
    }
    return confidence_from_envelopes(envelopes, song.samples / song.sample_rate)


def _sum(parts: Sequence[Part], start: int, samples: int) -> np.ndarray:
    total = read_stereo(parts[0], start, samples)
    for part in parts[1:]:
        total = total + read_stereo(part, start, samples)
    return total


def read_stereo(part: Part, start: int, samples: int) -> np.ndarray:
    """Read samples [start, start + samples) of a part.

    Returns float32 (channel, sample) with two channels: mono files are doubled.
    Raises DataError when the file cannot be read, has more than two channels, or is too short.
    """
    block = _seek(part, start, samples)
    if block is None:
        try:
            block = read(part.path, stream=part.stream, start=start, stop=start + samples).samples.T
        except AudioError as error:
            raise DataError(f"{error}; prepare the data set again") from error
    if len(block) != samples:
        raise DataError(
            f"{part.path} ends before sample {start + samples}; prepare the data set again"
        )
    stereo: np.ndarray = _two_channels(part, block).T
    return stereo


def _seek(part: Part, start: int, samples: int) -> np.ndarray | None:
    """Samples (sample, channel) of a file in which one can seek exactly; None for other files."""
    if part.stream:
        return None
    try:
        with soundfile.SoundFile(str(part.path)) as file:
            if file.format not in _SEEKABLE:
                return None
            file.seek(min(start, file.frames))
            block: np.ndarray = file.read(samples, dtype="float32", always_2d=True)
            return block
    except (OSError, soundfile.SoundFileError):
        return None  # the other decoder finds the words for what is wrong


def _two_channels(part: Part, block: np.ndarray) -> np.ndarray:
    """A block (sample, channel) of a part's file as the part's own two channels."""
    channels = block.shape[1]
    if part.channel is not None:
        if part.channel >= channels:
            raise DataError(
                f"{part.path} has {channels} channels, but a stem is its channel {part.channel + 1}"
            )
        block = block[:, part.channel : part.channel + 1]
    elif channels > 2:
        raise DataError(f"{part.path} has {channels} channels; stems must be mono or stereo")
    return np.repeat(block, 2, axis=1) if block.shape[1] == 1 else block


def _blocks(parts: Sequence[Part], length: int) -> Iterator[np.ndarray]:
    """The sum of parts in blocks (sample, channel) of `length` samples, and a shorter last one."""
    readers = []
    try:
        for part in parts:
            readers.append(AudioReader(part.path, block=length, stream=part.stream))
        if len(parts) == 1 and parts[0].channel is None:
            yield from (np.ascontiguousarray(block.T) for block in readers[0])
            return
        for together in zip(*readers, strict=False):
            shortest = min(block.shape[1] for block in together)
            stereo = [
                _two_channels(part, block[:, :shortest].T)
                for part, block in zip(parts, together, strict=True)
            ]
            yield np.sum(stereo, axis=0)
    except AudioError as error:
        raise DataError(str(error)) from error
    finally:
        for reader in readers:
            reader.close()


def _measure_level(blocks: Iterator[np.ndarray]) -> float | None:
    powers = np.array([np.mean(np.square(block)) for block in blocks])
    active = powers[powers > _ACTIVE_FLOOR**2]
    return float(np.sqrt(active.mean())) if len(active) else None
