"""`stemwise evaluate`: references and estimates in, scores out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stemwise.cli.download import Offline, obtain
from stemwise.cli.options import Device, Quiet, one_of, usage
from stemwise.cli.scores import Destinations, finish, list_of, open_report, resumable

if TYPE_CHECKING:
    from stemwise.evaluation.scoring import Settings
    from stemwise.evaluation.separated import Separated

References = Annotated[
    Path, typer.Argument(metavar="REFERENCES", help="A file, a track's folder, or a set of tracks.")
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
    references: References,
    estimates: Annotated[
        Path | None,
        typer.Argument(metavar="ESTIMATES", help="Laid out as REFERENCES; not with --model."),
    ] = None,
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
    device: Device = "auto",
    offline: Offline = False,
    quiet: Quiet = False,
) -> None:
    """Score estimated stems against references."""
    if (estimates is None) == (model is None):
        raise typer.BadParameter("give ESTIMATES, or --model NAME to separate REFERENCES.")
    destinations = Destinations(folder, out or [], printed, tracks)
    settings = make_settings(metrics, window, hop, problem, sources, silent, no_quantise)

    from stemwise.evaluation.pairs import find_pairs, find_references
    from stemwise.evaluation.run import evaluate_set
    from stemwise.evaluation.tables import to_frame

    destinations.check()
    estimator: Separated | None = None
    if model is None:
        assert estimates is not None
        found = find_pairs(
            references, estimates, split=split, kind=problem, sources=settings.sources
        )
    else:
        from stemwise.evaluation.separated import Separated

        obtain(model, offline=offline, shown=not quiet and printed != "json")
        estimator = Separated(model, device, quantised=settings.quantise)
        found = find_references(
            references,
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
