"""Losses by hand-computed values; what is not supervised changes nothing."""

from __future__ import annotations

import math

import pytest
import torch
from tests.training.conftest import TinySeparator

from stemwise.data.batch import Batch
from stemwise.data.sampling import FILTER_KNOTS
from stemwise.models.separator import Grid, Prediction
from stemwise.training.objectives import (
    Distance,
    Objective,
    RootMeanSquare,
    Spectral,
    activity_loss,
    crop_labels,
)
from stemwise.training.optimisation import Average, learning_rate
from stemwise.training.sections import ScheduleSection


def make_batch(supervised: torch.Tensor, known: torch.Tensor, frames: int = 5) -> Batch:
    batch, sources = supervised.shape
    return Batch(
        stems=torch.zeros(batch, sources, 2, 10),
        rest=None,
        supervised=supervised,
        activity=torch.ones(batch, known.shape[1], frames),
        activity_known=known,
        gains=torch.ones(batch, sources),
        level=torch.ones(batch),
        swap=torch.zeros(batch, dtype=torch.bool),
        width=torch.ones(batch),
        filters=torch.zeros(batch, sources, len(FILTER_KNOTS)),
        sample_rate=8000,
        origins=(("a@0.00s",),) * batch,
    )


def separation(
    objective: Objective, prediction: Prediction, reference: torch.Tensor
) -> torch.Tensor:
    """Losses of stems that are all supervised."""
    known = torch.ones(reference.shape[:2], dtype=torch.bool)
    separator = TinySeparator([f"source {k}" for k in range(reference.shape[1])])
    return objective.separation(separator, prediction, reference, make_batch(known, known))


def random_spectra(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, dtype=torch.complex64, generator=generator)


def test_distances_are_means_per_stem() -> None:
    reference = torch.zeros(2, 3, 2, 4, 5)
    estimates = torch.full_like(reference, -2.0)
    prediction = Prediction(reference[:, 0], estimates=estimates)
    assert separation(Distance("l1"), prediction, reference).tolist() == [[2.0] * 3] * 2
    assert separation(Distance("mse"), prediction, reference).tolist() == [[4.0] * 3] * 2


def test_magnitude_distance_ignores_phase_and_the_complex_one_does_not() -> None:
    reference = random_spectra(1, 2, 2, 4, 5)
    prediction = Prediction(reference[:, 0], estimates=-reference)
    magnitude = separation(Distance("l1", magnitude=True), prediction, reference)
    assert magnitude.abs().max() == 0
    expected = 2 * reference.abs().flatten(2).mean(2)
    torch.testing.assert_close(separation(Distance("l1"), prediction, reference), expected)


def test_spectral_is_the_same_with_and_without_masks() -> None:
    mixture, reference = random_spectra(2, 2, 4, 5), random_spectra(2, 3, 2, 4, 5) / 2
    masks = torch.rand(2, 3, 2, 4, 5, generator=torch.Generator().manual_seed(1))
    estimates = masks * mixture.unsqueeze(1)
    for weight in (0.0, 0.5, 1.0):
        objective = Spectral(complex_weight=weight)
        with_masks = separation(objective, Prediction(mixture, masks=masks), reference)
        without = separation(objective, Prediction(mixture, estimates=estimates), reference)
        torch.testing.assert_close(with_masks, without, rtol=1e-4, atol=1e-5)


def test_spectral_does_not_depend_on_volume() -> None:
    mixture, reference = random_spectra(1, 2, 4, 5), random_spectra(1, 3, 2, 4, 5) / 2
    estimates = 0.3 * mixture.unsqueeze(1).expand_as(reference)
    loss = separation(Spectral(), Prediction(mixture, estimates=estimates), reference)
    quiet = separation(
        Spectral(), Prediction(mixture / 50, estimates=estimates / 50), reference / 50
    )
    torch.testing.assert_close(loss, quiet)


def test_silent_stems_teach_silence_with_a_bounded_weight() -> None:
    mixture = random_spectra(1, 2, 4, 5)
    reference = torch.zeros(1, 1, 2, 4, 5, dtype=torch.complex64)
    estimates = 0.1 * mixture.unsqueeze(1)
    loss = separation(Spectral(floor=0.04), Prediction(mixture, estimates=estimates), reference)
    assert float(loss) == pytest.approx(0.1 / math.sqrt(0.04), rel=1e-5)
    silent = separation(Spectral(), Prediction(mixture, estimates=0 * estimates), reference)
    assert float(silent) == pytest.approx(0.0, abs=1e-6)


def test_rms_is_the_same_with_and_without_masks() -> None:
    mixture, reference = random_spectra(2, 2, 4, 5), random_spectra(2, 3, 2, 4, 5) / 2
    masks = torch.rand(2, 3, 2, 4, 5, generator=torch.Generator().manual_seed(1))
    estimates = masks * mixture.unsqueeze(1)
    with_masks = separation(RootMeanSquare(), Prediction(mixture, masks=masks), reference)
    without = separation(RootMeanSquare(), Prediction(mixture, estimates=estimates), reference)
    torch.testing.assert_close(with_masks, without, rtol=1e-4, atol=1e-5)
    quiet = Prediction(mixture / 50, masks=masks)
    torch.testing.assert_close(separation(RootMeanSquare(), quiet, reference / 50), with_masks)


def test_rms_is_the_signal_to_distortion_ratio_over_the_level() -> None:
    mixture, reference = random_spectra(1, 2, 4, 5), random_spectra(1, 2, 2, 4, 5) / 3
    estimates = 0.4 * mixture.unsqueeze(1).expand_as(reference)
    loss = separation(RootMeanSquare(), Prediction(mixture, estimates=estimates), reference)
    energy = reference.abs().square().sum(dim=(2, 3, 4))
    error = (reference - estimates).abs().square().sum(dim=(2, 3, 4))
    sdr = 10 * torch.log10(energy / error)
    level = 10 * torch.log10(energy / mixture.abs().square().sum())
    torch.testing.assert_close(loss, 10 ** ((level - sdr) / 20))


def test_rms_wants_the_expected_share_and_distance_the_likeliest_source() -> None:
    """Bins that are the stem's alone in two of five and otherwise nothing of it."""
    mixture = torch.ones(1, 1, 5, 1, dtype=torch.complex64)
    reference = mixture.unsqueeze(1) * torch.tensor([1, 1, 0, 0, 0])[:, None]
    shares = torch.linspace(0, 1, 101)
    best = []
    for objective in (RootMeanSquare(), Spectral()):
        masks = [torch.full((1, 1, 1, 5, 1), share) for share in shares.tolist()]
        losses = [separation(objective, Prediction(mixture, masks=m), reference) for m in masks]
        best.append(float(shares[int(torch.stack(losses).argmin())]))
    assert best == pytest.approx([0.4, 0.0])


def test_rms_of_what_is_right_has_a_finite_gradient() -> None:
    mixture = random_spectra(1, 2, 4, 5)
    masks = torch.zeros(1, 1, 2, 4, 5, requires_grad=True)
    silent = 0 * mixture.unsqueeze(1)
    for heard in (mixture, 0 * mixture):
        loss = separation(RootMeanSquare(), Prediction(heard, masks=masks), silent)
        assert loss.item() == pytest.approx(0.0, abs=1e-4)
        (gradient,) = torch.autograd.grad(loss.sum(), masks)
        assert bool(gradient.isfinite().all())


def test_only_what_is_supervised_counts() -> None:
    pair = TinySeparator(["vocals", "drums"])
    supervised = torch.tensor([[True, False], [False, False]])
    known = torch.tensor([[False], [True]])
    batch = make_batch(supervised, known)
    reference = torch.zeros(2, 2, 2, 4, 5)
    estimates = reference.clone().requires_grad_()
    shifted = estimates + torch.tensor([[1.0, 9.0], [9.0, 9.0]])[:, :, None, None, None]
    logits = torch.zeros(2, 1, 5, requires_grad=True)
    prediction = Prediction(reference[:, 0], estimates=shifted, activity=logits)
    losses = Distance("l1")(pair, prediction, reference, batch).by_task()
    assert losses["separation"].item() == 1.0
    assert losses["activity"].item() == pytest.approx(math.log(2))
    torch.autograd.backward(losses["separation"] + losses["activity"])
    assert estimates.grad is not None
    assert estimates.grad[0, 0].abs().min() > 0
    assert estimates.grad[0, 1].abs().max() == estimates.grad[1].abs().max() == 0
    assert logits.grad is not None
    assert logits.grad[0].abs().max() == 0 < logits.grad[1].abs().min()


def test_tasks_without_supervision_are_absent() -> None:
    pair = TinySeparator(["vocals", "drums"])
    none = torch.zeros(1, 2, dtype=torch.bool)
    reference = torch.zeros(1, 2, 2, 4, 5)
    prediction = Prediction(reference[:, 0], estimates=reference, activity=torch.zeros(1, 2, 5))
    assert Distance()(pair, prediction, reference, make_batch(none, none)).by_task() == {}
    losses = Distance()(pair, prediction, reference, make_batch(none, ~none)).by_task()
    assert set(losses) == {"activity"}


def test_labels_are_cropped_like_the_network() -> None:
    labels = torch.arange(20.0).expand(1, 1, 20)
    grid = Grid(hop=10, alignment=10, before=30, after=30, crop=30)
    assert crop_labels(labels, 14, grid).flatten().tolist() == list(range(3, 17))


def test_activity_loss_is_binary_cross_entropy() -> None:
    logits = torch.tensor([[[2.0, -1.0]]])
    labels = torch.tensor([[[1.0, 0.0]]])
    expected = (math.log1p(math.exp(-2)) + math.log1p(math.exp(-1))) / 2
    assert float(activity_loss(logits, labels)) == pytest.approx(expected, rel=1e-5)


def test_learning_rate_rises_stays_and_falls_to_zero() -> None:
    schedule = ScheduleSection(warmup=10, decay=0.4)
    rates = [learning_rate(step, 100, 2.0, schedule) for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert set(rates[9:61]) == {2.0}
    assert rates[80] == pytest.approx(1.0)
    assert rates[100] == 0.0


def test_average_follows_weights_and_running_statistics() -> None:
    module = torch.nn.BatchNorm1d(2)
    average = Average(module, 0.5)
    with torch.no_grad():
        module.weight.fill_(3.0)
        module.running_mean.fill_(7.0)  # type: ignore[union-attr]
        module.num_batches_tracked.fill_(5)  # type: ignore[union-attr]
    average.update(module, step=100)
    assert average.module.weight.tolist() == [2.0, 2.0]
    assert average.module.running_mean.tolist() == [3.5, 3.5]  # type: ignore[union-attr]
    assert average.module.num_batches_tracked == 5
    average.update(module, step=0)
    assert average.module.weight[0].item() == pytest.approx(2.0 + 0.9), "early: decay 1/10"
