"""`stemwise store`: show what a store holds, check it against its checksums and its data set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stemwise.cli.batch import print_json
from stemwise.cli.options import Json, Quiet

if TYPE_CHECKING:
    from rich.table import Table

    from stemwise.data.store import Store

store = typer.Typer(
    name="store",
    help="Show or check a store of songs that stemwise prepare wrote.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Place = Annotated[str, typer.Argument(metavar="STORE", help="Its folder, or a URL.")]


@store.command()
def check(
    place: Place,
    root: Annotated[
        Path | None,
        typer.Option(help="Where the data set is now [where it was].", show_default=False),
    ] = None,
    hash_sources: Annotated[
        bool,
        typer.Option("--hash-sources", help="Read the data set too, not only sizes and times."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Find damaged or missing files of a store, and songs that changed since; exit status 1."""
    from stemwise.data.store_check import check_store
    from stemwise.errors import DataError

    if root is not None and not root.is_dir():
        raise DataError(f"{root} is not a folder; give the folder of the data set")
    report = check_store(place, root=root, hash_sources=hash_sources)
    for problem in report.problems:
        typer.echo(problem, err=True)
    if report.problems:
        raise typer.Exit(1)
    if quiet:
        return
    sources = f"{report.sources} source files unchanged"
    if report.unchecked is not None:
        sources = f"source files not compared ({report.unchecked}; name it with --root)"
    typer.echo(f"{place}: {report.tracks} tracks, {report.bytes / 1e6:.1f} MB intact, {sources}")


@store.command()
def show(place: Place, json: Json = False) -> None:
    """List the tracks of a store with their stems and levels."""
    from rich.console import Console

    from stemwise.data.store import open_store

    found = open_store(place, partial=True)
    if json:
        for track in found.tracks:
            keep = {"name", "split", "file", "sample_rate", "channels", "samples", "levels"}
            print_json({**track.record.model_dump(mode="json", include=keep), "stems": track.stems})
        return
    # a pipe or file gets lines that are not cut
    width = None if sys.stdout.isatty() else 200
    console = Console(width=width, highlight=False)
    console.print(_table(found), markup=False)
    manifest = found.manifest
    origin = f"{manifest.origin.kind} {manifest.origin.root}".strip()
    typer.echo(f"{len(found.tracks)} tracks from {origin}, {manifest.settings.dtype}")
    if not manifest.complete:
        typer.echo(f"not finished: {len(found.tracks)} of {manifest.expected} tracks")
    if manifest.skipped:
        typer.echo(f"{len(manifest.skipped)} tracks were skipped:")
        for sentence in manifest.skipped:
            typer.echo(f"  {sentence}")


def _table(found: Store) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("track", overflow="fold")
    for name in ("time", "Hz", "channels", "MB", "LUFS", "vocals"):
        table.add_column(name, justify="right")
    table.add_column("stems", overflow="fold")
    table.add_column("labels", overflow="fold")
    for track in found.tracks:
        record = track.record
        levels = {level.name: level for level in record.levels}
        minutes, seconds = divmod(round(track.samples / track.sample_rate), 60)
        loudness = levels["mixture"].loudness
        vocals = levels.get("vocals")
        table.add_row(
            escape(track.name),
            f"{minutes}:{seconds:02d}",
            str(track.sample_rate),
            str(track.channels),
            f"{record.bytes / 1e6:.1f}",
            "silent" if loudness is None else f"{loudness:.1f}",
            "" if vocals is None else f"{100 * vocals.loud:.0f} %",
            escape(", ".join(track.stems)),
            "" if record.labels is None else escape(", ".join(record.labels.sources)),
        )
    return table
