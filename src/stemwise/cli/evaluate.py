"""`stemwise evaluate`: references and estimates in, scores out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stemwise.cli.batch import Board, Failure, print_json
from stemwise.cli.download import Offline, obtain
from stemwise.cli.many import Cluster, Memory, RetryFailed, Run, RunOptions, run_many
from stemwise.cli.options import (
    PRECISIONS,
    RUNTIMES,
    Device,
    Precision,
    Quiet,
    Runtime,
    one_of,
    usage,
)
from stemwise.cli.scores import (
    Destinations,
    Report,
    finish,
    list_of,
    open_report,
    resumable,
    track_facts,
)

if TYPE_CHECKING:
    from stemwise.catalogue.work import Facts, Record
    from stemwise.evaluation.scoring import Settings
    from stemwise.evaluation.separated import Separated
    from stemwise.separation import Options

Places = Annotated[
    list[str],
    typer.Argument(
        metavar="REFERENCES [ESTIMATES]",
        help="Each a file, a track's folder, or a set of tracks. With --model only references, and "
        "with --run also patterns, manifests (.csv, .jsonl, .parquet) and URLs of tracks.",
    ),
]
Metrics = Annotated[
    str,
    typer.Option(
        "--metrics",
        metavar="NAME,...",
        help="v4, v3, v3-images, usdr, si-sdr, mse, non-vocal.",
    ),
]
Window = Annotated[
    float, typer.Option("--window", "--windows", help="Seconds of a window of BSS Eval v4.")
]
Hop = Annotated[float, typer.Option("--hop", help="Seconds from one window to the next.")]
Problem = Annotated[
    str,
    typer.Option(
        "--problem",
        help="What is scored together: stems, accompaniment (vocals against the rest), both, or "
        "auto: as museval.",
    ),
]
Sources = Annotated[
    str | None, typer.Option("--sources", metavar="NAME,...", help="Only these sources.")
]
Split = Annotated[
    str | None, typer.Option("--split", help="Only this split of the set: train, validation, test.")
]
Silent = Annotated[
    str,
    typer.Option(help="A source that is silent in the whole track: nan (no score) or raise."),
]
Unquantised = Annotated[
    bool,
    typer.Option("--no-quantise", help="Score samples as decoded, not rounded to 16 bits."),
]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--json",
        metavar="DIR",
        help="Keep one file per track here, in museval's schema; finished tracks are not scored "
        "again.",
    ),
]
Out = Annotated[
    list[Path] | None,
    typer.Option(
        "-o", "--out", metavar="FILE",
        help="Also write .csv or .parquet (every window), .md (the table), .png or .svg (box "
        "plots); repeatable.",
    ),
]  # fmt: skip
Printed = Annotated[
    str,
    typer.Option(
        "--format",
        help="Standard output: table, md, csv (every window) or json (a line per track).",
    ),
]
Tracks = Annotated[
    str | None,
    typer.Option("--tracks", help="Over tracks: median or mean [what each metric's papers take]."),
]
TrackJobs = Annotated[
    int, typer.Option("-j", "--jobs", min=1, help="Tracks scored at the same time.")
]


def evaluate(
    places: Places,
    model: Annotated[
        str | None,
        typer.Option("-n", "--model", help="Separate REFERENCES with this model, and score that."),
    ] = None,
    metrics: Metrics = "v4",
    window: Window = 1.0,
    hop: Hop = 1.0,
    problem: Problem = "auto",
    sources: Sources = None,
    split: Split = None,
    silent: Silent = "nan",
    no_quantise: Unquantised = False,
    folder: Folder = None,
    out: Out = None,
    printed: Printed = "table",
    tracks: Tracks = None,
    jobs: TrackJobs = 1,
    run: Run = None,
    retry_failed: RetryFailed = False,
    cluster: Cluster = None,
    memory: Memory = None,
    device: Device = "auto",
    precision: Precision = "auto",
    runtime: Runtime = "auto",
    offline: Offline = False,
    quiet: Quiet = False,
) -> None:
    """Score estimated stems against references."""
    running = RunOptions(run, retry_failed, cluster, jobs, memory)
    _check(places, model, running)
    computing = {"device": device, "precision": precision, "runtime": runtime}
    if model is None and set(computing.values()) != {"auto"}:
        raise typer.BadParameter("--device, --runtime and --precision need --model.")
    destinations = Destinations(folder, out or [], printed, tracks)
    settings = make_settings(metrics, window, hop, problem, sources, silent, no_quantise)
    destinations.check()
    one_of("--precision", precision, PRECISIONS)
    one_of("--runtime", runtime, RUNTIMES)
    if model is not None:
        obtain(model, offline=offline, shown=not quiet and printed != "json")
    if model is not None and running.directory is not None:
        _run(places, split, model, _options(computing), settings, destinations, running, quiet)
        return

    from stemwise.evaluation.pairs import find_pairs, find_references
    from stemwise.evaluation.run import evaluate_set
    from stemwise.evaluation.tables import to_frame

    estimator: Separated | None = None
    if model is None:
        found = find_pairs(*places, split=split, kind=problem, sources=settings.sources)
    else:
        estimator = _estimator(model, _options(computing), settings)
        found = find_references(
            places[0],
            estimated=estimator.sources,
            split=split,
            kind=problem,
            sources=settings.sources,
        )
    with open_report(found, quiet, printed) as report:
        if estimator is not None:
            estimator.follow = report.follow
        with resumable(folder):
            scored, broken = evaluate_set(
                found.pairs,
                settings,
                estimator=estimator,
                jobs=jobs,
                folder=folder,
                watch=report.watch,
            )
    count = len(found.pairs) + len(found.broken)
    finish(to_frame(scored), [*found.broken, *broken], count, destinations)


def _check(places: Sequence[str], model: str | None, running: RunOptions) -> None:
    """Refuse command lines that name too much or too little."""
    from stemwise.catalogue.tracks import is_plain

    if len(places) != 2 and model is None:
        raise typer.BadParameter("give ESTIMATES, or --model NAME to separate REFERENCES.")
    if running.asked and model is None:
        raise typer.BadParameter("--run, --retry-failed, --cluster and --memory need --model.")
    plain = len(places) == 1 and is_plain(places[0])
    if model is not None and running.directory is None and (running.asked or not plain):
        raise typer.BadParameter(
            "several places, patterns, manifests and URLs need --run DIR, for the ledger, as do "
            "--retry-failed, --cluster and --memory."
        )


def _options(computing: dict[str, str]) -> Options:
    from stemwise.separation import Options

    return Options(**computing)  # type: ignore[arg-type]


def _estimator(model: str, options: Options, settings: Settings) -> Separated:
    from stemwise import models
    from stemwise.evaluation.separated import Separated
    from stemwise.separation import Engine

    engine = Engine(models.load(model), options)
    return Separated(model, engine, quantised=settings.quantise)


def _run(
    places: Sequence[str],
    split: str | None,
    model: str,
    options: Options,
    settings: Settings,
    destinations: Destinations,
    running: RunOptions,
    quiet: bool,
) -> None:
    """Score what the ledger lacks, and print the table of all that it has."""
    from stemwise import models
    from stemwise.catalogue.evaluating import EvaluateWork, scores_of
    from stemwise.catalogue.tracks import read_tracks
    from stemwise.evaluation.record import from_facts, record_path, write_record
    from stemwise.evaluation.tables import to_frame
    from stemwise.separation import Engine

    sentences: list[str] = []
    entries = read_tracks(places, split=split, broken=sentences)
    Engine(models.load(model), options)  # what is not there ends the command, not every track
    work = EvaluateWork(model, options, settings)
    json = destinations.printed == "json"
    with Board(not quiet and not json, quiet=quiet or json) as board:
        report = Report(board, quiet, "table" if json else destinations.printed, 0.0)

        def done(facts: Facts) -> None:
            report.done(from_facts(facts))

        def failed(failure: Failure) -> None:
            board.print(f"stemwise: {failure.sentence}", err=True)

        def whole(records: Iterator[Record]) -> None:
            scored = scores_of(records)
            for one in scored:
                if destinations.folder is not None:
                    write_record(record_path(destinations.folder, one), one)
                if json:
                    print_json(track_facts(one))
            finish(to_frame(scored), [], len(scored), destinations)

        for sentence in sentences:
            board.print(f"stemwise: {sentence}", err=True)
        run_many(entries, work, str(running.directory), running, board, done, failed, False, whole)
    if sentences:
        raise typer.Exit(1)


def make_settings(
    metrics: str,
    window: float,
    hop: float,
    problem: str,
    sources: str | None,
    silent: str,
    no_quantise: bool,
) -> Settings:
    """The settings that the options ask for; what is wrong is an error of the command line."""
    from stemwise.evaluation.problems import KINDS
    from stemwise.evaluation.scores import FAMILIES
    from stemwise.evaluation.scoring import Settings

    for name in list_of(metrics):
        one_of("--metrics", name, FAMILIES)
    one_of("--problem", problem, KINDS)
    one_of("--silent", silent, ("nan", "raise"))
    with usage():
        return Settings(
            tuple(list_of(metrics)),
            window,
            hop,
            problem,
            None if sources is None else tuple(list_of(sources)),
            silent,  # type: ignore[arg-type]
            not no_quantise,
        )
