"""The vocal channel strip and bus: what an engineer does to the tracks of a pop vocal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from stemwise.band import effects
from stemwise.band.song import Song


class Track(Protocol):
    """A mono track with its place in the mix."""

    sound: np.ndarray
    pan: float
    gain: float
    role: str


@dataclass(frozen=True)
class Chain:
    """Settings of one song's vocal mix; gains and wet levels in dB, times in seconds."""

    lead_pan: float
    spread: float
    doubling: float
    wide_doubles: bool
    double_gain: float
    backing_gain: float
    highpass: float
    low_mid: float
    presence: float
    presence_at: float
    air: float
    threshold: float
    ratio: float
    drive: float
    telephone: bool
    room: float
    room_wet: float
    hall: float
    hall_wet: float
    brightness: float
    variant: int
    echo_time: float
    echo_wet: float
    feedback: float
    chorus: float
    side: float


def draw_chain(rng: np.random.Generator, song: Song) -> Chain:
    """Random settings within what pop and rock mixes do."""
    beats = float(rng.choice([0.5, 0.75, 1.0, 0.25]))
    echo = float(rng.uniform(-30, -13)) if rng.random() < 0.4 else -120.0
    slap = rng.random() < 0.3
    return Chain(
        lead_pan=float(rng.normal(0, 0.015)),
        spread=float(rng.uniform(0.2, 0.75)),
        doubling=float(rng.choice([0.1, 0.5, 0.9])),
        wide_doubles=bool(rng.random() < 0.5),
        double_gain=float(rng.uniform(-13, -5)),
        backing_gain=float(rng.uniform(-13, -5)),
        highpass=float(rng.uniform(70, 160)),
        low_mid=float(rng.uniform(-4, 2)),
        presence=float(rng.uniform(-1, 5)),
        presence_at=float(rng.uniform(2200, 5500)),
        air=float(rng.uniform(-3, 5)),
        threshold=float(rng.uniform(-14, -4)),
        ratio=float(rng.uniform(2.0, 6.0)),
        drive=float(rng.uniform(0.1, 0.5) if rng.random() < 0.7 else rng.uniform(0.8, 4.0)),
        telephone=bool(rng.random() < 0.03),
        room=float(rng.uniform(0.3, 0.8)),
        room_wet=float(rng.uniform(-28, -12)),
        hall=float(rng.uniform(1.0, 2.6)),
        hall_wet=float(rng.uniform(-26, -9)),
        brightness=float(rng.uniform(0.2, 1.0)),
        variant=int(rng.integers(12)),
        echo_time=float(rng.uniform(0.07, 0.14)) if slap else beats * song.beat,
        echo_wet=echo,
        feedback=0.05 if slap else float(rng.uniform(0.1, 0.5)),
        chorus=float(rng.uniform(0.1, 0.4)) if rng.random() < 0.12 else 0.0,
        side=float(rng.uniform(-25, -9)),
    )


def mix_layers(
    layers: list[Track], chain: Chain, song: Song, sample_rate: int, rng: np.random.Generator
) -> np.ndarray:
    """Stereo stem (channel, sample) at about -18 dBFS of active RMS, peaks under 0.95."""
    length = len(layers[0].sound)
    stem = np.zeros((2, length), dtype=np.float32)
    send = np.zeros((2, length), dtype=np.float32)
    reference = 0.0
    for layer in layers:
        treated = _strip(layer.sound[None], chain, sample_rate, layer.role)
        level = effects.active_rms(treated, sample_rate)
        if level <= 0:
            continue
        reference = reference or 0.126
        treated *= np.float32(reference / level * 10 ** (layer.gain / 20))
        placed = effects.pan(treated[0], float(np.clip(layer.pan, -1, 1)))
        stem += placed
        send += placed * np.float32({"lead": 1.0, "double": 1.0}.get(layer.role, 1.6))
    stem += _space(send, chain, sample_rate)
    stem = effects.equalise(
        stem, sample_rate, [("highpass", 50.0, 2, 0.7)]
    )  # saturation leaves an offset
    stem = _place(stem, chain)
    level = effects.active_rms(stem, sample_rate)
    if level > 0:
        stem *= np.float32(0.126 / level)
    return np.asarray(stem * effects.limiting_gain(stem, sample_rate, 0.9), dtype=np.float32)


def _strip(sound: np.ndarray, chain: Chain, rate: int, role: str) -> np.ndarray:
    """High-pass, de-esser, equaliser, two stages of compression and saturation on (1, sample)."""
    bands: list[tuple[str, float, float, float]] = [
        ("highpass", chain.highpass, 2, 0.7),
        ("peak", 320.0, chain.low_mid, 0.9),
        ("peak", chain.presence_at, chain.presence, 0.8),
        ("high", 8000.0, chain.air, 0.7),
    ]
    if role in ("backing", "double"):
        bands[0] = ("highpass", chain.highpass * 1.5, 2, 0.7)
    if chain.telephone:
        bands += [("highpass", 450.0, 3, 0.7), ("lowpass", 3400.0, 3, 0.7)]
    shaped = effects.equalise(sound, rate, bands)
    shaped = shaped / np.float32(max(effects.active_rms(shaped, rate), 1e-6))
    shaped = _deess(shaped, rate)
    shaped = effects.compress(
        shaped, rate, threshold=chain.threshold, ratio=chain.ratio, attack=0.006, release=0.09
    )
    shaped = effects.compress(shaped, rate, threshold=2.0, ratio=8.0, attack=0.001, release=0.05)
    level = np.float32(max(effects.active_rms(shaped, rate), 1e-6))
    drive = chain.drive if role == "lead" else min(0.5 * chain.drive, 0.6)
    if drive > 0.7:
        shaped = effects.distort(shaped / level * np.float32(0.5), drive) / np.float32(0.5)
    elif drive > 0.2:
        shaped = effects.soft_clip(shaped / level, 0.5 * drive)  # too gentle to need oversampling
    else:
        shaped = shaped / level
    if chain.chorus > 0:
        shaped = effects.chorus(shaped, rate, 0.7, 0.002, chain.chorus)
    return np.asarray(shaped, dtype=np.float32)


def _deess(sound: np.ndarray, rate: int) -> np.ndarray:
    """Turn the band above 5 kHz down where it is loud."""
    hiss = effects.equalise(sound, rate, [("highpass", 5000.0, 2, 0.7)])
    squeezed = effects.compress(hiss, rate, threshold=6.0, ratio=4.0, attack=0.001, release=0.04)
    return np.asarray(sound + squeezed - hiss)


def _space(send: np.ndarray, chain: Chain, rate: int) -> np.ndarray:
    """Room, hall and echo returns of (2, sample), at the chain's levels below the send."""
    source = effects.equalise(send, rate, [("highpass", 250.0, 1, 0.7)])
    mono = source.mean(axis=0, keepdims=True)
    wet = np.zeros_like(send)
    if chain.echo_wet > -100:
        repeats = effects.echo(
            source, rate, chain.echo_time, chain.feedback, ping_pong=chain.variant % 3 == 0
        )
        wet += repeats * np.float32(10 ** (chain.echo_wet / 20))
        mono = mono + 0.3 * wet.mean(axis=0, keepdims=True)
    reference = max(effects.active_rms(send, rate), 1e-9)
    for seconds, level, delay in (
        (chain.room, chain.room_wet, 0.01),
        (chain.hall, chain.hall_wet, 0.04),
    ):
        returned = effects.reverberate(mono, rate, seconds, chain.brightness, delay, chain.variant)
        loud = max(effects.active_rms(returned, rate), 1e-9)
        wet += returned * np.float32(reference / loud * 10 ** (level / 20))
    return wet


def _place(stem: np.ndarray, chain: Chain) -> np.ndarray:
    """Side signal at most `side` dB below the mid signal."""
    return effects.limit_width(stem, chain.side)
