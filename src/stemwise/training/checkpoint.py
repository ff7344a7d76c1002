"""State of a run on disk: folders `step-NNNNNNNN` that appear whole or not at all.

A checkpoint folder holds `model.safetensors`, the network as it would be used now (averaged
weights where the recipe averages, the recipe in the header), `state.pt`, all that resuming needs
exactly (weights, optimiser, average, position, random numbers: tensors and plain values, read with
`weights_only=True`), and the best models as they were at that step. It is written under another
name and renamed, and leaves under another name.
"""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from stemwise import models
from stemwise.errors import ModelError, OutputError
from stemwise.models.separator import Separator

_PREFIX = "step-"
_BEST = "best."
VERSION = 2
"""Of the state's form."""


def save_checkpoint(
    folder: Path,
    separator: Separator,
    state: dict[str, Any],
    keep: int,
    metadata: dict[str, Any],
    best: Iterable[Path] = (),
) -> Path:
    """Write a checkpoint of state["step"] under `folder` and remove all but the newest `keep`.

    best: the run's best models, of which the checkpoint keeps the present state.

    Raises OutputError where it cannot be written; older checkpoints stay as they are.
    """
    final = folder / f"{_PREFIX}{state['step']:08d}"
    part = folder / f".{final.name}.{os.getpid()}.part"
    try:
        _sweep(folder)
        part.mkdir(parents=True)
        models.save(separator, part / "model.safetensors", **metadata)
        for path in best:
            _link(path, part / (_BEST + path.name))
        with (part / "state.pt").open("wb") as file:
            torch.save(state | {"version": VERSION}, file)
            file.flush()
            os.fsync(file.fileno())
        if final.exists():
            _remove(final)
        part.rename(final)
    except (OSError, RuntimeError, OutputError) as error:
        shutil.rmtree(part, ignore_errors=True)
        raise OutputError(
            f"the checkpoint {final} cannot be written ({_reason(error)}); {_last_good(folder)}"
        ) from error
    for old in list_checkpoints(folder)[:-keep]:
        _remove(old)
    return final


def list_checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints under `folder`, oldest first."""
    return sorted(folder.glob(f"{_PREFIX}*")) if folder.is_dir() else []


def load_state(path: Path) -> dict[str, Any]:
    """State of one checkpoint folder; ModelError when it cannot be read."""
    try:
        state: dict[str, Any] = torch.load(path / "state.pt", map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise ModelError(
            f"checkpoint {path} cannot be read ({reason}); delete it to resume from the one before"
        ) from error
    if not isinstance(state, dict) or state.get("version") != VERSION:
        raise ModelError(
            f"checkpoint {path} was written by another release of stemwise: resume with that one, "
            "or start a new run with its model as separator.initial"
        )
    return state


def restore_best(checkpoint: Path, folder: Path) -> None:
    """Bring the best models in `folder` back to what they were at a checkpoint."""
    for kept in checkpoint.glob(f"{_BEST}*"):
        part = folder / f".{kept.name}.part"
        part.unlink(missing_ok=True)
        _link(kept, part)
        part.replace(folder / kept.name.removeprefix(_BEST))
        part.unlink(missing_ok=True)  # renaming a file to another name of its own does nothing


def _link(source: Path, target: Path) -> None:
    """A second name for a file that is only ever replaced; a copy where names cannot be shared."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def _remove(checkpoint: Path) -> None:
    """Delete a checkpoint that no kill can leave half there under its own name."""
    leaving = checkpoint.with_name(f".{checkpoint.name}.{os.getpid()}.part")
    checkpoint.rename(leaving)
    shutil.rmtree(leaving)


def _sweep(folder: Path) -> None:
    """Delete what killed runs left unfinished."""
    for left in folder.glob(f".{_PREFIX}*.part"):
        shutil.rmtree(left, ignore_errors=True)


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.splitlines()[0].rstrip(".")


def _last_good(folder: Path) -> str:
    there = list_checkpoints(folder)
    if not there:
        return "there is none before it: make room and start again"
    return f"{there[-1].name} is whole: make room and resume"
