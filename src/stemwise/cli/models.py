"""`stemwise models`: what can be loaded, and what it is."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer


def models(
    name: Annotated[
        str | None, typer.Argument(help="A model, a network or a checkpoint; else all.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
) -> None:
    """List the models, or show one with all its facts."""
    from stemwise.models import NETWORKS, weights

    if name is not None:
        found = [_describe(name)]
    else:
        found = [_describe(one) for one in [*weights(), *NETWORKS]]
    if json:
        import json as encoder

        typer.echo(encoder.dumps(found[0] if name is not None else found, indent=2))
    elif name is not None:
        _print_one(found[0])
    else:
        _print_table(found)


def _describe(name: str) -> dict[str, Any]:
    """Facts of a trained model, a network without weights, or a checkpoint."""
    from stemwise.models import NETWORKS, build, read_card, weights

    known = weights().get(name)
    network, licence, summary, reference = name, None, "", ""
    config: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    present = False
    if known is not None:
        network, licence, summary = known.network, known.licence, known.summary
        reference, config, present = known.reference, dict(known.config), known.present
    if present or (known is None and name not in NETWORKS):
        card = read_card(name)
        network, config, metadata, present = card.network, card.config, card.metadata, True
    separator = build(network, **config)
    rate = separator.sample_rate
    return {
        "name": name,
        "network": network,
        "paper": NETWORKS[network].paper,
        "sources": list(separator.sources),
        "activity_sources": list(separator.activity_sources),
        "sample_rate": rate,
        "channels": separator.channels,
        "trainable_parameters": separator.parameter_count,
        "context_seconds": [
            round(separator.grid.before / rate, 4),
            round(separator.grid.after / rate, 4),
        ],
        "activity_frames_per_second": round(separator.frame_rate, 4),
        "licence": licence,
        "weights": present,
        "downloadable": known is not None and bool(known.published),
        "summary": summary,
        "reference": reference,
        "config": separator.config,
        "metadata": metadata,
    }


def _print_one(facts: dict[str, Any]) -> None:
    width = max(map(len, facts))
    for key, value in facts.items():
        if isinstance(value, list):
            value = ", ".join(map(str, value))
        if value not in (None, "", {}):
            typer.echo(f"{key.replace('_', ' '):<{width}}  {value}")


def _weights(facts: dict[str, Any]) -> str:
    """Whether there are weights, in a word or three."""
    if facts["weights"]:
        return "present"
    if facts["downloadable"]:
        return "on first use"
    return "missing" if facts["licence"] else "none"


def _print_table(found: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("name", "network", "paper", "sources", "Hz"):
        table.add_column(title)
    for title in ("parameters", "context (s)"):
        table.add_column(title, justify="right")
    table.add_column("licence")
    table.add_column("weights")
    for facts in found:
        table.add_row(
            facts["name"],
            facts["network"],
            facts["paper"],
            ", ".join(facts["sources"]),
            str(facts["sample_rate"]),
            f"{facts['trainable_parameters']:,}",
            f"{max(facts['context_seconds']):.2f}",
            facts["licence"] or "-",
            _weights(facts),
        )
    # a pipe has no width: whoever reads it wants whole lines
    Console(width=None if sys.stdout.isatty() else 200).print(table)
