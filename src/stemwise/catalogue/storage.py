"""Files wherever they are: on disks, and behind every URL that fsspec knows.

What is fetched or published goes through a file on a local disk, in blocks. A published file
appears whole or not at all: object stores put a file only when it is whole, and on other systems
it gets its name at the end.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import unquote, urlsplit

from stemwise.errors import CatalogueError

ATTEMPTS = 4
PAUSE = 0.5
"""Seconds before the second attempt; every further one waits twice as long."""
BLOCK = 1 << 20

Result = TypeVar("Result")


def is_url(place: str) -> bool:
    """Whether a place is a URL (`s3://songs`), and no path (`C:\\songs` neither)."""
    scheme = urlsplit(place).scheme
    return len(scheme) > 1 and place[len(scheme) :].startswith("://")


def join(folder: str, name: str) -> str:
    """A file below a folder's path or URL."""
    if is_url(folder):
        return f"{folder.rstrip('/')}/{name}"
    return str(Path(folder) / name)


@contextmanager
def opened(place: str) -> Iterator[IO[bytes]]:
    """A file to read from a path or URL; raises CatalogueError."""
    if is_url(place):
        system, path = _system(place)
        file: IO[bytes] = _patiently(lambda: system.open(path, "rb"), place)
    else:
        file = _patiently(lambda: open(place, "rb"), place)  # noqa: SIM115  # closed below
    with file:
        yield file


def fetch(source: str, folder: Path) -> Path:
    """A song as a local file: the file itself where it is one, else a copy in `folder`.

    Raises CatalogueError where it cannot be had, after four attempts if that may pass.
    """
    if not is_url(source):
        return Path(source)
    system, path = _system(source)
    target = folder / (unquote(urlsplit(source).path).rpartition("/")[2] or "song")

    def copy() -> Path:
        with system.open(path, "rb") as remote, target.open("wb") as local:
            shutil.copyfileobj(remote, local, BLOCK)
        return target

    return _patiently(copy, source)


def publish(file: Path, target: str) -> None:
    """Put a local file where a URL says, whole or not at all; raises CatalogueError."""
    system, path = _system(target)

    def put() -> None:
        folder = path.rpartition("/")[0]
        with suppress(NotImplementedError):  # object stores have no folders
            system.makedirs(folder, exist_ok=True)
        if _shows_parts(system):
            part = f"{path}.{os.getpid()}.part"
            system.put_file(str(file), part)
            system.mv(part, path)
        else:
            system.put_file(str(file), path)

    _patiently(put, target)


def _shows_parts(system: Any) -> bool:
    """Whether others see a file that is being written."""
    protocols = system.protocol if isinstance(system.protocol, tuple) else (system.protocol,)
    return bool({"file", "local", "sftp", "ftp", "smb", "hdfs"} & set(protocols))


def find_files(folder: str, pattern: str | None = None) -> list[tuple[str, str]]:
    """Files below a URL, or those that a pattern finds, sorted: path below it, and URL.

    Raises CatalogueError.
    """
    system, root = _system(folder)
    if pattern is None:
        found = _patiently(lambda: system.find(root), folder)
    else:
        matches = _system(pattern)[1]
        found = _patiently(lambda: system.glob(matches), pattern)
        found = [path for path in found if not system.isdir(path)]
    cut = len(root.rstrip("/")) + 1
    return [(path[cut:], _url(system, path)) for path in sorted(found)]


def _url(system: Any, path: str) -> str:
    return path if is_url(path) else str(system.unstrip_protocol(path))


def _system(place: str) -> tuple[Any, str]:
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(place)
    except (ImportError, ValueError) as error:
        scheme = urlsplit(place).scheme
        raise CatalogueError(
            f"{place} cannot be reached: {scheme}:// is unknown here, or needs a package of its "
            f"own ({error})."
        ) from error
    return system, str(path)


def _patiently(attempt: Callable[[], Result], place: str) -> Result:
    """What `attempt` gives; errors that may pass are given time to. Raises CatalogueError."""
    for number in range(1, ATTEMPTS + 1):
        try:
            return attempt()
        except FileNotFoundError as error:
            raise CatalogueError(f"There is no file {place}.") from error
        except PermissionError as error:
            raise CatalogueError(
                f"{place} may not be read or written: check its permissions."
            ) from error
        except Exception as error:  # every file system has errors of its own
            if number == ATTEMPTS or not is_url(place):
                reason = str(error).partition("\n")[0] or type(error).__name__
                raise CatalogueError(
                    f"{place} cannot be reached ({reason}): try again later."
                ) from error
            time.sleep(PAUSE * 2 ** (number - 1))
    raise AssertionError
