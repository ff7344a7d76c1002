"""Reader of plain folders: `<root>[/split]/<track>/<source>.{wav,flac}`.

Optional beside the stems: `mixture.{wav,flac}` and labels `activity.{csv,lab,txt,jams}`.
This is also the layout in which the band renders its songs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import soundfile

from stemwise.data.track import Part, Song, Track
from stemwise.errors import DataError

SPLITS = ("train", "validation", "test")
_AUDIO = (".wav", ".flac")
_LABELS = (".csv", ".lab", ".txt", ".jams")
_AnySong = TypeVar("_AnySong", bound=Song)


def read_folder(root: str | Path, split: str | None = None) -> list[Track]:
    """List the tracks of a folder, sorted by name.

    Args:
        root: folder of track folders, or of `train`, `validation`, `test` folders of them.
        split: only this split; None takes everything that is not in a split folder, or
            all splits where there are split folders.

    Raises:
        DataError: no such folder, no track in it, a track whose files differ in rate, or that
            holds a source twice.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; give the folder that holds the tracks")
    splits = [name for name in SPLITS if (root / name).is_dir()]
    if split is not None and split not in splits:
        raise DataError(f"{root} has no split '{split}'; it has {', '.join(splits) or 'no splits'}")
    tracks: list[Track] = []
    for name in ([split] if split is not None else splits) or [""]:
        folders = sorted(path for path in (root / name).iterdir() if path.is_dir())
        tracks += [track for path in folders if (track := _read_track(path, name)) is not None]
    if not tracks:
        raise DataError(
            f"{root} holds no track; expected <track>/<source>.wav or .flac, e.g. song/vocals.wav"
        )
    return tracks


def _read_track(path: Path, split: str) -> Track | None:
    """The track in one folder; None for folders without audio and for unfinished (hidden) ones."""
    if path.name.startswith("."):
        return None
    files = sorted(path.iterdir())
    audio: dict[str, Path] = {}
    for file in files:
        if file.suffix.lower() in _AUDIO:
            other = audio.setdefault(file.stem, file)
            if other != file:
                raise DataError(f"{other} and {file} are the same source; remove one of them")
    if not audio:
        return None
    infos = {source: _info(file) for source, file in audio.items()}
    rates = {info.samplerate for info in infos.values()}
    if len(rates) > 1:
        raise DataError(f"{path} mixes sample rates {sorted(rates)}; bring its files to one rate")
    mixture = audio.pop("mixture", None)
    labels = [file for file in files if file.stem == "activity" and file.suffix.lower() in _LABELS]
    return Track(
        name=path.name if not split else f"{split}/{path.name}",
        split=split,
        sample_rate=rates.pop(),
        samples=min(info.frames for info in infos.values()),
        stems={source: (Part(file),) for source, file in audio.items()},
        mixture=() if mixture is None else (Part(mixture),),
        activity=labels[0] if labels else None,
    )


def _info(file: Path) -> soundfile._SoundFileInfo:
    try:
        return soundfile.info(str(file))
    except (OSError, soundfile.SoundFileError) as error:
        raise DataError(f"cannot read {file} as audio ({error}); replace or remove it") from error


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
