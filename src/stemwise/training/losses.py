"""The losses of one batch: a number for every excerpt and source that the batch supervises.

A task is what a weighting gives a weight to: all of separation and all of activity, or those of
each source. What a batch does not supervise enters no mean, and a task without any supervision is
absent rather than zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

SEPARATION = "separation"
ACTIVITY = "activity"


def source_of(task: str) -> str:
    """The source whose task "separation/<source>" is."""
    return task.removeprefix(f"{SEPARATION}/")


@dataclass(frozen=True)
class Losses:
    """Losses of a batch before anything is averaged.

    Attributes:
        separation: (batch, source).
        supervised: bool (batch, source), which of them count.
        activity: (batch, activity source), or None for a network without activity.
        known: bool (batch, activity source), which of them count.
        sources, activity_sources: names of the columns.
        shared: where several processes train together, gives the mean of a vector over them. The
            mean over processes of what `by_task` and `by_source` give is then the mean over all
            that counts in any of them.
    """

    separation: Tensor
    supervised: Tensor
    activity: Tensor | None
    known: Tensor
    sources: Sequence[str]
    activity_sources: Sequence[str]
    shared: Callable[[Tensor], Tensor] | None = None

    def by_task(self) -> dict[str, Tensor]:
        """Scalars "separation" and "activity", each the mean over all that counts."""
        return self._means({SEPARATION: (self.separation, self.supervised)})

    def by_source(self) -> dict[str, Tensor]:
        """Scalars "separation/<source>", each a mean over the batch, and "activity"."""
        return self._means(
            {
                f"{SEPARATION}/{source}": (self.separation[:, column], self.supervised[:, column])
                for column, source in enumerate(self.sources)
            }
        )

    def _means(self, parts: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """Means of (values, which of them count) by name, and of activity."""
        if self.activity is not None:
            parts = {**parts, ACTIVITY: (self.activity, self.known)}
        numbers = torch.stack([counts.sum() for _, counts in parts.values()]).float()
        if self.shared is not None:
            numbers = self.shared(numbers)
        # asked once: every answer that leaves a GPU waits for all it has to do. A task that this
        # process alone lacks is 0 here, so that all processes have the same tasks
        present = (numbers > 0).tolist()
        return {
            name: torch.where(counts, values, 0.0).sum() / number
            for (name, (values, counts)), number, there in zip(
                parts.items(), numbers, present, strict=True
            )
            if there
        }
