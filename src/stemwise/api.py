"""Separation from Python: load a model once, give it files, audio or arrays."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemwise.activity import Activity, write_activity
from stemwise.audio import Audio, AudioFormat, open_audio
from stemwise.errors import AudioError, ModelError, hint
from stemwise.naming import Plan
from stemwise.songs import ActivityTrack, FileResult, Output, detect_blocks, separate_file
from stemwise.stem_output import ClipMode, StemOutput

if TYPE_CHECKING:
    from stemwise.live import Stream
    from stemwise.separation import Engine, Progress

BLOCK = 1 << 16


@dataclass
class Separation:
    """A separated song in memory: stems by name, with its rate and length, and their activity."""

    stems: dict[str, Audio]
    activity: Activity
    sample_rate: int

    def save(
        self,
        directory: str | Path,
        format: str | AudioFormat = "wav",
        *,
        clip_mode: ClipMode = "rescale",
    ) -> dict[str, Path]:
        """Write `<stem>.<ext>` for every stem, and activity.csv, all or nothing.

        format: an extension or an AudioFormat. clip_mode: see `StemOutput`. Returns the paths of
        the stems. Raises AudioError for an unknown format, OutputError where nothing can be
        written.
        """
        directory = Path(directory)
        kind = AudioFormat(format) if isinstance(format, str) else format
        files = {name: directory / f"{name}.{kind.extension}" for name in self.stems}
        labels = directory / "activity.csv" if self.activity.sources else None
        plan = Plan(directory, directory.name or "song", directory, files, labels)
        first = next(iter(self.stems.values()))
        with StemOutput(
            plan,
            self.sample_rate,
            first.channels,
            format=kind,
            clip_mode=clip_mode,
            tags=first.tags,
            cover=first.cover,
        ) as output:
            for start in range(0, first.samples.shape[1], BLOCK):
                end = start + BLOCK
                output.write({name: one.samples[:, start:end] for name, one in self.stems.items()})
            output.finish()
            if labels is not None:
                output.add(labels, lambda path: write_activity(path, self.activity))
            output.commit()
        return files


class Model:
    """A separator on its device. Make one with `stemwise.load`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the stems."""
        return self.engine.separator.sources

    @property
    def activity_sources(self) -> tuple[str, ...]:
        """Names of the stems whose activity the model tells."""
        return self.engine.separator.activity_sources

    @property
    def device(self) -> str:
        """Where the network runs: "cpu", "cuda" ..."""
        return str(self.engine.device)

    def separate(
        self,
        song: str | Path | Audio | np.ndarray,
        sample_rate: int | None = None,
        *,
        labels: Activity | None = None,
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
    ) -> Separation:
        """Separate a file, audio or array in memory.

        song: a path, Audio, or floating-point samples (channel, sample) or (sample,), nominal
        range [-1, 1], with their `sample_rate` in Hz. The stems have its rate, channels and exact
        length. labels: when each source plays, for a model loaded with gate="oracle"; stems they
        do not name stay open. Raises AudioError, before anything is computed, for arrays with NaN
        or infinite samples, with none, or with more than 8 channels; ModelError for labels that do
        not fit; Cancelled soon after `cancel` is set.
        """
        with _opened(song, sample_rate) as source:
            stream = self.engine.stream(
                source.blocks,
                source.sample_rate,
                source.channels,
                labels=labels,
                total=source.samples,
                progress=progress,
                cancel=cancel,
            )
            blocks = list(stream)
            joined = np.concatenate([block.stems for block in blocks], axis=-1)
            track = ActivityTrack(self.engine)
            for block in blocks:
                track.add(block.activity)
            activity = track.activity(joined.shape[-1] / source.sample_rate)
            stems = {
                name: Audio(joined[index], source.sample_rate, dict(source.tags), source.cover)
                for index, name in enumerate(self.sources)
            }
            return Separation(stems, activity, source.sample_rate)

    def detect(
        self,
        song: str | Path | Audio | np.ndarray,
        sample_rate: int | None = None,
        *,
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
    ) -> Activity:
        """When each source plays; keeps no stems. Arguments and errors as `separate`.

        Raises ModelError for a model without activity.
        """
        with _opened(song, sample_rate) as source:
            return detect_blocks(
                self.engine,
                source.blocks,
                source.sample_rate,
                source.channels,
                total=source.samples,
                progress=progress,
                cancel=cancel,
            )

    def separate_file(
        self,
        song: str | Path,
        output: Output | None = None,
        *,
        labels: Activity | None = None,
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
    ) -> FileResult:
        """Separate a song of any length into files; see `stemwise.songs.separate_file`."""
        return separate_file(
            self.engine, song, output, labels=labels, progress=progress, cancel=cancel
        )

    def stream(self, sample_rate: int, channels: int) -> Stream:
        """Separate audio while it comes in: push blocks, get stems; see `stemwise.Stream`.

        Load the model with a short segment and lookahead, in seconds, for a short latency.
        """
        from stemwise.live import Stream

        return Stream(self.engine, sample_rate, channels)


@dataclass(frozen=True)
class _Source:
    """A song being read, wherever it comes from."""

    blocks: Iterable[np.ndarray]
    sample_rate: int
    channels: int
    samples: int | None
    tags: dict[str, str]
    cover: bytes | None


@contextmanager
def _opened(song: str | Path | Audio | np.ndarray, sample_rate: int | None) -> Iterator[_Source]:
    if isinstance(song, (str, Path)):
        with open_audio(song) as reader:
            reader.verify()
            info = reader.info
            yield _Source(
                reader, info.sample_rate, info.channels, info.samples, info.tags, info.cover
            )
        return
    if not isinstance(song, Audio):
        if sample_rate is None:
            raise AudioError("An array needs its sample rate: give sample_rate in Hz.")
        song = Audio(song, sample_rate)
    samples = _checked(song.samples, song.sample_rate)
    length = samples.shape[1]
    blocks = [samples[:, start : start + BLOCK] for start in range(0, length, BLOCK)]
    yield _Source(blocks, song.sample_rate, samples.shape[0], length, song.tags, song.cover)


def _checked(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """Samples as float32 (channel, sample); raises AudioError for what cannot be separated."""
    samples = np.asarray(samples)
    if not np.issubdtype(samples.dtype, np.floating):
        raise AudioError(
            f"The samples are {samples.dtype}: convert them to floating point from -1 to 1."
        )
    if samples.ndim == 1:
        samples = samples[np.newaxis]
    if samples.ndim != 2 or not 1 <= samples.shape[0] <= 8:
        raise AudioError(
            f"The samples have the shape {samples.shape}: give (channel, sample), "
            "with 1 to 8 channels."
        )
    if samples.shape[1] == 0:
        raise AudioError("The audio contains no samples.")
    if sample_rate <= 0:
        raise AudioError(f"The sample rate must be positive, not {sample_rate} Hz.")
    if not np.isfinite(samples).all():
        bad = int(np.argmin(np.isfinite(samples).all(axis=0)))
        raise AudioError(
            f"The audio has a sample that is not a number at {bad / sample_rate:.3f} s: repair it."
        )
    return np.ascontiguousarray(samples, np.float32)


def load(name: str | Path = "band", device: str = "auto", **options: Any) -> Model:
    """Load a trained model, by name or from a checkpoint's path.

    options: see `stemwise.separation.Options` (segment, lookahead, overlap, batch, gate, phase,
    residual, precision). Raises ModelError for an unknown model, device or option.
    """
    from stemwise import models
    from stemwise.separation import Engine, Options

    known = [one.name for one in fields(Options)]
    for key in options:
        if key not in known:
            raise ModelError(f"There is no option {key!r}: {hint(key, known)}")
    return Model(Engine(models.load(name), Options(device=device, **options)))
