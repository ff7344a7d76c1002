"""Where a run was started, which other machines of its cluster have to be able to see."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stemwise import __version__


@dataclass(frozen=True)
class Place:
    """Where a run was started: its folder, from which paths are meant, and a file beside results.

    mark: None where no machine but this one needs to see the results, or they go to URLs.
    """

    folder: str
    mark: Path | None
    version: str = __version__

    @classmethod
    def here(cls, shared: Path | None) -> Place:
        """This process's. shared: a folder that has to be the same one on all machines."""
        if shared is None:
            return cls(os.getcwd(), None)
        from stemwise.stem_output import make_folder

        make_folder(shared)
        mark = shared.absolute() / f".seen-{os.getpid()}"
        mark.touch()
        return cls(os.getcwd(), mark)

    def enter(self) -> str | None:
        """Go there; a sentence where this machine does not have it."""
        if self.version != __version__:
            return (
                f"{socket.gethostname()} in the cluster has stemwise {__version__}, and this run "
                f"is one of {self.version}: install the same version on all machines."
            )
        try:
            os.chdir(self.folder)
        except OSError as error:
            return self._missing(self.folder, error.strerror or str(error))
        if self.mark is not None and not self.mark.exists():
            return self._missing(str(self.mark.parent.parent), "it is another disk's")
        return None

    def _missing(self, folder: str, why: str) -> str:
        return (
            f"{socket.gethostname()} in the cluster does not have the folder {folder} of the run "
            f"({why}): start the command in a folder that all machines share, or use URLs for "
            "songs and results and start it in /."
        )

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *error: object) -> None:
        if self.mark is not None:
            self.mark.unlink(missing_ok=True)
            with suppress(OSError):  # others may have files there
                self.mark.parent.rmdir()
