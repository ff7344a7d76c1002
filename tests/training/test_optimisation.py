"""Optimisers, schedules, precision, best models and patience, each against what it should do."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric.plugins import MixedPrecision
from torch import nn

from short_runs import make_trainer, recipe, state_of
from stemwise.errors import RecipeError
from stemwise.models.separator import Separator
from stemwise.training import trainer as trainer_module
from stemwise.training.hardware import Hardware
from stemwise.training.learner import NotFiniteError
from stemwise.training.log import read_log
from stemwise.training.optimisation import build_optimiser, load_moments
from stemwise.training.progress import Means, Speed
from stemwise.training.schedules import Schedule, learning_rate
from stemwise.training.sections import OptimiserSection, ScheduleSection, StopSection
from stemwise.training.stopping import BestModels, check_figures, stalled


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))


def test_adam_has_the_papers_penalty_on_every_parameter() -> None:
    """Kingma & Ba with L2: the first step is rate * g / (|g| + eps) with g = gradient + decay w."""
    module = network()
    for p in module.parameters():
        p.grad = torch.full_like(p, 0.5)
    before = [p.detach().clone() for p in module.parameters()]
    section = OptimiserSection(name="adam", learning_rate=0.1, weight_decay=2.0)
    build_optimiser(module, section).step()
    for old, new in zip(before, module.parameters(), strict=True):
        torch.testing.assert_close(new.detach(), old - 0.1 * torch.sign(0.5 + 2.0 * old))


def test_adamw_spares_biases_and_scales() -> None:
    optimiser = build_optimiser(network(), OptimiserSection(weight_decay=0.3))
    decays = {p.ndim: g["weight_decay"] for g in optimiser.param_groups for p in g["params"]}
    assert decays == {2: 0.3, 1: 0.0}


def test_sgd_has_momentum() -> None:
    module = network()
    section = OptimiserSection(name="sgd", learning_rate=0.1, momentum=0.5)
    optimiser = build_optimiser(module, section)
    start = [p.detach().clone() for p in module.parameters()]
    for _ in range(2):
        for p in module.parameters():
            p.grad = torch.ones_like(p)
        optimiser.step()
    for old, new in zip(start, module.parameters(), strict=True):
        torch.testing.assert_close(new.detach(), old - 0.1 * (1 + 1.5))


def test_nothing_to_learn_is_an_error() -> None:
    with pytest.raises(RecipeError, match="all of the separator is frozen"):
        build_optimiser(network().requires_grad_(False), OptimiserSection())


def test_frozen_parameters_are_left_out() -> None:
    module = network()
    module[0].requires_grad_(False)
    optimiser = build_optimiser(module, OptimiserSection())
    assert sum(len(group["params"]) for group in optimiser.param_groups) == 2


def test_moments_come_from_the_checkpoint_and_settings_from_the_recipe() -> None:
    module = network()
    for p in module.parameters():
        p.grad = torch.ones_like(p)
    first = build_optimiser(module, OptimiserSection(learning_rate=0.5))
    first.step()
    second = build_optimiser(module, OptimiserSection(learning_rate=0.25, betas=(0.5, 0.9)))
    load_moments(second, first.state_dict())
    assert second.param_groups[0]["betas"] == (0.5, 0.9)
    assert second.param_groups[0]["lr"] == 0.25
    assert second.state_dict()["state"][0]["step"] == 1


def test_cosine_goes_from_the_peak_to_its_share() -> None:
    section = ScheduleSection(name="cosine", warmup=10, final=0.2)
    rates = [learning_rate(step, 110, 2.0, section) for step in range(111)]
    assert rates[:10] == pytest.approx([0.2 * (k + 1) for k in range(10)])
    assert rates[10] == 2.0
    assert rates[60] == pytest.approx(2.0 * (0.2 + 0.8 * 0.5))
    assert rates[110] == pytest.approx(0.4)
    assert all(a >= b for a, b in pairwise(rates[9:]))


def test_a_plateau_lowers_the_rate_after_its_patience() -> None:
    section = ScheduleSection(name="plateau", warmup=2, factor=0.5, patience=2, threshold=0.1)
    schedule = Schedule(section, peak=1.0, steps=100)
    assert [schedule.rate(step) for step in (0, 1, 2)] == [0.5, 1.0, 1.0]
    rates = []
    for loss in (10.0, 9.5, 9.4, 9.3, 5.0, 5.0, 5.0, 5.0):  # less than a tenth better is no better
        schedule.validated(loss)
        rates.append(schedule.rate(50))
    assert rates == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.25]


def test_a_plateau_goes_on_where_it_was() -> None:
    section = ScheduleSection(name="plateau", factor=0.5, patience=1)
    straight = Schedule(section, peak=1.0, steps=100)
    for loss in (3.0, 3.0, 3.0, 3.0):
        straight.validated(loss)
    again = Schedule(section, peak=1.0, steps=100)
    again.load_state_dict(straight.state_dict())
    for loss in (3.0, 3.0, 2.0):
        straight.validated(loss)
        again.validated(loss)
        assert again.rate(9) == straight.rate(9)
    other = Schedule(ScheduleSection(name="cosine"), 1.0, 100)
    other.load_state_dict(straight.state_dict())
    assert other.state_dict() == {}


def test_best_models_each_have_their_figure() -> None:
    best = BestModels({"separation": "sdr/vocals", "activity": "activity", "ear": "auroc"})
    assert best.improved({"sdr/vocals": 1.0, "activity": 0.5}, 10, 1) == ["separation", "activity"]
    assert best.improved({"sdr/vocals": 2.0, "activity": 0.6}, 20, 2) == ["separation"]
    assert best.improved({"sdr/vocals": 2.0, "activity": 0.4, "auroc": math.nan}, 30, 3) == [
        "activity"
    ]
    assert best.improved({"auroc": 0.1}, 40, 4) == ["ear"]
    assert best.values == {"separation": 2.0, "activity": 0.4, "ear": 0.1}
    again = BestModels({"separation": "sdr/vocals"})
    again.load_state_dict(best.state_dict())
    assert again.values == {"separation": 2.0}
    assert (again.step, again.epoch) == (40, 4)


@pytest.mark.parametrize(
    ("section", "step", "epoch", "expected"),
    [
        (StopSection(), 10**6, 10**4, False),
        (StopSection(steps=5), 14, 9, False),
        (StopSection(steps=5), 15, 9, True),
        (StopSection(epochs=3), 99, 4, False),
        (StopSection(epochs=3), 99, 5, True),
    ],
)
def test_patience(section: StopSection, step: int, epoch: int, expected: bool) -> None:
    best = BestModels({"best": "loss"})
    best.improved({"loss": 1.0}, 10, 2)
    best.improved({"loss": 1.5}, 12, 3)
    assert stalled(section, best, step, epoch) is expected


def test_figures_to_choose_by_must_be_given(tiny: Separator) -> None:
    check_figures({"a": "sdr", "b": "activity", "c": "separation/bass", "d": "auroc/vocals"}, tiny)
    with pytest.raises(RecipeError, match=r"validation\.best\.a is 'sdr/vocal', .*'sdr/vocals'"):
        check_figures({"a": "sdr/vocal"}, tiny)
    tiny.activity_sources = ()
    with pytest.raises(RecipeError, match="'auroc', which validation of this separator"):
        check_figures({"a": "auroc"}, tiny)


def test_means_go_on_in_their_midst() -> None:
    straight, halted = Means(), Means()
    values = [{"a": 0.1}, {"a": 0.7, "b": 1.0}, {"a": 0.3}]
    for value in values:
        straight.add(value)
    halted.add(values[0])
    halted.add(values[1])
    again = Means()
    again.load_state_dict(halted.state_dict())
    again.add(values[2])
    assert again.close() == straight.close() == {"a": (0.1 + 0.7 + 0.3) / 3, "b": 1.0}
    assert straight.close() == {}


def test_what_a_gpu_does_is_looked_at_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    class Waiting:
        waited = 0.0

    now = [100.0]
    busy = iter([50, 100])
    monkeypatch.setattr("stemwise.training.progress.time.perf_counter", lambda: now[0])
    monkeypatch.setattr(torch.cuda, "utilization", lambda device: next(busy))
    speed = Speed(Waiting(), 8, torch.device("cuda"))  # type: ignore[arg-type]
    for _ in range(4):
        now[0] += 0.5
        speed.step()
    Waiting.waited = 0.5
    assert speed.close() == {"excerpts_per_second": 16.0, "loader_wait": 0.25, "gpu_busy": 0.75}


def test_fp16_needs_a_gpu() -> None:
    with pytest.raises(RecipeError, match="precision fp16 needs a CUDA GPU"):
        Hardware("cpu", "fp16")


class Scaled(Hardware):
    """fp16's scaled losses on the CPU, in bfloat16's place: the way to the weights is the same."""

    start = 2.0**10

    def __init__(self, device: str, precision: str) -> None:
        scaler = torch.amp.GradScaler("cpu", init_scale=self.start, growth_interval=1000)
        super().__init__("cpu", plugins=[MixedPrecision("16-mixed", "cpu", scaler)])


def test_scaled_losses_give_the_same_weights(
    tiny: Separator, songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradient's norm in the log is that of the loss, clipped as without a scale."""
    monkeypatch.setattr(trainer_module, "Hardware", Scaled)
    result = make_trainer(tiny, songs, tmp_path, recipe(precision="fp16")).run()
    assert result.finished
    rows = [figures for _, kind, figures in read_log(tmp_path / "log.csv") if kind == "train"]
    assert all(0 < row["gradient"] < 10 for row in rows)
    assert rows[-1]["total"] < rows[0]["total"]
    assert state_of(tmp_path)["hardware"]["scale"] == Scaled.start
    again = make_trainer(tiny, songs, tmp_path, recipe(precision="fp16", steps=7), resume=True)
    assert again.hardware.state_dict()["_growth_tracker"] == 6


def test_too_large_a_scale_is_lowered_without_a_step(
    tiny: Separator, songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scaled, "start", 2.0**127)
    monkeypatch.setattr(trainer_module, "Hardware", Scaled)
    before = [p.detach().clone() for p in tiny.parameters()]
    changed = recipe(precision="fp16", steps=2)
    make_trainer(tiny, songs, tmp_path, changed).run()
    assert state_of(tmp_path)["hardware"]["scale"] < 2.0**127
    rows = [figures for _, kind, figures in read_log(tmp_path / "log.csv") if kind == "train"]
    assert "gradient" not in rows[0], "there is none to tell of"
    assert all(torch.equal(a, b) for a, b in zip(before, tiny.parameters(), strict=True))


def test_a_loss_that_is_no_number_stops_in_fp16_too(
    tiny: Separator, songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_module, "Hardware", Scaled)
    trainer = make_trainer(tiny, songs, tmp_path, recipe(precision="fp16"))
    with torch.no_grad():
        next(tiny.parameters()).fill_(math.nan)
    with pytest.raises(NotFiniteError, match="read from"):
        trainer.run()


def test_fp16_cannot_add_up_gradients_of_several_scales(
    tiny: Separator, songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_module, "Hardware", Scaled)
    changes: dict[str, Any] = {"procedure": "interleaved-accumulated", "precision": "fp16"}
    with pytest.raises(RecipeError, match="use bf16 or fp32"):
        make_trainer(tiny, songs, tmp_path, recipe(**changes))


def test_synchronised_batch_norm_is_the_same_model(tiny: Separator) -> None:
    """What several GPUs train: its weights load where there is none, and say the same."""
    mixture = torch.randn(1, 2, 4096, generator=torch.Generator().manual_seed(0))
    tiny.eval()
    with torch.no_grad():
        expected = tiny(mixture).estimates
        several = nn.SyncBatchNorm.convert_sync_batchnorm(tiny)
        assert any(isinstance(module, nn.SyncBatchNorm) for module in several.modules())
        assert torch.equal(several(mixture).estimates, expected)
    type(tiny)().load_state_dict(several.state_dict())
