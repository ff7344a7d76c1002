"""The accompaniment: draws its parts, plays them and places them in the stereo image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from stemwise.band.effects import (
    Samples,
    active_rms,
    balance,
    chorus,
    compress,
    distort,
    echo,
    equalise,
    limiting_gain,
    pan,
    reverberate,
    set_width,
    side_to_mid,
    soft_clip,
    tame,
    tremolo,
)
from stemwise.band.notes import Note, humanise
from stemwise.band.parts import ROLES, Role, draw_tone
from stemwise.band.patterns import fills, melody
from stemwise.band.song import Section, Song
from stemwise.band.soundfont import player
from stemwise.band.tones import play

Take = Callable[[list[Note]], Samples]
STEMS = ("piano", "guitar", "other")


def play_other(
    song: Song, rng: np.random.Generator, sample_rate: int, family: str = "dsp", kits: str = "all"
) -> dict[str, Samples]:
    """Stems "piano", "guitar" and "other", each (2, sample); their sum is the accompaniment."""
    count = round(song.duration * sample_rate)
    stems = {name: np.zeros((2, count), np.float32) for name in STEMS}
    sends = {name: np.zeros((2, count), np.float32) for name in STEMS}
    names = _draw_roles(song, rng)
    sections = [section for section in song.sections if "other" in section.active]
    if not sections:
        return stems
    silent = rng.random((len(names), len(sections))) < 0.27
    backing = np.array(["solo" not in name for name in names])
    silent[np.ix_(backing, silent[backing].all(axis=0))] = False  # answers need something to answer
    sides = [float(s) for s in rng.permutation([-1.0, 1.0])]
    wet = float(rng.uniform(0.03, 0.35))
    for index, name in enumerate(names):
        role = ROLES[name]
        mine = [section for section, off in zip(sections, silent[index], strict=True) if not off]
        notes = _write(song, role, name, mine, rng)
        if not notes:
            continue
        audio = _perform(song, role, notes, rng, sample_rate, family, kits, count)
        audio = tame(audio, sample_rate, float(rng.uniform(9, 16)))
        audio = _place(audio, role, len(names), sides[index % 2], rng)
        level = active_rms(audio, sample_rate)
        if level < 1e-6:
            continue
        gain = np.float32(0.1 / level * 10 ** ((role.level + rng.normal(0, 2.5)) / 20))
        stems[role.stem] += audio * gain
        sends[role.stem] += audio * (gain * np.float32(rng.uniform(0.4, 1.4) * wet))
    if rng.random() < 0.25 + 0.4 * song.character.electronic:
        stems["other"] += _risers(song, rng, sample_rate, count)
    _share_room(stems, sends, rng, sample_rate)
    return stems


def _draw_roles(song: Song, rng: np.random.Generator) -> list[str]:
    """One to four roles of the style, distinct, the main instrument first."""
    weights = song.character.parts
    names = list(weights)
    chances = np.array([weights[name] for name in names])
    size = min(len(names), int(rng.choice([1, 2, 3, 4, 5], p=[0.07, 0.21, 0.33, 0.25, 0.14])))
    drawn = [str(n) for n in rng.choice(names, size, replace=False, p=chances / chances.sum())]
    if song.instrumental and "solo" not in drawn and rng.random() < 0.6:
        drawn.append("solo")
    if any(section.solo for section in song.sections) and "solo" not in drawn:
        drawn.append("solo")
    guitars = song.style in ("rock", "80s rock", "metal", "blues", "country", "indie", "punk")
    return [
        "guitar solo" if n == "solo" and rng.random() < (0.7 if guitars else 0.2) else n
        for n in drawn
    ]


def _write(
    song: Song, role: Role, name: str, sections: list[Section], rng: np.random.Generator
) -> list[Note]:
    """Notes of a part; sections of one kind are played alike, melodies make room for singers."""
    plans: dict[str, tuple[int, int]] = {}
    notes: list[Note] = []
    for section in sections:
        if section.name not in plans:
            plans[section.name] = int(rng.integers(len(role.players))), int(rng.integers(2**31))
        which, seed = plans[section.name]
        chosen = role.players[which]
        if section.solo and "solo" in name:
            chosen = melody
        elif "solo" in name and "vocals" in section.active:
            chosen = fills if rng.random() < 0.7 else melody
        notes += chosen(song, section, np.random.default_rng(seed))
    return sorted(notes, key=lambda note: note.start)


def _perform(
    song: Song,
    role: Role,
    notes: list[Note],
    rng: np.random.Generator,
    rate: int,
    family: str,
    kits: str,
    count: int,
) -> Samples:
    """Play the notes on a drawn sound through the role's chain of effects; stereo, any level."""
    tight = role.chain == "synth" and song.character.electronic > 0.5
    timing = 0.001 if tight else float(rng.uniform(0.004, 0.012))
    sampled = family == "sampled" and rng.random() < {
        "synth": 0.6,
        "distorted": 0.6,
        "crunch": 0.75,
    }.get(role.chain, 0.93)
    pool = role.pool(kits)
    preset = pool[int(rng.integers(len(pool)))]
    tone = draw_tone(role.tone, rng, kits)
    vibrato = float(rng.uniform(0.0, 0.5)) if role.chain == "solo" else 0.0
    bends = _bends(notes, rng) if role.chain == "solo" and rng.random() < 0.6 else None

    def take(line: list[Note]) -> Samples:
        if sampled:
            return player(rate).render(preset, line, count, bends=bends, vibrato=vibrato)
        return play(tone, line, count, rate)

    played = humanise(rng, notes, timing, 0.08)
    if role.chain in ("distorted", "crunch"):
        return _electric_guitar(role, notes, rng, rate, take, timing)
    audio = take(played)
    if role.chain == "acoustic" and rng.random() < 0.35:  # the second take on the other side
        again = take(humanise(rng, notes, timing, 0.1))
        width = float(rng.uniform(0.4, 1.0))
        audio = pan(audio, -width) + pan(again, width)
    return _treat(audio, role, song, rng, rate)


def _bends(notes: list[Note], rng: np.random.Generator) -> list[tuple[float, float]]:
    """Slides into some notes from below, and a slow vibrato on long ones."""
    curve: list[tuple[float, float]] = [(0.0, 0.0)]
    for note in notes:
        if rng.random() < 0.3:
            depth = -float(rng.uniform(0.5, 2.0))
            curve += [(note.start + 0.12 * x, depth * (1 - x)) for x in np.linspace(0, 1, 8)]
        length = note.end - note.start
        if length > 0.5:
            depth, speed = float(rng.uniform(0.1, 0.45)), float(rng.uniform(4.5, 6.5))
            times = np.arange(0.25, length, 0.02)
            curve += [
                (note.start + float(t), depth * float(np.sin(2 * np.pi * speed * t))) for t in times
            ]
        curve.append((note.end, 0.0))
    return curve


def _electric_guitar(
    role: Role, notes: list[Note], rng: np.random.Generator, rate: int, take: Take, timing: float
) -> Samples:
    """One panned take, or two takes hard left and right, through amplifier and cabinet."""
    heavy = role.chain == "distorted"
    doubled = bool(rng.random() < (0.75 if heavy else 0.35))
    drive = float(rng.uniform(8, 40) if heavy else rng.uniform(1.5, 8))
    cabinet = [
        ("highpass", rng.uniform(70, 130), 2, 0.7),
        ("peak", rng.uniform(120, 250), rng.uniform(-2, 4), 1.0),
        ("peak", rng.uniform(400, 800), rng.uniform(-6, 1), 0.8),
        ("peak", rng.uniform(1800, 3200), rng.uniform(1, 7), 1.0),
        ("lowpass", rng.uniform(3800, 6500), 3, 0.7),
    ]
    width = float(rng.choice([1.0, rng.uniform(0.5, 1.0)]))
    places = (-width, width) if doubled else (float(rng.uniform(-0.6, 0.6)),)
    out: Samples | None = None
    for place in places:
        line = humanise(rng, notes, timing, 0.08)
        dry = take(line).mean(axis=0, keepdims=True)
        level = active_rms(dry, rate)
        if level < 1e-7:
            continue
        tight = equalise(
            dry * np.float32(0.1 / level),
            rate,
            [("highpass", 110.0, 1, 0.7), ("lowpass", 5000.0, 1, 0.7)],
        )
        loud = distort(tight, drive * float(rng.uniform(0.85, 1.15)), float(rng.uniform(0, 0.3)))
        mono = equalise(loud, rate, cabinet)
        stereo = pan(mono, place)
        out = stereo if out is None else out + stereo
    return out if out is not None else np.zeros((2, 1), np.float32)


def _treat(audio: Samples, role: Role, song: Song, rng: np.random.Generator, rate: int) -> Samples:
    """Equaliser, compressor and modulation in keeping with the kind of instrument."""
    bands: list[tuple[str, float, float, float]] = [
        ("highpass", rng.uniform(60, 220), 1, 0.7),
        ("peak", rng.uniform(200, 600), rng.uniform(-5, 2), 0.9),
        ("peak", rng.uniform(1000, 4000), rng.uniform(-3, 4), 0.9),
        ("high", rng.uniform(4000, 7000), rng.uniform(-6, 3), 0.7),
    ]
    if role.chain == "synth":
        bands.append(("lowpass", float(rng.uniform(1200, 9000)), 2, 0.7))
    audio = equalise(audio, rate, bands)
    if role.chain in ("organ", "solo", "clean") and rng.random() < 0.3:
        level = active_rms(audio, rate)
        if level > 1e-6:
            audio = soft_clip(audio * np.float32(0.2 / level), float(rng.uniform(1, 5)))
    if role.chain in ("clean", "organ", "synth", "keys") and rng.random() < 0.4:
        audio = chorus(
            audio,
            rate,
            float(rng.uniform(0.3, 6.0 if role.chain == "organ" else 1.5)),
            float(rng.uniform(0.0005, 0.003)),
            float(rng.uniform(0.3, 0.8)),
        )
    if role.tone in ("epiano", "electric", "organ") and rng.random() < 0.25:
        audio = tremolo(
            audio,
            rate,
            float(rng.uniform(3, 7)),
            float(rng.uniform(0.2, 0.6)),
            bool(rng.random() < 0.5),
        )
    if rng.random() < 0.5:
        audio = compress(
            audio, rate, threshold=float(rng.uniform(-3, 5)), ratio=float(rng.uniform(1.5, 4))
        )
    if role.chain in ("solo", "clean", "synth") and rng.random() < 0.45:
        delay = song.beat * float(rng.choice([0.5, 0.75, 1.0, 0.25]))
        wet = echo(audio, rate, delay, float(rng.uniform(0.2, 0.5)), bool(rng.random() < 0.4))
        audio = audio + np.float32(rng.uniform(0.1, 0.4)) * wet
    return audio


def _risers(song: Song, rng: np.random.Generator, rate: int, count: int) -> Samples:
    """Swept noise that leads into sections, as producers use it."""
    out = np.zeros((2, count), np.float32)
    for section in song.sections[:-1]:
        if "other" not in section.active or rng.random() < 0.5:
            continue
        end = min(int(section.end * rate), count)
        seconds = min(float(rng.choice([2, 4, 8])) * song.beat, section.end - section.start)
        noise = rng.standard_normal((2, int(seconds * rate))).astype(np.float32)
        ramp = np.linspace(0.0, 1.0, noise.shape[1], dtype=np.float32)
        swept = np.zeros_like(noise)
        for index, centre in enumerate(np.geomspace(400, 0.35 * rate, 6)):
            edges = [("highpass", centre / 1.5, 1, 0.7), ("lowpass", centre * 1.5, 1, 0.7)]
            swept += equalise(noise, rate, edges) * np.exp(-0.5 * ((ramp * 5 - index) / 0.8) ** 2)
        level = 0.1 * 10 ** (float(rng.uniform(-18, -6)) / 20) / (active_rms(swept, rate) + 1e-9)
        shape = ramp**2 if rng.random() < 0.7 else ramp[::-1] ** 2
        out[:, end - noise.shape[1] : end] += swept * shape * np.float32(level)
    return out


def _place(
    audio: Samples, role: Role, parts: int, side: float, rng: np.random.Generator
) -> Samples:
    """Pan and width: solos near the centre, single parts central, several on either side."""
    if role.chain in ("distorted",):
        return audio
    if role.chain == "solo":
        return balance(
            set_width(audio, float(rng.uniform(0.1, 0.8))), float(rng.uniform(-0.25, 0.25))
        )
    audio = set_width(audio, float(rng.uniform(0.2, 1.3)))
    if parts == 1 or (role.chain in ("synth", "orchestra", "organ") and rng.random() < 0.6):
        return balance(audio, float(rng.uniform(-0.2, 0.2)))
    return balance(audio, side * float(rng.uniform(0.1, 0.8)))


def _share_room(
    stems: dict[str, Samples], sends: dict[str, Samples], rng: np.random.Generator, rate: int
) -> None:
    """One reverberation, limiter and width for all parts, so that they still sum."""
    seconds = float(rng.choice([0.4, 0.7, 1.1, 1.6, 2.2]))
    brightness, variant = float(rng.uniform(0.2, 0.8)), int(rng.integers(12))
    for name in STEMS:
        if np.any(sends[name]):
            stems[name] += reverberate(sends[name], rate, seconds, brightness, 0.02, variant)
    total = stems["piano"] + stems["guitar"] + stems["other"]
    level = active_rms(total, rate) * 10 ** (float(rng.uniform(9, 15)) / 20)
    if level > 1e-6:
        gain = limiting_gain(total, rate, level)
        total = total * gain
        for name in STEMS:
            stems[name] = stems[name] * gain
    target = float(np.clip(rng.normal(-7.5, 4.5), -20, -2))
    ratio = side_to_mid(total)
    if ratio > target:
        width = 10 ** ((target - ratio) / 20)
        for name in STEMS:
            stems[name] = set_width(stems[name], width)
