"""`stemwise prepare`: a data set, decoded once into a store that training reads fast."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stemwise.cli.options import Quiet, one_of
from stemwise.cores import cores

if TYPE_CHECKING:
    from stemwise.data.away import Away
    from stemwise.data.prepare import Done
    from stemwise.data.track import Track


def prepare(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="musdb18, medleydb, ..., folder, or auto.")
    ],
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="ROOT...",
            help="Folder of the data set. Tracks of the kind folder also as patterns, manifests "
            "(.csv, .jsonl, .parquet) and URLs.",
        ),
    ],
    store: Annotated[str, typer.Argument(metavar="STORE", help="Folder for the store.")],
    sample_rate: Annotated[
        int | None, typer.Option(min=1000, max=384000, help="Hz [as it is].", show_default=False)
    ] = None,
    mono: Annotated[bool, typer.Option("--mono", help="Mix down to one channel.")] = False,
    sources: Annotated[
        str | None, typer.Option(help="Stems to keep, as in vocals,drums [all].")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only train, validation or test [all].")] = None,
    dtype: Annotated[str, typer.Option(help="int16, float16 or float32.")] = "int16",
    labels: Annotated[
        bool,
        typer.Option("--labels", help="Compute activity from the stems where there are no labels."),
    ] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes [one per core].", show_default=False)
    ] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Leave broken tracks out, and list them.")
    ] = False,
    demo: Annotated[
        bool, typer.Option("--demo", help="First write a miniature of the data set into ROOT.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Decode a data set into a store; a stopped run continues where it was."""
    from stemwise.catalogue.redaction import redacted
    from stemwise.catalogue.storage import is_url
    from stemwise.data.prepare import prepare as write_store
    from stemwise.data.sets import READERS
    from stemwise.data.store_manifest import DTYPES, Origin
    from stemwise.errors import DataError

    one_of("KIND", kind, ("auto", *READERS))
    one_of("--dtype", dtype, DTYPES)
    if is_url(store):
        raise typer.BadParameter("a store is written into a folder of this machine.")
    if demo:
        if len(places) > 1 or is_url(places[0]):
            raise typer.BadParameter("--demo writes one folder, and prepares it.")
        kind = "folder" if kind == "auto" else kind
        _write_demo(kind, Path(places[0]))
    broken: list[str] | None = [] if skip_broken else None
    kind, tracks = _tracks(kind, places, split, broken)
    shown = ", ".join(map(redacted, places))
    if not tracks:
        raise DataError(f"{shown} has no track that can be prepared: {(broken or ['none'])[0]}")
    unread = list(broken or ())
    with _shown(tracks, quiet) as progress:
        made = write_store(
            tracks,
            store,
            sample_rate=sample_rate,
            channels=1 if mono else None,
            sources=None if sources is None else _names(sources),
            dtype=next(one for one in DTYPES if one == dtype),
            labels=labels,
            workers=workers or cores(),
            origin=Origin(kind=kind, root=places[0] if _is_folder(places) else "", split=split),
            broken=broken,
            skipped=unread,
            progress=progress,
        )
    if not quiet:
        seconds = sum(track.samples / track.sample_rate for track in made.tracks)
        size = sum(track.record.bytes for track in made.tracks)
        typer.echo(f"{store}: {len(made.tracks)} tracks, {_time(seconds)}, {_bytes(size)}")
    if broken:
        typer.echo(f"{len(broken)} of {len(tracks) + len(unread)} tracks skipped:", err=True)
        for sentence in broken:
            typer.echo(f"  {sentence}", err=True)
        raise typer.Exit(1)


def _is_folder(places: Sequence[str]) -> bool:
    return len(places) == 1 and Path(places[0]).is_dir()


def _tracks(
    kind: str, places: Sequence[str], split: str | None, broken: list[str] | None
) -> tuple[str, list[Track | Away]]:
    """The kind of the data set, and its tracks; sentences on broken ones go to `broken`."""
    from stemwise.catalogue.tracks import AwayTrack, is_plain, read_tracks
    from stemwise.data.folder import read_track
    from stemwise.data.sets import detect_kind, read_set
    from stemwise.errors import DataError

    if kind == "auto":
        kind = detect_kind(places[0]) if len(places) == 1 and is_plain(places[0]) else "folder"
    tracks: list[Track | Away] = []
    for place in places:
        if is_plain(place):
            tracks += read_set(kind, place, split, broken=broken)
            continue
        if kind != "folder":
            raise DataError(f"patterns, manifests and URLs are of the kind folder, not {kind}")
        for entry in read_tracks([place], split=split):
            if entry.is_remote:
                tracks.append(AwayTrack(entry))
                continue
            try:
                tracks.append(read_track(Path(entry.source), entry.id, entry.split))
            except DataError as error:
                if broken is None:
                    raise
                broken.append(str(error))
    return kind, tracks


def _write_demo(kind: str, root: Path) -> None:
    """A miniature in an empty folder; one that is there already may be its own."""
    from stemwise.data.miniature import write_miniature
    from stemwise.errors import OutputError

    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise OutputError(f"{root} is not empty: choose a new folder for the miniature of --demo")
    write_miniature(kind, root)


def _names(sources: str) -> list[str]:
    names = [name.strip() for name in sources.split(",") if name.strip()]
    if not names:
        raise typer.BadParameter("name at least one stem.", param_hint="--sources")
    return list(dict.fromkeys(names))


def _time(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"


def _bytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


@contextmanager
def _shown(tracks: Sequence[Track | Away], quiet: bool) -> Iterator[Callable[[Done], None]]:
    """What to call with each track that is done: a bar on a terminal, else a line each."""
    if quiet:
        yield lambda done: None
        return
    if not sys.stderr.isatty():
        count = iter(range(1, len(tracks) + 1))
        yield lambda done: typer.echo(_line(done, next(count), len(tracks)), err=True)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.fields[count]} of " + str(len(tracks))),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[name]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        lengths = {track.name: _seconds(track) for track in tracks}
        # what was there already is no work, and would make the time that is left too short
        task = bars.add_task("", total=sum(lengths.values()), count=0, name="", speed="")
        seen = iter(range(1, len(tracks) + 1))

        def show(done: Done) -> None:
            length = lengths[done.track.name]
            if done.kept:
                total = bars.tasks[0].total or 0.0
                bars.update(task, total=total - length, count=next(seen))
                return
            speed = bars.tasks[0].speed
            told = f"{speed:.0f}x realtime" if speed else ""
            name = done.track.name
            bars.update(task, advance=length, count=next(seen), name=name, speed=told)

        yield show


def _seconds(track: Track | Away) -> float:
    """Length of a track; one that is elsewhere counts as four minutes, like most songs."""
    from stemwise.data.track import Track

    return track.samples / track.sample_rate if isinstance(track, Track) else 240.0


def _line(done: Done, count: int, total: int) -> str:
    state = "skipped" if done.problem else "already there" if done.kept else "prepared"
    return f"{done.track.name}: {state} ({count} of {total})"
