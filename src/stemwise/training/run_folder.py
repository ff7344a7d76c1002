"""The folder of a run: what it was started with, its log, its checkpoints and its models."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from stemwise import models
from stemwise.audio.part import PartFile, output_errors
from stemwise.data.track import Song
from stemwise.errors import DataError, OutputError, RecipeError
from stemwise.models.separator import Separator
from stemwise.stem_output import make_folder
from stemwise.training import statistics
from stemwise.training.checkpoint import list_checkpoints, load_state, restore_best, save_checkpoint
from stemwise.training.recipe import parse_recipe
from stemwise.training.sections import Recipe


class RunFolder:
    """Where a run keeps what it makes.

    Args:
        path: the folder; made by `begin`.
        recipe: of the run.
    """

    def __init__(self, path: str | Path, recipe: Recipe) -> None:
        self.path, self.recipe = Path(path), recipe

    def newest(self, resume: bool) -> Path | None:
        """The checkpoint to go on from; None begins anew.

        Raises OutputError where there is one and the run is not to be resumed.
        """
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path} is a file; give a folder")
        checkpoints = list_checkpoints(self.checkpoints)
        if checkpoints and not resume:
            raise OutputError(
                f"{self.path} holds a run already; use --resume {self.path} to continue it, "
                "or another folder"
            )
        return checkpoints[-1] if checkpoints else None

    def read(self, checkpoint: Path, tracks: str, new_tracks: bool) -> dict[str, Any]:
        """State of a checkpoint of this run.

        tracks: fingerprint of the present training songs; new_tracks: whether they may be others.

        Raises DataError for other songs, ModelError for a checkpoint that cannot be read.
        """
        state = load_state(checkpoint)
        if state["tracks"] != tracks and not new_tracks:
            raise DataError(
                "the training songs are not those the run was started with; "
                "restore them, or continue on the new ones with --new-tracks"
            )
        if state["average"] is not None and self.recipe.ema is None:
            raise RecipeError("the checkpoint has averaged weights; keep `ema` in the recipe")
        return state

    def begin(self, checkpoint: Path | None) -> None:
        """Make the folder, write the recipe, bring the best models back to the checkpoint's."""
        make_folder(self.path)
        if checkpoint is not None:
            restore_best(checkpoint, self.path)
        with PartFile(self.path / "recipe.yaml") as part, output_errors(part.path):
            part.temporary.write_text(self.recipe.dump(), encoding="utf-8")

    def save(
        self, separator: Separator, state: dict[str, Any], metadata: dict[str, Any], best: list[str]
    ) -> Path:
        """Write a checkpoint; see `save_checkpoint`. best: names of the best models there are."""
        files = [self.model(name) for name in best]
        keep = self.recipe.checkpoint.keep
        return save_checkpoint(self.checkpoints, separator, state, keep, metadata, files)

    def save_model(self, name: str, separator: Separator, metadata: dict[str, Any]) -> Path:
        """Write a model of the run."""
        models.save(separator, self.model(name), **metadata)
        return self.model(name)

    def model(self, name: str) -> Path:
        """Where the model of a name is."""
        return self.path / f"{name}.safetensors"

    @property
    def statistics(self) -> Path:
        """Where what was measured of the training data is."""
        return self.path / statistics.FILE

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"


def changes(state: Mapping[str, Any], recipe: Recipe) -> list[str]:
    """What a resumed run does otherwise than before, e.g. "steps 100 -> 200".

    Raises RecipeError where the checkpoint's weights would not fit.
    """
    if recipe.steps < state["step"]:
        raise RecipeError(
            f"the run has done {state['step']} steps already, and steps={recipe.steps} is less: "
            "name more steps to go on"
        )
    old = parse_recipe(yaml.safe_load(state["recipe"]))
    for key in ("separator", "sample_rate", "procedure"):
        if getattr(old, key) != getattr(recipe, key):
            raise RecipeError(
                f"the run was started with another '{key}'; keep it, or start in another folder"
            )
    for key in ("weighting", "optimiser"):
        before, after = getattr(old, key).name, getattr(recipe, key).name
        if before != after:
            raise RecipeError(
                f"the run was started with {key}.name {before}, whose state {after} cannot take "
                "over; keep it, or start in another folder"
            )
    before, after = _flat(old.model_dump(mode="json")), _flat(recipe.model_dump(mode="json"))
    keys = sorted(before.keys() | after.keys())
    return [
        f"{key} {before.get(key)} -> {after.get(key)}"
        for key in keys
        if before.get(key) != after.get(key) and key not in ("name", "notes")
    ]


def fingerprint(tracks: Sequence[Song]) -> str:
    """Changes when a track is added, removed, renamed or gets another length."""
    digest = hashlib.sha256()
    for track in tracks:
        digest.update(f"{track.name}\0{track.samples}\0{sorted(track.stems)}\n".encode())
    return digest.hexdigest()


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
