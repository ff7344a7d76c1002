"""MedleyDB (versions 1 and 2) and Mixing Secrets: stems by instrument, with activation confidence.

The medleydb package reads only the songs in its own index, and pins old versions of its needs;
Mixing Secrets has no library.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from stemwise.activity_files import LabelFile, read_text
from stemwise.data.instruments import TARGETS, sources_within
from stemwise.data.reading import (
    check_link,
    check_split,
    collect,
    entries,
    find_file,
    folders,
    make_track,
    no_tracks,
    root_folder,
)
from stemwise.data.track import Part, Track
from stemwise.errors import DataError

LAYOUT = (
    "Audio/<id>/{<id>_MIX.wav, <id>_STEMS/<id>_STEM_NN.wav, <id>_METADATA.yaml} and "
    "<id>_ACTIVATION_CONF.lab beside them or in Annotations"
)
_METADATA = "_METADATA.yaml"
_CONFIDENCE = "_ACTIVATION_CONF.lab"
_AUDIO_FOLDERS = ("Audio", "V1", "V2")
_METADATA_FOLDERS = ("Metadata", "METADATA")
_LABEL_FOLDERS = (
    "Annotations/Instrument_Activations/ACTIVATION_CONF",
    "Annotations/ACTIVATION_CONF",
    "Annotations",
    "ACTIVATION_CONF",
)
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class StemInfo:
    """What the metadata say of one stem: its file, and the instruments that are heard in it."""

    file: str
    instruments: tuple[str, ...]


@dataclass(frozen=True)
class SongInfo:
    """What a metadata file says.

    Attributes:
        path: the metadata file.
        stems: by their names S01, S02 ...
        mix_file, stem_folder, raw_folder: names within the folder of the song.
        origin: where the song comes from, e.g. "Mixing Secrets".
        bleed: whether instruments are heard in the stems of others.
    """

    path: Path
    stems: Mapping[str, StemInfo]
    mix_file: str
    stem_folder: str
    raw_folder: str
    origin: str
    bleed: bool

    @property
    def name(self) -> str:
        """The song's name, e.g. AimeeNorwich_Child."""
        return self.path.name.removesuffix(_METADATA)

    def groups(self) -> dict[str, tuple[str, ...]]:
        """Stem names of each source, whose sum is all that is heard of it.

        Sources that share a stem (a singer recorded with the piano) cannot be told apart: they make
        up one source named after all of them. Raises DataError for an instrument not in the table.
        """
        groups: list[tuple[set[str], list[str]]] = []
        for stem, info in self.stems.items():
            try:
                sources, stems = sources_within(info.instruments), [stem]
            except KeyError as error:
                raise DataError(
                    f"{self.path}: stem {stem} is of the unknown instrument {error}; "
                    f"add it to stemwise/data/instruments.yaml"
                ) from error
            for group in [one for one in groups if one[0] & sources]:
                groups.remove(group)
                sources, stems = sources | group[0], group[1] + stems
            groups.append((sources, stems))
        return {" + ".join(sorted(sources)): tuple(stems) for sources, stems in groups}


def read_metadata(path: Path) -> SongInfo:
    """Read a metadata file of MedleyDB or Mixing Secrets; raises DataError."""
    text = read_text(path)
    try:
        found = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise DataError(f"{path}{line}: not YAML; get the metadata file again") from error
    try:
        stems = {
            str(name): StemInfo(str(stem["filename"]), _instruments(stem["instrument"]))
            for name, stem in sorted(found["stems"].items())
        }
        name = path.name.removesuffix(_METADATA)
        return SongInfo(
            path,
            stems,
            str(found.get("mix_filename") or f"{name}_MIX.wav"),
            str(found.get("stem_dir") or f"{name}_STEMS"),
            str(found.get("raw_dir") or f"{name}_RAW"),
            str(found.get("origin") or ""),
            found.get("has_bleed") in ("yes", True),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is no metadata of a song: expected stems, each with a filename and an "
            f"instrument ({error!r})"
        ) from error


def songs_per_target(songs: Iterable[SongInfo]) -> dict[str, int]:
    """Number of songs with a stem of each of TARGETS in which no other source is heard."""
    counts = Counter(source for song in songs for source in song.groups())
    return {target: counts[target] for target in TARGETS}


def _instruments(value: Any) -> tuple[str, ...]:
    names = value if isinstance(value, list) else [value]
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f"instrument {value!r}")
    return tuple(names)


def fits_medleydb(root: Path) -> bool:
    """Whether the folder is laid out as MedleyDB."""
    return "Mixing Secrets" not in (_origin(root) or "Mixing Secrets")


def fits_mixing_secrets(root: Path) -> bool:
    """Whether the folder is laid out as MedleyDB, and its songs are those of Mixing Secrets."""
    return "Mixing Secrets" in (_origin(root) or "")


def _origin(root: Path) -> str | None:
    """Where the first readable song comes from; None where there is no song."""
    found = None
    for song in _song_folders(root):
        path = _metadata_file(root, song)
        try:
            if path is not None:
                return read_metadata(path).origin or "unknown"
        except DataError:
            found = "unknown"
    return found


def read_medleydb(
    root: str | Path,
    split: str | None = None,
    *,
    broken: list[str] | None = None,
    mix: bool = False,
) -> list[Track]:
    """The songs of MedleyDB or Mixing Secrets, which have no splits, with their stems by source.

    Sources are those of `stemwise.data.instruments`. The mixture is the sum of the stems, since
    the finished mix is mastered and therefore not their sum; `mix` takes the finished mix instead.
    Raises DataError; see `stemwise.data.sets.read_set` for `broken`.
    """
    root = root_folder(root)
    check_split(root, split, ())
    songs = _song_folders(root)
    if not songs:
        raise no_tracks(root, "MedleyDB or Mixing Secrets", LAYOUT)
    labels = _label_files(root)
    return collect(songs, _song_reader(root, labels, mix), broken)


def _song_folders(root: Path) -> list[Path]:
    parents = [root / name for name in _AUDIO_FOLDERS if (root / name).is_dir()] or [root]
    return [
        path
        for parent in parents
        for path in folders(parent)
        if (path / f"{path.name}_STEMS").is_dir() or _metadata_file(root, path) is not None
    ]


def _metadata_file(root: Path, song: Path) -> Path | None:
    for folder in (song, *(root / name for name in _METADATA_FOLDERS)):
        if (path := folder / f"{song.name}{_METADATA}").is_file():
            return path
    return None


def _label_files(root: Path) -> dict[str, Path]:
    """Confidence files of the annotation folders, by song."""
    return {
        _key(path.name.removesuffix(_CONFIDENCE)): path
        for name in _LABEL_FOLDERS
        if (root / name).is_dir()
        for path in entries(root / name)
        if path.name.endswith(_CONFIDENCE)
    }


def _key(name: str) -> str:
    # two label files of MedleyDB are named "CroqueMadame_Pilot(Lakelot)" and "...-ChicagoReel"
    return re.sub(r"\(.*?\)|[\W_]", "", name).casefold()


def _song_reader(root: Path, labels: Mapping[str, Path], mix: bool) -> Callable[[Path], Track]:
    def read(song: Path) -> Track:
        check_link(song)
        metadata = _metadata_file(root, song)
        if metadata is None:
            raise DataError(f"{song} has no {song.name}{_METADATA}; get it, or remove the song")
        info = read_metadata(metadata)
        if not info.stems:
            raise DataError(f"{metadata} lists no stems; get the metadata file again")
        groups = info.groups()
        stems = {
            source: tuple(Part(_stem_file(song, info, name)) for name in names)
            for source, names in groups.items()
        }
        mixture: tuple[Part, ...] = ()
        if mix:
            found = find_file(song, info.mix_file)
            if found is None:
                raise DataError(f"{song} has no {info.mix_file}; get it, or remove the song")
            mixture = (Part(found),)
        label = find_file(song, f"{song.name}{_CONFIDENCE}") or labels.get(_key(song.name))
        activity = None if label is None else LabelFile(label, sources=groups, complete=True)
        return make_track(song.name, "", stems, mixture, activity)

    return read


def _stem_file(song: Path, info: SongInfo, stem: str) -> Path:
    """The file of a stem; Mixing Secrets keeps some among the raw tracks, or by number."""
    file = info.stems[stem].file
    numbered = f"{song.name}_STEM_{stem.removeprefix('S')}.wav"
    for name in (file, numbered):
        for folder in (song / info.stem_folder, song / info.raw_folder, song):
            if (path := find_file(folder, name)) is not None:
                return path
    raise DataError(f"{song / info.stem_folder} has no {file}; get the song again, or remove it")
