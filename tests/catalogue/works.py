"""Works for tests: quick, without a model, and faulty on request."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stemwise.catalogue.entries import Entry
from stemwise.catalogue.work import Do
from stemwise.errors import AudioError, ModelError


@dataclass(frozen=True)
class CopyWork:
    """Writes a file per song into `folder`; a song's source says what it does.

    "fail" and "defect" raise, "crash" kills its process, "crash once" does so the first time, and
    "wait" lasts until it is cancelled. refuse: it cannot begin.
    """

    folder: Path
    refuse: bool = False

    def begin(self) -> Do:
        """Make ready."""
        if self.refuse:
            raise ModelError("There is no model 'x'.")
        return self._do

    def staged(self, folder: Path) -> CopyWork:
        """The same."""
        return self

    def terms(self) -> dict[str, Any]:
        """It does the same everywhere."""
        return {"command": "copy"}

    def _do(self, entry: Entry, progress: Any, cancel: threading.Event) -> Mapping[str, Any]:
        self._note(f"begun {entry.id} {os.getpid()}")
        kind = entry.source
        progress(0.5, 1.0)
        if kind == "fail":
            raise AudioError(f"{entry.id} cannot be read: give it as a WAV file.")
        if kind == "defect":
            raise ValueError("oh")
        mark = self.folder / f"{entry.id}.mark"
        if kind == "crash" or (kind == "crash once" and not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "wait":
            cancel.wait(100)
            self._note(f"cancelled {entry.id}")
        time.sleep(0.01)
        target = self.folder / f"{entry.id}.txt"
        target.write_text(entry.id)
        return {"file": str(target)}

    def _note(self, line: str) -> None:
        with (self.folder / "notes.txt").open("a") as file:
            file.write(line + "\n")


def notes(folder: Path) -> list[list[str]]:
    """What the work did, in words."""
    return [line.split() for line in (folder / "notes.txt").read_text().splitlines()]
