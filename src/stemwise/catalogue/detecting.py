"""Detection of many songs: when each stem plays, from a path or URL to a file or a text."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemwise.activity import Activity, write_activity
from stemwise.catalogue.entries import Entry
from stemwise.catalogue.model_work import ModelWork, at_hand, named
from stemwise.catalogue.redaction import redacted
from stemwise.catalogue.storage import join, publish
from stemwise.catalogue.work import Facts
from stemwise.errors import CatalogueError
from stemwise.evaluation.spool import spool_folder
from stemwise.songs import detect_file
from stemwise.stem_output import make_folder

if TYPE_CHECKING:
    from stemwise.separation import Engine, Progress


@dataclass(frozen=True)
class DetectWork(ModelWork):
    """Tells when each stem plays.

    format: "table" or that of a label file. directory: of label files (None: the facts hold the
    text). threshold: probability from which a stem plays. minimum: seconds of the shortest segment.
    staging: where label files are written before they get their names (None: beside them).
    target: a URL to which label files go instead of the folder.
    """

    format: str
    directory: Path | None
    threshold: float
    minimum: float
    staging: Path | None = None
    target: str | None = None

    def place(self, entry: Entry) -> Path | None:
        """The label file of a song."""
        return None if self.directory is None else self.directory / self._name(entry)

    def _name(self, entry: Entry) -> str:
        return f"{entry.id}.{self.format}"

    def staged(self, folder: Path) -> DetectWork:
        """The same work, which writes files in `folder` before they get their names."""
        return replace(self, staging=folder)

    def terms(self) -> dict[str, Any]:
        """Model, format and what counts as playing."""
        names = ("model", "format", "threshold", "minimum")
        return {"command": "detect", **{name: getattr(self, name) for name in names}}

    def do(
        self, engine: Engine, entry: Entry, progress: Progress, cancel: threading.Event
    ) -> Facts:
        """Tell when the stems of a song play; its label file is written when this returns."""
        if entry.options:
            raise CatalogueError(f"{entry.id}: detection has no options of single songs.")
        with at_hand(entry, cancel) as song:
            found = detect_file(engine, song, progress=progress, cancel=cancel)
            warnings = [named(one, song, entry) for one in found.warnings]
        text = file = None
        if self.target is not None:
            file = self._send(entry, found.activity, self.target, cancel)
        elif (place := self.place(entry)) is not None:
            make_folder(place.parent)
            self._write(place, found.activity, self.staging)
            file = str(place)
        elif self.format == "table":
            text = self._table(entry.shown, found.activity)
        else:
            text = self._text(found.activity)
        facts = self._facts(entry, found.activity)
        return {**facts, "warnings": warnings, "file": file, "text": text}

    def _send(self, entry: Entry, activity: Activity, target: str, cancel: threading.Event) -> str:
        """Write a label file where a URL says; returns its URL."""
        url = join(target, self._name(entry))
        with spool_folder() as folder:
            path = folder / f"activity.{self.format}"
            self._write(path, activity)
            publish(path, url, cancel)
        return redacted(url)

    def _write(self, path: Path, activity: Activity, staging: Path | None = None) -> None:
        write_activity(
            path, activity, threshold=self.threshold, minimum=self.minimum, staging=staging
        )

    def _text(self, activity: Activity) -> str:
        """What a file of this format holds."""
        with spool_folder() as folder:
            path = folder / f"activity.{self.format}"
            self._write(path, activity)
            return path.read_text(encoding="utf-8").removesuffix("\n")

    def _table(self, song: str, activity: Activity) -> str:
        """Per stem: the share of the song in which it plays, and its segments."""
        segments = activity.segments(self.threshold, self.minimum)
        width = max(len(source) for source in activity.sources)
        lines = [song]
        for source, ratio in activity.ratio(self.threshold).items():
            spans = "  ".join(f"{_time(a)}-{_time(b)}" for a, b in segments[source]) or "-"
            lines.append(f"  {source:<{width}}  {ratio:4.0%}  {spans}")
        return "\n".join(lines)

    def _facts(self, entry: Entry, activity: Activity) -> dict[str, Any]:
        segments = activity.segments(self.threshold, self.minimum)
        ratio = activity.ratio(self.threshold)
        return {
            "song": entry.shown,
            "duration": round(activity.duration, 6),
            "active": {name: round(value, 4) for name, value in ratio.items()},
            "segments": {
                name: [[round(start, 4), round(end, 4)] for start, end in spans]
                for name, spans in segments.items()
            },
        }


def _time(seconds: float) -> str:
    # rounded before it is split, so that 59.96 s is never shown as 0:60.0
    minutes, tenths = divmod(round(seconds * 10), 600)
    return f"{minutes}:{tenths / 10:04.1f}"
