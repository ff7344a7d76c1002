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
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait

from stemwise.catalogue.assignment import Assigned, Assignment, Follow, RefusedError
from stemwise.catalogue.entries import Entry
from stemwise.catalogue.work import Record, Work, attempt
from stemwise.child import Child, ChildDied, Messages
from stemwise.errors import AudioWarning, StemwiseError

_TOLD_EVERY = 0.2
_GRACE = 5.0


@dataclass(frozen=True)
class Refused:
    """The work cannot begin at all: no such model, no such device."""

    sentence: str


@dataclass(frozen=True)
class Told:
    """How far a song is."""

    done: float
    total: float | None


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
        self._work, self._follow = work, follow
        self._songs = Assignment(entries)
        self._slots: list[_Slot] = []

    def run(self, processes: int) -> Iterator[Record]:
        """Keep all processes busy until no song is left."""
        share = max(1, (os.cpu_count() or 1) // processes)
        for _ in range(processes):
            self._start(share)
        while self._slots:
            ready = wait([slot.child.connection for slot in self._slots])
            for slot in [one for one in self._slots if one.child.connection in ready]:
                yield from self._answer(slot, share)

    def _start(self, share: int) -> None:
        song = self._songs.take()
        if song is not None:
            self._slots.append(_Slot(self._work, share, song))

    def _answer(self, slot: _Slot, share: int) -> Iterator[Record]:
        try:
            answer = slot.child.receive(0)
        except ChildDied as death:
            slot.child.close()
            self._slots.remove(slot)
            failure = self._songs.lost(slot.song, death.how)
            if failure is not None:
                yield failure
            self._start(share)
            return
        if isinstance(answer, Refused):
            raise RefusedError(answer.sentence)
        if isinstance(answer, Told):
            self._follow(slot.song.entry, answer.done, answer.total)
        elif isinstance(answer, Record):
            yield answer
            song = self._songs.take()
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

    def __init__(self, work: Work, threads: int, song: Assigned) -> None:
        self.child = Child(main, work, threads, name="separation")
        self.give(song)

    def give(self, song: Assigned) -> None:
        """Give the process a song; that it has died shows when it is asked for the answer."""
        self.song = song
        with suppress(ChildDied):
            self.child.send(song.entry)


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
