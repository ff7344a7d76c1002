"""What is done to each song of a run, wherever it is done.

A `Work` is pickled and sent to the processes that do it. There it begins once, which makes ready
what it needs, and then takes songs one after another.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from stemwise.catalogue.redaction import redacted
from stemwise.errors import Cancelled, StemwiseError

if TYPE_CHECKING:
    from stemwise.catalogue.entries import Entry
    from stemwise.separation import Progress

Facts = Mapping[str, Any]
"""What there is to say of a song that is done, as plain data."""
Do = Callable[["Entry", "Progress", threading.Event], Facts]
"""Does a song, unless the event says stop; raises StemwiseError where it fails."""


@dataclass(frozen=True)
class Record:
    """What became of a song; `facts` are what the work says of it (length, files, seconds)."""

    id: str
    state: Literal["done", "failed"]
    sentence: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


class Work(Protocol):
    """What is done to every song."""

    def begin(self) -> Do:
        """Make ready, once in each process."""

    def staged(self, folder: Path) -> Work:
        """The same work, which writes files in `folder` before they get their names."""

    def terms(self) -> dict[str, Any]:
        """What it does, as plain data: equal for results that may lie side by side."""


def failure_sentence(song: str, error: Exception) -> str:
    """What to say of a song that came to nothing."""
    if isinstance(error, Cancelled):
        return f"{song} was stopped."
    if isinstance(error, (StemwiseError, OSError)):
        return str(error)
    if isinstance(error, MemoryError):
        return f"There is not enough memory for {song}: choose a shorter --segment or fewer --jobs."
    # a defect of the program, whose place matters more than its sentence
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}:{where.lineno}"
    return f"{song} failed unexpectedly at {place} ({type(error).__name__}: {error})."


def attempt(do: Do, entry: Entry, progress: Progress, cancel: threading.Event) -> Record:
    """Do a song; whatever is wrong with it becomes its sentence."""
    started = time.perf_counter()
    facts: Facts = {}
    sentence = None
    try:
        facts = do(entry, progress, cancel)
    except Exception as error:
        sentence = redacted(failure_sentence(entry.source, error))
    elapsed = round(time.perf_counter() - started, 3)
    state: Literal["done", "failed"] = "done" if sentence is None else "failed"
    return Record(entry.id, state, sentence, {**facts, "elapsed": elapsed})
