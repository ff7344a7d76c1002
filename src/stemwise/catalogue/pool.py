"""Songs done by processes of this machine, each of which has the model loaded.

A process takes one song at a time, so that slow songs delay nobody and no song is further away from
its end than its own length. One that dies (a decoder that crashes, memory that runs out) costs its
song one more attempt in a new process; a song whose processes die twice is a failure, and the run
goes on.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from stemwise.catalogue.entries import Entry
from stemwise.catalogue.ledger import Record
from stemwise.catalogue.work import Do, Work, failure_sentence
from stemwise.child import Child, ChildDied, Messages
from stemwise.errors import AudioWarning, StemwiseError

ATTEMPTS = 2
"""Processes that a song may bring down."""
_TOLD_EVERY = 0.2
_GRACE = 5.0

Follow = Callable[[Entry, float, "float | None"], None]
"""Called with seconds of a song that are done, and its seconds (None: unknown)."""


@dataclass(frozen=True)
class Ready:
    """The process has the model loaded."""


@dataclass(frozen=True)
class Refused:
    """The work cannot begin at all: no such model, no such device."""

    sentence: str


@dataclass(frozen=True)
class Told:
    """How far a song is."""

    done: float
    total: float | None


class RefusedError(StemwiseError):
    """Nothing of a run can be done."""


def run_pool(
    work: Work, entries: Iterable[Entry], processes: int, follow: Follow | None = None
) -> Iterator[Record]:
    """What became of each song, in the order in which they end.

    entries: taken one by one as processes become free. Closing the iterator, as Ctrl-C does, stops
    the processes, which remove what they had begun. Raises RefusedError, with the process's
    sentence, where the work cannot begin.
    """
    pool = _Pool(work, iter(entries), follow or (lambda entry, done, total: None))
    try:
        yield from pool.run(processes)
    finally:
        pool.close()


class _Pool:
    def __init__(self, work: Work, entries: Iterator[Entry], follow: Follow) -> None:
        self._work, self._entries, self._follow = work, entries, follow
        self._again: deque[tuple[Entry, int]] = deque()
        self._slots: list[_Slot] = []

    def run(self, processes: int) -> Iterator[Record]:
        """Keep all processes busy until no song is left."""
        share = max(1, (os.cpu_count() or 1) // processes)
        for _ in range(processes):
            song = self._next()
            if song is None:
                break
            self._slots.append(_Slot(self._work, share, song))
        while self._slots:
            ready = wait([slot.child.connection for slot in self._slots])
            for slot in [one for one in self._slots if one.child.connection in ready]:
                yield from self._answer(slot, share)

    def _next(self) -> tuple[Entry, int] | None:
        """A song, and how many processes it brought down."""
        if self._again:
            return self._again.popleft()
        entry = next(self._entries, None)
        return None if entry is None else (entry, 0)

    def _answer(self, slot: _Slot, share: int) -> Iterator[Record]:
        entry, deaths = slot.song
        try:
            answer = slot.child.receive(0)
        except ChildDied as death:
            slot.child.close()
            self._slots.remove(slot)
            if deaths + 1 < ATTEMPTS:
                self._again.append((entry, deaths + 1))
            else:
                yield Record(entry.id, "failed", _brought_down(entry, death))
            song = self._next()
            if song is not None:
                self._slots.append(_Slot(self._work, share, song))
            return
        if isinstance(answer, Refused):
            raise RefusedError(answer.sentence)
        if isinstance(answer, Told):
            self._follow(entry, answer.done, answer.total)
        elif isinstance(answer, Record):
            yield answer
            song = self._next()
            if song is None:
                slot.child.close(_GRACE)
                self._slots.remove(slot)
            else:
                slot.give(song)

    def close(self) -> None:
        """End all processes."""
        for slot in self._slots:
            slot.child.close(_GRACE)


class _Slot:
    """A process and the song that it has."""

    def __init__(self, work: Work, threads: int, song: tuple[Entry, int]) -> None:
        self.child = Child(main, work, threads, name="separation")
        self.give(song)

    def give(self, song: tuple[Entry, int]) -> None:
        """Give the process a song; that it has died shows when it is asked for the answer."""
        self.song = song
        with suppress(ChildDied):
            self.child.send(song[0])


def _brought_down(entry: Entry, death: ChildDied) -> str:
    return (
        f"{entry.source} brought down {ATTEMPTS} processes ({death.how}): its file may be damaged, "
        "or there is too little memory for it."
    )


def main(pipe: Connection, work: Work, threads: int) -> None:
    """The process: songs in, what became of them out."""
    warnings.simplefilter("ignore", AudioWarning)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    closed = threading.Event()
    messages = Messages(pipe, closed=closed.set)
    try:
        do = work.begin()
    except StemwiseError as error:
        messages.send(Refused(str(error)))
        return
    while (entry := messages.next()) is not None:
        messages.send(attempt(do, entry, _told(messages), closed))


def _told(messages: Messages) -> Callable[[float, float | None], None]:
    last = 0.0

    def tell(done: float, total: float | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _TOLD_EVERY:
            last = now
            messages.send(Told(done, total))

    return tell


def attempt(
    do: Do, entry: Entry, progress: Callable[[float, float | None], None], cancel: threading.Event
) -> Record:
    """Do a song; whatever is wrong with it becomes its sentence."""
    started = time.perf_counter()

    def record(sentence: str | None, facts: Any = None) -> Record:
        seconds = round(time.perf_counter() - started, 3)
        state = "done" if sentence is None else "failed"
        return Record(entry.id, state, sentence, {**(facts or {}), "elapsed": seconds})  # type: ignore[arg-type]

    try:
        return record(None, do(entry, progress, cancel))
    except Exception as error:
        return record(failure_sentence(entry.source, error))
