"""Excerpts: pure functions of (seed, index), with the augmentation that was asked for."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from stemwise.activity import Activity, write_activity
from stemwise.data import augment
from stemwise.data.batch import Batch
from stemwise.data.excerpts import read_plans
from stemwise.data.sampling import Augmentation, Sampler
from stemwise.data.track import Part, Track
from stemwise.training.recipe import load_recipe

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


def equal(a: Batch, b: Batch) -> bool:
    """Whether two batches are the same in everything."""
    assert vars(a).keys() == vars(b).keys()
    for name, value in vars(a).items():
        other = getattr(b, name)
        same = torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other
        if not same:
            return False
    return True


GOLDEN = {
    "equal": ("c59219c6741cc7b8", "3a03747d5d22ffde", "341b6a6e43407b2e"),
    "plain": ("f30aa62437ce6d85", "7e805641df4e35f1", "8d5b16d55ed2e4d6"),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_excerpts_of_a_seed_stay_what_they_were(
    tracks: list[Track], tmp_path: Path, name: str
) -> None:
    """Runs of the first release go on with the excerpts that they were started with."""
    partial = _song(tmp_path / "partial", 7, vocals=True, stems=("vocals", "bass"))
    band = load_recipe("band-start").data.model_dump(include=set(ALL) | {"equalise"})
    changes = Augmentation(**(band | {"equalise": True, "speed": 0.0})) if name == "equal" else None
    draw = Sampler([*tracks, partial], SOURCES, SOURCES, SAMPLES, HOP, 5, changes)
    excerpts = [draw.excerpt(i) for i in range(24)]
    origins = json.dumps([excerpt.origins[0] for excerpt in excerpts]).encode()
    stems = b"".join(excerpt.stems.numpy().tobytes() for excerpt in excerpts)
    activity = b"".join(excerpt.activity.numpy().tobytes() for excerpt in excerpts)
    found = tuple(hashlib.sha256(part).hexdigest()[:16] for part in (origins, stems, activity))
    assert found == GOLDEN[name]


def test_an_excerpt_depends_on_seed_and_index_alone(tracks: list[Track]) -> None:
    first, second = sampler(tracks, **ALL), sampler(tracks, **ALL)
    forwards = [first.excerpt(i) for i in range(12)]
    backwards = [second.excerpt(i) for i in reversed(range(12))][::-1]
    assert all(equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not equal(forwards[0], forwards[1])
    assert not equal(forwards[0], sampler(tracks, seed=1, **ALL).excerpt(0))


def test_remix_takes_stems_from_different_songs(tracks: list[Track]) -> None:
    plain, remix, half = (sampler(tracks, remix=share) for share in (0.0, 1.0, 0.5))
    assert all(len(plain.plan(i).origins) == 1 for i in range(20))
    assert all(len(remix.plan(i).origins) > 1 for i in range(20))
    share = np.mean([len(half.plan(i).origins) > 1 for i in range(200)])
    assert 0.38 < share < 0.62


def test_labels_follow_the_audio(tracks: list[Track]) -> None:
    draw = sampler(tracks, remix=0.5, prefer_active=0.5)
    for i in range(40):
        excerpt = draw.excerpt(i)
        assert excerpt.activity.shape[1:] == (4, draw.frames) == (4, SAMPLES // HOP + 1)
        vocals = excerpt.stems.numpy()[0, 0]
        centres = np.arange(1, draw.frames - 1) * HOP
        loud = np.array([np.abs(vocals[:, c - HOP // 2 : c + HOP // 2]).max() > 0 for c in centres])
        wrong = loud != (excerpt.activity.numpy()[0, 0, 1:-1] > 0)
        assert wrong.sum() <= 4, "labels may differ at most at the two borders of a section"
        assert excerpt.activity_known.all()


def test_dropped_stems_are_silent_and_inactive(tracks: list[Track]) -> None:
    excerpts = [sampler(tracks[:1], drop={"drums": 1.0}).excerpt(i) for i in range(5)]
    for excerpt in excerpts:
        assert excerpt.gains[0, 1] == 0
        assert not excerpt.activity[0, 1].any()
        assert excerpt.activity_known[0, 1]
        assert excerpt.supervised[0, 1], "a dropped stem still teaches silence"
        assert excerpt.activity[0, 2].all()
    dropped = [
        sampler(tracks, drop={"vocals": 0.15}).excerpt(i).gains[0, 0] == 0 for i in range(400)
    ]
    assert 0.09 < np.mean(dropped) < 0.21


def test_gains_have_the_spread_that_was_asked_for(tracks: list[Track]) -> None:
    draw = sampler(tracks, gain_db=2.0, level_db=4.0)
    draws = [draw.plan(i).draws for i in range(300)]
    gains = 20 * np.log10(np.stack([one.gains for one in draws]))
    levels = 20 * np.log10([one.level for one in draws])
    assert abs(gains.std() - 2.0) < 0.3
    assert abs(levels.std() - 4.0) < 0.6


def test_prefer_active_finds_the_stem(tracks: list[Track]) -> None:
    song = _only_vocals(tracks[0])
    share = {
        p: np.mean([float(s.excerpt(i).activity[0, 0].mean()) for i in range(100)])
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
        assert level * float(excerpt.gains[0, k]) == pytest.approx(0.1, rel=1e-3)
    assert tracks[2].active_level("vocals") is None


def test_missing_stems_are_unknown_not_zero(tmp_path: Path) -> None:
    song = _song(tmp_path / "partial", 4, vocals=True, stems=("vocals",))
    draw = Sampler([song], SOURCES, SOURCES, SAMPLES, HOP, 0, Augmentation(remix=1.0, gain_db=3.0))
    batch = augment.apply(read_plans([draw.plan(0), draw.plan(1)], draw.layout))
    assert batch.supervised.tolist() == [[True, False, False, False]] * 2
    assert batch.activity_known.all()
    assert not batch.stems[:, 1:].any()
    torch.testing.assert_close(
        batch.mixture, torch.full_like(batch.mixture, 0.25), atol=1e-4, rtol=0
    )


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
        spectrum = np.abs(np.fft.rfft(excerpt.stems[0, 2, 0].numpy() * np.hanning(SAMPLES)))
        found.append(int(spectrum.argmax()) * RATE / SAMPLES / pitch)
    assert 0.75 < min(found) < 0.9
    assert 1.1 < max(found) < 1.25
    for i in range(20):  # what sounds is what the labels say, at any speed
        excerpt = sampler(tracks, speed=0.3, remix=0.5).excerpt(i)
        vocals = excerpt.stems.numpy()[0, 0]
        centres = np.arange(1, excerpt.activity.shape[2] - 1) * HOP
        loud = np.array(
            [np.abs(vocals[:, c - HOP // 2 : c + HOP // 2]).max() > 0.01 for c in centres]
        )
        assert (loud != (excerpt.activity.numpy()[0, 0, 1:-1] > 0)).sum() <= 4
