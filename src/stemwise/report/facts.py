"""What a report says of a separation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stemwise import __version__
from stemwise.report.words import channel_fact, clock

if TYPE_CHECKING:
    from stemwise.separation import Engine
    from stemwise.songs import FileResult


def separation_facts(result: FileResult, model: str, engine: Engine) -> dict[str, str]:
    """How a song was separated, and what it is, in the order in which it is told."""
    network, options = engine.separator.kind, engine.options
    facts = {
        "Model": model if model == network else f"{model} ({network})",
        "Length": clock(result.duration),
        "Sample rate": f"{result.sample_rate} Hz",
        "Channels": channel_fact(result.channels),
        "Separated in": f"{result.elapsed:.1f} s",
        "Speed": f"{result.duration / max(result.elapsed, 1e-9):.1f} × real time",
        "Device": str(engine.device),
        "Gate": options.gate,
    }
    if not options.residual:
        facts["Residual"] = "left out: stems need not sum to the song"
    if result.gain != 1:
        facts["Volume"] = f"stems are {result.gain:.4f} times as loud as in the song"
    return {**facts, "stemwise": f"version {__version__}"}
