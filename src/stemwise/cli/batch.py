"""Several songs through one model: threads, progress, and failures that stop nobody else."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from stemwise.catalogue.redaction import redacted
from stemwise.catalogue.work import Do, Facts, failure_sentence

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from stemwise.catalogue.entries import Entry
    from stemwise.separation import Progress


@dataclass(frozen=True)
class Failure:
    """A song that could not be done, and why."""

    song: str
    sentence: str


class Board:
    """One progress bar per song being worked on, on standard error where it is a terminal.

    quiet: nothing but what went wrong is printed.
    """

    def __init__(self, shown: bool, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._shown = shown and sys.stderr.isatty()
        self._mixed = sys.stdout.isatty()
        self._bars: Bars | None = None

    def __enter__(self) -> Board:
        if self._shown:
            self._bars = _bars(redirect_stdout=self._mixed)
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    @property
    def shown(self) -> bool:
        """Whether there are bars."""
        return self._bars is not None

    def whole(self, songs: int) -> Callable[[float], None]:
        """A bar for all songs; to be called with the seconds of each that is done."""
        bars = self._bars
        if bars is None or songs < 2:
            return lambda seconds: None
        task = bars.add_task(f"0 of {songs} songs", total=songs, realtime=0.0)
        began, music, count = time.monotonic(), 0.0, 0

        def advance(seconds: float) -> None:
            nonlocal music, count
            music, count = music + seconds, count + 1
            speed = music / max(time.monotonic() - began, 1e-9)
            text = f"{count} of {songs} songs"
            bars.update(task, completed=count, description=text, realtime=speed)

        return advance

    def follow(self, name: str) -> tuple[Progress, Callable[[], None]]:
        """A callback for the engine, and one for the end of the song."""
        bars = self._bars
        if bars is None:
            return (lambda done, total: None), (lambda: None)
        task = bars.add_task(name, total=None)
        return (
            lambda done, total: bars.update(task, completed=done, total=total),
            lambda: bars.remove_task(task),
        )

    def print(self, line: str, *, err: bool = False) -> None:
        """Print a line above the bars; what is meant for a file or pipe goes there."""
        if self._bars is not None and (err or self._mixed):
            self._bars.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            typer.echo(line, err=err)


def _bars(*, redirect_stdout: bool) -> Bars:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        ProgressColumn,
        Task,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Speed(ProgressColumn):
        """Seconds of song per second."""

        def render(self, task: Task) -> Text:
            speed = task.fields.get("realtime", task.speed)
            return Text(f"{speed:5.1f}x realtime" if speed else "", style="cyan")

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        Speed(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=redirect_stdout,
    )


def run_songs(
    entries: Sequence[Entry],
    begin: Callable[[], Do],
    done: Callable[[Facts], None],
    failed: Callable[[Failure], None],
    board: Board,
    jobs: int = 1,
) -> list[Failure]:
    """Work on songs in `jobs` threads; returns the failures.

    begin: called once in each thread, since an engine adapts to the memory it finds; gives what
    does a song. `done` and `failed` are called one at a time, in this thread. Ctrl-C stops all
    songs, waits until they have removed what they wrote, and is raised again.
    """
    cancel, local = threading.Event(), threading.local()

    def task(entry: Entry) -> Facts:
        if not hasattr(local, "do"):
            local.do = begin()
        progress, finish = board.follow(entry.id)
        try:
            facts: Facts = local.do(entry, progress, cancel)
            return facts
        finally:
            finish()

    failures: list[Failure] = []
    executor = ThreadPoolExecutor(jobs, thread_name_prefix="song")
    cores = _share_cores(jobs)
    try:
        pending: dict[Future[Facts], Entry] = {executor.submit(task, one): one for one in entries}
        while pending:
            # waking up now and then lets Ctrl-C through on every system
            finished, _ = wait(pending, timeout=0.2, return_when="FIRST_COMPLETED")
            for future in finished:
                entry = pending.pop(future)
                try:
                    facts = future.result()
                except Exception as error:
                    sentence = redacted(failure_sentence(entry.source, error))
                    failures.append(Failure(entry.shown, sentence))
                    failed(failures[-1])
                else:
                    done(facts)
    finally:
        cancel.set()
        executor.shutdown(wait=True, cancel_futures=True)
        _set_cores(cores)
    return failures


def _share_cores(jobs: int) -> int:
    """Give each job its share of the cores; returns how many a single one had."""
    import torch

    cores = torch.get_num_threads()
    _set_cores(max(1, cores // jobs))
    return cores


def _set_cores(count: int) -> None:
    import torch

    if count != torch.get_num_threads():
        torch.set_num_threads(count)


def summary(failures: Sequence[Failure], count: int) -> None:
    """List the failures of a batch on standard error."""
    if failures and count > 1:
        typer.echo(f"{len(failures)} of {count} songs failed:", err=True)
        for failure in failures:
            named = failure.song in failure.sentence
            line = failure.sentence if named else f"{failure.song}: {failure.sentence}"
            typer.echo(f"  {line}", err=True)


def print_json(content: Mapping[str, Any]) -> None:
    """One object on one line of standard output."""
    import json

    typer.echo(json.dumps(content))
