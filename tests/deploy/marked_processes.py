"""Processes of a test and all that they start, known by a variable of their environment."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

VARIABLE = "STEMWISE_TEST_MARK"


@contextmanager
def marked() -> Iterator[str]:
    """A value for the variable; whatever has it is killed at the end."""
    mark = uuid4().hex
    try:
        yield mark
    finally:
        kill_all(mark)


def kill_all(mark: str, other: str = "") -> None:
    """Kill the processes that `running` finds."""
    for process in running(mark, other):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def running(mark: str, other: str = "") -> list[int]:
    """Processes with this mark, and with other text in their environment, that still run."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # ended since, or somebody else's
            environment = (place / "environ").read_bytes()
            if f"{VARIABLE}={mark}".encode() in environment and other.encode() in environment:
                found.append(int(place.name))
    return found


def all_ended(mark: str, seconds: float, other: str = "") -> bool:
    """Whether all of them end by themselves within this time."""
    until = time.monotonic() + seconds
    while running(mark, other):
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True
