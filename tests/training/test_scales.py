"""What networks compare on the scales of their papers, against implementations of their equations.

The axis of Kadandale et al. 2020 is warped here with `numpy.interp`, one frame at a time.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.small_networks import small
from tests.training.conftest import TinySeparator
from tests.training.test_waveforms import judge, noise, sounding
from torch import Tensor

from stemwise.errors import RecipeError
from stemwise.models.chunks import CHUNK
from stemwise.models.separator import Prediction
from stemwise.training.objectives import Direct, Distance

Array = NDArray[np.float64]


def warp(magnitudes: Tensor) -> Array:
    """512 bins (..., bin, frame) to 256 of the logarithmic axis."""
    y = np.linspace(-1, 1, 256)
    places = ((21 ** ((y + 1) / 2) - 11) / 10 + 1) / 2 * 511
    flat = magnitudes.double().numpy().swapaxes(-1, -2)
    rows = np.array([np.interp(places, np.arange(512), row) for row in flat.reshape(-1, 512)])
    out: Array = rows.reshape(*flat.shape[:-1], 256).swapaxes(-1, -2)
    return out


@pytest.mark.parametrize("network", ["multichannel-unet", "conditioned-unet"])
def test_indirect_and_direct_losses_on_the_warped_axis(network: str) -> None:
    """Equations 4 and 3 with 2, as means over time and frequency."""
    separator = small(network, sources=["vocals", "drums"])
    batch = sounding(separator, CHUNK)
    batch.stems[:, 1] *= 20  # masks above the limit, whose mixture is quieter by cancellation
    batch.stems[:, 0] -= 0.98 * batch.stems[:, 1]
    prediction = separator(batch.mixture)
    masks = prediction.warped.detach().double().numpy()
    stems = warp(separator.represent(batch.stems).abs())
    mixture = warp(prediction.mixture.abs())[:, None]

    indirect = np.abs(stems - masks * mixture).mean(axis=(2, 3, 4))
    found = judge(Distance("l1"), separator, prediction, batch)
    np.testing.assert_allclose(found.detach().numpy(), indirect, rtol=1e-4)

    ideal = np.minimum(stems / mixture, 10)
    assert (ideal == 10).mean() > 0.1, "the limit matters here"
    direct = np.abs(ideal - masks).mean(axis=(2, 3, 4))
    found = judge(Direct(), separator, prediction, batch)
    np.testing.assert_allclose(found.detach().numpy(), direct, rtol=1e-4)


def test_networks_that_estimate_warped_magnitudes_have_no_masks_to_compare() -> None:
    separator = small("multichannel-unet", sources=["vocals"], mask="none")
    batch = sounding(separator, CHUNK, 2)
    prediction = separator(batch.mixture)
    found = judge(Distance("l1"), separator, prediction, batch).detach().numpy()
    stems = warp(separator.represent(batch.stems).abs())
    warped = prediction.warped.detach().double().numpy()
    np.testing.assert_allclose(found, np.abs(stems - warped).mean(axis=(2, 3, 4)), rtol=1e-4)
    with pytest.raises(RecipeError, match="'multichannel-unet' makes none as this recipe"):
        judge(Direct(), separator, prediction, batch)


def test_joint_unet_compares_logarithms_of_magnitudes() -> None:
    """Stoller et al. 2018: the mean squared error of log1p over frames, bins and sources."""
    separator = small("joint-unet")
    batch = sounding(separator, separator.grid.input_length(1))
    batch = replace(batch, activity=torch.ones(2, 1, 200), activity_known=torch.ones(2, 1).bool())
    prediction = separator(batch.mixture)
    reference = separator.represent(batch.stems)
    found = Distance("mse")(separator, prediction, reference, batch).by_task()["separation"]
    window = torch.hann_window(512)
    spectra = [
        torch.stft(
            x.flatten(0, -2), 512, 256, window=window, pad_mode="constant", return_complex=True
        )
        for x in (batch.stems, batch.mixture)
    ]
    frames = slice(46, spectra[0].shape[-1] - 46)
    stems, mixture = (np.abs(x.numpy())[..., frames] for x in spectra)
    assert prediction.masks is not None
    masks = prediction.masks.detach().numpy()
    estimates = masks * mixture.reshape(2, 1, 1, *mixture.shape[1:])
    squares = (np.log1p(estimates) - np.log1p(stems.reshape(masks.shape))) ** 2
    assert found.item() == pytest.approx(squares.mean(), rel=1e-4)
    linear = judge(Distance("mse", magnitude=True), separator, prediction, batch).detach().numpy()
    expected = ((estimates - stems.reshape(masks.shape)) ** 2).mean(axis=(2, 3, 4))
    np.testing.assert_allclose(linear, expected, rtol=1e-4)


def test_magnitudes_of_warped_networks_are_those_of_all_bins() -> None:
    separator = small("multichannel-unet", sources=["vocals"])
    batch = sounding(separator, CHUNK, 2)
    prediction = separator(batch.mixture)
    reference = separator.represent(batch.stems)
    found = judge(Distance("l1", magnitude=True), separator, prediction, batch)
    assert reference.shape[-2] == 512
    expected = (prediction.estimates.abs() - reference.abs()).abs().mean(dim=(2, 3, 4))
    torch.testing.assert_close(found, expected)


def test_direct_compares_masks_of_any_network_with_ideal_ones() -> None:
    separator = TinySeparator(["a", "b"])
    batch = sounding(separator)
    batch.stems[:, 1] = 0
    reference = separator.represent(batch.stems)
    mixture = separator.spectrum(batch.mixture)
    masks = noise(*reference.shape, seed=3).abs()
    found = judge(Direct(limit=0.5), separator, Prediction(mixture, masks=masks), batch)
    torch.testing.assert_close(found[:, 0], (masks[:, 0] - 0.5).abs().mean(dim=(1, 2, 3)))
    torch.testing.assert_close(found[:, 1], masks[:, 1].mean(dim=(1, 2, 3)))


def test_ideal_masks_of_silence_are_zero() -> None:
    separator = TinySeparator(["a"])
    batch = sounding(separator)
    batch.stems[:] = 0
    mixture = separator.spectrum(batch.mixture)
    masks = torch.full((2, 1, 2, 257, 21), 0.25)
    found = judge(Direct(), separator, Prediction(mixture, masks=masks), batch)
    assert found.tolist() == [[0.25]] * 2


def test_magnitudes_of_waveforms_are_refused() -> None:
    separator = small("waveform-unmix")
    batch = sounding(separator, 4096, 1)
    with pytest.raises(RecipeError, match="compares magnitudes, but 'waveform-unmix'"):
        judge(Distance("l1", magnitude=True), separator, separator(batch.mixture), batch)
    with pytest.raises(RecipeError, match="'direct' compares masks, but 'waveform-unmix'"):
        judge(Direct(), separator, separator(batch.mixture), batch)
