"""DSD100: mixtures and sources in separate folders, development and test songs.

No library reads it that is still kept.
"""

from __future__ import annotations

from pathlib import Path

from stemwise.data.reading import (
    check_split,
    collect,
    folders,
    make_track,
    no_tracks,
    required,
    root_folder,
)
from stemwise.data.track import Part, Track

LAYOUT = (
    "Mixtures/{Dev,Test}/NNN - Artist - Title/mixture.wav and "
    "Sources/{Dev,Test}/NNN - Artist - Title/{bass,drums,other,vocals}.wav"
)
_SPLITS = {"train": "Dev", "test": "Test"}
_SOURCES = ("vocals", "drums", "bass", "other")


def fits_dsd100(root: Path) -> bool:
    """Whether the folder is laid out as DSD100."""
    return (root / "Mixtures").is_dir() and (root / "Sources").is_dir()


def read_dsd100(
    root: str | Path, split: str | None = None, *, broken: list[str] | None = None
) -> list[Track]:
    """The songs of DSD100; "train" is its development set.

    Raises DataError; see `stemwise.data.sets.read_set` for `broken`.
    """
    root = root_folder(root)
    check_split(root, split, _SPLITS)
    songs = [
        (name, path)
        for name, folder in _SPLITS.items()
        if (root / "Mixtures" / folder).is_dir()
        for path in folders(root / "Mixtures" / folder)
    ]
    if not songs:
        raise no_tracks(root, "DSD100", LAYOUT)

    def build(song: tuple[str, Path]) -> Track:
        name, path = song
        sources = root / "Sources" / _SPLITS[name] / path.name
        stems = {source: (Part(required(sources, f"{source}.wav")),) for source in _SOURCES}
        return make_track(path.name, name, stems, (Part(required(path, "mixture.wav")),))

    return collect([song for song in songs if split in (None, song[0])], build, broken)
