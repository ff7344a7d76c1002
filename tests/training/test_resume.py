"""Killed anywhere, a run goes on as if nothing had happened; a full disk costs no checkpoint."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from short_runs import (
    assert_same_run,
    command,
    make_trainer,
    recipe,
    rows_of,
    state_of,
    write_recipe,
)
from stemwise.cli import run
from stemwise.errors import ModelError, OutputError, RecipeError
from stemwise.models.separator import Separator
from stemwise.training.checkpoint import list_checkpoints, load_state
from stemwise.training.log import read_log

LIVES = Path(__file__).parent / "lives.py"
EVERYTHING = {
    "separator": {"name": "band-unet"},
    "steps": 22,
    "weighting": {"name": "gradnorm", "activity": 0.1},
    "schedule": {"name": "plateau", "warmup": 3, "patience": 0, "threshold": 0.05},
    "stop": {"epochs": 50},
    "epoch": {"steps": 4},
    "validation": {
        "every": 5,
        "excerpts": 4,
        "seconds": 0.5,
        "best": {"best": "loss", "ear": "sdr"},
    },
    "checkpoint": {"every": 2, "minutes": None},
    "log_every": 3,
}
"""Validation, log, epochs and checkpoints at steps of their own; every state that a run has."""
ROUNDS = {
    **EVERYTHING,
    "steps": 12,
    "procedure": "interleaved",
    "data": {"seconds": 0.5, "sampling": {"name": "independent"}, "gain_db": 2},
    "weighting": {"name": "dwa"},
    "ema": None,
}


@pytest.mark.parametrize(
    "changes",
    [EVERYTHING, ROUNDS],
    ids=["joint-gradnorm", "interleaved-dwa"],
)
def test_a_run_killed_anywhere_ends_as_one_that_was_not(
    songs: Path, tmp_path: Path, tiny: Separator, changes: dict[str, object]
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    make_trainer(tiny, songs, whole, recipe(**changes)).run()
    file = write_recipe(tmp_path / "r.yaml", **changes)
    command_line = [sys.executable, str(LIVES), str(file), str(songs), str(killed), "7"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    told = subprocess.run(
        command_line, env=environment, capture_output=True, text=True, timeout=240
    )
    ends = [line.split() for line in told.stdout.splitlines()]
    assert told.returncode == 0, told.stderr
    assert sum(end[0] == str(-signal.SIGKILL) for end in ends) >= 4, told.stdout + told.stderr
    assert ends[-1] == ["0", f"step-{changes['steps']:08d}"]
    assert_same_run(state_of(whole), state_of(killed))
    assert rows_of(whole) == rows_of(killed)
    assert {kind for _, kind, _ in rows_of(whole)} == {"train", "epoch", "validation"}
    for name in ("best", "ear", "last"):
        model = f"{name}.safetensors"
        assert (whole / model).read_bytes() == (killed / model).read_bytes(), name
    left = [path.name for path in killed.rglob(".*")]
    assert not [name for name in left if name.startswith(".step")], "what killed processes left"


def test_best_models_go_back_to_the_checkpoint(
    tiny: Separator, songs: Path, tmp_path: Path
) -> None:
    """A model that was the best after the newest checkpoint is no part of the run that goes on."""
    often = recipe(checkpoint={"every": 3, "minutes": None, "keep": 5})
    make_trainer(tiny, songs, tmp_path, often).run()
    first = tmp_path / "checkpoints" / "step-00000003"
    then = (first / "best.best.safetensors").read_bytes()
    (tmp_path / "best.safetensors").unlink()  # models are replaced, never written to
    (tmp_path / "best.safetensors").write_bytes(b"of a later step")
    shutil.rmtree(tmp_path / "checkpoints" / "step-00000006")
    trainer = make_trainer(tiny, songs, tmp_path, often, resume=True)
    assert trainer.step == 3
    assert (tmp_path / "best.safetensors").read_bytes() == then


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_costs_no_checkpoint(
    songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    file = write_recipe(tmp_path / "r.yaml", steps=4, checkpoint={"every": 2, "minutes": None})
    assert run(command(file, songs, out, "steps=2")) == 0
    good = state_of(out)
    capsys.readouterr()
    with largest_file(60_000):
        assert run(["train", "--resume", str(out), "-d", "cpu", "steps=4"]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("stemwise: the checkpoint ")
    assert "step-00000004 cannot be written" in said
    assert "step-00000002 is whole: make room and resume" in said
    [kept] = list_checkpoints(out / "checkpoints")
    assert_same_run(load_state(kept), good)
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-00000002"]
    assert run(["train", "--resume", str(out), "-d", "cpu"]) == 0
    assert state_of(out)["step"] == 4


def test_a_full_disk_under_the_log_is_said(tiny: Separator, songs: Path, tmp_path: Path) -> None:
    trainer = make_trainer(tiny, songs, tmp_path, recipe(steps=2, checkpoint={"minutes": 1}))
    with largest_file(100), pytest.raises(OutputError, match=r"log\.csv cannot be written"):
        trainer.run()


def test_a_damaged_checkpoint_is_named(tiny: Separator, songs: Path, tmp_path: Path) -> None:
    make_trainer(tiny, songs, tmp_path).run()
    file = list_checkpoints(tmp_path / "checkpoints")[-1] / "state.pt"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ModelError, match=r"step-00000006 cannot be read .*delete it"):
        make_trainer(tiny, songs, tmp_path, resume=True)
    shutil.rmtree(file.parent)
    assert make_trainer(tiny, songs, tmp_path, resume=True).step == 3


def test_a_checkpoint_of_another_release_is_refused(
    tiny: Separator, songs: Path, tmp_path: Path
) -> None:
    make_trainer(tiny, songs, tmp_path).run()
    file = list_checkpoints(tmp_path / "checkpoints")[-1] / "state.pt"
    torch.save({"step": 6}, file)
    with pytest.raises(ModelError, match="another release of stemwise"):
        make_trainer(tiny, songs, tmp_path, resume=True)


def test_a_checkpoint_of_another_recipe_is_refused(
    tiny: Separator, songs: Path, tmp_path: Path
) -> None:
    make_trainer(tiny, songs, tmp_path).run(minutes=0)
    for changes, sentence in (
        ({"separator": {"name": "joint-unet"}}, "another 'separator'"),
        ({"weighting": {"name": "dwa"}}, "weighting.name fixed, whose state dwa cannot take over"),
        ({"optimiser": {"name": "sgd"}}, "optimiser.name adamw, whose state sgd cannot"),
        ({"ema": None}, "averaged weights; keep `ema`"),
    ):
        with pytest.raises(RecipeError, match=sentence):
            make_trainer(tiny, songs, tmp_path, recipe(**changes), resume=True)


def test_a_run_that_was_stopped_early_stays_stopped(
    tiny: Separator, songs: Path, tmp_path: Path
) -> None:
    """No figure reaches what is noted as the best, so that patience decides."""
    hopeless = recipe(
        steps=50,
        epoch={"steps": 2},
        stop={"epochs": 2},
        validation={"every": None, "excerpts": 2, "seconds": 0.5, "best": {"best": "sdr/bass"}},
    )
    trainer = make_trainer(tiny, songs, tmp_path, hopeless)
    trainer.best.values["best"] = 1000.0
    (tmp_path / "best.safetensors").touch()
    result = trainer.run()
    assert (result.step, result.finished) == (4, True)
    again = make_trainer(tiny, songs, tmp_path, hopeless, resume=True).run()
    assert (again.step, again.finished) == (4, True)
    validated = [step for step, kind, _ in read_log(tmp_path / "log.csv") if kind == "validation"]
    assert validated == [2, 4], "every epoch"
