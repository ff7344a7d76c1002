"""Studio effects on (channel, sample) float32 audio: pure functions, no state between calls."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from scipy.ndimage import minimum_filter1d, uniform_filter1d
from scipy.signal import butter, lfilter, oaconvolve, resample_poly, sosfilt

Samples = npt.NDArray[np.float32]


@lru_cache(maxsize=4096)
def _biquad(kind: str, frequency: float, gain: float, q: float, rate: int) -> tuple[float, ...]:
    """Second-order section of the bilinear analogue prototypes (peak, low and high shelf)."""
    a = 10.0 ** (gain / 40.0)
    w = 2.0 * np.pi * min(frequency, 0.45 * rate) / rate
    cos, alpha = np.cos(w), np.sin(w) / (2.0 * q)
    if kind == "peak":
        b = (1 + alpha * a, -2 * cos, 1 - alpha * a)
        d = (1 + alpha / a, -2 * cos, 1 - alpha / a)
    else:
        sign = 1.0 if kind == "low" else -1.0
        root = 2.0 * np.sqrt(a) * alpha
        b = (
            a * ((a + 1) - sign * (a - 1) * cos + root),
            sign * 2 * a * ((a - 1) - sign * (a + 1) * cos),
            a * ((a + 1) - sign * (a - 1) * cos - root),
        )
        d = (
            (a + 1) + sign * (a - 1) * cos + root,
            -sign * 2 * ((a - 1) + sign * (a + 1) * cos),
            (a + 1) + sign * (a - 1) * cos - root,
        )
    return (*(float(v / d[0]) for v in b), 1.0, float(d[1] / d[0]), float(d[2] / d[0]))


def equalise(
    audio: Samples, rate: int, bands: Sequence[tuple[str, float, float, float]]
) -> Samples:
    """Cascade of (kind, frequency in Hz, gain in dB or order, q) bands.

    Kinds: "peak", "low" and "high" shelves, "highpass" and "lowpass" (Butterworth, gain is order).
    """
    sections: list[npt.NDArray[np.float64]] = []
    for kind, frequency, gain, q in bands:
        if kind in ("highpass", "lowpass"):
            if kind == "lowpass" and frequency >= 0.47 * rate:
                continue
            sections.append(_butter(kind, float(frequency), int(gain), rate))
        else:
            sections.append(
                np.array([_biquad(kind, float(frequency), float(gain), float(q), rate)])
            )
    if not sections or audio.shape[-1] == 0:
        return audio
    return np.asarray(sosfilt(np.concatenate(sections).astype(np.float32), audio), np.float32)


@lru_cache(maxsize=1024)
def _butter(kind: str, frequency: float, order: int, rate: int) -> npt.NDArray[np.float64]:
    cut = min(frequency, 0.47 * rate)
    return np.asarray(butter(order, cut, cast(Any, kind), fs=rate, output="sos"), np.float64)


def gain_envelope(
    level: Samples, rate: int, threshold: float, ratio: float, attack: float, release: float
) -> Samples:
    """Gain factors (block) of a feed-forward compressor for block levels in dB, times in seconds.

    `rate` is blocks per second; attack and release are two one-pole smoothers, the slower after.
    """
    over = np.maximum(level - threshold, 0.0) * (1.0 - 1.0 / ratio)
    fast = 1.0 - np.exp(-1.0 / max(attack * rate, 1e-3))
    slow = 1.0 - np.exp(-1.0 / max(release * rate, 1e-3))
    attacked = lfilter([fast], [1.0, fast - 1.0], over)
    held = np.maximum(attacked, lfilter([slow], [1.0, slow - 1.0], attacked))
    return np.asarray(10.0 ** (-held / 20.0), np.float32)


def compression_gain(
    audio: Samples,
    rate: int,
    *,
    threshold: float,
    ratio: float,
    attack: float = 0.01,
    release: float = 0.12,
) -> Samples:
    """Gain (sample) of a compressor that listens to all channels; threshold is dB above the RMS."""
    count = audio.shape[-1]
    block = max(1, rate // 500)
    blocks = -(-count // block)
    power = np.zeros(blocks * block, np.float32)
    power[:count] = np.mean(np.square(audio), axis=0)
    mean = power.reshape(blocks, block).mean(axis=1)
    reference = float(mean[mean > 1e-8].mean()) if np.any(mean > 1e-8) else 1.0
    level = 10.0 * np.log10(mean / reference + 1e-9)
    gain = gain_envelope(level, rate // block, threshold, ratio, attack, release)
    points = (np.arange(blocks) + 0.5) * block
    return np.interp(np.arange(count), points, gain).astype(np.float32)


def compress(audio: Samples, rate: int, **settings: float) -> Samples:
    """Compressed audio; settings as for `compression_gain`."""
    return audio * compression_gain(audio, rate, **settings)


def limiting_gain(audio: Samples, rate: int, ceiling: float) -> Samples:
    """Gain (sample) of a look-ahead limiter: `audio * gain` stays within +-ceiling."""
    peak = np.max(np.abs(audio), axis=0)
    needed = np.minimum(1.0, ceiling / np.maximum(peak, 1e-9)).astype(np.float32)
    width = max(3, int(0.004 * rate) | 1)
    held = minimum_filter1d(needed, 2 * width + 1)
    # the mean of values that are each small enough is small enough: the ceiling holds exactly
    return np.asarray(uniform_filter1d(held, 2 * width + 1 - 2), np.float32)


def tame(audio: Samples, rate: int, crest: float) -> Samples:
    """Limit peaks to `crest` dB above the RMS of the active parts, as recording engineers do."""
    level = active_rms(audio, rate)
    if level < 1e-7:
        return audio
    return audio * limiting_gain(audio, rate, level * 10.0 ** (crest / 20.0))


def soft_clip(audio: Samples, drive: float = 1.0) -> Samples:
    """tanh saturation with unit gain for small signals."""
    return np.asarray(np.tanh(audio * np.float32(drive)) / np.float32(drive), np.float32)


def distort(audio: Samples, drive: float, bias: float = 0.0) -> Samples:
    """Asymmetric tanh distortion computed at twice the rate, so that few harmonics fold back."""
    up = resample_poly(audio, 2, 1, axis=-1, window=("kaiser", 4.0)).astype(np.float32)
    np.multiply(up, np.float32(drive), out=up)
    up += np.float32(bias)
    np.tanh(up, out=up)
    up -= np.float32(np.tanh(bias))
    down = resample_poly(up, 1, 2, axis=-1, window=("kaiser", 4.0))
    return np.asarray(down[..., : audio.shape[-1]], np.float32)


@lru_cache(maxsize=96)
def impulse_response(
    seconds: float, brightness: float, predelay: float, variant: int, rate: int
) -> Samples:
    """Stereo reverberation of unit energy: early reflections and a tail whose treble decays faster.

    `seconds` is the time to -60 dB, `brightness` 0 to 1, `predelay` in seconds.
    """
    rng = np.random.default_rng([variant, 7])
    length = int(rate * min(seconds, 2.2) * 0.8)
    noise = rng.standard_normal((2, length)).astype(np.float32)
    time = np.arange(length, dtype=np.float32) / rate
    low = equalise(noise, rate, [("lowpass", 1200.0 + 1500.0 * brightness, 1, 0.7)])
    high = noise - low
    tail = low * np.exp(-6.9 * time / seconds) + high * np.exp(
        -6.9 * time / (seconds * (0.25 + 0.5 * brightness))
    ) * (0.25 + 0.6 * brightness)
    tail *= 1.0 - np.exp(-time / 0.008)
    for channel in range(2):
        taps = rng.integers(int(0.003 * rate), int(0.05 * rate) + 2, 10)
        taps = taps[taps < length]
        tail[channel, taps] += (
            rng.choice([-1.0, 1.0], len(taps)) * 3.0 * np.exp(-taps / (0.03 * rate))
        )
    tail = equalise(tail.astype(np.float32), rate, [("highpass", 180.0, 1, 0.7)])
    tail /= np.sqrt(np.sum(np.square(tail), axis=1, keepdims=True))
    return np.concatenate([np.zeros((2, int(predelay * rate)), np.float32), tail], axis=1).astype(
        np.float32
    )


def reverberate(
    audio: Samples,
    rate: int,
    seconds: float,
    brightness: float,
    predelay: float = 0.0,
    variant: int = 0,
) -> Samples:
    """Only the reverberation of (1 or 2, sample) audio, as (2, sample) of the same length."""
    response = impulse_response(
        round(seconds, 1), round(brightness, 1), round(predelay, 2), variant, rate
    )
    sent = np.repeat(audio, 2, axis=0) if audio.shape[0] == 1 else audio
    wet = oaconvolve(sent, response, axes=1)
    return np.asarray(wet[:, : audio.shape[-1]], np.float32)


def echo(
    audio: Samples, rate: int, delay: float, feedback: float, ping_pong: bool = False
) -> Samples:
    """Only the echoes of (2, sample) audio, the treble falling with each; delay in seconds."""
    out = np.zeros_like(audio)
    step = max(1, int(delay * rate))
    source = equalise(audio, rate, [("lowpass", 4000.0, 1, 0.7), ("highpass", 200.0, 1, 0.7)])
    gain, position = 1.0, step
    while gain > 0.05 and position < audio.shape[-1]:
        out[:, position:] += np.float32(gain) * source[:, :-position]
        if ping_pong:
            source = source[::-1]
        gain *= feedback
        position += step
    return out


def chorus(
    audio: Samples, rate: int, speed: float, depth: float, mix: float, phase: float = 0.0
) -> Samples:
    """Modulated delay of 8 ms +- depth seconds, left and right in opposite phase."""
    count = audio.shape[-1]
    base = np.arange(count, dtype=np.float32)
    wave = np.sin(2 * np.pi * speed / rate * base + phase).astype(np.float32)
    out = audio * np.float32(1.0 - 0.4 * mix)
    for channel, sign in zip(range(audio.shape[0]), (1.0, -1.0), strict=False):
        position = np.clip(base - np.float32(rate) * (0.008 + sign * depth * wave), 0, count - 1)
        whole = position.astype(np.int32)
        part = (position - whole).astype(np.float32)
        source = audio[channel]
        after = source[np.minimum(whole + 1, count - 1)]
        out[channel] += np.float32(mix) * (source[whole] * (1 - part) + after * part)
    return np.asarray(out, np.float32)


def tremolo(audio: Samples, rate: int, speed: float, depth: float, stereo: bool) -> Samples:
    """Amplitude modulation; `stereo` swings between the channels (auto-pan)."""
    phase = 2 * np.pi * speed / rate * np.arange(audio.shape[-1], dtype=np.float32)
    wave = np.stack([np.sin(phase), np.sin(phase + (np.pi if stereo else 0.0))])[: audio.shape[0]]
    return np.asarray(audio * (1.0 - depth * 0.5 * (1.0 + wave)), np.float32)


def pan(audio: Samples, position: float) -> Samples:
    """Mono (sample) or (1, sample) audio at -1 (left) to 1 (right), constant power."""
    mono = audio if audio.ndim == 1 else audio.mean(axis=0)
    angle = (position + 1.0) * np.pi / 4.0
    return np.stack([mono * np.float32(np.cos(angle)), mono * np.float32(np.sin(angle))])


def balance(audio: Samples, position: float) -> Samples:
    """Stereo audio shifted towards one side by attenuating and folding the other channel."""
    if position == 0.0:
        return audio
    near, far = (1, 0) if position > 0 else (0, 1)
    out: Samples = audio.copy()
    amount = np.float32(abs(position))
    out[near] += 0.5 * amount * audio[far]
    out[far] *= 1.0 - amount
    return out


def set_width(audio: Samples, width: float) -> Samples:
    """Side signal scaled by `width` (0 mono, 1 unchanged)."""
    mid = (audio[0] + audio[1]) * np.float32(0.5)
    side = (audio[0] - audio[1]) * np.float32(0.5 * width)
    return np.stack([mid + side, mid - side])


def add(signals: Sequence[Samples]) -> Samples:
    """Sum of signals of one shape, in their order; always a new array."""
    total: Samples = signals[0].copy()
    for signal in signals[1:]:
        total += signal
    return total


def side_to_mid(audio: Samples) -> float:
    """Energy of the side signal relative to the mid signal in dB (-120 for mono or silence)."""
    mid = float(np.sum(np.square(audio[0] + audio[1]), dtype=np.float64))
    side = float(np.sum(np.square(audio[0] - audio[1]), dtype=np.float64))
    return float(10.0 * np.log10((side + 1e-12) / (mid + 1e-12))) if mid + side > 1e-9 else -120.0


def limit_width(audio: Samples, target: float) -> Samples:
    """Narrow the image until side/mid is at most `target` dB; narrower audio is left alone."""
    ratio = side_to_mid(audio)
    return set_width(audio, 10.0 ** ((target - ratio) / 20.0)) if ratio > target else audio


def active_rms(audio: Samples, rate: int) -> float:
    """RMS over the 50 ms blocks within 40 dB of the loudest, 0 for silence."""
    block = max(1, rate // 20)
    count = audio.shape[-1] // block
    if count == 0:
        return float(np.sqrt(np.mean(np.square(audio)))) if audio.size else 0.0
    power = (
        np.square(audio[:, : count * block]).reshape(audio.shape[0], count, block).mean(axis=(0, 2))
    )
    loudest = float(power.max())
    return float(np.sqrt(power[power > loudest * 1e-4].mean())) if loudest > 1e-10 else 0.0
