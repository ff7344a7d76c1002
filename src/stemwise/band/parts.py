"""The instruments of the accompaniment: what each role plays, on which sounds, through what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stemwise.band import patterns
from stemwise.band.patterns import Player
from stemwise.band.tones import Tone

Preset = tuple[str, int, int]


def _both(*programs: int, bank: int = 0) -> tuple[Preset, ...]:
    return tuple((font, bank, program) for program in programs for font in ("fluid", "musescore"))


@dataclass(frozen=True)
class Role:
    """How a part is played; the last preset is kept for held-out songs."""

    stem: str  # piano, guitar or other
    players: tuple[Player, ...]
    presets: tuple[Preset, ...]
    chain: str  # keys, organ, clean, acoustic, distorted, crunch, synth, orchestra, solo
    tone: str
    level: float = 0.0  # dB against the other parts

    def pool(self, kits: str) -> tuple[Preset, ...]:
        """Presets for "train", "held-out" or "all" songs."""
        if kits == "all" or len(self.presets) < 2:
            return self.presets
        return self.presets[-1:] if kits == "held-out" else self.presets[:-1]


_P = patterns
_SOLO_WIND = (*_both(56, 57, 60, 64, 65, 66, 67, 68, 69, 71, 73, 75, 22, 59), ("fluid", 0, 74))
_SOLO_STRING = (*_both(40, 41, 42, 110), ("fluid", 8, 40))
_SOLO_GUITAR = (
    *_both(29, 30, 27, 26, 24, 25),
    ("fluid", 8, 26),
    ("fluid", 0, 104),
    ("musescore", 8, 30),
)
_LEADS = (
    *_both(80, 81, 82, 84, 86, 87, 90, 62, 63),
    ("musescore", 20, 81),
    ("fluid", 8, 80),
    ("musescore", 8, 62),
)

ROLES: dict[str, Role] = {
    "piano": Role(
        "piano",
        (_P.keys, _P.keys, _P.comp),
        (*_both(0, 1, 2), ("musescore", 8, 0), ("fluid", 0, 3)),
        "keys",
        "piano",
    ),
    "epiano": Role(
        "piano",
        (_P.comp, _P.keys, _P.hold),
        (*_both(4, 5), ("fluid", 8, 4), ("musescore", 8, 5)),
        "keys",
        "epiano",
        -1.0,
    ),
    "clavinet": Role("piano", (_P.scratch, _P.riff), _both(7, 6), "crunch", "clavinet"),
    "montuno": Role("piano", (_P.comp, _P.ostinato, _P.keys), _both(0, 1), "keys", "piano"),
    "organ": Role(
        "other",
        (_P.hold, _P.hold, _P.comp),
        (*_both(16, 17, 18), ("fluid", 0, 19), ("musescore", 8, 17)),
        "organ",
        "organ",
        -2.0,
    ),
    "bubble": Role("other", (_P.skank, _P.comp), _both(16, 17), "organ", "organ", -2.0),
    "accordion": Role(
        "other", (_P.hold, _P.comp, _P.melody), _both(21, 23), "orchestra", "accordion", -1.0
    ),
    "clean": Role(
        "guitar",
        (_P.pick, _P.strum, _P.comp),
        (*_both(27, 26), ("fluid", 8, 28), ("musescore", 8, 25)),
        "clean",
        "electric",
    ),
    "muted": Role(
        "guitar",
        (_P.arpeggio, _P.pick),
        (*_both(28), ("fluid", 0, 27), ("musescore", 8, 28)),
        "clean",
        "muted",
        -1.0,
    ),
    "scratch": Role(
        "guitar",
        (_P.scratch,),
        (*_both(27), ("fluid", 8, 28), ("musescore", 0, 28)),
        "clean",
        "electric",
        -1.0,
    ),
    "skank": Role("guitar", (_P.skank,), _both(27, 26), "clean", "electric"),
    "jazzguitar": Role("guitar", (_P.comp, _P.pick, _P.melody), _both(26, 27), "clean", "electric"),
    "acoustic": Role(
        "guitar",
        (_P.strum, _P.strum, _P.pick),
        (*_both(25, 25, 24), ("fluid", 8, 25), ("musescore", 16, 25)),
        "acoustic",
        "acoustic",
    ),
    "picked": Role(
        "guitar", (_P.pick,), (*_both(25, 24), ("musescore", 8, 24)), "acoustic", "acoustic"
    ),
    "nylon": Role(
        "guitar", (_P.pick, _P.strum, _P.comp), (*_both(24), ("fluid", 8, 24)), "acoustic", "nylon"
    ),
    "banjo": Role(
        "guitar",
        (_P.pick, _P.arpeggio),
        (*_both(105), ("fluid", 16, 25)),
        "acoustic",
        "banjo",
        -2.0,
    ),
    "crunch": Role(
        "guitar", (_P.strum, _P.power, _P.strum), _both(27, 25, 26), "crunch", "electric"
    ),
    "power": Role(
        "guitar",
        (_P.power,),
        (*_both(27, 28, 25), ("musescore", 0, 26)),
        "distorted",
        "electric",
        1.0,
    ),
    "riff": Role(
        "guitar", (_P.riff,), (*_both(27, 28), ("musescore", 0, 26)), "distorted", "electric", 1.0
    ),
    "pad": Role(
        "other",
        (_P.hold,),
        (
            *_both(88, 89, 90, 93, 95, 50, 51, 97, 99),
            ("fluid", 8, 50),
            ("musescore", 8, 48),
            ("musescore", 0, 92),
        ),
        "synth",
        "pad",
        -3.0,
    ),
    "strings": Role(
        "other",
        (_P.hold, _P.hold, _P.melody, _P.comp),
        (*_both(48, 49, 44, 45), ("musescore", 20, 48), ("musescore", 20, 49)),
        "orchestra",
        "pad",
        -2.0,
    ),
    "brass": Role(
        "other",
        (_P.stabs, _P.stabs, _P.hold),
        (*_both(61, 62, 56), ("fluid", 8, 61), ("musescore", 0, 63)),
        "orchestra",
        "brass",
        -1.0,
    ),
    "stabs": Role(
        "other",
        (_P.stabs, _P.comp),
        (*_both(90, 62, 80, 16), ("fluid", 0, 55), ("musescore", 0, 63)),
        "synth",
        "stab",
    ),
    "arpeggio": Role(
        "other",
        (_P.arpeggio,),
        (*_both(81, 80, 90, 98, 11, 45), ("musescore", 0, 84)),
        "synth",
        "arp",
        -2.0,
    ),
    "lead": Role("other", (_P.melody, _P.ostinato, _P.melody), _LEADS, "synth", "lead"),
    "mallet": Role(
        "other",
        (_P.ostinato, _P.arpeggio),
        (*_both(11, 12, 13, 9, 8, 10, 14, 108, 114, 46), ("musescore", 0, 15)),
        "orchestra",
        "bell",
        -2.0,
    ),
    "solo": Role("other", (_P.melody,), _SOLO_WIND + _SOLO_STRING, "solo", "wind", 1.0),
    "guitar solo": Role("guitar", (_P.melody,), _SOLO_GUITAR, "solo", "electric", 1.5),
}


def draw_tone(name: str, rng: np.random.Generator, kits: str) -> Tone:
    """A synthesised timbre of a family; odd variants are for training, even ones held out."""
    variant = int(rng.integers(500)) * 2 + (0 if kits == "held-out" else 1)
    bright = float(rng.uniform(0.2, 0.9))
    saws = str(rng.choice(["saw", "saw", "square", "pulse", "triangle"]))
    if name in ("electric", "muted", "acoustic", "nylon", "banjo"):
        decay = {"muted": 0.06, "banjo": 0.18, "nylon": 0.35}.get(
            name, float(rng.uniform(0.3, 0.8))
        )
        shade = {"nylon": 0.3, "banjo": 0.95, "acoustic": 0.8}.get(name, bright)
        return Tone("pluck", brightness=shade, decay=decay, release=0.1, variant=variant)
    if name in ("piano", "clavinet"):
        decay = 0.25 if name == "clavinet" else float(rng.uniform(0.5, 1.2))
        return Tone(
            "struck", brightness=0.3 + 0.4 * bright, decay=decay, attack=0.003, release=0.12
        )
    if name == "bell":
        return Tone(
            "struck",
            "bar",
            0.2 + 0.4 * bright,
            decay=float(rng.uniform(0.15, 0.6)),
            attack=0.002,
            release=0.3,
        )
    if name == "epiano":
        return Tone(
            "fm",
            decay=float(rng.uniform(0.6, 1.3)),
            ratio=float(rng.choice([1, 1, 14])),
            index=float(rng.uniform(0.3, 1.5)),
            release=0.1,
        )
    if name == "organ":
        return Tone("organ", release=0.05, variant=variant)
    if name in ("pad", "accordion"):
        return Tone(
            "wave",
            saws,
            0.6 * bright,
            attack=float(rng.uniform(0.05, 0.5)),
            decay=3.0,
            sustain=0.8,
            release=0.4,
            detune=float(rng.uniform(5, 18)),
        )
    if name in ("arp", "stab"):
        return Tone(
            "wave",
            saws,
            bright,
            decay=float(rng.uniform(0.08, 0.5)),
            sustain=float(rng.uniform(0, 0.4)),
            release=0.1,
            detune=float(rng.choice([0, 8, 16])),
        )
    vibrato = float(rng.uniform(0.0, 0.4))
    return Tone(
        "wave",
        saws,
        bright,
        attack=float(rng.uniform(0.005, 0.06)),
        decay=1.5,
        sustain=0.75,
        release=0.08,
        detune=float(rng.choice([0, 6, 12])),
        vibrato=vibrato,
    )
