"""Training recipes: validated YAML, one base and small deltas on it.

A recipe names a separator, the data's treatment, an objective, a weighting, a procedure, and how
long and how to validate. `extends` names another recipe that it changes; `key=value` arguments
change single keys (`data.remix=0.3`). `scales` holds changes by name that make a run smaller.
Unknown keys are errors that name the nearest valid key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from stemwise.errors import RecipeError, closest
from stemwise.training.sections import Recipe

FULL = "full"
_NAMED = ("objective", "weighting", "optimiser", "schedule", "sampling")


def load_recipe(recipe: str | Path, overrides: Iterable[str] = (), scale: str = FULL) -> Recipe:
    """Read a recipe file, or a recipe of this package by name, and apply `key=value` overrides.

    scale: "full", or the name of a set of changes that the recipe has under `scales` ("small",
    "smoke"), laid over it before the overrides.

    Raises:
        RecipeError: no such recipe or scale, an unknown key or a value out of range, naming the
            key.
    """
    values = _read(recipe, ())
    scales = values.pop("scales", {})
    if scale != FULL:
        if scale not in scales:
            known = ", ".join([FULL, *scales])
            raise RecipeError(f"recipe {recipe} has no scale '{scale}'; it has {known}")
        values = _merge(values, scales[scale])
    delta: dict[str, Any] = {}
    for override in overrides:
        _override(values, delta, override)
    return parse_recipe(_merge(values, delta))


def parse_recipe(values: Mapping[str, Any]) -> Recipe:
    """Validate a recipe given as nested mappings; RecipeError names the first wrong key."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(_explain(error)) from error


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("stemwise.recipes")
    return sorted(file.name[:-5] for file in folder.iterdir() if file.name.endswith(".yaml"))


def recipe_bases(recipe: str | Path) -> list[str]:
    """The recipes that a recipe extends, the nearest first."""
    bases = [_parsed(recipe)[1]]
    while bases[-1] is not None:
        _refuse_circle(bases[-1], (str(recipe), *map(str, bases[:-1])))
        bases.append(_parsed(bases[-1])[1])
    return [str(base) for base in bases[:-1]]


def _read(recipe: str | Path, seen: tuple[str, ...]) -> dict[str, Any]:
    """The recipe's values laid over those of the recipe it extends."""
    _refuse_circle(recipe, seen)
    values, base = _parsed(recipe)
    return values if base is None else _merge(_read(base, (*seen, str(recipe))), values)


def _refuse_circle(recipe: str | Path, seen: tuple[str, ...]) -> None:
    if str(recipe) in seen:
        raise RecipeError(f"recipe {recipe} extends itself; remove one `extends`")


def _parsed(recipe: str | Path) -> tuple[dict[str, Any], str | Path | None]:
    """What a recipe says itself, and the recipe that it extends."""
    text, folder = _text(recipe)
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"recipe {recipe} is not valid YAML{_where(error)}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"recipe {recipe} must be a mapping of keys to values")
    base = values.pop("extends", None)
    if base is None:
        return values, None
    beside = folder / str(base) if folder is not None else Path(str(base))
    return values, beside if beside.is_file() else str(base)


def _text(recipe: str | Path) -> tuple[str, Path | None]:
    path = Path(recipe)
    if path.is_file():
        return path.read_text(encoding="utf-8"), path.parent
    if path.suffix not in (".yaml", ".yml") and str(recipe) in recipe_names():
        file = resources.files("stemwise.recipes") / f"{recipe}.yaml"
        return file.read_text(encoding="utf-8"), None
    if path.suffix in (".yaml", ".yml"):
        raise RecipeError(f"there is no recipe {recipe}: no such file")
    near = closest(str(recipe), recipe_names(), cutoff=0.0)
    raise RecipeError(
        f"there is no recipe {recipe}, neither a file nor a name; the nearest name is '{near}', "
        "and `stemwise recipes` lists all"
    )


def _merge(base: Mapping[str, Any], delta: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in delta.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            # options belong to what is named, and go with it
            other = key in _NAMED and value.get("name", old.get("name")) != old.get("name")
            merged[key] = dict(value) if other else _merge(old, value)
        else:
            merged[key] = value
    return merged


def _override(values: Mapping[str, Any], delta: dict[str, Any], override: str) -> None:
    """Put one `key=value` into `delta`, which changes `values`."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"'{override}' is not of the form key=value, e.g. data.remix=0.3")
    *parents, last = key.split(".")
    section, old = delta, values
    for parent in parents:
        section, old = section.setdefault(parent, {}), old.get(parent, {})
        if not isinstance(section, dict) or not isinstance(old, Mapping):
            raise RecipeError(f"'{key}' cannot be set: '{parent}' is a value, not a section")
    try:
        section[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"the value of '{override}' is not valid YAML") from error


def _where(error: yaml.YAMLError) -> str:
    """What a YAML parser stumbled over, and in which line."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    place = f" in line {mark.line + 1}" if mark is not None else ""
    return place + (f": {problem}" if problem else "")


def _explain(error: ValidationError) -> str:
    """One sentence on the first mistake, with the nearest valid key for a misspelt one."""
    mistake = error.errors()[0]
    key = ".".join(str(part) for part in mistake["loc"])
    if mistake["type"] == "extra_forbidden":
        *parents, last = (str(part) for part in mistake["loc"])
        valid = _keys(parents)
        near = closest(last, valid, cutoff=0.0)
        return f"the recipe has an unknown key '{key}'; the nearest valid key is '{near}'"
    if mistake["type"] == "missing":
        return f"the recipe lacks the key '{key}'"
    if mistake["type"] == "value_error":  # a section's own sentence
        return f"the recipe's '{key}' is wrong: {mistake['ctx']['error']}"
    return f"the recipe's '{key}' is wrong: {mistake['msg']} (it is {mistake['input']!r})"


def _keys(parents: list[str]) -> list[str]:
    section: type[BaseModel] = Recipe
    for parent in parents:
        annotation = section.model_fields[parent].annotation
        for option in (annotation, *get_args(annotation)):
            if isinstance(option, type) and issubclass(option, BaseModel):
                section = option
    return list(section.model_fields)
