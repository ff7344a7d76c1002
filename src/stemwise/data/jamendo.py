"""Jamendo for singing voice detection (Ramona et al., 2008): songs with labels of singing.

No library reads it.
"""

from __future__ import annotations

from pathlib import Path

from stemwise.activity_files import LabelFile, read_text
from stemwise.data.reading import (
    audio_files,
    check_split,
    collect,
    find_file,
    make_track,
    no_tracks,
    root_folder,
)
from stemwise.data.track import Part, Track
from stemwise.errors import DataError

LAYOUT = (
    "audio/{train,valid,test}/*.mp3 or *.ogg (or all in audio/ with filelists/{train,valid,test}) "
    "and labels/<name>.lab with lines 'start end sing|nosing'"
)
_SPLITS = {"train": "train", "validation": "valid", "test": "test"}
_LISTS = ("filelists", "lists", ".")


def fits_jamendo(root: Path) -> bool:
    """Whether the folder is laid out as Jamendo."""
    return (root / "audio").is_dir() and any((root / "labels").glob("*.lab"))


def read_jamendo(
    root: str | Path, split: str | None = None, *, broken: list[str] | None = None
) -> list[Track]:
    """The songs of Jamendo: mixtures with labels of vocals, without stems.

    Raises DataError; see `stemwise.data.sets.read_set` for `broken`.
    """
    root = root_folder(root)
    check_split(root, split, _SPLITS)
    songs = _songs(root) if (root / "audio").is_dir() else []
    if not songs:
        raise no_tracks(root, "Jamendo", LAYOUT)

    def build(song: tuple[str, Path]) -> Track:
        label = find_file(root / "labels", f"{song[1].stem}.lab")
        if label is None:
            raise DataError(
                f"{song[1]} has no labels/{song[1].stem}.lab; get it, or remove the song"
            )
        labels = LabelFile(label, sources={"vocals": ("sing",)}, ignored=("nosing",))
        return make_track(song[1].stem, song[0], {}, (Part(song[1]),), labels)

    return collect([song for song in songs if split in (None, song[0])], build, broken)


def _songs(root: Path) -> list[tuple[str, Path]]:
    """Split and file of every song."""
    found = [
        (name, path)
        for name, folder in _SPLITS.items()
        if (root / "audio" / folder).is_dir()
        for path in audio_files(root / "audio" / folder)
    ]
    listed = {
        Path(line.strip()).stem: name
        for name, stem in _SPLITS.items()
        for file in _list_files(root, stem)
        for line in read_text(file).splitlines()
        if line.strip()
    }
    return found + [(listed.get(path.stem, ""), path) for path in audio_files(root / "audio")]


def _list_files(root: Path, stem: str) -> list[Path]:
    names = [root / folder / name for folder in _LISTS for name in (stem, f"{stem}.txt")]
    return [path for path in names if path.is_file()]
