"""Batches: the same for any number of workers, processes and restarts."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from array_songs import HOP, RATE, SAMPLES, SOURCES, ArraySong, StoredArraySong, labelled, ramps
from stemwise.audio import Audio, write
from stemwise.data.batch import Batch
from stemwise.data.loading import Loader, shard
from stemwise.data.prepare import prepare
from stemwise.data.sampling import SCHEMES, Augmentation, Sampler
from stemwise.data.store import open_store
from stemwise.data.track import Part, Track
from stemwise.errors import DataError

EVERYTHING = Augmentation(
    remix=0.5,
    gain_db=2.0,
    level_db=1.0,
    swap=0.5,
    drop={"vocals": 0.3},
    prefer_active=0.5,
    polarity=0.5,
    width_db=2.0,
    filter_db=2.0,
    gain_range=(0.25, 1.25),
    swap_stems=0.5,
    pan=0.5,
    shelf_db=2.0,
    band_db=2.0,
    pitch=2.0,
    tempo=0.1,
)


def songs(kind: type[ArraySong] = ArraySong) -> list[ArraySong]:
    """Three songs of all stems, 3 to 5 s, and one with labels of the vocals only."""
    spans = {"vocals": [(0.5, 1.2)], "drums": [(0.0, 9.0)]}
    found = [kind(f"song{k}", ramps(k, 3.0 + k), labelled(spans, 3.0 + k)) for k in range(3)]
    mixture = ramps(4, 3.0)["other"]
    return [*found, ArraySong("labels", {}, labelled({"vocals": [(0, 1)]}, 3.0), mixture)]


def sampler(scheme: str = "random", **options: object) -> Sampler:
    tracks = songs() if scheme == "non-vocal-replacement" else songs()[:3]
    return Sampler(tracks, SOURCES, SOURCES, SAMPLES, HOP, 3, EVERYTHING, scheme, **options)


def same(a: Batch, b: Batch) -> bool:
    for name, value in vars(a).items():
        other = getattr(b, name)
        if not (torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other):
            return False
    return True


@pytest.mark.parametrize("scheme", [name for name in SCHEMES if name != "sequential"])
def test_batches_are_the_same_for_any_workers_and_after_a_restart(scheme: str) -> None:
    expected = [Loader(sampler(scheme), 3, workers=0).load(step) for step in range(4)]
    assert not same(expected[0], expected[1])
    for workers in (0, 2, 4):
        loader = Loader(sampler(scheme), 3, workers=workers)
        assert all(same(a, b) for a, b in zip(expected, loader.batches(0, 4), strict=True))
        resumed = Loader(sampler(scheme), 3, workers=workers).batches(2, 4)
        assert all(same(a, b) for a, b in zip(expected[2:], resumed, strict=True))


@given(
    step=st.integers(0, 50),
    batch=st.integers(1, 7),
    world=st.integers(1, 5),
    total=st.none() | st.integers(0, 100),
)
def test_the_processes_share_a_step_without_overlap_or_loss(
    step: int, batch: int, world: int, total: int | None
) -> None:
    pieces = [shard(step, batch, rank, world, total) for rank in range(world)]
    together = [number for piece in pieces for number in piece]
    end = batch * world * (step + 1)
    end = end if total is None else min(end, total)
    assert together == list(range(batch * world * step, end))


def test_a_process_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="process 2 of 2"):
        shard(0, 4, rank=2, world=2)


@pytest.mark.parametrize("world", [1, 2, 3, 4, 5])
def test_every_excerpt_is_read_once_by_one_process(world: int) -> None:
    """A pass over all excerpts, shared by any number of processes that also read ahead."""
    whole = sampler("sequential")
    assert whole.total == 6 + 8 + 10
    expected = [whole.plan(i).origins for i in range(whole.total)]
    found: list[list[tuple[str, ...]]] = []
    for rank in range(world):
        loader = Loader(sampler("sequential"), 2, workers=2, rank=rank, world=world)
        found.append([origin for batch in loader.batches() for origin in batch.origins])
        steps = loader.steps
        assert steps == -(-24 // (2 * world))
    pieces = [part[2 * step : 2 * step + 2] for step in range(steps) for part in found]
    merged = [origin for piece in pieces for origin in piece]
    assert merged == expected


@pytest.mark.parametrize("world", [2, 3, 5])
def test_the_steps_of_all_processes_together_are_those_of_one(world: int) -> None:
    one = list(Loader(sampler(), 2 * world, workers=0).batches(1, 3))
    each = [
        Loader(sampler(), 2, workers=0, rank=r, world=world).batches(1, 3) for r in range(world)
    ]
    for whole, pieces in zip(one, zip(*each, strict=True), strict=True):
        assert torch.equal(whole.stems, torch.cat([piece.stems for piece in pieces]))
        assert whole.origins == tuple(o for piece in pieces for o in piece.origins)


def test_an_endless_stream_must_be_told_where_to_stop() -> None:
    loader = Loader(sampler(), 2)
    assert loader.steps is None
    with pytest.raises(ValueError, match="never ends"):
        next(loader.batches())


def test_behind_the_end_of_a_stream_there_is_nothing() -> None:
    loader = Loader(sampler("sequential"), 10, workers=0)
    assert [len(batch.origins) for batch in loader.batches()] == [10, 10, 4]
    with pytest.raises(IndexError, match="ends before step 3"):
        loader.load(3)
    with pytest.raises(DataError, match="24 excerpts"):
        loader.sampler.plan(24)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_reading_reaches_the_consumer_and_no_thread_stays(workers: int) -> None:
    tracks = songs()[:1]
    tracks[0].audio["bass"] = tracks[0].audio["bass"][:, :10]  # shorter than it says
    draw = Sampler(tracks, SOURCES, SOURCES, SAMPLES, HOP, 0)
    with pytest.raises(ValueError, match="broadcast"):
        list(Loader(draw, 2, workers=workers).batches(0, 9))
    assert not [t for t in threading.enumerate() if t.name.startswith("loader")]


def test_closing_stops_the_threads() -> None:
    batches = Loader(sampler(), 2, workers=2).batches(0, 1000)
    next(batches)
    batches.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("loader")]


def test_waiting_is_counted() -> None:
    loader = Loader(sampler(), 2, workers=0)
    list(loader.batches(0, 2))
    assert loader.waited > 0


def test_stored_numbers_reach_the_batch_as_they_are() -> None:
    stored = [StoredArraySong(f"song{k}", ramps(k, 3.0)) for k in range(3)]
    strengths = Augmentation(remix=1.0, drop={"bass": 1.0})
    draw = Sampler(stored, SOURCES, (), SAMPLES, HOP, 0, strengths)
    batch = Loader(draw, 3, workers=0).load(0)
    assert batch.stems.dtype == torch.int16
    assert batch.scale is not None
    assert batch.scale[:, [0, 1, 3]].unique().tolist() == [pytest.approx(1 / 20000)]
    plain = Sampler(
        [ArraySong(s.name, s.audio) for s in stored], SOURCES, (), SAMPLES, HOP, 0, strengths
    )
    exact = Loader(plain, 3, workers=0).load(0)
    assert exact.stems.dtype == torch.float32
    assert exact.origins == batch.origins
    samples = batch.stems * batch.scale[..., None, None]
    torch.testing.assert_close(samples, exact.stems, atol=0.6 / 20000, rtol=0)
    assert not batch.stems[:, 2].any()


@pytest.mark.parametrize("change", [{"speed": 0.1}, {"tempo": 0.1}])
def test_what_must_be_computed_is_read_as_samples(change: dict[str, float]) -> None:
    stored = [StoredArraySong("song", ramps(0, 3.0))]
    draw = Sampler(stored, SOURCES, (), SAMPLES, HOP, 0, Augmentation(**change))  # type: ignore[arg-type]
    assert draw.layout.stored is None
    assert draw.excerpt(0).stems.dtype == torch.float32


def test_songs_of_a_store_and_files_mix_as_samples() -> None:
    both = [StoredArraySong("stored", ramps(0, 3.0)), ArraySong("file", ramps(1, 3.0))]
    draw = Sampler(both, SOURCES, (), SAMPLES, HOP, 0, Augmentation(remix=1.0))
    assert draw.excerpt(0).stems.dtype == torch.float32


@pytest.mark.parametrize("mapped", [0, 1 << 30])
def test_a_store_gives_the_excerpts_of_the_files_it_was_made_from(
    tmp_path: Path, mapped: int
) -> None:
    tracks = []
    for k in range(2):
        stems = {}
        for source, ramp in ramps(k, 1.0).items():
            path = tmp_path / f"song{k}" / f"{source}.wav"
            path.parent.mkdir(exist_ok=True)
            write(path, Audio(np.rint(ramp * 32768) / np.float32(32768), RATE))
            stems[source] = (Part(path),)
        tracks.append(Track(f"song{k}", "", RATE, RATE, stems))
    prepare(tracks, tmp_path / "store")
    stored = open_store(tmp_path / "store", mapped=mapped).tracks
    strengths = replace(EVERYTHING, tempo=0.0)
    a, b = (Sampler(one, SOURCES, SOURCES, SAMPLES, HOP, 3, strengths) for one in (tracks, stored))
    for step in range(2):
        files, numbers = (Loader(one, 3, workers=0).load(step) for one in (a, b))
        assert numbers.scale is not None
        assert numbers.stems.dtype == torch.int16
        assert torch.equal(files.stems, numbers.stems * numbers.scale[..., None, None])
        assert files.origins == numbers.origins
        assert torch.equal(files.gains, numbers.gains)
