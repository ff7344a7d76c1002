"""The jobs of a studio: a record each, the queue, and the database that outlives the server.

Reading never touches the disk: records are in memory and written through to SQLite whenever
something other than progress changes. All methods may be called from any thread.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from stemwise.studio.settings import StudioError

State = Literal["queued", "running", "done", "failed", "cancelled"]
ENDED = ("done", "failed", "cancelled")
_VERSION = 1
_LISTS = ("stems", "warnings")
ATTEMPTS = 2
"""How often a job is begun when the server dies in the middle of it."""


@dataclass(frozen=True)
class Job:
    """A song on its way to stems. Times are seconds since 1970, sizes bytes.

    stems: those that are wanted, all of the model's or some. queued: its place in the queue goes by
    this time. attempts: how often it was begun without coming to an end.
    """

    id: str
    name: str
    model: str
    stems: tuple[str, ...]
    gate: str
    created: float
    queued: float
    state: State = "queued"
    started: float | None = None
    finished: float | None = None
    expires: float | None = None
    seconds_done: float = 0.0
    seconds_total: float | None = None
    speed: float | None = None
    progress: float | None = None
    error: str | None = None
    warnings: tuple[str, ...] = ()
    attempts: int = 0
    size: int = 0


Listener = Callable[["Job | None", str], None]
"""Called with a changed job, or with None and the id of one that was removed."""
_log = logging.getLogger("stemwise.studio")
_COLUMNS = tuple(one.name for one in fields(Job))


class Jobs:
    """All jobs by id, oldest first; `take` gives the next of the queue."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self._lock = threading.RLock()
        self._waiting = threading.Condition(self._lock)
        self._listeners: list[Listener] = []
        self._closed = False
        try:
            self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._prepare(path)
            self._jobs = {job.id: job for job in self._read()}
        except (sqlite3.Error, ValueError, TypeError) as error:
            raise StudioError(
                f"The list of jobs {path} cannot be read ({error}): move it away to start anew."
            ) from error

    def _prepare(self, path: Path) -> None:
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        [version] = self._database.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise StudioError(
                f"The list of jobs {path} is from another version of stemwise: use that one, or "
                "choose another folder."
            )
        columns = ", ".join(_COLUMNS[1:])
        self._database.execute(f"CREATE TABLE IF NOT EXISTS job (id TEXT PRIMARY KEY, {columns})")
        self._database.execute(f"PRAGMA user_version={_VERSION}")

    def _read(self) -> list[Job]:
        found = self._database.execute(f"SELECT {', '.join(_COLUMNS)} FROM job ORDER BY created")
        return [_job(dict(zip(_COLUMNS, row, strict=True))) for row in found]

    def listen(self, listener: Listener) -> None:
        """Tell `listener` of every change, in the thread that makes it."""
        self._listeners.append(listener)

    def all(self) -> list[Job]:
        """Every job, oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def get(self, id: str) -> Job | None:
        """The job of an id."""
        return self._jobs.get(id)

    def queue(self) -> list[Job]:
        """The jobs that wait, next first."""
        with self._lock:
            waiting = [job for job in self._jobs.values() if job.state == "queued"]
        return sorted(waiting, key=lambda job: job.queued)

    def position(self, job: Job) -> int | None:
        """Place in the queue, 1 for the next; None for a job that does not wait."""
        if job.state != "queued":
            return None
        with self._lock:
            ahead = (one.queued for one in self._jobs.values() if one.state == "queued")
            return 1 + sum(queued < job.queued for queued in ahead)

    def add(self, job: Job) -> Job:
        """Append a job to the queue. Raises sqlite3.Error where it cannot be kept."""
        with self._waiting:
            self._write(job)
            self._jobs[job.id] = job
            self._waiting.notify()
        self._tell(job)
        return job

    def change(self, id: str, *, only: tuple[State, ...] = (), **changes: Any) -> Job | None:
        """Change a job and keep it; None where it is gone or in none of the states `only`."""
        with self._waiting:
            before = self._jobs.get(id)
            if before is None or (only and before.state not in only):
                return None
            job = self._jobs[id] = replace(before, **changes)
            try:
                self._write(job)
            except sqlite3.Error as error:
                # the work goes on; what is not written is found in its old state after a restart
                _log.warning("The list of jobs cannot be written: %s", error)
            if job.state == "queued":
                self._waiting.notify()
        self._tell(job)
        if before.state == "queued" != job.state:
            self._tell_queue()
        return job

    def follow(self, id: str, **progress: Any) -> None:
        """Note the progress of a running job, in memory only."""
        with self._lock:
            before = self._jobs.get(id)
            if before is None or before.state != "running":
                return
            job = self._jobs[id] = replace(before, **progress)
        self._tell(job)

    def remove(self, id: str) -> Job | None:
        """Forget a job; returns what it was."""
        with self._lock:
            job = self._jobs.pop(id, None)
            if job is None:
                return None
            self._database.execute("DELETE FROM job WHERE id = ?", (id,))
        for listener in self._listeners:
            listener(None, id)
        if job.state == "queued":
            self._tell_queue()
        return job

    def take(self) -> Job | None:
        """Wait for the next job and mark it as running; None when the studio closes."""
        with self._waiting:
            while not self._closed:
                waiting = self.queue()
                if waiting:
                    job = waiting[0]
                    taken = self.change(
                        job.id,
                        state="running",
                        started=self.clock(),
                        finished=None,
                        progress=0.0,
                        seconds_done=0.0,
                        speed=None,
                        error=None,
                        warnings=(),
                        attempts=job.attempts + 1,
                    )
                    if taken is not None:
                        return taken
                else:
                    self._waiting.wait()
        return None

    def recover(self) -> None:
        """After a start: queue what the last server left unfinished, or fail it clearly."""
        for job in self.all():
            if job.state != "running":
                continue
            if job.attempts < ATTEMPTS:
                self.change(job.id, state="queued", started=None, progress=None, speed=None)
            else:
                self.change(
                    job.id,
                    state="failed",
                    finished=self.clock(),
                    progress=None,
                    error=f"The studio stopped {ATTEMPTS} times in the middle of this song: it may "
                    "need more memory than there is; try it again or choose another model.",
                )

    def stop(self) -> None:
        """Let every `take` return None."""
        with self._waiting:
            self._closed = True
            self._waiting.notify_all()

    def close(self) -> None:
        """Close the database."""
        self.stop()
        with self._lock:
            self._database.close()

    def _write(self, job: Job) -> None:
        values = {
            name: json.dumps(value) if name in _LISTS else value
            for name, value in asdict(job).items()
        }
        places = ", ".join("?" * len(_COLUMNS))
        self._database.execute(
            f"INSERT OR REPLACE INTO job ({', '.join(_COLUMNS)}) VALUES ({places})",
            [values[name] for name in _COLUMNS],
        )

    def _tell(self, job: Job) -> None:
        for listener in self._listeners:
            listener(job, job.id)

    def _tell_queue(self) -> None:
        for job in self.queue():
            self._tell(job)


def _job(row: dict[str, Any]) -> Job:
    values: dict[str, Any] = {
        name: tuple(json.loads(value)) if name in _LISTS else value for name, value in row.items()
    }
    return Job(**values)
