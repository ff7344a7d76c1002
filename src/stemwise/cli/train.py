"""`stemwise train`: learn a separator from data sets, and go on with a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stemwise.cli.options import Device

if TYPE_CHECKING:
    from stemwise.training.sections import Recipe
    from stemwise.training.start import Start


Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="SET",
        help="Training songs: a store, a folder, KIND=ROOT or NAME=SET; repeatable.",
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe.")
]
Out = Annotated[
    Path | None, typer.Option("-o", "--out", help="Folder for checkpoints, logs and models.")
]
Processes = Annotated[
    int, typer.Option("--devices", min=1, help="Processes of this machine that train together.")
]
Minutes = Annotated[
    float | None, typer.Option(min=0, help="Stop after this time; train --resume continues.")
]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard logs.")]


def train(
    recipe: Annotated[
        str | None, typer.Argument(help="Recipe: a YAML file or a name, e.g. band.")
    ] = None,
    overrides: Overrides = None,
    data: Data = None,
    validation: Annotated[
        list[str] | None,
        typer.Option(metavar="SET", help="Held-out songs [the split validation of --data]."),
    ] = None,
    out: Out = None,
    scale: Annotated[
        str, typer.Option(help="Size of the run: full, or one that the recipe has, e.g. small.")
    ] = "full",
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume", metavar="DIR", help="Go on with the run in DIR; only changes are named."
        ),
    ] = None,
    new_tracks: Annotated[
        bool, typer.Option("--new-tracks", help="With --resume: accept changed training tracks.")
    ] = False,
    device: Device = "auto",
    devices: Processes = 1,
    minutes: Minutes = None,
    tensorboard: TensorBoard = False,
) -> None:
    """Train a recipe on stores or folders of tracks (<track>/<source>.wav or .flac)."""
    from stemwise.training.recipe import load_recipe

    if resume is not None:
        loaded, start = _continued(resume, recipe, overrides or (), data, validation, scale)
        if out is not None and out.resolve() != resume.resolve():
            raise typer.BadParameter("a run goes on in its own folder: leave --out away")
        out = resume
    else:
        if recipe is None or not data or out is None:
            raise typer.BadParameter(
                "name a recipe, training songs with --data and a folder with --out "
                "(or --resume DIR to go on with a run)"
            )
        loaded = _placed(load_recipe(recipe, overrides or (), scale))
        start = _named(data, validation)
    run_recipe(
        loaded,
        start,
        out,
        device=device,
        devices=devices,
        resume=resume is not None,
        new_tracks=new_tracks,
        minutes=minutes,
        tensorboard=tensorboard,
    )


def run_recipe(
    recipe: Recipe,
    start: Start,
    out: Path,
    *,
    device: str = "auto",
    devices: int = 1,
    resume: bool = False,
    new_tracks: bool = False,
    minutes: float | None = None,
    tensorboard: bool = False,
    notes: Sequence[str] = (),
) -> None:
    """Run a recipe in a folder, in as many processes as are wanted, and say how it ended.

    notes: told when it begins.
    """
    from stemwise.training.launching import join_processes
    from stemwise.training.trainer import Trainer

    join_processes(devices)
    tracks, held_out = start.songs()
    trainer = Trainer(
        recipe,
        tracks,
        held_out,
        out,
        device=device,
        resume=resume,
        new_tracks=new_tracks,
        tensorboard=tensorboard,
    )
    first = trainer.hardware.first
    if first:
        start.write(out)
        if trainer.too_short:
            shown = ", ".join(trainer.too_short[:3]) + (" ..." if trainer.too_short[3:] else "")
            typer.echo(
                f"{len(trainer.too_short)} of the training songs are shorter than an excerpt of "
                f"{recipe.data.seconds:g} s and left out: {shown}",
                err=True,
            )
        for note in notes:
            typer.echo(note, err=True)
        if trainer.changed:
            changed = ", ".join(trainer.changed)
            typer.echo(f"resuming at step {trainer.step} with {changed}", err=True)
    result = trainer.run(minutes)
    if first:
        state = "finished" if result.finished else f"stopped; --resume {out} continues"
        typer.echo(f"{state} at step {result.step}: {result.model}")
        absent = [name for name in recipe.validation.best if name not in result.models]
        if absent and held_out:
            figures = ", ".join(recipe.validation.best[name] for name in absent)
            typer.echo(
                f"no validation gave {figures}, so there is no {', '.join(absent)}.safetensors: "
                "hold out songs that have what it takes, or name another figure in "
                "validation.best",
                err=True,
            )


def _continued(
    folder: Path,
    recipe: str | None,
    overrides: Sequence[str],
    data: Sequence[str] | None,
    validation: Sequence[str] | None,
    scale: str,
) -> tuple[Recipe, Start]:
    """Recipe and songs of the run in `folder`, with what the command line changes."""
    from dataclasses import replace

    from stemwise.errors import OutputError
    from stemwise.training.recipe import load_recipe
    from stemwise.training.start import Start

    given = [*([] if recipe is None else [recipe]), *overrides]
    named = [text for text in given if "=" not in text]
    if named or scale != "full":
        raise typer.BadParameter(
            "a run goes on with its own recipe: leave "
            f"{f'the recipe {named[0]!r}' if named else '--scale'} away, or change single keys "
            "with key=value"
        )
    kept = folder / "recipe.yaml"
    if not kept.is_file():
        raise OutputError(f"{folder} holds no run to resume: there is no recipe.yaml")
    if data:
        return load_recipe(kept, given), _named(data, validation)
    start = Start.read(folder)
    if validation:
        start = replace(start, validation=_named(validation, None).data)
    return load_recipe(kept, given), start


def _placed(recipe: Recipe) -> Recipe:
    """The recipe with the whole path of the file that it starts from."""
    section = recipe.separator
    if section.initial is None or not section.initial.is_file():
        return recipe
    whole = section.model_copy(update={"initial": section.initial.resolve()})
    return recipe.model_copy(update={"separator": whole})


def _named(data: Sequence[str], validation: Sequence[str] | None) -> Start:
    from stemwise.data.places import name_places
    from stemwise.training.start import Start, absolute

    return Start(absolute(name_places(data)), absolute(name_places(validation or ())))
