"""State of a run on disk: folders `step-NNNNNNNN` that appear whole or not at all.

A checkpoint folder holds `model.safetensors`, the network as it would be used now (averaged
weights where the recipe averages, the recipe in the header), and `state.pt`, all that resuming
needs exactly (weights, optimiser, average, position, random numbers: tensors and plain values, read
with `weights_only=True`). It is written under another name and renamed.
"""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import torch

from stemwise import models
from stemwise.errors import ModelError
from stemwise.models.separator import Separator

_PREFIX = "step-"


def save_checkpoint(
    folder: Path, separator: Separator, state: dict[str, Any], keep: int, metadata: dict[str, Any]
) -> Path:
    """Write a checkpoint of state["step"] under `folder` and remove all but the newest `keep`."""
    final = folder / f"{_PREFIX}{state['step']:08d}"
    part = folder / f".{final.name}.{os.getpid()}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    models.save(separator, part / "model.safetensors", **metadata)
    with (part / "state.pt").open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    if final.exists():
        shutil.rmtree(final)
    part.rename(final)
    for old in list_checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def list_checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints under `folder`, oldest first."""
    return sorted(folder.glob(f"{_PREFIX}*")) if folder.is_dir() else []


def load_state(path: Path) -> dict[str, Any]:
    """State of one checkpoint folder; ModelError when it cannot be read."""
    try:
        state: dict[str, Any] = torch.load(path / "state.pt", map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise ModelError(
            f"checkpoint {path} cannot be read ({error}); delete it to resume from the one before"
        ) from error
    return state
