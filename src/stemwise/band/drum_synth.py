"""Synthesised drum and percussion one-shots: analogue-machine and acoustic models."""

from __future__ import annotations

import numpy as np

from stemwise.band.effects import Samples, equalise

PIECES = (
    "kick",
    "snare",
    "rim",
    "clap",
    "hat_closed",
    "hat_pedal",
    "hat_open",
    "tom_high",
    "tom_mid",
    "tom_low",
    "crash",
    "ride",
    "bell",
    "tambourine",
    "shaker",
    "cowbell",
    "conga_high",
    "conga_low",
    "bongo_high",
    "bongo_low",
    "clave",
    "wood",
    "triangle",
    "timbale",
    "agogo",
    "snap",
)
_METAL = np.array([1.0, 1.342, 1.2312, 1.6532, 1.9523, 2.1523, 2.5316, 2.7811])


def _time(seconds: float, rate: int) -> Samples:
    return np.asarray(np.arange(int(seconds * rate), dtype=np.float32) / rate, np.float32)


def _sweep(time: Samples, top: float, bottom: float, fall: float) -> Samples:
    """Sine whose frequency falls exponentially from top to bottom Hz with time constant `fall`."""
    phase = bottom * time + (top - bottom) * fall * (1.0 - np.exp(-time / fall))
    return np.asarray(np.sin(2 * np.pi * phase), np.float32)


def _noise(rng: np.random.Generator, time: Samples, rate: int, low: float, high: float) -> Samples:
    raw = rng.standard_normal((1, len(time))).astype(np.float32)
    bands = [("highpass", low, 2.0, 0.7), ("lowpass", high, 2.0, 0.7)]
    return np.asarray(equalise(raw, rate, bands)[0], np.float32)


def _kick(rng: np.random.Generator, rate: int, electronic: bool) -> Samples:
    decay = rng.uniform(0.08, 0.5) if electronic else rng.uniform(0.06, 0.16)
    time = _time(min(1.2, decay * 5), rate)
    bottom = rng.uniform(42, 62)
    body = _sweep(time, rng.uniform(120, 320), bottom, rng.uniform(0.012, 0.05)) * np.exp(
        -time / decay
    )
    click = _noise(rng, time, rate, 1000, rng.uniform(3000, 8000)) * np.exp(-time / 0.004)
    body = np.tanh(body * rng.uniform(1.0, 3.0)) + rng.uniform(0.05, 0.5) * click
    if not electronic:
        body += 0.15 * _noise(rng, time, rate, 60, 900) * np.exp(-time / 0.06)
    return np.asarray(body, np.float32)


def _snare(rng: np.random.Generator, rate: int, electronic: bool) -> Samples:
    decay = rng.uniform(0.05, 0.2)
    time = _time(decay * 6, rate)
    tone = rng.uniform(160, 240)
    shell = _sweep(time, tone * 1.6, tone, 0.01) + 0.6 * _sweep(time, tone * 2.6, tone * 1.7, 0.01)
    wires = _noise(rng, time, rate, rng.uniform(600, 2500), rng.uniform(6000, 10000))
    mix = rng.uniform(0.5, 1.4)
    crack = _noise(rng, time, rate, 800, 9000) * np.exp(-time / 0.006)
    out = shell * np.exp(-time / (decay * 0.5)) + mix * wires * np.exp(-time / decay) + 0.5 * crack
    return np.asarray(np.tanh(out * (1.5 if electronic else 0.8)), np.float32)


def _metal(rng: np.random.Generator, rate: int, decay: float, low: float, tonal: float) -> Samples:
    time = _time(min(3.0, decay * 5), rate)
    base = rng.uniform(300, 560)
    squares = np.zeros_like(time)
    for ratio in _METAL[: int(rng.integers(5, 9))]:
        squares += np.sign(np.sin(2 * np.pi * base * ratio * time + rng.uniform(0, 6)))
    squares = equalise(squares[None].astype(np.float32), rate, [("highpass", low, 4, 0.7)])[0]
    hiss = _noise(rng, time, rate, low, 0.47 * rate)
    out = (tonal * squares / 4 + hiss) * np.exp(-time / decay)
    out[: int(0.001 * rate)] *= np.linspace(0, 1, int(0.001 * rate))
    return np.asarray(out, np.float32)


def _clap(rng: np.random.Generator, rate: int) -> Samples:
    decay = rng.uniform(0.04, 0.15)
    time = _time(decay * 6, rate)
    envelope = np.exp(-np.maximum(time - 0.03, 0) / decay) * (time >= 0.03)
    for start in (0.0, rng.uniform(0.007, 0.011), rng.uniform(0.017, 0.024)):
        envelope += np.exp(-np.maximum(time - start, 0) / 0.004) * (time >= start)
    return np.asarray(_noise(rng, time, rate, 700, rng.uniform(4000, 9000)) * envelope, np.float32)


def _drum(rng: np.random.Generator, rate: int, pitch: float, decay: float, skin: float) -> Samples:
    time = _time(decay * 5, rate)
    bend = rng.uniform(1.1, 1.5)
    body = _sweep(time, pitch * bend, pitch, 0.03) + 0.3 * _sweep(
        time, pitch * 1.59 * bend, pitch * 1.59, 0.02
    )
    slap = _noise(rng, time, rate, 500, 5000) * np.exp(-time / 0.012)
    return np.asarray(body * np.exp(-time / decay) + skin * slap, np.float32)


def _block(rng: np.random.Generator, rate: int, partials: list[float], decay: float) -> Samples:
    time = _time(decay * 6, rate)
    out = sum(np.sin(2 * np.pi * f * time) / (i + 1) for i, f in enumerate(partials))
    return np.asarray(out * np.exp(-time / decay), np.float32)


def _shaken(rng: np.random.Generator, rate: int, length: float, low: float) -> Samples:
    time = _time(length * 4, rate)
    envelope = np.minimum(time / (0.3 * length), 1.0) * np.exp(
        -np.maximum(time - 0.3 * length, 0) / (0.3 * length)
    )
    return np.asarray(_noise(rng, time, rate, low, 0.46 * rate) * envelope, np.float32)


def synthesise(piece: str, rng: np.random.Generator, rate: int, electronic: bool) -> Samples:
    """One hit of a piece, mono (sample), peak 1."""
    if piece == "kick":
        out = _kick(rng, rate, electronic)
    elif piece == "snare":
        out = _snare(rng, rate, electronic)
    elif piece == "clap":
        out = _clap(rng, rate)
    elif piece in ("hat_closed", "hat_pedal"):
        out = _metal(
            rng, rate, rng.uniform(0.012, 0.05), rng.uniform(4500, 7500), rng.uniform(0, 1)
        )
    elif piece == "hat_open":
        out = _metal(rng, rate, rng.uniform(0.12, 0.4), rng.uniform(4500, 7500), rng.uniform(0, 1))
    elif piece == "crash":
        out = _metal(
            rng, rate, rng.uniform(0.4, 0.9), rng.uniform(1500, 4000), rng.uniform(0.1, 0.6)
        )
    elif piece in ("ride", "bell"):
        out = _metal(rng, rate, rng.uniform(0.2, 0.6), 3000, 1.5 if piece == "bell" else 0.7)
        out[: rate // 100] *= 1.8
    elif piece.startswith("tom"):
        pitch = {"tom_high": 170, "tom_mid": 125, "tom_low": 88}[piece] * rng.uniform(0.85, 1.2)
        out = _drum(rng, rate, pitch, rng.uniform(0.12, 0.3), rng.uniform(0.2, 0.6))
    elif piece.startswith(("conga", "bongo", "timbale")):
        pitch = {
            "conga_high": 250,
            "conga_low": 180,
            "bongo_high": 420,
            "bongo_low": 310,
            "timbale": 350,
        }[piece]
        out = _drum(
            rng,
            rate,
            pitch * rng.uniform(0.85, 1.15),
            rng.uniform(0.05, 0.15),
            rng.uniform(0.2, 0.8),
        )
    elif piece in ("tambourine", "shaker"):
        tambourine = piece == "tambourine"
        out = _shaken(
            rng, rate, rng.uniform(0.04, 0.1), rng.uniform(4500, 6500) if tambourine else 3500
        )
        if tambourine:
            out[: len(out)] += 0.4 * _metal(rng, rate, 0.08, 6000, 1.0)[: len(out)].mean() + 0.0
    elif piece == "triangle":
        out = _block(rng, rate, [4100.0, 6520.0, 8200.0], 0.5)
    elif piece in ("cowbell", "agogo"):
        base = rng.uniform(500, 620) * (1.4 if piece == "agogo" else 1.0)
        out = np.tanh(
            2 * _block(rng, rate, [base, base * 1.48, base * 2.9], rng.uniform(0.05, 0.12))
        )
    else:  # rim, clave, wood, snap
        base = {"rim": 1700.0, "clave": 2500.0, "wood": 900.0, "snap": 2100.0}[piece] * rng.uniform(
            0.8, 1.2
        )
        out = _block(rng, rate, [base, base * 1.7], rng.uniform(0.008, 0.025))
        click = _noise(rng, _time(len(out) / rate, rate), rate, 1200, 8000)[: len(out)]
        out[: len(click)] += 0.5 * click * np.exp(-np.arange(len(click)) / (0.004 * rate))
    return np.asarray(out / (np.max(np.abs(out)) + 1e-9), np.float32)
