"""A work that does next to nothing to a song, so that what remains is what the run itself costs."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stemwise.catalogue.entries import Entry
from stemwise.catalogue.work import Do


@dataclass(frozen=True)
class PeakWork:
    """Reads a song and says how loud it is."""

    def begin(self) -> Do:
        """There is nothing to make ready."""
        return self._do

    def staged(self, folder: Path) -> PeakWork:
        """It writes nothing."""
        return self

    def terms(self) -> dict[str, Any]:
        """It does the same everywhere."""
        return {"command": "peak"}

    def _do(self, entry: Entry, progress: Any, cancel: threading.Event) -> dict[str, Any]:
        from stemwise.audio import read

        return {"peak": float(abs(read(entry.source).samples).max())}
