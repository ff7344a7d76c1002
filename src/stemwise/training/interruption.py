"""Ctrl-C and SIGTERM as a request that is met between two steps."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SENTENCE = b"\nstopping after this step and a checkpoint; once more stops at once\n"


@contextmanager
def stop_on_signal(*, tell: bool = True) -> Iterator[threading.Event]:
    """An event set by the first Ctrl-C or SIGTERM; the second one acts at once.

    tell: whether the first one says so, since a step or a validation may take a while.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def request(number: int, frame: FrameType | None) -> None:
        stop.set()
        if tell:  # past Python's buffers, in which it may have been interrupted
            os.write(2, _SENTENCE)
        for each, handler in previous.items():
            signal.signal(each, handler)

    for each in previous:
        signal.signal(each, request)
    try:
        yield stop
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)
