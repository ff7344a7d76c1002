"""`stemwise detect`: when each stem of a song plays, without writing stems."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stemwise.cli.batch import Board, Failure, print_json, run_songs, summary
from stemwise.cli.download import Offline, obtain
from stemwise.cli.options import Device, Jobs, Json, Name, Quiet, Songs, one_of

if TYPE_CHECKING:
    from stemwise.activity import Activity
    from stemwise.separation import Engine, Progress
    from stemwise.songs import Detection

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
        Path | None,
        typer.Option("-o", "--out", help="Folder for <track>.<format>; else standard output."),
    ] = None,
    threshold: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Probability from which a stem plays.")
    ] = 0.5,
    minimum: Annotated[
        float, typer.Option(min=0.0, help="Seconds that the shortest segment has.")
    ] = 0.1,
    device: Device = "auto",
    jobs: Jobs = 1,
    offline: Offline = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Tell when each stem of the songs plays."""
    one_of("--format", format, FORMATS)
    if out is not None and format == "table":
        raise typer.BadParameter("a table is not written to files: choose lab, txt, csv or jams.")
    if format != "table" and out is None and len(songs) > 1:
        raise typer.BadParameter(f"several songs in {format} need --out.")

    from stemwise import models
    from stemwise.naming import Plan, refuse_clashes, track_name
    from stemwise.separation import Engine, Options
    from stemwise.songs import detect_file

    places: dict[Path, Path] = {}
    if out is not None:
        places = {song: out / f"{track_name(song)}.{format}" for song in songs}
        refuse_clashes([Plan(song, song.stem, out, {}, places[song]) for song in songs])
    obtain(name, offline=offline, shown=not quiet and not json)
    separator = models.load(name)
    options = Options(device=device)
    Engine(separator, options)  # a device that is not there ends the command, not every song

    def work(engine: Engine, song: Path, progress: Progress, cancel: threading.Event) -> Detection:
        found = detect_file(engine, song, progress=progress, cancel=cancel)
        if song in places:
            _write(places[song], found.activity, threshold, minimum)
        return found

    with Board(not quiet and not json) as board:

        def done(song: Path, found: Detection) -> None:
            if json:
                place = places.get(song)
                print_json(_facts(song, found, threshold, minimum, place))
                return
            activity = found.activity
            if not quiet:
                for warning in found.warnings:
                    board.print(f"stemwise: warning: {warning}", err=True)
            if song in places:
                if not quiet:
                    board.print(f"{song} -> {places[song]}")
            elif format == "table":
                board.print(_table(song, activity, threshold, minimum))
            else:
                board.print(_text(activity, format, threshold, minimum))

        def failed(failure: Failure) -> None:
            if json:
                print_json({"song": str(failure.song), "error": failure.sentence})
            board.print(f"stemwise: {failure.sentence}", err=True)

        failures = run_songs(songs, separator, options, work, done, failed, board, jobs)
    summary(failures, len(songs))
    if failures:
        raise typer.Exit(1)


def _write(path: Path, activity: Activity, threshold: float, minimum: float) -> None:
    from stemwise.activity import write_activity
    from stemwise.stem_output import make_folder

    make_folder(path.parent)
    write_activity(path, activity, threshold=threshold, minimum=minimum)


def _text(activity: Activity, format: str, threshold: float, minimum: float) -> str:
    """What a file of this format holds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"activity.{format}"
        _write(path, activity, threshold, minimum)
        return path.read_text(encoding="utf-8").removesuffix("\n")


def _table(song: Path, activity: Activity, threshold: float, minimum: float) -> str:
    """Per stem: the share of the song in which it plays, and its segments."""
    segments = activity.segments(threshold, minimum)
    width = max(len(source) for source in activity.sources)
    lines = [str(song)]
    for source, ratio in activity.ratio(threshold).items():
        spans = "  ".join(f"{_time(a)}-{_time(b)}" for a, b in segments[source]) or "-"
        lines.append(f"  {source:<{width}}  {ratio:4.0%}  {spans}")
    return "\n".join(lines)


def _time(seconds: float) -> str:
    # rounded before it is split, so that 59.96 s is never shown as 0:60.0
    minutes, tenths = divmod(round(seconds * 10), 600)
    return f"{minutes}:{tenths / 10:04.1f}"


def _facts(
    song: Path, found: Detection, threshold: float, minimum: float, path: Path | None
) -> dict[str, object]:
    activity = found.activity
    segments = activity.segments(threshold, minimum)
    return {
        "song": str(song),
        "duration": round(activity.duration, 6),
        "active": {name: round(value, 4) for name, value in activity.ratio(threshold).items()},
        "segments": {
            name: [[round(start, 4), round(end, 4)] for start, end in spans]
            for name, spans in segments.items()
        },
        "warnings": list(found.warnings),
        "file": None if path is None else str(path),
    }
