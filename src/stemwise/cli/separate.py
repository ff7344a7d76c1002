"""`stemwise separate`: songs in; stems, their activity and a report out."""

from __future__ import annotations

import os
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
    usage,
)

if TYPE_CHECKING:
    from stemwise.audio import AudioFormat
    from stemwise.catalogue.work import Facts


def separate(
    songs: Songs,
    name: Name = "band",
    out: Annotated[str, typer.Option("-o", "--out", help="Output folder, or URL.")] = "separated",
    device: Device = "auto",
    two_stems: Annotated[
        str | None,
        typer.Option("--two-stems", metavar="STEM", help="Write STEM, and the rest as no_STEM."),
    ] = None,
    stems: Annotated[
        str | None, typer.Option("--stems", metavar="STEM,...", help="Write only these stems.")
    ] = None,
    format: Annotated[
        str | None, typer.Option("--format", help="wav, flac, mp3, opus, ogg or m4a [wav].")
    ] = None,
    flac: Annotated[bool, typer.Option("--flac", help="Same as --format flac.")] = False,
    mp3: Annotated[bool, typer.Option("--mp3", help="Same as --format mp3.")] = False,
    opus: Annotated[bool, typer.Option("--opus", help="Same as --format opus.")] = False,
    bitrate: Annotated[
        int | None,
        typer.Option("--bitrate", "--mp3-bitrate", help="kbit/s of mp3, opus, ogg and m4a."),
    ] = None,
    int24: Annotated[bool, typer.Option("--int24", help="24 bits per sample.")] = False,
    float32: Annotated[bool, typer.Option("--float32", help="32-bit float samples.")] = False,
    clip_mode: Annotated[
        str,
        typer.Option(help="Samples beyond full scale: rescale (the whole song), clamp or none."),
    ] = "rescale",
    filename: Annotated[
        str, typer.Option(help="Name of each file; fields: track, trackext, stem, ext.")
    ] = "{track}/{stem}.{ext}",
    segment: Annotated[
        float | None, typer.Option(help="Seconds computed at a time; less needs less memory.")
    ] = None,
    overlap: Annotated[float, typer.Option(help="Share of a segment cross-faded, 0 to 0.5.")] = 0.0,
    gate: Annotated[
        str, typer.Option(help="Silence stems that do not play: off, raw, median or oracle.")
    ] = "off",
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels", metavar="FILE", help="Label file of --gate oracle; may contain {track}."
        ),
    ] = None,
    phase: Annotated[str, typer.Option(help="auto, mixture, griffin-lim or wiener.")] = "auto",
    no_residual: Annotated[
        bool, typer.Option("--no-residual", help="Stems need not sum to the song.")
    ] = False,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    jobs: Jobs = None,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave songs whose files all exist.")
    ] = False,
    run: Run = None,
    retry_failed: RetryFailed = False,
    cluster: Cluster = None,
    memory: Memory = None,
    report: Annotated[
        bool,
        typer.Option(
            "--report",
            help="Write a page to look and listen; of songs over six minutes it links to the "
            "files instead of holding them.",
        ),
    ] = False,
    offline: Offline = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Separate songs into stems with their rate, channels and length."""
    one_of("--gate", gate, ("off", "raw", "median", "oracle"))
    _check_labels(labels, gate, songs)
    one_of("--phase", phase, ("auto", "mixture", "griffin-lim", "wiener"))
    one_of("--runtime", runtime, RUNTIMES)
    one_of("--precision", precision, PRECISIONS)
    one_of("--clip-mode", clip_mode, ("rescale", "clamp", "none"))
    kind = _format(format, {"flac": flac, "mp3": mp3, "opus": opus}, bitrate, int24, float32)

    from stemwise import models
    from stemwise.catalogue.entries import read_entries
    from stemwise.catalogue.separating import SeparateWork, own_options
    from stemwise.catalogue.storage import is_url
    from stemwise.separation import Engine, Options
    from stemwise.songs import Output

    if skip_existing and is_url(out):
        raise typer.BadParameter(
            "--skip-existing looks at files of this machine: with a URL, the ledger of --run DIR "
            "says what is done."
        )
    with usage():
        options = Options(
            segment=segment,
            overlap=overlap,
            gate=gate,  # type: ignore[arg-type]
            phase=phase,  # type: ignore[arg-type]
            residual=not no_residual,
            device=device,
            precision=precision,  # type: ignore[arg-type]
            runtime=runtime,  # type: ignore[arg-type]
        )
        output = Output(
            Path(out),
            kind,
            None if stems is None else tuple(one.strip() for one in stems.split(",")),
            two_stems,
            filename,
            clip_mode,  # type: ignore[arg-type]
            skip_existing,
            report,
        )
    obtain(name, offline=offline, shown=not quiet and not json)
    separator = models.load(name)
    with usage():
        output.names(separator.sources)
    Engine(separator, options)  # a device that is not there ends the command, not every song
    entries = read_entries(songs, leave_out=None if is_url(out) else Path(out))
    work = SeparateWork(name, options, output, labels, out if is_url(out) else None)
    for entry in entries:  # what a manifest asks for wrongly ends the command, too
        own_options(entry, options, output)[1].names(separator.sources)

    running = RunOptions(run, retry_failed, cluster, jobs, memory)
    with Board(not quiet and not json, quiet=quiet) as board:

        def done(facts: Facts) -> None:
            if json:
                print_json(facts)
            elif not quiet:
                _tell(board, facts)

        def failed(failure: Failure) -> None:
            if json:
                print_json({"song": failure.song, "error": failure.sentence})
            board.print(f"stemwise: {failure.sentence}", err=True)

        if wants_ledger(songs, out, running):
            if "{track}" not in filename:
                raise typer.BadParameter("--filename needs {track} where there are many songs.")
            run_many(entries, work, out, running, board, done, failed, json)
            return
        plain = [Path(entry.source) for entry in entries]
        output.plan(plain, separator.sources, [entry.id for entry in entries])
        failures = run_songs(entries, lambda: work.begin(separator), done, failed, board, jobs or 1)
    summary(failures, len(songs))
    if failures:
        raise typer.Exit(1)


def _check_labels(labels: str | None, gate: str, songs: list[str]) -> None:
    """Labels and the gate "oracle" need each other, and every song labels of its own."""
    if (labels is not None) != (gate == "oracle"):
        raise typer.BadParameter("--gate oracle and --labels FILE need each other.")
    if labels is not None and len(songs) > 1 and "{track}" not in labels:
        raise typer.BadParameter("several songs need a file each: put {track} into --labels.")


def _format(
    format: str | None,
    flags: dict[str, bool],
    bitrate: int | None,
    int24: bool,
    float32: bool,
) -> AudioFormat:
    """The format that the options ask for; options that contradict each other are usage errors."""
    from stemwise.audio.format import BITRATES, EXTENSIONS, AudioFormat

    chosen = [name for name, wanted in flags.items() if wanted]
    if format is not None:
        chosen.append(one_of("--format", format.lower().lstrip("."), EXTENSIONS))
    if len(set(chosen)) > 1:
        raise typer.BadParameter(f"choose one format, not {' and '.join(chosen)}.")
    if int24 and float32:
        raise typer.BadParameter("choose one of --int24 and --float32.")
    extension = chosen[0] if chosen else "wav"
    lossy = extension in BITRATES
    if lossy and (int24 or float32):
        option = "--int24" if int24 else "--float32"
        raise typer.BadParameter(f"{option} fits wav and flac only, not {extension}.")
    if bitrate is not None and not lossy:
        raise typer.BadParameter(f"--bitrate fits {', '.join(BITRATES)} only, not {extension}.")

    with usage():
        return AudioFormat(
            extension,
            "int24" if int24 else "float32" if float32 else "int16",
            bitrate or BITRATES.get(extension, 320),
        )


def _tell(board: Board, facts: Facts) -> None:
    """What became of one song, for people."""
    from stemwise.report.words import clock

    for warning in facts["warnings"]:
        board.print(f"stemwise: warning: {warning}", err=True)
    places = ", ".join(sorted({path.rpartition(os.sep)[0] for path in facts["stems"].values()}))
    if facts["skipped"]:
        board.print(f"{facts['song']} -> {places}: exists already, left as it is")
        return
    speed = facts["duration"] / max(facts["elapsed"], 1e-9)
    board.print(
        f"{facts['song']} -> {places}: {', '.join(facts['stems'])} "
        f"({clock(facts['duration'])} in {facts['elapsed']:.1f} s, {speed:.1f}x realtime)"
    )
    if facts["gain"] != 1:
        board.print(
            f"  all stems are {facts['gain']:.4f} times as loud as in the song, so that none clips "
            "(--float32 keeps the volume)"
        )
    if facts["report"] is not None:
        board.print(f"  report: {facts['report']}")
