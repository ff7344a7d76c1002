"""How long a run waits for what is not on its own disks: bounded, whatever the other side does.

An attempt that makes no progress for `STALL` seconds is given up, and errors that may pass are
given a few attempts, so that a song costs minutes at worst and the songs after it are done.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from stemwise.catalogue.redaction import redacted
from stemwise.errors import Cancelled, CatalogueError

ATTEMPTS = 4
PAUSE = 0.5
"""Seconds before the second attempt; every further one waits twice as long."""
STALL = 60.0
"""Seconds without a byte after which an attempt is given up."""
_LOOK = 0.2

Result = TypeVar("Result")
Alive = Callable[..., None]
"""Told by an attempt whenever it has got on; `seconds` it may take to its next call, if more."""


class _Stalled(Exception):  # noqa: N818  # never leaves this module
    """Nothing came any more."""


def patiently(
    attempt: Callable[[Alive], Result], place: str, cancel: threading.Event | None = None
) -> Result:
    """What `attempt` gives, a call that reads or writes a URL.

    Raises CatalogueError, in one sentence that names the place, and Cancelled soon after `cancel`
    is set.
    """
    place = redacted(place)
    for number in range(1, ATTEMPTS + 1):
        try:
            return _watched(attempt, place, cancel)
        except (CatalogueError, Cancelled):
            raise
        except Exception as error:  # every file system has errors of its own
            _refuse(error, place)
            if number == ATTEMPTS:
                raise CatalogueError(
                    f"{place} cannot be reached ({_reason(error)}): try again later."
                ) from error
        if (cancel or threading.Event()).wait(PAUSE * 2 ** (number - 1)):
            raise Cancelled(f"{place} was stopped.")
    raise AssertionError


def _watched(
    attempt: Callable[[Alive], Result], place: str, cancel: threading.Event | None
) -> Result:
    """Run an attempt in a thread of its own, which is left to itself when it stalls."""
    end = time.monotonic() + STALL
    left = threading.Event()
    result: Future[Result] = Future()

    def alive(seconds: float = 0.0) -> None:
        nonlocal end
        if left.is_set():
            raise _Stalled
        end = time.monotonic() + max(STALL, seconds)

    def run() -> None:
        try:
            result.set_result(attempt(alive))
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, name="transfer", daemon=True).start()
    try:
        while not wait([result], _LOOK).done:
            if cancel is not None and cancel.is_set():
                raise Cancelled(f"{place} was stopped.")
            if time.monotonic() > end:
                raise _Stalled(f"nothing came for {STALL:g} s")
    finally:
        left.set()
    return result.result()


def _refuse(error: BaseException, place: str) -> None:
    """Raise CatalogueError for what waiting does not mend."""
    error = _meant(error)
    status = getattr(error, "status", None)
    if status in (404, 410) or isinstance(error, FileNotFoundError):
        raise CatalogueError(f"There is no file {place}.") from error
    if status in (401, 403) or isinstance(error, PermissionError):
        raise CatalogueError(
            f"{place} may not be read or written: check its permissions, and the credentials."
        ) from error
    if "credentials" in str(error).lower():
        raise CatalogueError(f"{place} needs credentials ({_reason(error)}).") from error
    lasting = status is not None and 400 <= status < 500 and status not in (408, 425, 429)
    if lasting or isinstance(error, NotImplementedError):
        raise CatalogueError(f"{place} cannot be used ({_reason(error)}).") from error


def _meant(error: BaseException) -> BaseException:
    """The error itself; fsspec says that a file is not there whatever a web server answered."""
    cause = error.__cause__
    if not isinstance(error, FileNotFoundError) or cause is None:
        return error
    asked = type(cause).__module__.partition(".")[0] in ("aiohttp", "asyncio", "builtins")
    return cause if asked else error


def _reason(error: BaseException) -> str:
    error = _meant(error)
    if isinstance(getattr(error, "status", None), int):
        return f"{error.status} {getattr(error, 'message', '')}".strip()  # type: ignore[attr-defined]
    # without what is for programmers
    text = re.sub(r"^\[Errno -?\d+\] ", "", str(error).partition("\n")[0].partition(": <")[0])
    return redacted(text) or type(error).__name__
