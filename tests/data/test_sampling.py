"""Excerpts: pure functions of (seed, index), with the augmentation that was asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from stemwise.activity import Activity, write_activity
from stemwise.data import augment
from stemwise.data.batch import Batch, Loader, collate
from stemwise.data.sampling import FILTER_KNOTS, Augmentation, Excerpt, Sampler
from stemwise.data.track import Part, Track

RATE, HOP, SAMPLES, SECONDS = 8000, 80, 4000, 5
SOURCES = ("vocals", "drums", "bass", "other")


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> list[Track]:
    """Three songs of noise; vocals play from second 2 to 4, and not at all in the third."""
    root = tmp_path_factory.mktemp("songs")
    return [_song(root / f"song{k}", k, vocals=k < 2) for k in range(3)]


def _song(folder: Path, seed: int, *, vocals: bool, stems: tuple[str, ...] = SOURCES) -> Track:
    rng = np.random.default_rng(seed)
    folder.mkdir()
    time = np.arange(SECONDS * RATE) / RATE
    files = {}
    frames = np.arange(SECONDS * 100 + 1) / 100
    on = ((frames >= 2) & (frames < 4) & vocals).astype(np.float32)
    for k, source in enumerate(SOURCES):
        noise = 0.05 * (k + 1) * rng.standard_normal((len(time), 2))
        if source == "vocals":
            noise *= ((time >= 2) & (time < 4) & vocals)[:, None]
        if source in stems:
            files[source] = folder / f"{source}.wav"
            soundfile.write(files[source], noise, RATE, subtype="PCM_16")
    soundfile.write(folder / "mixture.wav", np.full((len(time), 2), 0.25), RATE)
    rows = np.stack([on, *(np.ones_like(on) for _ in SOURCES[1:])])
    activity = Activity(SOURCES, rows, frame_rate=100.0, duration=float(SECONDS))
    write_activity(folder / "activity.csv", activity)
    partial = len(files) < len(SOURCES)
    return Track(
        folder.name,
        "",
        RATE,
        len(time),
        {source: (Part(file),) for source, file in files.items()},
        (Part(folder / "mixture.wav"),) if partial else (),
        folder / "activity.csv",
    )


def sampler(tracks: list[Track], seed: int = 0, **augmentation: object) -> Sampler:
    return Sampler(
        tracks,
        SOURCES,
        SOURCES,
        SAMPLES,
        HOP,
        seed,
        Augmentation(**augmentation),  # type: ignore[arg-type]
    )


ALL = {
    "remix": 0.5,
    "gain_db": 2.0,
    "level_db": 3.0,
    "swap": 0.5,
    "drop": {"vocals": 0.3},
    "prefer_active": 0.5,
    "polarity": 0.5,
    "width_db": 3.0,
    "filter_db": 3.0,
    "speed": 0.1,
}


def equal(a: Excerpt, b: Excerpt) -> bool:
    return a.origin == b.origin and all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for name in (
            "stems",
            "activity",
            "gains",
            "level",
            "swap",
            "width",
            "filters",
            "supervised",
        )
    )


def test_an_excerpt_depends_on_seed_and_index_alone(tracks: list[Track]) -> None:
    first, second = sampler(tracks, **ALL), sampler(tracks, **ALL)
    forwards = [first.excerpt(i) for i in range(12)]
    backwards = [second.excerpt(i) for i in reversed(range(12))][::-1]
    assert all(equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not equal(forwards[0], forwards[1])
    assert not equal(forwards[0], sampler(tracks, seed=1, **ALL).excerpt(0))


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_are_the_same_for_any_number_of_workers(tracks: list[Track], workers: int) -> None:
    inline = list(Loader(sampler(tracks, **ALL), 3, workers=0).batches(0, 6))
    threaded = list(Loader(sampler(tracks, **ALL), 3, workers=workers).batches(0, 6))
    resumed = list(Loader(sampler(tracks, **ALL), 3, workers=workers).batches(4, 6))
    for expected, got in zip(inline + inline[4:], threaded + resumed, strict=True):
        assert torch.equal(expected.stems, got.stems)
        assert torch.equal(expected.gains, got.gains)
        assert torch.equal(expected.activity, got.activity)
        assert expected.origins == got.origins


def test_a_reading_error_reaches_the_consumer(tracks: list[Track], tmp_path: Path) -> None:
    song = _song(tmp_path / "gone", 9, vocals=True)
    loader = Loader(sampler([song]), 2)
    song.stems["bass"][0].path.unlink()
    with pytest.raises(Exception, match=r"bass\.wav"):
        list(loader.batches(0, 3))


def test_remix_takes_stems_from_different_songs(tracks: list[Track]) -> None:
    plain = [sampler(tracks).excerpt(i) for i in range(20)]
    assert all(len(excerpt.origin) == 1 for excerpt in plain)
    remixed = [sampler(tracks, remix=1.0).excerpt(i) for i in range(20)]
    assert all(len(excerpt.origin) > 1 for excerpt in remixed)
    share = np.mean([len(sampler(tracks, remix=0.5).excerpt(i).origin) > 1 for i in range(200)])
    assert 0.38 < share < 0.62


def test_labels_follow_the_audio(tracks: list[Track]) -> None:
    draw = sampler(tracks, remix=0.5, prefer_active=0.5)
    for i in range(40):
        excerpt = draw.excerpt(i)
        assert excerpt.activity.shape == (4, draw.frames) == (4, SAMPLES // HOP + 1)
        centres = np.arange(1, draw.frames - 1) * HOP
        loud = np.array(
            [np.abs(excerpt.stems[0][:, c - HOP // 2 : c + HOP // 2]).max() > 0 for c in centres]
        )
        wrong = loud != (excerpt.activity[0, 1:-1] > 0)
        assert wrong.sum() <= 4, "labels may differ at most at the two borders of a section"
        assert excerpt.activity_known.all()


def test_dropped_stems_are_silent_and_inactive(tracks: list[Track]) -> None:
    excerpts = [sampler(tracks[:1], drop={"drums": 1.0}).excerpt(i) for i in range(5)]
    for excerpt in excerpts:
        assert excerpt.gains[1] == 0
        assert not excerpt.activity[1].any()
        assert excerpt.activity_known[1]
        assert excerpt.supervised[1], "a dropped stem still teaches silence"
        assert excerpt.activity[2].all()
    dropped = [sampler(tracks, drop={"vocals": 0.15}).excerpt(i).gains[0] == 0 for i in range(400)]
    assert 0.09 < np.mean(dropped) < 0.21


def test_gains_have_the_spread_that_was_asked_for(tracks: list[Track]) -> None:
    draw = sampler(tracks, gain_db=2.0, level_db=4.0)
    excerpts = [draw.excerpt(i) for i in range(300)]
    gains = 20 * np.log10(np.stack([excerpt.gains for excerpt in excerpts]))
    levels = 20 * np.log10([excerpt.level for excerpt in excerpts])
    assert abs(gains.std() - 2.0) < 0.3
    assert abs(levels.std() - 4.0) < 0.6


def test_prefer_active_finds_the_stem(tracks: list[Track]) -> None:
    song = _only_vocals(tracks[0])
    share = {
        p: np.mean([s.excerpt(i).activity[0].mean() for i in range(100)])
        for p in (0.0, 1.0)
        if (s := Sampler([song], ("vocals",), SOURCES, 2000, HOP, 0, Augmentation(prefer_active=p)))
    }
    assert share[0.0] < 0.55
    assert share[1.0] > 0.7


def _only_vocals(track: Track) -> Track:
    return Track(
        "v", "", RATE, track.samples, {"vocals": track.stems["vocals"]}, (), track.activity
    )


def test_equalise_brings_active_parts_to_one_level(tracks: list[Track]) -> None:
    excerpt = sampler(tracks[:1], equalise=True, prefer_active=1.0).excerpt(0)
    for k, source in enumerate(SOURCES):
        level = tracks[0].active_level(source)
        assert level is not None
        assert level * excerpt.gains[k] == pytest.approx(0.1, rel=1e-3)
    assert tracks[2].active_level("vocals") is None


def test_missing_stems_are_unknown_not_zero(tmp_path: Path) -> None:
    song = _song(tmp_path / "partial", 4, vocals=True, stems=("vocals",))
    draw = Sampler([song], SOURCES, SOURCES, SAMPLES, HOP, 0, Augmentation(remix=1.0, gain_db=3.0))
    batch = augment.apply(collate([draw.excerpt(0), draw.excerpt(1)], RATE))
    assert batch.supervised.tolist() == [[True, False, False, False]] * 2
    assert batch.activity_known.all()
    assert not batch.stems[:, 1:].any()
    torch.testing.assert_close(
        batch.mixture, torch.full_like(batch.mixture, 0.25), atol=1e-4, rtol=0
    )


def test_apply_scales_and_swaps_all_stems_together(tracks: list[Track]) -> None:
    draw = sampler(tracks, gain_db=2.0, level_db=2.0, swap=0.5, polarity=0.5)
    raw: Batch = collate([draw.excerpt(i) for i in range(8)], RATE)
    assert raw.swap.any()
    assert not raw.swap.all()
    assert (raw.gains < 0).any()
    done = augment.apply(raw)
    for b in range(8):
        stems = raw.stems[b].flip(1) if raw.swap[b] else raw.stems[b]
        expected = stems * (raw.gains[b] * raw.level[b])[:, None, None]
        torch.testing.assert_close(done.stems[b], expected)
    torch.testing.assert_close(done.mixture, done.stems.sum(1))
    again = augment.apply(done)
    assert torch.equal(again.stems, done.stems), "draws are applied once"
    mono = augment.apply(raw, channels=1)
    torch.testing.assert_close(mono.stems, done.stems.mean(2, keepdim=True))


def test_speed_changes_pitch_and_labels_together(tracks: list[Track], tmp_path: Path) -> None:
    pitch = 100.0
    song = _song(tmp_path / "tone", 5, vocals=True)
    time = np.arange(song.samples) / RATE
    tone = 0.5 * np.sin(2 * np.pi * pitch * time)
    soundfile.write(song.stems["bass"][0].path, np.stack([tone, tone], axis=1), RATE)
    found = []
    for i in range(20):
        excerpt = sampler([song], speed=0.2).excerpt(i)
        assert excerpt.stems.shape[-1] == SAMPLES
        spectrum = np.abs(np.fft.rfft(excerpt.stems[2, 0] * np.hanning(SAMPLES)))
        found.append(int(spectrum.argmax()) * RATE / SAMPLES / pitch)
    assert 0.75 < min(found) < 0.9
    assert 1.1 < max(found) < 1.25
    for i in range(20):  # what sounds is what the labels say, at any speed
        excerpt = sampler(tracks, speed=0.3, remix=0.5).excerpt(i)
        centres = np.arange(1, excerpt.activity.shape[1] - 1) * HOP
        loud = np.array(
            [np.abs(excerpt.stems[0][:, c - HOP // 2 : c + HOP // 2]).max() > 0.01 for c in centres]
        )
        assert (loud != (excerpt.activity[0, 1:-1] > 0)).sum() <= 4


def test_width_scales_the_side_of_the_whole_mix_alone(tracks: list[Track]) -> None:
    draw = sampler(tracks, width_db=6.0)
    raw = collate([draw.excerpt(i) for i in range(4)], RATE)
    raw = replace(raw, stems=torch.randn(raw.stems.shape, generator=torch.manual_seed(0)))
    done = augment.apply(raw).stems
    torch.testing.assert_close(done.mean(2), raw.stems.mean(2), atol=1e-5, rtol=1e-5)
    side, before = done[:, :, 0] - done[:, :, 1], raw.stems[:, :, 0] - raw.stems[:, :, 1]
    torch.testing.assert_close(side, before * raw.width[:, None, None], atol=1e-5, rtol=1e-5)
    assert len(set(raw.width.tolist())) == 4


def test_filters_have_the_gains_of_their_knots() -> None:
    samples, knots = 4 * RATE, len(FILTER_KNOTS)
    time = torch.arange(samples) / RATE
    decibels = torch.linspace(-6.0, 9.0, knots).reshape(1, 1, knots)
    for knot, frequency in enumerate(FILTER_KNOTS):
        if frequency >= RATE / 2:
            continue
        tone = torch.sin(2 * np.pi * frequency * time).expand(1, 1, 2, samples)
        filtered = augment.filter_stems(tone, decibels, RATE)[..., RATE:-RATE]
        change = 20 * torch.log10(filtered.square().mean() / tone[..., RATE:-RATE].square().mean())
        assert float(change) / 2 == pytest.approx(float(decibels[0, 0, knot]), abs=0.3)
        assert torch.equal(filtered[:, :, 0], filtered[:, :, 1])
