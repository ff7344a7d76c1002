"""Validation figures against values worked out apart from it, and the live line."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.metrics import roc_auc_score

from short_runs import make_trainer, recipe
from stemwise.models.separator import Prediction, Separator
from stemwise.training.log import LiveLine, RunLog, read_log
from stemwise.training.trainer import Trainer
from stemwise.training.validation import validate


@pytest.fixture
def trainer(tiny: Separator, songs: Path, tmp_path: Path) -> Trainer:
    return make_trainer(tiny, songs, tmp_path, recipe(ema=None))


def judged(trainer: Trainer, batches: int) -> dict[str, float]:
    assert trainer.validation
    return validate(trainer.judge, trainer.validation, batches)


def test_figures_are_those_of_the_excerpts(trainer: Trainer) -> None:
    """SDR, ghost level and AU-ROC of every excerpt, worked out one by one."""
    figures = judged(trainer, 2)
    separator, loader = trainer.at_rate, trainer.validation
    assert loader
    separator.eval()
    sdr: dict[str, list[float]] = {}
    ghost: list[float] = []
    frames: list[tuple[np.ndarray, np.ndarray]] = []
    with torch.no_grad():
        for number in range(2):
            batch = trainer.learner.prepare(loader.load(number))
            prediction = separator(batch.mixture)
            estimates = separator.reconstruct(prediction)
            assert prediction.activity is not None
            frames.append((prediction.activity[:, 0].numpy(), batch.activity[:, 0].numpy()))
            for b in range(len(batch.stems)):
                for k, source in enumerate(separator.sources):
                    stem = batch.stems[b, k, :, : estimates.shape[-1]]
                    error = (stem - estimates[b, k]).square().sum()
                    if stem.square().mean() > 1e-8:
                        ratio = float(10 * torch.log10(stem.square().sum() / error))
                        sdr.setdefault(source, []).append(ratio)
                    else:
                        level = estimates[b, k].square().mean() / batch.mixture[b].square().mean()
                        ghost.append(float(10 * torch.log10(level)))
    for source, values in sdr.items():
        assert figures[f"sdr/{source}"] == pytest.approx(np.mean(values), abs=1e-3)
    assert figures["sdr"] == pytest.approx(np.mean([np.mean(v) for v in sdr.values()]), abs=1e-3)
    assert figures["ghost/vocals"] == pytest.approx(np.mean(ghost), abs=1e-3)
    labels = np.concatenate([label[:, : logit.shape[1]].ravel() for logit, label in frames])
    logits = np.concatenate([logit.ravel() for logit, _ in frames])
    assert figures["auroc/vocals"] == pytest.approx(roc_auc_score(labels, logits), abs=1e-6)
    assert figures["auroc"] == figures["auroc/vocals"], "the others always play: nothing to tell"
    assert figures["separation"] == pytest.approx(
        np.mean([figures[f"separation/{source}"] for source in separator.sources]), rel=1e-5
    )
    assert figures["loss"] == pytest.approx(figures["separation"] + 0.1 * figures["activity"])


def test_processes_share_the_batches(trainer: Trainer) -> None:
    """Each judges every second batch; together they say what one says, bit for bit."""

    class Half:
        world = 2
        told: dict[int, list[object]]

        def __init__(self, rank: int, told: dict[int, list[object]]) -> None:
            self.rank, self.told = rank, told

        def gather(self, own: list[object]) -> list[list[object]]:
            self.told[self.rank] = own
            return [self.told.get(rank, []) for rank in range(2)]

    assert trainer.validation
    told: dict[int, list[object]] = {}
    for rank in (1, 0):
        figures = validate(
            trainer.judge,
            trainer.validation,
            3,
            Half(rank, told),  # type: ignore[arg-type]
        )
    assert [len(told[rank]) for rank in (0, 1)] == [2, 1]
    assert figures == judged(trainer, 3)


def test_validation_leaves_the_network_as_it_was(trainer: Trainer) -> None:
    trainer.separator.train()
    before = {name: value.clone() for name, value in trainer.separator.state_dict().items()}
    judged(trainer, 2)
    assert trainer.separator.training
    assert all(torch.equal(before[k], v) for k, v in trainer.separator.state_dict().items())
    assert all(p.grad is None for p in trainer.separator.parameters())


def test_a_network_without_activity_has_no_figures_of_it(trainer: Trainer) -> None:
    class Mute(torch.nn.Module):
        def __init__(self, inner: Separator) -> None:
            super().__init__()
            self.inner = inner
            self.training_targets = inner.training_targets
            self.estimating = inner.estimating

        def __getattr__(self, name: str) -> object:
            try:
                return super().__getattr__(name)
            except AttributeError:
                return getattr(super().__getattr__("inner"), name)

        def forward(self, mixture: torch.Tensor) -> Prediction:
            full = self.inner(mixture)
            return Prediction(full.mixture, masks=full.masks)

    learner = replace(trainer.learner, separator=Mute(trainer.at_rate))  # type: ignore[arg-type]
    assert trainer.validation
    figures = validate(learner, trainer.validation, 1)
    assert not [name for name in figures if name.startswith(("auroc", "activity"))]
    assert "sdr" in figures


def test_the_line_shows_figures_under_the_bar() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=60)
    with LiveLine(10, 2, console) as line:
        line.step(3)
        line.show(3, "train", {"separation": 0.5, "weight/activity": 0.1, "rate": 1e-3})
        line.show(3, "validation", {"sdr": 4.25})
    shown = screen.getvalue()
    assert "step 3/10" in shown
    assert "separation 0.5  weight/activity 0.1  rate 0.001" in shown
    assert "validation 3: sdr 4.25" in shown


def test_a_quiet_line_shows_nothing() -> None:
    screen = io.StringIO()
    with LiveLine(10, 0, Console(file=screen, force_terminal=True, quiet=True)) as line:
        line.step(1)
        line.show(1, "train", {"a": 1.0})
        line.show(1, "validation", {"a": 1.0})
    assert screen.getvalue() == ""


def test_a_resumed_log_drops_what_comes_again(tmp_path: Path) -> None:
    log = RunLog(tmp_path, 0)
    for step in (1, 2, 3):
        log.add(step, "train", {"total": step / 3})
    log.close()
    with log.path.open("a") as file:
        file.write('4,train,"{""to')  # a killed process wrote half a row
    log = RunLog(tmp_path, 2)
    log.add(3, "epoch", {"epoch": 1, "total": 7.0})
    log.close()
    assert read_log(tmp_path / "log.csv") == [
        (1, "train", {"total": 0.333333}),
        (2, "train", {"total": 0.666667}),
        (3, "epoch", {"epoch": 1, "total": 7.0}),
    ]
