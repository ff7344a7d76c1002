"""`stemwise oracle`: the best that masks can do, and the worst, on a set of tracks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stemwise.cli.evaluate import (
    Folder,
    Hop,
    Metrics,
    Out,
    Printed,
    Problem,
    Silent,
    Sources,
    Split,
    TrackJobs,
    Tracks,
    Unquantised,
    Window,
    make_settings,
)
from stemwise.cli.options import Quiet, one_of
from stemwise.cli.scores import Destinations, finish, list_of, open_report, resumable

METHODS = "ibm,irm,iam,mwf,mixture"


def oracle(
    references: Annotated[
        Path, typer.Argument(metavar="SET", help="A track's folder or file, or a set of tracks.")
    ],
    methods: Annotated[
        str,
        typer.Option(
            "--methods",
            metavar="NAME,...",
            help="Upper bounds ibm, irm, iam, mwf; lower bounds mixture, equal.",
        ),
    ] = METHODS,
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
    quiet: Quiet = False,
) -> None:
    """Score ideal masks made from the references, and the mixture itself.

    With --json DIR every method has a folder of its own in DIR, so that `stemwise compare DIR/irm
    RUN` tells how far a run is from it.
    """  # fmt: skip
    destinations = Destinations(folder, out or [], printed, tracks)
    settings = make_settings(metrics, window, hop, problem, sources, silent, no_quantise)

    from stemwise.evaluation.oracle import ORACLES
    from stemwise.evaluation.oracles import Oracle
    from stemwise.evaluation.pairs import Broken, find_references
    from stemwise.evaluation.run import evaluate_set
    from stemwise.evaluation.tables import joined, to_frame

    names = list(dict.fromkeys(list_of(methods)))
    for name in names:
        one_of("--methods", name, ORACLES)
    if not names:
        raise typer.BadParameter(f"name at least one method: {', '.join(ORACLES)}")
    destinations.check()
    found = find_references(references, split=split, kind=problem, sources=settings.sources)
    frames = {}
    broken: dict[str, Broken] = {one.sentence: one for one in found.broken}
    for name in names:
        with open_report(found, quiet, printed, name) as report, resumable(folder):
            scored, failed = evaluate_set(
                found.pairs,
                settings,
                estimator=Oracle(name, settings.quantise),
                jobs=jobs,
                folder=None if folder is None else folder / name,
                watch=report.watch,
            )
        frames[name] = to_frame(scored)
        broken.update({f"{one.name} {name}": one for one in failed})
        found.broken.clear()  # told once
        found.notes.clear()
    count = len(names) * len(found.pairs) + len(broken)
    finish(joined(frames), list(broken.values()), count, destinations)
