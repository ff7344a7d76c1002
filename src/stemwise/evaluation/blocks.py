"""Where samples come from: arrays, files, or any source of blocks that can be read twice.

BSS Eval v4 reads all audio twice: once for the filters, which hold for the whole track, and once
for the scores. A `BlockSource` is a function that starts a fresh reading each time it is called.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stemwise.errors import AudioWarning, EvaluationError

Samples = npt.NDArray[np.floating[Any]]
"""(source, channel, sample), nominal range [-1, 1]."""

BlockSource = Callable[[], Iterator[Samples]]
"""Starts reading from the first sample; gives consecutive blocks of any length."""

BLOCK = 1 << 16


def quantise(samples: Samples) -> Samples:
    """`samples` of any shape as 16 bits hold them: multiples of 1/32768 in [-1, 32767/32768].

    What is infinite becomes NaN. The type stays: these numbers are exact in float32 as well.
    """
    scaled = np.asarray(samples * samples.dtype.type(32768))
    if np.isinf(scaled).any():  # which clipping would hide
        scaled[np.isinf(scaled)] = np.nan
    np.rint(scaled, out=scaled)
    np.clip(scaled, -32768, 32767, out=scaled)
    scaled /= 32768
    return scaled


def array_blocks(samples: Samples, block: int = BLOCK) -> BlockSource:
    """The blocks of an array (source, channel, sample); views, nothing is copied."""

    def read() -> Iterator[Samples]:
        for start in range(0, samples.shape[-1], block):
            yield samples[..., start : start + block]

    return read


def file_blocks(
    paths: Sequence[str | Path], block: int = BLOCK, *, quantised: bool = False
) -> BlockSource:
    """The blocks of several audio files read side by side, one per source.

    `quantised`: as 16 bits hold them. Raises EvaluationError, before anything is read, where rates
    or channel counts differ, and at the end of the shortest file where lengths differ; AudioError
    for files that cannot be read.
    """
    files = [Path(path) for path in paths]
    file_format(files)

    def read() -> Iterator[Samples]:
        from stemwise.audio.decoders import open_decoder

        with ExitStack() as stack:
            # a reader would look for tags as well, which takes longer than a short song
            decoders = [open_decoder(path, 0) for path in files]
            for decoder in decoders:
                stack.callback(decoder.close)
            position = 0
            for blocks in zip_longest(*(decoder.blocks(block) for decoder in decoders)):
                if len({0 if one is None else one.shape[1] for one in blocks}) > 1:
                    raise EvaluationError(
                        f"{_names(files)} have different lengths: sources of one track must be "
                        "equally long."
                    )
                yield np.stack(
                    [
                        # files of 16 bits hold nothing else
                        quantise(one) if quantised and decoder.codec != "pcm_16" else one
                        for one, decoder in zip(blocks, decoders, strict=True)
                    ]
                )
                position += blocks[0].shape[1]
            for path, decoder in zip(files, decoders, strict=True):
                for complaint in decoder.complaints(position):
                    warnings.warn(f"{path} {complaint}", AudioWarning, stacklevel=2)

    return read


def file_format(paths: Sequence[Path]) -> tuple[int, int]:
    """(sample rate, channels) that all files share; EvaluationError where they differ."""
    from stemwise.audio.decoders import open_decoder

    if not paths:
        raise EvaluationError("There is no file to score: give one file per source.")
    first = open_decoder(paths[0], 0)
    first.close()
    for path in paths[1:]:
        info = open_decoder(path, 0)
        info.close()
        if info.sample_rate != first.sample_rate:
            raise EvaluationError(
                f"{path} has {info.sample_rate} Hz and {paths[0]} {first.sample_rate} Hz: "
                "resample one of them."
            )
        if info.channels != first.channels:
            raise EvaluationError(
                f"{path} has {info.channels} channels and {paths[0]} {first.channels}: "
                "convert one of them."
            )
    return first.sample_rate, first.channels


def _names(files: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in files)


@dataclass(frozen=True)
class PairedBlocks:
    """References and estimates read side by side, in equally long pieces.

    With `fit_length` estimates are cut or zero-padded at their end to the references' length;
    without it another length is an EvaluationError.
    """

    references: BlockSource
    estimates: BlockSource
    quantised: bool = False
    fit_length: bool = False

    def __iter__(self) -> Iterator[tuple[Samples, Samples]]:
        """Pairs of blocks (source, channel, sample), the same length in both."""
        estimates = _Reader(self.estimates())
        length = 0
        for block in self.references():
            if not block.shape[-1]:
                continue
            length += block.shape[-1]
            other = estimates.take(block.shape[-1])
            if other.shape[:-1] != block.shape[:-1] or block.ndim != 3:
                raise EvaluationError(_shapes(block, other))
            if other.shape[-1] < block.shape[-1]:
                if not self.fit_length:
                    raise EvaluationError(_lengths(length, estimates.position))
                missing = block.shape[-1] - other.shape[-1]
                other = np.pad(other, ((0, 0), (0, 0), (0, missing)))
            yield (quantise(block), quantise(other)) if self.quantised else (block, other)
        if length and not self.fit_length and estimates.take(1).shape[-1]:
            raise EvaluationError(_lengths(length, None))


def _shapes(references: Samples, estimates: Samples) -> str:
    return (
        "References and estimates must have the same sources and channels, as (source, channel, "
        f"sample): these are {references.shape[:-1]} and {estimates.shape[:-1]}."
    )


def _lengths(references: int, estimates: int | None) -> str:
    found = "longer" if estimates is None else f"{estimates} samples long"
    wanted = f"{references} samples" if estimates is None else f"at least {references}"
    return (
        f"The references have {wanted} and the estimates are {found}: cut or zero-pad the "
        "estimates (`fit_length` does it at their end)."
    )


class _Reader:
    """Takes any number of samples from a stream of blocks."""

    def __init__(self, blocks: Iterator[Samples]) -> None:
        self._blocks = blocks
        self._rest: Samples = np.zeros((0, 0, 0))
        self.position = 0

    def take(self, samples: int) -> Samples:
        """The next `samples` samples; fewer only at the end."""
        parts: list[Samples] = []
        missing = samples
        while missing:
            if not self._rest.shape[-1]:
                block = next(self._blocks, None)
                if block is None:
                    break
                self._rest = block
            parts.append(self._rest[..., :missing])
            missing -= parts[-1].shape[-1]
            self._rest = self._rest[..., parts[-1].shape[-1] :]
        self.position += samples - missing
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts, axis=-1) if parts else self._rest
