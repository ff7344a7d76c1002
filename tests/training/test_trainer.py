"""Whole runs on seconds of audio: learning, exact resume, kills, stops, numbers that are not."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from short_runs import (
    NETWORK,
    assert_same_run,
    command,
    make_trainer,
    recipe,
    rows_of,
    state_of,
    write_recipe,
)
from stemwise import models
from stemwise.cli import run
from stemwise.data.folder import read_folder
from stemwise.errors import DataError, OutputError, RecipeError
from stemwise.models.separator import Separator
from stemwise.training.checkpoint import list_checkpoints, load_state
from stemwise.training.learner import NotFiniteError
from stemwise.training.log import read_log
from stemwise.training.trainer import Trainer


def fresh(tiny: Separator) -> Separator:
    """A new network with the same weights: the trainer changes the one it is given."""
    again = type(tiny)(**tiny.config)
    again.load_state_dict(tiny.state_dict())
    return again


def test_resumed_run_equals_the_uninterrupted_one(
    tiny: Separator, songs: Path, tmp_path: Path
) -> None:
    straight = make_trainer(fresh(tiny), songs, tmp_path / "a").run()
    assert straight.finished
    first = make_trainer(fresh(tiny), songs, tmp_path / "b").run(minutes=0)  # stops after a step
    assert (first.step, first.finished) == (1, False)
    torch.manual_seed(99)  # whatever happened in between
    second = make_trainer(fresh(tiny), songs, tmp_path / "b", resume=True).run()
    assert second.finished
    assert_same_run(state_of(tmp_path / "a"), state_of(tmp_path / "b"))
    assert rows_of(tmp_path / "a") == rows_of(tmp_path / "b")


@pytest.mark.parametrize("workers", [0, 2])
def test_runs_do_not_depend_on_reading_threads(
    tiny: Separator, songs: Path, tmp_path: Path, workers: int
) -> None:
    base = recipe()
    data = base.data.model_dump() | {"workers": workers}
    make_trainer(fresh(tiny), songs, tmp_path / "a", base).run()
    make_trainer(fresh(tiny), songs, tmp_path / "b", recipe(data=data)).run()
    assert_same_run(state_of(tmp_path / "a"), state_of(tmp_path / "b"))


def test_training_learns(tiny: Separator, songs: Path, tmp_path: Path) -> None:
    longer = recipe(
        steps=60,
        log_every=20,
        validation={"every": 20, "excerpts": 8, "seconds": 1.0},
        checkpoint={"every": 60},
    )
    result = make_trainer(tiny, songs, tmp_path, longer).run()
    rows = [figures for _, kind, figures in read_log(tmp_path / "log.csv") if kind == "validation"]
    assert len(rows) == 3
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["activity"] < 0.8 * rows[0]["activity"]
    assert rows[-1]["sdr/bass"] > 10, "a tone in bins of its own; an untrained mask gives 1 dB"
    assert {"ghost/vocals", "auroc/vocals", "sdr", "separation", "activity"} <= rows[-1].keys()
    assert result.figures["sdr"] == pytest.approx(rows[-1]["sdr"], rel=1e-4)
    assert (tmp_path / "recipe.yaml").read_text() == longer.dump()


def test_cropping_networks_train(songs: Path, tiny: Separator, tmp_path: Path) -> None:
    cropped = type(tiny)(crop=1280)
    result = make_trainer(cropped, songs, tmp_path).run()
    assert result.finished


def test_not_a_number_stops_and_keeps_the_last_checkpoint(
    tiny: Separator, songs: Path, tmp_path: Path
) -> None:
    trainer = make_trainer(tiny, songs, tmp_path)
    take_step = trainer.procedure.step

    def poisoned(learner: Any, batches: Any) -> dict[str, float]:
        if trainer.step == 4:
            batches[0].stems[0, 0, 0, 0] = float("nan")
        return take_step(learner, batches)

    trainer.procedure.step = poisoned  # type: ignore[method-assign]
    with pytest.raises(NotFiniteError, match=r"step 5: .*read from .*train/song\d@\d"):
        trainer.run()
    [checkpoint] = list_checkpoints(tmp_path / "checkpoints")
    weights = load_state(checkpoint)["weights"]
    assert load_state(checkpoint)["step"] == 3
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert all(torch.isfinite(p).all() for p in tiny.parameters()), "the bad step was not taken"


def test_a_folder_with_a_run_is_not_overwritten(
    tiny: Separator, songs: Path, tmp_path: Path
) -> None:
    make_trainer(tiny, songs, tmp_path).run()
    with pytest.raises(OutputError, match="--resume"):
        make_trainer(tiny, songs, tmp_path)


def test_resuming_on_other_songs_must_be_asked_for(
    tiny: Separator, songs: Path, tmp_path: Path
) -> None:
    make_trainer(tiny, songs, tmp_path).run(minutes=0)
    fewer = read_folder(songs, "train")[1:]
    with pytest.raises(DataError, match="--new-tracks"):
        Trainer(recipe(), fewer, [], tmp_path, resume=True, separator=tiny)
    accepted = Trainer(recipe(), fewer, [], tmp_path, resume=True, separator=tiny, new_tracks=True)
    assert accepted.run().finished


def test_changed_keys_are_told_and_others_refused(
    tiny: Separator, songs: Path, tmp_path: Path
) -> None:
    make_trainer(tiny, songs, tmp_path).run(minutes=0)
    longer = make_trainer(tiny, songs, tmp_path, recipe(steps=8), resume=True)
    assert longer.changed == ["steps 6 -> 8"]
    assert longer.log
    longer.log.close()
    other = recipe(separator={"name": "joint-unet"})
    with pytest.raises(RecipeError, match="another 'separator'"):
        make_trainer(tiny, songs, tmp_path, other, resume=True)


def test_a_resumed_run_takes_the_optimiser_settings_of_its_recipe(
    tiny: Separator, songs: Path, tmp_path: Path
) -> None:
    """Loading the optimiser's state once brought the old settings back with it."""
    changed = recipe()
    make_trainer(fresh(tiny), songs, tmp_path, changed).run()
    settings = changed.optimiser.model_copy(update={"weight_decay": 0.123})
    again = changed.model_copy(update={"optimiser": settings, "steps": changed.steps + 1})
    trainer = make_trainer(fresh(tiny), songs, tmp_path, again, resume=True)
    decays = {group["weight_decay"] for group in trainer.learner.optimiser.param_groups}
    assert 0.123 in decays
    assert trainer.learner.optimiser.state_dict()["state"]


def test_unknown_stem_in_drop_is_named(tiny: Separator, songs: Path, tmp_path: Path) -> None:
    wrong = recipe(data={"seconds": 0.5, "drop": {"vocal": 0.1}})
    with pytest.raises(RecipeError, match="'vocal', which is no"):
        make_trainer(tiny, songs, tmp_path, wrong)


def test_initial_weights_must_be_of_the_recipes_separator(songs: Path, tmp_path: Path) -> None:
    path = tmp_path / "initial.safetensors"
    models.save(models.build("band-unet", **NETWORK), path)

    def begin(**section: Any) -> Trainer:
        values = {"name": "band-unet", "config": NETWORK, "initial": str(path), **section}
        return Trainer(recipe(separator=values), read_folder(songs, "train"), [], tmp_path / "run")

    for section, sentence in (
        ({"name": "joint-unet"}, "has name band-unet, but the recipe's separator.name is joint"),
        ({"sources": ["vocals", "drums"]}, "has sources vocals, drums, bass, other, but"),
        ({"config": {"hidden": 32}}, r"has config\.hidden 4, but .* is 32: make them the same"),
    ):
        with pytest.raises(RecipeError, match=sentence):
            begin(**section)
    assert not (tmp_path / "run").exists()
    sources = ["vocals", "drums", "bass", "other"]
    assert begin(sources=sources).separator.sources == tuple(sources)


def test_only_the_newest_checkpoints_are_kept(tiny: Separator, songs: Path, tmp_path: Path) -> None:
    often = recipe(checkpoint={"every": 1, "minutes": None, "keep": 2})
    make_trainer(tiny, songs, tmp_path, often).run()
    names = [path.name for path in (tmp_path / "checkpoints").iterdir()]
    assert sorted(names) == ["step-00000005", "step-00000006"]


def test_tensorboard_gets_the_same_figures(tiny: Separator, songs: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    make_trainer(tiny, songs, tmp_path, tensorboard=True).run()
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_the_command_trains_a_model_that_loads(songs: Path, tmp_path: Path) -> None:
    recipe_file = write_recipe(tmp_path / "r.yaml")
    assert run([*command(recipe_file, songs, tmp_path / "out"), "steps=3"]) == 0
    card = models.read_card(tmp_path / "out" / "best.safetensors")
    assert card.metadata["step"] == 3
    assert card.metadata["recipe"]["steps"] == 3
    assert models.load(tmp_path / "out" / "best.safetensors").sample_rate == 22050
    with (tmp_path / "out" / "log.csv").open() as file:
        assert next(csv.reader(file)) == ["step", "kind", "figures"]


def test_a_store_trains_what_its_folder_does(songs: Path, tmp_path: Path) -> None:
    assert run(["prepare", "folder", str(songs), str(tmp_path / "store"), "--quiet"]) == 0
    recipe_file = write_recipe(tmp_path / "r.yaml", steps=3)
    for name, place in (("a", songs), ("b", tmp_path / "store")):
        assert run(command(recipe_file, place, tmp_path / name)) == 0
    assert_same_run(state_of(tmp_path / "a"), state_of(tmp_path / "b"))


def test_the_command_says_what_is_wrong(
    songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe_file = write_recipe(tmp_path / "r.yaml")
    assert run([*command(recipe_file, songs, tmp_path / "out"), "stebs=3"]) == 1
    assert "nearest valid key is 'steps'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def start(recipe_file: Path, songs: Path, out: Path) -> subprocess.Popen[bytes]:
    arguments = command(recipe_file, songs, out)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "stemwise", *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def test_ctrl_c_leaves_a_checkpoint(songs: Path, tmp_path: Path) -> None:
    recipe_file = write_recipe(
        tmp_path / "r.yaml", steps=4000, checkpoint={"every": 2000, "minutes": None}
    )
    with start(recipe_file, songs, tmp_path / "out") as process:
        deadline = time.monotonic() + 120
        while not read_log(tmp_path / "out" / "log.csv"):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    assert 0 < state_of(tmp_path / "out")["step"] < 2000
