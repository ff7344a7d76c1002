"""`stemwise runtimes`: measures what computes a model fastest on this machine, and keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from stemwise.cli.download import Offline, obtain
from stemwise.cli.options import Quiet

if TYPE_CHECKING:
    from stemwise.runtimes.choice import Measured


def runtimes(
    name: Annotated[
        str, typer.Argument(metavar="[MODEL]", help="A model, or a checkpoint's path.")
    ] = "band",
    compiled: Annotated[
        bool, typer.Option("--compile", help="PyTorch's compiler, too: it may take minutes.")
    ] = False,
    offline: Offline = False,
    quiet: Quiet = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure runtimes for a model on this CPU; the fastest is used from now on.

    CPU seconds are those of the network alone, per second of song.
    """
    from stemwise import models
    from stemwise.runtimes.choice import keep, measure

    obtain(name, offline=offline, shown=not quiet and not json)
    separator = models.load(name)
    rows = measure(separator, compiled=compiled)
    keep(separator, rows)
    if json:
        _print_json(name, rows)
    elif not quiet:
        _print_table(name, rows)


def _chosen(rows: list[Measured]) -> Measured:
    """What `--runtime auto` takes from now on."""
    import torch

    from stemwise.devices import prefers_bfloat16
    from stemwise.runtimes.choice import best

    precision = "bf16" if prefers_bfloat16(torch.device("cpu")) else "fp32"
    eager = next(row for row in rows if (row.runtime, row.precision) == ("torch", precision))
    return next(iter(best(rows, precision)), eager)


def _print_json(name: str, rows: list[Measured]) -> None:
    from dataclasses import asdict
    from json import dumps

    chosen = _chosen(rows)
    facts = {
        "model": name,
        "chosen": {"runtime": chosen.runtime, "precision": chosen.precision},
        "measured": [asdict(row) for row in rows],
    }
    typer.echo(dumps(facts, indent=2))


def _print_table(name: str, rows: list[Measured]) -> None:
    typer.echo(f"{'runtime':<10}{'precision':<11}{'CPU s per s':>11}{'ratio':>8}{'error':>10}")
    for row in rows:
        place = f"{row.runtime:<10}{row.precision:<11}"
        if row.refused is None:
            typer.echo(f"{place}{row.seconds:>11.4f}{row.ratio:>7.2f}x{row.rms:>10.1e}")
        else:
            typer.echo(f"{place}{row.refused}")
    typer.echo("ratio and error: to PyTorch in fp32; error: root mean square, relative")
    chosen = _chosen(rows)
    typer.echo(f"--runtime auto now takes {chosen.runtime} in {chosen.precision} for {name}.")
