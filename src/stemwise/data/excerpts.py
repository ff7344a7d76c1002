"""Reads planned excerpts into batches: which clips make a stem, which labels belong to them.

A plan is cheap and says everything; reading one copies samples straight into the batch. Integer
samples of a store stay integers until the training device scales them (`augment.apply`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import soxr
import torch
from torch import Tensor

from stemwise.data import augment
from stemwise.data.batch import Batch
from stemwise.data.draws import Draws
from stemwise.data.track import Song

ACTIVE = 0.5
"""Label probability above which a frame counts as active."""


@runtime_checkable
class PcmSong(Protocol):
    """What a song offers besides `Song` when its stems can be had just as they are stored."""

    dtype: np.dtype[Any]

    def read_pcm(
        self, source: str, start: int, samples: int, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Stored numbers [start, start + samples) of a stem: (channel, sample), or filled `out`."""

    def scale(self, source: str) -> float:
        """What stored numbers of a stem are multiplied by to be samples."""


def stored_dtype(songs: Sequence[Song]) -> np.dtype[Any] | None:
    """The one type in which all songs are stored; None where they have none in common."""
    found = {song.dtype if isinstance(song, PcmSong) else None for song in songs}
    return found.pop() if len(found) == 1 else None


@dataclass(frozen=True)
class Layout:
    """Shape of the excerpts of a batch.

    Attributes:
        sources: order of the stems.
        activity_sources: order of the activity labels.
        samples: excerpt length.
        hop: samples per activity frame.
        sample_rate: in hertz.
        width: samples that are read per stem; more than `samples` where tempo is changed later.
        stored: type of the batch's stems, where every stem is one clip of a PcmSong, played as it
            is, or silence; None where stems must be made from float32 samples.
    """

    sources: tuple[str, ...]
    activity_sources: tuple[str, ...]
    samples: int
    hop: int
    sample_rate: int
    width: int
    stored: np.dtype[Any] | None = None

    @property
    def frames(self) -> int:
        """Activity frames of an excerpt: one at its first sample, then one per hop."""
        return self.samples // self.hop + 1


class Clip(NamedTuple):
    """A stretch of one signal of a song, read for an excerpt.

    source: a stem, or None for the mixture. length: samples that are read; they are played in
    `played` samples. gain: linear, multiplies this clip alone.
    """

    song: Song
    source: str | None
    start: int
    length: int
    played: int
    gain: float = 1.0


class LabelClip(NamedTuple):
    """Where the labels of an activity source are; `speed` in read samples per excerpt sample."""

    song: Song
    start: int
    speed: float


SILENT = "silent"
"""Instead of a LabelClip: the source is left out, and so it is known not to play."""


@dataclass
class Plan:
    """All that decides one excerpt.

    Attributes:
        stems: per source, the clips whose sum it is; none where it is silent or unknown.
        supervised: per source, whether it is known.
        labels: per activity source, where its labels are, SILENT, or None where it is unknown.
        draws: how it is changed.
        origins: "song@seconds" of every song that is read, each once.
        rest: clips of the mixture besides the stems; None where the stems are the whole mixture.
        subtract: whether the rest's clips hold the stems, which are then taken out of it.
    """

    stems: list[tuple[Clip, ...]]
    supervised: list[bool]
    labels: Sequence[LabelClip | str | None]
    draws: Draws
    origins: tuple[str, ...]
    rest: tuple[Clip, ...] | None = None
    subtract: bool = False


def read_plans(plans: Sequence[Plan], layout: Layout, *, mix: bool = False) -> Batch:
    """Read a batch of excerpts.

    mix: apply gains, panning and swaps while stored numbers are read, where nothing else was drawn
    for single stems: for training on the CPU, which so passes over main memory once less. The
    samples are the same bit for bit.
    """
    size, sources = len(plans), len(layout.sources)
    rest = None
    if any(plan.rest is not None for plan in plans):
        rest = np.zeros((size, 2, layout.width), dtype=np.float32)
    activity, known = _read_labels(plans, layout)
    draws = [plan.draws for plan in plans]
    batch = Batch(
        stems=torch.empty(0),
        rest=None if rest is None else torch.from_numpy(rest),
        supervised=_tensor([plan.supervised for plan in plans], np.bool_),
        activity=torch.from_numpy(activity),
        activity_known=torch.from_numpy(known),
        gains=_tensor([d.gains for d in draws]),
        level=_tensor([d.level for d in draws]),
        swap=_tensor([d.swap for d in draws], np.bool_),
        width=_tensor([d.width for d in draws]),
        filters=_tensor([d.filters for d in draws]),
        sample_rate=layout.sample_rate,
        origins=tuple(plan.origins for plan in plans),
        samples=layout.samples,
        **_stack_optional(draws, sources),
    )
    mix = mix and layout.stored is not None and augment.mixes_alone(batch)
    dtype = np.float32 if mix or layout.stored is None else layout.stored
    stems = np.empty((size, sources, 2, layout.width), dtype=dtype)
    batch.stems = torch.from_numpy(stems)
    if mix:
        _read_mixed(plans, stems, batch)
        return augment.without_mix(batch)
    if layout.stored is not None:
        scale = np.ones((size, sources), dtype=np.float32)
        for plan, excerpt, scales in zip(plans, stems, scale, strict=True):
            _read_stored(plan, excerpt, scales)
        batch.scale = torch.from_numpy(scale)
        return batch
    for k, plan in enumerate(plans):
        for row, clips in zip(stems[k], plan.stems, strict=True):
            _read_sum(clips, row)
        if rest is not None and plan.rest is not None:
            _read_sum(plan.rest, rest[k])
            if plan.subtract:
                for row, clips in zip(stems[k], plan.stems, strict=True):
                    if clips:
                        rest[k] -= row
    return batch


def _read_mixed(plans: Sequence[Plan], stems: np.ndarray, batch: Batch) -> None:
    """Fill stems (batch, source, channel, sample) with stored numbers as the batch mixes them."""
    gains, swaps = (one.numpy() for one in augment.channel_gains(batch))
    with augment.small_buffer():
        for plan, excerpt, factors, flips in zip(plans, stems, gains, swaps, strict=True):
            for number, clips in enumerate(plan.stems):
                if not clips:
                    excerpt[number] = 0
                    continue
                song, source, start, length, *_ = clips[0]
                stored = song.read_pcm(source, start, length)  # type: ignore[attr-defined]
                scaled = factors[number] * np.float32(song.scale(source))  # type: ignore[attr-defined]
                augment.mix_stem(excerpt[number], stored, scaled, flips[number])


def _tensor(values: Sequence[Any], dtype: Any = np.float32) -> Tensor:
    # NumPy makes arrays of short lists in a fraction of the time that PyTorch takes
    return torch.from_numpy(np.array(values, dtype=dtype))


_OPTIONAL: dict[str, tuple[Any, float | tuple[float, ...]]] = {
    "swaps": (np.bool_, 0.0),
    "pan": (np.float32, 0.0),
    "shelves": (np.float32, (0.0, 200.0, 0.0, 4000.0)),
    "bands": (np.float32, (0.0, 1000.0, 1.0)),
    "pitch": (np.float32, 0.0),
    "tempo": (np.float32, 1.0),
}
"""Draws that a batch may have none of: their type, and the value that changes nothing."""


def _stack_optional(draws: Sequence[Draws], sources: int) -> dict[str, Tensor | None]:
    stacked: dict[str, Tensor | None] = {}
    for name, (dtype, neutral) in _OPTIONAL.items():
        values: list[Any] = [getattr(one, name) for one in draws]
        if all(value is None for value in values):
            continue
        unchanged = np.tile(np.asarray(neutral), (sources, *(1,) * np.ndim(neutral)))
        filled = [unchanged if value is None else value for value in values]
        stacked[name] = _tensor(filled, dtype)
    return stacked


def _read_stored(plan: Plan, stems: np.ndarray, scale: np.ndarray) -> None:
    """Fill stems (source, channel, sample) with stored numbers, `scale` (source,) with theirs."""
    for number, clips in enumerate(plan.stems):
        if clips:
            song, source, start, length, *_ = clips[0]
            song.read_pcm(source, start, length, stems[number])  # type: ignore[attr-defined]
            scale[number] = song.scale(source)  # type: ignore[attr-defined]
        else:
            stems[number] = 0


def _read_sum(clips: Sequence[Clip], row: np.ndarray) -> None:
    """Write the sum of clips into a row (channel, sample), silence behind them."""
    if not clips:
        row[:] = 0
    for number, (song, source, start, length, played, gain) in enumerate(clips):
        read = song.read_mixture if source is None else None
        block = read(start, length) if read else song.read_stem(source or "", start, length)
        if length != played:
            block = _stretched(block, played)
        if gain != 1.0:
            block = block * np.float32(gain)
        if number == 0:
            row[:, :played] = block
            row[:, played:] = 0
        else:
            row[:, :played] += block


def _stretched(stem: np.ndarray, samples: int) -> np.ndarray:
    """Play a stem (channel, sample) faster or slower so that it lasts `samples`."""
    played = soxr.resample(stem.T, stem.shape[1], samples, quality="MQ").T
    fitted = np.zeros((len(stem), samples), dtype=np.float32)
    length = min(samples, played.shape[1])
    fitted[:, :length] = played[:, :length]
    return fitted


def _read_labels(plans: Sequence[Plan], layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Activity (batch, activity source, frame) by nearest time, and whether each row is known."""
    shape = (len(plans), len(layout.activity_sources))
    activity = np.zeros((*shape, layout.frames), dtype=np.float32)
    known = np.zeros(shape, dtype=bool)
    targets, rows, numbers = [], [], []
    for k, plan in enumerate(plans):
        for j, (source, place) in enumerate(zip(layout.activity_sources, plan.labels, strict=True)):
            if place is None:
                continue
            if isinstance(place, str):
                known[k, j] = True  # left out of the mix: silent for certain
                continue
            labels = place.song.labels
            if labels is None or source not in labels.sources:
                continue
            known[k, j] = True
            targets.append(activity[k, j])
            rows.append(labels.probabilities[labels.sources.index(source)])
            numbers.append(
                (place.start, place.speed * layout.hop, place.song.sample_rate, labels.frame_rate)
            )
    if numbers:
        start, step, rate, frame_rate = np.array(numbers, dtype=np.float64).T[:, :, None]
        times = (start + step * np.arange(layout.frames)) / rate
        frames = np.rint(times * frame_rate).astype(np.int64)
        for target, row, at in zip(targets, rows, frames, strict=True):
            row.take(at, out=target, mode="clip")
        activity = (activity > ACTIVE).astype(np.float32)
    return activity, known
