"""`stemwise detect`: when each stem of a song plays, without writing stems."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stemwise.cli.batch import Board, Failure, print_json, run_songs, summary
from stemwise.cli.download import Offline, obtain
from stemwise.cli.many import (
    Cluster,
    Memory,
    RetryFailed,
    Run,
    RunOptions,
    run_many,
    wants_ledger,
)
from stemwise.cli.options import (
    PRECISIONS,
    RUNTIMES,
    Device,
    Jobs,
    Json,
    Name,
    Precision,
    Quiet,
    Runtime,
    Songs,
    one_of,
)

if TYPE_CHECKING:
    from stemwise.catalogue.work import Facts

FORMATS = ("table", "lab", "txt", "csv", "jams")


def detect(
    songs: Songs,
    name: Name = "band",
    format: Annotated[
        str,
        typer.Option(
            "--format", help="table, lab (start end label), txt (Audacity), csv (frames) or jams."
        ),
    ] = "table",
    out: Annotated[
        str | None,
        typer.Option(
            "-o", "--out", help="Folder or URL for <track>.<format>; else standard output."
        ),
    ] = None,
    threshold: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Probability from which a stem plays.")
    ] = 0.5,
    minimum: Annotated[
        float, typer.Option(min=0.0, help="Seconds that the shortest segment has.")
    ] = 0.1,
    device: Device = "auto",
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    jobs: Jobs = None,
    run: Run = None,
    retry_failed: RetryFailed = False,
    cluster: Cluster = None,
    memory: Memory = None,
    offline: Offline = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Tell when each stem of the songs plays."""
    one_of("--format", format, FORMATS)
    one_of("--runtime", runtime, RUNTIMES)
    one_of("--precision", precision, PRECISIONS)
    if out is not None and format == "table":
        raise typer.BadParameter("a table is not written to files: choose lab, txt, csv or jams.")

    from stemwise import models
    from stemwise.catalogue.detecting import DetectWork
    from stemwise.catalogue.entries import read_entries
    from stemwise.catalogue.storage import is_url
    from stemwise.naming import Plan, refuse_clashes
    from stemwise.separation import Engine, Options

    running = RunOptions(run, retry_failed, cluster, jobs, memory)
    place = out if out is not None else None if run is None else str(run)
    if running.asked and place is None:
        raise typer.BadParameter("--retry-failed, --cluster and --memory need --out or --run DIR.")
    target = out if out is not None and is_url(out) else None
    directory = None if out is None or target is not None else Path(out)
    entries = read_entries(songs, leave_out=directory)
    if format != "table" and place is None and len(entries) > 1:
        raise typer.BadParameter(f"several songs in {format} need --out.")
    obtain(name, offline=offline, shown=not quiet and not json)
    separator = models.load(name)
    options = Options(device=device, runtime=runtime, precision=precision)  # type: ignore[arg-type]
    Engine(separator, options)  # a device that is not there ends the command, not every song
    work = DetectWork(name, options, format, directory, threshold, minimum, target=target)
    if directory is not None:
        plans = [(Path(entry.source), work.place(entry)) for entry in entries]
        refuse_clashes([Plan(song, song.stem, directory, {}, file) for song, file in plans])

    with Board(not quiet and not json, quiet=quiet) as board:

        def done(facts: Facts) -> None:
            if json:
                print_json({key: value for key, value in facts.items() if key != "text"})
                return
            if not quiet:
                for warning in facts["warnings"]:
                    board.print(f"stemwise: warning: {warning}", err=True)
            if facts["file"] is None:
                board.print(facts["text"])
            elif not quiet:
                board.print(f"{facts['song']} -> {facts['file']}")

        def failed(failure: Failure) -> None:
            if json:
                print_json({"song": failure.song, "error": failure.sentence})
            board.print(f"stemwise: {failure.sentence}", err=True)

        if place is not None and wants_ledger(songs, place, running):
            run_many(entries, work, place, running, board, done, failed, json)
            return
        failures = run_songs(entries, lambda: work.begin(separator), done, failed, board, jobs or 1)
    summary(failures, len(songs))
    if failures:
        raise typer.Exit(1)
