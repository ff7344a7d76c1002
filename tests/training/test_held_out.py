"""The excerpts of validation, and how long an epoch is."""

from __future__ import annotations

import pytest
import torch

from stemwise.errors import DataError, RecipeError
from stemwise.models.separator import Separator
from stemwise.training.sections import Recipe
from stemwise.training.streams import epoch_steps, training_loader, validation_loader
from stream_songs import RATE, recipe, song

HELD_OUT: dict[str, object] = {"validation": {"held_out": True, "excerpts": 6}}


def test_chunks(tiny: Separator) -> None:
    sets = {"songs": [song(name, seconds=6.0) for name in "abc"]}
    asked = recipe(keys=HELD_OUT, sampling={"name": "chunks", "held_out": 0.25}, gain_db=6.0)
    held = validation_loader(asked, tiny, training=sets)
    assert (held.sampler.total, held.steps) == (6, 2)
    kept = {name for batch in held.batches() for name in batch.origins}
    assert len(kept) == 6
    assert all((batch.gains == 1).all() for batch in held.batches())
    batches = training_loader(asked, tiny, sets).batches(0, 40)
    trained = {name for batch in batches for name in batch.origins}
    assert not kept & trained


def test_excerpts_are_spread_over_all_that_is_held_out(tiny: Separator) -> None:
    sets = {"songs": [song(name, seconds=6.0) for name in "abc"]}
    asked = recipe(keys=HELD_OUT, sampling={"name": "chunks", "held_out": 0.5})
    held = validation_loader(asked, tiny, training=sets)
    assert {name[0].split("@")[0] for b in held.batches() for name in b.origins} == {*"abc"}


def test_independent(tiny: Separator) -> None:
    sets = {"songs": [song(f"song{k}", seconds=2.0) for k in range(8)]}
    keys = {"validation": {"held_out": True, "excerpts": 1000}, "procedure": "interleaved"}
    asked = recipe(keys=dict(keys), sampling={"name": "independent", "shares": [0.5, 0.5]})
    held = list(validation_loader(asked, tiny, training=sets).batches())
    trained = list(training_loader(asked, tiny, sets).batches(0, 64))
    for row in range(4):
        songs = [
            {
                origin[0].split("@")[0]
                for batch in batches
                for origin, known in zip(batch.origins, batch.supervised, strict=True)
                if known[row]
            }
            for batches in (held, trained)
        ]
        assert songs[0]
        assert songs[1]
        assert not songs[0] & songs[1]


def test_data_sets_that_are_told_apart_keep_their_own(tiny: Separator) -> None:
    sets = {name: [song(name, seconds=6.0)] for name in "ab"}
    sampling = {"name": "chunks", "held_out": 0.5}
    asked = recipe(keys=HELD_OUT, sampling=sampling, whole_batches=True)
    held = validation_loader(asked, tiny, training=sets)
    kept = {name for batch in held.batches() for name in batch.origins}
    assert {name[0][0] for name in kept} == {"a", "b"}
    batches = training_loader(asked, tiny, sets).batches(0, 64)
    trained = {name for batch in batches for name in batch.origins}
    assert not kept & trained


def test_other_samplings_keep_nothing(tiny: Separator) -> None:
    with pytest.raises(RecipeError, match=r"keeps a part.*chunks or independent, not 'random'"):
        validation_loader(recipe(keys=HELD_OUT), tiny, training={"songs": [song("a")]})
    asked = recipe(keys=HELD_OUT, sampling={"name": "chunks"})
    with pytest.raises(DataError, match="excerpts of the training songs: name them"):
        validation_loader(asked, tiny)


def test_held_out_songs_must_tell_something(tiny: Separator) -> None:
    with pytest.raises(DataError, match=r"no held-out song is as long as.*activity or separation"):
        validation_loader(recipe(), tiny, [song("a", stems=("kazoo",), sung=None, seconds=7.0)])


SONGS = [song(f"song{k}", seconds=2.0) for k in range(10)]


def steps(separator: Separator, asked: Recipe) -> int:
    read = training_loader(asked, separator, {"songs": SONGS})
    return epoch_steps(asked, read, {"songs": SONGS})


def test_as_the_recipe_says(tiny: Separator) -> None:
    chunks = {"name": "chunks"}
    assert steps(tiny, recipe(keys={"epoch": {"steps": 7}}, sampling=chunks)) == 7
    per_song: dict[str, object] = {"epoch": {"excerpts_per_song": 6}}
    assert steps(tiny, recipe(keys=per_song)) == 15
    assert steps(tiny, recipe(batch=7, keys=per_song, sampling=chunks)) == 9


def test_one_pass(tiny: Separator) -> None:
    asked = recipe(sampling={"name": "chunks", "held_out": 0.0})
    per_song = 2 * RATE // tiny.grid.input_length(round(0.4 * RATE))
    assert steps(tiny, asked) == -(-10 * per_song // 4)
    keys: dict[str, object] = {"procedure": "interleaved"}
    rounds = recipe(keys=keys, sampling={"name": "independent", "shares": [0.7, 0.3]})
    assert steps(tiny, rounds) == 7 * per_song // 4


def test_of_the_longer_of_two_roles(tiny: Separator) -> None:
    keys: dict[str, object] = {"procedure": "alternating", "weighting": {"name": "blend"}}
    asked = recipe(keys=keys, sampling={"name": "chunks", "held_out": 0.0})
    sets = {"multi": SONGS[:2], "vocal": [song(n, stems=(), seconds=2.0) for n in "abc"]}
    read = training_loader(asked, tiny, sets)
    per_song = 2 * RATE // tiny.grid.input_length(round(0.4 * RATE))
    assert epoch_steps(asked, read, sets) == -(-3 * per_song // 4)


def test_until_the_next_validation(tiny: Separator) -> None:
    assert steps(tiny, recipe(keys={"validation": {"every": 30}})) == 30
    assert steps(tiny, recipe(keys={"validation": {"every": None}})) == 500


def test_every_source_has_its_share_of_independent_excerpts(tiny: Separator) -> None:
    sets = {"songs": [song(f"song{k}", seconds=4.0) for k in range(8)]}
    sampling = {"name": "independent", "shares": [0.5, 0.5]}
    for excerpts, expected in ((14, [3, 3, 3, 3]), (4, [1, 1, 1, 1])):
        keys = {"validation": {"held_out": True, "excerpts": excerpts}, "procedure": "interleaved"}
        held = validation_loader(recipe(keys=dict(keys), sampling=sampling), tiny, training=sets)
        supervised = torch.cat([batch.supervised for batch in held.batches()])
        assert supervised.sum(dim=0).tolist() == expected
