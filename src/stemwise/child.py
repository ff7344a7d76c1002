"""A process beside this one: what may crash, or keeps the interpreter busy, happens there.

Parent and child exchange small pickled messages over a pipe. The child ends by itself when the
pipe closes, however the server ended, so that no orphan is left.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any


class ChildDied(Exception):  # noqa: N818  # the parent's code decides what it means
    """The child ended without being asked to; `how` says it in words, `code` as in waitpid."""

    def __init__(self, code: int | None) -> None:
        self.code = code
        self.how = _how(code)
        super().__init__(self.how)


def _how(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit status {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Processes begun in here never hear of Ctrl-C, which reaches all of a terminal."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Child:
    """A process that runs `target(connection, *arguments)`; a new interpreter, not a fork."""

    def __init__(self, target: Callable[..., None], *arguments: Any, name: str) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=target, args=(theirs, *arguments), name=name, daemon=True
        )
        with _no_interrupts():
            self._process.start()
        theirs.close()

    @property
    def connection(self) -> Connection:
        """To wait for answers of several children with `multiprocessing.connection.wait`."""
        return self._pipe

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self._process.pid

    def send(self, message: object) -> None:
        """Send a message. Raises ChildDied."""
        try:
            self._pipe.send(message)
        except OSError as error:
            raise self._died() from error

    def receive(self, timeout: float) -> Any:
        """The next message, or None after `timeout` seconds. Raises ChildDied."""
        try:
            return self._pipe.recv() if self._pipe.poll(timeout) else None
        except (EOFError, OSError) as error:
            raise self._died() from error

    def ended(self, timeout: float) -> bool:
        """Whether it ends by itself within `timeout` seconds."""
        self._process.join(timeout)
        return not self._process.is_alive()

    def close(self, grace: float = 0.0) -> None:
        """End it; `grace`: seconds in which it may end by itself."""
        self._pipe.close()
        if grace:
            self._process.join(grace)
        if self._process.is_alive():
            self._process.kill()
        self._process.join()

    def _died(self) -> ChildDied:
        self._process.join(5)
        return ChildDied(self._process.exitcode)


class Messages:
    """The child's side: messages are read in a thread, so that some can interrupt the work.

    urgent: called in that thread with every message; True when it needs no other treatment. The
    process ends at once when the parent has gone.
    """

    def __init__(self, pipe: Connection, urgent: Callable[[Any], bool] | None = None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it could not be blocked
        self._pipe, self._urgent = pipe, urgent or (lambda message: False)
        self._queue: list[Any] = []
        self._ready = threading.Condition()
        self._sending = threading.Lock()
        threading.Thread(target=self._read, name="messages", daemon=True).start()

    def next(self) -> Any:
        """Wait for the next message."""
        with self._ready:
            while not self._queue:
                self._ready.wait()
            return self._queue.pop(0)

    def send(self, message: object) -> None:
        """Answer; ends the process where nobody listens any more."""
        try:
            with self._sending:
                self._pipe.send(message)
        except OSError:
            os._exit(0)

    def _read(self) -> None:
        while True:
            try:
                message = self._pipe.recv()
            except (EOFError, OSError):
                os._exit(0)  # the parent has gone, and nothing here is worth finishing
            if not self._urgent(message):
                self._put(message)

    def _put(self, message: object) -> None:
        with self._ready:
            self._queue.append(message)
            self._ready.notify()
