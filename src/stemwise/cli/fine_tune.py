"""`stemwise fine-tune`: train a model further on songs of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def fine_tune(
    model: Annotated[
        str, typer.Argument(help="A model of `stemwise models`, or a checkpoint's path.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="SET",
            help="Songs with stems: a folder, a store, KIND=ROOT or NAME=SET; repeatable.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder for checkpoints, logs and models.")
    ] = None,
    device: Annotated[str, typer.Option("-d", "--device", help="auto, cpu, cuda ...")] = "auto",
    devices: Annotated[
        int, typer.Option(min=1, help="Processes of this machine that train together.")
    ] = 1,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Stop after this time; train --resume continues.")
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard logs.")
    ] = False,
) -> None:
    """Train a model further on songs of one's own, at a low learning rate.

    The model's own recipe holds where it fits. Some songs are held out to choose the best model by,
    where the folder holds out none. `stemwise train --resume DIR` goes on.
    """
    from stemwise.cli.train import run_recipe
    from stemwise.data.places import name_places
    from stemwise.training.fine_tuning import prepare_fine_tuning
    from stemwise.training.start import absolute

    if not data or out is None:
        raise typer.BadParameter("name songs with --data and a folder with --out")
    places = absolute(name_places(data))
    recipe, start, notes = prepare_fine_tuning(model, places, overrides or ())
    run_recipe(
        recipe,
        start,
        out,
        device=device,
        devices=devices,
        minutes=minutes,
        tensorboard=tensorboard,
        notes=notes,
    )
