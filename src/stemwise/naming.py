"""Where a song's results go: names by template, and clashes found before any work."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Formatter

from stemwise.errors import OutputError, closest

TEMPLATE = "{track}/{stem}.{ext}"
FIELDS = ("track", "trackext", "stem", "ext")


@dataclass(frozen=True)
class Plan:
    """The files that one song becomes: one for each stem, for the activity and for the report."""

    song: Path
    track: str
    directory: Path
    stems: dict[str, Path]
    activity: Path | None
    report: Path | None = None

    @property
    def paths(self) -> list[Path]:
        """Every file of the plan."""
        more = [path for path in (self.activity, self.report) if path is not None]
        return [*self.stems.values(), *more]

    def without_activity(self) -> Plan:
        """The same plan for a model that has none."""
        return replace(self, activity=None)


def check_template(template: str) -> None:
    """Raise OutputError, saying what to change, unless names can be made from `template`."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise OutputError(
            f"The file name {template!r} has an unmatched brace: write fields as {{track}}."
        ) from error
    used = [field for _, field, _, _ in parts if field is not None]
    for field in used:
        if field not in FIELDS:
            near = closest(field, FIELDS)
            known = ", ".join(f"{{{name}}}" for name in FIELDS)
            hint = f"there are {known}." if near is None else f"did you mean {{{near}}}?"
            raise OutputError(
                f"The file name {template!r} has an unknown field {{{field}}}: {hint}"
            )
    if any(conversion or spec for _, _, spec, conversion in parts):
        raise OutputError(f"The file name {template!r} may hold plain fields only, as {{track}}.")
    if "stem" not in used:
        raise OutputError(f"The file name {template!r} needs {{stem}}, which tells stems apart.")
    if not template.endswith(".{ext}"):
        raise OutputError(f"The file name {template!r} must end in .{{ext}}.")
    path = Path(template)
    if path.is_absolute() or ".." in path.parts:
        raise OutputError(f"The file name {template!r} must stay inside the output folder.")


def track_name(song: Path) -> str:
    """The name of a song's results: its file name without the suffix, never a special folder."""
    name = song.name
    lower = name.lower()
    name = name[: -len(".stem.mp4")] if lower.endswith(".stem.mp4") else song.stem
    return name if name.strip(". ") else "_"


def plan_song(
    song: Path,
    directory: Path,
    stems: Sequence[str],
    extension: str,
    template: str = TEMPLATE,
    report: bool = False,
    track: str | None = None,
) -> Plan:
    """The files of one song under `directory`; raises OutputError for a bad template.

    The activity and, if wanted, the report are named by the template as if they were stems. track:
    what the song is called, by default as its file; may hold folders ("album/song").
    """
    check_template(template)
    track = track_name(song) if track is None else track

    def place(stem: str, ext: str) -> Path:
        suffix = song.suffix.lstrip(".")
        return directory / template.format(track=track, trackext=suffix, stem=stem, ext=ext)

    files = {stem: place(stem, extension) for stem in stems}
    page = place("report", "html") if report else None
    return Plan(song, track, directory, files, place("activity", "csv"), page)


def plan_songs(
    songs: Sequence[Path],
    directory: Path,
    stems: Sequence[str],
    extension: str,
    template: str = TEMPLATE,
    report: bool = False,
    tracks: Sequence[str] | None = None,
) -> list[Plan]:
    """The files of all songs; tracks: what they are called, if not as their files.

    Raises OutputError where two songs would write the same file, also where their names differ
    only in letter case, and where a song would be overwritten by a stem.
    """
    names = [track_name(song) for song in songs] if tracks is None else tracks
    plans = [
        plan_song(song, directory, stems, extension, template, report, track)
        for song, track in zip(songs, names, strict=True)
    ]
    refuse_clashes(plans)
    return plans


def refuse_clashes(plans: Sequence[Plan]) -> None:
    """Raise OutputError where a file is planned twice, or would overwrite a song."""
    inputs: dict[str, Path] = {}
    for plan in plans:
        if _key(plan.song) in inputs:
            raise OutputError(f"{plan.song} is given twice: name every song once.")
        inputs[_key(plan.song)] = plan.song
    owners: dict[str, Path] = {}
    for plan in plans:
        for path in plan.paths:
            key = _key(path)
            if key in inputs:
                raise OutputError(
                    f"{plan.song} would overwrite the song {inputs[key]}: choose another folder."
                )
            if key in owners:
                raise OutputError(
                    f"{owners[key]} and {plan.song} would both be written to {path}: rename one, "
                    "or separate them into different folders."
                )
            owners[key] = plan.song


def _key(path: Path) -> str:
    """Equal for paths that some file system holds for the same file."""
    return unicodedata.normalize("NFC", os.path.realpath(path)).casefold()


def check_places(plan: Plan) -> None:
    """Raise OutputError where a file stands in the way of a folder of the plan, or the reverse."""
    for path in plan.paths:
        if path.is_dir():
            raise OutputError(f"{path} is a folder where a file must be written: move it away.")
        for folder in path.parents:
            if folder.is_dir():
                break
            if os.path.lexists(folder):
                raise OutputError(
                    f"{folder} is a file where a folder is needed: choose another output folder."
                )
