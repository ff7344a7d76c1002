"""Weights that a command needs and does not have yet: the option, and what is seen of the way."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from stemwise.models.catalogue import Weights
    from stemwise.models.fetch import Progress

Offline = Annotated[
    bool, typer.Option("--offline", help="Never download weights [or STEMWISE_OFFLINE=1].")
]


def obtain(name: str, *, offline: bool, shown: bool) -> None:
    """Bring the weights of a published model into the cache; nothing to do for other names.

    shown: tell people on standard error. Raises what `stemwise.models.fetch.fetch` raises.
    """
    from stemwise.models.catalogue import weights
    from stemwise.models.fetch import fetch

    known = weights().get(name)
    if known is None or known.present:
        return
    if not shown or not sys.stderr.isatty():
        fetch(known, offline=offline, waiting=_wait if shown else None)
    else:
        with _bars() as bars:
            fetch(known, offline=offline, progress=_follow(bars), waiting=_wait)
    if shown:
        typer.echo(_done(known), err=True)


def _wait() -> None:
    typer.echo("Another stemwise is downloading these weights: waiting for it ...", err=True)


def _done(weights: Weights) -> str:
    return f"The weights of {weights.name} are at {weights.path} now (licence: {weights.licence})."


def _follow(bars: Bars) -> Progress:
    """A callback that shows one bar per file."""
    tasks = {}

    def progress(file: str, done: int, total: int | None) -> None:
        if file not in tasks:
            tasks[file] = bars.add_task(file, total=None)
        bars.update(tasks[file], completed=done, total=total)

    return progress


def _bars() -> Bars:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    )
