"""Temporary folders for decoded or separated audio, which no killed process leaves for long."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stemwise.errors import OutputError
from stemwise.processes import is_alive

_NAME = re.compile(r"stemwise-(\d+)-\w+")


@contextmanager
def spool_folder() -> Iterator[Path]:
    """A folder in the system's place for temporary files ($TMPDIR), removed afterwards.

    Folders of processes that were killed are removed on the way. Raises OutputError.
    """
    root = Path(tempfile.gettempdir())
    try:
        _sweep(root)
        folder = Path(tempfile.mkdtemp(prefix=f"stemwise-{os.getpid()}-", dir=root))
    except OSError as error:
        raise OutputError(
            f"no temporary folder can be made in {root} ({error.strerror}): set TMPDIR to another"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(root: Path) -> None:
    for folder in root.glob("stemwise-*"):
        found = _NAME.fullmatch(folder.name)
        if found is None or is_alive(int(found[1])):
            continue
        with suppress(OSError):
            if folder.stat().st_uid == os.getuid():
                shutil.rmtree(folder, ignore_errors=True)
