"""Folders that `stemwise separate` wrote: a song's stems and its activity, found again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stemwise.activity import Activity, read_activity
from stemwise.audio import AudioInfo, probe
from stemwise.audio.format import EXTENSIONS
from stemwise.errors import AudioError, DataError
from stemwise.report.multitrack import MIXTURE
from stemwise.report.page import SUMMED

ACTIVITY = "activity.csv"
_USUAL = ("vocals", "drums", "bass", "other", "accompaniment")
_APART = 0.1
"""Seconds by which lengths may differ that headers of compressed files tell."""


@dataclass(frozen=True)
class SongFolder:
    """What a folder holds of one song; mixture: the song's file, None: the sum of the stems."""

    path: Path
    stems: dict[str, Path]
    mixture: Path | None
    activity: Activity | None
    info: AudioInfo
    """Of the first stem; the others have its rate, channels and length."""

    @property
    def title(self) -> str:
        """The folder's name, which is the song's."""
        return self.path.resolve().name

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the sum of the stems lacks of the song, if it stands for the song."""
        if self.mixture is not None or self.activity is None:
            return ()
        lost = [name for name in self.activity.sources if name not in self.stems]
        # `--two-stems` writes the rest as one stem
        if not lost or any(f"no_{name}" in self.stems for name in self.activity.sources):
            return ()
        return (f"The mixture lacks {', '.join(lost)}: --song FILE gives the whole song.",)


def find_songs(folder: Path) -> list[Path]:
    """The folder itself if it holds a song's stems, else those of its folders that do.

    Raises AudioError for a folder that is not there and for one without stems.
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise AudioError(f"{folder} {what}: name a folder that `stemwise separate` wrote.")
    inside = sorted(one for one in folder.iterdir() if one.is_dir() and one.name[0] != ".")
    songs = [one for one in inside if _audio_files(one)]
    # songs beside the folders of their stems are no stems
    if _audio_files(folder) and (not songs or (folder / ACTIVITY).is_file()):
        return [folder]
    if not songs:
        raise AudioError(
            f"{folder} holds no audio ({', '.join(EXTENSIONS)}), and neither do its folders: name "
            "a folder that `stemwise separate` wrote."
        )
    return songs


def _audio_files(folder: Path) -> list[Path]:
    return sorted(
        one
        for one in folder.iterdir()
        if not one.name.endswith(SUMMED)  # of an earlier report
        and one.suffix.lower().lstrip(".") in EXTENSIONS
        and one.name[0] != "."
        and one.is_file()
    )


def read_song(folder: Path, song: Path | None = None) -> SongFolder:
    """Stems, activity and mixture of one song.

    song: the file that was separated; without it a file called mixture in the folder, if there is
    one. Raises AudioError for stems that do not fit together or to the song, DataError for a
    broken activity.csv.
    """
    stems: dict[str, Path] = {}
    for path in _audio_files(folder):
        if path.stem in stems:
            raise AudioError(
                f"{folder} holds {path.stem} twice ({stems[path.stem].name} and {path.name}): "
                "move one of them away."
            )
        stems[path.stem] = path
    own = stems.pop(MIXTURE, None)
    mixture = song or own
    if not stems:
        raise AudioError(f"{folder} holds a mixture and no stems.")
    stems = {name: stems[name] for name in sorted(stems, key=_order)}
    info = _agree(stems)
    if mixture is not None:
        _fits(mixture, info)
    table = folder / ACTIVITY
    activity = read_activity(table) if table.is_file() else None
    if activity is not None and not set(activity.sources) & set(stems):
        raise DataError(
            f"{table} tells of {', '.join(activity.sources) or 'nothing'}, and the stems are "
            f"{', '.join(stems)}: is it from another song?"
        )
    return SongFolder(folder, stems, mixture, activity, info)


def _order(name: str) -> tuple[int, str]:
    return (_USUAL.index(name) if name in _USUAL else len(_USUAL), name)


def _agree(stems: dict[str, Path]) -> AudioInfo:
    infos = [probe(path) for path in stems.values()]
    first = infos[0]
    for other in infos:
        for what, one, another in (
            ("sample rates", f"{first.sample_rate} Hz", f"{other.sample_rate} Hz"),
            ("channels", str(first.channels), str(other.channels)),
        ):
            if one != another:
                raise AudioError(
                    f"{first.path} and {other.path} differ in {what} ({one}, {another}): a report "
                    "is of the stems of one song."
                )
        if _apart(first, other):
            raise AudioError(
                f"{first.path} and {other.path} differ in length ({first.duration:.2f} s, "
                f"{other.duration:.2f} s): a report is of the stems of one song."
            )
    return first


def _fits(song: Path, stem: AudioInfo) -> None:
    info = probe(song)
    if _apart(info, stem):
        raise AudioError(
            f"{song} is {info.duration:.2f} s long and the stems {stem.duration:.2f} s: is it the "
            "song that they were separated from?"
        )


def _apart(one: AudioInfo, other: AudioInfo) -> bool:
    if one.duration is None or other.duration is None:
        return False  # only decoding tells
    return abs(one.duration - other.duration) > _APART
