"""Vocal lines: phrases with words, rhythms on the beat and tunes that follow scale and chords."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from stemwise.band.singer import Note
from stemwise.band.song import Section, Song
from stemwise.band.voice_bank import Syllable, VoiceBank, Word


@dataclass(frozen=True)
class PlannedSyllable:
    """A syllable `beat` beats into the unit, `length` beats long, on scale `steps` around 0."""

    beat: float
    length: float
    steps: tuple[int, ...]
    syllable: Syllable


@dataclass(frozen=True)
class Phrase:
    """Syllables that are sung in one breath; beats count from the start of the unit of `bars`."""

    syllables: tuple[PlannedSyllable, ...]
    spoken: bool = False


@dataclass(frozen=True)
class Manner:
    """How a section is sung: note density, share of the unit that sounds, height above centre."""

    density: float
    fill: float
    height: float
    melisma: float
    spoken: bool = False


def draw_manner(rng: np.random.Generator, song: Song, name: str) -> Manner:
    """A manner for sections called `name`: dense low verses, long high choruses, rap."""
    rap = {"hip-hop": 0.6, "trap": 0.5, "funk": 0.15, "electronic": 0.12}.get(song.style, 0.03)
    if name == "verse" and rng.random() < rap:
        return Manner(float(rng.uniform(1.6, 2.4)), float(rng.uniform(0.75, 1.0)), -1.0, 0.0, True)
    slow = np.clip(110.0 / song.tempo, 0.7, 1.6)
    if name == "chorus":
        return Manner(
            float(rng.uniform(0.5, 1.1) * slow),
            float(rng.uniform(0.5, 0.9)),
            float(rng.uniform(1, 5)),
            float(rng.uniform(0.0, 0.25)),
        )
    return Manner(
        float(rng.uniform(0.6, 1.5) * slow),
        float(rng.uniform(0.35, 0.85)),
        float(rng.uniform(-3, 1.5)),
        float(rng.uniform(0.0, 0.15)),
    )


def plan_phrase(rng: np.random.Generator, bank: VoiceBank, beats: float, manner: Manner) -> Phrase:
    """One phrase within `beats` beats, with a pickup or a late entry and a rest after it."""
    grid = 0.25 if manner.density > 1.3 else 0.5
    begin = float(rng.choice([0, 0, 0.5, 1, -0.5, -1, 1.5, 2]))
    stop = max(begin + 1.0, min(begin + manner.fill * beats, beats - rng.uniform(0.25, 1.0)))
    lengths = np.array([0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0])
    weights = np.exp(-0.5 * (np.log2(lengths * manner.density * 1.5) / 0.9) ** 2) * (
        lengths >= grid
    )
    if grid == 0.5:
        weights[2] *= 0.1
    weights /= weights.sum()
    at, slots = begin, []
    while at < stop - 0.2:
        length = min(float(rng.choice(lengths, p=weights)), stop - at)
        slots.append((at, max(length, 0.25)))
        at += length
    if not manner.spoken and rng.random() < 0.55:
        slots[-1] = (slots[-1][0], max(slots[-1][1], float(rng.choice([1.0, 1.5, 2.0, 3.0]))))
    syllables = _draw_syllables(rng, bank, len(slots))
    steps = _draw_tune(rng, len(slots))
    if manner.spoken:  # speech brings its own melody, the tune only colours it
        steps = [round(0.3 * step) for step in steps]
    planned = []
    for (beat, length), syllable, step in zip(slots, syllables, steps, strict=True):
        several = [step]
        if length >= 0.75 and rng.random() < manner.melisma:
            for _ in range(int(rng.integers(1, 4))):
                several.append(several[-1] + int(rng.choice([-2, -1, -1, 1, 1])))
        planned.append(PlannedSyllable(beat, length, tuple(several), syllable))
    return Phrase(tuple(planned), manner.spoken)


def _draw_syllables(rng: np.random.Generator, bank: VoiceBank, count: int) -> list[Syllable]:
    """Whole words that together have exactly `count` syllables; now and then a word is repeated."""
    chosen: list[Syllable] = []
    word: Word | None = None
    single = [w for w in bank.words if len(w.syllables) == 1]
    vocalise = rng.random() < 0.07
    while len(chosen) < count:
        room = count - len(chosen)
        if word is None or len(word.syllables) > room or rng.random() > (0.6 if vocalise else 0.08):
            pool = single[:9] if vocalise else bank.words
            word = pool[int(rng.integers(len(pool)))]
            if len(word.syllables) > room:
                word = single[int(rng.integers(len(single)))]
        chosen += word.syllables
    return chosen


def _draw_tune(rng: np.random.Generator, count: int) -> list[int]:
    """Scale steps around the centre: a walk with repeated notes, few leaps, a pull back."""
    step = float(rng.integers(-2, 4))
    arch = rng.uniform(-3, 4)
    tune = []
    for index in range(count):
        middle = arch * np.sin(np.pi * (index + 1) / (count + 1))
        move = rng.choice(
            [0, 0, 1, -1, 1, -1, 2, -2, 3, -3, 4],
            p=[0.15, 0.12, 0.17, 0.2, 0.08, 0.08, 0.07, 0.07, 0.03, 0.02, 0.01],
        )
        step += float(move) + 0.25 * (middle - step)
        tune.append(round(step))
    return tune


def tune_pitch(song: Song, centre: float, step: int, time: float, anchored: bool) -> int:
    """MIDI pitch of a scale step around `centre`; anchored notes move to the nearest chord tone."""
    ladder = np.array([p for p in range(24, 100) if p % 12 in song.scale])
    place = int(np.argmin(np.abs(ladder - centre))) + step
    pitch = int(ladder[np.clip(place, 0, len(ladder) - 1)])
    if anchored:
        tones = [p for p in range(pitch - 5, pitch + 6) if p % 12 in song.chord_at(time).notes]
        pitch = min(tones, key=lambda p: abs(p - pitch)) if tones else pitch
    return pitch


def write_notes(
    song: Song,
    phrase: Phrase,
    first_beat: float,
    section: Section,
    low: float,
    high: float,
    height: float,
    rng: np.random.Generator,
) -> list[Note]:
    """Notes of a phrase whose unit starts at `first_beat` beats of the song, within `section`."""
    centre = 0.5 * (low + high) + height
    notes: list[Note] = []
    for item in phrase.syllables:
        begin = song.swung(max(first_beat + item.beat, 0.0)) + rng.normal(0, 0.012)
        end = song.swung(max(first_beat + item.beat + item.length, 0.01))
        if end > section.end + 0.05 or begin < 0.3:
            continue
        long = item.length >= 1.0 or float(item.beat).is_integer()
        share = (end - begin) * (0.55 if item.length > 1.5 else 1.0) / len(item.steps)
        tones = []
        for number, step in enumerate(item.steps):
            moment = begin + number * share
            pitch = tune_pitch(
                song, centre, step, moment, (long and number == 0) or number == len(item.steps) - 1
            )
            while pitch > high:
                pitch -= 12
            while pitch < low:
                pitch += 12
            tones.append((moment, float(pitch)))
        accent = 2.0 * (section.energy - 0.7) + (0.8 if float(item.beat).is_integer() else 0.0)
        gap = 0.0 if rng.random() < 0.7 else float(rng.uniform(0.02, 0.08))
        if notes and notes[-1].end > begin - 0.01:
            notes[-1] = replace(notes[-1], end=max(begin - 0.005, notes[-1].start + 0.05))
        notes.append(
            Note(
                begin,
                max(end - gap, begin + 0.09),
                tuple(tones),
                item.syllable,
                accent,
                phrase.spoken,
            )
        )
    return notes


def shifted(
    notes: list[Note], move: Callable[[float, float], float], low: float, high: float
) -> list[Note]:
    """The same syllables with every tone moved by `move(time, pitch)`, folded into the range."""
    result = []
    for note in notes:
        tones = []
        for time, pitch in note.tones:
            moved = move(time, pitch)
            while moved > high:
                moved -= 12
            while moved < low:
                moved += 12
            tones.append((time, moved))
        result.append(replace(note, tones=tuple(tones)))
    return result


def loosened(notes: list[Note], rng: np.random.Generator, spread: float) -> list[Note]:
    """Another take: all moments moved by one offset and a little noise, `spread` in seconds."""
    offset = rng.normal(0, spread)
    result = []
    for note in notes:
        delta = offset + rng.normal(0, 0.4 * spread)
        delta = max(delta, -0.25 * (note.end - note.start))
        result.append(
            replace(
                note,
                start=note.start + delta,
                end=max(note.end + offset, note.start + delta + 0.06),
                tones=tuple((time + delta, pitch) for time, pitch in note.tones),
            )
        )
    return result


def harmony(song: Song, interval: int) -> Callable[[float, float], float]:
    """A move by `interval` scale steps (2 is a third above), to a chord tone where one is near."""

    def move(time: float, pitch: float) -> float:
        if interval in (7, -7):
            return pitch + (12 if interval > 0 else -12)
        moved = tune_pitch(song, pitch, interval, time, False)
        near = [p for p in (moved, moved - 1, moved + 1) if p % 12 in song.chord_at(time).notes]
        return float(near[0] if near else moved)

    return move
