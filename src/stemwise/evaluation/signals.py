"""What is scored: equally long signals of several sources, read in blocks as often as needed.

BSS Eval goes over the audio twice, so arrays and files are given the same face: `blocks`. Files
are first surveyed once, which finds their lengths and any sample that is not a number before a
score exists; what is dear to decode (MP3, AAC) is kept decoded from then on in a temporary file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stemwise.audio import AudioFormat, AudioReader, create_audio, open_audio
from stemwise.data.track import Part
from stemwise.errors import Cancelled, EvaluationError
from stemwise.evaluation.blocks import quantise

BLOCK = 1 << 16
Check = Callable[[], None]
"""Called between blocks; raises Cancelled when the work is to stop."""


def no_check() -> None:
    """The check of work that nobody stops."""


class Signals(Protocol):
    """Signals of several sources: `blocks` gives them from the start each time it is called."""

    @property
    def names(self) -> tuple[str, ...]:
        """The sources, in the order of the first axis."""

    @property
    def channels(self) -> int:
        """Channels of every source."""

    @property
    def samples(self) -> int:
        """Length of every source in samples."""

    def blocks(self, size: int = BLOCK) -> Iterator[NDArray[np.float64]]:
        """Blocks (source, channel, sample) of `size` samples, and a shorter last one."""


@dataclass(frozen=True)
class ArraySignals:
    """Signals in memory: floating point (source, channel, sample)."""

    names: tuple[str, ...]
    array: NDArray[np.floating]

    @property
    def channels(self) -> int:
        """Channels of every source."""
        return int(self.array.shape[1])

    @property
    def samples(self) -> int:
        """Length of every source in samples."""
        return int(self.array.shape[2])

    def blocks(self, size: int = BLOCK) -> Iterator[NDArray[np.float64]]:
        """See `Signals`."""
        for start in range(0, self.samples, size):
            yield np.asarray(self.array[..., start : start + size], np.float64)


@dataclass(frozen=True)
class FileSignals:
    """Signals in files: a source is the sum of its parts.

    `samples`: shorter files are padded with zeros at their end, longer ones cut. `quantised`: each
    part is rounded to 16 bits, clipped and never wrapped around; sums of parts may go beyond.
    """

    parts: Mapping[str, tuple[Part, ...]]
    channels: int
    samples: int
    quantised: bool = True
    check: Check = field(default=no_check, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The sources, in the order of the first axis."""
        return tuple(self.parts)

    def blocks(self, size: int = BLOCK) -> Iterator[NDArray[np.float64]]:
        """See `Signals`; raises AudioError for a file that cannot be read."""
        with ExitStack() as opened:
            streams = [
                [_samples(opened, part, size, self.quantised) for part in parts]
                for parts in self.parts.values()
            ]
            for start in range(0, self.samples, size):
                self.check()
                length = min(size, self.samples - start)
                block = np.zeros((len(streams), self.channels, length))
                for source, parts in zip(block, streams, strict=True):
                    for part in parts:
                        piece = next(part, None)
                        if piece is not None:
                            source[:, : piece.shape[1]] += piece[:, :length]
                yield block


def _samples(
    opened: ExitStack, part: Part, size: int, quantised: bool
) -> Iterator[NDArray[np.floating]]:
    reader = opened.enter_context(_open(part, size))

    def blocks() -> Iterator[NDArray[np.floating]]:
        for block in reader:
            chosen = block if part.channel is None else block[part.channel : part.channel + 1]
            yield quantise(chosen) if quantised else chosen

    return blocks()


def _open(part: Part, size: int = BLOCK) -> AudioReader:
    return open_audio(part.path, block=size, stream=part.stream, warn=False)


@dataclass(frozen=True)
class Survey:
    """What reading every part once has shown.

    parts: where each source is read from now on. lengths: samples of each source's longest part.
    warnings: files that could be read only in part.
    """

    parts: dict[str, tuple[Part, ...]]
    lengths: dict[str, int]
    warnings: tuple[str, ...]


def survey(
    sources: Mapping[str, Sequence[Part]],
    channels: int,
    spool: Path,
    prefix: str,
    *,
    quantised: bool = True,
    check: Check = no_check,
) -> Survey:
    """Read every part once; decode compressed ones into files in the folder `spool`.

    These hold 16 bits where the signals are `quantised` anyway, else 32-bit floats.

    Raises AudioError for a file that cannot be read or holds NaN, EvaluationError where a part
    has another number of channels.
    """
    kept: dict[str, tuple[Part, ...]] = {}
    lengths: dict[str, int] = {}
    warnings: list[str] = []
    done: dict[Part, tuple[Part, int]] = {}
    format = AudioFormat("wav", "int16" if quantised else "float32")
    for name, parts in sources.items():
        for part in parts:
            if part not in done:
                target = spool / f"{prefix}-{len(done)}.wav"
                done[part] = _survey_part(part, channels, target, format, check, warnings)
        kept[name] = tuple(done[part][0] for part in parts)
        lengths[name] = max(done[part][1] for part in parts)
    return Survey(kept, lengths, tuple(warnings))


def _survey_part(
    part: Part,
    channels: int,
    target: Path,
    format: AudioFormat,
    check: Check,
    warnings: list[str],
) -> tuple[Part, int]:
    with _open(part) as reader:
        found = reader.channels if part.channel is None else 1
        if found != channels:
            raise EvaluationError(f"{part.path} has {found} channels where {channels} are expected")
        samples = 0
        if _cheap(reader):
            for block in reader:
                check()
                samples += block.shape[1]
            warnings += reader.warnings
            return part, samples
        with create_audio(target, reader.sample_rate, reader.channels, format=format) as writer:
            for block in reader:
                check()
                samples += block.shape[1]
                writer.write(block)
        warnings += reader.warnings
    return Part(target, 0, part.channel), samples


def _cheap(reader: AudioReader) -> bool:
    """Whether decoding again costs next to nothing and gives the same samples each time."""
    return reader.info.container in ("wav", "wavex", "rf64", "w64", "aiff", "flac", "au", "caf")


def fit(array: NDArray[np.floating], samples: int) -> NDArray[np.floating]:
    """Cut or zero-pad (channel, sample) at the end to `samples`."""
    missing = samples - array.shape[-1]
    if missing > 0:
        return np.pad(array, ((0, 0), (0, missing)))
    return array[..., :samples]


def length_notes(name: str, found: int, wanted: int, sample_rate: int) -> list[str]:
    """The sentence about a signal that is not as long as the references; none where it is."""
    if found == wanted:
        return []
    seconds = abs(found - wanted) / sample_rate
    if found < wanted:
        return [f"{name} ends {seconds:.3f} s ({wanted - found} samples) early: padded with zeros"]
    return [f"{name} is {seconds:.3f} s ({found - wanted} samples) too long: cut"]


def cancelling(event: object | None) -> Check:
    """A check that raises Cancelled once `event` (anything with `is_set`) is set."""
    is_set = getattr(event, "is_set", None)
    if is_set is None:
        return no_check

    def check() -> None:
        if is_set():
            raise Cancelled("The evaluation was stopped.")

    return check
