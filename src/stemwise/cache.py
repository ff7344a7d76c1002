"""Where things are kept that can be made or downloaded again: weights and analysed voices."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """A folder of the cache: below $STEMWISE_CACHE, or below ~/.cache/stemwise; not created."""
    root = os.environ.get("STEMWISE_CACHE")
    return (Path(root).expanduser() if root else Path.home() / ".cache" / "stemwise") / name
