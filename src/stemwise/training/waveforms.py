"""Losses on waveforms: estimates as they would be heard, with the mixture's phase where needed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from stemwise.data.batch import Batch
from stemwise.models.separator import Prediction, Separator
from stemwise.training.objectives import Distance, Objective


def waveforms(separator: Separator, prediction: Prediction, batch: Batch) -> tuple[Tensor, Tensor]:
    """Estimates and stems, both (batch, source, channel, sample), where the network estimates."""
    estimates = separator.reconstruct(prediction)
    crop = separator.grid.crop
    return estimates, batch.stems[..., crop : crop + estimates.shape[-1]]


@dataclass(frozen=True)
class WaveformDistance(Objective):
    """Mean absolute (`l1`) or squared (`mse`) difference of samples, per stem."""

    norm: Literal["l1", "mse"] = "l1"

    def separation(
        self, separator: Separator, prediction: Prediction, reference: Tensor, batch: Batch
    ) -> Tensor:
        """Mean distance over channels and samples, (batch, source)."""
        estimates, stems = waveforms(separator, prediction, batch)
        difference = estimates - stems
        distance = difference.abs() if self.norm == "l1" else difference.square()
        return distance.mean(dim=(2, 3))


@dataclass(frozen=True)
class Dual(Objective):
    """(1 - w) MSE of magnitudes + w MSE of waveforms (George et al. 2022, equation 2).

    The waveforms are those of the estimated magnitudes with the mixture's phase. Networks that
    estimate waveforms have no magnitudes to compare: RecipeError.

    waveform_weight: w in [0, 1], the paper's beta; its alpha is 1 - w.
    """

    waveform_weight: float = 0.1
    magnitudes: Distance = field(default=Distance("mse", magnitude=True), init=False)
    waveforms: WaveformDistance = field(default=WaveformDistance("mse"), init=False)

    def separation(
        self, separator: Separator, prediction: Prediction, reference: Tensor, batch: Batch
    ) -> Tensor:
        """Weighted mean of both, (batch, source)."""
        magnitude = self.magnitudes.separation(separator, prediction, reference, batch)
        waveform = self.waveforms.separation(separator, prediction, reference, batch)
        return (1 - self.waveform_weight) * magnitude + self.waveform_weight * waveform


@dataclass(frozen=True)
class ScaleInvariantSDR(Objective):
    """Negative SI-SDR in dB (Le Roux et al. 2019), per stem; lower is better.

    All channels share one factor, as in `evaluation.metrics.si_sdr`. Values are bounded: `BOUND`
    for an estimate that is the stem but for a factor, -`BOUND` for one that has nothing of it, or
    is silent.

    A silent stem has no SI-SDR. Its loss is the level of the estimate in dB relative to the
    mixture, but for `SILENCE` that is added to its power: silence gives 10 log10(SILENCE) = -30 dB
    and everything louder more, as in mixture invariant training (Wisdom et al. 2020).
    """

    BOUND = 60.0
    SILENCE = 1e-3
    SILENT = 1e-8
    """Mean square at or below which a stem is silent: -80 dBFS."""

    def separation(
        self, separator: Separator, prediction: Prediction, reference: Tensor, batch: Batch
    ) -> Tensor:
        """Minus SI-SDR, or the level where the stem is silent, (batch, source) in dB."""
        estimates, stems = waveforms(separator, prediction, batch)
        crop = separator.grid.crop
        mixture = batch.mixture[:, None, :, crop : crop + estimates.shape[-1]]
        energy, mixed, found = (_energy(x) for x in (stems, mixture, estimates))
        count = stems.shape[2] * stems.shape[3]
        silent = energy <= count * self.SILENT
        energy = energy.where(~silent, 1.0)  # whatever is divided by it is not used
        factor = (estimates * stems).sum(dim=(2, 3)) / energy
        target = factor.square() * energy
        error = _energy(estimates - factor[..., None, None] * stems)
        # shares of the estimate, so that its scale is free; a little more error for silent ones
        floor = 10 ** (-self.BOUND / 10)
        more = 1e-5 * floor * energy
        whole = found + more
        sdr = _decibels(target / whole + floor) - _decibels((error + more) / whole + floor)
        quiet = mixed + count * self.SILENT
        level = _decibels(found / quiet + self.SILENCE)
        return torch.where(silent, level, -sdr)


def _energy(x: Tensor) -> Tensor:
    return x.square().sum(dim=(2, 3))


def _decibels(ratio: Tensor) -> Tensor:
    return 10 * torch.log10(ratio)
