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
        list[Path] | None, typer.Option("--data", help="Folder of training tracks; repeatable.")
    ] = None,
    validation: Annotated[Path | None, typer.Option(help="Folder of held-out tracks.")] = None,
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
    """Train a recipe on folders of tracks (<track>/<source>.wav or .flac)."""
    from stemwise.data.folder import SPLITS, read_folder
    from stemwise.errors import OutputError, StemwiseError
    from stemwise.training.recipe import load_recipe
    from stemwise.training.trainer import Trainer

    if not data or out is None:
        raise StemwiseError("training needs --data and --out; name a folder for each")
    loaded = load_recipe(recipe, overrides or ())
    tracks = []
    for folder in data:
        split = "train" if (folder / "train").is_dir() else None
        tracks += read_folder(folder, split)
    if validation is not None:
        split = "validation" if (validation / "validation").is_dir() else None
        held_out = read_folder(validation, split)
    elif (data[0] / "train").is_dir() and (data[0] / SPLITS[1]).is_dir():
        held_out = read_folder(data[0], SPLITS[1])
    else:
        held_out = []
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
