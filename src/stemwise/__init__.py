"""Separate a song into stems and tell when each stem plays."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from stemwise.activity import Activity as Activity
    from stemwise.audio import Audio as Audio

_EXPORTS = {"Activity": "stemwise.activity", "Audio": "stemwise.audio"}

__all__ = ["Activity", "Audio", "__version__"]


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that `--help` and probing never wait for torch."""
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'stemwise' has no attribute {name!r}")
