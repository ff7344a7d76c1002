"""Songs done by processes of this machine, each of which has the model loaded.

A process takes one song at a time, so that slow songs delay nobody and no song is further away from
its end than its own length. One that dies (a decoder that crashes, memory that runs out) costs its
song one more attempt in a new process; a song whose processes die twice is a failure, and the run
goes on. A process that takes too much memory, or shows no sign of life, is ended, and its song is a
failure at once: it would do the same again.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from stemwise.catalogue.assignment import (
    PATIENCE,
    Assigned,
    Assignment,
    Follow,
    Loss,
    RefusedError,
    failed,
    given_up,
)
from stemwise.catalogue.entries import Entry
from stemwise.catalogue.memory import GIGABYTE, held_memory, machine_memory
from stemwise.catalogue.work import Record, Work, attempt
from stemwise.child import Child, ChildDied, Messages
from stemwise.cores import cores, take_share
from stemwise.errors import AudioWarning, StemwiseError

_TOLD_EVERY = 0.2
_LOOK = 0.2
"""Seconds between two looks at the memory that processes hold."""
_GRACE = 5.0


@dataclass(frozen=True)
class Begun:
    """The process has all that it needs."""


@dataclass(frozen=True)
class Refused:
    """The work cannot begin at all: no such model, no such device."""

    sentence: str


@dataclass(frozen=True)
class Told:
    """How far a song is."""

    done: float
    total: float | None


@dataclass(frozen=True)
class Stop:
    """To the process: remove what was begun, and end."""


def run_pool(
    work: Work,
    entries: Iterable[Entry],
    processes: int,
    follow: Follow | None = None,
    *,
    memory: int | None = None,
    patience: float = PATIENCE,
    temporary: Path | None = None,
) -> Iterator[Record]:
    """What became of each song, in the order in which they end.

    entries: taken one by one as processes become free. memory: bytes that a process may hold
    (None: its share of the machine's, and that only counts when the machine's runs out). patience:
    seconds without progress after which a song is given up, beside the seconds that it lasts.
    temporary: a folder for temporary files, which somebody removes (None: that of the system, where
    processes that are killed leave them).
    Closing the iterator, as Ctrl-C does, stops the processes, which remove what they had begun.
    Raises RefusedError where the work cannot begin, or processes end before they have begun.
    """
    guard = _Guard(memory, processes, patience)
    follow = follow or (lambda entry, done, total: None)
    pool = _Pool(work, temporary, iter(entries), follow, guard)
    try:
        yield from pool.run(processes)
    finally:
        pool.close()


class _Pool:
    def __init__(
        self,
        work: Work,
        temporary: Path | None,
        entries: Iterator[Entry],
        follow: Follow,
        guard: _Guard,
    ) -> None:
        self._work, self._temporary = pickle.dumps(work), temporary
        self._follow, self._guard = follow, guard
        self._songs = Assignment(entries)
        self._slots: list[_Slot] = []

    def run(self, processes: int) -> Iterator[Record]:
        """Keep all processes busy until no song is left."""
        share = max(1, cores() // processes)
        for _ in range(processes):
            self._start(share)
        while self._slots:
            ready = wait([slot.child.connection for slot in self._slots], _LOOK)
            for slot in [one for one in self._slots if one.child.connection in ready]:
                yield from self._answer(slot, share)
            for slot, failure in self._guard.look(self._slots):
                self._end(slot)
                if slot.begun:
                    yield failure
                else:
                    how = "they took too much memory, or too long"
                    self._songs.lost_early(slot.song, Loss(how, "unknown"))
                self._start(share)

    def _start(self, share: int) -> None:
        song = self._songs.take()
        if song is not None:
            self._slots.append(_Slot((self._work, share, self._temporary), song))

    def _end(self, slot: _Slot) -> None:
        slot.child.close()
        self._slots.remove(slot)
        if self._temporary is not None:
            # stems that were half written (see `StemOutput`), before they fill the disk
            for left in self._temporary.glob(f".*.{slot.child.pid}.*.part"):
                shutil.rmtree(left, ignore_errors=True)

    def _answer(self, slot: _Slot, share: int) -> Iterator[Record]:
        slot.quiet = 0.0
        try:
            answer = slot.child.receive(0)
        except ChildDied as death:
            self._end(slot)
            if slot.begun:
                failure = self._songs.lost(slot.song, _loss(death))
                if failure is not None:
                    yield failure
            else:
                self._songs.lost_early(slot.song, _loss(death))
            self._start(share)
            return
        if isinstance(answer, Refused):
            raise RefusedError(answer.sentence)
        if isinstance(answer, Begun):
            slot.begun = True
            self._songs.began()
        elif isinstance(answer, Told):
            slot.length = answer.total or answer.done
            self._follow(slot.song.entry, answer.done, answer.total)
        elif isinstance(answer, Record):
            yield answer
            song = self._songs.take()
            if song is None:
                self._end(slot)
            else:
                slot.give(song)

    def close(self) -> None:
        """End all processes, those that have a song after they have removed what they began."""
        for slot in self._slots:
            slot.stop()
        until = time.monotonic() + _GRACE
        for slot in self._slots:
            slot.child.ended(max(0.0, until - time.monotonic()))
            slot.child.close()


class _Slot:
    """A process and the song that it has; quiet: seconds since it was heard of."""

    def __init__(self, arguments: tuple[Any, ...], song: Assigned) -> None:
        self.child = Child(main, *arguments, name="separation")
        self.begun = False
        self.give(song)

    def give(self, song: Assigned) -> None:
        """Give the process a song; that it has died shows when it is asked for the answer."""
        self.song, self.length, self.quiet = song, 0.0, 0.0
        with suppress(ChildDied):
            self.child.send(song.entry)

    def stop(self) -> None:
        """Ask the process to end."""
        with suppress(ChildDied):
            self.child.send(Stop())


_CRASHES = {
    getattr(signal, name)
    for name in ("SIGSEGV", "SIGABRT", "SIGILL", "SIGBUS", "SIGFPE")
    if hasattr(signal, name)
}


def _loss(death: ChildDied) -> Loss:
    """The kernel ends a process with SIGKILL where memory runs out; a crash has other signals."""
    if death.code == -getattr(signal, "SIGKILL", 9):
        return Loss(death.how, "memory")
    return Loss(death.how, "crash" if -(death.code or 0) in _CRASHES else "unknown")


class _Guard:
    """Finds processes that have to be ended before they harm others."""

    def __init__(self, memory: int | None, processes: int, patience: float) -> None:
        self._memory, self._processes, self._patience = memory, processes, patience
        self._looked = time.monotonic()

    def look(self, slots: list[_Slot]) -> Iterator[tuple[_Slot, Record]]:
        """Processes to end, and what becomes of their songs; looks at them now and then."""
        passed = time.monotonic() - self._looked
        if passed < _LOOK:
            return
        self._looked += passed
        for slot in slots:
            slot.quiet += min(passed, 5 * _LOOK)  # a run that was itself suspended heard nobody
        quiet = [slot for slot in slots if slot.quiet > self._bound(slot)]
        for slot in quiet:
            yield slot, given_up(slot.song, slot.quiet)
        yield from self._hungry([slot for slot in slots if slot not in quiet])

    def _bound(self, slot: _Slot) -> float:
        return self._patience + slot.length if slot.begun else PATIENCE

    def _hungry(self, slots: list[_Slot]) -> Iterator[tuple[_Slot, Record]]:
        held = [(held_memory(slot.child.pid or 0) or 0, slot) for slot in slots]
        if self._memory is not None:
            for amount, slot in held:
                if amount > self._memory:
                    sentence = (
                        f"{slot.song.entry.shown} takes more than the {_gigabytes(self._memory)} "
                        "of memory that a process may: choose a shorter --segment or a larger "
                        "--memory."
                    )
                    yield slot, failed(slot.song, sentence)
            return
        machine = machine_memory()
        if machine is None or not machine.is_short or not held:
            return
        amount, slot = max(held, key=lambda one: one[0])
        if amount > machine.total / self._processes:
            sentence = (
                f"{slot.song.entry.shown} took {_gigabytes(amount)} when this machine's memory "
                "ran out, more than its share: choose a shorter --segment or fewer --jobs."
            )
            yield slot, failed(slot.song, sentence)


def _gigabytes(amount: int) -> str:
    return f"{amount / GIGABYTE:.3g} GB"


def main(pipe: Connection, pickled: bytes, share: int, temporary: Path | None) -> None:
    """The process: songs in, what became of them out. pickled: the work. share: its cores."""
    warnings.simplefilter("ignore", AudioWarning)
    take_share(share)
    work: Work = pickle.loads(pickled)  # only now: what it imports reads the environment
    stop, at_work = threading.Event(), threading.Event()

    def halt() -> None:
        stop.set()
        if not at_work.is_set():
            os._exit(0)  # there is nothing to remove

    def urgent(message: object) -> bool:
        if isinstance(message, Stop):
            halt()
        return isinstance(message, Stop)

    # batch systems send it to all processes of a job
    signal.signal(signal.SIGTERM, lambda number, frame: halt())
    messages = Messages(pipe, urgent)
    if temporary is not None:
        tempfile.tempdir = str(temporary)
    try:
        do = work.begin()
    except StemwiseError as error:
        messages.send(Refused(str(error)))
        return
    messages.send(Begun())
    while True:
        entry = messages.next()
        at_work.set()
        if stop.is_set():
            return
        record = attempt(do, entry, _told(messages), stop)
        at_work.clear()  # before the look at `stop`, as `halt` has them the other way round
        if stop.is_set():
            return
        messages.send(record)


def _told(messages: Messages) -> Callable[[float, float | None], None]:
    last = 0.0

    def tell(done: float, total: float | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _TOLD_EVERY:
            last = now
            messages.send(Told(done, total))

    return tell
