"""Separation and detection of many songs, each from its path or URL to its files."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemwise.catalogue.entries import Entry
from stemwise.catalogue.model_work import ModelWork, at_hand, named
from stemwise.catalogue.redaction import redacted
from stemwise.catalogue.storage import join, publish
from stemwise.catalogue.work import Facts
from stemwise.errors import CatalogueError, StemwiseError, hint
from stemwise.evaluation.spool import spool_folder
from stemwise.songs import Output, separate_file

if TYPE_CHECKING:
    from stemwise.separation import Engine, Options, Progress
    from stemwise.songs import FileResult

OWN = ("stems", "two_stems", "gate", "phase", "segment", "overlap")
"""What a manifest may say of a single song."""


@dataclass(frozen=True)
class SeparateWork(ModelWork):
    """Separates songs into stems.

    output: which files, and the folder for them. labels: a label file for the gate "oracle", in
    whose name {track} is the song's. target: a URL to which results go instead of the folder.
    """

    output: Output
    labels: str | None = None
    target: str | None = None

    def staged(self, folder: Path) -> SeparateWork:
        """The same work, which writes files in `folder` before they get their names."""
        return replace(self, output=replace(self.output, staging=folder))

    def terms(self) -> dict[str, Any]:
        """Model and options; the device and the size of segments change no result but rounding."""
        kind = self.output.format
        return {
            "command": "separate",
            "model": self.model,
            **{name: getattr(self.options, name) for name in _OF_RESULTS},
            "labels": self.labels,
            "format": [kind.extension, kind.subtype, kind.bitrate],
            **{name: getattr(self.output, name) for name in _OF_FILES},
        }

    def do(
        self, engine: Engine, entry: Entry, progress: Progress, cancel: threading.Event
    ) -> Facts:
        """Separate a song; its files are where they belong when this returns."""
        from stemwise.separation import Engine

        options, output = own_options(entry, self.options, self.output)
        if options is not self.options:
            engine = Engine(engine.separator, options)
        with at_hand(entry, cancel) as song:
            if self.target is None:
                return self._separate(engine, entry, song, output, progress, cancel)
            with spool_folder() as folder:
                local = replace(output, directory=folder)
                facts = self._separate(engine, entry, song, local, progress, cancel)
                return {**facts, **_publish(folder, self.target, facts, cancel)}

    def _separate(
        self,
        engine: Engine,
        entry: Entry,
        song: Path,
        output: Output,
        progress: Progress,
        cancel: threading.Event,
    ) -> dict[str, Any]:
        from stemwise.activity import read_activity

        labels = self.labels and read_activity(label_file(self.labels, entry.id))
        result = separate_file(
            engine,
            song,
            output,
            track=entry.id,
            labels=labels or None,
            progress=progress,
            cancel=cancel,
        )
        page = None if result.skipped else result.report_path
        if page is not None:
            self._report(engine, entry, result, page)
        return {
            **result.to_json(),
            "song": entry.shown,
            "warnings": [named(one, song, entry) for one in result.warnings],
            "report": None if page is None else str(page),
        }

    def _report(self, engine: Engine, entry: Entry, result: FileResult, page: Path) -> None:
        from stemwise.report import page as pages
        from stemwise.report import write_report
        from stemwise.report.facts import separation_facts
        from stemwise.stem_output import make_folder

        # the page of a long song links to what will lie beside it, which no copy does
        linked = result.duration > pages.LONGEST_EMBEDDED
        elsewhere = entry.is_remote or self.target is not None
        make_folder(page.parent)
        write_report(
            page.parent,
            title=entry.id.rpartition("/")[2],
            mixture=None if linked and elsewhere else result.song,
            stems=result.stems,
            activity=result.activity,
            facts=separation_facts(result, self.model, engine),
            warnings=[named(one, result.song, entry) for one in result.warnings],
            name=page.name,
            staging=self.output.staging,
        )


_OF_RESULTS = ("overlap", "gate", "phase", "residual", "precision")
_OF_FILES = ("stems", "two_stems", "filename", "clip_mode")


def label_file(labels: str, track: str) -> Path:
    """The label file of a song."""
    return Path(labels.replace("{track}", track))


def _publish(
    folder: Path, target: str, facts: Mapping[str, Any], cancel: threading.Event
) -> dict[str, Any]:
    """Send all files below a folder to a URL; returns where those of `facts` are now."""
    urls: dict[str, str] = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        url = join(target, file.relative_to(folder).as_posix())
        publish(file, url, cancel)
        urls[str(file)] = redacted(url)
    return {
        "stems": {name: urls[path] for name, path in facts["stems"].items()},
        "activity": urls.get(facts["activity"] or ""),
        "report": urls.get(facts["report"] or ""),
    }


def own_options(entry: Entry, options: Options, output: Output) -> tuple[Options, Output]:
    """Options of a run, and what a song has of its own; raises CatalogueError for unknown ones."""
    if not entry.options:
        return options, output
    engine: dict[str, Any] = {}
    files: dict[str, Any] = {}
    of_engine = {field.name for field in fields(options)}
    try:
        for key, value in entry.options.items():
            if key not in OWN:
                raise CatalogueError(f"a song has no option {key!r}: {hint(key, OWN)}")
            (engine if key in of_engine else files)[key] = _parsed(key, value)
        if files:  # some stems, or two
            files = {"stems": None, "two_stems": None, **files}
        return replace(options, **engine), replace(output, **files)
    except (StemwiseError, TypeError, ValueError) as error:
        raise CatalogueError(f"{entry.id}: {error}") from error


def _parsed(key: str, value: Any) -> Any:
    if key == "stems":
        names = value.split(",") if isinstance(value, str) else value
        return tuple(str(one).strip() for one in names)
    return float(value) if key in ("segment", "overlap") else value
