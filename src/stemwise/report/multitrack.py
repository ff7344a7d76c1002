"""The multitrack document: all that the player needs of a song, as plain JSON.

The player's own description of it is `web/src/player/multitrack.ts`. The mixture is the first
track. All tracks share the picture's scale, so that a quiet stem looks quiet.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypedDict
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from stemwise.activity import Activity
from stemwise.errors import AudioError
from stemwise.report.recording import Recording, data_url, listen_all

MIXTURE = "mixture"
MOST_FRAMES = 8000
"""Frames of probability in a document; neighbours of longer songs share their highest."""
_COLOURS = {"vocals": 0, "drums": 1, "bass": 2, "other": 3, "accompaniment": 3}
_COLOUR_COUNT = 8


class Audio(TypedDict):
    """Where a track is heard: "wav" by HTTP with ranges, "embedded" data: URL, "linked" file."""

    kind: Literal["wav", "embedded", "linked"]
    url: str


class Peaks(TypedDict):
    """Lowest and highest sample and root mean square of equal parts of the track."""

    lows: list[float]
    highs: list[float]
    rms: list[float]


class Levels(TypedDict):
    """dB relative to full scale, and LUFS (ITU-R BS.1770-4); None for silence or too short."""

    peak_db: float | None
    rms_db: float | None
    loudness_lufs: float | None


class Playing(TypedDict):
    """When a stem plays: frame i is centred at i / frame_rate; seconds (start, end); 0 to 1."""

    frame_rate: float
    probability: list[float]
    segments: list[tuple[float, float]]
    share: float


class Spectrogram(TypedDict):
    """A picture over the track's duration; frequency is logarithmic, from bottom to top."""

    url: str
    low_hz: float
    high_hz: float


class Track(TypedDict):
    """The mixture or a stem; duration in seconds, colour an index of the player's palette."""

    name: str
    kind: Literal["mixture", "stem"]
    colour: int | Literal["mixture"]
    duration: float
    audio: Audio
    peaks: Peaks
    levels: Levels
    activity: Playing | None
    spectrogram: Spectrogram | None


class Multitrack(TypedDict):
    """A song; duration in seconds is that of the longest track."""

    title: str
    duration: float
    sample_rate: int
    channels: int
    facts: dict[str, str]
    warnings: list[str]
    tracks: list[Track]


Place = Callable[[str, bytes], str]


def embedded_picture(name: str, png: bytes) -> str:
    """The address of a picture that the document itself holds."""
    return data_url("image/png", png)


def describe(
    *,
    title: str,
    mixture: Path | None,
    stems: Mapping[str, Path],
    activity: Activity | None = None,
    facts: Mapping[str, str] | None = None,
    warnings: Sequence[str] = (),
    audio: Literal["embedded", "linked"] | Mapping[str, str] = "embedded",
    directory: Path | None = None,
    summed: str = "mixture.opus",
    picture: Place | None = embedded_picture,
    cancel: threading.Event | None = None,
) -> Multitrack:
    """Measure a song's files, each in one pass and several at a time, and describe them.

    mixture: the song's file; None: the sum of the stems. activity: those it does not know have
    none. audio: "embedded" puts a compressed copy of each track into the document; "linked" plays
    the files from where they lie, with addresses as seen from `directory`, where the sum of the
    stems is written as `summed`; or the addresses of served files by track, "mixture" among them.
    picture: gets a track's name and PNG image and returns the address that the document states;
    None: no spectrograms. Raises AudioError, OutputError, and Cancelled soon after `cancel` is set.
    """
    if MIXTURE in stems:
        raise AudioError("A stem cannot be called mixture, as the song is: rename its file.")
    if mixture is None and not stems:
        raise AudioError("There are no stems and no song to describe.")
    sources: dict[str, Path | Sequence[Path]] = {MIXTURE: mixture or list(stems.values()), **stems}
    copies: dict[str, Path] = {}
    if audio == "linked" and mixture is None:
        copies[MIXTURE] = (directory or Path()) / summed
    recordings = listen_all(
        sources,
        preview=audio == "embedded",
        pictures=picture is not None,
        copies=copies,
        cancel=cancel,
    )
    if isinstance(audio, str):
        files = {name: copies.get(name) or one for name, one in sources.items()}
        places = {one.name: _place(one, files[one.name], directory) for one in recordings}
    else:
        places = {one.name: Audio(kind="wav", url=audio[one.name]) for one in recordings}
    return compose(title, recordings, places, activity, facts or {}, warnings, picture)


def compose(
    title: str,
    recordings: Sequence[Recording],
    places: Mapping[str, Audio],
    activity: Activity | None,
    facts: Mapping[str, str],
    warnings: Sequence[str] = (),
    picture: Place | None = embedded_picture,
) -> Multitrack:
    """The document of measured recordings, the mixture first, and where each is heard."""
    mixture = recordings[0]
    palette = colours(one.name for one in recordings[1:])
    playing = {} if activity is None else described_activity(activity)
    pictures = [one.picture for one in recordings if one.picture is not None]
    top = max((one.loudest for one in pictures), default=-math.inf)
    tracks: list[Track] = []
    for one in recordings:
        tracks.append(
            Track(
                name=one.name,
                kind="stem" if one.name in palette else "mixture",
                colour=palette.get(one.name, "mixture"),
                duration=round(one.duration, 6),
                audio=places[one.name],
                peaks=Peaks(
                    lows=_rounded(one.envelope.lows, 4),
                    highs=_rounded(one.envelope.highs, 4),
                    rms=_rounded(one.envelope.rms, 4),
                ),
                levels=Levels(
                    peak_db=_decibels(one.envelope.peak),
                    rms_db=_decibels(one.envelope.rms_level),
                    loudness_lufs=None if one.loudness is None else round(one.loudness, 2),
                ),
                activity=playing.get(one.name) if one.name in palette else None,
                spectrogram=_pictured(one, picture, top),
            )
        )
    return Multitrack(
        title=title,
        duration=max(track["duration"] for track in tracks),
        sample_rate=mixture.sample_rate,
        channels=mixture.channels,
        facts=dict(facts),
        warnings=list(warnings),
        tracks=tracks,
    )


def colours(stems: Iterable[str]) -> dict[str, int]:
    """An index of the palette for each stem: the usual ones have theirs, the rest by order."""
    chosen: dict[str, int] = {}
    for name in stems:
        rest = [*range(4, _COLOUR_COUNT), *range(4)]
        free = [one for one in rest if one not in chosen.values()] or rest
        chosen[name] = _COLOURS.get(name, free[0])
    return chosen


def described_activity(activity: Activity) -> dict[str, Playing]:
    """When each source plays, with at most `MOST_FRAMES` frames of probability."""
    frames = activity.probabilities.shape[1]
    # an odd number, so that a group's centre is a frame's
    each = 1 if frames <= MOST_FRAMES else -(-frames // MOST_FRAMES) | 1
    ratio, spans = activity.ratio(), activity.segments()
    return {
        name: Playing(
            frame_rate=activity.frame_rate / each,
            probability=_rounded(_highest(activity[name], each), 3),
            segments=[(round(start, 4), round(end, 4)) for start, end in spans[name]],
            share=round(ratio[name], 4),
        )
        for name in activity.sources
    }


def _highest(row: NDArray[np.float32], each: int) -> NDArray[np.float32]:
    """Highest of `each` neighbours, groups centred on every `each`-th frame, the first at 0."""
    if each == 1 or not row.size:
        return row
    starts = np.maximum(np.arange(0, row.size, each) - each // 2, 0)
    highest: NDArray[np.float32] = np.maximum.reduceat(row, starts)
    return highest


def _pictured(recording: Recording, picture: Place | None, top: float) -> Spectrogram | None:
    drawn = recording.picture
    if drawn is None or picture is None:
        return None
    return Spectrogram(
        url=picture(recording.name, drawn.png(top)), low_hz=drawn.low_hz, high_hz=drawn.high_hz
    )


def _place(recording: Recording, file: Path | Sequence[Path], directory: Path | None) -> Audio:
    if recording.preview is not None:
        return Audio(kind="embedded", url=recording.preview)
    assert isinstance(file, Path)  # a sum has been given its copy
    return Audio(kind="linked", url=_address(file, directory or Path()))


def _address(path: Path, directory: Path) -> str:
    """Where a page finds a file beside it; an absolute address on another drive."""
    try:
        relative = os.path.relpath(path.resolve(), directory.resolve())
    except ValueError:
        return path.resolve().as_uri()
    return quote(Path(relative).as_posix())


def _rounded(values: NDArray[np.float32], digits: int) -> list[float]:
    # adding zero leaves no negative zeros
    rounded: list[float] = (np.round(values.astype(np.float64), digits) + 0.0).tolist()
    return rounded


def _decibels(level: float) -> float | None:
    return round(20 * math.log10(level), 2) + 0.0 if level > 0 else None
