"""Tracks on disk: folders `<track>/<source>.<ext>`, `.stem.mp4` files, splits, single files.

References and estimates are laid out in the same few ways, so one listing serves both. It opens
nothing; `pairs` does.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stemwise.audio import STEM_NAMES
from stemwise.data.sets import SETS, read_set
from stemwise.data.track import Part
from stemwise.errors import EvaluationError
from stemwise.evaluation.problems import ALIASES, NOT_SOURCES
from stemwise.naming import track_name

SPLITS = ("train", "validation", "valid", "test")
OWN_LAYOUTS = ("dsd100", "medleydb", "mixing_secrets", "ccmixter", "ikala")
STEM_FILE = ".stem.mp4"
AUDIO = frozenset(
    f".{name}"
    for name in (
        *("wav", "w64", "rf64", "flac", "aif", "aiff", "aifc", "caf"),
        *("mp3", "opus", "ogg", "oga", "m4a", "aac", "mp4", "wma"),
    )
)


@dataclass(frozen=True)
class Entry:
    """A track as its name and place tell: a folder of stems, a .stem.mp4, or one audio file.

    files: the parts of every source where the data set's own reader has found them.
    """

    name: str
    split: str
    path: Path
    files: Mapping[str, tuple[Part, ...]] | None = field(default=None, compare=False)

    @property
    def key(self) -> str:
        """Equal for names that some file system takes for the same."""
        return fold(self.name)

    def sources(self) -> dict[str, tuple[Part, ...]]:
        """The parts of every source, and of the mixture as `mixture` where it has a file.

        Raises EvaluationError where a source is there twice.
        """
        if self.files is not None:
            return dict(self.files)
        if self.path.name.lower().endswith(STEM_FILE):
            return {name: (Part(self.path, at),) for at, name in enumerate(STEM_NAMES)}
        if self.path.is_file():
            return {self.path.stem: (Part(self.path),)}
        found: dict[str, Path] = {}
        for file in _audio(self.path):
            name = ALIASES.get(file.stem.lower(), file.stem)
            name = "mixture" if file.stem.lower() in NOT_SOURCES else name
            if name != "mixture" and name in found:
                raise EvaluationError(
                    f"{found[name]} and {file.name} are both {name}: remove one of them"
                )
            found.setdefault(name, file)
        return {name: (Part(file),) for name, file in found.items()}


def fold(name: str) -> str:
    """A name without differences of letter case or of Unicode composition."""
    return unicodedata.normalize("NFC", name).casefold()


def list_tracks(root: Path, split: str | None = None) -> list[Entry]:
    """The tracks under `root`, sorted by split and name.

    root: one audio file; one track's folder; a folder of tracks; or a folder of splits (train,
    validation, test) of tracks. split: only this one (None: all). Raises EvaluationError where
    nothing is found.
    """
    root = Path(root)
    _check_root(root)
    if root.is_file():
        return [Entry(track_name(root), "", root)]
    splits = [name for name in SPLITS if (root / name).is_dir() and _tracks(root / name, name)]
    if split is not None and split not in splits:
        have = f"it has {', '.join(splits)}" if splits else "it has no splits: leave --split out"
        raise EvaluationError(f"{root} has no split {split!r}: {have}")
    entries: list[Entry] = []
    for name in ([split] if split is not None else splits) or [""]:
        entries += _tracks(root / name, name)
    if not splits and _stems_lie_in(root, entries):
        return [Entry(root.resolve().name, "", root)]
    if not entries:
        raise EvaluationError(
            f"{root} holds no track: expected <track>/<source>.wav (or .flac, .mp3 ...) or "
            f"<track>{STEM_FILE}"
        )
    return entries


def list_references(root: Path, split: str | None = None) -> tuple[list[Entry], list[str]]:
    """The same for references, which may also be a data set of another layout (DSD100, MedleyDB,
    CCMixter, iKala) or the validation songs of MUSDB18; and sentences on its broken tracks.
    """
    root = Path(root)
    _check_root(root)
    kind = _kind(root, split) if root.is_dir() else None
    if kind is None:
        return list_tracks(root, split), []
    sentences: list[str] = []
    entries = []
    for track in read_set(kind, root, split, broken=sentences):
        files = {**({"mixture": track.mixture} if track.mixture else {}), **track.stems}
        name = track.name.removeprefix(f"{track.split}/")
        entries.append(Entry(name, track.split, root / track.name, files))
    return entries, sentences


def _kind(root: Path, split: str | None) -> str | None:
    """The data set that needs its own reader; None where the layout tells everything."""
    for kind, one in SETS.items():
        own = kind in OWN_LAYOUTS or (split == "validation" and kind.startswith("musdb18"))
        if own and one.fits(root) and not (root / "validation").is_dir():
            return kind
    return None


def _check_root(root: Path) -> None:
    if not root.exists():
        raise EvaluationError(f"{root} does not exist: check the name")


def _tracks(folder: Path, split: str) -> list[Entry]:
    return [
        Entry(path.name if path.is_dir() else track_name(path), split, path)
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".") and is_track(path)
    ]


def is_track(path: Path) -> bool:
    """Whether a path is that of a track: a folder in which stems lie, or a stem file."""
    if path.is_dir():
        return bool(_audio(path))
    return path.is_file() and path.name.lower().endswith(STEM_FILE)


def _stems_lie_in(root: Path, entries: list[Entry]) -> bool:
    """Whether the folder is one track itself: stems lie in it, and no .stem.mp4 does."""
    return bool(_audio(root)) and not any(entry.path.is_file() for entry in entries)


def _audio(folder: Path) -> list[Path]:
    """Audio files of a folder that may be stems."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in AUDIO
        and not path.name.startswith(".")
        and not path.name.lower().endswith(STEM_FILE)
        and path.is_file()
    ]
