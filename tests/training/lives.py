"""Runs a recipe in one process after another, each killed somewhere, until one reaches the end.

python lives.py RECIPE SONGS FOLDER SEED: prints how each process ended. A process of its own, so
that the children it forks begin with nothing but PyTorch imported.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import stemwise.training.trainer as under_test  # noqa: E402
from conftest import TinySeparator  # noqa: E402
from short_runs import make_trainer  # noqa: E402
from stemwise.training import checkpoint  # noqa: E402
from stemwise.training.recipe import parse_recipe  # noqa: E402


def die(*_: Any, **__: Any) -> None:
    """End this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def in_the_midst(owner: Any, name: str, calls: int) -> None:
    """Die in the call number `calls` of a function, before it has done anything."""
    original: Callable[..., Any] = getattr(owner, name)
    count = 0

    def counting(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        return die() if count == calls else original(*arguments, **options)

    setattr(owner, name, counting)


def half_written(calls: int) -> None:
    """Die with half of a checkpoint's state on disk."""
    original, count = torch.save, 0

    def counting(state: Any, file: Any) -> None:
        nonlocal count
        count += 1
        original(state, file)
        if count == calls:
            file.flush()
            file.truncate(file.tell() // 2)
            die()

    torch.save = counting


DEATHS: list[Callable[[], None]] = [
    lambda: in_the_midst(torch.optim.AdamW, "step", 4),
    lambda: in_the_midst(under_test, "validate", 1),
    lambda: in_the_midst(os, "fsync", 3),
    lambda: half_written(2),
    lambda: in_the_midst(checkpoint, "_remove", 2),
]
"""Those that come soonest first, so that a short run meets as many as possible."""


def live(recipe_file: Path, songs: Path, folder: Path, death: Callable[[], None] | None) -> None:
    """One process of the run."""
    recipe = parse_recipe(yaml.safe_load(recipe_file.read_text()))
    torch.set_num_threads(1)
    torch.manual_seed(0)
    separator = TinySeparator()
    torch.manual_seed(os.getpid())  # what a process drew before must not matter
    trainer = make_trainer(separator, songs, folder, recipe, resume=True)
    if death is not None:
        death()
    trainer.run()


def main() -> None:
    """See the module."""
    recipe_file, songs, folder = (Path(text) for text in sys.argv[1:4])
    rng = random.Random(int(sys.argv[4]))
    # those by the clock come last: on a fast machine the run may be over before one of them
    deaths: list[Callable[[], None] | float] = [*DEATHS, *(rng.random() for _ in range(3))]
    for death in [*deaths, None]:
        child = os.fork()
        if child == 0:
            if isinstance(death, float):
                threading.Timer(0.1 + death, die).start()
            live(recipe_file, songs, folder, death if callable(death) else None)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        newest = checkpoint.list_checkpoints(folder / "checkpoints")
        print(os.waitstatus_to_exitcode(status), newest[-1].name if newest else "none", flush=True)
        if status == 0:
            return


if __name__ == "__main__":
    main()
