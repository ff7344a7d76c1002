"""Effects: gains where they belong, silence and lengths preserved."""

from __future__ import annotations

import numpy as np
import pytest

from stemwise.band import effects

RATE = 22050


def tone(frequency: float, seconds: float = 1.0) -> effects.Samples:
    time = np.arange(int(seconds * RATE)) / RATE
    return np.stack([np.sin(2 * np.pi * frequency * time)] * 2).astype(np.float32)


def gain_at(frequency: float, bands: list[tuple[str, float, float, float]]) -> float:
    out = effects.equalise(tone(frequency), RATE, bands)[:, RATE // 2 :]
    return float(20 * np.log10(np.sqrt(np.mean(out**2)) * np.sqrt(2)))


def test_equaliser_bands_reach_their_gain() -> None:
    assert gain_at(1000, [("peak", 1000, 6.0, 1.0)]) == pytest.approx(6.0, abs=0.1)
    assert gain_at(60, [("low", 500, -4.0, 0.7)]) == pytest.approx(-4.0, abs=0.3)
    assert gain_at(9000, [("high", 2000, 3.0, 0.7)]) == pytest.approx(3.0, abs=0.3)
    assert gain_at(60, [("high", 2000, 3.0, 0.7)]) == pytest.approx(0.0, abs=0.1)
    assert gain_at(100, [("highpass", 1000, 2, 0.7)]) == pytest.approx(-40, abs=1.5)


def test_limiter_never_exceeds_its_ceiling(rng: np.random.Generator) -> None:
    audio = (rng.standard_normal((2, RATE)) * np.linspace(0, 4, RATE)).astype(np.float32)
    limited = audio * effects.limiting_gain(audio, RATE, 0.5)
    assert np.max(np.abs(limited)) <= 0.5 + 1e-5
    quiet = audio[:, :200] * 0.01
    assert np.allclose(effects.limiting_gain(quiet, RATE, 0.5), 1.0)


def test_compressor_turns_down_loud_parts_only() -> None:
    audio = tone(200, 2.0)
    audio[:, :RATE] *= 0.1
    gain = effects.compression_gain(audio, RATE, threshold=-6.0, ratio=4.0)
    assert gain[RATE // 2] == pytest.approx(1.0, abs=0.01)
    assert gain[-RATE // 4] < 0.7


def test_reverberation_rings_after_the_sound_and_keeps_the_length() -> None:
    audio = np.zeros((2, RATE), np.float32)
    audio[:, 100] = 1.0
    wet = effects.reverberate(audio, RATE, 0.6, 0.5)
    assert wet.shape == audio.shape
    assert np.all(np.abs(wet[:, :100]) < 1e-6)
    early, late = np.sum(wet[:, 200:3000] ** 2), np.sum(wet[:, 9000:] ** 2)
    assert early > 20 * late > 0


def test_pan_and_width() -> None:
    left = effects.pan(tone(300)[0], -1.0)
    assert np.max(np.abs(left[1])) < 1e-6
    assert effects.side_to_mid(effects.pan(tone(300)[0], 0.0)) < -100
    assert effects.side_to_mid(left) == pytest.approx(0.0, abs=1e-3)
    assert effects.side_to_mid(effects.limit_width(left, -10.0)) == pytest.approx(-10, abs=0.01)
    assert np.array_equal(effects.limit_width(tone(300), -10.0), tone(300))


def test_distortion_adds_odd_harmonics_without_strong_aliases() -> None:
    out = effects.distort(tone(2100), 10.0)[0]
    plain = np.tanh(10.0 * tone(2100))[0]
    spectrum = np.abs(np.fft.rfft(out * np.hanning(len(out)))) / len(out)
    peak = spectrum[2100]
    assert spectrum[6300] > 0.1 * peak
    folded = RATE - 9 * 2100  # the ninth harmonic lies above the Nyquist frequency
    alias = np.abs(np.fft.rfft(plain * np.hanning(len(plain))))[folded] / len(plain)
    assert spectrum[folded] < 0.2 * alias


def test_silence_stays_silent() -> None:
    silence = np.zeros((2, 4000), np.float32)
    assert effects.active_rms(silence, RATE) == 0.0
    assert not np.any(effects.tame(silence, RATE, 12.0))
    assert effects.side_to_mid(silence) == -120.0
    assert np.all(effects.compression_gain(silence, RATE, threshold=0.0, ratio=4.0) == 1.0)
