"""Networks by name: build one, save it, load it again.

Names, weights and cards are there without torch, which is imported when a network is built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stemwise.models.catalogue import Weights, weights
from stemwise.models.checkpoint import Card, load, read_card, save
from stemwise.models.registry import NETWORKS, build

if TYPE_CHECKING:
    from stemwise.models.separator import Grid, Prediction, Separator

__all__ = [
    "NETWORKS",
    "Card",
    "Grid",
    "Prediction",
    "Separator",
    "Weights",
    "build",
    "load",
    "read_card",
    "save",
    "weights",
]


def __getattr__(name: str) -> Any:
    """Import the contract's classes, and torch with them, on first use."""
    if name in ("Grid", "Prediction", "Separator"):
        from stemwise.models import separator

        return getattr(separator, name)
    raise AttributeError(f"module 'stemwise.models' has no attribute {name!r}")
