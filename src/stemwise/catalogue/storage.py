"""Files wherever they are: on disks, and behind every URL that fsspec knows.

What is fetched or published goes through a file on a local disk, in blocks. A published file
appears whole or not at all: object stores put a file only when it is whole, and on other systems
it gets its name at the end.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from stemwise.catalogue.patience import STALL, Alive, patiently
from stemwise.catalogue.redaction import redacted
from stemwise.errors import CatalogueError

BLOCK = 1 << 20
SLOWEST = 50_000
"""Bytes per second at which a file is sent at least: how far sending is, no system tells."""


def is_url(place: str) -> bool:
    """Whether a place is a URL (`s3://songs`), and no path (`C:\\songs` neither)."""
    if "://" not in place:  # most places of most runs: parsing takes ten times as long
        return False
    scheme = urlsplit(place).scheme
    return len(scheme) > 1 and place[len(scheme) :].startswith("://")


def name_in(url: str) -> str:
    """The name of a URL's file or folder; web servers alone encode names, and have queries."""
    scheme, _, path = url.partition("::")[0].partition("://")
    if scheme in ("http", "https"):
        path = unquote(path.partition("?")[0].partition("#")[0])
    return path.rstrip("/").rpartition("/")[2]


def join(folder: str, name: str) -> str:
    """A file below a folder's path or URL."""
    if is_url(folder):
        return f"{folder.rstrip('/')}/{name}"
    return str(Path(folder) / name)


@contextmanager
def opened(place: str) -> Iterator[IO[bytes]]:
    """A file to read from a path or URL; raises CatalogueError."""
    with tempfile.TemporaryDirectory(prefix="stemwise-") as folder:
        path = fetch(place, Path(folder))
        try:
            file = path.open("rb")
        except FileNotFoundError as error:
            raise CatalogueError(f"There is no file {place}.") from error
        except OSError as error:
            raise CatalogueError(f"{place} cannot be read ({error.strerror}).") from error
        with file:
            yield file


def fetch(source: str, folder: Path, cancel: threading.Event | None = None) -> Path:
    """A song as a local file: the file itself where it is one, else a copy in `folder`.

    Raises CatalogueError where it cannot be had, after four attempts if that may pass, and
    Cancelled soon after `cancel` is set.
    """
    if not is_url(source):
        return Path(source)
    system, path = _system(source)
    target = folder / (name_in(source) or "song")

    def copy(alive: Alive) -> Path:
        # an attempt that was given up may still hold the file of its own
        handle, name = tempfile.mkstemp(dir=folder)
        part = Path(name)
        try:
            with open(handle, "wb") as local, system.open(path, "rb") as remote:
                while block := remote.read(BLOCK):
                    alive()
                    local.write(block)
                size = getattr(remote, "size", None)
            if size is not None and part.stat().st_size != size:
                raise OSError("it ended early")
            return part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    return patiently(copy, source, cancel)


def publish(file: Path, target: str, cancel: threading.Event | None = None) -> None:
    """Put a local file where a URL says, whole or not at all; raises as `fetch`."""
    system, path = _system(target)

    def put(alive: Alive) -> None:
        alive(STALL + file.stat().st_size / SLOWEST)
        if _shows_parts(system):
            system.makedirs(path.rpartition("/")[0], exist_ok=True)
            part = f"{path}.part"  # of no process: what is left of one is written over
            system.put_file(str(file), part)
            alive()
            system.mv(part, path)
        else:
            system.put_file(str(file), path)

    patiently(put, target, cancel)


_WHOLE = {
    *("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "tos", "oci", "hf"),
    *("http", "https", "memory"),
}
"""Protocols by which a file appears when it is whole, in folders that nobody has to make."""


def _shows_parts(system: Any) -> bool:
    """Whether others see a file that is being written."""
    protocols = system.protocol if isinstance(system.protocol, tuple) else (system.protocol,)
    return not _WHOLE & set(protocols)


def find_files(folder: str, pattern: str | None = None) -> list[tuple[str, str]]:
    """Files below a URL, or those that a pattern finds, sorted: path below it, and URL.

    Paths are decoded where URLs are encoded. Raises CatalogueError.
    """
    system, root = _system(folder)
    matches = None if pattern is None else _system(pattern)[1]

    def listed(alive: Alive) -> list[str]:
        if matches is None:
            found = list(system.find(root))
        else:
            facts = system.glob(matches, detail=True)
            found = [path for path, one in facts.items() if one.get("type") != "directory"]
        if not found:
            with suppress(FileNotFoundError):
                system.ls(root)  # says what is wrong, which the calls above hide
        return found

    found = patiently(listed, pattern or folder)
    cut = len(root.rstrip("/")) + 1
    decoded = unquote if folder.startswith("http") else str
    return [(decoded(path[cut:]), _url(system, path)) for path in sorted(found)]


def size_of(place: str) -> int | None:
    """Bytes of the file behind a URL, None where its server does not say; CatalogueError."""
    system, path = _system(place)
    size = patiently(lambda alive: system.size(path), place)
    return None if size is None else int(size)


def _url(system: Any, path: str) -> str:
    return path if is_url(path) else str(system.unstrip_protocol(path))


def _system(place: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it; raises CatalogueError."""

    def found(alive: Alive) -> tuple[Any, str]:
        import fsspec

        try:
            system, path = fsspec.core.url_to_fs(place, **_patience(place))
        except (ImportError, ValueError) as error:
            scheme = urlsplit(place).scheme
            unknown = isinstance(error, ImportError) or "not known" in str(error)
            why = f"{scheme}:// is unknown here, or needs a package of its own: " if unknown else ""
            raise CatalogueError(
                f"{redacted(place)} cannot be used ({why}{redacted(str(error))})."
            ) from error
        return system, str(path)

    return patiently(found, place)  # an archive behind a URL is looked into at once


def _patience(place: str) -> dict[str, Any]:
    """Options of file systems, by protocol: no limit to a whole file, and few attempts of theirs.

    What the user has configured goes first.
    """
    from fsspec.config import conf

    options: dict[str, Any] = {}
    if "http://" in place or "https://" in place:
        from aiohttp import ClientTimeout

        waits = ClientTimeout(total=None, sock_connect=STALL, sock_read=STALL)
        options |= {name: {"client_kwargs": {"timeout": waits}} for name in ("http", "https")}
    if "s3://" in place:
        few = {"connect_timeout": STALL, "read_timeout": STALL, "retries": {"max_attempts": 1}}
        options["s3"] = {"config_kwargs": few}
    return {
        name: {key: value for key, value in own.items() if key not in conf.get(name, {})}
        for name, own in options.items()
        if f"{name}://" in place
    }
