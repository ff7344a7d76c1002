"""Threads over independent pieces of work; every piece is the same whatever their number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from threadpoolctl import threadpool_limits

from stemwise.cores import cores

T = TypeVar("T")


class Workers:
    """`threads` threads; BLAS is kept to one thread inside, or small products would fight."""

    def __init__(self, threads: int, pool: ThreadPoolExecutor | None) -> None:
        self.threads, self._pool = threads, pool

    def each(self, work: Callable[[T], None], pieces: Iterable[T]) -> None:
        """Call `work` once with every piece, in no particular order."""
        if self._pool is None:
            for piece in pieces:
                work(piece)
        else:
            for _ in self._pool.map(work, pieces):  # an exception in a thread is raised here
                pass

    def ahead(self, items: Iterable[T]) -> Iterator[T]:
        """The items, the next of which is made by a thread while one is worked on."""
        if self._pool is None:
            yield from items
            return
        coming = iter(items)
        following = self._pool.submit(_next, coming)
        while (found := following.result()) is not None:
            following = self._pool.submit(_next, coming)
            yield found[0]


def _next(items: Iterator[T]) -> tuple[T] | None:
    """The next item, None at the end."""
    for item in items:
        return (item,)
    return None


@contextmanager
def workers(threads: int | None) -> Iterator[Workers]:
    """Threads for one evaluation (None: one per CPU this process may use)."""
    count = cores() if threads is None else threads
    if count < 1:
        raise ValueError("an evaluation needs at least one thread")
    with threadpool_limits(limits=1, user_api="blas"):
        if count == 1:
            yield Workers(1, None)
            return
        with ThreadPoolExecutor(count, thread_name_prefix="stemwise-evaluation") as pool:
            yield Workers(count, pool)
