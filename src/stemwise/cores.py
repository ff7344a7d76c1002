"""How many cores this process may count on, which may be fewer than the machine has."""

from __future__ import annotations

import os

_share: int | None = None


def cores() -> int:
    """Those that are this process's share, or that the system lets it run on."""
    if _share is not None:
        return _share
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def take_share(count: int) -> None:
    """Count on so many from now on, as other processes have the rest.

    To be called before PyTorch is imported: its threads read the environment once.
    """
    global _share
    _share = count
    os.environ.setdefault("OMP_NUM_THREADS", str(count))
    os.environ.setdefault("GOMP_SPINCOUNT", "0")  # others need the cores that threads wait on
