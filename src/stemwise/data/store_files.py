"""Byte ranges of a store's files: read from a local disk, or from anywhere through fsspec.

Nothing keeps a file open between reads, so that threads and forked or spawned workers share a
store as it is.
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stemwise.errors import DataError

Range = tuple[int, NDArray[Any]]
"""Byte offset, and the contiguous array that is filled from there."""

_ATTEMPTS = 3


class Files(Protocol):
    """The files of a store, by their names relative to its root."""

    where: str

    def read(self, name: str) -> bytes:
        """A whole file; raises DataError."""

    def size(self, name: str) -> int:
        """Bytes of a file; raises DataError."""

    def fill(self, name: str, ranges: Sequence[Range]) -> None:
        """Fill every array from its offset on; raises DataError where the file ends before."""


class LocalFiles:
    """Files below a folder of this machine.

    With `mapped`, files are memory maps, made when first needed and kept: the cheapest copies, but
    what was touched counts as memory of this process. Without, they are plain reads, which cost
    less than the page faults of a map that is touched for the first time, and leave memory as it
    is however large the store.
    """

    def __init__(self, folder: Path, *, mapped: bool = False) -> None:
        self.where, self.mapped = str(folder), mapped
        self._maps: dict[str, mmap.mmap] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_maps": {}}

    def read(self, name: str) -> bytes:
        """A whole file."""
        try:
            with open(os.path.join(self.where, name), "rb") as file:
                return file.read()
        except OSError as error:
            raise self._unreadable(name, error) from error

    def size(self, name: str) -> int:
        """Bytes of a file."""
        try:
            return os.stat(os.path.join(self.where, name)).st_size
        except OSError as error:
            raise self._unreadable(name, error) from error

    def fill(self, name: str, ranges: Sequence[Range]) -> None:
        """Fill every array from its offset on."""
        if self.mapped:
            for offset, array in ranges:
                array[...] = self.view(name, offset, array.size, array.dtype).reshape(array.shape)
            return
        try:
            with open(os.path.join(self.where, name), "rb", buffering=0) as file:
                for offset, array in ranges:
                    file.seek(offset)
                    rest = array.reshape(-1).view(np.uint8).data
                    while rest.nbytes:
                        count = file.readinto(rest)
                        if not count:
                            raise _short(os.path.join(self.where, name))
                        rest = rest[count:]
        except OSError as error:
            raise self._unreadable(name, error) from error

    def view(self, name: str, offset: int, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """`count` numbers of a file from byte `offset` on, read-only, in its memory map."""
        try:
            if (held := self._maps.get(name)) is None:
                with open(os.path.join(self.where, name), "rb") as file:
                    held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                self._maps[name] = held
            return np.frombuffer(held, dtype, count, offset)
        except OSError as error:
            raise self._unreadable(name, error) from error
        except ValueError as error:  # an empty file, or one that ends before
            raise _short(os.path.join(self.where, name)) from error

    def _unreadable(self, name: str, error: OSError) -> DataError:
        path = os.path.join(self.where, name)
        reason = "it does not exist" if isinstance(error, FileNotFoundError) else error.strerror
        return DataError(f"{path} cannot be read ({reason}): run stemwise prepare again")


class RemoteFiles:
    """Files below a URL that fsspec knows: http, s3, gs, memory, zip ..."""

    def __init__(self, url: str, options: dict[str, Any] | None = None) -> None:
        self.where = url.rstrip("/")
        self._options = dict(options or {})
        self._opened: tuple[int, Any, str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_opened": None}

    def read(self, name: str) -> bytes:
        """A whole file."""
        content: bytes = self._try(name, lambda system, path: system.cat_file(path))
        return content

    def size(self, name: str) -> int:
        """Bytes of a file."""
        size = self._try(name, lambda system, path: system.size(path))
        if size is None:
            raise DataError(f"{self.where}/{name} has no known size: its server must state it")
        return int(size)

    def fill(self, name: str, ranges: Sequence[Range]) -> None:
        """Fill every array from its offset on; the ranges are asked for at the same time."""
        starts = [offset for offset, _ in ranges]
        ends = [offset + array.nbytes for offset, array in ranges]
        contents = self._try(
            name, lambda system, path: system.cat_ranges([path] * len(starts), starts, ends)
        )
        for (_, array), content in zip(ranges, contents, strict=True):
            if len(content) > array.nbytes:
                raise DataError(
                    f"{self.where}/{name} was sent as a whole: its server must support byte ranges"
                )
            if len(content) < array.nbytes:
                raise _short(f"{self.where}/{name}")
            array.reshape(-1)[...] = np.frombuffer(content, array.dtype)

    def _system(self) -> tuple[Any, str]:
        """The file system and the store's path in it; every process opens its own."""
        process = os.getpid()
        if self._opened is None or self._opened[0] != process:
            import fsspec

            try:
                system, path = fsspec.core.url_to_fs(self.where, **self._options)
            except (ImportError, ValueError) as error:
                raise DataError(f"{self.where} cannot be opened ({error})") from error
            self._opened = (process, system, path)
        return self._opened[1], self._opened[2]

    def _try(self, name: str, ask: Any) -> Any:
        system, root = self._system()
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return ask(system, f"{root.rstrip('/')}/{name}")
            except FileNotFoundError as error:
                raise DataError(f"{self.where}/{name} does not exist: check the address") from error
            except Exception as error:  # every file system has errors of its own
                if attempt == _ATTEMPTS or isinstance(error, PermissionError):
                    text = str(error).partition("\n")[0] or type(error).__name__
                    raise DataError(
                        f"{self.where}/{name} cannot be read ({text}): check the address"
                    ) from error
                time.sleep(0.2 * attempt)
        raise AssertionError


def _short(path: str) -> DataError:
    return DataError(f"{path} ends too early: run stemwise store check, and prepare it again")


def open_files(url: str | Path, options: dict[str, Any] | None = None) -> LocalFiles | RemoteFiles:
    """The files of a folder or URL."""
    text = os.fspath(url)
    if text.startswith("file://"):
        text = text[len("file://") :]
    if "://" in text or "::" in text:
        return RemoteFiles(text, options)
    return LocalFiles(Path(text))
