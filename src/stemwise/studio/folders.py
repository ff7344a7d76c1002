"""Where a studio keeps things: a folder per job with fixed names, and nothing from clients in any.

data/studio.sqlite3              the list of jobs
data/studio.lock                 held while a server uses the folder
data/incoming/ID                 uploads that are still arriving
data/jobs/ID/upload              the song as it came
data/jobs/ID/work/               a separation that is going on
data/jobs/ID/masters/            float32 stems and mixture, activity, what there is to say
data/jobs/ID/made/               downloads, pictures and pages that were made from the masters
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from stemwise.studio.names import is_id
from stemwise.studio.settings import StudioError


class Folders:
    """The folders of one studio; made when they are missing."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.incoming, self.jobs = data / "incoming", data / "jobs"
        try:
            for folder in (data, self.incoming, self.jobs):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StudioError(
                f"Nothing can be kept in {data} ({error.strerror}): choose another --data."
            ) from error

    @property
    def database(self) -> Path:
        """The list of jobs."""
        return self.data / "studio.sqlite3"

    def arriving(self, id: str) -> Path:
        """An upload that is not whole yet."""
        return self.incoming / _checked(id)

    def job(self, id: str) -> Path:
        """The folder of a job."""
        return self.jobs / _checked(id)

    def upload(self, id: str) -> Path:
        """The song of a job as it was uploaded."""
        return self.job(id) / "upload"

    def work(self, id: str) -> Path:
        """Results that are being made."""
        return self.job(id) / "work"

    def masters(self, id: str) -> Path:
        """Results of a job that is done."""
        return self.job(id) / "masters"

    def made(self, id: str) -> Path:
        """What was made from the masters, and can be made again."""
        return self.job(id) / "made"

    def remove(self, id: str) -> None:
        """Remove everything of a job."""
        shutil.rmtree(self.job(id), ignore_errors=True)

    def tidy(self, known: set[str]) -> None:
        """Remove what a server that was killed left: partial uploads, half results, strangers."""
        for path in self.incoming.iterdir():
            _remove(path)
        for folder in self.jobs.iterdir():
            if folder.name not in known:
                _remove(folder)
                continue
            _remove(folder / "work")
            if not (folder / "made").is_dir():
                continue
            for path in (folder / "made").rglob(".*"):
                _remove(path)

    def size(self, id: str) -> int:
        """Bytes of a job's files."""
        return size(self.job(id))

    def free(self) -> int:
        """Bytes that are free on the disk."""
        return shutil.disk_usage(self.data).free

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the folder for this process. Raises StudioError where another server has it."""
        path = self.data / "studio.lock"
        try:
            file = path.open("ab")
        except OSError as error:
            raise StudioError(f"{path} cannot be written ({error.strerror}).") from error
        with file:
            if not _locked(file):
                raise StudioError(
                    f"Another studio uses {self.data}: open that one, or choose another --data."
                )
            yield


def size(folder: Path) -> int:
    """Bytes of the files below a folder; files that vanish meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*"):
        try:
            if path.is_file():
                total += path.stat().st_size
        except OSError:
            continue
    return total


def _checked(id: str) -> str:
    # the last line of defence: ids are checked where they come in
    if not is_id(id):
        raise ValueError(f"{id!r} is no id of a job")
    return id


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        path.unlink()


def _locked(file: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
