"""The memory that the process has taken from the system."""

from __future__ import annotations

import ctypes
import sys
from functools import cache


@cache
def keep_heap() -> None:
    """Ask the C library to keep freed memory for the next piece of work.

    Every piece of a song frees and takes the same large arrays. By default glibc gives them back to
    the system each time, and taking them anew costs a page fault for every 4 KiB: a third of a
    separation's CPU time on the reference machine, and what keeps the threads of BSS Eval waiting
    for one another. Holds for the whole process.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none, and does not need it
        trim_threshold, mmap_threshold, arenas = -1, -3, -8
        mallopt(trim_threshold, -1)  # never: a training step frees gigabytes at its end
        mallopt(mmap_threshold, 1 << 30)
        mallopt(arenas, 1)
