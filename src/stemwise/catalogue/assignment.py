"""Which song is done next, and what becomes of one whose process or machine was lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from stemwise.catalogue.entries import Entry
from stemwise.catalogue.work import Record
from stemwise.errors import StemwiseError

ATTEMPTS = 2
"""Processes that a song may bring down: the first may have been an accident."""
FALSE_STARTS = 3
"""Processes one after another that may be lost before they begin, which is no song's fault."""

PATIENCE = 7200.0
"""Seconds without progress that a song may take, beside its own length: time for a slow fetch."""

Follow = Callable[[Entry, float, "float | None"], None]
"""Called with seconds of a song that are done, and its seconds (None: unknown)."""

Cause = Literal["memory", "crash", "unknown"]
"""Why a process was lost."""
_ADVICE: dict[Cause, str] = {
    "memory": "the system does so where memory runs out; choose fewer --jobs or a shorter "
    "--segment",
    "crash": "its file may be damaged, or be more than the decoder bears; convert it to WAV",
    "unknown": "its file may be damaged, or there is too little memory for it",
}


class RefusedError(StemwiseError):
    """Nothing of a run can be done: no such model, no such device."""


@dataclass(frozen=True)
class Loss:
    """How a process was lost, in words, and why as far as that is known."""

    how: str
    cause: Cause


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
        self._false_starts = 0

    def take(self) -> Assigned | None:
        """The next song; None when none is left."""
        if self._again:
            return self._again.popleft()
        entry = next(self._entries, None)
        return None if entry is None else Assigned(entry)

    def lost(self, song: Assigned, loss: Loss) -> Record | None:
        """A song's process is gone: it is given out again, or has failed."""
        if song.losses + 1 < ATTEMPTS:
            self._again.append(Assigned(song.entry, song.losses + 1))
            return None
        return failed(
            song,
            f"{song.entry.shown} brought down {ATTEMPTS} processes ({loss.how}): "
            f"{_ADVICE[loss.cause]}.",
        )

    def began(self) -> None:
        """A process has begun its work: those that are lost from now on are lost by songs."""
        self._false_starts = 0

    def lost_early(self, song: Assigned | None, loss: Loss) -> None:
        """A process is gone before it had begun; its song is given out as if it had not been.

        Raises RefusedError where this is the rule.
        """
        if song is not None:
            self._again.append(song)
        self._false_starts += 1
        if self._false_starts >= FALSE_STARTS:
            raise RefusedError(
                f"{FALSE_STARTS} processes ended before they had begun ({loss.how}): there may be "
                "too little memory for the model; choose fewer --jobs."
            )


def given_up(song: Assigned, quiet: float) -> Record:
    """A song that shows no sign of life. quiet: for so many seconds."""
    span = f"{quiet / 60:.0f} minutes" if quiet >= 120 else f"{quiet:.0f} seconds"
    return failed(
        song,
        f"{song.entry.shown} made no progress for {span} and was given up: its file may be "
        "damaged, or where it lies does not answer.",
    )


def failed(song: Assigned, sentence: str) -> Record:
    """A song that is not tried again."""
    return Record(song.entry.id, "failed", sentence)
