"""`stemwise recipes`: the list, one in full, and no wait for PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer
import yaml
from typer.testing import CliRunner

from stemwise.cli.recipes import recipes
from stemwise.errors import RecipeError
from stemwise.training.recipe import load_recipe, parse_recipe, recipe_names

app = typer.Typer()
app.command()(recipes)


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_the_table_has_every_recipe_on_a_line_of_its_own() -> None:
    lines = run().splitlines()
    assert lines[0].split() == ["name", "network", "procedure", "weighting", "data", "note"]
    assert [line.split()[0] for line in lines[1:]] == recipe_names()
    at = lines[0].index("procedure")
    [mtl] = [line for line in lines if line.startswith("stoller2018-mtl")]
    assert mtl[at:].startswith("alternating  ")
    assert "blend 0.9" in mtl
    assert "dsd100, jamendo" in mtl


def test_the_list_as_json_says_which_data_and_what_it_extends() -> None:
    found = {one["name"]: one for one in json.loads(run("--json"))}
    assert set(found) == set(recipe_names())
    mtl = found["stoller2018-mtl"]
    assert mtl["data"] == {"dsd100": "stems", "jamendo": "when vocals sing"}
    assert mtl["extends"] == ["stoller2018"]
    assert mtl["sources"] == ["vocals", "accompaniment"]
    assert found["kadandale2020"]["sources"] is None
    assert found["stoller2018"]["note"].endswith("(Stoller et al. 2018, sections 3 and 3.3)")


def test_one_recipe_is_printed_whole_and_can_be_read_again() -> None:
    text = run("stoller2018-mtl", "steps=7", "--scale", "small")
    assert parse_recipe(yaml.safe_load(text)) == load_recipe(
        "stoller2018-mtl", ["steps=7"], "small"
    )
    assert text.startswith("# extends stoller2018: Joint U-Net")
    assert "betas:" in text  # defaults are written out


def test_one_recipe_as_json() -> None:
    values = json.loads(run("band", "--json"))
    assert parse_recipe(values) == load_recipe("band")


def test_an_unknown_recipe_or_scale_is_named() -> None:
    with pytest.raises(RecipeError, match=r"no recipe stoler2018-mtl, .* is 'stoller2018-mtl'"):
        run("stoler2018-mtl")
    with pytest.raises(RecipeError, match="no scale 'big'"):
        run("band", "--scale", "big")


def test_neither_list_nor_help_wait_for_torch() -> None:
    code = (
        "import sys, typer\n"
        "from stemwise.cli.recipes import recipes\n"
        "app = typer.Typer(); app.command()(recipes)\n"
        "app([], standalone_mode=False); app(['band'], standalone_mode=False)\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
