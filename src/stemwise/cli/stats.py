"""`stemwise stats`: what data sets are like, as tables, CSV and figures."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stemwise.cli.options import Quiet, one_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.table import Table

    from stemwise.data.places import Place
    from stemwise.data.statistics import SetStatistics, SongStatistics
    from stemwise.data.track import Track
    from stemwise.errors import DataError


def stats(
    sets: Annotated[
        list[str],
        typer.Argument(
            metavar="SET...",
            help="Stores (folders or URLs), or data sets as KIND=ROOT; NAME=SET names it.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder for figures and CSV files.")
    ] = None,
    format: Annotated[str, typer.Option(help="Figures as png or svg.")] = "png",
    split: Annotated[str | None, typer.Option(help="Only train, validation or test [all].")] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that decode what is not in a store.")
    ] = 1,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave broken tracks out, and list them.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Vocal activity, vocal-to-accompaniment ratio, loudness and energy per source of data sets."""
    from stemwise.data.places import name_places
    from stemwise.data.statistics import SetStatistics, write_tables
    from stemwise.data.statistics_plots import FORMATS, plot_energy, plot_vocals
    from stemwise.stem_output import make_folder

    one_of("--format", format, FORMATS)
    broken: list[str] | None = [] if skip_broken else None
    gathered: list[SetStatistics] = []
    for name, place in name_places(sets).items():
        songs = _songs(place, split, workers, broken)
        gathered.append(SetStatistics(name, tuple(songs)))
    if not quiet:
        _print(gathered)
    if out is not None:
        make_folder(out)
        paths = write_tables(gathered, out)
        for stem, plot in (("vocals", plot_vocals), ("energy", plot_energy)):
            paths.append(out / f"{stem}.{format}")
            plot(gathered, paths[-1])
        if not quiet:
            typer.echo("wrote " + ", ".join(str(path) for path in paths))
    if broken:
        typer.echo(f"{len(broken)} tracks skipped:", err=True)
        for sentence in broken:
            typer.echo(f"  {sentence}", err=True)
        raise typer.Exit(1)


def _songs(
    place: Place, split: str | None, workers: int, broken: list[str] | None
) -> list[SongStatistics]:
    from stemwise.data.sets import read_set
    from stemwise.data.statistics import of_stored
    from stemwise.data.store import open_store
    from stemwise.errors import DataError

    if place.kind is None:
        return [of_stored(track) for track in open_store(place.where).split(split)]
    tracks = read_set(place.kind, place.where, split, broken=broken)
    songs: list[SongStatistics] = []
    for track, found in zip(tracks, _measured(tracks, workers), strict=True):
        if not isinstance(found, DataError):
            songs.append(found)
        elif broken is None:
            raise found
        else:
            broken.append(f"{track.name}: {found}")
    if not songs:
        reason = (broken or ["it is empty"])[-1]
        raise DataError(f"{place.where} has no track that can be read: {reason}")
    return songs


def _measured(tracks: Sequence[Track], workers: int) -> list[SongStatistics | DataError]:
    if min(workers, len(tracks)) <= 1:
        return [_measure(track) for track in tracks]
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(tracks)), mp_context=context) as pool:
        return list(pool.map(_measure, tracks))


def _measure(track: Track) -> SongStatistics | DataError:
    from stemwise.data.statistics import of_track
    from stemwise.errors import DataError

    try:
        return of_track(track)
    except DataError as error:
        return error


def _print(sets: Sequence[SetStatistics]) -> None:
    import sys

    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    console.print(_song_table(sets))
    console.print()
    console.print(_energy_table(sets))


def _song_table(sets: Sequence[SetStatistics]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, caption="median and quartiles over songs")
    table.add_column("set")
    for title in ("songs", "hours", "vocals active, %", "vocals/rest, dB", "loudness, LUFS"):
        table.add_column(title, justify="right")
    for one in sets:
        hours = sum(song.seconds for song in one.songs) / 3600
        table.add_row(
            escape(one.name),
            str(len(one.songs)),
            f"{hours:.2f}",
            _spread(one.values("vocal_activity") * 100),
            _spread(one.values("vocal_ratio")),
            _spread(one.values("loudness")),
        )
    return table


def _energy_table(sets: Sequence[SetStatistics]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    from stemwise.data.statistics import decibels, source_energies

    table = Table(box=None, pad_edge=False, caption="energy of 6 s excerpts; weights: EBW_P1")
    for title in ("set", "source"):
        table.add_column(title)
    for title in ("songs", "excerpts", "silent, %", "mean, dB", "median, dB"):
        table.add_column(title, justify="right")
    for title in ("weight of stems", "of the pair"):
        table.add_column(title, justify="right")
    for one in sets:
        for row in source_energies(one):
            table.add_row(
                escape(one.name),
                escape(row.source),
                str(row.songs),
                str(row.excerpts),
                f"{100 * row.silent:.0f}",
                _decimal(decibels(row.mean)),
                _decimal(decibels(row.median)),
                _decimal(row.weight, 2),
                _decimal(row.pair_weight, 2),
            )
    return table


def _spread(values: NDArray[np.float64]) -> str:
    import numpy as np

    if not len(values):
        return "-"
    low, middle, high = np.percentile(values, [25, 50, 75])
    return f"{middle:.1f} [{low:.1f}, {high:.1f}]"


def _decimal(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
