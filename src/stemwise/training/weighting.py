"""How per-task losses become the number to minimise: (losses, batch, history) -> weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from stemwise.data.batch import Batch
from stemwise.errors import RecipeError

History = Sequence[Mapping[str, float]]
"""Mean loss of every task in each past epoch, oldest first."""


class Weighting(ABC):
    """Gives every task of a step its weight."""

    @abstractmethod
    def weights(
        self, losses: Mapping[str, Tensor], batch: Batch, history: History
    ) -> dict[str, float | Tensor]:
        """One weight for each of `losses`."""

    def combine(self, losses: Mapping[str, Tensor], batch: Batch, history: History) -> Tensor:
        """The weighted sum of `losses` (at least one), a scalar."""
        weights = self.weights(losses, batch, history)
        terms = [weights[task] * loss for task, loss in losses.items()]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total


@dataclass(frozen=True)
class Fixed(Weighting):
    """The same weight for a task in every step; a task without weight is an error."""

    by_task: Mapping[str, float] = field(default_factory=dict)

    def weights(
        self, losses: Mapping[str, Tensor], batch: Batch, history: History
    ) -> dict[str, float | Tensor]:
        missing = [task for task in losses if task not in self.by_task]
        if missing:
            raise RecipeError(
                f"the weighting gives no weight to {', '.join(missing)}; "
                "add it to weighting.weights"
            )
        return {task: self.by_task[task] for task in losses}
