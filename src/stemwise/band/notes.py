"""Notes, the small hesitations of human players, and chord voicings."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from stemwise.band.song import Chord, Song


@dataclass(frozen=True)
class Note:
    """One note: seconds, MIDI pitch (60 is middle C), velocity 0 to 1."""

    start: float
    end: float
    pitch: int
    velocity: float


def humanise(
    rng: np.random.Generator, notes: list[Note], timing: float, dynamics: float
) -> list[Note]:
    """Normally distributed timing (seconds) and relative velocity errors."""
    shifts = rng.normal(0.0, timing, len(notes))
    scales = 1.0 + rng.normal(0.0, dynamics, len(notes))
    return [
        replace(
            note,
            start=max(0.0, note.start + float(shift)),
            end=max(note.start + float(shift) + 0.03, note.end + float(shift)),
            velocity=float(np.clip(note.velocity * scale, 0.05, 1.0)),
        )
        for note, shift, scale in zip(notes, shifts, scales, strict=True)
    ]


def nearest(pitch_class: int, centre: float) -> int:
    """The MIDI pitch of a pitch class that lies nearest to `centre`."""
    return int(np.round((centre - pitch_class) / 12.0) * 12 + pitch_class)


def voicing(
    chord: Chord, centre: float, previous: list[int] | None = None, size: int = 4
) -> list[int]:
    """Close position of the chord about `centre`, led smoothly from the previous voicing."""
    middle = centre if not previous else 0.6 * float(np.mean(previous)) + 0.4 * centre
    pitches = sorted({nearest(note, middle) for note in chord.notes})
    while len(pitches) < size:
        pitches.append(
            pitches[len(pitches) - len(chord.notes)] + 12
            if len(pitches) >= len(chord.notes)
            else pitches[0] + 12
        )
        pitches = (
            sorted(set(pitches))
            if len(set(pitches)) == len(pitches)
            else sorted({*pitches, pitches[-1] + 12})
        )
    return pitches[:size]


_OPEN_STRINGS = (40, 45, 50, 55, 59, 64)


def guitar_shape(chord: Chord, position: int) -> list[int]:
    """Pitches of a strummed chord: each string's lowest chord tone at or above the position."""
    shape = []
    for string in _OPEN_STRINGS:
        for pitch in range(string + position, string + position + 5):
            if pitch % 12 in chord.notes:
                shape.append(pitch)
                break
    while shape and shape[0] % 12 != chord.root and len(shape) > 4:
        shape.pop(0)
    return shape


def playing(song: Song, stem: str) -> list[tuple[float, float]]:
    """Stretches (start, end in seconds) in which a stem is active, adjacent sections joined."""
    stretches: list[tuple[float, float]] = []
    for section in song.sections:
        if stem not in section.active:
            continue
        if stretches and abs(stretches[-1][1] - section.start) < 1e-6:
            stretches[-1] = (stretches[-1][0], section.end)
        else:
            stretches.append((section.start, section.end))
    return stretches
