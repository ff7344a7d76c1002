"""The process that separates: a song in, masters out; models stay loaded between songs.

Masters are float32 WAV with the song's rate, channels and length, unchanged in volume, so that any
format can be made from them as if it were written by the separation itself.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from stemwise.child import Messages
from stemwise.errors import AudioWarning, Cancelled, StemwiseError
from stemwise.report.facts import separation_facts
from stemwise.studio.masters import MASTER, MIXTURE, Masters, decode, master
from stemwise.studio.offers import Candidate, Offer, describe
from stemwise.studio.pictures import picture

if TYPE_CHECKING:
    from stemwise.models import Separator
    from stemwise.separation import Block, Engine

_TOLD_EVERY = 0.2
"""Seconds between two messages on progress."""
_SEPARATION, _MIXTURE = 0.9, 0.93
"""Share of all work that is done after the separation, and after decoding the mixture."""
_NICE = 10
"""The server must answer while all cores separate."""


@dataclass(frozen=True)
class Task:
    """What the worker is to do: separate `song` into the folder `target`, which exists.

    title: of the song, for people. name: of the model, as users know it; model: its checkpoint.
    """

    id: str
    song: Path
    target: Path
    title: str
    name: str
    model: str
    stems: tuple[str, ...]
    gate: str


@dataclass(frozen=True)
class Preload:
    """Load a model before it is needed."""

    model: str


@dataclass(frozen=True)
class Cancel:
    """Stop a task, if it is still being done."""

    id: str


@dataclass(frozen=True)
class Ready:
    """The worker runs; offers: what its models separate, where they were to be described."""

    offers: list[Offer] | None


@dataclass(frozen=True)
class Progress:
    """Seconds of song that are separated, the song's seconds, and the share of all work, 0 to 1.

    total and share are None where the file does not tell its length.
    """

    done: float
    total: float | None
    share: float | None


@dataclass(frozen=True)
class Finished:
    """The masters are there. seconds: of song; speed: of its separation, in times real time."""

    warnings: tuple[str, ...]
    seconds: float
    speed: float


@dataclass(frozen=True)
class Failed:
    """The task came to nothing; sentence: why (None: it was cancelled)."""

    sentence: str | None


def main(pipe: Connection, undescribed: list[Candidate], device: str, share: int) -> None:
    """The process. undescribed: models to describe first; share: of the cores, one in so many."""
    warnings.simplefilter("ignore", AudioWarning)
    if hasattr(os, "nice"):
        os.nice(_NICE)
    messages = Messages(pipe, (cancel := _Cancellation()).notice)
    worker = Worker(messages, cancel.event, device, share)
    try:
        messages.send(Ready(describe(undescribed) if undescribed else None))
    except StemwiseError as error:
        messages.send(Failed(str(error)))
        return
    while True:
        task = messages.next()
        if isinstance(task, Preload):
            worker.preload(task.model)
        else:
            messages.send(worker.run(task))


class _Cancellation:
    """Sees every message first: a new task clears the event, a cancellation of it sets it."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self._current: str | None = None

    def notice(self, message: object) -> bool:
        """Whether the message needs no other treatment."""
        if isinstance(message, Task):
            self._current = message.id
            self.event.clear()
        if isinstance(message, Cancel) and message.id == self._current:
            self.event.set()
        return isinstance(message, Cancel)


class Worker:
    """Runs tasks one after the other with engines that it keeps."""

    def __init__(
        self, messages: Messages, cancel: threading.Event, device: str, share: int
    ) -> None:
        self._messages, self._cancel, self._device = messages, cancel, device
        self._share = share
        self._told = 0.0
        self._model: tuple[str, Separator] | None = None
        self._engines: dict[str, Engine] = {}

    def preload(self, model: str) -> None:
        """Load a model; what goes wrong shows when it is used."""
        try:
            self._engine(model, "off")
        except StemwiseError:
            return

    def run(self, task: Task) -> Finished | Failed:
        """Do a task; its target is left as it is when it fails."""
        try:
            return self._separate(task)
        except Cancelled:
            return Failed(None)
        except MemoryError:
            return Failed("There is not enough memory for this song.")
        except (StemwiseError, OSError) as error:
            return Failed(_unnamed(str(error), task.song))
        except Exception as error:  # a defect ends this song, not the worker
            where = traceback.extract_tb(error.__traceback__)[-1]
            return Failed(
                f"The separation failed unexpectedly at {Path(where.filename).name}:{where.lineno} "
                f"({type(error).__name__}: {error})."
            )

    def _separate(self, task: Task) -> Finished:
        from stemwise.songs import Output, separate_file

        engine = self._engine(task.model, task.gate)
        counted = _Counted(engine, task.stems)
        output = Output(task.target, MASTER, task.stems, filename="{stem}.{ext}", clip_mode="none")
        result = separate_file(
            cast("Engine", counted),
            task.song,
            output,
            progress=self._progress,
            cancel=self._cancel,
        )
        self._tell(result.duration, result.duration, _SEPARATION)
        self._check()
        tags, cover = decode(task.song, master(task.target, MIXTURE))
        masters = Masters(
            stems=task.stems,
            sample_rate=result.sample_rate,
            channels=result.channels,
            samples=result.samples,
            facts=separation_facts(result, task.name, engine),
            blocks=tuple(counted.lengths),
            peaks=tuple(counted.peaks),
            tags=tags,
        )
        masters.save(task.target, result.activity, cover)
        self._tell(result.duration, result.duration, _MIXTURE)
        told = tuple(_unnamed(one, task.song) for one in result.warnings)
        picture(task.target, task.id, task.title, masters, result.activity, told, self._cancel)
        self._check()
        return Finished(told, result.duration, result.duration / max(result.elapsed, 1e-9))

    def _engine(self, model: str, gate: str) -> Engine:
        """The engine of a model, which is loaded unless it was the last one."""
        from stemwise import models
        from stemwise.separation import Engine, Options

        if self._model is None or self._model[0] != model:
            self._model, self._engines = None, {}  # only one model at a time has a place in memory
            _share_cores(self._share)
            self._model = (model, models.load(model))
        if gate not in self._engines:
            options = Options(gate=gate, device=self._device)  # type: ignore[arg-type]
            self._engines[gate] = Engine(self._model[1], options)
        return self._engines[gate]

    def _progress(self, done: float, total: float | None) -> None:
        now = time.monotonic()
        if now - self._told >= _TOLD_EVERY:
            self._told = now
            share = _SEPARATION * min(1.0, done / total) if total else None
            self._tell(done, total, share)

    def _tell(self, done: float, total: float | None, share: float | None) -> None:
        self._messages.send(Progress(done, total, share))

    def _check(self) -> None:
        if self._cancel.is_set():
            raise Cancelled("Separation was cancelled.")


class _Counted:
    """An engine that notes length and loudest sample of every block that it gives."""

    def __init__(self, engine: Engine, stems: Sequence[str]) -> None:
        self._engine = engine
        self.separator, self.device = engine.separator, engine.device
        self._wanted = [self.separator.sources.index(stem) for stem in stems]
        self.lengths: list[int] = []
        self.peaks: list[float] = []

    def unfinished(self, *arguments: Any, **options: Any) -> Iterator[Callable[[], Block]]:
        """See `Engine.unfinished`."""
        for finish in self._engine.unfinished(*arguments, **options):
            yield partial(self._note, finish)

    def _note(self, finish: Callable[[], Block]) -> Block:
        block = finish()
        self.lengths.append(block.stems.shape[-1])
        wanted = block.stems[self._wanted]
        self.peaks.append(max(float(wanted.max(initial=0)), -float(wanted.min(initial=0))))
        return block


def _unnamed(sentence: str, song: Path) -> str:
    """A warning without the path of the upload, which means nothing to anyone."""
    return sentence.removeprefix(f"{song}: ").removeprefix(f"{song} ")


def _share_cores(share: int) -> None:
    import torch

    if share > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // share))
