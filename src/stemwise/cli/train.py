"""`stemwise train`: learn a separator from folders of tracks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[str, typer.Argument(help="Recipe: a YAML file or a name, e.g. band.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="SET",
            help="Training songs: a store, a folder, KIND=ROOT or NAME=SET; repeatable.",
        ),
    ] = None,
    validation: Annotated[
        str | None, typer.Option(metavar="SET", help="Held-out songs [the split validation].")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder for checkpoints, logs and models.")
    ] = None,
    device: Annotated[str, typer.Option("-d", "--device", help="auto, cpu, cuda ...")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    new_tracks: Annotated[
        bool, typer.Option("--new-tracks", help="With --resume: accept changed training tracks.")
    ] = False,
    minutes: Annotated[
        float | None, typer.Option(help="Stop after this time; --resume continues.")
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard logs.")
    ] = False,
) -> None:
    """Train a recipe on stores or folders of tracks (<track>/<source>.wav or .flac)."""
    from stemwise.data.places import name_places, of_split
    from stemwise.errors import DataError, OutputError, StemwiseError
    from stemwise.training.recipe import load_recipe
    from stemwise.training.trainer import Trainer

    if not data or out is None:
        raise StemwiseError("training needs --data and --out; name a data set and a folder")
    loaded = load_recipe(recipe, overrides or ())
    sets = {name: place.songs() for name, place in name_places(data).items()}
    tracks = {name: of_split(songs, "train") for name, songs in sets.items()}
    for name, songs in tracks.items():
        if not songs:
            raise DataError(f"the data set '{name}' has no song of the split 'train'")
    if validation is not None:
        [held] = name_places([validation]).values()
        held_out = of_split(held.songs(), "validation")
        if not held_out:
            raise DataError(f"{validation} has no song of the split 'validation'")
    else:
        held_out = [song for one in sets.values() for song in one if song.split == "validation"]
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; give a folder")
    trainer = Trainer(
        loaded,
        tracks,
        held_out,
        out,
        device=device,
        resume=resume,
        new_tracks=new_tracks,
        tensorboard=tensorboard,
    )
    if trainer.changed:
        typer.echo(f"resuming at step {trainer.step} with {', '.join(trainer.changed)}", err=True)
    result = trainer.run(minutes)
    state = "finished" if result.finished else "stopped; --resume continues"
    typer.echo(f"{state} at step {result.step}: {result.model}")
