"""`stemwise recipes`: which trainings there are, and what one of them says."""

from __future__ import annotations

import re
import sys
from typing import Annotated, Any

import typer


def recipes(
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe, or a YAML file; else all of this package.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe.")
    ] = None,
    scale: Annotated[
        str, typer.Option("--scale", help="full, or smaller: small, smoke (a few steps).")
    ] = "full",
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the training recipes, or print one with all its defaults as YAML."""
    from stemwise.training.recipe import load_recipe, recipe_names

    if recipe is None:
        found = [_describe(name, scale) for name in recipe_names()]
        if json:
            _print_json(found)
        else:
            _print_table(found)
        return
    loaded = load_recipe(recipe, overrides or (), scale)
    if json:
        _print_json(loaded.model_dump(mode="json"))
        return
    for line in _origin(recipe):
        typer.echo(f"# {line}" if line else "#")
    typer.echo(loaded.dump(), nl=False)


def _describe(name: str, scale: str) -> dict[str, Any]:
    from stemwise.training.recipe import load_recipe, recipe_bases

    recipe = load_recipe(name, (), scale)
    return {
        "name": name,
        "extends": recipe_bases(name),
        "network": recipe.separator.name,
        "sources": None if recipe.separator.sources is None else list(recipe.separator.sources),
        "procedure": recipe.procedure,
        "objective": recipe.objective.name,
        "weighting": _weighting(recipe.weighting),
        "data": recipe.data.sets,
        "steps": recipe.steps,
        "batch": recipe.batch,
        "note": _first_sentence(recipe.notes),
        "notes": recipe.notes.strip(),
    }


def _weighting(section: Any) -> str:
    return f"blend {section.alpha:g}" if section.name == "blend" else str(section.name)


def _first_sentence(notes: str) -> str:
    """Up to the first semicolon, colon or full stop; that of an abbreviation is none."""
    words = " ".join(notes.split()).removesuffix(".")
    return re.split(r"[;:] |\. (?=[A-Z])", words, maxsplit=1)[0]


def _origin(recipe: str) -> list[str]:
    """What the recipes say that this one extends: a base's notes hold for it too."""
    from textwrap import wrap

    from stemwise.training.recipe import load_recipe, recipe_bases

    lines: list[str] = []
    for base in recipe_bases(recipe):
        lines += [*wrap(f"extends {base}: {load_recipe(base).notes}", 98), ""]
    return lines[:-1]


def _print_json(content: Any) -> None:
    from json import dumps

    typer.echo(dumps(content, indent=2, ensure_ascii=False))


def _print_table(found: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    piped = not sys.stdout.isatty()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("name", "network", "procedure", "weighting", "data", "note"):
        # a pipe has no width: whoever reads it wants whole lines
        table.add_column(title, no_wrap=piped or title == "name")
    for facts in found:
        table.add_row(
            facts["name"],
            facts["network"],
            facts["procedure"],
            facts["weighting"],
            ", ".join(facts["data"]) or "-",
            facts["note"],
        )
    Console(width=400 if piped else None, markup=False, highlight=False).print(table)
