"""Stages of one work that go on at the same time: a song is decoded, computed and encoded at once.

Threads, because what the stages spend their time in (decoders, networks, NumPy, encoders) runs
without the interpreter's lock. Between two stages there is room for a few things, and no more is
held, however much faster one of them is.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Generic, TypeVar

from typing_extensions import Self

from stemwise.cores import cores

Item = TypeVar("Item")
Call = Callable[[], object]


class ReadAhead(Generic[Item]):
    """Iterates, once, over `items` that a thread takes before they are asked for.

    Use as a context manager: leaving it ends the thread, whatever is left. ahead: of what is taken,
    so much waits; 0: items are taken as they are asked for, without a thread. What `items` raises
    is raised where the item would have come.
    """

    def __init__(self, items: Iterable[Item], ahead: int) -> None:
        self._items = iter(items)
        self._error: BaseException | None = None
        self._taken: _Passage[Item] = _Passage(ahead)
        self._thread = threading.Thread(target=self._run, name="read ahead", daemon=True)
        self._ahead = ahead > 0

    def __enter__(self) -> Self:
        if self._ahead:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._taken.close()
        if self._ahead:
            self._thread.join()

    def __iter__(self) -> Iterator[Item]:
        yield from self._taken if self._ahead else self._items
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            for item in self._items:
                if not self._taken.put(item):
                    return
        except BaseException as error:  # belongs to whoever iterates
            self._error = error
        self._taken.end()


class WriteBehind:
    """Makes calls one after another in a thread, while the caller goes on.

    Use as a context manager: leaving it drops the calls that wait, and returns when the one that is
    being made has ended. behind: so many calls wait; 0: each is made at once, without a thread.
    After one has failed, none is made any more, and `do` or `finish` raises what it raised.
    """

    def __init__(self, behind: int) -> None:
        self._error: BaseException | None = None
        self._calls: _Passage[Call] = _Passage(behind)
        self._thread = threading.Thread(target=self._run, name="write behind", daemon=True)
        self._behind = behind > 0

    def __enter__(self) -> Self:
        if self._behind:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._calls.close()
        if self._behind:
            self._thread.join()

    def do(self, call: Call) -> None:
        """Have a call made; waits while too many do."""
        if not self._behind:
            call()
        elif not self._calls.put(call) and self._error is not None:
            raise self._error

    def finish(self) -> None:
        """Wait until all calls have been made."""
        self._calls.end()
        if self._behind:
            self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            for call in self._calls:
                call()
        except BaseException as error:  # belongs to whoever asked for the call
            self._error = error
            self._calls.close()


def at_once(calls: Sequence[Call], failed: threading.Event | None = None) -> None:
    """Make calls at the same time, as many as there are cores; returns when all have ended.

    Raises what one of them raised; then `failed` is set, which the others may heed.
    """
    failed = failed or threading.Event()
    threads = ThreadPoolExecutor(max(1, min(len(calls), cores())), "at once")
    try:
        made = [threads.submit(call) for call in calls]
        ended, _ = wait(made, return_when=FIRST_EXCEPTION)
        errors = [error for one in ended if (error := one.exception()) is not None]
        if errors:
            raise errors[0]
    except BaseException:
        failed.set()
        raise
    finally:
        threads.shutdown(wait=True, cancel_futures=True)


class _Passage(Generic[Item]):
    """What one thread hands to another, in order, with room for a few."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._items: deque[Item] = deque()
        self._ended = False
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: Item) -> bool:
        """Hand over, when there is room; False where nobody takes any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._room)
            if not self._closed:
                self._items.append(item)
                self._changed.notify_all()
            return not self._closed

    def end(self) -> None:
        """Nothing comes any more; what is here is still taken."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody takes any more; what is here is dropped."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[Item]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._ended or self._closed)
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item
