"""How much memory this machine has for a run, and how much a process holds.

Linux tells both, without it nothing is known (None). What a container or a batch system grants by
control groups (version 1 or 2) counts as the machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

GIGABYTE = 10**9


@dataclass(frozen=True)
class Memory:
    """Bytes there are, and bytes that nobody holds."""

    total: int
    free: int

    @property
    def is_short(self) -> bool:
        """Whether the system is about to end processes: less than 5 % free, of 20 GB at most."""
        return self.free < min(self.total, 20 * GIGABYTE) // 20


def held_memory(process: int) -> int | None:
    """Bytes that a process holds for itself: without files and what it shares with others."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{process}/statm").read_text().split()
    except (OSError, ValueError):
        return None
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def machine_memory(root: Path = Path("/")) -> Memory | None:
    """The memory that this process and those beside it may take. root: of the file system."""
    found = {}
    try:
        for line in (root / "proc/meminfo").read_text().splitlines():
            name, _, amount = line.partition(":")
            found[name] = int(amount.split()[0]) * 1024
        whole = Memory(found["MemTotal"], found["MemAvailable"])
    except (OSError, ValueError, KeyError, IndexError):
        return None
    bounds = [whole, *_granted(root)]
    return Memory(min(one.total for one in bounds), min(one.free for one in bounds))


_VERSIONS = (
    ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    (
        "sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)
_BOUNDLESS = 1 << 60
"""Version 1 writes no limit as the largest number of pages."""


def _granted(root: Path) -> Iterator[Memory]:
    """What the control groups of this process grant, and those that hold them."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        mount, limit, usage, files = _VERSIONS[controllers == "memory"]
        group = Path(path.lstrip("/"))
        for folder in (group, *group.parents):
            # a group that does not limit memory lacks the files, or says "max"
            with suppress(OSError, ValueError, KeyError):
                place = root / mount / folder
                total = int((place / limit).read_text())
                facts = dict(
                    one.split() for one in (place / "memory.stat").read_text().splitlines()
                )
                held = int((place / usage).read_text()) - int(facts[files])
                if total < _BOUNDLESS:
                    yield Memory(total, max(0, total - held))
