"""What became of every song of a run: a file that only grows, one JSON object a line.

The first line says what the run does (`terms`); every other one that a song is done or failed. A
line is on the disk before the run goes on, and written after the results have their names, so that
whatever is killed, a song counts as done only where its results are whole, and is done again where
that is not sure. The last line of a killed run may be torn: it is cut off when the run goes on.
Order is that of the lines; times are for people and decide nothing. All this holds while the system
runs: where power fails, results of the last seconds may be lost whose lines are there, since only
the ledger is forced to the disk.

One run at a time: it holds a lock that the system takes back from whoever ends, however that was,
so that the lock's file may stay. Runs of other machines are refused where the file system has locks
for all of its machines: NFS (version 4, or 3 with its lock service), SMB, Lustre with -o flock.
Lustre with -o localflock and some FUSE systems lock for one machine only. Where there are no locks
at all, releases of filelock differ: a run is refused, or a file stands in for the lock.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from stemwise.catalogue.work import Record
from stemwise.errors import CatalogueError

NAME = "ledger.jsonl"
VERSION = 1


class Ledger:
    """The ledger of a run directory; use as a context manager, in which no other run may use it.

    terms: what the run does to each song (command, model, options), equal for all that the
    directory holds. Raises CatalogueError where another run uses the directory, where it was made
    on other terms, and for a ledger that is damaged elsewhere than at its end.
    """

    def __init__(self, directory: Path, terms: Mapping[str, Any]) -> None:
        self.path = directory / NAME
        self._terms = json.loads(json.dumps(terms))  # as it will be read back
        self._lock = FileLock(directory / f".{NAME}.lock")
        self._states: dict[str, str] = {}
        self._file = -1

    def __enter__(self) -> Ledger:
        from stemwise.stem_output import make_folder

        make_folder(self.path.parent)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise CatalogueError(
                f"Another run is at work in {self.path.parent}: wait for it, or choose another "
                "folder."
            ) from error
        except NotImplementedError as error:
            raise CatalogueError(
                f"{self.path.parent} is on a file system without locks, which keep two runs apart: "
                "choose another folder with --run."
            ) from error
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._open()
        except BaseException as error:
            self._close()
            if isinstance(error, OSError):
                raise self._unwritable(error) from error
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def state(self, id: str) -> str | None:
        """ "done", "failed" or, for a song that nothing is known of, None; the last line counts."""
        return self._states.get(id)

    def records(self) -> Iterator[Record]:
        """What became of every song, read from the disk one by one; the last line counts."""
        last: dict[str, int] = {}
        for number, content in self._lines():
            last[content["id"]] = number
        for number, content in self._lines():
            if last[content["id"]] == number:
                yield Record(*(content[key] for key in ("id", "state", "sentence", "facts")))

    def _lines(self) -> Iterator[tuple[int, dict[str, Any]]]:
        with self.path.open("rb") as file:
            next(file)  # the terms
            yield from enumerate(map(json.loads, file))

    def add(self, record: Record) -> None:
        """Append what became of a song; on the disk when this returns. Raises CatalogueError."""
        self._write({**asdict(record), "time": _now()})
        self._states[record.id] = record.state

    def _open(self) -> None:
        whole = 0
        if self.path.exists():
            whole = self._read()
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.ftruncate(self._file, whole)
        if not whole:
            self._write({"ledger": VERSION, "terms": self._terms, "time": _now()})
            _keep_names(self.path.parent)

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._lock.release()

    def _read(self) -> int:
        """Take in the lines that are there; returns the bytes of those that are whole."""
        whole = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break  # torn by the end of the run that wrote it
                try:
                    content = json.loads(line)
                    if number == 1:
                        self._check(content)
                    else:
                        self._states[content["id"]] = content["state"]
                except (ValueError, KeyError, TypeError) as error:
                    raise CatalogueError(
                        f"{self.path}, line {number} is damaged: remove that line, and its song "
                        "is done again."
                    ) from error
                whole += len(line)
        return whole

    def _check(self, head: Mapping[str, Any]) -> None:
        if head["ledger"] != VERSION:
            raise CatalogueError(
                f"{self.path} was written by another version of stemwise: choose another folder."
            )
        there = head["terms"]
        for key in sorted({*there, *self._terms}):
            if there.get(key) != self._terms.get(key):
                raise CatalogueError(
                    f"{self.path.parent} holds results with {key} {_shown(there.get(key))}, not "
                    f"{_shown(self._terms.get(key))}: choose another folder, or the same options."
                )

    def _write(self, content: Mapping[str, Any]) -> None:
        text = json.dumps(content, ensure_ascii=False) + "\n"
        rest = memoryview(text.encode("utf-8", "surrogatepass"))  # names of files may be no text
        start = os.fstat(self._file).st_size
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError as error:
            with suppress(OSError):  # a torn line is cut off when the run goes on
                os.ftruncate(self._file, start)
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> CatalogueError:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "free some space" if full else "see to it, or choose another folder,"
        return CatalogueError(
            f"{self.path} cannot be written ({error.strerror}): {remedy} and start the same "
            "command again; what is done stays done."
        )


def _keep_names(folder: Path) -> None:
    """Have the names of new files in a folder on the disk, where the system can do that."""
    with suppress(OSError):  # not of Windows, which has no handles of folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _shown(value: Any) -> str:
    return "left out" if value is None else json.dumps(value, ensure_ascii=False)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
