"""One file from the web: continued where it broke off, checked, and only then given its name.

Only the standard library, which takes proxies from the environment ($https_proxy, $no_proxy).
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException, HTTPResponse, InvalidURL
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from stemwise import __version__
from stemwise.errors import ModelError

Progress = Callable[[int, "int | None"], None]
"""Called with the bytes that are here, and with the size of the file where the server tells it."""

BLOCK = 1 << 16
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
"""Answers of a server that may be different a moment later."""
FULL = (errno.ENOSPC, errno.EDQUOT) if hasattr(errno, "EDQUOT") else (errno.ENOSPC,)


class DownloadError(ModelError):
    """Weights that could not be downloaded."""


@dataclass(frozen=True)
class Patience:
    """When to give up."""

    timeout: float = 30.0
    """Seconds in which the server sends nothing."""
    attempts: int = 4
    """Attempts in a row that bring no byte more than those before."""
    pause: float = 1.0
    """Seconds before the second attempt; each later pause is twice as long."""


PATIENCE = Patience()


class _InterruptionError(Exception):
    """An attempt that failed in a way in which the next may not."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class _Part:
    """The bytes of a file that have arrived, hidden beside its final name, and their version."""

    def __init__(self, path: Path) -> None:
        self.path = path.with_name(f".{path.name}.part")
        self._version = path.with_name(f".{path.name}.version")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def headers(self) -> dict[str, str]:
        """What asks a server for the rest of the file, or for all of it if it has changed."""
        if self.size == 0:
            return {}
        wanted = {"Range": f"bytes={self.size}-"}
        if self._version.is_file():
            wanted["If-Range"] = self._version.read_text(encoding="latin-1")
        return wanted

    def restart(self, headers: Message) -> IO[bytes]:
        """The empty part of the version that the server's headers describe."""
        file = self.path.open("wb")
        tag = headers.get("ETag") or ""
        # a weak tag does not promise the same bytes (RFC 9110, 13.1.5)
        version = tag if tag.startswith('"') else headers.get("Last-Modified")
        if version:
            self._version.write_text(version, encoding="latin-1")
        else:
            self._version.unlink(missing_ok=True)
        return file

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._version.unlink(missing_ok=True)

    def finish(self, path: Path) -> None:
        """Give the whole file its name, once its bytes are safe on the disk."""
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(self.path, path)
        self._version.unlink(missing_ok=True)


def download(
    url: str,
    path: Path,
    sha256: str = "",
    *,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> None:
    """Download one file, whole or not at all, into a folder that exists.

    sha256: hexadecimal digits with which the file's SHA-256 starts. A broken download is continued,
    also by a later call, where the server can (Range, If-Range), else it starts again; transient
    failures are tried again a few times. One process at a time may work on a path: see `exclusive`.
    Raises DownloadError, and `path` is then as it was before.
    """
    patience = PATIENCE if patience is None else patience
    if not url.lower().startswith(("https://", "http://")):
        raise DownloadError(f"Cannot download {url}: it does not start with https:// or http://.")
    part = _Part(path)
    with _disk(path, part):
        again = False
        while True:
            resumed = part.size > 0
            resumed |= _receive_all(url, part, progress, patience)
            found = digest(part.path)
            if found.startswith(sha256):
                part.finish(path)
                return
            part.remove()
            if again or not resumed:
                raise DownloadError(
                    f"{url} is not the file it should be (its SHA-256 starts with {found[:8]}, "
                    f"not {sha256}): a proxy or a mirror may have changed it, so try another "
                    "network or mirror."
                )
            again = True  # the two halves may have been of different versions


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def _receive_all(url: str, part: _Part, progress: Progress | None, patience: Patience) -> bool:
    """Bring the whole file into `part`; returns whether that took more than one attempt."""
    opener = build_opener(_Redirects)
    failures, most, broken = 0, part.size, False
    while True:
        try:
            _receive(opener, url, part, progress, patience.timeout)
            return broken
        except _InterruptionError as reason:
            broken = True
            failures = 1 if part.size > most else failures + 1
            most = max(most, part.size)
            if failures >= patience.attempts:
                raise DownloadError(
                    f"Cannot download {url}: {reason}, {_times(failures)}: try again later, "
                    "what has arrived is kept."
                ) from reason
            time.sleep(max(reason.wait, patience.pause * 2 ** (failures - 1)))


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _receive(
    opener: OpenerDirector, url: str, part: _Part, progress: Progress | None, timeout: float
) -> None:
    """One request for what is missing. Raises _InterruptionError where another may do better."""
    headers = {"User-Agent": f"stemwise/{__version__}", "Accept-Encoding": "identity"}
    wanted = part.headers()
    with _network(url, timeout):
        response = _open(opener, Request(url, headers={**headers, **wanted}), part, timeout)
    if response is None:
        return
    with response:
        done, total = _extent(url, response, part)
        with part.path.open("ab") if done else part.restart(response.headers) as file:
            _report(progress, done, total)
            # servers may keep the connection open, and old Pythons would then wait for more
            while done != total and (block := _read(response, url, timeout)):
                file.write(block)
                done += len(block)
                _report(progress, done, total)
        if total is not None and done < total:
            raise _InterruptionError(f"the connection broke off after {done} of {total} bytes")


def _open(
    opener: OpenerDirector, request: Request, part: _Part, timeout: float
) -> HTTPResponse | None:
    """The answer to a request, or None where it says that nothing is missing."""
    try:
        response: HTTPResponse = opener.open(request, timeout=timeout)
        return response
    except HTTPError as error:
        with error:
            size = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", "").strip())
            if error.code == 416 and size and int(size[1]) == part.size:
                return None
            raise _refusal(request.full_url, error, part) from error


def _read(response: HTTPResponse, url: str, timeout: float) -> bytes:
    with _network(url, timeout):
        return response.read1(BLOCK)


def _extent(url: str, response: HTTPResponse, part: _Part) -> tuple[int, int | None]:
    """The first byte that the server sends, and the size of the whole file where it is known."""
    if response.status == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdigit() else None
    if response.status == 206:
        span = re.fullmatch(
            r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip()
        )
        if span and int(span[1]) == part.size:
            return part.size, None if span[2] == "*" else int(span[2])
        part.remove()
        raise _InterruptionError("the server sent another part of the file than the one asked for")
    raise DownloadError(f"Cannot download {url}: the server answered {response.status}.")


def _report(progress: Progress | None, done: int, total: int | None) -> None:
    if progress is not None:
        progress(done, total)


class _Redirects(HTTPRedirectHandler):
    """Follows redirects, also 308 (which Python 3.10 does not), but never from https to http."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        old, new = req.full_url.partition(":")[0].lower(), newurl.partition(":")[0].lower()
        if new not in ("https", old):
            raise DownloadError(
                f"Cannot download {req.full_url}: the server redirects to {newurl}, "
                "which is not encrypted: use another network or mirror."
            )
        known = 307 if code == 308 else code
        return super().redirect_request(req, fp, known, msg, headers, newurl)  # type: ignore[arg-type]

    http_error_308 = HTTPRedirectHandler.http_error_302


@contextmanager
def _network(url: str, timeout: float) -> Iterator[None]:
    """Tell what may pass (_InterruptionError) from what will not (DownloadError)."""
    try:
        yield
    except (InvalidURL, ValueError) as error:
        raise DownloadError(f"Cannot download {url}: it is no valid address ({error}).") from error
    except (OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise DownloadError(
                f"Cannot download {url}: the server's certificate is not trusted "
                f"({reason.verify_message}): check the clock and the certificates of this system."
            ) from error
        if isinstance(reason, TimeoutError):
            raise _InterruptionError(f"the server sent nothing for {timeout:g} s") from error
        what = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        raise _InterruptionError(f"the connection failed ({what})") from error


def _refusal(url: str, error: HTTPError, part: _Part) -> Exception:
    """What an answer means that is not the file."""
    answer = f"the server answered {error.code} {error.reason}"
    if error.code == 416:
        part.remove()
        return _InterruptionError("the server has no such part of the file")
    if error.code in TRANSIENT:
        wait = error.headers.get("Retry-After", "")
        return _InterruptionError(answer, min(float(wait), 60.0) if wait.isdigit() else 0.0)
    if 300 <= error.code < 400:
        answer = "the server redirects in a circle or to no address of the web"
    return DownloadError(f"Cannot download {url}: {answer}.")


@contextmanager
def _disk(path: Path, part: _Part) -> Iterator[None]:
    """One sentence for what the disk refuses."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            part.remove()
            raise DownloadError(
                f"There is no space left in {path.parent} for {path.name}: "
                "free some, or set STEMWISE_CACHE to a folder on another disk."
            ) from error
        raise DownloadError(f"Cannot write {path}: {error.strerror or error}.") from error


@contextmanager
def exclusive(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock file `path` (in a folder that exists), at most as long as the process lives.

    waiting: called once where another process holds it. Raises DownloadError where the file cannot
    be made or the file system has no locks.
    """
    try:
        file = path.open("ab")
    except OSError as error:
        raise DownloadError(f"Cannot write {path}: {error.strerror}.") from error
    with file:
        while not _locked(file, path):
            if waiting is not None:
                waiting()
                waiting = None
            time.sleep(0.1)
        yield


def _locked(file: IO[bytes], path: Path) -> bool:
    """Try to lock an open file until it is closed; False where another process has the lock."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        raise DownloadError(
            f"Cannot lock {path} ({error.strerror}): set STEMWISE_CACHE to a folder on a local "
            "disk."
        ) from error
    return True
