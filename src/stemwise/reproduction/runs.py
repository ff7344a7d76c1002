"""Trainings of a reproduction: each in a folder of its own, done once, continued when stopped."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stemwise.audio.part import PartFile
from stemwise.data.track import Song
from stemwise.errors import OutputError, StemwiseError
from stemwise.reproduction.experiments import Form, Training
from stemwise.reproduction.library import Library
from stemwise.training.recipe import load_recipe
from stemwise.training.sections import Recipe

DONE = "done.json"
_FOR_VALIDATION = "for validation"
"""Data sets of which a recipe says this are not trained on."""


class Interrupted(StemwiseError):  # noqa: N818  # it is no error to be asked to stop
    """A training that was stopped on request; the same command continues it."""


@dataclass(frozen=True)
class Run:
    """A finished training.

    Attributes:
        folder: of its log and its models.
        models: files by name, the best by each figure and "last".
        steps: taken.
        seconds: of the sitting that finished it; validation and reading included.
    """

    folder: Path
    models: dict[str, str]
    steps: int
    seconds: float

    def model(self, activity: bool) -> Path:
        """The network that is best at separation, or at activity, where the recipe tells them."""
        recipe = self.recipe
        for name, figure in recipe.validation.best.items():
            about_activity = figure.startswith(("auroc", "activity"))
            if about_activity == activity and name in self.models:
                return self.folder / self.models[name]
        first = next(name for name in self.models)
        return self.folder / self.models[first]

    @property
    def recipe(self) -> Recipe:
        """What was trained, with every default written out."""
        return load_recipe(self.folder / "recipe.yaml")


def run_training(
    training: Training,
    scale: str,
    library: Library,
    sets: Sequence[str],
    form: Form,
    root: Path,
    *,
    device: str = "auto",
    tell: Callable[[str], None] = lambda sentence: None,
) -> Run:
    """Train, unless it is done already; returns what was trained.

    sets: of the table, whose songs are dealt among them. Raises Interrupted where training was
    stopped on request, OutputError where the folder holds another training.
    """
    recipe = load_recipe(training.recipe, training.overrides, scale=scale)
    folder = root / "trainings" / training.name
    known = finished(folder, recipe)
    if known is not None:
        return known
    from stemwise.training.checkpoint import list_checkpoints
    from stemwise.training.trainer import Trainer

    tell(f"training {training.name}")
    form = replace(form, sample_rate=network_rate(recipe))
    tracks, validation = training_songs(recipe, library, sets, form)
    began = time.monotonic()
    resume = bool(list_checkpoints(folder / "checkpoints"))
    trainer = Trainer(recipe, tracks, validation, folder, device=device, resume=resume)
    if trainer.changed:
        raise OutputError(_other(folder))
    result = trainer.run()
    if not result.finished:
        raise Interrupted(
            f"the training {training.name} was stopped at step {result.step}: the same command "
            "goes on there"
        )
    models = {name: path.name for name, path in result.models.items()}
    done = Run(folder, models, result.step, time.monotonic() - began)
    content = {"models": models, "steps": done.steps, "seconds": done.seconds}
    with PartFile(folder / DONE) as part:
        part.temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(folder / "checkpoints")  # several times the size of the models, and of no use now
    return done


def finished(folder: Path, recipe: Recipe) -> Run | None:
    """A folder's training, if it is done; OutputError where it is one of other settings."""
    path = folder / DONE
    if not path.is_file():
        return None
    if load_recipe(folder / "recipe.yaml") != recipe:
        raise OutputError(_other(folder))
    content = json.loads(path.read_text(encoding="utf-8"))
    return Run(folder, content["models"], content["steps"], content["seconds"])


def network_rate(recipe: Recipe) -> int:
    """The sample rate at which a recipe trains, in hertz."""
    import torch

    from stemwise import models

    if recipe.sample_rate is not None:
        return recipe.sample_rate
    section = recipe.separator
    with torch.device("meta"):
        return models.build(section.name, section.sources, **section.config).sample_rate


def _other(folder: Path) -> str:
    return (
        f"{folder} holds a training with other settings (another scale or release, perhaps): "
        "choose another folder with -o"
    )


def training_songs(
    recipe: Recipe, library: Library, sets: Sequence[str], form: Form
) -> tuple[dict[str, list[Song]], list[Song]]:
    """Training songs by data set and validation songs, as the recipe's `data.sets` says.

    Sets "for validation" are not trained on. Songs that have labels only are validated on where
    the recipe keeps a model for activity. A recipe that holds excerpts out by itself has all.
    """
    wanted = recipe.data.sets
    detects = any(one.startswith(("auroc", "activity")) for one in recipe.validation.best.values())
    tracks: dict[str, list[Song]] = {}
    validation: list[Song] = []
    for name, what in wanted.items():
        train = library.songs(sets, name, "train", form)
        held = library.songs(sets, name, "validation", form)
        if recipe.validation.held_out:
            train, held = [*train, *held], []
        if _FOR_VALIDATION not in what and train:
            tracks[name] = train
        if detects or "stems" in what:
            validation += held
    return tracks, validation


def speed(run: Run) -> dict[str, float]:
    """Excerpts per second of a run, the median over its log, and seconds of one of its epochs."""
    from stemwise.training.log import read_log

    rows = read_log(run.folder / "log.csv")
    known = [row["excerpts_per_second"] for _, _, row in rows if "excerpts_per_second" in row]
    if not known:
        return {}
    rate = float(np.median(known))
    found = {"excerpts-per-second": rate}
    steps = [at for at, kind, _ in rows if kind == "epoch"]
    if steps:
        found["seconds-per-epoch"] = steps[0] * run.recipe.batch / rate
    return found
