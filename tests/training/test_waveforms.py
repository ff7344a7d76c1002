"""Losses on waveforms: against plain compositions and the metric of the evaluation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.small_networks import small
from tests.training.conftest import TinySeparator
from tests.training.test_objectives import make_batch
from torch import Tensor
from torch.nn import functional

from stemwise.data.batch import Batch
from stemwise.errors import RecipeError
from stemwise.evaluation import metrics
from stemwise.models.separator import Prediction, Separator
from stemwise.training.objectives import Objective
from stemwise.training.waveforms import Dual, ScaleInvariantSDR, WaveformDistance

SAMPLES = 2560


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sounding(separator: Separator, samples: int = SAMPLES, batch: int = 2) -> Batch:
    """All stems known, all of them noise."""
    known = torch.ones(batch, len(separator.sources), dtype=torch.bool)
    empty = make_batch(known, known)
    return replace(empty, stems=0.1 * noise(*known.shape, separator.channels, samples))


def judge(
    objective: Objective, separator: Separator, prediction: Prediction, batch: Batch
) -> Tensor:
    return objective.separation(separator, prediction, separator.represent(batch.stems), batch)


class Waveforms(TinySeparator):
    """Takes predictions of waveforms as they are."""

    def represent(self, stems: Tensor) -> Tensor:
        return stems

    def reconstruct(
        self, prediction: Prediction, start: int = 0, stop: int | None = None
    ) -> Tensor:
        return prediction.estimates[..., start:stop]


@pytest.mark.parametrize("crop", [0, 256])
def test_distances_are_those_of_torch_where_the_network_estimates(crop: int) -> None:
    separator = TinySeparator(["a", "b"], crop=crop).eval()
    batch = sounding(separator)
    prediction = separator(batch.mixture)
    stems = batch.stems[..., crop : SAMPLES - crop]
    estimates = separator.reconstruct(prediction)
    assert estimates.shape == stems.shape
    for norm, plain in (("l1", functional.l1_loss), ("mse", functional.mse_loss)):
        found = judge(WaveformDistance(norm), separator, prediction, batch)  # type: ignore[arg-type]
        expected = plain(estimates, stems, reduction="none").flatten(2).mean(dim=2)
        torch.testing.assert_close(found, expected)


def test_dual_is_the_weighted_sum_of_its_parts() -> None:
    """Equation 2 of George et al. 2022, written with torch alone."""
    separator = TinySeparator(["a", "b"])
    batch = sounding(separator)
    masks = noise(2, 2, 2, 257, 21, seed=1).sigmoid().requires_grad_()
    mixture = separator.spectrum(batch.mixture)
    objective = Dual(waveform_weight=0.1)
    found = judge(objective, separator, Prediction(mixture, masks=masks), batch)

    magnitude = masks * mixture.abs().unsqueeze(1)
    spectra = torch.polar(magnitude, mixture.angle().unsqueeze(1).expand_as(magnitude))
    window = torch.hann_window(512)
    waves = torch.istft(spectra.flatten(0, 2), 512, 128, window=window, length=SAMPLES)
    stems = batch.stems
    reference = torch.stft(
        stems.flatten(0, 2), 512, 128, window=window, pad_mode="constant", return_complex=True
    )
    of_magnitudes = (magnitude - reference.abs().reshape(magnitude.shape)).square()
    of_waveforms = (waves.reshape(stems.shape) - stems).square()
    expected = 0.9 * of_magnitudes.mean(dim=(2, 3, 4)) + 0.1 * of_waveforms.mean(dim=(2, 3))
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(loss.sum(), masks)[0] for loss in (found, expected)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-7)


def test_dual_is_not_for_networks_without_magnitudes() -> None:
    separator = small("waveform-unmix")
    batch = sounding(separator, 4096, 1)
    with pytest.raises(RecipeError, match="'waveform-unmix' estimates waveforms; choose"):
        judge(Dual(), separator, separator(batch.mixture), batch)


def predicted(separator: Separator, estimates: Tensor, batch: Batch) -> Prediction:
    return Prediction(batch.mixture, estimates=estimates)


def test_si_sdr_is_minus_the_metric_of_the_evaluation() -> None:
    separator = Waveforms(["a", "b", "c"])
    batch = sounding(separator, 4000)
    levels = torch.tensor([0.03, 0.3, 3.0]).reshape(1, 3, 1, 1)
    estimates = 0.7 * (batch.stems + 0.1 * levels * noise(2, 3, 2, 4000, seed=1))
    found = judge(ScaleInvariantSDR(), separator, predicted(separator, estimates, batch), batch)
    for k in range(2):
        expected = metrics.si_sdr(batch.stems[k].numpy(), estimates[k].numpy())
        assert expected[0] > 29
        assert expected[2] < -5
        np.testing.assert_allclose(-found[k].numpy(), expected, atol=0.02)


def test_si_sdr_is_bounded() -> None:
    separator = Waveforms(["perfect", "orthogonal", "silent"])
    batch = sounding(separator, 4000, 1)
    stems = batch.stems.clone()
    stems[:, 1, :, ::2] = 0
    estimates = 3 * stems
    estimates[:, 1] = 0
    estimates[:, 1, :, ::2] = 1
    estimates[:, 2] = 0
    estimates.requires_grad_()
    batch = replace(batch, stems=stems)
    found = judge(ScaleInvariantSDR(), separator, predicted(separator, estimates, batch), batch)
    torch.testing.assert_close(
        found.detach(), torch.tensor([[-60.0, 60.0, 60.0]]), atol=0.1, rtol=0
    )
    (gradient,) = torch.autograd.grad(found.sum(), estimates)
    assert bool(torch.isfinite(gradient).all())


def test_silent_stems_are_judged_by_how_loud_their_estimates_are() -> None:
    """Relative to the mixture: as loud 0 dB (and 0.004 for the bound), 20 dB below it -20 dB."""
    separator = Waveforms(["a", "b", "c", "d"])
    batch = sounding(separator, 4000, 1)
    stems = batch.stems * torch.tensor([1.0, 0.0, 0.0, 0.0]).reshape(1, 4, 1, 1)
    estimates = stems[:, :1] * torch.tensor([1.0, 1.0, 0.1, 0.0]).reshape(1, 4, 1, 1)
    batch = replace(batch, stems=stems)
    found = judge(ScaleInvariantSDR(), separator, predicted(separator, estimates, batch), batch)
    expected = [-60.0, 10 * np.log10(1.001), 10 * np.log10(0.011), -30.0]
    np.testing.assert_allclose(found[0].numpy(), expected, atol=0.01)


def test_digital_silence_has_a_loss_that_falls_with_the_estimate() -> None:
    separator = Waveforms(["a"])
    batch = replace(sounding(separator, 400, 1), stems=torch.zeros(1, 1, 2, 400))
    losses = []
    for level in (0.1, 0.001, 0.0):
        estimates = (level * torch.ones(1, 1, 2, 400)).requires_grad_()
        loss = judge(ScaleInvariantSDR(), separator, predicted(separator, estimates, batch), batch)
        (gradient,) = torch.autograd.grad(loss.sum(), estimates)
        assert bool(torch.isfinite(gradient).all())
        losses.append(float(loss.detach()))
    assert losses[0] > losses[1] > losses[2] == pytest.approx(-30.0)


@given(st.floats(1e-2, 1e2), st.floats(0.01, 10.0), st.integers(0, 10))
def test_si_sdr_does_not_depend_on_the_scale_of_the_estimate(
    factor: float, level: float, seed: int
) -> None:
    separator = Waveforms(["a"])
    batch = sounding(separator, 500, 1)
    estimates = batch.stems + 0.1 * level * noise(1, 1, 2, 500, seed=seed + 1)
    found = [
        judge(ScaleInvariantSDR(), separator, predicted(separator, scaled, batch), batch).item()
        for scaled in (estimates, factor * estimates)
    ]
    assert found[0] == pytest.approx(found[1], abs=0.01)
