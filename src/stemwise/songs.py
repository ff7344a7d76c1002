"""Songs on disk: a file in, a file per stem out, and what there is to say about them.

A song streams through the engine block by block: while the network computes, what follows is
decoded and what came before is written. Nothing holds the song, and no file has its name before
all files of the song are whole.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemwise.activity import Activity, read_activity, write_activity
from stemwise.audio import AudioFormat, AudioReader, open_audio
from stemwise.cores import cores
from stemwise.errors import Cancelled, ModelError, OutputError, hint
from stemwise.naming import TEMPLATE, Plan, check_template, plan_songs
from stemwise.pipeline import ReadAhead, WriteBehind
from stemwise.stem_output import CLIP_MODES, ClipMode, Level, StemOutput

if TYPE_CHECKING:
    from stemwise.separation import Block, Engine, Progress

_AHEAD = 16
"""Blocks that are decoded ahead: with the reader's, 24 s at 44.1 kHz."""
_BEHIND = 1
"""Blocks of stems that wait to be written; they are as long as the engine's pieces."""


@dataclass(frozen=True)
class Output:
    """What is written of a song, where, and how.

    stems: names of the stems to write (None: all). two_stems: write this stem and, as
    `no_<stem>`, the sum of the others. filename: fields track, trackext, stem and ext. clip_mode:
    see `StemOutput`. skip_existing: leave songs alone whose files all exist. report: a page is to
    be written beside the stems, whose place is planned with them. staging: where files are written
    before they get their names, on the same disk (None: in `directory`).
    """

    directory: Path = Path("separated")
    format: AudioFormat = field(default_factory=AudioFormat)
    stems: tuple[str, ...] | None = None
    two_stems: str | None = None
    filename: str = TEMPLATE
    clip_mode: ClipMode = "rescale"
    skip_existing: bool = False
    report: bool = False
    staging: Path | None = None

    def __post_init__(self) -> None:
        check_template(self.filename)
        if self.clip_mode not in CLIP_MODES:
            raise OutputError(
                f"The clip mode must be one of {', '.join(CLIP_MODES)}, not {self.clip_mode!r}."
            )
        if self.stems is not None and self.two_stems is not None:
            raise OutputError("Choose either some stems or two stems, not both.")
        if self.stems is not None and not self.stems:
            raise OutputError("Name at least one stem to write.")

    def names(self, sources: Sequence[str]) -> tuple[str, ...]:
        """The stems that are written for a model's sources; raises ModelError for unknown ones."""
        wanted = (self.two_stems,) if self.two_stems is not None else (self.stems or sources)
        for stem in wanted:
            if stem not in sources:
                raise ModelError(f"The model has no stem {stem!r}: {hint(stem, sources)}")
        if self.two_stems is not None:
            return self.two_stems, f"no_{self.two_stems}"
        return tuple(source for source in sources if source in wanted)

    def plan(
        self, songs: Sequence[Path], sources: Sequence[str], tracks: Sequence[str] | None = None
    ) -> list[Plan]:
        """The files of all songs; raises OutputError where two of them clash.

        tracks: what the songs are called, if not as their files.
        """
        names = self.names(sources)
        extension = self.format.extension
        return plan_songs(
            songs, self.directory, names, extension, self.filename, self.report, tracks
        )

    def mix(self, stems: np.ndarray, sources: Sequence[str]) -> dict[str, np.ndarray]:
        """Stems (source, channel, sample) as the blocks (channel, sample) that are written."""
        if self.two_stems is None:
            return {name: stems[sources.index(name)] for name in self.names(sources)}
        chosen = sources.index(self.two_stems)
        others = np.delete(stems, chosen, axis=0).sum(axis=0)
        return {self.two_stems: stems[chosen], f"no_{self.two_stems}": others}


@dataclass(frozen=True)
class FileResult:
    """What became of one song.

    gain: the factor by which all stems were multiplied so that none clips (1: untouched). levels:
    of each stem as written. elapsed: seconds it took. skipped: all files existed already.
    report_path: where the report belongs, if one is wanted.
    """

    song: Path
    stems: dict[str, Path]
    activity: Activity
    activity_path: Path | None
    sample_rate: int
    channels: int
    samples: int
    levels: dict[str, Level] = field(default_factory=dict)
    gain: float = 1.0
    warnings: tuple[str, ...] = ()
    elapsed: float = 0.0
    skipped: bool = False
    report_path: Path | None = None

    @property
    def duration(self) -> float:
        """Seconds of song."""
        return self.samples / self.sample_rate

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON; the level of silence is null."""
        ratio = self.activity.ratio()
        return {
            "song": str(self.song),
            "stems": {name: str(path) for name, path in self.stems.items()},
            "activity": None if self.activity_path is None else str(self.activity_path),
            "active": {name: round(value, 4) for name, value in ratio.items()},
            "levels": {
                name: {"peak_db": _finite(level.peak), "rms_db": _finite(level.rms)}
                for name, level in self.levels.items()
            },
            "sample_rate": self.sample_rate,
            "channels": self.channels,
            "samples": self.samples,
            "duration": round(self.duration, 6),
            "gain": round(self.gain, 6),
            "warnings": list(self.warnings),
            "elapsed": round(self.elapsed, 3),
            "skipped": self.skipped,
        }


def _finite(decibels: float) -> float | None:
    return round(decibels, 2) if math.isfinite(decibels) else None


def separate_file(
    engine: Engine,
    song: str | Path,
    output: Output | None = None,
    *,
    track: str | None = None,
    labels: Activity | None = None,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> FileResult:
    """Separate a song into files with its rate, channels and exact number of samples.

    track: what the results are called, if not as the song's file. labels: when each source plays,
    for the gate "oracle"; stems they do not name stay open, with a warning. progress: called with
    seconds done and the song's seconds (None: unknown). Raises AudioError for a song that cannot be
    read, ModelError for labels that do not fit, OutputError for results that cannot be written,
    Cancelled soon after `cancel` is set; then nothing of the song remains.
    """
    started = time.perf_counter()
    output = output or Output()
    song = Path(song)
    sources = engine.separator.sources
    [plan] = output.plan([song], sources, None if track is None else [track])
    if not engine.separator.activity_sources:
        plan = plan.without_activity()
    if output.staging is not None:
        plan = replace(plan, directory=output.staging)
    if output.skip_existing and all(path.is_file() for path in plan.paths):
        return _existing(plan)
    with open_audio(song) as reader:
        reader.verify()
        rate, channels, info = reader.sample_rate, reader.channels, reader.info
        writing = StemOutput(
            plan,
            rate,
            channels,
            format=output.format,
            clip_mode=output.clip_mode,
            tags=info.tags,
            cover=info.cover,
            cancel=cancel,
        )
        with writing:
            heard = ActivityTrack(engine)
            samples = 0
            length = info.duration if info.samples is None else info.samples / rate

            def take(finish: Callable[[], Block]) -> None:
                nonlocal samples
                block = finish()
                writing.write(output.mix(block.stems, sources))
                heard.add(block.activity)
                samples += block.stems.shape[-1]

            overlaps = _overlaps(engine)
            with (
                _decoded(reader, overlaps) as blocks,
                WriteBehind(_BEHIND if overlaps else 0) as behind,
            ):
                for finish in engine.unfinished(
                    blocks, rate, channels, labels=labels, cancel=cancel
                ):
                    _check(cancel)
                    behind.do(partial(take, finish))
                    if progress is not None:
                        progress(samples / rate, length)
                behind.finish()
            if progress is not None:
                progress(samples / rate, length)
            gain = writing.finish()
            activity = heard.activity(samples / rate)
            if plan.activity is not None:
                writing.add(plan.activity, lambda path: write_activity(path, activity))
            _check(cancel)
            writing.commit()
        return FileResult(
            song,
            plan.stems,
            activity,
            plan.activity,
            rate,
            channels,
            samples,
            writing.levels,
            gain,
            (
                *reader.warnings,
                *(f"{song}: {one}" for one in (*writing.warnings, *_unlabelled(sources, labels))),
            ),
            time.perf_counter() - started,
            report_path=plan.report,
        )


def _overlaps(engine: Engine) -> bool:
    """Whether computing leaves something of the machine free for the stages beside it.

    Where the network's threads have all cores, they would only wait for each other.
    """
    import torch

    return engine.device.type != "cpu" or torch.get_num_threads() < cores()


def _decoded(reader: AudioReader, overlaps: bool) -> ReadAhead[np.ndarray]:
    """The blocks of a song, decoded ahead of what is done with them.

    A pipe is read as its blocks are asked for: what feeds it may never end.
    """
    return ReadAhead(reader, _AHEAD if overlaps and reader.path.is_file() else 0)


def _unlabelled(sources: Sequence[str], labels: Activity | None) -> list[str]:
    missing = [name for name in sources if labels is not None and name not in labels.sources]
    return [f"the labels do not name {', '.join(missing)}: left open"] if missing else []


@dataclass(frozen=True)
class Detection:
    """When each source of a song plays, and what was wrong with the song's file."""

    activity: Activity
    warnings: tuple[str, ...] = ()


def detect_file(
    engine: Engine,
    song: str | Path,
    *,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Detection:
    """When each source of a song plays. Raises AudioError, ModelError, Cancelled."""
    with open_audio(song) as reader:
        reader.verify()
        with _decoded(reader, _overlaps(engine)) as blocks:
            activity = detect_blocks(
                engine,
                blocks,
                reader.sample_rate,
                reader.channels,
                total=reader.info.samples,
                progress=progress,
                cancel=cancel,
            )
        return Detection(activity, tuple(reader.warnings))


def detect_blocks(
    engine: Engine,
    blocks: Iterable[np.ndarray],
    sample_rate: int,
    channels: int,
    *,
    total: int | None = None,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Activity:
    """The activity of a song that comes in blocks (channel, sample); arguments as the engine's."""
    samples = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal samples
        for block in blocks:
            samples += block.shape[-1]
            yield block

    track = ActivityTrack(engine)
    for frames in engine.detect(
        counted(), sample_rate, channels, total=total, progress=progress, cancel=cancel
    ):
        track.add(frames)
    return track.activity(samples / sample_rate)


class ActivityTrack:
    """Collects the activity of consecutive blocks.

    It has room for an hour from the start: small arrays kept between the engine's large ones would
    stop the C library from using that memory again, which cost 1 MB per second of song.
    """

    def __init__(self, engine: Engine) -> None:
        separator = engine.separator
        self._sources, self._frame_rate = separator.activity_sources, separator.frame_rate
        hour = int(3600 * separator.frame_rate)
        self._frames = np.zeros((len(self._sources), hour), np.float32)
        self._count = 0

    def add(self, frames: np.ndarray) -> None:
        """Append frames (activity source, frame)."""
        end = self._count + frames.shape[-1]
        if end > self._frames.shape[-1]:
            self._frames = np.concatenate([self._frames, np.zeros_like(self._frames)], axis=-1)
        self._frames[:, self._count : end] = frames
        self._count = end

    def activity(self, duration: float) -> Activity:
        """The activity of all blocks, which are `duration` seconds of song."""
        # less than a sample at the network's rate has no frame, but every song has one, at 0 s
        frames = self._frames[:, : max(1, self._count)].copy()
        return Activity(self._sources, frames, self._frame_rate, duration)


def _check(cancel: threading.Event | None) -> None:
    if cancel is not None and cancel.is_set():
        raise Cancelled("Separation was cancelled.")


def _existing(plan: Plan) -> FileResult:
    """The result of a song that was separated before."""
    first = next(iter(plan.stems.values()))
    with open_audio(first) as reader:
        rate, channels, info = reader.sample_rate, reader.channels, reader.info
    samples = info.samples
    if samples is None:
        samples = round((info.duration or 0) * rate)
    if plan.activity is None:
        activity = Activity((), np.zeros((0, 0), np.float32), 1.0, samples / rate)
    else:
        # a table of frames does not tell how much of the last one is song
        activity = replace(read_activity(plan.activity), duration=samples / rate)
    return FileResult(
        plan.song,
        plan.stems,
        activity,
        plan.activity,
        rate,
        channels,
        samples,
        skipped=True,
        report_path=plan.report,
    )
