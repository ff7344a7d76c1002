"""Reader of plain folders: `<root>[/split][/...]/<track>/<source>.{wav,flac,mp3,...}`.

Optional beside the stems: `mixture.*` and labels `activity.{csv,lab,txt,jams}`. A stem file
`<track>.stem.mp4` with `<track>.activity.*` beside it is a track too. This is also the layout in
which the band renders its songs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from stemwise.activity_files import SUFFIXES, LabelFile
from stemwise.data.reading import (
    STEM_SUFFIX,
    audio_files,
    check_link,
    collect,
    entries,
    folders,
    make_track,
    root_folder,
    stem_file_parts,
)
from stemwise.data.track import Part, Song, Track
from stemwise.errors import DataError

LAYOUT = "[train,validation,test]/<track>/<source>.wav or .flac or .mp3 ..., e.g. song/vocals.wav"
SPLITS = ("train", "validation", "test")
_AnySong = TypeVar("_AnySong", bound=Song)
_ALIASES = {"valid": "validation", "val": "validation", "dev": "validation"}


def fits_folder(root: Path) -> bool:
    """Whether there is a track anywhere in the folder."""
    try:
        return next(_candidates(root, ()), None) is not None
    except DataError:
        return True


def read_folder(
    root: str | Path, split: str | None = None, *, broken: list[str] | None = None
) -> list[Track]:
    """List the tracks of a folder, sorted by name.

    Args:
        root: folder of track folders, or of `train`, `validation`, `test` folders of them; track
            folders may lie deeper.
        split: only this split; None takes everything that is not in a split folder, or
            all splits where there are split folders.
        broken: where to put the sentences on broken tracks; None raises the first.

    Raises:
        DataError: no such folder, no track in it, a track whose files differ in rate or length or
            cannot be read, or that holds a source twice, a link that leads in a circle.
    """
    root = root_folder(root)
    places = _splits(root)
    if split is not None and split not in places:
        raise DataError(f"{root} has no split '{split}'; it has {', '.join(places) or 'no splits'}")
    chosen = {split: places[split]} if split is not None else places or {"": root}
    found = 0
    tracks: list[Track] = []
    for name, place in chosen.items():
        songs = _listed(place, broken)
        found += len(songs)
        tracks += collect(songs, partial(_read, root, name), broken)
    if not found and not broken:
        raise DataError(f"{root} holds no track; expected {LAYOUT}")
    return tracks


def _splits(root: Path) -> dict[str, Path]:
    """Folder of each split, in the order of training, validation, test."""
    named: dict[str, Path] = {}
    for path in folders(root):
        name = _ALIASES.get(path.name, path.name)
        if (other := named.setdefault(name, path)) != path:
            raise DataError(f"{other} and {path} are both the split '{name}'; join them")
    return {name: named[name] for name in SPLITS if name in named}


def _listed(place: Path, broken: list[str] | None) -> list[Path]:
    songs: list[Path] = []
    walk = _candidates(place, ())
    try:
        for song in walk:
            songs.append(song)
    except DataError as error:
        if broken is None:
            raise
        broken.append(str(error))
    return songs


def _candidates(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """Track folders and stem files below a folder; those within a track belong to it."""
    here = folder.resolve()
    if here in above:
        raise DataError(f"{folder} is a symbolic link that leads back to {here}; remove it")
    for path in entries(folder):
        if path.name.lower().endswith(STEM_SUFFIX):
            yield path
            continue
        check_link(path)
        if not path.is_dir():
            continue
        if any(not file.name.lower().endswith(STEM_SUFFIX) for file in audio_files(path)):
            yield path
        else:
            yield from _candidates(path, (*above, here))


def _read(root: Path, split: str, song: Path) -> Track:
    name = song.relative_to(root).as_posix()
    return read_track(song, name if song.is_dir() else name[: -len(STEM_SUFFIX)], split)


def read_track(song: Path, name: str, split: str) -> Track:
    """One track, a folder of stems or a stem file, under a name; raises DataError."""
    if not song.is_dir():
        stems = stem_file_parts(song)
        title, beside = f"{song.name[: -len(STEM_SUFFIX)]}.activity", song.parent
    else:
        stems = _stems(song)
        title, beside = "activity", song
    mixture = stems.pop("mixture", ())
    labels = [
        file for file in entries(beside) if file.stem == title and file.suffix.lower() in SUFFIXES
    ]
    return make_track(name, split, stems, mixture, LabelFile(labels[0]) if labels else None)


def _stems(folder: Path) -> dict[str, tuple[Part, ...]]:
    audio: dict[str, Path] = {}
    for file in audio_files(folder):
        other = audio.setdefault(file.stem, file)
        if other != file:
            raise DataError(f"{other} and {file} are the same source; remove one of them")
    return {source: (Part(file),) for source, file in audio.items()}


def check_tracks(
    tracks: Iterable[_AnySong], sources: Sequence[str], sample_rate: int, samples: int
) -> list[_AnySong]:
    """Keep the tracks that have at least `samples` samples.

    Raises DataError when a track has another sample rate than training wants, when no track is
    long enough, or when some source appears in no track.
    """
    kept: list[_AnySong] = []
    for track in tracks:
        if track.sample_rate != sample_rate:
            raise DataError(
                f"track '{track.name}' has {track.sample_rate} Hz but the recipe trains at "
                f"{sample_rate} Hz; render or prepare the data at that rate"
            )
        if track.samples >= samples:
            kept.append(track)
    if not kept:
        seconds = samples / sample_rate
        raise DataError(f"no track is {seconds:.1f} s long; use longer songs or shorter excerpts")
    for source in sources:
        if not any(source in track.stems for track in kept):
            raise DataError(f"no track has a stem '{source}', which the separator must learn")
    return kept
