"""CCMixter: folders of songs with the mixture, the accompaniment and the voice.

No library reads it.
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

LAYOUT = "<song>/{mix,source-01,source-02}.wav (01 the accompaniment, 02 the voice)"


def fits_ccmixter(root: Path) -> bool:
    """Whether the folder is laid out as CCMixter."""
    return any(list(path.glob("source-0[12].wav")) for path in folders(root))


def read_ccmixter(
    root: str | Path, split: str | None = None, *, broken: list[str] | None = None
) -> list[Track]:
    """The songs of CCMixter, which has no splits: accompaniment and vocals.

    Raises DataError; see `stemwise.data.sets.read_set` for `broken`.
    """
    root = root_folder(root)
    check_split(root, split, ())
    songs = folders(root)
    if not fits_ccmixter(root):
        raise no_tracks(root, "CCMixter", LAYOUT)
    return collect(songs, _song, broken)


def _song(path: Path) -> Track:
    stems = {
        "vocals": (Part(required(path, "source-02.wav")),),
        "accompaniment": (Part(required(path, "source-01.wav")),),
    }
    return make_track(path.name, "", stems, (Part(required(path, "mix.wav")),))
