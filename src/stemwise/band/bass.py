"""The bass player: lines per style on soundfont or synthesised basses through an amplifier."""

from __future__ import annotations

import numpy as np

from stemwise.band.effects import Samples, chorus, compress, equalise, limit_width, soft_clip, tame
from stemwise.band.notes import Note, humanise, nearest
from stemwise.band.song import Chord, Song
from stemwise.band.soundfont import player
from stemwise.band.tones import Tone, play

_ELECTRIC = [
    (font, 0, program)
    for font in ("fluid", "musescore")
    for program in (33, 33, 34, 34, 35, 36, 37)
]
_UPRIGHT = [("fluid", 0, 32), ("musescore", 0, 32)]
_SYNTH = [
    ("fluid", 0, 38),
    ("musescore", 0, 38),
    ("fluid", 0, 39),
    ("fluid", 8, 38),
    ("musescore", 8, 39),
    ("musescore", 0, 87),
]
HELD_OUT = [("musescore", 0, 33), ("fluid", 0, 37), ("musescore", 8, 39)]

# notes of a 4-beat bar: start and length in beats, interval above the root; variants split by |
_RHYTHMS: dict[str, str] = {
    "eighths": (
        "0 0.46 root, 0.5 0.46 root, 1 0.46 root, 1.5 0.46 root, 2 0.46 root, 2.5 0.46 root, "
        "3 0.46 root, 3.5 0.46 root"
    ),
    "octaves": (
        "0 0.4 root, 0.5 0.4 octave, 1 0.4 root, 1.5 0.4 octave, 2 0.4 root, 2.5 0.4 octave, "
        "3 0.4 root, 3.5 0.4 octave"
    ),
    "disco": (
        "0 0.3 root, 0.5 0.3 octave, 1 0.3 root, 1.5 0.3 octave, 2 0.3 root, 2.5 0.3 octave, "
        "3 0.3 root, 3.5 0.3 octave"
    ),
    "roots": "0 1.9 root, 2 1.9 root | 0 3.8 root | 0 1.4 root, 1.5 0.45 root, 2 1.8 root",
    "rockmix": (
        "0 0.9 root, 1.5 0.45 root, 2 0.9 root, 3 0.4 fifth, 3.5 0.4 approach | 0 1.4 root, "
        "1.5 0.45 root, 2.5 0.45 root, 3 0.9 root | 0 0.9 root, 1 0.45 root, 2 0.9 root, 3 "
        "0.45 root, 3.5 0.45 approach"
    ),
    "sustained": "0 3.95 root | 0 2.9 root, 3 0.95 fifth",
    "syncopated": (
        "0 0.7 root, 0.75 0.6 root, 1.5 0.45 octave, 2.5 0.45 root, 3.25 0.5 fifth | 0 0.4 "
        "root, 1.5 0.9 root, 2.5 0.45 third, 3 0.45 fifth, 3.5 0.4 approach"
    ),
    "funk": (
        "0 0.3 root, 0.75 0.2 root, 1.25 0.2 octave, 1.75 0.2 seventh, 2.5 0.3 root, 3.25 0.2 "
        "fifth, 3.75 0.2 octave | 0 0.5 root, 1.5 0.2 octave, 2.25 0.2 root, 2.75 0.2 "
        "seventh, 3 0.3 fifth, 3.5 0.2 approach"
    ),
    "walking": (
        "0 0.9 root, 1 0.9 third, 2 0.9 fifth, 3 0.9 approach | 0 0.9 root, 1 0.9 scale, 2 "
        "0.9 third, 3 0.9 approach"
    ),
    "walkpop": (
        "0 0.9 root, 1 0.9 root, 2 0.9 fifth, 3 0.9 approach | 0 1.4 root, 1.5 0.45 third, 2 "
        "0.9 fifth, 3 0.9 approach"
    ),
    "boogie": (
        "0 0.6 root, 0.5 0.4 root, 1 0.6 third, 1.5 0.4 third, 2 0.6 fifth, 2.5 0.4 sixth, 3 "
        "0.6 seventh, 3.5 0.4 sixth"
    ),
    "rootfifth": "0 0.9 root, 2 0.9 low-fifth | 0 0.9 root, 2 0.9 low-fifth, 3.5 0.4 approach",
    "reggae": (
        "0 0.7 root, 1 0.4 root, 1.5 0.4 third, 2.5 0.9 fifth | 0.5 0.4 root, 1 0.9 root, 2.5 "
        "0.4 fifth, 3 0.6 third"
    ),
    "tumbao": "1.5 1.4 fifth, 3 0.95 octave | 0 0.4 root, 1.5 1.4 low-fifth, 3 0.9 root",
    "bossa": "0 1.4 root, 1.5 0.4 low-fifth, 2 1.4 low-fifth, 3.5 0.4 root",
    "gallop": (
        "0 0.2 root, 0.5 0.2 root, 0.75 0.2 root, 1 0.2 root, 1.5 0.2 root, 1.75 0.2 root, 2 "
        "0.2 root, 2.5 0.2 root, 2.75 0.2 root, 3 0.2 root, 3.5 0.2 root, 3.75 0.2 root"
    ),
    "offbeat": "0.5 0.4 root, 1.5 0.4 root, 2.5 0.4 root, 3.5 0.4 root",
    "synthpulse": (
        "0 0.2 root, 0.25 0.2 root, 0.5 0.2 root, 0.75 0.2 root, 1 0.2 root, 1.25 0.2 root, "
        "1.5 0.2 root, 1.75 0.2 root, 2 0.2 root, 2.25 0.2 root, 2.5 0.2 root, 2.75 0.2 root, "
        "3 0.2 root, 3.25 0.2 root, 3.5 0.2 root, 3.75 0.2 root | 0.25 0.2 root, 0.5 0.2 "
        "octave, 0.75 0.2 root, 1.25 0.2 root, 1.5 0.2 octave, 1.75 0.2 root, 2.25 0.2 root, "
        "2.5 0.2 octave, 2.75 0.2 root, 3.25 0.2 root, 3.5 0.2 octave, 3.75 0.2 root"
    ),
    "arpeggio": (
        "0 0.4 root, 0.5 0.4 fifth, 1 0.4 octave, 1.5 0.4 third, 2 0.4 root, 2.5 0.4 fifth, 3 "
        "0.4 octave, 3.5 0.4 third"
    ),
    "sub": "0 2.4 root, 2.5 1.4 root | 0 1.4 root, 1.75 0.7 root, 2.75 1.2 octave | 0 3.8 root",
    "melodic": (
        "0 0.9 root, 1 0.45 third, 1.5 0.45 fifth, 2 0.9 octave, 3 0.45 fifth, 3.5 0.45 "
        "approach | 0 1.4 root, 1.5 0.45 scale, 2 0.9 third, 3 0.9 fifth"
    ),
}
Rhythm = list[tuple[float, float, str]]


def _rhythms(name: str) -> list[Rhythm]:
    """The variants of a named rhythm."""
    variants = []
    for variant in _RHYTHMS[name].split("|"):
        steps = [step.split() for step in variant.split(",")]
        variants.append([(float(start), float(length), name) for start, length, name in steps])
    return variants


def play_bass(
    song: Song, rng: np.random.Generator, sample_rate: int, family: str = "dsp", kits: str = "all"
) -> Samples:
    """The bass stem (2, sample): mono or nearly so, centred, exactly the song's length."""
    count = round(song.duration * sample_rate)
    notes = _line(song, rng)
    if not notes:
        return np.zeros((2, count), np.float32)
    tight = song.character.electronic > 0.6
    notes = humanise(rng, notes, 0.001 if tight else 0.006, 0.04 if tight else 0.1)
    electronic = bool(rng.random() < max(0.05, song.character.electronic * 0.9))
    if family == "sampled" and rng.random() < (0.35 if electronic else 0.9):
        preset = _preset(song, rng, electronic, kits)
        audio = player(sample_rate).render(preset, notes, count)
    else:
        audio = play(_synthesiser(rng, electronic, kits), notes, count, sample_rate)
    return _amplify(audio, rng, sample_rate, electronic)


def _preset(
    song: Song, rng: np.random.Generator, electronic: bool, kits: str
) -> tuple[str, int, int]:
    pool = _SYNTH if electronic else _ELECTRIC
    if song.style in ("jazz-pop", "folk") and rng.random() < 0.6:
        pool = _UPRIGHT
    if kits == "held-out":
        pool = HELD_OUT[2:] if electronic else HELD_OUT[:2]
    elif kits == "train":
        pool = [preset for preset in pool if preset not in HELD_OUT]
    return pool[int(rng.integers(len(pool)))]


def _synthesiser(rng: np.random.Generator, electronic: bool, kits: str) -> Tone:
    # odd variants are for training, even ones are held out
    variant = int(rng.integers(500)) * 2 + (0 if kits == "held-out" else 1)
    if not electronic:
        return Tone(
            "pluck",
            brightness=float(rng.uniform(0.1, 0.6)),
            decay=float(rng.uniform(0.3, 0.9)),
            release=0.06,
            variant=variant,
        )
    kind = str(rng.choice(["wave", "wave", "wave", "sub", "sub", "fm"]))
    if kind == "sub":
        return Tone(
            "sub",
            brightness=float(rng.uniform(0, 0.8)),
            decay=float(rng.uniform(0.3, 1.5)),
            release=0.05,
        )
    if kind == "fm":
        return Tone(
            "fm",
            ratio=float(rng.choice([0.5, 1, 2])),
            index=float(rng.uniform(0.5, 3)),
            sustain=0.5,
            decay=float(rng.uniform(0.2, 0.6)),
            release=0.04,
        )
    return Tone(
        "wave",
        str(rng.choice(["saw", "square", "pulse", "triangle"])),
        float(rng.uniform(0.1, 0.8)),
        sustain=float(rng.uniform(0, 0.9)),
        decay=float(rng.uniform(0.1, 0.7)),
        release=0.04,
        detune=float(rng.choice([0, 0, 8, 15])),
    )


def _line(song: Song, rng: np.random.Generator) -> list[Note]:
    """Notes of the whole song: one rhythm per kind of section, pitches from the chords."""
    names = song.character.bass
    centre = float(rng.uniform(33, 40))
    plans: dict[str, Rhythm] = {}
    notes: list[Note] = []
    for section in song.sections:
        if "bass" not in section.active:
            continue
        if section.name not in plans:
            variants = _rhythms(str(rng.choice(names)))
            plans[section.name] = variants[int(rng.integers(len(variants)))]
        loudness = 0.6 + 0.3 * section.energy
        bar = round(section.start / song.bar)
        while bar * song.bar < section.end - 0.05:
            for beat, length, step in plans[section.name]:
                if beat >= song.beats_per_bar:
                    continue
                start = song.swung(bar * song.beats_per_bar + beat)
                if start >= section.end - 0.03 or rng.random() < 0.03:
                    continue
                chord = song.chord_at(start + 0.02)
                end = min(start + length * song.beat, section.end)
                if chord.end < end - 0.1:
                    end = chord.end
                pitch = _pitch(song, chord, step, centre, rng)
                accent = 1.0 if beat == 0 else 0.9
                notes.append(Note(start, end, pitch, min(1.0, loudness * accent)))
            bar += 1
    return notes


def _pitch(song: Song, chord: Chord, step: str, centre: float, rng: np.random.Generator) -> int:
    root = nearest(chord.bass, centre)
    if root < 28:
        root += 12
    intervals = [(note - chord.root) % 12 for note in chord.notes]
    if step == "octave":
        return root + 12
    if step == "fifth":
        return root + (6 if 6 in intervals else 7)
    if step == "low-fifth":
        return root - 5 if root - 5 >= 28 else root + 7
    if step == "third":
        return root + next((i for i in intervals if i in (3, 4)), 7)
    if step == "seventh":
        return root + next((i for i in intervals if i in (10, 11)), 10)
    if step == "sixth":
        return root + 9
    if step == "scale":
        return root + int(rng.choice([2, 2, 5]))
    if step == "approach":
        following = song.chord_at(chord.end + 0.05)
        target = nearest(following.bass, centre)
        return max(28, target + int(rng.choice([-1, 1, -2, 2, 7])))
    return root


def _amplify(audio: Samples, rng: np.random.Generator, rate: int, electronic: bool) -> Samples:
    """Pick-up, amplifier, equaliser and compressor; almost always mono."""
    wide = electronic and rng.random() < 0.2
    mono = audio.mean(axis=0, keepdims=True)
    peak = float(np.max(np.abs(mono))) + 1e-9
    mono = mono / np.float32(peak)
    if rng.random() < 0.6:
        mono = soft_clip(mono, float(rng.uniform(1.0, 6.0 if rng.random() < 0.2 else 3.0)))
    bands = [
        ("highpass", rng.uniform(28, 45), 2, 0.7),
        ("low", rng.uniform(70, 115), rng.uniform(0, 9), 0.7),
        ("peak", rng.uniform(200, 400), rng.uniform(-8, 0), 0.9),
        ("peak", rng.uniform(700, 1600), rng.uniform(-4, 5), 1.0),
        ("lowpass", 700.0 * 8.0 ** rng.uniform(0, 1), 1, 0.7),
    ]
    mono = equalise(mono.astype(np.float32), rate, bands)
    if rng.random() < 0.85:
        mono = compress(
            mono,
            rate,
            threshold=float(rng.uniform(-6, 4)),
            ratio=float(rng.uniform(2, 6)),
            attack=float(rng.uniform(0.005, 0.03)),
            release=float(rng.uniform(0.08, 0.25)),
        )
    mono = tame(mono, rate, float(rng.uniform(7, 12)))
    stereo = np.repeat(mono, 2, axis=0)
    if wide or rng.random() < 0.06:
        stereo = limit_width(chorus(stereo, rate, 0.7, 0.002, 0.5), -16.0)
    return stereo
