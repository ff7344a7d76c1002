"""A work that does nothing, so that what is left is the driver's."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stemwise.catalogue.entries import Entry
from stemwise.catalogue.work import Do, Facts


@dataclass(frozen=True)
class NullWork:
    """Gives facts of the usual size after `pause` seconds."""

    pause: float = 0.0

    def begin(self) -> Do:
        """There is nothing to load."""
        return self._do

    def staged(self, folder: Path) -> NullWork:
        """The same."""
        return self

    def terms(self) -> dict[str, Any]:
        """It does nothing anywhere."""
        return {"command": "nothing"}

    def _do(self, entry: Entry, progress: Any, cancel: threading.Event) -> Facts:
        time.sleep(self.pause)
        return {"song": entry.source, "padding": "x" * 1000}
