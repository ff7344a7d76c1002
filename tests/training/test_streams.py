"""The stream of excerpts that a recipe asks for."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from array_songs import ArraySong, StoredArraySong
from small_networks import small
from stemwise.data.sampling import SCHEMES, Mixed, Sampler
from stemwise.errors import DataError, RecipeError
from stemwise.models.separator import Separator
from stemwise.training.sections import _SAMPLING_OPTIONS, WeightingSection
from stemwise.training.streams import training_loader, validation_loader
from stream_songs import RATE, SOURCES, loader, of_sources, recipe, song


def test_recipes_know_the_schemes() -> None:
    assert set(_SAMPLING_OPTIONS) == set(SCHEMES)


def test_a_recipe_names_scheme_options_and_strengths(tiny: Separator) -> None:
    sampling = {"name": "non-silent-source", "source": "vocals"}
    found = loader(tiny, recipe(sampling=sampling, pan=0.3, gain_range=[0.25, 1.25])).sampler
    assert isinstance(found, Sampler)
    assert type(found.scheme) is SCHEMES["non-silent-source"]
    assert (found.augmentation.pan, found.augmentation.gain_range) == (0.3, (0.25, 1.25))


def test_one_pass_is_no_training(tiny: Separator) -> None:
    with pytest.raises(RecipeError, match="'sequential' ends after one pass"):
        loader(tiny, recipe(sampling={"name": "sequential"}))


def test_data_sets_are_weighted_by_name_and_may_fill_whole_batches(tiny: Separator) -> None:
    sets = {"multi": [song("multi")], "vocal": [song("labels", stems=())]}
    for whole in (False, True):
        asked = recipe(weights={"multi": 3.0}, whole_batches=whole)
        reader = loader(tiny, asked, **sets)
        assert isinstance(reader.sampler, Mixed)
        batches = list(reader.batches(0, 64))
        names = Counter(origin[0].split("@")[0] for batch in batches for origin in batch.origins)
        assert 0.6 < names["multi"] / 256 < 0.9
        alike = [len({origin[0].split("@")[0] for origin in batch.origins}) for batch in batches]
        assert (max(alike) == 1) == asked.data.whole_batches
    with pytest.raises(RecipeError, match="'mutli', no data set; the nearest is 'multi'"):
        loader(tiny, recipe(weights={"mutli": 1.0}), **sets)


def test_a_data_set_of_short_songs_is_named(tiny: Separator) -> None:
    short = song("short")
    short.samples = 100
    with pytest.raises(DataError, match="data set 'short' has no song"):
        loader(tiny, recipe(whole_batches=True), long=[song("a")], short=[short])


def test_independent_databases_turn_with_the_batches_of_all_processes(tiny: Separator) -> None:
    songs = [song(f"song{k}") for k in range(16)]
    asked = recipe(batch=2, sampling={"name": "independent"})
    readers = [
        training_loader(asked, tiny, {"songs": songs}, rank=rank, world=2) for rank in range(2)
    ]
    for step in range(8):
        batches = [reader.load(step) for reader in readers]
        assert [len(batch.stems) for batch in batches] == [1, 1], "a batch is that of all together"
        rows = {tuple(row) for batch in batches for row in batch.supervised.tolist()}
        assert len(rows) == 1, "one source at a time, in every process"
        assert not set(batches[0].origins) & set(batches[1].origins)


def test_a_store_is_mixed_while_it_is_read_for_the_cpu(tiny: Separator) -> None:
    reader = loader(tiny, recipe(gain_db=3.0), songs=[song("a", StoredArraySong)])
    assert reader.mix
    batch = reader.load(0)
    assert batch.scale is None
    assert (batch.gains == 1).all()


def test_processes_share_a_batch_evenly(tiny: Separator) -> None:
    """Together they read what one process reads."""
    sets = {"songs": [song("a"), song("b")]}
    asked = recipe(batch=6, gain_db=3.0)
    whole = training_loader(asked, tiny, sets).load(2)
    parts = [training_loader(asked, tiny, sets, rank=k, world=3).load(2) for k in range(3)]
    assert torch.equal(torch.cat([part.stems for part in parts]), whole.stems)
    with pytest.raises(RecipeError, match=r"batch of 6 cannot be shared evenly by 4 processes"):
        training_loader(asked, tiny, sets, world=4)


def test_mixtures_have_stems_that_the_separator_does_not_learn(tiny: Separator) -> None:
    """Every stem of the mixture is drawn and changed; the targets are taken out of it later."""
    one = of_sources(tiny, "vocals")
    asked = recipe(mix=["vocals", "drums"], remix=1.0, drop={"drums": 0.5})
    batch = loader(one, asked).load(0)
    assert batch.stems.shape[:2] == (4, 2)
    assert batch.activity.shape[1] == 1
    narrowed = batch.narrowed(["vocals", "drums"], one.sources)
    torch.testing.assert_close(narrowed.mixture, batch.mixture)
    assert narrowed.stems.shape[1] == 1
    with pytest.raises(RecipeError, match=r"data.mix lacks 'vocals'"):
        loader(one, recipe(mix=["drums"]))
    with pytest.raises(RecipeError, match=r"data.drop names 'bass', which is no stem of the mix"):
        loader(one, recipe(mix=["vocals", "drums"], drop={"bass": 0.1}))
    with pytest.raises(DataError, match=r"no track has a stem 'kazoo', which data.mix names"):
        loader(one, recipe(mix=["vocals", "kazoo"]))
    twice = {"weighting": WeightingSection(sources={"vocal": 2.0})}
    with pytest.raises(RecipeError, match=r"weighting.sources names 'vocal'.* nearest is 'vocals'"):
        loader(one, asked.model_copy(update=twice))


@pytest.mark.parametrize("kind", [ArraySong, StoredArraySong])
def test_songs_are_regrouped(tiny: Separator, kind: type[ArraySong]) -> None:
    """Songs of four stems, and songs that have an accompaniment already."""
    two = of_sources(tiny, "vocals", "accompaniment")
    groups = {"vocals": ["vocals"], "accompaniment": ["drums", "bass", "other"]}
    four, pair = song("four", kind), song("pair", kind, ("vocals", "accompaniment"))
    batch = loader(two, recipe(batch=16, groups=groups), songs=[four, pair]).load(0)
    assert batch.supervised.all()
    assert {origin[0].split("@")[0] for origin in batch.origins} == {"four", "pair"}
    for k, (origin,) in enumerate(batch.origins):
        name, seconds = origin[:-1].split("@")
        if name == "four":
            start = round(float(seconds) * RATE)
            rest = np.sum([four.audio[one] for one in ("drums", "bass", "other")], axis=0)
            samples = batch.stems.shape[-1]
            near = [
                np.abs(rest[:, first : first + samples] - batch.stems[k, 1].numpy()).max()
                for first in range(max(0, start - 120), min(start + 120, RATE - samples) + 1)
            ]  # origins are rounded to hundredths of a second
            assert min(near) < 1e-6
    held = validation_loader(recipe(groups=groups), two, [four])
    assert held.load(0).supervised.all()


def test_silent_vocals_are_replaced_by_those_of_label_only_songs(tiny: Separator) -> None:
    """Paper 000, section 2.1, through the loader: M of N + M silent excerpts are replaced."""
    two = of_sources(tiny, "vocals", "accompaniment")
    groups = {"accompaniment": ["drums", "bass", "other"]}
    stems = [song("a", sung=()), song("b", sung=())]  # nobody ever sings
    stems[0].audio["vocals"][:] = stems[1].audio["vocals"][:] = 0
    labels = [song(name, stems=(), sung=()) for name in ("x", "y", "z")]
    asked = recipe(batch=32, groups=groups, sampling={"name": "non-vocal-replacement"})
    read = loader(two, asked, multi=[*stems], vocal=labels)
    batches = list(read.batches(0, 16))
    names = Counter(origin[0].split("@")[0] for batch in batches for origin in batch.origins)
    share = sum(names[name] for name in ("x", "y", "z")) / 512
    assert 0.52 < share < 0.68, "3 of 5"
    for batch in batches:
        assert batch.supervised.all()
        assert not batch.stems[:, 0].any(), "vocals are silence"
        assert batch.stems[:, 1].abs().amax(dim=(1, 2)).min() > 0.01
        torch.testing.assert_close(batch.mixture, batch.stems[:, 1])
        assert batch.activity_known[:, 0].all()
        assert not batch.activity[:, 0].any()


def test_mistakes_in_what_stems_are_called(tiny: Separator) -> None:
    two = of_sources(tiny, "voice", "accompaniment")
    made = song("a", stems=("voice", "drums", "bass", "other"))
    groups = {"accompaniment": ["drums", "bass", "othr"]}
    with pytest.raises(DataError, match=r"'accompaniment', nor drums, bass, othr, whose sum it is"):
        loader(two, recipe(groups=groups), songs=[made])
    asked = recipe(sampling={"name": "non-vocal-replacement", "source": "vocals"})
    with pytest.raises(RecipeError, match=r"without 'vocals'.* data.sampling.source is 'voice'"):
        loader(two, asked, songs=[made])


def test_chunks_with_a_silent_source_are_dropped(tiny: Separator) -> None:
    """Paper 004, section IV-A, through the loader, with stems that are not learnt among them."""
    one = of_sources(tiny, "vocals")
    made = song("a", seconds=8.0)
    samples = one.grid.input_length(round(0.4 * RATE))
    made.audio["drums"][:, : 5 * samples] = 0
    for drop, first in ((True, 5), (False, 0)):
        asked = recipe(mix=SOURCES, sampling={"name": "chunks", "drop_silent": drop})
        read = loader(one, asked, songs=[made])
        assert isinstance(read.sampler, Sampler)
        starts = {
            round(float(origin.split("@")[1][:-1]) * RATE / samples)
            for batch in read.batches(0, 12)
            for each in batch.origins
            for origin in each
        }
        assert min(starts) >= first
        assert len(starts) == len(read.sampler.scheme)  # type: ignore[arg-type]


def test_networks_that_take_any_length_get_what_is_asked_for() -> None:
    """Open-Unmix's pieces of 300 frames are for its Wiener filter, not for training."""
    separator = small("open-unmix", sources=["vocals"], activity=False)
    made = song("a", stems=("vocals", "drums"), seconds=3.0)
    made.sample_rate = separator.sample_rate
    mixed = recipe()
    data = mixed.data.model_copy(update={"mix": ("vocals", "drums")})
    mixed = mixed.model_copy(update={"data": data})
    batch = loader(separator, mixed, songs=[made]).load(0)
    assert 0 <= batch.stems.shape[-1] - 0.4 * separator.sample_rate < 256
