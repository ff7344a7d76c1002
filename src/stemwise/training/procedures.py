"""How batches become optimiser steps.

A procedure owns the order of losses, backward passes and updates within one training step; the
trainer owns loading, schedules, checkpoints and logs. `joint` sums the weighted losses of all tasks
of one batch and takes one step (paper 003 calls it simultaneous).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from stemwise.data.batch import Batch
from stemwise.training.learner import Learner


class Procedure(ABC):
    """One training step on the next batches of a stream."""

    def batches(self, sources: int) -> int:
        """Batches that a step takes from the stream, for a separator of so many sources."""
        return 1

    @abstractmethod
    def step(self, learner: Learner, batches: Sequence[Batch]) -> dict[str, float]:
        """Update the weights; returns the losses by task, "total" and "gradient" (its norm)."""


class Joint(Procedure):
    """One update on the weighted sum of all losses of a batch."""

    def step(self, learner: Learner, batches: Sequence[Batch]) -> dict[str, float]:
        """See the class; a batch that supervises nothing changes nothing."""
        [batch] = (learner.prepare(one) for one in batches)
        tasks = learner.tasks(batch)
        if not tasks:
            return {}
        total = learner.weigh(tasks, batch)
        learner.backward(total)
        figures: dict[str, Tensor] = {**tasks, "total": total}
        return learner.update(figures, [batch])
