"""Loudness of streams: the cases of the standards, pyloudnorm, and the metric of evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemwise.audio import read
from stemwise.evaluation.loudness import integrated_loudness
from stemwise.loudness import WEIGHTS, LoudnessMeter


def loudness(song: np.ndarray, rate: int, block: int = 65536) -> float | None:
    """Of (channel, sample), in blocks."""
    meter = LoudnessMeter(rate, len(song))
    for start in range(0, song.shape[1], block):
        meter.add(song[:, start : start + block].astype(np.float32))
    return meter.loudness()


def tone(level: float, seconds: float, rate: int, frequency: float = 1000) -> np.ndarray:
    """(sample,) of a sine of `level` dB relative to full scale at its peak."""
    return 10 ** (level / 20) * np.sin(2 * np.pi * frequency * np.arange(seconds * rate) / rate)


def only(channel: int, of: int, song: np.ndarray) -> np.ndarray:
    """(channel, sample) with a song in one channel alone."""
    channels = np.zeros((of, song.size))
    channels[channel] = song
    return channels


@pytest.mark.parametrize(
    ("rate", "apart"), [(22050, 0.03), (44100, 0.01), (48000, 0.01), (96000, 0.02)]
)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_full_scale_at_997_hz_in_one_channel(rate: int, apart: float, channels: int) -> None:
    """BS.1770-4, annex 1: -3.01 LUFS in the left, centre or right channel."""
    for channel in range(min(channels, 3)):
        found = loudness(only(channel, channels, tone(0, 1, rate, 997)), rate)
        assert found == pytest.approx(-3.01, abs=apart)


def test_surround_counts_more_and_low_frequency_effects_nothing() -> None:
    song = tone(-20, 1, 48000, 997)
    left = loudness(only(0, 6, song), 48000)
    assert left is not None
    assert loudness(only(3, 6, song), 48000) is None
    for channel in (4, 5):
        assert loudness(only(channel, 6, song), 48000) == pytest.approx(left + 1.49, abs=0.01)
    assert loudness(only(4, 8, song), 48000) == pytest.approx(left), "behind the listener"
    assert loudness(only(6, 8, song), 48000) == pytest.approx(left + 1.49, abs=0.01)
    assert all(len(weights) == count for count, weights in WEIGHTS.items())


@pytest.mark.parametrize(
    "levels",
    [
        [(-23, 20)],
        [(-33, 20)],
        [(-36, 10), (-23, 60), (-36, 10)],
        [(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)],
        [(-26, 20), (-20, 20.1), (-26, 20)],
    ],
)
def test_the_gates(levels: list[tuple[float, float]]) -> None:
    """Cases 1 to 5 of EBU Tech 3341."""
    song = np.concatenate([tone(level, seconds, 16000) for level, seconds in levels])
    wanted = -33 if levels[0][0] == -33 else -23

    assert loudness(np.stack([song, song]), 16000) == pytest.approx(wanted, abs=0.1)


def test_five_channels_of_ebu_tech_3341() -> None:
    """Case 6: -28 in front, -24 in the centre, -30 around: -23.0 LUFS."""
    levels = (-28, -28, -24, -30, -30)
    song = np.stack([tone(level, 3, 48000) for level in levels])
    assert loudness(song, 48000) == pytest.approx(-23, abs=0.1)
    with_effects = np.insert(song, 3, tone(-5, 3, 48000, 60), axis=0)
    assert loudness(with_effects, 48000) == pytest.approx(-23, abs=0.1)


@pytest.mark.parametrize("rate", [22050, 44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_pyloudnorm(rng: np.random.Generator, rate: int, channels: int) -> None:
    pyloudnorm = pytest.importorskip("pyloudnorm", reason="pyloudnorm is the outside reference")
    # pink, like music: its level changes from second to second
    spectrum = rng.standard_normal((channels, rate * 3 // 2 + 1, 2)) @ [1, 1j]
    song = np.fft.irfft(spectrum / np.sqrt(np.arange(rate * 3 // 2 + 1) + 20), 3 * rate)
    song *= 10 ** rng.uniform(-1.5, 0, 3).repeat(rate) * 0.5 / np.abs(song).max()
    meter = pyloudnorm.Meter(rate, filter_class="DeMan")  # the filters of the standard's tables
    assert loudness(song, rate) == pytest.approx(meter.integrated_loudness(song.T), abs=0.1)


def test_a_real_recording(real_audio: Path) -> None:
    pyloudnorm = pytest.importorskip("pyloudnorm", reason="pyloudnorm is the outside reference")
    audio = read(real_audio / "real_mix_10s.mp3")
    meter = pyloudnorm.Meter(audio.sample_rate, filter_class="DeMan")
    expected = meter.integrated_loudness(audio.samples.T.astype(np.float64))
    assert loudness(audio.samples, audio.sample_rate) == pytest.approx(expected, abs=0.1)


@settings(deadline=None, max_examples=15)
@given(cuts=st.lists(st.integers(0, 9000), max_size=5), channels=st.sampled_from([1, 2]))
def test_blocks_do_not_matter(cuts: list[int], channels: int) -> None:
    song = np.random.default_rng(2).uniform(-1, 1, (channels, 9000)).astype(np.float32)
    meter = LoudnessMeter(8000, channels)
    for block in np.split(song, sorted(cuts), axis=1):
        meter.add(block)
    assert meter.loudness() == pytest.approx(integrated_loudness(song, 8000), abs=1e-9)


def test_where_there_is_no_loudness(rng: np.random.Generator) -> None:
    assert LoudnessMeter(48000, 2).loudness() is None
    assert loudness(np.zeros((2, 48000)), 48000) is None
    assert loudness(1e-5 * rng.standard_normal((2, 8000)), 8000) is None
    assert loudness(rng.uniform(-1, 1, (1, 3199)), 8000) is None
    assert loudness(rng.uniform(-1, 1, (1, 3200)), 8000) is not None
    assert loudness(rng.uniform(-1, 1, (1, 8000)), 2000) is None
    with pytest.raises(ValueError, match="1 to 8 channels"):
        LoudnessMeter(48000, 9)
