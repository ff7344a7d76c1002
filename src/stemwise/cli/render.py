"""`stemwise render`: multitrack songs with labels, made by the built-in band."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from stemwise.cli.options import Quiet, one_of


def render(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder.")],
    count: Annotated[int, typer.Option(min=1, help="Number of songs.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same songs.")] = 0,
    family: Annotated[
        str, typer.Option(help="Instruments: dsp (built in) or sampled (system packages).")
    ] = "dsp",
    sample_rate: Annotated[int, typer.Option(min=8000, max=96000, help="Hz.")] = 44100,
    duration: Annotated[
        float | None, typer.Option(min=1.0, help="Seconds of each song; else as composed.")
    ] = None,
    layout: Annotated[
        str, typer.Option(help="folder (<track>/<stem>.flac) or stem.mp4.")
    ] = "folder",
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Instruments and voices kept from training.")
    ] = False,
    instrumental: Annotated[
        bool | None,
        typer.Option(
            "--instrumental/--vocals",
            help="Only songs without, or with, singing; else as composed.",
            show_default=False,
        ),
    ] = None,
    a_cappella: Annotated[
        bool | None,
        typer.Option(
            "--a-cappella/--accompanied",
            help="Only songs without, or with, a band; else as composed.",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Render songs with their stems and activity; a stopped run continues where it was."""
    one_of("--family", family, ("dsp", "sampled"))
    one_of("--layout", layout, ("folder", "stem.mp4"))
    if instrumental and a_cappella:
        raise typer.BadParameter("choose one of --instrumental and --a-cappella.")

    if workers > 1 and threading.current_thread() is threading.main_thread():
        # the pool would finish every song first; its processes end with this one
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    from stemwise.band.render import render_folder

    finished = 0
    for track in render_folder(
        out,
        count,
        seed,
        layout=layout,
        family=family,
        sample_rate=sample_rate,
        duration=duration,
        held_out=held_out,
        workers=workers,
        instrumental=instrumental,
        a_cappella=a_cappella,
    ):
        finished += 1
        if not quiet:
            typer.echo(f"{track} ({finished} of {count})")
    if not quiet and finished < count:
        typer.echo(f"{count - finished} of {count} songs were there already in {out}")
