"""One singer: a bank of syllables, a vocal character, and how written notes become sound."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter1d

from stemwise.band.voice_bank import (
    ENVELOPE_POINTS,
    FRAME_RATE,
    Syllable,
    VoiceBank,
    envelope_frequencies,
    loudness,
    noise_frequencies,
)
from stemwise.band.voice_engine import Roughness, hop_length, synthesise


@dataclass(frozen=True)
class Note:
    """One syllable on one or more pitches; times in seconds, `tones` are (start, MIDI pitch) pairs.

    `accent` is in decibels; `spoken` keeps the melody of the original speech around the first tone.
    """

    start: float
    end: float
    tones: tuple[tuple[float, float], ...]
    syllable: Syllable
    accent: float = 0.0
    spoken: bool = False


@dataclass(frozen=True)
class Singer:
    """A vocal character around a bank; lengths in seconds, depths in cents, tilts in dB/octave."""

    bank: VoiceBank
    low: float
    high: float
    warp: float = 1.0
    tilt: float = 0.0
    colour: np.ndarray = field(default_factory=lambda: np.zeros(ENVELOPE_POINTS))
    breath: float = 0.0
    clarity: float = 0.8
    vibrato_rate: float = 5.5
    vibrato_depth: float = 35.0
    vibrato_delay: float = 0.25
    scoop: float = 0.5
    portamento: float = 0.03
    drift: float = 12.0
    consonant: float = 1.0
    tuned: bool = False
    effort: float = 1.0
    roughness: Roughness = field(default_factory=Roughness)

    @property
    def centre(self) -> float:
        """Middle of the comfortable range, MIDI pitch."""
        return 0.5 * (self.low + self.high)


# (frequency in hertz, level in dB) of sung vowels relative to 500 Hz in bright pop leads
_BRIGHT = (
    (0, -6),
    (250, 0),
    (500, 0),
    (1000, -4),
    (2000, -11),
    (3000, -13),
    (4000, -19),
    (6000, -27),
    (8000, -33),
    (11025, -42),
)


def draw_singer(rng: np.random.Generator, bank: VoiceBank, harshness: float = 0.02) -> Singer:
    """A random character for a bank: range, formant shift, brightness, vibrato, breath and rasp.

    `harshness` is the probability of a screaming or growling singer, as in metal.
    """
    female = bank.female
    warp = float(np.clip(rng.normal(1.0, 0.08), 0.84, 1.2))
    high_voice = female != bool(rng.random() < (0.08 if female else 0.14))
    if high_voice and not female:
        warp = float(rng.uniform(1.08, 1.25))
    if not high_voice and female:
        warp = float(rng.uniform(0.82, 0.92))
    low = float(rng.normal(55.5, 2.0) if high_voice else rng.normal(45.5, 2.5))
    high = low + float(rng.uniform(15, 22))
    if not high_voice and rng.random() < 0.4:
        low, high = low + 4, high + 5  # tenors and belting
    raspy = rng.random() < 0.18
    rough = Roughness(
        jitter=float(rng.uniform(0.0004, 0.0025) * (3 if raspy else 1)),
        shimmer=float(rng.uniform(0.005, 0.03) * (3 if raspy else 1)),
        doubling=float(rng.uniform(0.03, 0.25)) if raspy and rng.random() < 0.5 else 0.0,
        growl=float(rng.uniform(0.05, 0.35)) if raspy and rng.random() < 0.5 else 0.0,
        growl_rate=float(rng.uniform(28, 65)),
    )
    tuned = bool(rng.random() < 0.12)
    scream = 0.0
    if rng.random() < harshness:
        scream = float(rng.uniform(0.2, 0.7))
        rough = Roughness(
            jitter=0.02 * scream,
            shimmer=0.4 * scream,
            doubling=0.6 * scream,
            growl=float(rng.uniform(0.2, 0.6)),
            growl_rate=float(rng.uniform(40, 90)),
        )
    return Singer(
        bank,
        low,
        high,
        warp,
        tilt=float(rng.normal(0.3, 1.1)) + 2.0 * scream,
        colour=_draw_colour(rng, bank),
        breath=float(0.12 * rng.beta(1.0, 2.5))
        if rng.random() < 0.87
        else float(rng.uniform(0.1, 0.4)) + 0.5 * scream,
        clarity=float(rng.uniform(0.7, 0.97)),
        vibrato_rate=float(rng.uniform(4.5, 7.0)),
        vibrato_depth=0.0 if tuned else float(rng.gamma(2.2, 17)),
        vibrato_delay=float(rng.uniform(0.1, 0.45)),
        scoop=0.0 if tuned else float(rng.uniform(0.1, 0.9)),
        portamento=0.004 if tuned else float(rng.uniform(0.012, 0.05)),
        drift=1.0 if tuned else float(rng.uniform(5, 22)),
        consonant=float(rng.uniform(0.75, 1.15)),
        tuned=tuned,
        effort=float(rng.uniform(0.4, 1.6)),
        roughness=rough,
    )


def _draw_colour(rng: np.random.Generator, bank: VoiceBank) -> np.ndarray:
    """Correction (point) from speech to a sung long-term spectrum, plus a few own resonances."""
    frequencies = envelope_frequencies()
    wanted = np.interp(frequencies, *np.array(_BRIGHT, dtype=float).T) * np.log(10) / 10
    missing = wanted - bank.vowel_level()
    missing -= missing[(frequencies > 200) & (frequencies < 1000)].mean()
    # speech leaves holes in the treble: the correction is finer there than among formants
    fine = np.clip((frequencies - 3500) / 2000, 0, 1)
    smooth = gaussian_filter1d(missing, 5.0) * (1 - fine) + gaussian_filter1d(missing, 1.5) * fine
    colour = smooth * np.interp(
        frequencies, [1000, 4000], [rng.uniform(0.5, 0.95), rng.uniform(0.8, 1.05)]
    )
    for _ in range(int(rng.integers(1, 5))):
        place, width, gain = rng.uniform(300, 9000), rng.uniform(0.1, 0.35), rng.normal(0, 0.7)
        colour += gain * np.exp(-0.5 * (np.log2((frequencies + 1) / place) / width) ** 2)
    ring = rng.uniform(0.0, 1.2) * np.exp(
        -0.5 * ((frequencies - rng.uniform(2600, 3300)) / 350) ** 2
    )
    return np.asarray(np.clip(colour + ring, -3.0, 14.0))


def vary(rng: np.random.Generator, singer: Singer) -> Singer:
    """The same singer on another take or day: small changes, for doubles and backing parts."""
    return replace(
        singer,
        warp=singer.warp * float(rng.uniform(0.97, 1.03)),
        tilt=singer.tilt + float(rng.normal(0, 0.4)),
        breath=float(np.clip(singer.breath + rng.uniform(-0.02, 0.08), 0, 0.8)),
        vibrato_rate=singer.vibrato_rate * float(rng.uniform(0.93, 1.07)),
        vibrato_depth=singer.vibrato_depth * float(rng.uniform(0.5, 1.1)),
        scoop=singer.scoop * float(rng.uniform(0.5, 1.2)),
    )


def perform(
    singer: Singer, notes: list[Note], sample_rate: int, rng: np.random.Generator
) -> tuple[float, np.ndarray]:
    """Sing one phrase: the time in seconds at which its sound starts, and the sound (sample)."""
    anchors = _timeline(singer, notes)
    begin = anchors[0][0] - 0.03
    step = hop_length(sample_rate) / sample_rate
    times = begin + step * np.arange(int((notes[-1].end + 0.08 - begin) / step) + 1)
    source = np.interp(times, [a[0] for a in anchors], [a[1] for a in anchors])
    inside, core = _gates(anchors, notes, times, step)
    source = source + core * gaussian_filter1d(rng.standard_normal(len(times)), 8.0) * 3.0
    envelope, noise, spoken_pitch, voiced = _fetch(singer, source, core)
    pitch = _contour(singer, notes, anchors, times, spoken_pitch, rng)
    levels, effort = _dynamics(singer, notes, anchors, times, rng)
    # speech synthesisers hiss as loudly as singers do, only their vowels are dull
    envelope = envelope @ _warp_matrix(singer.warp) + singer.colour * (
        0.15 + 0.85 * voiced[:, None]
    )
    frequencies = envelope_frequencies()
    octaves = np.log2(np.maximum(frequencies, 100.0) / 500.0).clip(-1.0, None)
    slope = (singer.tilt + 0.45 * singer.effort * effort)[:, None] * octaves * np.log(10) / 10
    envelope += (
        slope * voiced[:, None] + levels[:, None] + np.log(np.maximum(inside, 1e-4) ** 2)[:, None]
    )
    envelope -= 0.5 * ((1 - voiced) * np.clip(levels, 0, None))[:, None]
    high = np.clip(noise_frequencies() / 5000.0, 0.06, 1.0)
    # stretched vowels of synthetic speech are noisier than sung ones
    noise = noise * (1 - singer.clarity * core[:, None])
    noise = noise + (1 - noise) * singer.breath * high
    noise = np.clip(noise, 0.004, 0.98)
    sound = synthesise(envelope, noise, pitch, voiced, sample_rate, rng, singer.roughness)
    return begin, sound


def _timeline(singer: Singer, notes: list[Note]) -> list[tuple[float, float, int, str]]:
    """Anchors (time, frame of the bank, note, mark): the source position is linear between them."""
    anchors: list[tuple[float, float, int, str]] = []
    onsets = []
    for index, note in enumerate(notes):
        natural = (note.syllable.core - note.syllable.start) / FRAME_RATE * singer.consonant
        room = 0.3 if index == 0 else 0.42 * (note.start - notes[index - 1].start)
        onsets.append(min(natural, 0.26, max(room, 0.02)))
    for index, note in enumerate(notes):
        cut = note.syllable
        begin = note.start - onsets[index]
        finish = note.end
        if index + 1 < len(notes):
            finish = min(finish, notes[index + 1].start - onsets[index + 1])
        finish = max(finish, note.start + 0.05)
        tail = min(
            (cut.end - cut.release) / FRAME_RATE * singer.consonant,
            0.35 * (finish - note.start),
            0.25,
        )
        close = finish - tail
        # a squeezed onset loses its beginning once it would run at more than 1.5 times its speed
        first = max(cut.start, cut.core - 1.5 * onsets[index] * FRAME_RATE)
        last = min(cut.end, cut.release + 1.5 * tail * FRAME_RATE)
        edge = min(0.25 * (close - note.start), 0.06)
        move = min(edge * FRAME_RATE, 0.3 * (cut.release - cut.core))
        inner = cut.release - cut.core - 2 * move
        late = note.start + edge + 0.72 * (close - note.start - 2 * edge)
        anchors += [
            (begin, first, index, "begin"),
            (note.start, cut.core, index, "core"),
            (note.start + edge, cut.core + move, index, ""),
            (late, cut.core + move + 0.45 * inner, index, ""),
            (close - edge, cut.release - move, index, ""),
            (close, cut.release, index, "release"),
            (finish, last, index, "end"),
        ]
    return anchors


def _gates(
    anchors: list[tuple[float, float, int, str]], notes: list[Note], times: np.ndarray, step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Frames (0 to 1) inside any syllable, with short fades, and frames inside vowel cores."""
    inside = np.zeros(len(times))
    core = np.zeros(len(times))
    for index in range(len(notes)):
        begin, start, close, finish = (anchors[7 * index + k][0] for k in (0, 1, 5, 6))
        inside[(times >= begin) & (times <= finish)] = 1.0
        core[(times >= start) & (times <= close)] = 1.0
    return gaussian_filter1d(inside, 0.008 / step), core


def _fetch(singer: Singer, source: np.ndarray, core: np.ndarray) -> tuple[np.ndarray, ...]:
    """Envelope, noise, pitch and voicing of the bank at fractional frames `source`."""
    bank = singer.bank
    place = np.clip(source, 0, len(bank.pitch) - 1.001)
    low = place.astype(int)
    part = (place - low)[:, None].astype(np.float32)
    envelope = gaussian_filter1d(
        bank.envelope[low] * (1 - part) + bank.envelope[low + 1] * part, 0.7, axis=0
    )
    noise = bank.aperiodicity[low] * (1 - part) + bank.aperiodicity[low + 1] * part
    pitch = bank.pitch[low].astype(float)
    voiced = np.maximum((pitch > 0).astype(float), core)
    return envelope, noise, pitch, gaussian_filter1d(voiced, 0.6)


def _contour(
    singer: Singer,
    notes: list[Note],
    anchors: list[tuple[float, float, int, str]],
    times: np.ndarray,
    spoken: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Pitch in hertz (frame): glides between tones, scoops, vibrato after a delay, drift, falls."""
    step = times[1] - times[0]
    target = np.zeros(len(times))
    bend = np.zeros(len(times))
    depth = np.zeros(len(times))
    for index, note in enumerate(notes):
        begin, close = anchors[7 * index][0], anchors[7 * index + 5][0]
        turn = begin + 0.6 * (note.start - begin)  # the glide is heard in the consonant
        for number, (moment, tone) in enumerate(note.tones):
            target[times >= (turn if number == 0 else moment)] = tone
        if note.spoken:
            continue
        after = times >= turn
        if rng.random() < singer.scoop * (1.0 if index == 0 else 0.45):
            bend[after] -= rng.uniform(0.5, 3.0) * np.exp(
                -(times[after] - turn) / rng.uniform(0.03, 0.09)
            )
        length = close - note.tones[-1][0]
        if length > 0.3 and singer.vibrato_depth > 3:
            from_here = note.tones[-1][0] + singer.vibrato_delay * rng.uniform(0.6, 1.4)
            grown = np.clip((times - from_here) / 0.3, 0, 1) * (times < note.end)
            depth = np.maximum(depth, grown * min(1.0, length / 0.8) * rng.uniform(0.6, 1.2))
        if index + 1 == len(notes) and not singer.tuned and rng.random() < 0.3:
            fall = np.clip((times - (note.end - 0.18)) / 0.18, 0, 1)
            bend -= fall**2 * rng.uniform(0.5, 5.0)
    smooth = gaussian_filter1d(target, max(singer.portamento / step, 0.3), mode="nearest")
    rate = singer.vibrato_rate * (
        1 + 0.06 * gaussian_filter1d(rng.standard_normal(len(times)), 40) * 6
    )
    wave = np.sin(2 * np.pi * np.cumsum(rate) * step + rng.uniform(0, 6.28))
    wander = gaussian_filter1d(rng.standard_normal(len(times)), 0.12 / step)
    wander /= wander.std() + 1e-9
    cents = singer.vibrato_depth * depth * wave + singer.drift * wander
    tone = smooth + bend + cents / 100.0
    return np.asarray(
        np.clip(440.0 * 2.0 ** ((tone + _speech_melody(notes, times, spoken) - 69) / 12), 50, 1400)
    )


def _speech_melody(notes: list[Note], times: np.ndarray, spoken: np.ndarray) -> np.ndarray:
    """Semitones of the original speech around its mean, zero outside spoken notes."""
    if not any(note.spoken for note in notes) or not (spoken > 0).any():
        return np.zeros(len(times))
    heard = np.flatnonzero(spoken > 0)
    tone = 12 * np.log2(np.interp(np.arange(len(spoken)), heard, spoken[heard]))
    tone = gaussian_filter1d(np.clip(tone - np.median(tone), -9, 9), 5.0)
    mask = np.zeros(len(times))
    for note in notes:
        if note.spoken:
            mask[(times >= note.start - 0.2) & (times <= note.end + 0.1)] = 1.0
    return np.asarray(tone * mask)


def _dynamics(
    singer: Singer,
    notes: list[Note],
    anchors: list[tuple[float, float, int, str]],
    times: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Natural-log level (frame) that evens the syllables out, and effort in dB (frame)."""
    level = np.zeros(len(times))
    effort = np.zeros(len(times))
    for index, note in enumerate(notes):
        begin, start, close = (anchors[7 * index + k][0] for k in (0, 1, 5))
        cut = note.syllable
        own = float(loudness(singer.bank.envelope[cut.core : cut.release]).mean())
        here = times >= begin
        accent = note.accent + rng.normal(0, 1.0)
        level[here] = -0.8 * np.clip(own, -4, 4) + accent * np.log(10) / 10
        effort[here] = accent + 0.35 * (note.tones[0][1] - singer.centre)
        swell = np.clip((times - start) / max(close - start, 0.1), 0, 1)
        sung = (times >= start) & (times <= note.end + 0.05)
        level[sung] += (
            rng.uniform(-0.2, 0.4) * np.sin(np.pi * swell) - rng.uniform(0.0, 0.5) * swell
        )[sung]
        rest = index + 1 == len(notes) or notes[index + 1].start - note.end > 0.12
        if rest:  # the voice dies away before a rest instead of being cut
            length = min(float(rng.uniform(0.06, 0.25)), 0.5 * (close - start))
            dying = np.clip((times - (close - length)) / max(length, 0.02), 0, 1)
            level[sung] -= (rng.uniform(1.5, 4.5) * dying**1.5)[sung]
    step = times[1] - times[0]
    return gaussian_filter1d(level, 0.02 / step), gaussian_filter1d(
        np.clip(effort, -8, 8), 0.04 / step
    )


@lru_cache(maxsize=256)
def _warp_matrix(warp: float) -> np.ndarray:
    """Matrix (point, point) that moves formants up by `warp`; the top band is extended level."""
    frequencies = envelope_frequencies()
    place = np.interp(frequencies / warp, frequencies, np.arange(ENVELOPE_POINTS)).clip(
        0, ENVELOPE_POINTS - 1.001
    )
    low = place.astype(int)
    matrix = np.zeros((ENVELOPE_POINTS, ENVELOPE_POINTS), dtype=np.float32)
    columns = np.arange(ENVELOPE_POINTS)
    matrix[low, columns] = 1 - place + low
    matrix[low + 1, columns] = place - low
    return matrix


def breathe(
    singer: Singer, length: float, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """An audible intake of air of `length` seconds (sample), some 20 dB below the voice."""
    frames = int(length * sample_rate / hop_length(sample_rate))
    frequencies = envelope_frequencies()
    centre, width = rng.uniform(1500, 3500), rng.uniform(0.9, 1.4)
    shape = (
        -1.5 * (np.log2((frequencies + 50) / centre) / width) ** 2 + 0.3 * singer.bank.vowel_level()
    )
    shape -= loudness(shape[None])[0]
    swell = np.sin(np.pi * np.linspace(0, 1, frames) ** rng.uniform(1.0, 2.0)) ** 2
    level = rng.uniform(-26, -16) * np.log(10) / 10
    envelope = shape[None] + level + np.log(swell + 1e-4)[:, None]
    noise = np.ones((frames, len(noise_frequencies())))
    return synthesise(envelope, noise, np.full(frames, 100.0), np.zeros(frames), sample_rate, rng)
