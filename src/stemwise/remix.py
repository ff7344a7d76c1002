"""A new mix of a separated song: other volumes, everywhere or only while a stem plays.

With the song itself at hand the mix is the song plus what each stem is changed by, so that whatever
no stem holds stays, and a sample that nothing changes is that of the song. Without it the mix is
the sum of the stems.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stemwise.activity import Activity
from stemwise.audio import AudioFormat, AudioReader, open_audio
from stemwise.errors import AudioError, Cancelled, OutputError, hint
from stemwise.naming import Plan
from stemwise.stem_output import ClipMode, Level, StemOutput

LOUDEST = 4.0
"""The highest gain of a stem: 12 dB."""
FADE = 0.02
"""Seconds in which a stem's volume changes at the ends of a segment."""

Spans = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Remix:
    """A written mix.

    gain: the factor by which the whole mix was multiplied so that it does not clip (1: untouched).
    level: of the mix as written, in dB relative to full scale. warnings: what the file cannot hold.
    """

    path: Path
    gain: float
    level: Level
    warnings: tuple[str, ...] = ()


def remix(
    stems: Mapping[str, Path],
    target: Path,
    gains: Mapping[str, float],
    *,
    mixture: Path | None = None,
    activity: Activity | None = None,
    only_active: Sequence[str] = (),
    format: AudioFormat | None = None,
    clip_mode: ClipMode = "rescale",
    tags: Mapping[str, str] | None = None,
    cancel: threading.Event | None = None,
) -> Remix:
    """Mix stems with other volumes and write the result to `target`, block by block.

    stems: audio files by name, as loud as in the song. gains: linear, 0 to 4; stems without one
    stay as they are. mixture: the song; its tags and cover are carried on (without it those of the
    first stem), unless `tags` are given. only_active: these stems have their gain only inside the
    segments of `activity`, with raised-cosine fades of 20 ms inside each segment, and sound as in
    the song elsewhere. format: that of the suffix of `target` by default. clip_mode: see
    `StemOutput`.

    Raises OutputError for unknown stems, gains out of range and what cannot be written, AudioError
    for files that cannot be read or do not fit together, Cancelled soon after `cancel` is set; then
    `target` is as it was.
    """
    _check(stems, gains, activity, only_active)
    for source in (*stems.values(), *((mixture,) if mixture is not None else ())):
        if source.resolve() == target.resolve():
            raise OutputError(f"The mix would overwrite {source}: choose another name for it.")
    spans = activity.segments() if activity is not None else {}
    kind = AudioFormat.of(target) if format is None else format
    with ExitStack() as files:
        readers = {name: files.enter_context(open_audio(path)) for name, path in stems.items()}
        song = None if mixture is None else files.enter_context(open_audio(mixture))
        first = song or next(iter(readers.values()))
        _same_shape(first, readers.values())
        curves = {
            name: GainCurve(
                gains.get(name, 1.0),
                first.sample_rate,
                spans[name] if name in only_active else None,
            )
            for name in stems
        }
        plan = Plan(target, target.stem, target.parent, {"mix": target}, None)
        writing = StemOutput(
            plan,
            first.sample_rate,
            first.channels,
            format=kind,
            clip_mode=clip_mode,
            tags=first.info.tags if tags is None else tags,
            cover=first.info.cover,
            cancel=cancel,
        )
        with writing:
            for block in _mixed(song, readers, curves):
                if cancel is not None and cancel.is_set():
                    raise Cancelled("The remix was cancelled.")
                writing.write({"mix": block})
            gain = writing.finish()
            writing.commit()
        return Remix(target, gain, writing.levels["mix"], tuple(writing.warnings))


def _check(
    stems: Mapping[str, Path],
    gains: Mapping[str, float],
    activity: Activity | None,
    only_active: Sequence[str],
) -> None:
    if not stems:
        raise OutputError("There are no stems to mix.")
    for name in (*gains, *only_active):
        if name not in stems:
            raise OutputError(f"There is no stem {name!r} to mix: {hint(name, tuple(stems))}")
    for name, gain in gains.items():
        if not (math.isfinite(gain) and 0 <= gain <= LOUDEST):
            raise OutputError(f"The gain of {name} must be 0 to {LOUDEST:g}, not {gain:g}.")
    for name in only_active:
        if activity is None or name not in activity.sources:
            raise OutputError(
                f"Nothing tells when {name} plays: choose a model with activity, or change "
                f"{name} everywhere."
            )


def _same_shape(first: AudioReader, others: Iterable[AudioReader]) -> None:
    for other in others:
        for what in ("sample_rate", "channels"):
            if getattr(first, what) != getattr(other, what):
                raise AudioError(
                    f"{first.path} and {other.path} differ in {what.replace('_', ' ')}: mix files "
                    "of one separation."
                )


def _mixed(
    song: AudioReader | None, stems: Mapping[str, AudioReader], curves: Mapping[str, GainCurve]
) -> Iterator[NDArray[np.float32]]:
    """Blocks (channel, sample) of the mix."""
    readers = [*stems.values()] if song is None else [song, *stems.values()]
    names = list(stems)
    position = 0
    for blocks in in_step(readers):
        # sums of many stems keep the precision of one
        mix = np.zeros(blocks[0].shape) if song is None else blocks[0].astype(np.float64)
        for name, block in zip(names, blocks[0 if song is None else 1 :], strict=True):
            factor = curves[name].between(position, position + block.shape[1])
            if song is not None:
                factor = factor - 1
            if np.any(factor):
                mix += factor * block
        position += blocks[0].shape[1]
        yield mix.astype(np.float32)


def in_step(readers: Sequence[AudioReader]) -> Iterator[list[NDArray[np.float32]]]:
    """A block (channel, sample) of every reader at a time; raises AudioError if one ends early."""
    streams = [iter(reader) for reader in readers]
    while True:
        blocks = [next(stream, None) for stream in streams]
        whole = [block for block in blocks if block is not None]
        if not whole:
            return
        lengths = [0 if block is None else block.shape[1] for block in blocks]
        if len(set(lengths)) > 1:
            short, long = (readers[lengths.index(end(lengths))].path for end in (min, max))
            raise AudioError(
                f"{short} is shorter than {long}: files of one separation have one length."
            )
        yield whole


class GainCurve:
    """The gain of one stem over time: constant, or only inside `spans` and one elsewhere.

    spans: (start, end) in seconds, in order and apart from each other; None: everywhere.
    """

    def __init__(self, gain: float, sample_rate: int, spans: Spans | None = None) -> None:
        self.gain = gain
        self._spans = [(round(a * sample_rate), round(b * sample_rate)) for a, b in spans or ()]
        self._everywhere = spans is None
        self._fade = round(FADE * sample_rate)

    def between(self, start: int, end: int) -> NDArray[np.float64]:
        """Gains of the samples from `start` to `end` (exclusive): (sample,), or () if constant."""
        if self._everywhere:
            return np.asarray(self.gain, np.float64)
        depth = np.zeros(end - start)
        for first, last in self._spans:
            a, b = max(first, start), min(last, end)
            if a < b:
                depth[a - start : b - start] = self._window(first, last, np.arange(a, b))
        return 1 + (self.gain - 1) * depth

    def _window(self, first: int, last: int, at: NDArray[np.int64]) -> NDArray[np.float64]:
        """From 0 at a segment's ends to 1 within; a segment at the song's start begins with 1."""
        fade = max(1, min(self._fade, (last - first) // 2))
        rising = np.ones(at.size) if first <= 0 else (at - first + 0.5) / fade
        inside = np.clip(np.minimum(rising, (last - at - 0.5) / fade), 0, 1)
        curve: NDArray[np.float64] = 0.5 - 0.5 * np.cos(np.pi * inside)
        return curve
