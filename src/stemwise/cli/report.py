"""`stemwise report`: pages for folders that `stemwise separate` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stemwise.cli.batch import print_json
from stemwise.cli.options import Json, Quiet

if TYPE_CHECKING:
    from stemwise.report.folders import SongFolder


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="Folders of stems, or folders of such folders."),
    ],
    song: Annotated[
        Path | None,
        typer.Option(
            "--song",
            metavar="FILE",
            help="The song that was separated [the sum of the stems]; for one folder only.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="PLACE",
            help="Folder for the pages, which are named after their songs there, or the .html "
            "file of one page [report.html beside the stems].",
        ),
    ] = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write a page to look and listen for each song that was separated.

    The page holds the audio of songs of up to six minutes; that of a longer song plays the files
    from where they lie.
    """
    from stemwise.report.folders import find_songs, read_song
    from stemwise.report.words import megabytes
    from stemwise.stem_output import make_folder

    # a folder may be named twice, alone and as one of a folder's
    once = {one.resolve(): one for folder in folders for one in find_songs(folder)}
    places = list(once.values())
    if song is not None and len(places) > 1:
        raise typer.BadParameter(f"a song fits one folder, not {len(places)}.", param_hint="--song")
    pages = _pages(places, out)
    songs = [read_song(one, song) for one in places]  # mistakes show before any work
    for found, page in zip(songs, pages, strict=True):
        make_folder(page.parent)
        _write(found, page)
        size = page.stat().st_size
        if json:
            told = {"folder": str(found.path), "report": str(page), "size": size}
            print_json({**told, "warnings": list(found.warnings)})
        elif not quiet:
            for warning in found.warnings:
                typer.echo(f"stemwise: warning: {found.path}: {warning}", err=True)
            typer.echo(f"{page} ({len(found.stems)} stems, {megabytes(size)})")


def _pages(places: list[Path], out: Path | None) -> list[Path]:
    """Where each page goes; a usage error where two would be one."""
    if out is None:
        return [place / "report.html" for place in places]
    if out.suffix.lower() == ".html":
        if len(places) > 1:
            raise typer.BadParameter(
                f"one file cannot hold {len(places)} pages: name a folder.", param_hint="--out"
            )
        return [out]
    pages = [out / f"{place.resolve().name}.html" for place in places]
    known = [str(page).casefold() for page in pages]
    for page, key in zip(pages, known, strict=True):
        if known.count(key) > 1:
            raise typer.BadParameter(
                f"several songs would be written to {page}: name them one by one.",
                param_hint="--out",
            )
    return pages


def _write(found: SongFolder, page: Path) -> None:
    from stemwise.report import write_report
    from stemwise.report.words import channel_fact

    facts = {
        "Mixture": "the sum of the stems" if found.mixture is None else found.mixture.name,
        "Stems": ", ".join(sorted({path.suffix.lstrip(".") for path in found.stems.values()})),
        "Sample rate": f"{found.info.sample_rate} Hz",
        "Channels": channel_fact(found.info.channels),
    }
    write_report(
        page.parent,
        title=found.title,
        mixture=found.mixture,
        stems=found.stems,
        activity=found.activity,
        facts=facts,
        warnings=found.warnings,
        name=page.name,
    )
