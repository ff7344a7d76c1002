"""The recipes of this package: one per published row, each a small change of its paper's base."""

from __future__ import annotations

from inspect import signature
from typing import Any

import pytest

from stemwise.data.sampling import SCHEMES
from stemwise.models.separator import Separator
from stemwise.models.summary import outline
from stemwise.training.recipe import load_recipe, recipe_bases, recipe_names
from stemwise.training.sections import Recipe

SCALES = ("full", "small", "smoke")
VOICE = ("dedicated", "c-u-net", "unit", "dwa", "ebw-p1", "ebw-inst-p1", "oh", "ebw-p2")
PROCEDURES = ("independent", "simultaneous", "interleaved", "interleaved-accumulated")
TARGETS = ("vocals", "bass", "drums", "other")
SIX = ("vocals", "electric guitar", "acoustic guitar", "piano", "bass", "drums")

# every row, or cell, of the published tables that is trained: table, row, recipe, the overrides
# that choose its target
ROWS: dict[str, dict[str, str]] = {
    "stoller2018-1": {row: f"stoller2018-{row}" for row in ("svd", "svs", "mtl")},
    "stoller2018-replacement": {
        f"{row}{end}": f"stoller2018-replacement-{number}{end}"
        for number, row in enumerate(
            ("dsd100-only", "more-sets-in-validation-and-test", "all-sets-everywhere"), 1
        )
        for end in ("", "-without")
    },
    "hung2020-1": {row: f"hung2020-{row}" for row in ("iass-3-blocks", "iass-4-blocks")},
    "hung2020-2": {"open-unmix": "hung2020-open-unmix", "iass": "hung2020-iass-3-blocks"},
    "hung2020-3": {"open-unmix": "hung2020-mm-open-unmix", "iass": "hung2020-mm-iass"},
    "hung2020-4": {
        "no-no": "hung2020-mm-iass-no-activity",
        "yes-no": "hung2020-mm-iass",
        "yes-yes": "hung2020-mm-iass",
    },
    "george2022-1": {
        row: f"george2022-{row}"
        for row in ("open-unmix", "time-domain", "transformer", "l1", "dual")
    },
    "doire2019-2": {row: f"doire2019-{row}" for row in PROCEDURES},
    "doire2019-3": {"encoder": "doire2019-interleaved", "encoder+": "doire2019-encoder-plus"},
    "kadandale2020-2": {row: f"kadandale2020-voice-{row}" for row in VOICE},
    "kadandale2020-3": {row: f"kadandale2020-four-{row}" for row in VOICE},
    "kadandale2020-4": {
        row: f"kadandale2020-four-{row}" for row in ("ebw-p1", "ebw-p1-direct", "ebw-p1-unfiltered")
    },
}
BASES = {"stoller2018", "hung2020", "hung2020-mm", "george2022", "doire2019", "kadandale2020"}
OTHERS = {"band", "band-start", "fine-tune", "doire2019-transfer"}

# what each row changes of the recipe that it extends, besides its name and its notes
DELTAS: dict[str, set[str]] = {
    "stoller2018-svd": {"weighting.alpha", "validation.best", "data.sets"},
    "stoller2018-svs": {
        "separator.config.detection",
        "weighting.alpha",
        "validation.best",
        "data.sets",
    },
    "stoller2018-mtl": {"procedure", "data.roles", "validation.best", "data.sets"},
    "stoller2018-replacement-1-without": set(),
    "stoller2018-replacement-2-without": {"data.sets"},
    "stoller2018-replacement-3-without": {"data.sets"},
    **{f"stoller2018-replacement-{k}": {"data.sampling.name", "data.sets"} for k in (1, 2, 3)},
    "hung2020-iass-3-blocks": {"separator.config.blocks", "data.sets"},
    "hung2020-iass-4-blocks": {"separator.config.blocks"},
    "hung2020-open-unmix": {
        "separator.name",
        "data.sets",
        "data.swap_stems",
        "schedule.cooldown",
        "stop.epochs",
    },
    "hung2020-mm-iass": {"data.sets"},
    "hung2020-mm-iass-no-activity": {"separator.config.activity"},
    "hung2020-mm-open-unmix": {
        "separator.name",
        "separator.config.channels",
        "data.sets",
        "schedule.cooldown",
        "stop.epochs",
    },
    "george2022-open-unmix": set(),
    "george2022-l1": {"objective.name"},
    "george2022-dual": {"objective.name", "objective.magnitude"},
    "george2022-transformer": {"separator.name"},
    "george2022-time-domain": {
        "separator.name",
        "separator.config.sample_rate",
        "objective.name",
        "objective.magnitude",
    },
    "doire2019-simultaneous": {"data.sets"},
    "doire2019-interleaved": {
        "procedure",
        "data.sets",
        "data.sampling.name",
        "data.sampling.drop_silent",
    },
    "doire2019-interleaved-accumulated": {"procedure"},
    "doire2019-independent": {"procedure", "separator.config.separate"},
    "doire2019-encoder-plus": {"separator.config.plus"},
    "doire2019-transfer": {
        "separator.sources",
        "separator.keep",
        "separator.freeze",
        "data.sets",
        "data.sampling.name",
        "data.sampling.drop_silent",
    },
    "kadandale2020-voice-unit": {"separator.sources", "data.groups"},
    "kadandale2020-four-unit": {"separator.sources", "data.groups"},
    "kadandale2020-four-ebw-p1-direct": {"objective.name"},
    "kadandale2020-four-ebw-p1-unfiltered": {"data.sampling.drop_silent"},
}
for _part in ("voice", "four"):
    for _row in ("dwa", "ebw-p1", "ebw-inst-p1", "oh"):
        DELTAS[f"kadandale2020-{_part}-{_row}"] = {"weighting.name"}
    DELTAS[f"kadandale2020-{_part}-ebw-p2"] = {"weighting.name", "optimiser.learning_rate"}
    DELTAS[f"kadandale2020-{_part}-dedicated"] = {
        "separator.sources",
        "separator.config.dedicated",
        "data.mix",
    }
    DELTAS[f"kadandale2020-{_part}-c-u-net"] = {
        "separator.name",
        "weighting.name",
        "steps",
        "batch",
    }

# published or settled numbers of trainable parameters
PARAMETERS = {
    "stoller2018-mtl": 3_453_863,
    "stoller2018-svs": 3_449_440 + 36,
    "hung2020-iass-3-blocks": 3_205_682,
    "hung2020-iass-4-blocks": 3_408_170,
    "hung2020-open-unmix": 8_893_348,
    "hung2020-mm-iass": 3_205_682,
    "hung2020-mm-iass-no-activity": 3_205_682 - 7_137,
    "george2022-open-unmix": 8_893_348,
    "george2022-transformer": 13_620_644,
    "george2022-time-domain": 14_054_726,
    "doire2019-simultaneous": 3_477_976,
    "doire2019-independent": 7_948_168,
    "doire2019-encoder-plus": 1_518_560 + 4 * 500_818,
    "kadandale2020-voice-dedicated": 124_448_673,
    "kadandale2020-voice-unit": 124_448_706,
    "kadandale2020-four-unit": 124_448_772,
    "kadandale2020-four-c-u-net": 162_004_129,
}


def build(recipe: Recipe) -> Separator:
    sources = {} if recipe.separator.sources is None else {"sources": recipe.separator.sources}
    return outline(recipe.separator.name, **sources, **recipe.separator.config)


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        whole = prefix in ("data.", "validation.") and key in ("sets", "roles", "groups", "best")
        if isinstance(value, dict) and not whole:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def changes(name: str, base: str, scale: str = "full") -> set[str]:
    """Keys whose values differ between two recipes, but for name and notes."""
    one, other = (flat(load_recipe(each, (), scale).model_dump()) for each in (name, base))
    keys = (one.keys() | other.keys()) - {"name", "notes"}
    return {key for key in keys if one.get(key) != other.get(key)}


def rows() -> set[str]:
    return {recipe for table in ROWS.values() for recipe in table.values()}


def test_there_is_a_recipe_for_every_row_and_none_besides() -> None:
    assert rows() | BASES | OTHERS == set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads_in_every_scale_under_its_own_name(name: str) -> None:
    steps = []
    for scale in SCALES:
        recipe = load_recipe(name, (), scale)
        assert recipe.name == name
        assert recipe.notes.strip()
        assert recipe.precision in ("fp32", "bf16" if name.startswith("band") else "fp32")
        steps.append(recipe.steps)
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] <= 4


@pytest.mark.parametrize("name", sorted(DELTAS))
def test_a_row_changes_what_it_is_about_and_nothing_else(name: str) -> None:
    base = recipe_bases(name)[0]
    assert changes(name, base) == DELTAS[name]


def test_every_row_is_a_delta_on_the_base_of_its_paper() -> None:
    for name in rows() | {"doire2019-transfer"}:
        assert recipe_bases(name)[-1] in BASES, name
        assert name in DELTAS


@pytest.mark.parametrize("scale", SCALES)
def test_rows_of_a_table_share_seed_and_budget(scale: str) -> None:
    for table, recipes in ROWS.items():
        loaded = [load_recipe(name, (), scale) for name in recipes.values()]
        # conditions multiply a batch: C-U-Net has smaller batches and more steps
        seen = {
            (recipe.steps * recipe.batch, recipe.seed, recipe.data.seconds) for recipe in loaded
        }
        assert len(seen) == 1, table
        rates = {recipe.optimiser.learning_rate for recipe in loaded if "ebw-p2" not in recipe.name}
        assert len(rates) == 1, table
        assert len({recipe.validation.excerpts for recipe in loaded}) == 1, table


@pytest.mark.parametrize("scale", ["full", "small"])  # a batch of 2 cannot be shared among 4
def test_a_conditioned_network_sees_as_many_pairs_in_an_update(scale: str) -> None:
    for part in ("voice", "four"):
        other = load_recipe(f"kadandale2020-{part}-unit", (), scale)
        conditioned = load_recipe(f"kadandale2020-{part}-c-u-net", (), scale)
        count = len(other.separator.sources or ())
        assert conditioned.batch * count == other.batch
        assert conditioned.steps == other.steps * count


@pytest.mark.parametrize("scale", ["full", "smoke"])
@pytest.mark.parametrize("name", recipe_names())
def test_recipes_name_only_what_there_is(name: str, scale: str) -> None:
    recipe = load_recipe(name, (), scale)
    separator = build(recipe)  # ModelError for an unknown network or option
    data = recipe.data
    mix = set(data.mix or separator.sources)
    assert set(separator.sources) <= mix
    stems = set(data.groups) | ({"vocals", "drums", "bass", "other", "piano"} - set(data.groups))
    assert mix <= stems
    for parts in data.groups.values():
        assert set(parts) <= {"vocals", "drums", "bass", "other"}
    assert set(data.drop) <= mix
    assert set(data.roles) <= set(data.sets)
    assert set(data.weights) <= set(data.sets)
    assert set(data.sampling.options) <= set(signature(SCHEMES[data.sampling.name]).parameters)
    for figure in recipe.validation.best.values():
        assert figure in ("loss", "separation", "activity", "sdr", "auroc")
    if "activity" in recipe.validation.best.values() or "auroc" in recipe.validation.best.values():
        assert separator.activity_sources


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_published_networks_have_their_published_size(name: str) -> None:
    assert build(load_recipe(name)).parameter_count == PARAMETERS[name]


# the widths of IASS and Open-Unmix have different names, so their common bases have none; a network
# that is tuned is what it is
@pytest.mark.parametrize(
    "name", sorted({*recipe_names()} - {"hung2020", "hung2020-mm", "fine-tune"})
)
def test_smaller_scales_have_smaller_networks(name: str) -> None:
    full, small, smoke = (build(load_recipe(name, (), scale)).parameter_count for scale in SCALES)
    assert full > small > smoke


@pytest.mark.parametrize(
    ("name", "seconds", "samples"),
    [
        ("stoller2018-mtl", "data", 221 * 256),
        ("stoller2018-mtl", "validation", 221 * 256),
        ("doire2019-simultaneous", "data", 128 * 512),
        ("doire2019-simultaneous", "validation", 128 * 512),
        ("kadandale2020-four-unit", "data", 255 * 256),
    ],
)
def test_excerpts_are_as_long_as_published(name: str, seconds: str, samples: int) -> None:
    recipe = load_recipe(name)
    separator = build(recipe)
    wanted = getattr(recipe, seconds).seconds * separator.sample_rate
    assert separator.grid.input_length(round(wanted)) == samples


def test_other_targets_are_an_override() -> None:
    for target in TARGETS:
        recipe = load_recipe("hung2020-iass-3-blocks", [f"separator.sources=[{target}]"])
        assert build(recipe).sources == (target,)
        assert target in (recipe.data.mix or ())
    for target in SIX:
        recipe = load_recipe("hung2020-mm-iass", [f"separator.sources=[{target}]"])
        assert build(recipe).sources == (target,)
        assert recipe.data.mix is None
    for target in ("vocals", "drums", "bass", "rest"):
        recipe = load_recipe("kadandale2020-four-dedicated", [f"separator.sources=[{target}]"])
        assert build(recipe).parameter_count == 124_448_673
        assert target in (recipe.data.mix or ())
