"""What data sets are for: turns of two roles, a database per source, songs that teach nothing."""

from __future__ import annotations

from collections import Counter

import pytest

from stemwise.data.turns import Turns
from stemwise.errors import DataError, RecipeError
from stemwise.models.separator import Separator
from stemwise.training.building import build_procedure
from stemwise.training.streams import training_loader, validation_loader
from stream_songs import SOURCES, loader, names_of, recipe, song

ALTERNATING: dict[str, object] = {"procedure": "alternating", "weighting": {"name": "blend"}}


def test_batches_take_turns(tiny: Separator) -> None:
    sets = {"multi": [song("a"), song("b")], "vocal": [song("c", stems=())]}
    read = loader(tiny, recipe(keys=ALTERNATING), **sets)
    for step, batch in enumerate(read.batches(0, 12)):
        separation = step % 2 == 0
        assert batch.supervised.any() == separation
        assert all(("c" in name[0]) != separation for name in batch.origins)
        assert batch.activity_known.any()


def test_every_process_has_the_same_turn(tiny: Separator) -> None:
    sets = {
        "multi": [song("a"), song("b")],
        "vocal": [song("c", stems=()), song("d", stems=())],
    }
    asked = recipe(keys=ALTERNATING)
    reads = [training_loader(asked, tiny, sets, rank=rank, world=2) for rank in range(2)]
    for step in range(6):
        supervised = [bool(read.load(step).supervised.any()) for read in reads]
        assert supervised == [step % 2 == 0] * 2


def test_roles_are_named(tiny: Separator) -> None:
    """A set of songs with stems and labels is for detection where that is said."""
    sets = {"first": [song("a")], "second": [song("b")]}
    read = loader(tiny, recipe(keys=ALTERNATING, roles={"first": "detection"}), **sets)
    assert names_of(read, 4) == [{"b"}, {"a"}, {"b"}, {"a"}]
    with pytest.raises(RecipeError, match=r"data.roles names 'frist', no data set.*'first'"):
        loader(tiny, recipe(keys=ALTERNATING, roles={"frist": "detection"}), **sets)


def test_both_roles_are_needed(tiny: Separator) -> None:
    with pytest.raises(DataError, match="none of multi is for detection: add one, or name"):
        loader(tiny, recipe(keys=ALTERNATING), multi=[song("a")])
    with pytest.raises(DataError, match="none of vocal is for separation"):
        loader(tiny, recipe(keys=ALTERNATING), vocal=[song("a", stems=())])


def test_a_role_needs_what_it_learns_from(tiny: Separator) -> None:
    stems, dumb = [song("a")], [song("b", stems=(), sung=None)]
    with pytest.raises(DataError, match="no track has activity labels of vocals"):
        loader(tiny, recipe(keys=ALTERNATING), multi=stems, vocal=dumb)
    roles = {"vocal": "separation"}
    sets = {"multi": [song("a")], "more": [song("c")], "vocal": [song("b", stems=())]}
    asked = recipe(keys=ALTERNATING, roles={**roles, "more": "detection"}, whole_batches=True)
    with pytest.raises(DataError, match=r"set 'vocal' has no song.*learns from: separation"):
        loader(tiny, asked, **sets)


def test_data_sets_of_a_role_are_weighted(tiny: Separator) -> None:
    sets = {
        "a": [song("a")],
        "b": [song("b")],
        "c": [song("c", stems=())],
        "d": [song("d", stems=())],
    }
    read = loader(tiny, recipe(keys=ALTERNATING, weights={"a": 3.0}, whole_batches=True), **sets)
    assert isinstance(read.sampler, Turns)
    found = names_of(read, 256)
    assert all(len(names) == 1 for names in found)
    counts = Counter(name for names in found for name in names)
    assert counts["a"] + counts["b"] == counts["c"] + counts["d"] == 128
    assert counts["a"] == 96
    assert counts["c"] == 64


def test_validation_takes_turns_too(tiny: Separator) -> None:
    sets = {"multi": [song("a")], "vocal": [song("c", stems=())]}
    batch = validation_loader(recipe(keys=ALTERNATING), tiny, sets).load(0)
    assert batch.supervised.all(dim=1).tolist() == [True, False, True, False]
    assert batch.activity_known[:, 0].all()
    alone = validation_loader(recipe(keys=ALTERNATING), tiny, [song("c", stems=())]).load(0)
    assert not alone.supervised.any()


@pytest.mark.parametrize("procedure", ["interleaved", "interleaved-accumulated"])
def test_interleaved_procedures_need_a_database_per_source(tiny: Separator, procedure: str) -> None:
    keys: dict[str, object] = {"procedure": procedure}
    with pytest.raises(RecipeError, match=f"'{procedure}' needs a database for every source: set"):
        loader(tiny, recipe(keys=keys))
    sampling = {"name": "independent", "shares": [0.5, 0.5]}
    songs = [song("a"), song("b")]
    with pytest.raises(RecipeError, match=r"rest of a mixture as it is: remove data.mix"):
        loader(tiny, recipe(keys=keys, sampling=sampling, mix=SOURCES), songs=songs)
    read = loader(tiny, recipe(batch=2, keys=keys, sampling=sampling), songs=songs)
    per_round = build_procedure(procedure).batches(len(tiny.sources))
    for start in (0, 4, 8):
        batches = list(read.batches(start, start + per_round))
        turns = [batch.supervised.any(dim=0).nonzero().item() for batch in batches]
        assert sorted(turns) == [0, 1, 2, 3], "one batch of every source in a round"


def test_independent_needs_separate_networks(tiny: Separator) -> None:
    asked = recipe(keys={"procedure": "independent"}, sampling={"name": "independent"})
    with pytest.raises(RecipeError, match="share parameters"):
        loader(tiny, asked)


def test_songs_that_teach_nothing_are_left_out(tiny: Separator) -> None:
    strangers = song("c", stems=("kazoo",), sung=None)
    read = loader(tiny, recipe(), songs=[song("a"), strangers])
    assert names_of(read, 8) == [{"a"}] * 8
    with pytest.raises(DataError, match="no track has a stem 'vocals'"):
        loader(tiny, recipe(), songs=[strangers])


def test_labels_are_needed_of_some_song_alone(tiny: Separator) -> None:
    some = [song("a"), song("b", sung=None)]
    assert loader(tiny, recipe(batch=8), songs=some).load(0).activity_known.any()
    with pytest.raises(
        DataError, match=r"labels of vocals, drums, bass.*weighting.weights.activity=0"
    ):
        loader(tiny, recipe(), songs=[song("b", sung=None)])
    unheard: dict[str, object] = {"weighting": {"weights": {"separation": 1.0, "activity": 0.0}}}
    assert loader(tiny, recipe(keys=unheard), songs=[song("b", sung=None)]).load(0)


def test_a_task_without_weight_needs_no_songs(tiny: Separator) -> None:
    """The baseline that only detects learns from label-only songs (paper 000, SVD)."""
    keys: dict[str, object] = {"weighting": {"name": "blend", "alpha": 0.0}}
    read = loader(tiny, recipe(keys=keys), songs=[song("c", stems=())])
    assert not read.load(0).supervised.any()
    keys = {"weighting": {"weights": {"separation": 0.0, "activity": 0.0}}}
    with pytest.raises(RecipeError, match="no task a weight above 0"):
        loader(tiny, recipe(keys=keys))
