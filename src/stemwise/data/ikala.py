"""iKala: one WAV per clip with the accompaniment in its left and the voice in its right channel.

mirdata reads its index, but wants all of its files; the sounds are all that is needed here.
"""

from __future__ import annotations

from pathlib import Path

from stemwise.data.reading import (
    audio_files,
    check_split,
    collect,
    make_track,
    no_tracks,
    root_folder,
)
from stemwise.data.track import Part, Track

LAYOUT = "Wavfile/*.wav (left the accompaniment, right the voice)"


def fits_ikala(root: Path) -> bool:
    """Whether the folder is laid out as iKala."""
    return (root / "Wavfile").is_dir()


def read_ikala(
    root: str | Path, split: str | None = None, *, broken: list[str] | None = None
) -> list[Track]:
    """The clips of iKala, which has no splits: mono accompaniment and vocals, their sum the mix.

    Raises DataError; see `stemwise.data.sets.read_set` for `broken`.
    """
    root = root_folder(root)
    check_split(root, split, ())
    clips = audio_files(root / "Wavfile") if fits_ikala(root) else []
    if not clips:
        raise no_tracks(root, "iKala", LAYOUT)
    return collect(clips, _clip, broken)


def _clip(path: Path) -> Track:
    stems = {"vocals": (Part(path, channel=1),), "accompaniment": (Part(path, channel=0),)}
    return make_track(path.stem, "", stems)
