"""`stemwise models`: what can be loaded, and what it is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from stemwise.models.separator import Separator
    from stemwise.models.summary import Layer

WHOLE_SONG = (
    "song: the network listens to the whole song, so no context makes pieces of it exact; "
    "--segment and --overlap of `stemwise separate` say how it is cut."
)
OMITTED = ("config", "metadata", "layers", "context_exact")


def models(
    name: Annotated[
        str | None, typer.Argument(help="A model, a network or a checkpoint; else all.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Everything, as JSON.")] = False,
) -> None:
    """List the models, or show one with its configuration and its layers."""
    from stemwise.models import NETWORKS, weights

    if name is None:
        found = [_describe(one) for one in [*weights(), *NETWORKS]]
        if json:
            _print_json(found)
        else:
            _print_table(found)
        return

    from stemwise.models.summary import layers

    facts = _describe(name)
    inside = layers(facts["network"], **facts["config"])
    if json:
        _print_json({**facts, "layers": [layer.to_json() for layer in inside]})
    else:
        _print_one(facts, inside)


def outline_of(name: str) -> Separator:
    """A model, network or checkpoint without its numbers."""
    from stemwise.models.summary import outline

    facts = _describe(name)
    return outline(facts["network"], **facts["config"])


def _describe(name: str) -> dict[str, Any]:
    """Facts of a trained model, a network without weights, or a checkpoint."""
    from stemwise.live import shortest_latency
    from stemwise.models import NETWORKS, read_card, weights
    from stemwise.models.summary import outline

    known = weights().get(name)
    network, licence, summary, state = name, None, "", "none"
    config: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    if known is not None:
        network, licence, summary, config = (
            known.network,
            known.licence,
            known.summary,
            known.config,
        )
        state = "present" if known.present else "downloadable" if known.published else "missing"
    if state == "present" or (known is None and name not in NETWORKS):
        card = read_card(name)
        network, config, metadata, state = card.network, card.config, card.metadata, "present"
    separator = outline(network, **config)
    rate, grid = separator.sample_rate, separator.grid
    return {
        "name": name,
        "network": network,
        "paper": NETWORKS[network].paper,
        "sources": list(separator.sources),
        "activity_sources": list(separator.activity_sources),
        "sample_rate": rate,
        "channels": separator.channels,
        "trainable_parameters": separator.parameter_count,
        "context_seconds": [round(grid.before / rate, 4), round(grid.after / rate, 4)],
        "context_exact": grid.finite,
        "shortest_latency_seconds": round(shortest_latency(separator), 4),
        "activity_frames_per_second": round(separator.frame_rate, 4),
        "licence": licence,
        "weights": state,
        "summary": summary,
        "config": separator.config,
        "metadata": metadata,
    }


def _print_json(content: Any) -> None:
    from json import dumps

    typer.echo(dumps(content, indent=2))


def _print_one(facts: dict[str, Any], inside: list[Layer]) -> None:
    shown = {key: value for key, value in facts.items() if key not in OMITTED}
    shown["trainable_parameters"] = f"{facts['trainable_parameters']:,}"
    if not facts["context_exact"]:
        shown["context_seconds"] = "the whole song"
    width = max(map(len, [*shown, *facts["config"], *facts["metadata"]]))
    for title in ("", "config", "metadata"):
        part = facts[title] if title else shown
        if title and part:
            typer.echo(f"\n{title}")
        for key, value in part.items():
            if isinstance(value, list):
                value = ", ".join(map(str, value))
            elif isinstance(value, dict):
                value = "see --json"
            if title or value not in (None, ""):
                typer.echo(f"{key.replace('_', ' ') if not title else key:<{width}}  {value}")
    typer.echo("\nlayers, for a song of a second or a little more")
    table = _table(("module", "type", "output"), ("parameters",))
    for layer in inside:
        table.add_row(
            "  " * layer.depth + layer.name.rpartition(".")[2],
            layer.type,
            ", ".join(" x ".join(map(str, shape)) for shape in layer.outputs) or "-",
            f"{layer.parameters:,}" if layer.parameters else "-",
        )
    _show(table)


def _print_table(found: list[dict[str, Any]]) -> None:
    table = _table(
        ("name", "paper", "sources"),
        ("Hz", "parameters", "context (s)"),
        ("activity", "licence", "weights"),
    )
    for facts in found:
        sources, active = facts["sources"], facts["activity_sources"]
        table.add_row(
            facts["name"],
            facts["paper"],
            ", ".join(sources),
            str(facts["sample_rate"]),
            f"{facts['trainable_parameters']:,}",
            f"{max(facts['context_seconds']):.2f}" if facts["context_exact"] else "song",
            "all" if active == sources else ", ".join(active) or "-",
            facts["licence"] or "-",
            facts["weights"],
        )
    _show(table)
    if not all(facts["context_exact"] for facts in found):
        typer.echo(WHOLE_SONG)


def _table(left: tuple[str, ...], right: tuple[str, ...], last: tuple[str, ...] = ()) -> Table:
    """An empty table whose columns `right` hold numbers."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in (*left, *right, *last):
        # a pipe has no width: whoever reads it wants whole lines
        table.add_column(title, justify="right" if title in right else "left", no_wrap=_piped())
    return table


def _piped() -> bool:
    return not sys.stdout.isatty()


def _show(table: Table) -> None:
    from rich.console import Console

    Console(width=None if not _piped() else 400, markup=False, highlight=False).print(table)
