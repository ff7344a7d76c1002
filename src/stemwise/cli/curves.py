"""`stemwise curves`: losses and scores of training runs, side by side in one figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stemwise.cli.options import Quiet


def curves(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Output folders of training runs; NAME=FOLDER names one in the legend.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FILE", help="Figure, .png, .svg or .pdf.")
    ],
    figure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What to draw, such as separation, sdr/vocals or rate; may be repeated "
            "[the losses, and SDR and AUROC of validation].",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Draw loss curves of training runs: training as lines, validation as points."""
    from stemwise.training.plots import plot_curves

    plot_curves(_named(runs), out, figure)
    if not quiet:
        typer.echo(f"wrote {out}")


def _named(runs: list[str]) -> dict[str, Path]:
    """Folders by name: the one given, or as much of the end of the path as tells runs apart."""
    from stemwise.errors import DataError

    given: list[tuple[str | None, Path]] = []
    for text in runs:
        name, _, folder = text.partition("=")
        named = bool(name and folder) and not Path(text).exists()
        given.append((name, Path(folder)) if named else (None, Path(text)))
    paths = [path.resolve() for label, path in given if label is None]
    found: dict[str, Path] = {}
    for label, path in given:
        label = label or _ending(path.resolve(), paths)
        if label in found:
            raise DataError(f"two runs are called '{label}': name one as NAME={path}")
        found[label] = path
    return found


def _ending(path: Path, others: list[Path]) -> str:
    """The fewest last parts of a path that no other path ends with."""
    parts = path.parts
    for count in range(1, len(parts)):
        if sum(other.parts[-count:] == parts[-count:] for other in others) == 1:
            return "/".join(parts[-count:])
    return str(path)
