"""Tracks that are not on this machine: brought here one by one to be prepared, then removed."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stemwise.data.reading import is_audio
from stemwise.data.store_manifest import UNFINISHED, Settings, TrackRecord, data_bytes, file_name
from stemwise.data.store_write import Job, write_track
from stemwise.data.track import Track
from stemwise.errors import Cancelled, CatalogueError, DataError, OutputError, StemwiseError


class Away(Protocol):
    """A track behind a URL; pickled and sent to the processes that prepare it."""

    @property
    def name(self) -> str:
        """Unique within its set."""

    @property
    def split(self) -> str:
        """ "train", "validation", "test", or "" for none."""

    @property
    def base(self) -> str:
        """What to put in front of paths below the copies' folder to have those of the files."""

    def sizes(self) -> Mapping[str, int | None]:
        """Bytes of its files by their places, None where they are unknown; CatalogueError."""

    def bring(self, folder: Path, cancel: threading.Event | None) -> Track:
        """Copy its files into `folder`; raises StemwiseError, Cancelled soon after `cancel`."""


@dataclass(frozen=True)
class AwayJob:
    """A track to be brought here and written into the store `folder`."""

    track: Away
    folder: Path
    settings: Settings

    def is_fresh(self, record: TrackRecord) -> bool:
        """Whether a record is of the files that are there now, by their names and sizes.

        Where nobody answers, what was prepared counts.
        """
        data = self.folder / record.file
        if record.split != self.track.split or not data.is_file():
            return False
        if data.stat().st_size != data_bytes(record, self.settings.dtype):
            return False
        try:
            now = self.track.sizes()
        except CatalogueError:
            return True
        before = {one.path: one.bytes for one in record.sources}
        if any(now.get(path, -1) not in (None, size) for path, size in before.items()):
            return False
        audio = {path for path in now if is_audio(Path(path))}
        return self.settings.sources is not None or audio <= set(before)

    def write(
        self, check: Callable[[], None] = lambda: None, cancel: threading.Event | None = None
    ) -> TrackRecord:
        """Bring, write and remove; see `write_track`. Raises DataError, OutputError, Cancelled."""
        # in the store, whose disk has room for it, and which removes what killed runs leave
        copies = self.folder.absolute() / UNFINISHED / Path(file_name(self.track.name)).stem
        shutil.rmtree(copies, ignore_errors=True)
        try:
            copies.mkdir(parents=True)
            track = self.track.bring(copies, cancel)
            return write_track(
                Job(track, self.folder, copies, self.settings, self.track.base), check
            )
        except (Cancelled, OutputError):
            raise
        except (StemwiseError, OSError) as error:
            raise DataError(str(error).replace(f"{copies}/", self.track.base)) from error
        finally:
            shutil.rmtree(copies, ignore_errors=True)
