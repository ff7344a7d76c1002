"""The losses of one batch: a number for every excerpt and source that the batch supervises.

A task is what a weighting gives a weight to: all of separation and all of activity, or those of
each source. What a batch does not supervise enters no mean, and a task without any supervision is
absent rather than zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

SEPARATION = "separation"
ACTIVITY = "activity"


@dataclass(frozen=True)
class Losses:
    """Losses of a batch before anything is averaged.

    Attributes:
        separation: (batch, source).
        supervised: bool (batch, source), which of them count.
        activity: (batch, activity source), or None for a network without activity.
        known: bool (batch, activity source), which of them count.
        sources, activity_sources: names of the columns.
    """

    separation: Tensor
    supervised: Tensor
    activity: Tensor | None
    known: Tensor
    sources: Sequence[str]
    activity_sources: Sequence[str]

    def by_task(self) -> dict[str, Tensor]:
        """Scalars "separation" and "activity", each the mean over all that counts."""
        losses = {}
        if bool(self.supervised.any()):
            losses[SEPARATION] = _mean(self.separation, self.supervised)
        if self.activity is not None and bool(self.known.any()):
            losses[ACTIVITY] = _mean(self.activity, self.known)
        return losses

    def by_source(self) -> dict[str, Tensor]:
        """Scalars "separation/<source>", each a mean over the batch, and "activity"."""
        losses = {}
        for column, source in enumerate(self.sources):
            counts = self.supervised[:, column]
            if bool(counts.any()):
                losses[f"{SEPARATION}/{source}"] = _mean(self.separation[:, column], counts)
        if self.activity is not None and bool(self.known.any()):
            losses[ACTIVITY] = _mean(self.activity, self.known)
        return losses


def _mean(values: Tensor, counts: Tensor) -> Tensor:
    return values[counts].mean()
