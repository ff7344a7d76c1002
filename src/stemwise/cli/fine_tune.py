"""`stemwise fine-tune`: train a model further on songs of one's own."""

from __future__ import annotations

from typing import Annotated

import typer

from stemwise.cli.options import Device
from stemwise.cli.train import (
    Data,
    Minutes,
    Out,
    Overrides,
    Processes,
    TensorBoard,
    run_recipe,
)


def fine_tune(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A model of `stemwise models`, or a checkpoint's path."
        ),
    ],
    overrides: Overrides = None,
    data: Data = None,
    out: Out = None,
    device: Device = "auto",
    devices: Processes = 1,
    minutes: Minutes = None,
    tensorboard: TensorBoard = False,
) -> None:
    """Train a model further on songs of one's own, at a low learning rate.

    The model's own recipe holds where it fits. Some songs are held out to choose the best model by,
    where the folder holds out none. `stemwise train --resume DIR` goes on.
    """
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
