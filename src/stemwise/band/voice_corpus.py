"""The corpus of sampled singers: speech analysed once with WORLD and kept in a cache folder.

Run `python -m stemwise.band.voice_corpus` to build it. The folder is $STEMWISE_CACHE/voices, or
~/.cache/stemwise/voices. Analysis: Morise et al., "WORLD: a vocoder-based high-quality speech
synthesis system for real-time applications", IEICE 2016 (DIO, StoneMask, CheapTrick, D4C).
"""

from __future__ import annotations

import argparse
import os
import warnings
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import butter, sosfiltfilt

from stemwise.band.voice_bank import (
    FRAME_RATE,
    Syllable,
    VoiceBank,
    Word,
    envelope_frequencies,
    find_syllables,
    loudness,
    noise_frequencies,
)
from stemwise.band.voice_sources import CORPUS_RATE, VOICES, Voice, VoiceError, speak
from stemwise.band.voice_words import draw_words
from stemwise.cache import cache_folder

_LAYOUT = 1  # part of the file names: raised when the stored frames change
_WORDS = {True: 120, False: 70}  # recorded speakers get more words than formant synthesisers


def corpus_folder() -> Path:
    """Folder of the analysed voices."""
    return cache_folder("voices")


def _load_pyworld() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pyworld imports the deprecated pkg_resources
            import pyworld
    except ImportError as error:
        raise VoiceError(
            f"sampled singers need pyworld ({error}): install stemwise[band] "
            "or render with the family 'dsp'"
        ) from None
    return pyworld


def analyse(samples: np.ndarray, female: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log envelope and aperiodicity (frame, point) and pitch (frame) of speech at 22050 Hz."""
    world = _load_pyworld()
    samples = np.ascontiguousarray(
        sosfiltfilt(butter(2, 50, "high", fs=CORPUS_RATE, output="sos"), samples)
    )
    period = 1000.0 / FRAME_RATE
    floor, ceiling = (110.0, 500.0) if female else (60.0, 320.0)
    rough, times = world.dio(
        samples, CORPUS_RATE, f0_floor=floor, f0_ceil=ceiling, frame_period=period
    )
    pitch = world.stonemask(samples, rough, times, CORPUS_RATE)
    spectra = world.cheaptrick(samples, pitch, times, CORPUS_RATE)
    noise = world.d4c(samples, pitch, times, CORPUS_RATE)
    bins = np.linspace(0.0, CORPUS_RATE / 2, spectra.shape[1])
    envelope = _sample_rows(np.log(spectra + 1e-12), bins, envelope_frequencies())
    aperiodicity = _sample_rows(noise**2, bins, noise_frequencies())
    return envelope, np.clip(aperiodicity, 0.0, 1.0), pitch


def _sample_rows(rows: np.ndarray, at: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Linear interpolation of every row from the uniform grid `at` to the points `wanted`."""
    position = np.clip(wanted / (at[1] - at[0]), 0, len(at) - 1.001)
    low = position.astype(int)
    return np.asarray(rows[:, low] * (1 - position + low) + rows[:, low + 1] * (position - low))


def _extend_band(envelope: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    """Continue envelopes past the cut-off of 16 kHz voices: falling for vowels, level for hiss."""
    frequencies = envelope_frequencies()
    mean = np.exp(envelope).mean(axis=0)
    edge = int(np.searchsorted(frequencies, 7200.0))
    if mean[frequencies > 8600].mean() > 0.02 * mean[edge - 4 : edge].mean():
        return envelope
    octaves = np.log2(frequencies[edge:] / frequencies[edge])
    anchor = envelope[:, edge - 5 : edge].mean(axis=1, keepdims=True)
    slope = np.where(voiced, -2.6, -0.6)[:, None]  # natural log of power per octave
    extended = envelope.copy()
    extended[:, edge:] = anchor + slope * octaves
    return np.asarray(extended)


def _settle_treble(envelope: np.ndarray, voiced: np.ndarray) -> np.ndarray:
    """Tie the treble of vowels, in synthetic speech mostly noise, to their 2.5-4.5 kHz level."""
    frequencies = envelope_frequencies()
    middle = (frequencies > 2500) & (frequencies < 4500)
    share = np.clip((frequencies - 4200) / 1500, 0, 1)[None]
    rows = envelope[voiced]
    deviation = rows - rows.mean(axis=0)
    tied = 0.45 * deviation + 0.35 * np.clip(
        deviation[:, middle].mean(axis=1, keepdims=True), -4, 3
    )
    settled = envelope.copy()
    settled[voiced] += (share * (tied - deviation)).astype(np.float32)
    return np.asarray(settled)


def build_voice(voice: Voice) -> VoiceBank:
    """Let a voice speak its words and analyse them; VoiceError when under 20 words are usable."""
    rng = np.random.default_rng(zlib.crc32(voice.name.encode()))
    texts = draw_words(rng, voice.language, _WORDS[voice.natural])
    envelopes, noises, pitches, words, offset = [], [], [], [], 0
    for text, samples in zip(texts, speak(voice, texts), strict=True):
        if len(samples) < 0.15 * CORPUS_RATE:
            continue
        envelope, noise, pitch = analyse(samples, voice.female)
        level = loudness(envelope)
        loud = np.flatnonzero(level > level.max() - 7.5)
        trimmed = slice(max(int(loud[0]) - 6, 0), int(loud[-1]) + 8)
        envelope, noise, pitch = envelope[trimmed], noise[trimmed], pitch[trimmed]
        syllables = find_syllables(envelope, pitch)
        if not 1 <= len(syllables) <= 4:
            continue
        words.append(
            Word(
                text,
                tuple(
                    Syllable(s.start + offset, s.core + offset, s.release + offset, s.end + offset)
                    for s in syllables
                ),
            )
        )
        envelopes.append(_extend_band(envelope, pitch > 0))
        noises.append(noise)
        pitches.append(pitch)
        offset += len(pitch)
    if len(words) < 20:
        raise VoiceError(
            f"the voice '{voice.name}' spoke only {len(words)} usable words: check its package"
        )
    envelope = np.concatenate(envelopes).astype(np.float32)
    cores = np.concatenate([np.arange(s.core, s.release) for w in words for s in w.syllables])
    envelope -= loudness(envelope)[cores].mean()
    return VoiceBank(
        voice.name,
        voice.female,
        envelope,
        np.concatenate(noises).astype(np.float32),
        np.concatenate(pitches).astype(np.float32),
        tuple(words),
    )


def _path(name: str) -> Path:
    return corpus_folder() / f"{name}.v{_LAYOUT}.npz"


def store(bank: VoiceBank) -> None:
    """Write a bank to the cache under a temporary name, then rename it."""
    path = _path(bank.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    cuts = [
        [index, s.start, s.core, s.release, s.end]
        for index, w in enumerate(bank.words)
        for s in w.syllables
    ]
    with part.open("wb") as file:
        np.savez(
            file,
            envelope=bank.envelope.astype(np.float16),
            aperiodicity=bank.aperiodicity.astype(np.float16),
            pitch=bank.pitch.astype(np.float16),
            cuts=np.array(cuts, dtype=np.int32),
            texts=np.array([word.text for word in bank.words]),
            female=bank.female,
        )
    part.replace(path)


def _trimmed(syllables: list[Syllable], level: np.ndarray) -> tuple[Syllable, ...]:
    """A word without its faint first and last frames, which would part words sung in one breath."""
    first = syllables[0]
    floor = float(np.mean([level[s.core : s.release].mean() for s in syllables])) - 4.6
    while first.start < first.core - 2 and level[first.start] < floor - 1.5:
        first = replace(first, start=first.start + 1)
    syllables[0] = first
    last = syllables[-1]
    while last.end > last.release + 4 and level[last.end - 1] < floor:
        last = replace(last, end=last.end - 1)
    syllables[-1] = last
    return tuple(syllables)


@lru_cache(maxsize=64)
def load_voice(name: str) -> VoiceBank:
    """A voice's bank from the cache, built and stored first when it is not there."""
    voice = next((v for v in VOICES if v.name == name), None)
    if voice is None:
        raise VoiceError(
            f"unknown voice '{name}': choose one of {', '.join(v.name for v in VOICES)}"
        )
    path = _path(name)
    if not path.exists():
        store(build_voice(voice))
    with np.load(path) as data:
        cuts, texts = data["cuts"], data["texts"]
        stored = data["envelope"].astype(np.float32)
        level = np.log(np.exp(stored) @ np.gradient(envelope_frequencies()))
        words = tuple(
            Word(
                str(text),
                _trimmed(
                    [Syllable(*map(int, row[1:])) for row in cuts[cuts[:, 0] == index]], level
                ),
            )
            for index, text in enumerate(texts)
        )
        pitch = data["pitch"].astype(np.float32)
        envelope = _settle_treble(stored, pitch > 0)
        return VoiceBank(
            name,
            bool(data["female"]),
            envelope,
            data["aperiodicity"].astype(np.float32),
            pitch,
            words,
        )


def _build_and_store(name: str) -> tuple[str, int, int]:
    bank = load_voice(name)
    return name, len(bank.words), sum(len(word.syllables) for word in bank.words)


def build_corpus(processes: int = 2) -> list[tuple[str, int, int]]:
    """Build every missing voice; returns (name, words, syllables) of each."""
    names = [voice.name for voice in VOICES]
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(_build_and_store, names))


def main() -> None:
    """Build the corpus from the command line."""
    parser = argparse.ArgumentParser(description="Analyse the speech behind the sampled singers.")
    parser.add_argument("-j", "--jobs", type=int, default=2, help="processes (default 2)")
    for name, words, syllables in build_corpus(parser.parse_args().jobs):
        print(f"{name}: {words} words, {syllables} syllables")


if __name__ == "__main__":
    main()
