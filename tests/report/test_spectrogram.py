"""Spectrograms: the right place, the right level, any length, small files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stemwise.audio import read
from stemwise.report.spectrogram import COLUMNS, RANGE, ROWS, Picture, SpectrogramMeter

RATE = 22050


def picture(song: np.ndarray, rate: int = RATE, block: int = 65536, known: bool = True) -> Picture:
    """Of (channel, sample), in blocks; known: the meter is told its length."""
    meter = SpectrogramMeter(rate, len(song), song.shape[1] / rate if known else None)
    for start in range(0, song.shape[1], block):
        meter.add(song[:, start : start + block].astype(np.float32))
    return meter.picture()


def tone(frequency: float, seconds: float, rate: int = RATE) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)[np.newaxis]


def row_of(frequency: float, image: Picture) -> float:
    """Where a frequency is among the rows, by the edges that the picture states."""
    place = np.log(frequency / image.low_hz) / np.log(image.high_hz / image.low_hz)
    return float(place * (ROWS - 1))


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 96000])
@pytest.mark.parametrize("frequency", [55.0, 440.0, 2500.0])
def test_a_tone_is_a_line_at_its_frequency_and_level(rate: int, frequency: float) -> None:
    image = picture(tone(frequency, 2, rate), rate)
    assert image.power.shape[0] == ROWS
    assert image.high_hz == min(20000, rate / 2)
    middle = image.power[:, image.power.shape[1] // 2]
    assert middle.argmax() == pytest.approx(row_of(frequency, image), abs=2.5)
    assert 10 * np.log10(middle.max()) == pytest.approx(0, abs=2)
    far = np.abs(np.arange(ROWS) - middle.argmax()) > 60
    assert 10 * np.log10(middle[far].max()) < -60


def test_the_time_axis_is_the_songs() -> None:
    song = np.zeros((1, 40 * RATE))
    song[:, 10 * RATE : 20 * RATE] = tone(1000, 10)
    power = picture(song).power.sum(axis=0)
    assert power.size == COLUMNS
    loud = np.flatnonzero(power > power.max() / 4)
    assert loud[0] == pytest.approx(COLUMNS / 4, abs=2)
    assert loud[-1] == pytest.approx(COLUMNS / 2, abs=2)


@pytest.mark.parametrize("seconds", [200, 500])
def test_without_a_known_length_neighbours_are_joined(seconds: int) -> None:
    rate = 2000
    rng = np.random.default_rng(0)
    song = rng.standard_normal((1, seconds * rate)) * np.linspace(0.1, 1, seconds * rate)
    one, other = picture(song, rate), picture(song, rate, known=False)
    assert one.power.shape == other.power.shape == (ROWS, COLUMNS)
    spans = [image.power.sum(axis=0).reshape(16, -1).mean(axis=1) for image in (one, other)]
    np.testing.assert_allclose(*spans, rtol=0.15)


@settings(deadline=None, max_examples=20)
@given(cuts=st.lists(st.integers(0, 30_000), max_size=5), channels=st.sampled_from([1, 2]))
def test_blocks_do_not_matter(cuts: list[int], channels: int) -> None:
    song = np.random.default_rng(1).uniform(-1, 1, (channels, 30_000)).astype(np.float32)
    meter = SpectrogramMeter(8000, channels, 30_000 / 8000)
    for block in np.split(song, sorted(cuts), axis=1):
        meter.add(block)
    whole = picture(song, 8000)
    np.testing.assert_allclose(meter.picture().power, whole.power, rtol=1e-4, atol=1e-9)


def test_a_meter_does_not_grow_with_the_song() -> None:
    meter = SpectrogramMeter(2000, 1)
    block = np.random.default_rng(0).uniform(-1, 1, (1, 20_000)).astype(np.float32)
    sizes = []
    for _ in range(40):
        meter.add(block)
        arrays = [value for value in vars(meter).values() if isinstance(value, np.ndarray)]
        sizes.append(sum(array.nbytes for array in arrays))
    assert max(sizes) < 1.2 * sizes[0]


@pytest.mark.parametrize("samples", [1, 100, 2047, 5000])
def test_short_recordings(samples: int) -> None:
    image = picture(np.random.default_rng(0).uniform(-1, 1, (2, samples)))
    assert image.power.shape[0] == ROWS
    assert 1 <= image.power.shape[1] <= COLUMNS
    assert np.isfinite(image.power).all()
    assert image.loudest < 3


def test_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        SpectrogramMeter(100, 1)
    with pytest.raises(ValueError, match="no samples"):
        SpectrogramMeter(8000, 1).picture()


def pixels(png: bytes) -> np.ndarray:
    """(row, column, colour) of an image, 0 to 255."""
    image = Image.open(io.BytesIO(png))
    assert (image.format, image.mode) == ("PNG", "P")
    return np.asarray(image.convert("RGB")).astype(int)


def test_images_are_small_and_light_means_loud() -> None:
    rng = np.random.default_rng(0)
    song = rng.standard_normal((2, 30 * RATE)) * 0.1  # noise is what compresses worst
    song[:, : 15 * RATE] += tone(200, 15)
    image = picture(song)
    png = image.png()
    assert len(png) < 250_000
    shown = pixels(png)
    assert shown.shape == (ROWS, COLUMNS, 3)
    light = shown.sum(axis=2)
    line = ROWS - 1 - round(row_of(200, image))
    assert light[line - 1 : line + 2, 400].max() == light.max() > 600
    assert light[line - 1 : line + 2, 1200].max() < light.max() / 2 + 100
    # colours rise with the level from the ground on
    power = 10 ** (np.linspace(-RANGE, 0, 60)[np.newaxis] / 10).astype(np.float32)
    ramp = pixels(Picture(power, 30, 11025).png())[0].sum(axis=1)
    assert (np.diff(ramp) >= 0).all()
    assert ramp[-1] > 600 > 100 > ramp[0]


def test_images_of_music_are_small(real_audio: Path) -> None:
    audio = read(real_audio / "real_mix_10s.mp3")
    image = picture(audio.samples, audio.sample_rate)
    assert image.power.shape == (ROWS, COLUMNS)
    assert 20_000 < len(image.png()) < 150_000


def test_silence_is_the_ground_and_pictures_can_share_a_scale() -> None:
    silent = picture(np.zeros((1, RATE)))
    ground = pixels(silent.png())
    assert len(np.unique(ground.reshape(-1, 3), axis=0)) == 1
    assert silent.loudest == -np.inf
    np.testing.assert_array_equal(pixels(silent.png(top=-20.0)), ground)
    loud, soft = picture(tone(440, 2)), picture(0.01 * tone(440, 2))
    assert soft.loudest == pytest.approx(loud.loudest - 40, abs=0.1)
    np.testing.assert_array_equal(pixels(loud.png()), pixels(soft.png()))
    assert pixels(soft.png(loud.loudest)).max() < pixels(loud.png()).max() - 50
