"""What a singer is made of: frames of envelope and aperiodicity, cut into words and syllables."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from scipy.ndimage import gaussian_filter1d, median_filter, uniform_filter1d
from scipy.signal import find_peaks

FRAME_RATE = 200.0  # frames per second of every bank
ENVELOPE_POINTS = 72
NOISE_POINTS = 10
TOP = 11025.0  # hertz; envelopes end here


def _mel(frequency: np.ndarray | float) -> np.ndarray:
    return np.asarray(1127.0 * np.log1p(np.asarray(frequency) / 700.0))


def _hertz(mel: np.ndarray) -> np.ndarray:
    return np.asarray(700.0 * np.expm1(mel / 1127.0))


@lru_cache(maxsize=1)
def envelope_frequencies() -> np.ndarray:
    """Frequencies in hertz (point) at which envelopes are sampled, mel-spaced from 0 to 11025."""
    return _hertz(np.linspace(0.0, float(_mel(TOP)), ENVELOPE_POINTS))


@lru_cache(maxsize=1)
def noise_frequencies() -> np.ndarray:
    """Frequencies in hertz (point) at which the aperiodicity is sampled."""
    return _hertz(np.linspace(float(_mel(100.0)), float(_mel(TOP)), NOISE_POINTS))


@dataclass(frozen=True)
class Syllable:
    """Frame indices: onset from `start`, vowel core from `core` to `release`, coda to `end`."""

    start: int
    core: int
    release: int
    end: int


@dataclass(frozen=True)
class Word:
    """A word of a bank, its spelling and its syllables in order."""

    text: str
    syllables: tuple[Syllable, ...]


@dataclass(frozen=True)
class VoiceBank:
    """Everything one speaker said, at 200 frames per second.

    envelope: float32 (frame, point), natural log of power, mean vowel level 0.
    aperiodicity: float32 (frame, point), share of noise in the power, 0 to 1.
    pitch: float32 (frame,), hertz of the original speech, 0 where unvoiced.
    """

    name: str
    female: bool
    envelope: np.ndarray
    aperiodicity: np.ndarray
    pitch: np.ndarray
    words: tuple[Word, ...]

    def vowel_level(self) -> np.ndarray:
        """Mean log envelope (point) over the vowel cores."""
        cores = [self.envelope[s.core : s.release] for w in self.words for s in w.syllables]
        return np.asarray(np.concatenate(cores).mean(axis=0))


def loudness(envelope: np.ndarray) -> np.ndarray:
    """Log power (frame) between 200 and 4000 Hz of log envelopes (frame, point)."""
    frequencies = envelope_frequencies()
    width = np.gradient(frequencies)
    chosen = (frequencies > 200) & (frequencies < 4000)
    return np.asarray(np.log(np.exp(envelope[:, chosen]) @ width[chosen] + 1e-20))


def find_syllables(envelope: np.ndarray, pitch: np.ndarray) -> tuple[Syllable, ...]:
    """Cut one word's frames into syllables by voicing, energy and spectral stability.

    Nuclei are peaks of the smoothed 200-4000 Hz level of voiced frames; the level's minima between
    nuclei divide onset from coda, so that consonants keep their length when vowels are stretched.
    """
    frames = len(pitch)
    voiced = median_filter((pitch > 0).astype(float), 5) > 0.5
    level = gaussian_filter1d(loudness(envelope), 3.0)
    top = level[voiced].max() if voiced.any() else 0.0
    track = np.where(voiced, level, level.min())
    peaks, _ = find_peaks(np.r_[-1e3, track, -1e3], prominence=0.7, distance=16, height=top - 2.8)
    peaks = peaks - 1
    change = uniform_filter1d(
        np.abs(np.gradient(gaussian_filter1d(envelope, 1.5, axis=0), axis=0)).mean(1), 3
    )
    borders = [0]
    for left, right in pairwise(peaks):
        borders.append(int(left + np.argmin(level[left:right])))
    borders.append(frames)
    syllables = []
    for index, peak in enumerate(peaks):
        start, end = borders[index], borders[index + 1]
        core, release = _grow(int(peak), start, end, voiced, level, change)
        if release - core >= 5:
            syllables.append(Syllable(start, core, release, end))
    return tuple(syllables)


def _grow(
    peak: int, start: int, end: int, voiced: np.ndarray, level: np.ndarray, change: np.ndarray
) -> tuple[int, int]:
    """Widen the vowel core around its peak while it stays voiced, loud and spectrally stable."""
    limit = max(2.2 * float(np.median(change[start:end])), 0.12)
    fits = voiced & (level > level[peak] - 0.9) & (change < limit)
    fits[max(peak - 2, start) : peak + 3] = True
    core, release = peak, peak
    while core > start and fits[core - 1]:
        core -= 1
    while release < end - 1 and fits[release + 1]:
        release += 1
    return core, release + 1
