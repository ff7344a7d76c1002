"""Separate a song into stems and tell when each stem plays."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from stemwise.activity import Activity as Activity
    from stemwise.api import Model as Model
    from stemwise.api import Separation as Separation
    from stemwise.api import load as load
    from stemwise.audio import Audio as Audio
    from stemwise.errors import StemwiseError as StemwiseError
    from stemwise.evaluation.evaluate import evaluate as evaluate
    from stemwise.live import Stream as Stream

_EXPORTS = {
    "Activity": "stemwise.activity",
    "Audio": "stemwise.audio",
    "Model": "stemwise.api",
    "Separation": "stemwise.api",
    "StemwiseError": "stemwise.errors",
    "Stream": "stemwise.live",
    "evaluate": "stemwise.evaluation.evaluate",
    "load": "stemwise.api",
}

__all__ = [
    "Activity",
    "Audio",
    "Model",
    "Separation",
    "StemwiseError",
    "Stream",
    "__version__",
    "evaluate",
    "load",
]


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that `--help` and probing never wait for torch."""
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'stemwise' has no attribute {name!r}")
