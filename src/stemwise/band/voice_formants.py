"""Singers without any outside program: syllables computed from formants, bursts and hiss.

Acoustic model: a cascade of resonances on a falling glottal spectrum (Klatt, "Software for a
cascade/parallel formant synthesizer", JASA 1980), evaluated directly as log envelopes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from stemwise.band.voice_bank import (
    Syllable,
    VoiceBank,
    Word,
    envelope_frequencies,
    loudness,
    noise_frequencies,
)

# first three formants of an adult male in hertz
_VOWELS: dict[str, tuple[float, float, float]] = {
    "i": (285, 2230, 2960),
    "I": (395, 1960, 2560),
    "e": (440, 2060, 2620),
    "E": (560, 1790, 2500),
    "a": (740, 1270, 2520),
    "A": (680, 1090, 2560),
    "O": (570, 850, 2430),
    "o": (445, 790, 2410),
    "u": (320, 860, 2260),
    "U": (440, 1040, 2290),
    "@": (500, 1450, 2450),
    "y": (290, 1880, 2390),
}
_GLIDES = {"ai": ("a", "I"), "ei": ("E", "i"), "ou": ("o", "U"), "au": ("a", "U")}
_SONORANTS: dict[str, tuple[float, float, float, float]] = {  # formants and level in dB
    "m": (250, 1050, 2200, -11),
    "n": (260, 1450, 2500, -11),
    "l": (370, 1150, 2700, -6),
    "r": (420, 1250, 1650, -6),
    "w": (300, 700, 2200, -7),
    "j": (270, 2200, 3000, -7),
}
_HISS: dict[str, tuple[float, float, float]] = {  # centre in hertz, width in octaves, level in dB
    "s": (6800, 0.55, -12),
    "z": (6800, 0.55, -17),
    "S": (3600, 0.6, -11),
    "f": (7000, 1.8, -22),
    "v": (6500, 1.8, -25),
    "th": (7500, 1.5, -23),
}
_BURSTS: dict[str, tuple[float, float, float]] = {
    "p": (900, 1.6, -14),
    "t": (4800, 0.9, -8),
    "k": (2200, 0.8, -9),
    "b": (600, 1.6, -18),
    "d": (3800, 1.0, -13),
    "g": (1800, 0.8, -13),
}
_ONSETS = (
    "",
    "m",
    "n",
    "l",
    "r",
    "w",
    "j",
    "s",
    "S",
    "f",
    "v",
    "z",
    "th",
    "p",
    "t",
    "k",
    "b",
    "d",
    "g",
    "h",
    "st",
    "tr",
    "br",
    "fl",
    "gl",
    "kr",
    "sm",
    "sl",
)
_CODAS = ("", "", "", "", "n", "m", "l", "s", "t", "k", "r", "z", "nd", "st")


@dataclass(frozen=True)
class _Frame:
    """Targets of a run of frames; levels in dB, -90 for none."""

    length: int
    formants: tuple[float, float, float]
    voice: float
    hiss: tuple[float, float, float] = (3000.0, 1.0, -90.0)
    breath: float = -90.0  # noise through the formants: aspiration


def _consonant(
    symbol: str, vowel: tuple[float, float, float], rng: np.random.Generator
) -> list[_Frame]:
    """Runs of frames for one consonant next to a vowel."""
    stretch = rng.uniform(0.8, 1.25)
    if symbol in _SONORANTS:
        f1, f2, f3, level = _SONORANTS[symbol]
        return [_Frame(int(14 * stretch), (f1, f2, f3), level)]
    if symbol in _HISS:
        voice = -14.0 if symbol in "zv" else -90.0
        return [_Frame(int(22 * stretch), (350, vowel[1], vowel[2]), voice, _HISS[symbol])]
    if symbol == "h":
        return [_Frame(int(13 * stretch), vowel, -90.0, breath=-14.0)]
    voiced = symbol in "bdg"
    closed = _Frame(int(11 * stretch), (250, vowel[1], vowel[2]), -18.0 if voiced else -90.0)
    burst = _Frame(2, (350, vowel[1], vowel[2]), -90.0, _BURSTS[symbol])
    air = _Frame(1 if voiced else int(8 * stretch), vowel, -90.0, breath=-20.0)
    return [closed, burst, air]


def _split(cluster: str) -> list[str]:
    return [cluster] if cluster in ("", "th") or len(cluster) < 2 else list(cluster)


def _draw_syllable(
    rng: np.random.Generator, onset: str, vowel: str, coda: str
) -> list[list[_Frame]]:
    """Runs of onset, core and coda."""
    first, last = _GLIDES.get(vowel, (vowel, vowel))
    start, stop = _VOWELS[first], _VOWELS[last]
    before = [run for symbol in _split(onset) if symbol for run in _consonant(symbol, start, rng)]
    after = [run for symbol in _split(coda) if symbol for run in _consonant(symbol, stop, rng)]
    length = int(rng.uniform(24, 40))
    core = [_Frame(length // 2, start, 0.0), _Frame(length - length // 2, stop, 0.0)]
    return [before or [_Frame(3, start, -12.0)], core, after or [_Frame(4, stop, -9.0)]]


def formant_voice(rng: np.random.Generator, split: str = "all", words: int = 48) -> VoiceBank:
    """A speaker drawn at random, with `words` made-up words of one to three syllables.

    The tract length is drawn from bands of ratios; "train" never uses those of "held-out".
    """
    female = bool(rng.random() < 0.5)
    bands = {
        "train": ((0.86, 0.93), (0.97, 1.03), (1.07, 1.14)),
        "held-out": ((0.935, 0.965), (1.035, 1.065)),
        "all": ((0.86, 1.14),),
    }[split]
    tract = float(rng.uniform(*bands[int(rng.integers(len(bands)))])) * (1.165 if female else 1.0)
    vowels = [*_VOWELS, *_GLIDES]
    runs: list[_Frame] = []
    spelled: list[Word] = []
    offset = 0
    for index in range(words):
        count = 1 if index < 20 else int(rng.integers(1, 4))
        text, syllables = "", []
        for _ in range(count):
            onset = str(rng.choice(["", "h", "l", "n", "w"] if index < 9 else _ONSETS))
            vowel = str(rng.choice(["u", "a", "o", "A", "ei"] if index < 9 else vowels))
            coda = "" if index < 9 else str(rng.choice(_CODAS))
            parts = _draw_syllable(rng, onset, vowel, coda)
            sizes = [sum(run.length for run in part) for part in parts]
            edges = offset + np.cumsum([0, *sizes])
            syllables.append(Syllable(*map(int, edges)))
            runs += [run for part in parts for run in part]
            offset, text = int(edges[-1]), text + onset + vowel + coda
        spelled.append(Word(text, tuple(syllables)))
    envelope, noise, pitch = _render_runs(runs, tract, female, rng)
    cores = np.concatenate([np.arange(s.core, s.release) for w in spelled for s in w.syllables])
    envelope -= loudness(envelope)[cores].mean()
    return VoiceBank(
        f"formants {tract:.3f}",
        female,
        envelope.astype(np.float32),
        noise.astype(np.float32),
        pitch.astype(np.float32),
        tuple(spelled),
    )


def _track(values: list[float], runs: list[_Frame], smooth: float) -> np.ndarray:
    return np.asarray(
        gaussian_filter1d(
            np.repeat(np.array(values, dtype=float), [r.length for r in runs]), smooth
        )
    )


def _render_runs(
    runs: list[_Frame], tract: float, female: bool, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log envelope and aperiodicity (frame, point) and pitch (frame) of runs of targets."""
    frequencies = envelope_frequencies()
    formants = [
        _track([run.formants[k] for run in runs], runs, 4.0) * tract * rng.uniform(0.96, 1.04)
        for k in range(3)
    ]
    upper = [
        place * tract * rng.uniform(0.95, 1.05)
        for place in (3450, 4350, 5300, 6350, 7400, 8500, 9600)
    ]
    frames = len(formants[0])
    vowel = np.zeros((frames, len(frequencies)))
    widths = rng.uniform(60, 110), rng.uniform(80, 140), rng.uniform(120, 220)
    for centre, damping in zip(formants, widths, strict=True):
        vowel += _resonance(frequencies, centre[:, None], damping)
    for high in upper:
        vowel += _resonance(frequencies, np.array([[high]]), 0.05 * high + rng.uniform(60, 160))
    # glottal source and radiation: about -8 dB per octave above the first harmonics
    slope = rng.uniform(-9.5, -6.0) * np.log(10) / 10
    vowel += slope * np.log2(np.maximum(frequencies, 150.0) / 150.0)
    vowel += 1.1 * np.log2(
        1.0 + (frequencies / 4500.0) ** 2
    )  # higher poles that the cascade leaves out
    vowel -= loudness(vowel).mean()
    decibel = np.log(10) / 10
    voice = vowel + decibel * _track([run.voice for run in runs], runs, 1.2)[:, None]
    level = _track([run.hiss[2] for run in runs], runs, 0.7)[:, None]
    place = _track([run.hiss[0] for run in runs], runs, 0.7)[:, None] * rng.uniform(0.88, 1.12)
    width = _track([run.hiss[1] for run in runs], runs, 0.7)[:, None]
    hiss = -1.2 * (np.log2((frequencies + 60) / place) / width) ** 2
    hiss = (
        hiss
        - np.log((np.exp(hiss) * np.gradient(frequencies)).sum(1, keepdims=True))
        + decibel * level
    )
    breath = (
        vowel
        + 0.25 * np.log2(np.maximum(frequencies, 200) / 500)
        + decibel * _track([run.breath for run in runs], runs, 1.0)[:, None]
    )
    air = (
        vowel
        + decibel * (-32 + 20 * np.clip(frequencies / 9000, 0, 1))
        + np.minimum(voice - vowel, 0)
    )
    noisy = np.logaddexp(np.logaddexp(hiss, breath), air)
    envelope = np.maximum(np.logaddexp(voice, noisy), -22.0)
    share = np.exp(noisy - np.logaddexp(voice, noisy))
    nearest = np.searchsorted(frequencies, noise_frequencies() - 1e-6).clip(1, len(frequencies) - 1)
    noise = 0.5 * (share[:, nearest - 1] + share[:, nearest])
    voiced = _track([float(run.voice > -60) for run in runs], runs, 0.01) > 0.5
    melody = gaussian_filter1d(rng.standard_normal(frames), 30) * 60
    pitch = np.where(voiced, (190.0 if female else 115.0) * 2 ** (melody / 12), 0.0)
    return envelope, noise, pitch


def _resonance(frequencies: np.ndarray, centre: np.ndarray, width: float) -> np.ndarray:
    """Log power of a two-pole resonance with unit gain at 0 Hz."""
    damping = (width / 2) ** 2
    norm = centre**2 + damping
    return np.asarray(
        2 * np.log(norm)
        - np.log((frequencies - centre) ** 2 + damping)
        - np.log((frequencies + centre) ** 2 + damping)
    )
