"""Which song is done next, and what becomes of one whose process or machine was lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stemwise.catalogue.entries import Entry
from stemwise.catalogue.work import Record
from stemwise.errors import StemwiseError

ATTEMPTS = 2
"""Processes that a song may bring down."""

Follow = Callable[[Entry, float, "float | None"], None]
"""Called with seconds of a song that are done, and its seconds (None: unknown)."""


class RefusedError(StemwiseError):
    """Nothing of a run can be done: no such model, no such device."""


@dataclass(frozen=True)
class Assigned:
    """A song that a process has; losses: processes that were lost with it before."""

    entry: Entry
    losses: int = 0


class Assignment:
    """Gives out songs as processes ask for them, lost ones again before new ones."""

    def __init__(self, entries: Iterator[Entry]) -> None:
        self._entries = entries
        self._again: deque[Assigned] = deque()

    def take(self) -> Assigned | None:
        """The next song; None when none is left."""
        if self._again:
            return self._again.popleft()
        entry = next(self._entries, None)
        return None if entry is None else Assigned(entry)

    def lost(self, song: Assigned, how: str) -> Record | None:
        """A song's process is gone: it is given out again, or has failed."""
        if song.losses + 1 < ATTEMPTS:
            self._again.append(Assigned(song.entry, song.losses + 1))
            return None
        return Record(
            song.entry.id,
            "failed",
            f"{song.entry.shown} brought down {ATTEMPTS} processes ({how}): its file may be "
            "damaged, or there is too little memory for it.",
        )
