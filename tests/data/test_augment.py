"""Changes of whole batches: each does just what it says, and nothing when nothing was drawn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from array_songs import HOP, RATE, SAMPLES, SOURCES, ArraySong, StoredArraySong, noise
from stemwise.data import augment
from stemwise.data.augment import band_curve, filter_stems, mix_channels, pan_gains, shelf_curve
from stemwise.data.batch import Batch
from stemwise.data.draws import BAND_CENTRES, BAND_OCTAVES, FILTER_KNOTS, HIGH_CORNERS, LOW_CORNERS
from stemwise.data.excerpts import read_plans
from stemwise.data.sampling import Augmentation, Sampler

SONGS = [ArraySong(f"s{k}", noise(k, 2.0)) for k in range(2)]


def sampler(kind: type[ArraySong] = ArraySong, seed: int = 0, **strengths: object) -> Sampler:
    songs = [kind(song.name, song.audio) for song in SONGS]
    return Sampler(
        songs,
        SOURCES,
        SOURCES,
        SAMPLES,
        HOP,
        seed,
        Augmentation(**strengths),  # type: ignore[arg-type]
    )


def batch_of(draw: Sampler, count: int = 8) -> Batch:
    return read_plans([draw.plan(i) for i in range(count)], draw.layout)


def bits(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a.view(torch.int32), b.view(torch.int32))


def test_nothing_drawn_changes_no_bit() -> None:
    raw = batch_of(sampler())
    done = augment.apply(raw)
    assert bits(done.stems, raw.stems)
    assert bits(done.mixture, raw.mixture)
    again = augment.apply(done)
    assert bits(again.stems, done.stems)


def test_zero_strengths_draw_nothing() -> None:
    plan = sampler().plan(3).draws
    assert (plan.level, plan.width, plan.swap, plan.remix) == (1.0, 1.0, False, False)
    assert (plan.gains == 1).all()
    assert (plan.speeds == 1).all()
    assert not plan.filters.any()
    assert not plan.dropped.any()
    optional = (plan.swaps, plan.pan, plan.shelves, plan.bands, plan.pitch, plan.tempo)
    assert optional == (None,) * 6


@pytest.mark.parametrize("kind", [ArraySong, StoredArraySong])
def test_what_was_drawn_is_applied_once(kind: type[ArraySong]) -> None:
    every = {
        "gain_db": 3.0, "swap": 0.5, "pan": 0.5, "swap_stems": 0.5, "width_db": 2.0,
        "polarity": 0.5, "filter_db": 2.0, "shelf_db": 2.0, "band_db": 2.0, "level_db": 2.0,
    }  # fmt: skip
    done = augment.apply(batch_of(sampler(kind, **every), 3))
    assert bits(augment.apply(done).stems, done.stems)


def test_gains_polarity_level_and_whole_swaps() -> None:
    raw = batch_of(sampler(gain_db=2.0, level_db=2.0, swap=0.5, polarity=0.5))
    assert raw.swap.any()
    assert not raw.swap.all()
    assert (raw.gains < 0).any()
    done = augment.apply(raw)
    for b in range(8):
        stems = raw.stems[b].flip(1) if raw.swap[b] else raw.stems[b]
        torch.testing.assert_close(
            done.stems[b], stems * (raw.gains[b] * raw.level[b])[:, None, None]
        )
    torch.testing.assert_close(done.mixture, done.stems.sum(1))
    mono = augment.apply(raw, channels=1)
    torch.testing.assert_close(mono.stems, done.stems.mean(2, keepdim=True))


def test_gains_of_a_range_are_even_in_it() -> None:
    draw = sampler(gain_range=(0.25, 1.25))
    gains = np.concatenate([draw.plan(i).draws.gains for i in range(300)])
    assert 0.25 <= gains.min() < 0.26
    assert 1.24 < gains.max() <= 1.25
    assert abs(gains.mean() - 0.75) < 0.03
    assert abs(np.mean(gains < 0.5) - 0.25) < 0.05


def test_a_stem_swaps_by_itself() -> None:
    raw = batch_of(sampler(swap_stems=0.5))
    assert raw.swaps is not None
    done = augment.apply(raw)
    for b in range(8):
        for s in range(4):
            expected = raw.stems[b, s].flip(0) if raw.swaps[b, s] else raw.stems[b, s]
            assert bits(done.stems[b, s], expected)
    assert 0.3 < raw.swaps.float().mean() < 0.7


def test_pan_keeps_power_and_moves_to_the_side() -> None:
    gains = pan_gains(torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0]))
    torch.testing.assert_close(gains.square().sum(-1), torch.full((5,), 2.0))
    torch.testing.assert_close(gains[0], torch.tensor([2**0.5, 0.0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(gains[2], torch.ones(2))
    torch.testing.assert_close(gains[3], gains[1].flip(0))
    raw = batch_of(sampler(pan=0.8))
    assert raw.pan is not None
    assert 0.5 < float(raw.pan.abs().max()) <= 0.8
    done = augment.apply(raw)
    torch.testing.assert_close(done.stems, raw.stems * pan_gains(raw.pan)[..., None])


def test_own_swap_then_pan_then_the_swap_of_the_whole_mix() -> None:
    raw = batch_of(sampler(pan=0.8, swap_stems=0.5, swap=0.5, gain_db=2.0, width_db=3.0))
    assert raw.swaps is not None
    assert raw.pan is not None
    done = augment.apply(raw)
    for b in range(8):
        stems = torch.where(raw.swaps[b][:, None, None], raw.stems[b].flip(1), raw.stems[b])
        stems = stems * raw.gains[b][:, None, None] * pan_gains(raw.pan[b])[..., None]
        mid = stems.mean(1, keepdim=True)
        stems = mid + (stems - mid) * raw.width[b]
        stems = stems.flip(1) if raw.swap[b] else stems
        torch.testing.assert_close(done.stems[b], stems, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.int16, torch.float16, torch.float32])
def test_channels_mix_alike_on_every_device(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    stems = (torch.randn(3, 4, 2, 500, generator=generator) * 3000).to(dtype)
    gains = torch.randn(3, 4, 2, generator=generator)
    swap = torch.rand(3, 4, generator=generator) < 0.5
    here = mix_channels(stems, gains, swap)
    there = augment._mix_anywhere(stems, gains, swap)
    assert bits(here, there)


def test_stored_numbers_become_samples_with_their_gains() -> None:
    strengths = {"gain_db": 2.0, "swap": 0.5, "pan": 0.5}
    stored = batch_of(sampler(StoredArraySong, **strengths))
    plain = batch_of(sampler(ArraySong, **strengths))
    assert stored.stems.dtype == torch.int16
    done, expected = augment.apply(stored), augment.apply(plain)
    assert done.stems.dtype == torch.float32
    torch.testing.assert_close(done.stems, expected.stems, atol=1e-4, rtol=0)
    assert done.scale is None
    filtered = augment.apply(batch_of(sampler(StoredArraySong, filter_db=3.0)))
    expected = augment.apply(batch_of(sampler(ArraySong, filter_db=3.0)))
    torch.testing.assert_close(filtered.stems, expected.stems, atol=3e-4, rtol=0)


def test_mixing_while_reading_gives_the_same_bits() -> None:
    every = {"gain_db": 2.0, "swap": 0.5, "pan": 0.5, "swap_stems": 0.5, "polarity": 0.5}
    draw = sampler(StoredArraySong, **every, width_db=2.0, drop={"bass": 0.5}, level_db=1.0)
    plans = [draw.plan(i) for i in range(8)]
    early, late = (read_plans(plans, draw.layout, mix=mix) for mix in (True, False))
    assert early.stems.dtype == torch.float32
    assert late.stems.dtype == torch.int16
    assert bits(augment.apply(early).stems + 0.0, augment.apply(late).stems + 0.0)
    filtered = sampler(StoredArraySong, **every, filter_db=2.0)
    one = read_plans([filtered.plan(0)], filtered.layout, mix=True)
    assert one.stems.dtype == torch.int16, "filters come first, on the device"


def test_width_scales_the_side_of_the_whole_mix_alone() -> None:
    raw = batch_of(sampler(width_db=6.0), 4)
    done = augment.apply(raw).stems
    torch.testing.assert_close(done.mean(2), raw.stems.mean(2), atol=1e-5, rtol=1e-5)
    side, before = done[:, :, 0] - done[:, :, 1], raw.stems[:, :, 0] - raw.stems[:, :, 1]
    torch.testing.assert_close(side, before * raw.width[:, None, None], atol=1e-5, rtol=1e-5)
    assert len(set(raw.width.tolist())) == 4


# filters


def measured(change: Callable[[Tensor], Tensor], frequency: float) -> float:
    """Gain in decibels of a tone."""
    time = torch.arange(4 * RATE) / RATE
    tone = torch.sin(2 * np.pi * frequency * time).expand(1, 1, 2, -1)
    out = change(tone)[..., RATE:-RATE]
    assert torch.equal(out[:, :, 0], out[:, :, 1])
    return 10 * float(torch.log10(out.square().mean() / tone[..., RATE:-RATE].square().mean()))


def test_smooth_filters_have_the_gains_of_their_knots() -> None:
    decibels = torch.linspace(-6.0, 9.0, len(FILTER_KNOTS)).reshape(1, 1, -1)
    for knot, frequency in enumerate(FILTER_KNOTS):
        if frequency < RATE / 2:
            gain = measured(lambda tone: filter_stems(tone, decibels, RATE), frequency)
            assert gain == pytest.approx(float(decibels[0, 0, knot]), abs=0.15)


def test_shelves_lift_and_lower_both_ends() -> None:
    none = torch.zeros(1, 1, len(FILTER_KNOTS))
    shelves = torch.tensor([[[6.0, 200.0, -8.0, 2000.0]]])
    for frequency in (10.0, 200.0, 630.0, 2000.0, 3900.0):
        low, high = 6 / (1 + (frequency / 200) ** 2), -8 / (1 + (2000 / frequency) ** 2)
        found = measured(lambda t: filter_stems(t, none, RATE, shelves=shelves), frequency)
        assert found == pytest.approx(low + high, abs=0.05)
    curve = shelf_curve(shelves[0, 0], torch.tensor([200.0, 50.0]))
    assert float(curve[0]) == pytest.approx(3 - 8 / 101)
    assert float(curve[1]) == pytest.approx(6 * 16 / 17, abs=0.01)


def test_a_band_lifts_its_centre_and_half_of_that_at_half_its_width() -> None:
    none = torch.zeros(1, 1, len(FILTER_KNOTS))
    bands = torch.tensor([[[-6.0, 1000.0, 1.0]]])
    edge = 1000 * 2**0.5
    for frequency, gain in ((1000.0, -6.0), (edge, -3.0), (1e6 / edge, -3.0), (250.0, 0.0)):
        found = measured(lambda t: filter_stems(t, none, RATE, bands=bands), frequency)
        assert found == pytest.approx(gain, abs=0.05)
    assert float(band_curve(bands[0, 0], torch.tensor([0.0]))) == 0


def test_filters_add_up_in_decibels() -> None:
    smooth = torch.full((1, 1, len(FILTER_KNOTS)), 2.0)
    shelves, bands = torch.tensor([[[3.0, 9e9, 0.0, 4e3]]]), torch.tensor([[[4.0, 1e3, 1.0]]])
    found = measured(lambda t: filter_stems(t, smooth, RATE, shelves=shelves, bands=bands), 1000.0)
    assert found == pytest.approx(9.0, abs=0.05)


def test_filters_are_drawn_within_their_bounds() -> None:
    draw = sampler(shelf_db=3.0, band_db=4.0)
    plans = [draw.plan(i).draws for i in range(200)]
    shelves = np.concatenate([plan.shelves for plan in plans if plan.shelves is not None])
    bands = np.concatenate([plan.bands for plan in plans if plan.bands is not None])
    assert len(shelves) == len(bands) == 800
    assert abs(shelves[:, [0, 2]].std() - 3.0) < 0.3
    assert abs(bands[:, 0].std() - 4.0) < 0.4
    for values, bounds in (
        (shelves[:, 1], LOW_CORNERS), (shelves[:, 3], HIGH_CORNERS),
        (bands[:, 1], BAND_CENTRES), (bands[:, 2], BAND_OCTAVES),
    ):  # fmt: skip
        assert bounds[0] <= values.min() < bounds[0] * 1.1
        assert bounds[1] * 0.9 < values.max() <= bounds[1]


# tempo and pitch


def tones(frequency: float, seconds: float = 2.0, batch: int = 1) -> Tensor:
    time = torch.arange(round(seconds * RATE)) / RATE
    return 0.5 * torch.sin(2 * np.pi * frequency * time).expand(batch, 1, 2, -1)


def pitch_of(signal: Tensor) -> float:
    """Frequency of the strongest bin of the middle of a signal, by a parabola."""
    middle = signal[len(signal) // 4 : -len(signal) // 4]
    size = 1 << 16
    spectrum = torch.fft.rfft(middle * torch.hann_window(len(middle)), size).abs().log()
    k = int(spectrum.argmax())
    a, b, c = spectrum[k - 1 : k + 2].tolist()
    return (k + 0.5 * (a - c) / (a - 2 * b + c)) * RATE / size


@pytest.mark.parametrize("semitones", [-5.0, -1.0, 0.5, 4.0])
def test_pitch_moves_a_tone_and_keeps_its_length_and_level(semitones: float) -> None:
    tone = tones(440.0)
    shifted = augment.shift_pitch(tone, torch.tensor([[semitones]]))
    assert shifted.shape == tone.shape
    assert pitch_of(shifted[0, 0, 0]) == pytest.approx(440 * 2 ** (semitones / 12), rel=2e-3)
    inner = slice(RATE // 4, -RATE // 4)
    level = float(shifted[..., inner].square().mean() / tone[..., inner].square().mean())
    assert level == pytest.approx(1.0, abs=0.1)
    torch.testing.assert_close(shifted[0, 0, 0], shifted[0, 0, 1])


@pytest.mark.parametrize("tempo", [0.8, 1.25])
def test_tempo_moves_events_and_keeps_the_pitch(tempo: float) -> None:
    samples = 2 * RATE
    length = round(samples * tempo)
    time = torch.arange(length) / RATE
    on = (time > 0.5 * tempo) & (time < 1.0 * tempo)
    tone = torch.zeros(1, 1, 2, round(samples * 1.3))
    tone[..., :length] = 0.5 * torch.sin(2 * np.pi * 600 * time) * on
    played = augment.stretch(tone, torch.tensor([[tempo]]), samples)
    assert played.shape[-1] == samples
    loud = torch.where(played[0, 0, 0].abs() > 0.25)[0] / RATE
    assert float(loud.min()) == pytest.approx(0.5, abs=0.09)
    assert float(loud.max()) == pytest.approx(1.0, abs=0.09)
    assert pitch_of(played[0, 0, 0, int(0.5 * RATE) : RATE]) == pytest.approx(600, rel=5e-3)


def test_every_stem_has_its_own_rate() -> None:
    tone = tones(500.0, batch=3)
    shifted = augment.shift_pitch(tone, torch.tensor([[0.0], [3.0], [-3.0]]))
    assert bits(shifted[0], tone[0]), "what is not shifted keeps its bits"
    for b, semitones in enumerate((0.0, 3.0, -3.0)):
        alone = augment.shift_pitch(tone[:1], torch.tensor([[semitones]]))
        torch.testing.assert_close(alone[0], shifted[b], atol=1e-4, rtol=0)
    same = augment.stretch(tone, torch.ones(3, 1), 2 * RATE)
    assert bits(same, tone)


def test_nothing_folds_back_when_shifted_up() -> None:
    shifted = augment.shift_pitch(tones(3500.0), torch.tensor([[6.0]]))
    inner = shifted[..., RATE // 4 : -RATE // 4]
    assert float(inner.square().mean().sqrt()) < 0.02, "4950 Hz are beyond half the rate"


def test_tempo_reads_as_much_as_it_plays_and_moves_the_labels() -> None:
    draw = sampler(tempo=0.2, pitch=2.0)
    for i in range(6):
        plan = draw.plan(i)
        assert plan.draws.tempo is not None
        assert plan.draws.pitch is not None
        assert len(set(plan.draws.tempo.tolist())) == 1, "one song keeps together"
        assert len(set(plan.draws.pitch.tolist())) == 1
        tempo = float(plan.draws.tempo[0])
        assert 0.8 <= tempo <= 1.2
        clip = plan.stems[0][0]
        assert clip.length == clip.played == round(SAMPLES * tempo)
        label = plan.labels[0]
        assert not isinstance(label, str)
        assert label is not None
        assert label.speed == pytest.approx(tempo, abs=1e-3)
    raw = batch_of(draw, 4)
    assert raw.stems.shape[-1] == SAMPLES + round(0.2 * SAMPLES)
    done = augment.apply(raw)
    assert done.stems.shape[-1] == SAMPLES
    assert done.stems.isfinite().all()
    level = done.stems.square().mean() / raw.stems[..., : round(0.8 * SAMPLES)].square().mean()
    assert 0.5 < float(level) < 1.5


def test_a_remix_has_tempo_and_pitch_of_its_own_per_stem() -> None:
    plan = sampler(tempo=0.2, pitch=2.0, remix=1.0).plan(0)
    assert plan.draws.tempo is not None
    assert len(set(plan.draws.tempo.tolist())) == 4
    assert len({clips[0].length for clips in plan.stems}) == 4


def test_songs_that_lack_stems_keep_tempo_and_pitch() -> None:
    audio = noise(0, 2.0)
    partial = ArraySong("partial", {"bass": audio["bass"]}, None, audio["other"])
    strengths = Augmentation(tempo=0.2, pitch=2.0, pan=0.5, gain_range=(0.5, 0.6))
    draw = Sampler([partial], SOURCES, SOURCES, SAMPLES, HOP, 0, strengths)
    raw = draw.excerpt(0)
    done = augment.apply(raw)
    assert done.stems.shape[-1] == SAMPLES
    torch.testing.assert_close(done.mixture, raw.mixture[..., :SAMPLES])
    start = draw.plan(0).stems[2][0].start
    np.testing.assert_allclose(
        done.mixture[0], audio["other"][:, start : start + SAMPLES], atol=1e-6
    )


def test_batches_with_and_without_a_draw_go_together() -> None:
    """A song that lacks stems has no pan; in a batch with others it gets one that does nothing."""
    audio = noise(0, 2.0)
    songs = [SONGS[0], ArraySong("partial", {"bass": audio["bass"]}, None, audio["other"])]
    every = Augmentation(
        pan=0.5, shelf_db=3.0, band_db=3.0, pitch=1.0, swap_stems=1.0, gain_range=(0.5, 0.6)
    )
    draw = Sampler(songs, SOURCES, SOURCES, SAMPLES, HOP, 1, every)
    raw = batch_of(draw, 8)
    partial = [k for k, origin in enumerate(raw.origins) if "partial" in origin[0]]
    assert 0 < len(partial) < 8
    done = augment.apply(raw)
    for k in partial:
        torch.testing.assert_close(done.stems[k], raw.stems[k], atol=1e-4, rtol=0)
    whole = next(k for k in range(8) if k not in partial)
    assert not torch.allclose(done.stems[whole], raw.stems[whole])


def test_augmentations_are_functions_of_the_seed() -> None:
    strengths = {"pan": 0.5, "pitch": 1.0, "tempo": 0.1, "shelf_db": 2.0, "swap_stems": 0.5}
    a, b, other = (augment.apply(batch_of(sampler(seed=s, **strengths), 2)) for s in (0, 0, 1))
    assert bits(a.stems, b.stems)
    assert not torch.equal(a.stems, other.stems)
