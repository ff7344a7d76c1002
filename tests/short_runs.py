"""Training runs of seconds, and what is compared between two of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml

from stemwise.data.folder import read_folder
from stemwise.models.separator import Separator
from stemwise.training.checkpoint import list_checkpoints, load_state
from stemwise.training.log import read_log
from stemwise.training.recipe import parse_recipe
from stemwise.training.sections import Recipe
from stemwise.training.trainer import Trainer

NETWORK: dict[str, Any] = {
    "widths": [4, 4, 4, 4, 4],
    "depth": 1,
    "squeezed": 2,
    "hidden": 4,
    "sample_rate": 22050,
}
"""The real network at its smallest."""
TIMINGS = ("excerpts_per_second", "loader_wait")


def recipe(**changes: Any) -> Recipe:
    """A short run that uses every part: remix, gains, average, clipping, both tasks."""
    return parse_recipe(
        {
            "name": "test",
            "separator": {"name": "band-unet"},
            "steps": 6,
            "batch": 2,
            "data": {
                "seconds": 0.5,
                "remix": 0.5,
                "gain_db": 2,
                "swap": 0.5,
                "drop": {"bass": 0.2},
            },
            "objective": {"name": "spectral"},
            "weighting": {"weights": {"separation": 1.0, "activity": 0.1}},
            "optimiser": {"learning_rate": 0.02, "weight_decay": 0.01, "clip": 1.0},
            "schedule": {"warmup": 2, "decay": 0.5},
            "ema": {"decay": 0.9},
            "validation": {"every": 3, "excerpts": 4, "seconds": 1.0},
            "checkpoint": {"every": 3, "minutes": None},
            "log_every": 1,
            "threads": 1,
            **changes,
        }
    )


def make_trainer(
    separator: Separator, songs: Path, folder: Path, changed: Recipe | None = None, **options: Any
) -> Trainer:
    """A trainer on the CPU with the songs of the folder's two splits."""
    return Trainer(
        changed or recipe(),
        read_folder(songs, "train"),
        read_folder(songs, "validation"),
        folder,
        device="cpu",
        separator=separator,
        **options,
    )


def write_recipe(path: Path, **changes: Any) -> Path:
    """The same recipe with a network of the registry, for runs by command."""
    values = recipe(**changes).model_dump(mode="json")
    if "separator" not in changes:
        values["separator"] = {"name": "band-unet", "config": NETWORK}
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def command(recipe_file: Path, songs: Path, out: Path, *more: str) -> list[str]:
    """Arguments of `stemwise` that train on the CPU."""
    return ["train", str(recipe_file), "--data", str(songs), "--out", str(out), "-d", "cpu", *more]


def state_of(folder: Path) -> dict[str, Any]:
    """State of a run's newest checkpoint."""
    return load_state(list_checkpoints(folder / "checkpoints")[-1])


def rows_of(folder: Path) -> list[tuple[int, str, dict[str, float]]]:
    """Rows of a run's log without how fast it was."""
    return [
        (step, kind, {k: v for k, v in figures.items() if k not in TIMINGS})
        for step, kind, figures in read_log(folder / "log.csv")
    ]


def assert_same_run(a: dict[str, Any], b: dict[str, Any]) -> None:
    """Every tensor and number of two checkpoints is equal, bit for bit."""
    assert a.keys() == b.keys()
    for key in a.keys() - {"recipe"}:
        _assert_equal(a[key], b[key], key)


def _assert_equal(a: Any, b: Any, where: str) -> None:
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            _assert_equal(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), where
        for i, (one, other) in enumerate(zip(a, b, strict=True)):
            _assert_equal(one, other, f"{where}[{i}]")
    else:
        assert a == b, where
