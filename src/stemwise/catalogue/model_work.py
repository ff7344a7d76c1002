"""What all works have in common that run a model over songs."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from stemwise.catalogue.entries import Entry
from stemwise.catalogue.storage import fetch
from stemwise.catalogue.work import Do, Facts
from stemwise.errors import StemwiseError
from stemwise.evaluation.spool import spool_folder

if TYPE_CHECKING:
    from stemwise.models import Separator
    from stemwise.separation import Engine, Options, Progress

Same = TypeVar("Same", bound="ModelWork")


@dataclass(frozen=True)
class ModelWork(ABC):
    """A work that begins with a model. model: name or checkpoint. options: of the engine."""

    model: str
    options: Options

    def begin(self, separator: Separator | None = None) -> Do:
        """Load the model, unless it is given; an engine of its own for each thread."""
        from stemwise import models
        from stemwise.separation import Engine

        return partial(self.do, Engine(separator or models.load(self.model), self.options))

    def staged(self: Same, folder: Path) -> Same:
        """The same work: what it writes is small, and gets its name when it is whole."""
        return self

    @abstractmethod
    def terms(self) -> dict[str, Any]:
        """What it does, as plain data: equal for results that may lie side by side."""

    @abstractmethod
    def do(
        self, engine: Engine, entry: Entry, progress: Progress, cancel: threading.Event
    ) -> Facts:
        """Do a song; raises StemwiseError."""


@contextmanager
def at_hand(
    entry: Entry,
    cancel: threading.Event,
    bring: Callable[[str, Path, threading.Event], Path] = fetch,
) -> Iterator[Path]:
    """The song as a local file, removed at the end where it was fetched.

    Errors that name the copy name the song instead. bring: `fetch`, or what raises the same.
    """
    if not entry.is_remote:
        yield bring(entry.source, Path(), cancel)
        return
    with spool_folder() as folder:
        song = bring(entry.source, folder, cancel)
        try:
            yield song
        except StemwiseError as error:
            raise type(error)(named(str(error), song, entry)) from error


def named(text: str, song: Path, entry: Entry) -> str:
    """A sentence on a song's local copy, as one on the song."""
    return text.replace(str(song), entry.shown)
