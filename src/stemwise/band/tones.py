"""Synthesised pitched instruments: plucked strings, wavetables, FM, organ, bars."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from stemwise.band.effects import Samples
from stemwise.band.notes import Note

Phase = npt.NDArray[np.floating[Any]]
"""Times or phases (sample,), in whichever precision they were computed."""


@dataclass(frozen=True)
class Tone:
    """A synthesised timbre; `kind` picks the model, the rest are its knobs (0 to 1 unless said)."""

    kind: str  # pluck, wave, fm, organ, struck, bowed, sub
    wave: str = "saw"
    brightness: float = 0.5
    attack: float = 0.005  # seconds
    decay: float = 1.0  # seconds to -60 dB is about 7 times this
    sustain: float = 0.0
    release: float = 0.08  # seconds
    detune: float = 0.0  # cents between unison voices
    ratio: float = 1.0  # FM modulator to carrier
    index: float = 1.0  # FM depth
    vibrato: float = 0.0  # semitones
    variant: int = 0


@lru_cache(maxsize=512)
def _table(wave: str, harmonics: int, brightness: float) -> Samples:
    """One period of a band-limited waveform, 2048 samples and one to wrap, peak 1."""
    phase = np.arange(2049) * (2 * np.pi / 2048)
    order = np.arange(1, max(1, harmonics) + 1)
    if wave == "square":
        strength = np.where(order % 2 == 1, 1.0 / order, 0.0)
    elif wave == "pulse":
        strength = np.abs(np.sin(np.pi * order * 0.22)) / order
    elif wave == "triangle":
        strength = np.where(order % 2 == 1, 1.0 / order**2, 0.0)
    else:
        strength = 1.0 / order
    strength = strength / (1.0 + (order / (1.5 + 40.0 * brightness**1.5)) ** 2)
    table = np.sin(np.outer(phase, order)) @ strength
    return np.asarray(table / (np.max(np.abs(table)) + 1e-9), np.float32)


def _read(table: Samples, phase: Phase) -> Samples:
    position = (phase - np.floor(phase)) * 2048
    whole = position.astype(np.int32)
    part = (position - whole).astype(np.float32)
    return np.asarray(table[whole] * (1 - part) + table[whole + 1] * part, np.float32)


def _envelope(tone: Tone, time: Phase) -> Samples:
    rise = np.minimum(time / max(tone.attack, 1e-3), 1.0)
    fall = tone.sustain + (1 - tone.sustain) * np.exp(
        -np.maximum(time - tone.attack, 0) / tone.decay
    )
    return np.asarray(rise * fall, np.float32)


def _pluck(tone: Tone, frequency: float, count: int, rate: int) -> Samples:
    """Karplus-Strong string, one period at a time, then brought to its exact pitch."""
    period = max(2, int(rate / frequency))
    exact = rate / frequency
    needed = int(count * (period + 0.5) / exact) + 2 * period
    rng = np.random.default_rng([tone.variant, period])
    ring = rng.uniform(-1, 1, period).astype(np.float32)
    smooth = round((1 - tone.brightness) * 6) + 1
    ring = np.convolve(np.tile(ring, 2), np.ones(smooth) / smooth)[period : 2 * period].astype(
        np.float32
    )
    comb = max(1, int(period * (0.12 + 0.2 * (tone.variant % 5) / 5)))
    ring = ring - 0.9 * np.roll(ring, comb)  # where the string is plucked
    loss = np.float32(10 ** (-3.0 / (max(tone.decay, 0.02) * 7 * frequency)))
    blend = np.float32(0.5 * (1.0 - 0.6 * tone.brightness) * min(1.0, 300.0 / frequency))
    out = np.empty((needed // period + 1, period), np.float32)
    for row in out:  # each period is the last one, a little duller
        row[:] = ring
        ring = loss * ((1 - blend) * ring + blend * np.roll(ring, 1))
    flat = out.ravel()
    # the averaging delays each period by `blend` samples, hence the true period of the loop
    position = np.arange(count, dtype=np.float64) * ((period + blend) / exact)
    signal = np.interp(position, np.arange(len(flat)), flat).astype(np.float32)
    return np.asarray(signal / (np.max(np.abs(signal)) + 1e-9), np.float32)


def _wave(tone: Tone, frequency: float, time: Phase, rate: int) -> Phase:
    """Detuned unison wavetables whose brightness falls with the envelope; stereo."""
    limit = max(1, int(0.45 * rate / frequency))
    bright = _table(tone.wave, limit, round(tone.brightness, 2))
    dark = _table(tone.wave, limit, round(tone.brightness * 0.3, 2))
    shade = np.exp(-time / max(0.05, tone.decay * 0.5)).astype(np.float32)
    bend = tone.vibrato * np.minimum(time / 0.4, 1.0) * np.sin(2 * np.pi * 5.3 * time)
    channels = []
    for channel in range(2):
        total = np.zeros_like(time)
        voices = (-1.0, 0.3, 1.0) if tone.detune else (0.0,)
        for index, voice in enumerate(voices):
            cents = tone.detune * voice * (1 if channel == 0 else -0.8)
            speed = frequency * 2 ** (cents / 1200)
            base = (
                speed * time.astype(np.float64) + 0.37 * index + 0.21 * channel * (tone.detune > 0)
            )
            if tone.vibrato:
                base = base + np.cumsum(speed * (2 ** (bend / 12) - 1)) / rate
            total += _read(bright, base) * shade + _read(dark, base) * (1 - shade)
        channels.append(total / len(voices))
    return np.stack(channels) * _envelope(tone, time)


def _additive(tone: Tone, frequency: float, time: Phase, rate: int) -> Samples:
    """Struck strings and bars: partials that die the faster the higher, slightly stretched."""
    out = np.zeros_like(time)
    spread = (1.0, 2.756, 5.404, 8.933) if tone.wave == "bar" else tuple(range(1, 17))
    for index, ratio in enumerate(spread):
        partial = frequency * ratio * np.sqrt(1 + 2e-4 * ratio**2)
        if partial > 0.45 * rate:
            break
        strength = (0.35 + 0.6 * tone.brightness) ** index
        decay = tone.decay / (1 + 0.35 * index)
        out += strength * np.sin(2 * np.pi * partial * time + index) * np.exp(-time / decay)
    return np.asarray(out * np.minimum(time / tone.attack, 1.0), np.float32)


def _organ(tone: Tone, frequency: float, time: Phase, rate: int) -> Samples:
    rng = np.random.default_rng([tone.variant, 3])
    out = np.zeros_like(time)
    for ratio in (0.5, 1.5, 1, 2, 3, 4, 6, 8):
        if frequency * ratio < 0.45 * rate:
            out += rng.uniform(0, 1) ** 2 * np.sin(2 * np.pi * frequency * ratio * time)
    click = np.minimum(time / 0.004, 1.0)
    return np.asarray(out * click * (1 + 0.08 * np.sin(2 * np.pi * 6.5 * time)), np.float32)


def _fm(tone: Tone, frequency: float, time: Phase, rate: int) -> Samples:
    depth = tone.index * min(1.0, 0.2 * rate / (frequency * (1 + tone.ratio)) / 2)
    modulator = (
        depth
        * np.exp(-time / (0.4 * tone.decay))
        * np.sin(2 * np.pi * frequency * tone.ratio * time)
    )
    return np.asarray(
        np.sin(2 * np.pi * frequency * time + modulator) * _envelope(tone, time), np.float32
    )


def sound(tone: Tone, pitch: float, seconds: float, rate: int) -> Samples:
    """A held note of a tone: (2, sample), RMS of the first 0.3 s about 0.2."""
    frequency = 440.0 * 2 ** ((pitch - 69) / 12)
    time = np.arange(max(16, int(seconds * rate)), dtype=np.float32) / rate
    if tone.kind == "pluck":
        out = _pluck(tone, frequency, len(time), rate)[None]
    elif tone.kind == "wave":
        out = _wave(tone, frequency, time, rate)
    elif tone.kind == "struck":
        out = _additive(tone, frequency, time, rate)[None]
    elif tone.kind == "organ":
        out = _organ(tone, frequency, time, rate)[None]
    elif tone.kind == "sub":
        slide = frequency * (time + 0.02 * (1 - np.exp(-time / 0.02)))
        out = (
            np.tanh(np.sin(2 * np.pi * slide) * (1 + 3 * tone.brightness)) * _envelope(tone, time)
        )[None]
    else:
        out = _fm(tone, frequency, time, rate)[None]
    level = float(np.sqrt(np.mean(np.square(out[:, : int(0.3 * rate)]))))
    out = (out * (0.2 / (level + 1e-6))).astype(np.float32)
    return np.repeat(out, 2, axis=0) if out.shape[0] == 1 else out


def play(tone: Tone, notes: list[Note], count: int, rate: int) -> Samples:
    """All notes of a part in one tone, (2, count); each pitch is synthesised once."""
    out = np.zeros((2, count), np.float32)
    longest: dict[int, float] = {}
    for note in notes:
        seconds = min(note.end - note.start, 8.0) + tone.release
        longest[note.pitch] = max(longest.get(note.pitch, 0.0), seconds)
    sounds = {pitch: sound(tone, pitch, seconds, rate) for pitch, seconds in longest.items()}
    for note in notes:
        start = int(note.start * rate)
        held = min(int((note.end - note.start) * rate), sounds[note.pitch].shape[1])
        length = min(held + int(tone.release * rate), sounds[note.pitch].shape[1], count - start)
        if length <= 0:
            continue
        piece = sounds[note.pitch][:, :length] * np.float32(note.velocity)
        if length > held:
            piece[:, held:] *= np.linspace(1, 0, length - held, dtype=np.float32) ** 2
        else:
            fade = min(64, length)
            piece[:, length - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
        out[:, start : start + length] += piece
    return out
