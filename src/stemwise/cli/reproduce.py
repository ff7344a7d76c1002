"""`stemwise reproduce`: the papers' tables, trained and measured anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stemwise.cli.options import Device, Jobs, Quiet, one_of

SCALES = ("full", "small", "smoke")


def reproduce(
    table: Annotated[
        str, typer.Argument(metavar="TABLE", help="E.g. doire2019-2; all; list prints their names.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="DIR", help="Folder for trainings, scores and tables."),
    ] = None,
    scale: Annotated[
        str,
        typer.Option(
            help="full (as published), small (about an hour a table), smoke (a few steps)."
        ),
    ] = "full",
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="NAME=SET",
            help="A data set of the paper: musdb18=FOLDER, dsd100=FOLDER ...; repeatable.",
        ),
    ] = None,
    songs: Annotated[
        str | None,
        typer.Option(metavar="SET", help="Multitrack songs that stand in for all data sets."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that render and decode.")] = 1,
    jobs: Jobs = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train and measure every row of a published table, and judge the paper's claims.

    A stopped run is continued by the same command. Without --data and --songs, the scales small
    and smoke render their own songs.
    """
    from stemwise.reproduction.published import table_names, tables

    if table == "list":
        for name, one in tables().items():
            typer.echo(f"{name}: {one.title} ({one.paper})")
        return
    one_of("--scale", scale, SCALES)
    names = table_names(table)
    if out is None:
        raise typer.BadParameter("name a folder for trainings, scores and tables.", param_hint="-o")

    from stemwise.data.places import name_places
    from stemwise.reproduction.reproduce import Wanted, data_places, reproduce

    wanted = Wanted(
        out,
        scale,
        data_places(data or []),
        next(iter(name_places([songs]).values())) if songs else None,
        device,
        workers,
        jobs or 1,
    )
    written = reproduce(
        names, wanted, lambda sentence: None if quiet else typer.echo(sentence, err=True)
    )
    for path in written:
        typer.echo(str(path))
