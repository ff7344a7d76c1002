"""What a network is judged by: (prediction, reference, batch) -> one named loss per task.

A loss takes only what the batch supervises: stems and labels that a track does not have enter no
mean, and a task without any is absent from the result rather than zero. Predictions, references and
excerpts of spectrogram networks are in the network's own representation (`Separator.represent`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional

from stemwise.data.batch import Batch
from stemwise.models.separator import Grid, Prediction
from stemwise.training.masked import masked_distance

SEPARATION = "separation"
ACTIVITY = "activity"


class Objective(ABC):
    """Judges predictions; the names of its losses are the tasks that a weighting sums."""

    @abstractmethod
    def separation(self, prediction: Prediction, reference: Tensor) -> Tensor:
        """Loss of every stem, (batch, source)."""

    def __call__(
        self, prediction: Prediction, reference: Tensor, batch: Batch, grid: Grid
    ) -> dict[str, Tensor]:
        """Scalar losses of the tasks this batch supervises: "separation" and "activity".

        reference: (batch, source, channel, ...) stems as `Separator.represent` gives them. grid:
        of the network at the batch's rate; its crop tells which label frames were predicted.
        """
        losses: dict[str, Tensor] = {}
        if bool(batch.supervised.any()):
            per_stem = self.separation(prediction, reference)
            losses[SEPARATION] = per_stem[batch.supervised].mean()
        if prediction.activity is not None and bool(batch.activity_known.any()):
            labels = crop_labels(batch.activity, prediction.activity.shape[-1], grid)
            losses[ACTIVITY] = activity_loss(prediction.activity, labels, batch.activity_known)
        return losses


@dataclass(frozen=True)
class Distance(Objective):
    """Mean absolute (`l1`) or squared (`mse`) distance from the reference, per stem.

    Works for real magnitudes, waveforms, and complex spectra (distance in the complex plane);
    `magnitude` compares absolute values of complex spectra instead.
    """

    norm: Literal["l1", "mse"] = "l1"
    magnitude: bool = False

    def separation(self, prediction: Prediction, reference: Tensor) -> Tensor:
        estimates = prediction.estimates
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

    def separation(self, prediction: Prediction, reference: Tensor) -> Tensor:
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


def activity_loss(logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    """Binary cross-entropy per frame, averaged over the known rows.

    logits, labels: (batch, activity source, frame); known: bool (batch, activity source).
    """
    per_frame = functional.binary_cross_entropy_with_logits(
        logits.float(), labels, reduction="none"
    )
    return per_frame.mean(dim=-1)[known].mean()


def crop_labels(activity: Tensor, frames: int, grid: Grid) -> Tensor:
    """The label frames that a prediction of `frames` frames covers: those after the grid's crop."""
    first = grid.crop // grid.hop
    return activity[..., first : first + frames]
