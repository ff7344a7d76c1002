"""Mistakes in recipes and overrides are named with what was probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from stemwise.errors import ModelError, RecipeError
from stemwise.models import build
from stemwise.training.recipe import load_recipe, recipe_bases


@pytest.mark.parametrize(
    ("name", "override", "nearest"),
    [
        ("stoller2018-mtl", "data.groop=1", "groups"),
        ("stoller2018-mtl", "data.rolls={dsd100: separation}", "roles"),
        ("stoller2018-mtl", "validation.bset={a: sdr}", "best"),
        ("stoller2018-mtl", "weighting.alhpa=0.5", "alpha"),
        ("hung2020-mm-iass", "data.sampling.fewst=2", "fewest"),
        ("kadandale2020-four-dwa", "weighting.temprature=1", "temperature"),
        ("kadandale2020-four-dwa", "schedule.patiens=3", "patience"),
        ("doire2019-interleaved", "stop.epoch=3", "epochs"),
        ("doire2019-interleaved", "proceedure=joint", "procedure"),
        ("doire2019-transfer", "separator.freze=[]", "freeze"),
        ("george2022-dual", "objective.waveform_wieght=0.1", "waveform_weight"),
        ("fine-tune", "ema.decya=0.9", "decay"),
    ],
)
def test_a_misspelt_key_gives_the_nearest(name: str, override: str, nearest: str) -> None:
    key = override.partition("=")[0]
    with pytest.raises(RecipeError, match=rf"'{key}'; the nearest valid key is '{nearest}'"):
        load_recipe(name, [override])


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("stoller2018-mtl", "weighting.alpha=1.5", "weighting.alpha' is wrong"),
        ("stoller2018-mtl", "data.sampling.name=randomm", "nearest is 'random'"),
        ("stoller2018-svs", "data.sampling.source=vocals", "does not belong to 'random'"),
        ("kadandale2020-four-unit", "weighting.temperature=1", "belongs to the weighting 'dwa'"),
        ("kadandale2020-four-unit", "data.sampling.shares=[0.7, 0.1]", "'held_out' or 'shares'"),
        ("doire2019-interleaved", "data.sampling.shares=[0.9, 0.2]", "'shares' must be"),
        ("doire2019-interleaved", "stop.steps=5", "give 'epochs' or 'steps', not both"),
        ("doire2019-interleaved", "procedure=interleave", "'interleaved'"),
        ("band", "validation.best={last: sdr}", "a model cannot be called 'last'"),
    ],
)
def test_wrong_values_are_named(name: str, override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(name, [override])


def test_an_unknown_option_of_the_network_is_named() -> None:
    recipe = load_recipe("hung2020-iass-3-blocks", ["separator.config.blcks=4"])
    with pytest.raises(ModelError, match="no option 'blcks': did you mean 'blocks'"):
        build(recipe.separator.name, recipe.separator.sources, **recipe.separator.config)


def test_a_scale_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no scale 'tiny'; it has full, small, smoke"):
        load_recipe("stoller2018-mtl", (), "tiny")
    (tmp_path / "own.yaml").write_text("name: own\nseparator: {name: iass}\nsteps: 1\nbatch: 1\n")
    with pytest.raises(RecipeError, match=r"no scale 'smoke'; it has full$"):
        load_recipe(tmp_path / "own.yaml", (), "smoke")


def test_overrides_lie_over_scales_and_scales_over_the_recipe() -> None:
    small = load_recipe("stoller2018-svs", (), "small")
    assert small.separator.config == {"detection": False, "features": 8}
    changed = load_recipe("stoller2018-svs", ["separator.config.features=4", "steps=9"], "small")
    assert changed.separator.config == {"detection": False, "features": 4}
    assert (changed.steps, changed.batch) == (9, small.batch)


def test_one_s_own_delta_inherits_the_scales(tmp_path: Path) -> None:
    own = {"extends": "stoller2018-mtl", "name": "own", "weighting": {"alpha": 0.5}}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    recipe = load_recipe(tmp_path / "own.yaml", (), "smoke")
    assert (recipe.name, recipe.weighting.alpha) == ("own", 0.5)
    assert recipe.steps == load_recipe("stoller2018-mtl", (), "smoke").steps
    assert recipe_bases(tmp_path / "own.yaml") == ["stoller2018-mtl", "stoller2018"]


def test_a_circle_of_recipes_is_named(tmp_path: Path) -> None:
    for one, other in ("ab", "ba"):
        (tmp_path / f"{one}.yaml").write_text(f"extends: {other}.yaml\n")
    with pytest.raises(RecipeError, match="extends itself"):
        recipe_bases(tmp_path / "a.yaml")
