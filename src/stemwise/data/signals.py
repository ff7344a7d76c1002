"""The signals of a track as streams: sums of the parts of files, and what follows from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from stemwise.audio import AudioReader
from stemwise.audio.format import Samples
from stemwise.data.store import MIXTURE
from stemwise.data.track import Part
from stemwise.errors import DataError

VOCALS, ACCOMPANIMENT = "vocals", "accompaniment"


def with_derived(signals: dict[str, Samples]) -> dict[str, Samples]:
    """Signals (2, sample) of one song, and its mixture and accompaniment where they follow.

    The accompaniment is the sum of the stems besides the vocals; where there is no other, the
    mixture without the vocals.
    """
    stems = {name: one for name, one in signals.items() if name != MIXTURE}
    derived = dict(signals)
    if MIXTURE not in derived:
        derived[MIXTURE] = np.sum(list(stems.values()), axis=0, dtype=np.float32)
    if VOCALS in stems and ACCOMPANIMENT not in stems:
        others = [one for name, one in stems.items() if name != VOCALS]
        if others:
            derived[ACCOMPANIMENT] = np.sum(others, axis=0, dtype=np.float32)
        elif MIXTURE in signals:
            derived[ACCOMPANIMENT] = signals[MIXTURE] - stems[VOCALS]
    return derived


def signal_blocks(
    parts: Sequence[Part], samples: int, sample_rate: int, channels: int
) -> Iterator[Samples]:
    """The sum of parts in blocks (channel, sample), `samples` samples in all.

    Two channels become one by their mean, one becomes two by doubling. Raises DataError for a part
    that is shorter, has another sample rate or more than two channels, and AudioError.
    """
    readers: list[AudioReader] = []
    try:
        for part in parts:
            reader = AudioReader(part.path, stream=part.stream, warn=False)
            readers.append(reader)
            if reader.sample_rate != sample_rate:
                raise DataError(
                    f"{part.path} has {reader.sample_rate} Hz and its track {sample_rate} Hz: "
                    "bring its files to one rate"
                )
        streams = [iter(reader) for reader in readers]
        done = 0
        while done < samples:
            blocks = [next(stream, None) for stream in streams]
            total: Samples | None = None
            for part, block in zip(parts, blocks, strict=True):
                if block is None:
                    raise _ends_early(part, done, samples, sample_rate)
                fitted = _fitted(part, block, channels)[:, : samples - done]
                if total is not None and fitted.shape != total.shape:
                    short = min(fitted.shape[1], total.shape[1])
                    raise _ends_early(part, done + short, samples, sample_rate)
                total = fitted if total is None else total + fitted
            assert total is not None
            done += total.shape[1]
            yield total
    finally:
        for reader in readers:
            reader.close()


def _ends_early(part: Part, at: int, samples: int, sample_rate: int) -> DataError:
    return DataError(
        f"{part.path} ends at {at / sample_rate:.2f} s, before its track does at "
        f"{samples / sample_rate:.2f} s: it is damaged, replace it"
    )


def _fitted(part: Part, block: Samples, channels: int) -> Samples:
    """A block of a part's file as `channels` channels."""
    if part.channel is not None:
        if part.channel >= len(block):
            raise DataError(
                f"{part.path} has {len(block)} channels, and its track needs channel "
                f"{part.channel + 1} of it"
            )
        block = block[part.channel : part.channel + 1]
    if len(block) > 2:
        raise DataError(f"{part.path} has {len(block)} channels; stems must be mono or stereo")
    if len(block) == channels:
        return block
    if channels == 1:
        return np.asarray(block.mean(axis=0, keepdims=True))
    return np.repeat(block, 2, axis=0)
