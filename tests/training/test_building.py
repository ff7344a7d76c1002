"""Every name of an objective and a weighting in a recipe, and rules that hold for all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
import torch
from tests.small_networks import small
from tests.training.conftest import TinySeparator
from tests.training.test_waveforms import SAMPLES, Waveforms, noise, sounding
from torch import Tensor

from stemwise.data.batch import Batch
from stemwise.errors import RecipeError
from stemwise.models.separator import Prediction, Separator
from stemwise.training.building import build_objective, build_weighting, needs_energies
from stemwise.training.losses import Losses
from stemwise.training.recipe import parse_recipe
from stemwise.training.sections import ObjectiveSection, WeightingSection
from stemwise.training.weighting import Moment, weigh

OBJECTIVES = get_args(ObjectiveSection.model_fields["name"].annotation)
WEIGHTINGS = get_args(WeightingSection.model_fields["name"].annotation)
ENERGIES = {"a": 0.1, "b": 0.4}


def judged(name: str, separator: Separator, prediction: Prediction, batch: Batch) -> Losses:
    objective = build_objective(ObjectiveSection.model_validate({"name": name}))
    return objective(separator, prediction, separator.represent(batch.stems), batch)


def masked(separator: Separator, masks: Tensor, batch: Batch) -> Prediction:
    frames = masks.shape[-1]
    logits = 0 * masks.sum() + torch.zeros(len(masks), len(separator.sources), frames)
    mixture = separator.spectrum(batch.mixture)  # type: ignore[operator]
    return Prediction(mixture, masks=masks, activity=logits)


def with_labels(batch: Batch, frames: int = 21) -> Batch:
    return replace(batch, activity=torch.ones(*batch.supervised.shape, frames))


def test_all_names_are_here() -> None:
    assert set(OBJECTIVES) >= {"l1", "mse", "spectral", "dual", "direct", "waveform-mse", "si-sdr"}
    assert set(WEIGHTINGS) >= {"fixed", "blend", "unit", "dwa", "oh", "gradnorm"}


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize(
    "network", ["joint-unet", "multichannel-unet", "band-unet", "waveform-unmix"]
)
def test_objectives_of_networks(name: str, network: str) -> None:
    """All of them are finite and reach the network's weights, or say what to choose instead."""
    separator = small(network)
    batch = sounding(separator, separator.grid.input_length(8192))
    batch = replace(
        batch,
        activity=torch.ones(2, len(separator.activity_sources), 2000),
        activity_known=batch.activity_known[:, : len(separator.activity_sources)],
    )
    prediction = separator(batch.mixture)
    if network == "waveform-unmix" and name in ("dual", "direct"):
        with pytest.raises(RecipeError, match=r"'waveform-unmix' .*; choose"):
            judged(name, separator, prediction, batch)
        return
    losses = judged(name, separator, prediction, batch).by_task()
    assert set(losses) == {"separation", "activity"}
    torch.autograd.backward(losses["separation"])
    gradients = [p.grad for p in separator.parameters() if p.grad is not None]
    assert gradients
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
    assert any(bool(gradient.any()) for gradient in gradients)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_is_not_supervised_changes_nothing(name: str) -> None:
    separator = TinySeparator(["a", "b"])
    batch = with_labels(sounding(separator))
    supervised = torch.tensor([[True, False], [False, False]])
    known = torch.tensor([[False, True], [False, False]])
    batch = replace(batch, supervised=supervised, activity_known=known)
    masks = noise(2, 2, 2, 257, 21, seed=1).sigmoid().requires_grad_()
    tasks = judged(name, separator, masked(separator, masks, batch), batch).by_task()
    (gradient,) = torch.autograd.grad(tasks["separation"], masks, retain_graph=True)
    assert bool(gradient[0, 0].any())
    assert not gradient[0, 1].any()
    assert not gradient[1].any()

    # other estimates, and stems that other mixtures would have but these: nothing changes
    others = torch.where(supervised[..., None, None, None], masks, 1 - masks)
    labels = torch.where(known[..., None], batch.activity, 0.5)
    other = replace(batch, activity=labels, rest=batch.stems[:, 1] / 2)
    other.stems = torch.where(supervised[..., None, None], batch.stems, 0.5 * batch.stems)
    other.stems[1] = noise(2, 2, SAMPLES, seed=9)
    again = judged(name, separator, masked(separator, others, other), other).by_task()
    for task in ("separation", "activity"):
        torch.testing.assert_close(tasks[task], again[task])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_nothing_supervised_is_no_task(name: str) -> None:
    separator = TinySeparator(["a", "b"])
    batch = with_labels(sounding(separator))
    nothing = torch.zeros_like(batch.supervised)
    batch = replace(batch, supervised=nothing, activity_known=nothing)
    prediction = masked(separator, torch.full((2, 2, 2, 257, 21), 0.5), batch)
    losses = judged(name, separator, prediction, batch)
    assert losses.by_task() == losses.by_source() == {}


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("case", ["perfect", "silent estimate", "silent stem", "silence"])
def test_gradients_are_finite(name: str, case: str) -> None:
    separator = TinySeparator(["a", "b"])
    batch = with_labels(sounding(separator))
    batch.stems[:, 1] = batch.stems[:, 0]  # half of the mixture each
    masks = torch.full((2, 2, 2, 257, 21), 0.0 if case == "silent estimate" else 0.5)
    masks.requires_grad_()
    if case == "silent stem":
        batch.stems[:, 1] = 0
    if case == "silence":
        batch.stems[:] = 0
    losses = judged(name, separator, masked(separator, masks, batch), batch)
    assert bool(torch.isfinite(losses.separation).all())
    (gradient,) = torch.autograd.grad(losses.separation.sum(), masks)
    assert bool(torch.isfinite(gradient).all())
    if case == "perfect" and name != "si-sdr":
        assert losses.separation.max().item() == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("name", ["l1", "mse", "waveform-l1", "waveform-mse", "si-sdr"])
def test_gradients_of_waveforms_are_finite_at_perfect_and_silent_estimates(name: str) -> None:
    separator = Waveforms(["a", "b"])
    batch = with_labels(sounding(separator))
    for factor in (1.0, 0.0):
        estimates = (factor * batch.stems).requires_grad_()
        prediction = Prediction(batch.mixture, estimates=estimates)
        losses = judged(name, separator, prediction, batch)
        (gradient,) = torch.autograd.grad(losses.separation.sum(), estimates)
        assert bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_weightings_take_the_tasks_that_a_batch_has(name: str) -> None:
    """With everything, with a source alone, with activity alone: what is absent has no weight."""
    separator = TinySeparator(["a", "b"])
    section = WeightingSection.model_validate({"name": name})
    weighting = build_weighting(section, ENERGIES if needs_energies(section) else None)
    whole = with_labels(sounding(separator))
    prediction = separator(whole.mixture)
    found = []
    for stems, labels in (([1, 1], [1, 1]), ([0, 1], [0, 0]), ([0, 0], [1, 0])):
        batch = replace(
            whole,
            supervised=torch.tensor([stems, stems]).bool(),
            activity_known=torch.tensor([labels, labels]).bool(),
        )
        tasks = weighting.tasks(judged("l1", separator, prediction, batch))
        weights = weighting.weights(tasks, Moment.of(separator, batch))
        assert set(weights) == set(tasks)
        assert bool(torch.isfinite(weigh(tasks, weights)))
        found.append(set(tasks))
    per_source = name not in ("fixed", "blend")
    assert found[0] == (
        {"separation/a", "separation/b", "activity"} if per_source else {"separation", "activity"}
    )
    assert found[1] == ({"separation/b"} if per_source else {"separation"})
    assert found[2] == {"activity"}


def test_energies_are_asked_for_where_they_are_used() -> None:
    for name in WEIGHTINGS:
        section = WeightingSection.model_validate({"name": name})
        if needs_energies(section):
            with pytest.raises(ValueError, match=f"'{name}' needs the energies"):
                build_weighting(section)
        else:
            build_weighting(section)
    asking = [n for n in WEIGHTINGS if needs_energies(WeightingSection.model_validate({"name": n}))]
    assert asking == ["ebw-p1", "ebw-p2", "oh"]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"weighting": {"name": "blend", "alpha": 1.5}}, "less than or equal to 1"),
        ({"weighting": {"name": "blend", "alpha": float("nan")}}, "it is nan"),
        ({"weighting": {"name": "unit", "alpha": 0.5}}, "'alpha' belongs to the weighting 'blend'"),
        (
            {"weighting": {"weights": {"activty": 1.0}}},
            "no task 'activty' .* nearest is 'activity'",
        ),
        ({"weighting": {"weights": {"activity": -1.0}}}, "weight of 'activity' must be a number"),
        ({"weighting": {"weights": {"activity": float("nan")}}}, "must be a number from 0 up"),
        ({"objective": {"name": "mse", "limit": 3.0}}, "'limit' belongs to the objective 'direct'"),
        ({"objective": {"name": "si-sdr"}, "weighting": {"name": "dwa"}}, "takes ratios of losses"),
        (
            {"objective": {"name": "si-sdr"}, "weighting": {"name": "gradnorm", "restoring": 1.5}},
            "'restoring' takes ratios of losses",
        ),
    ],
)
def test_recipes_whose_losses_cannot_be_are_refused(
    sections: dict[str, object], message: str
) -> None:
    recipe = {"name": "x", "separator": {"name": "joint-unet"}, "steps": 1, "batch": 1, **sections}
    with pytest.raises(RecipeError, match=message):
        parse_recipe(recipe)
