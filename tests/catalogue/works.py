"""Works for tests: quick, without a model, and faulty on request."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemwise.catalogue.entries import Entry
from stemwise.catalogue.work import Do
from stemwise.cores import cores
from stemwise.errors import AudioError, Cancelled, ModelError

if TYPE_CHECKING:
    from stemwise.separation import Options


@dataclass(frozen=True)
class CopyWork:
    """Writes a file per song into `folder`; a song's source says what it does.

    "fail" and "defect" raise, "crash" kills its process, "crash once" does so the first time, a
    name of a signal has its process end by it, "exit" ends it without one, "eat" takes 400 MB,
    "wait" lasts until it is cancelled, and "heard" until there is a file of that name. refuse: it
    cannot begin.
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
        if kind.startswith("SIG"):
            os.kill(os.getpid(), signal.Signals[kind])
        if kind == "exit":
            os._exit(3)
        if kind == "eat":
            held = [bytes(4096) * 1000 for _ in range(100) if not cancel.wait(0.01)]
            cancel.wait(100)
            return {"blocks": len(held)}
        if kind == "wait":
            cancel.wait(100)
            self._note(f"cancelled {entry.id}")
        deadline = time.monotonic() + 60
        while kind == "heard" and not (self.folder / "heard").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
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


POINTS = ("begin", "fetch", "write", "rename", "renamed")
"""Instants of a `BlockWork`, in their order: see there."""


@dataclass(frozen=True)
class Kill:
    """A signal to "worker", "driver" or "all" processes of the run.

    point: an instant of a work, or a number: soon after that many instants of all its songs.
    """

    point: str
    whom: str
    signal: str = "SIGKILL"

    def strike(self, worker: int, driver: int) -> None:
        """Send it."""
        number = signal.Signals[self.signal]
        if self.whom == "all":
            os.killpg(0, number)
        else:
            os.kill(worker if self.whom == "worker" else driver, number)


@dataclass(frozen=True)
class BlockWork:
    """Writes two files per song as a separation does: in blocks, staged, and renamed at the end.

    trace: a folder for its notes, one line for each instant. kills: each happens once, at the first
    song that gets there. pause: seconds that each instant takes.
    """

    folder: Path
    trace: Path
    kills: tuple[Kill, ...] = ()
    pause: float = 0.002
    staging: Path | None = None

    def begin(self) -> Do:
        """Make ready."""
        self._reach("begin")
        return self._do

    def staged(self, folder: Path) -> BlockWork:
        """The same work, which writes files in `folder` before they get their names."""
        return replace(self, staging=folder)

    def terms(self) -> dict[str, Any]:
        """It does the same everywhere."""
        return {"command": "blocks"}

    def _do(self, entry: Entry, progress: Any, cancel: threading.Event) -> Mapping[str, Any]:
        assert self.staging is not None
        with tempfile.TemporaryDirectory(prefix="stemwise-") as fetched:
            (Path(fetched) / "song").write_text(entry.source)
            self._reach("fetch")
            part = Path(tempfile.mkdtemp(prefix=f".{os.getpid()}.", dir=self.staging))
            for name in "ab":
                with (part / name).open("w") as file:
                    for block in range(4):
                        if cancel.is_set():
                            shutil.rmtree(part)
                            raise Cancelled("It was stopped.")
                        file.write(f"{entry.id} {name} {block}\n" * 500)
                        file.flush()
                        progress(block, 4)
                        self._reach("write")
            target = self.folder / entry.id
            target.mkdir(parents=True, exist_ok=True)
            for name in "ab":
                os.replace(part / name, target / name)
                self._reach("rename" if name == "a" else "renamed")
            part.rmdir()
        return {}

    def _reach(self, point: str) -> None:
        with (self.trace / "notes.txt").open("a") as file:
            file.write(f"{point} {os.getpid()}\n")
        reached = (self.trace / "notes.txt").read_bytes().count(b"\n")
        time.sleep(self.pause)
        for kill in self.kills:
            ambush = kill.point.isdigit() and int(kill.point) <= reached
            mark = self.trace / f"{kill.point}-{kill.whom}"
            if (ambush or kill.point == point) and not mark.exists():
                with suppress(FileExistsError):
                    mark.touch(exist_ok=False)  # by one process only
                    self._strike(kill, random.uniform(0, 0.006) if ambush else 0)

    def _strike(self, kill: Kill, delay: float) -> None:
        processes = os.getpid(), os.getppid()
        if delay:
            threading.Timer(delay, kill.strike, processes).start()
        else:
            kill.strike(*processes)
            time.sleep(30)  # a worker without its driver ends at once


@dataclass(frozen=True)
class ThreadsWork:
    """Tells how many threads and cores the network would have; its options import PyTorch."""

    options: Options

    def begin(self) -> Do:
        """Make ready."""
        return self._do

    def staged(self, folder: Path) -> ThreadsWork:
        """The same."""
        return self

    def terms(self) -> dict[str, Any]:
        """It does the same everywhere."""
        return {"command": "threads"}

    def _do(self, entry: Entry, progress: Any, cancel: threading.Event) -> Mapping[str, Any]:
        import torch

        return {"threads": torch.get_num_threads(), "cores": cores()}
