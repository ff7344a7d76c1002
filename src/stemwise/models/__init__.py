"""Networks by name: build one, save it, load it again."""

from __future__ import annotations

from stemwise.models.checkpoint import Card, load, read_card, save
from stemwise.models.registry import NETWORKS, Weights, build, weights
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
