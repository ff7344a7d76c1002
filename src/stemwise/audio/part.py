"""Files that appear under their final name only when they are whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import av

from stemwise.errors import OutputError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MARGIN = 1 << 16  # bytes; encoders fail a little before the last free block is used


class PartFile:
    """A temporary file `.<name>.<pid>.part` beside `path`, renamed onto `path` by `commit`.

    As a context manager it commits on a clean exit and removes the temporary file on an exception.
    A killed process leaves only the temporary name behind. within: a folder for the temporary file
    on the same disk. Raises OutputError.
    """

    def __init__(self, path: str | Path, within: Path | None = None) -> None:
        self.path = Path(path)
        short = os.fsdecode(os.fsencode(self.path.name)[:200]).encode("utf-8", "ignore").decode()
        self.temporary = (within or self.path.parent) / f".{short}.{os.getpid()}.part"
        with output_errors(self.path):
            if self.path.is_dir():
                raise OutputError(f"{self.path} is a folder: choose another name for the file")
            open(self.temporary, "wb").close()

    def commit(self) -> None:
        """Rename the finished temporary file onto the final path."""
        with output_errors(self.path):
            os.replace(self.temporary, self.path)

    def discard(self) -> None:
        """Remove the temporary file."""
        self.temporary.unlink(missing_ok=True)

    def __enter__(self) -> PartFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.discard()
            return
        try:
            self.commit()
        except OutputError:
            self.discard()
            raise


class Sink:
    """The file behind an encoder library, which would hide errors of callbacks: keeps the first."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "wb+", buffering=0)  # noqa: SIM115 - closed by close
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        """Write all of `data`, or keep the error."""
        rest = memoryview(data)
        try:
            while self._error is None and rest.nbytes:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._error = error
        return len(data)

    def read(self, size: int) -> bytes:
        """Read back, for muxers that move what they have written."""
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move within the file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Position within the file."""
        return self._file.tell()

    def check(self) -> None:
        """Raise the first error, if there was one."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turn what the system and the codec libraries say into one OutputError about `path`."""
    try:
        yield
    except OSError as error:
        raise OutputError(_sentence(path, error.errno, str(error))) from error
    except (RuntimeError, AssertionError, ValueError, av.error.FFmpegError) as error:
        raise OutputError(_sentence(path, None, str(error))) from error


def _sentence(path: Path, code: int | None, text: str) -> str:
    if code in _FULL or disk_is_full(path.parent):
        return f"{path} could not be written because the disk is full: free some space"
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{path} may not be written: check the permissions of {path.parent}"
    if code in (errno.ENOENT, errno.ENOTDIR):
        return f"{path} cannot be written because {path.parent} is not an existing folder"
    if code == errno.ENAMETOOLONG:
        return f"the name of {path} is too long for this disk: choose a shorter one"
    return f"{path} could not be written ({text or 'no reason given'})"


def disk_is_full(folder: Path) -> bool:
    """Whether the disk of `folder` is full, for libraries that do not say why they failed."""
    try:
        status = os.statvfs(folder)
    except (OSError, AttributeError):
        return False
    return status.f_bavail * status.f_frsize < _MARGIN
