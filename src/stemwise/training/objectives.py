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
from stemwise.errors import RecipeError
from stemwise.models.chunks import WarpedPrediction
from stemwise.models.separator import Grid, Prediction, Separator
from stemwise.training.losses import Losses
from stemwise.training.masked import (
    masked_complex_distance,
    masked_distance,
    masked_magnitude_distance,
)

_TINY = 1e-10
"""Magnitudes and mean squares of a mixture below it are silence."""


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

    On the scale of the network's paper (`Separator.compared`), where complex spectra are compared
    in the complex plane; with `magnitude` between the linear magnitudes of spectra.
    """

    norm: Literal["l1", "mse"] = "l1"
    magnitude: bool = False

    def separation(
        self, separator: Separator, prediction: Prediction, reference: Tensor, batch: Batch
    ) -> Tensor:
        """Mean distance of every stem, (batch, source)."""
        if self.magnitude:
            check_spectra(separator, prediction)
        elif type(separator).compared is not Separator.compared:
            return self._mean(*separator.compared(prediction, reference))
        masks, squared = prediction.masks, self.norm == "mse"
        if masks is not None:
            closed = masked_magnitude_distance if self.magnitude else masked_complex_distance
            return closed(masks.float(), prediction.mixture, reference, squared=squared)
        estimates = prediction.estimates
        if self.magnitude or estimates.is_complex() != reference.is_complex():
            estimates, reference = estimates.abs(), reference.abs()
        return self._mean(estimates, reference)

    def _mean(self, estimates: Tensor, reference: Tensor) -> Tensor:
        distance = (estimates - reference).abs()
        if self.norm == "mse":
            distance = distance.square()
        return distance.mean(dim=tuple(range(2, distance.dim())))


def check_spectra(separator: Separator, prediction: Prediction) -> None:
    """Raise RecipeError for networks that estimate waveforms, which have no magnitudes."""
    if not prediction.mixture.is_complex():
        raise RecipeError(
            f"this recipe compares magnitudes, but '{separator.kind}' estimates waveforms; "
            "choose the objective 'waveform-l1', 'waveform-mse' or 'si-sdr'"
        )


@dataclass(frozen=True)
class Direct(Objective):
    """Mean absolute difference of masks and ideal amplitude masks (Kadandale et al. 2020).

    Equations 2 and 3: the ideal mask of a stem is min(|S| / |X|, limit), 0 where the stem is
    silent. Networks with a frequency axis of their own are judged on it. Networks that estimate
    without masks have nothing to compare: RecipeError.

    limit: > 0.
    """

    limit: float = 10.0

    def separation(
        self, separator: Separator, prediction: Prediction, reference: Tensor, batch: Batch
    ) -> Tensor:
        """Mean difference of every stem, (batch, source)."""
        if isinstance(prediction, WarpedPrediction):
            masks, mixture = prediction.warped_masks, prediction.warped_mixture
            stems = prediction.warp(reference.abs())
        else:
            masks, mixture, stems = prediction.masks, prediction.mixture.abs(), reference.abs()
        if masks is None:
            raise RecipeError(
                f"the objective 'direct' compares masks, but '{separator.kind}' makes none as this "
                "recipe configures it; choose 'l1' or 'mse'"
            )
        ideal = (stems / mixture.clamp_min(_TINY).unsqueeze(1)).clamp_max(self.limit)
        difference: Tensor = masks.float() - ideal
        return difference.abs().mean(dim=(2, 3, 4))


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


@dataclass(frozen=True)
class RootMeanSquare(Objective):
    """Root of the energy of the error, relative to the mixture.

    Per stem ||estimate - reference|| / ||mixture||, over channels, bins and frames together. It
    does not depend on the excerpt's volume, and for a given excerpt it falls as the stem's
    signal-to-distortion ratio rises; a silent stem needs no weight of its own. Where a network is
    not sure whose a bin is, the best mask is the expected share.
    Absolute differences (`Spectral`) make it take the likeliest source alone, and make bins that
    hardly sound count as much as loud ones.
    """

    def separation(
        self, separator: Separator, prediction: Prediction, reference: Tensor, batch: Batch
    ) -> Tensor:
        """Relative root mean square of every stem's error, (batch, source)."""
        masks = prediction.masks
        if masks is not None and reference.is_complex():
            error = masked_complex_distance(
                masks.float(), prediction.mixture, reference, squared=True
            )
        else:
            error = _mean_square(prediction.estimates - reference)
        power = _mean_square(prediction.mixture.unsqueeze(1)).clamp_min(_TINY)
        return (error / power + 1e-12).sqrt()  # at 0 the root has no slope


def _mean_square(x: Tensor) -> Tensor:
    """Mean of the squared absolute value over everything but batch and source."""
    return x.abs().square().flatten(2).mean(dim=2)


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
