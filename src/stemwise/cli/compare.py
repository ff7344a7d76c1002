"""`stemwise compare`: two runs on the same tracks, and whether they differ."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stemwise.cli.options import Quiet, one_of
from stemwise.cli.scores import PLOTS, check_files, list_of, print_table

PRINTED = ("table", "md", "csv", "json")

Run = Annotated[
    str,
    typer.Argument(
        help="A --json folder of `stemwise evaluate` (or museval's files), or a table it wrote."
    ),
]


def compare(
    run_a: Run,
    run_b: Run,
    names: Annotated[
        str | None, typer.Option("--names", metavar="A,B", help="What to call the runs.")
    ] = None,
    targets: Annotated[
        str | None, typer.Option("--targets", metavar="NAME,...", help="Only these targets.")
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", metavar="NAME,...", help="Only these metrics, e.g. SDR,SIR."),
    ] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help="Also write .csv, .parquet or .md (the comparison), .png or .svg (box plots of "
            "both); repeatable.",
        ),
    ] = None,
    printed: Annotated[
        str, typer.Option("--format", help="Printed: table, md, csv or json.")
    ] = "table",
    quiet: Quiet = False,
) -> None:
    """Compare two runs track by track (paired Wilcoxon test; * marks p < 0.05)."""  # fmt: skip
    one_of("--format", printed, PRINTED)
    files = list(out or [])

    from stemwise.evaluation.comparison import compare_runs, comparison_rows
    from stemwise.evaluation.plots import write_plots
    from stemwise.evaluation.tables import (
        joined,
        keep,
        markdown_rows,
        read_run,
        write_rows,
    )

    check_files(files)
    shown = _names(run_a, run_b, names)
    frames = [
        keep(read_run(run), targets and list_of(targets), metrics and list_of(metrics))
        for run in (run_a, run_b)
    ]
    found = compare_runs(frames[0], frames[1])
    rows = comparison_rows(found.table, shown)
    for file in files:
        if file.suffix.lower() in PLOTS:
            write_plots(file, joined(dict(zip(shown, frames, strict=True))))
        else:
            write_rows(file, found.table, markdown_rows(*rows, text=3))
    if not quiet:
        for note in found.notes:
            typer.echo(f"stemwise: note: {note}", err=True)
    if printed == "csv":
        typer.echo(found.table.to_csv(index=False), nl=False)
    elif printed == "json":
        typer.echo(found.table.to_json(orient="records", lines=True), nl=False)
    elif printed == "md":
        typer.echo(markdown_rows(*rows, text=3), nl=False)
    else:
        print_table(*rows)


def _names(run_a: str, run_b: str, names: str | None) -> tuple[str, str]:
    """What the runs are called: by their option, else by their folders, told apart."""
    if names is not None:
        given = list_of(names)
        if len(given) != 2 or given[0] == given[1]:
            raise typer.BadParameter("give two different names, as in --names before,after")
        return given[0], given[1]
    a, b = Path(run_a), Path(run_b)
    if a.resolve() == b.resolve():
        return "A", "B"
    return (a.stem, b.stem) if a.stem != b.stem else (str(a), str(b))
