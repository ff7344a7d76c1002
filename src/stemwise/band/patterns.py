"""What accompanying instruments play: strums, arpeggios, pads, stabs, riffs, melodies."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stemwise.band.notes import Note, guitar_shape, nearest, voicing
from stemwise.band.song import Chord, Section, Song

Player = Callable[[Song, Section, np.random.Generator], list[Note]]

_STRUMS = (
    "D...D.U...U.D.U.",
    "D.D.D.D.D.D.D.D.",
    "D...D...D.U.D.U.",
    "D..UD..UD..UD..U",
    "D.DUD.DUD.DUD.DU",
    "D.......D.......",
    "D...............",
    "D..D..D...D.D...",
    "DuDuDuDuDuDuDuDu",
    "..D...D...D...D.",
)
_SCRATCHES = (
    "x.xxX.xxx.xxX.xx",
    "..x.x.X...x.x.X.",
    "xxXxxXxx..X.xxXx",
    "..X...X...X...X.",
    "X..X..X...X.X...",
)
_COMPS = (
    "X.....x.........",
    "X..x....X..x....",
    "..X...x...X.....",
    "X...x...X...x...",
    "X.....X...x.....",
    "x..X..x...X.x...",
    "..X...X...X...X.",
)
_STABS = (
    "X.......X.......",
    "X..X..X.........",
    "..X.....X.......",
    "X...............",
    "......X...X.X...",
    "X..X...X..X.....",
    "..X...X...X...X.",
)


def _bars(song: Song, section: Section) -> list[int]:
    first = round(section.start / song.bar)
    return [bar for bar in range(first, first + 64) if bar * song.bar < section.end - 0.1]


def _steps(song: Song, section: Section, pattern: str) -> list[tuple[float, float, str]]:
    """(start, seconds to the next mark, mark) of a 16-step pattern through the section."""
    marks: list[tuple[float, str]] = []
    for bar in _bars(song, section):
        for index, mark in enumerate(pattern[: 4 * song.beats_per_bar]):
            if mark != ".":
                marks.append((song.swung(bar * song.beats_per_bar + index / 4), mark))
    marks = [(time, mark) for time, mark in marks if time < section.end - 0.03]
    ends = [*(time for time, _ in marks), section.end][1:]  # none for a section without marks
    return [(time, end - time, mark) for (time, mark), end in zip(marks, ends, strict=True)]


def _spans(song: Song, section: Section) -> list[tuple[float, float, Chord]]:
    return [
        (max(chord.start, section.start), min(chord.end, section.end), chord)
        for chord in song.chords
        if chord.end > section.start + 0.02 and chord.start < section.end - 0.02
    ]


def strum(song: Song, section: Section, rng: np.random.Generator) -> list[Note]:
    """Guitar chords with the strings struck one after another, up and down."""
    pattern = str(rng.choice(_STRUMS))
    position = int(rng.choice([0, 0, 3, 5, 7]))
    delay = float(rng.uniform(0.004, 0.018))
    notes = []
    for start, gap, mark in _steps(song, section, pattern):
        shape = guitar_shape(song.chord_at(start + 0.02), position)
        order = shape if mark == "D" else shape[::-1][: 4 if mark == "U" else 3]
        end = start + min(gap, 2.5) * 0.98
        strength = (0.8 if mark == "D" else 0.6) * (0.8 + 0.25 * section.energy)
        for index, pitch in enumerate(order):
            begin = start + index * delay
            if begin < end - 0.03:
                notes.append(Note(begin, end, pitch, float(strength * rng.uniform(0.85, 1.1))))
    return notes


def scratch(song: Song, section: Section, rng: np.random.Generator) -> list[Note]:
    """Sixteenth-note funk guitar: short high chords between muted strokes."""
    pattern = str(rng.choice(_SCRATCHES))
    notes = []
    for start, gap, mark in _steps(song, section, pattern):
        shape = guitar_shape(song.chord_at(start + 0.02), 5)[-4:]
        length = 0.035 if mark == "x" else min(gap, 0.5 * song.beat)
        strength = 0.45 if mark == "x" else 0.85
        notes += [
            Note(start + 0.003 * i, start + length + 0.003 * i, p, strength)
            for i, p in enumerate(shape)
        ]
    return notes


def skank(song: Song, section: Section, rng: np.random.Generator) -> list[Note]:
    """Short chords on the off-beats."""
    pattern = str(rng.choice(["..X...X...X...X.", "....X.......X...", "..Xx..Xx..Xx..Xx"]))
    notes = []
    for start, _, mark in _steps(song, section, pattern):
        shape = guitar_shape(song.chord_at(start + 0.02), 5)[-4:]
        notes += [
            Note(start, start + 0.3 * song.beat, p, 0.8 if mark == "X" else 0.5) for p in shape
        ]
    return notes


def pick(song: Song, section: Section, rng: np.random.Generator) -> list[Note]:
    """Broken guitar chords: a bass note, then strings in a fixed order."""
    order = [int(i) for i in rng.permutation([1, 2, 3, 4, 3, 2, 4])]
    step = float(rng.choice([0.5, 0.5, 0.25 if song.tempo < 100 else 0.5]))
    position = int(rng.choice([0, 0, 2, 5]))
    notes = []
    for begin, end, chord in _spans(song, section):
        shape = guitar_shape(chord, position)
        beat, index = begin / song.beat, 0
        while (time := song.swung(beat)) < end - 0.05:
            string = 0 if index % 8 == 0 else order[index % 7] % len(shape)
            held = min(end, time + 2.2 * song.beat)
            notes.append(Note(time, held, shape[string], float(rng.uniform(0.55, 0.85))))
            beat, index = beat + step, index + 1
    return notes


def power(song: Song, section: Section, rng: np.random.Generator) -> list[Note]:
    """Root, fifth and octave: held, chugged in palm-muted eighths, or on accents."""
    manner = str(rng.choice(["held", "held", "chug", "chug", "accent", "eighths"]))
    pattern = {
        "held": "X...............",
        "chug": "x.x.x.x.x.x.x.x.",
        "eighths": "X.X.X.X.X.X.X.X.",
    }.get(
        manner,
        str(
            rng.choice(
                ["X..X..X...X.X...", "X.....X.X.......", "X..X..X.........", "X.XX..X.X.XX..X."]
            )
        ),
    )
    centre = float(rng.uniform(42, 48))
    notes = []
    for start, gap, mark in _steps(song, section, pattern):
        chord = song.chord_at(start + 0.02)
        root = nearest(chord.root, centre)
        pitches = [root, root + 7, root + 12] if mark == "X" else [root, root + 7]
        stop = min(start + gap, max(chord.end, start + 0.1)) if mark == "X" else start + 0.7 * gap
        notes += [Note(start, stop - 0.02, pitch, 0.9 if mark == "X" else 0.7) for pitch in pitches]
        following = stop
        while (
            mark == "X" and manner == "held" and following < start + gap - 0.1
        ):  # chords within the bar
            chord = song.chord_at(following + 0.02)
            until = min(start + gap, chord.end)
            root = nearest(chord.root, centre)
            notes += [Note(following, until - 0.02, root + step, 0.9) for step in (0, 7, 12)]
            following = max(until, following + 0.1)
    return notes


def riff(song: Song, section: Section, rng: np.random.Generator) -> list[Note]:
    """A one- or two-bar figure of the scale about the root, repeated and moved with the chords."""
    marks = rng.random(16) < np.where(np.arange(16) % 2 == 0, 0.7, 0.2)
    marks[0] = True
    steps = rng.choice([0, 0, 0, 3, 5, 7, 10, 12], 16)
    thick = bool(rng.random() < 0.4)
    pattern = "".join("x" if mark else "." for mark in marks)
    notes = []
    for start, gap, _ in _steps(song, section, pattern):
        index = round((start / song.beat % song.beats_per_bar) * 4) % 16
        root = nearest(song.chord_at(start + 0.02).root, 45)
        pitch = nearest(
            min(song.scale, key=lambda s: (s - root - steps[index]) % 12), root + int(steps[index])
        )
        for extra in (0, 7) if thick else (0,):
            notes.append(Note(start, start + 0.9 * min(gap, song.beat), pitch + extra, 0.85))
    return notes


def keys(song: Song, section: Section, rng: np.random.Generator) -> list[Note]:
    """Piano accompaniment: two hands, in blocks, arpeggios, off-beats or eighths."""
    manner = str(rng.choice(["block", "comp", "arpeggio", "quarters", "ballad", "eighths"]))
    notes: list[Note] = []
    upper: list[int] | None = None
    for begin, end, chord in _spans(song, section):
        upper = voicing(chord, 64, upper, 4 if rng.random() < 0.4 else 3)
        low = nearest(chord.bass, 42)
        notes.append(Note(begin, end - 0.03, low, 0.65))
        if rng.random() < 0.4:
            notes.append(Note(begin, end - 0.03, low + 12, 0.55))
        if manner == "block":
            notes += [Note(begin, end - 0.04, pitch, 0.65) for pitch in upper]
        elif manner in ("arpeggio", "ballad"):
            notes += _broken(
                song, rng, begin, end, [low + 12, *upper, upper[0] + 12], manner == "ballad"
            )
        elif manner in ("quarters", "eighths"):
            beat = begin / song.beat
            while (time := song.swung(beat)) < end - 0.05:
                length = song.beat * (0.85 if manner == "quarters" else 0.45)
                loud = 0.7 if abs(beat - round(beat)) < 0.1 else 0.55
                notes += [Note(time, min(end, time + length), pitch, loud) for pitch in upper]
                beat += 1.0 if manner == "quarters" else 0.5
    if manner == "comp":
        notes += comp(song, section, rng)
    return notes


def _broken(
    song: Song, rng: np.random.Generator, begin: float, end: float, pitches: list[int], slow: bool
) -> list[Note]:
    step = 0.5 if slow or song.tempo > 105 else 0.25
    order = list(range(len(pitches))) + list(range(len(pitches) - 2, 0, -1))
    beat, index, notes = begin / song.beat, 0, []
    while (time := song.swung(beat)) < end - 0.05:
        pitch = pitches[order[index % len(order)]]
        notes.append(
            Note(time, min(end, time + 2 * song.beat), pitch, float(rng.uniform(0.5, 0.75)))
        )
        beat, index = beat + step, index + 1
    return notes


def comp(song: Song, section: Section, rng: np.random.Generator) -> list[Note]:
    """Rhythmic chords in the middle register."""
    pattern = str(rng.choice(_COMPS))
    centre = float(rng.uniform(58, 66))
    notes, previous = [], None
    for start, gap, mark in _steps(song, section, pattern):
        previous = voicing(song.chord_at(start + 0.02), centre, previous, 4)
        length = min(gap * 0.9, (1.5 if mark == "X" else 0.4) * song.beat)
        notes += [
            Note(start, start + length, pitch, 0.75 if mark == "X" else 0.5) for pitch in previous
        ]
    return notes


def stabs(song: Song, section: Section, rng: np.random.Generator) -> list[Note]:
    """Short accented chords: brass or house piano."""
    pattern = str(rng.choice(_STABS))
    notes, previous = [], None
    length = float(rng.uniform(0.2, 0.6))
    for start, gap, _ in _steps(song, section, pattern):
        previous = voicing(song.chord_at(start + 0.02), 65, previous, 4)
        notes += [Note(start, start + min(gap * 0.9, length), pitch, 0.9) for pitch in previous]
    return notes


def hold(song: Song, section: Section, rng: np.random.Generator) -> list[Note]:
    """Sustained chords: pads, organs, string sections."""
    notes, previous = [], None
    centre, size = float(rng.uniform(56, 69)), int(rng.integers(3, 5))
    for begin, end, chord in _spans(song, section):
        previous = voicing(chord, centre, previous, size)
        notes += [Note(begin, end - 0.02, pitch, 0.65) for pitch in previous]
        if rng.random() < 0.3:
            notes.append(Note(begin, end - 0.02, nearest(chord.root, 48), 0.6))
    return notes


def arpeggio(song: Song, section: Section, rng: np.random.Generator) -> list[Note]:
    """A sequencer running through the chord in eighths or sixteenths."""
    step = float(rng.choice([0.25, 0.25, 0.5, 1 / 3]))
    centre, length = float(rng.uniform(60, 76)), float(rng.uniform(0.3, 1.1))
    shape = [int(i) for i in rng.integers(0, 6, int(rng.choice([3, 4, 6, 8])))]
    notes = []
    for begin, end, chord in _spans(song, section):
        tones = voicing(chord, centre, None, 3)
        ladder = tones + [pitch + 12 for pitch in tones]
        beat, index = begin / song.beat, 0
        while (time := song.swung(beat)) < end - 0.03:
            pitch = ladder[shape[index % len(shape)]]
            notes.append(
                Note(
                    time,
                    min(end, time + step * song.beat * length),
                    pitch,
                    float(rng.uniform(0.6, 0.8)),
                )
            )
            beat, index = beat + step, index + 1
    return notes


def melody(song: Song, section: Section, rng: np.random.Generator) -> list[Note]:
    """Phrases in the register of a voice: mostly steps, chord tones on strong beats, breaths."""
    centre = float(rng.uniform(60, 74))
    busy = float(rng.uniform(0.25, 0.75))
    ladder = [p for p in range(int(centre) - 12, int(centre) + 13) if p % 12 in song.scale]
    place = len(ladder) // 2
    beat = section.start / song.beat + float(rng.choice([0, 0, 0.5, 1]))
    notes: list[Note] = []
    while beat * song.beat < section.end - song.beat:
        for _ in range(int(rng.integers(3, 10))):  # one phrase
            length = float(rng.choice([0.25, 0.5, 0.5, 1.0, 1.5, 2.0], p=_rhythm(busy)))
            place = int(
                np.clip(place + rng.choice([-3, -2, -1, -1, 0, 1, 1, 2, 4]), 0, len(ladder) - 1)
            )
            start = song.swung(beat)
            if start > section.end - 0.15:
                return notes
            pitch = ladder[place]
            chord = song.chord_at(start + 0.02)
            if length >= 1.0 and pitch % 12 not in chord.notes:
                pitch = min((nearest(n, pitch) for n in chord.notes), key=lambda p: abs(p - pitch))
            end = min(song.swung(beat + length) - 0.01, section.end)
            notes.append(Note(start, max(end, start + 0.08), pitch, float(rng.uniform(0.65, 0.95))))
            beat += length
        beat = np.ceil((beat + float(rng.choice([0.5, 1.0, 2.0]))) * 2) / 2
    return notes


def _rhythm(busy: float) -> list[float]:
    weights = np.array([busy, 2 * busy, 2 * busy, 1.0, 0.5 * (1 - busy), 0.7 * (1 - busy)])
    return list(weights / weights.sum())


def ostinato(song: Song, section: Section, rng: np.random.Generator) -> list[Note]:
    """A short hook of chord tones repeated in every bar: bells, mallets, synth hooks."""
    pattern = "".join(
        "x" if hit else "." for hit in rng.random(16) < np.tile([0.7, 0.15, 0.4, 0.15], 4)
    )
    picks = [int(i) for i in rng.integers(0, 5, 16)]
    centre = float(rng.uniform(66, 80))
    notes = []
    for number, (start, gap, _) in enumerate(_steps(song, section, pattern)):
        ladder = voicing(song.chord_at(start + 0.02), centre, None, 5)
        notes.append(
            Note(start, start + min(gap, 1.2 * song.beat) * 0.95, ladder[picks[number % 16]], 0.75)
        )
    return notes


def fills(song: Song, section: Section, rng: np.random.Generator) -> list[Note]:
    """A solo instrument that stays out of the singer's way: short answers every few bars."""
    bars = [bar for bar in _bars(song, section) if bar % 4 == 3 or rng.random() < 0.15]
    notes: list[Note] = []
    for bar in bars:
        start = (bar + 0.5) * song.bar
        end = min((bar + 1) * song.bar, section.end)
        if end - start > song.beat:
            window = Section(section.name, start, end, section.active, section.energy)
            notes += melody(song, window, rng)
    return notes
