"""Recipes: deltas, overrides, and mistakes that are named with what was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from stemwise.errors import RecipeError
from stemwise.training.recipe import load_recipe, parse_recipe, recipe_names

MINIMAL = {"name": "x", "separator": {"name": "band-unet"}, "steps": 3, "batch": 2}


@pytest.mark.parametrize("name", recipe_names())
def test_every_packaged_recipe_is_valid_and_survives_its_dump(name: str) -> None:
    recipe = load_recipe(name)
    assert parse_recipe(yaml.safe_load(recipe.dump())) == recipe


def test_the_default_recipe_is_there() -> None:
    recipe = load_recipe("band")
    assert recipe.separator.name == "band-unet"
    assert recipe.sample_rate == 22050
    assert recipe.data.drop["vocals"] == 0.15


def test_overrides_reach_nested_keys() -> None:
    recipe = load_recipe("band", ["data.remix=0.25", "steps=7", "separator.config.depth=1"])
    assert (recipe.data.remix, recipe.steps) == (0.25, 7)
    assert recipe.separator.config == {**load_recipe("band").separator.config, "depth": 1}
    assert recipe.data.swap == load_recipe("band").data.swap


def test_a_recipe_is_a_delta_on_another(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(yaml.safe_dump({**MINIMAL, "data": {"remix": 0.5}}))
    (tmp_path / "delta.yaml").write_text("extends: base.yaml\nname: y\ndata: {swap: 0.5}\n")
    recipe = load_recipe(tmp_path / "delta.yaml")
    assert (recipe.name, recipe.data.remix, recipe.data.swap) == ("y", 0.5, 0.5)
    (tmp_path / "band2.yaml").write_text("extends: band\nname: band2\nseed: 4\n")
    assert load_recipe(tmp_path / "band2.yaml").seed == 4


def test_a_recipe_that_extends_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(RecipeError, match="extends itself"):
        load_recipe(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.remx=0.3", r"unknown key 'data\.remx'; the nearest valid key is 'remix'"),
        ("learning_rate=1", "unknown key 'learning_rate'"),
        ("optimiser.lerning_rate=1", "nearest valid key is 'learning_rate'"),
        ("data.remix=1.5", r"'data\.remix' is wrong: .*less than or equal to 1"),
        ("steps=many", "'steps' is wrong"),
        ("steps", "not of the form key=value"),
        ("steps.more=1", "'steps' is a value, not a section"),
        ("ema.deca=0.9", "nearest valid key is 'decay'"),
    ],
)
def test_mistakes_are_named(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("band", [override])


def test_options_of_another_objective_are_refused(tmp_path: Path) -> None:
    for objective, key, owners in (
        ({"name": "spectral", "magnitude": True}, "magnitude", "'l1' and 'mse'"),
        ({"name": "l1", "complex_weight": 0.3}, "complex_weight", "'spectral'"),
        ({"name": "mse", "floor": 0.1}, "floor", "'spectral'"),
    ):
        sentence = f"'{key}' belongs to the objective {owners}, not to '{objective['name']}'"
        with pytest.raises(RecipeError, match=f"'objective' is wrong: {sentence}: remove it$"):
            parse_recipe({**MINIMAL, "objective": objective})
    base = {**MINIMAL, "objective": {"name": "spectral", "complex_weight": 0.3}}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    # another name leaves the options of the first behind, but not those given with it
    assert load_recipe(tmp_path / "base.yaml", ["objective.name=l1"]).objective.name == "l1"
    with pytest.raises(RecipeError, match="'complex_weight' belongs to"):
        load_recipe(tmp_path / "base.yaml", ["objective.complex_weight=0.2", "objective.name=l1"])


def test_missing_keys_and_recipes_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="lacks the key 'steps'"):
        parse_recipe({key: value for key, value in MINIMAL.items() if key != "steps"})
    with pytest.raises(RecipeError, match=r"there is no recipe bnd, .* the nearest name is 'band'"):
        load_recipe("bnd")
    with pytest.raises(RecipeError, match=r"there is no recipe band\.yaml: no such file"):
        load_recipe("band.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1\n")
    with pytest.raises(RecipeError, match="not valid YAML"):
        load_recipe(tmp_path / "bad.yaml")
