"""docs/recipes.md lists every key with its default, and every recipe."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from stemwise.training.recipe import load_recipe, recipe_names
from stemwise.training.sections import Recipe

PAGE = (Path(__file__).parents[2] / "docs/recipes.md").read_text(encoding="utf-8")
REQUIRED = "required"


def keys(model: type[BaseModel] = Recipe, prefix: str = "") -> dict[str, Any]:
    """Every key with its default, as YAML has it."""
    found: dict[str, Any] = {}
    defaults = model.model_construct().model_dump(mode="json", warnings=False)
    for name, field in model.model_fields.items():
        options = [field.annotation, *get_args(field.annotation)]
        inner = [one for one in options if isinstance(one, type) and issubclass(one, BaseModel)]
        if inner:
            found |= keys(inner[0], f"{prefix}{name}.")
        else:
            found[prefix + name] = REQUIRED if field.is_required() else defaults[name]
    return found


def rows() -> dict[str, str]:
    """Keys and defaults of the page's tables."""
    return dict(re.findall(r"^\| `([a-z_.]+)` \| `?([^|`]+)`? \|", PAGE, re.MULTILINE))


def test_the_page_has_every_key_and_no_other() -> None:
    assert sorted(rows()) == sorted(keys())


@pytest.mark.parametrize("key", keys())
def test_defaults_are_those_of_the_page(key: str) -> None:
    assert yaml.safe_load(rows()[key]) == keys()[key]


def test_the_page_has_every_recipe_and_no_other() -> None:
    papers = r"`((?:stoller|hung|george|doire|kadandale)20[0-9a-z-]+|band(?:-start)?|fine-tune)`"
    assert set(re.findall(papers, PAGE)) == set(recipe_names())


def test_the_example_of_a_delta_is_the_recipe(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    for number, block in enumerate(blocks):
        (tmp_path / f"{number}.yaml").write_text(block, encoding="utf-8")
    assert load_recipe(tmp_path / "0.yaml") == load_recipe("doire2019-interleaved-accumulated")
    assert load_recipe(tmp_path / "1.yaml").weighting.weights["activity"] == 0.5
