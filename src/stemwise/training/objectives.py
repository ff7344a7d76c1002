"""What a network is judged by: a loss for every excerpt and source of a batch (`losses.Losses`).

Estimates and references of spectrogram networks are compared in the network's own representation
(`Separator.represent`), on the scale that the network declares (`Separator.compared`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional

from stemwise.data.batch import Batch
from stemwise.models.separator import Grid, Prediction, Separator
from stemwise.training.losses import Losses
from stemwise.training.masked import masked_distance


class Objective(ABC):
    """Judges predictions."""

    @abstractmethod
    def separation(
        self, separator: Separator, prediction: Prediction, reference: Tensor, batch: Batch
    ) -> Tensor:
        """Loss of every stem, (batch, source); what the batch does not supervise is ignored."""

    def __call__(
        self, separator: Separator, prediction: Prediction, reference: Tensor, batch: Batch
    ) -> Losses:
        """Losses of a batch.

        separator: at the batch's rate. reference: (batch, source, channel, ...) stems as
        `Separator.represent` gives them. batch: with its draws applied, of the separator's sources.
        """
        activity = None
        if prediction.activity is not None:
            labels = crop_labels(batch.activity, prediction.activity.shape[-1], separator.grid)
            activity = activity_loss(prediction.activity, labels)
        return Losses(
            self.separation(separator, prediction, reference, batch),
            batch.supervised,
            activity,
            batch.activity_known,
            separator.sources,
            separator.activity_sources,
        )


@dataclass(frozen=True)
class Distance(Objective):
    """Mean absolute (`l1`) or squared (`mse`) distance from the reference, per stem.

    Works for real magnitudes, waveforms, and complex spectra (distance in the complex plane);
    `magnitude` compares absolute values of complex spectra instead.
    """

    norm: Literal["l1", "mse"] = "l1"
    magnitude: bool = False

    def separation(
        self, separator: Separator, prediction: Prediction, reference: Tensor, batch: Batch
    ) -> Tensor:
        """Mean distance of every stem, (batch, source)."""
        estimates, reference = separator.compared(prediction, reference)
        if self.magnitude or estimates.is_complex() != reference.is_complex():
            estimates, reference = estimates.abs(), reference.abs()
        difference = (estimates - reference).abs()
        if self.norm == "mse":
            difference = difference.square()
        return difference.flatten(2).mean(dim=2)


@dataclass(frozen=True)
class Spectral(Objective):
    """Distance between spectra, relative to the mixture, with more weight for quieter stems.

    Per stem the mean over channels, bins and frames of |estimate - reference| is divided by the
    mean magnitude of the mixture and by the square root of the stem's share of it. The share is
    at least `floor`, so that a silent stem has a large but bounded weight and teaches silence.

    Attributes:
        complex_weight: share in [0, 1] of the distance between complex spectra; the rest is the
            distance between magnitudes.
        floor: smallest share of a stem in the mixture, > 0.
    """

    complex_weight: float = 0.5
    floor: float = 0.02

    def separation(
        self, separator: Separator, prediction: Prediction, reference: Tensor, batch: Batch
    ) -> Tensor:
        """Relative distance of every stem, (batch, source)."""
        masks = prediction.masks
        if masks is not None and reference.is_complex():
            distance = masked_distance(
                masks.float(), prediction.mixture, reference, self.complex_weight
            )
        else:
            estimates = prediction.estimates
            distance = (1 - self.complex_weight) * _mean(estimates.abs() - reference.abs())
            distance = distance + self.complex_weight * _mean(estimates - reference)
        level = _mean(prediction.mixture.unsqueeze(1)).clamp_min(1e-5)
        share = (_mean(reference) / level).clamp_min(self.floor)
        return distance / level * share.rsqrt()


def _mean(difference: Tensor) -> Tensor:
    """Mean absolute value over everything but batch and source."""
    return difference.abs().flatten(2).mean(dim=2)


def activity_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy, averaged over frames: (batch, activity source).

    logits, labels: (batch, activity source, frame).
    """
    per_frame = functional.binary_cross_entropy_with_logits(
        logits.float(), labels, reduction="none"
    )
    return per_frame.mean(dim=-1)


def crop_labels(activity: Tensor, frames: int, grid: Grid) -> Tensor:
    """The label frames that a prediction of `frames` frames covers: those after the grid's crop."""
    first = grid.crop // grid.hop
    return activity[..., first : first + frames]
