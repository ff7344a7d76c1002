"""MUSDB18 as stem files and MUSDB18-HQ as folders of WAV: drums, bass, other, vocals.

The musdb package reads both, but needs an ffmpeg binary through stempeg; PyAV does not.
"""

from __future__ import annotations

from pathlib import Path

from stemwise.audio import STEM_NAMES
from stemwise.data.reading import (
    STEM_SUFFIX,
    check_split,
    collect,
    entries,
    folders,
    make_track,
    no_tracks,
    required,
    root_folder,
    stem_file_parts,
)
from stemwise.data.track import Part, Track

LAYOUT = "{train,test}/Artist - Title.stem.mp4"
HQ_LAYOUT = "{train,test}/Artist - Title/{mixture,drums,bass,other,vocals}.wav"
VALIDATION = frozenset(
    (
        "ANiMAL - Rockshow",
        "Actions - One Minute Smile",
        "Alexander Ross - Goodbye Bolero",
        "Clara Berry And Wooldog - Waltz For My Victims",
        "Fergessen - Nos Palpitants",
        "James May - On The Line",
        "Johnny Lokke - Promises & Lies",
        "Leaf - Summerghost",
        "Meaxic - Take A Step",
        "Patrick Talbot - A Reason To Leave",
        "Skelpolu - Human Mistakes",
        "Traffic Experiment - Sirens",
        "Triviul - Angelsaint",
        "Young Griffo - Pennies",
    )
)
"""The 14 songs of the folder `train` that the field validates on."""
_FOLDERS = {"train": ("train",), "validation": ("train",), "test": ("test",)}


def fits_musdb18(root: Path) -> bool:
    """Whether the folder is laid out as MUSDB18."""
    return any(path.name.endswith(STEM_SUFFIX) for path in _below(root))


def fits_musdb18hq(root: Path) -> bool:
    """Whether the folder is laid out as MUSDB18-HQ, which has mixtures throughout."""
    songs = [path for path in _below(root) if " - " in path.name]
    return any((path / "mixture.wav").is_file() for path in songs)


def _below(root: Path) -> list[Path]:
    return [
        path
        for name in ("train", "test")
        if (root / name).is_dir()
        for path in entries(root / name)
    ]


def read_musdb18(
    root: str | Path, split: str | None = None, *, broken: list[str] | None = None
) -> list[Track]:
    """The songs of MUSDB18 as stem files; "train" is without the 14 songs of "validation".

    Raises DataError; see `stemwise.data.sets.read_set` for `broken`.
    """
    root = root_folder(root)
    check_split(root, split, _FOLDERS)
    found = [
        (path.name.removesuffix(STEM_SUFFIX), path)
        for path in _below(root)
        if path.name.endswith(STEM_SUFFIX)
    ]
    if not found:
        raise no_tracks(root, "MUSDB18", LAYOUT)
    songs = [song for song in found if split in (None, _split(*song))]
    return collect(songs, _stem_file, broken)


def _stem_file(song: tuple[str, Path]) -> Track:
    name, path = song
    parts = stem_file_parts(path)
    mixture = parts.pop("mixture")
    return make_track(name, _split(name, path), parts, mixture)


def read_musdb18hq(
    root: str | Path, split: str | None = None, *, broken: list[str] | None = None
) -> list[Track]:
    """The songs of MUSDB18-HQ; "train" is without the 14 songs of "validation".

    Raises DataError; see `stemwise.data.sets.read_set` for `broken`.
    """
    root = root_folder(root)
    check_split(root, split, _FOLDERS)
    below = [
        path
        for name in ("train", "test")
        if (root / name).is_dir()
        for path in folders(root / name)
    ]
    if not below:
        raise no_tracks(root, "MUSDB18-HQ", HQ_LAYOUT)
    songs = [(path.name, path) for path in below if split in (None, _split(path.name, path))]
    return collect(songs, _folder, broken)


def _folder(song: tuple[str, Path]) -> Track:
    name, path = song
    parts = {source: (Part(required(path, f"{source}.wav")),) for source in STEM_NAMES}
    mixture = parts.pop("mixture")
    return make_track(name, _split(name, path), parts, mixture)


def _split(name: str, path: Path) -> str:
    folder = path.parent.name
    return "validation" if folder == "train" and name in VALIDATION else folder
