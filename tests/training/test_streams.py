"""The stream of excerpts that a recipe asks for."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from array_songs import ArraySong, StoredArraySong, labelled
from stemwise.data.loading import Loader
from stemwise.data.sampling import SCHEMES, Mixed, Sampler
from stemwise.errors import DataError, RecipeError
from stemwise.models.separator import Separator
from stemwise.training.recipe import parse_recipe
from stemwise.training.sections import _SAMPLING_OPTIONS, Recipe
from stemwise.training.streams import training_loader

RATE = 22050
SOURCES = ("vocals", "drums", "bass", "other")


def song(
    name: str, kind: type[ArraySong] = ArraySong, stems: tuple[str, ...] = SOURCES
) -> ArraySong:
    rng = np.random.default_rng(len(name))
    audio = {s: (0.05 * rng.standard_normal((2, RATE))).astype(np.float32) for s in stems}
    mixture = None if stems else np.zeros((2, RATE), np.float32)
    made = kind(name, audio, labelled({"vocals": [(0, 0.5)]}, 1.0), mixture)
    made.sample_rate = RATE
    return made


def recipe(batch: int = 4, **data: object) -> Recipe:
    base = {"name": "x", "separator": {"name": "tiny"}, "steps": 1, "batch": batch}
    return parse_recipe({**base, "data": {"seconds": 0.4, "workers": 0, **data}})


def loader(separator: Separator, asked: Recipe, **sets: list[ArraySong]) -> Loader:
    return training_loader(asked, separator, sets or {"songs": [song("a"), song("b")]})


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
        rows = {tuple(row) for batch in batches for row in batch.supervised.tolist()}
        assert len(rows) == 1, "one source at a time, in every process"
        assert not set(batches[0].origins) & set(batches[1].origins)


def test_a_store_is_mixed_while_it_is_read_for_the_cpu(tiny: Separator) -> None:
    reader = loader(tiny, recipe(gain_db=3.0), songs=[song("a", StoredArraySong)])
    assert reader.mix
    batch = reader.load(0)
    assert batch.scale is None
    assert (batch.gains == 1).all()
