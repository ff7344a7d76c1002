"""How the losses of a batch become the number to minimise.

A weighting says which tasks it weighs (all of separation and all of activity, or each source) and
gives each a weight from what has been seen so far: this batch, past epochs, the training data.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from stemwise.data.batch import Batch
from stemwise.errors import RecipeError
from stemwise.training.losses import Losses

History = Sequence[Mapping[str, float]]
"""Mean loss of every task in each past epoch, oldest first."""


@dataclass(frozen=True)
class Moment:
    """What a weighting may look at besides the losses.

    Attributes:
        batch: with its draws applied, of the separator's sources.
        history: of the tasks' mean losses in past epochs.
        parameters: of the network, for weightings that look at gradients; empty where nothing is
            learnt (in validation).
    """

    batch: Batch
    history: History = ()
    parameters: Sequence[nn.Parameter] = ()


class Weighting(ABC):
    """Gives every task of a step its weight."""

    def tasks(self, losses: Losses) -> dict[str, Tensor]:
        """The scalars that are weighed; those of `Losses.by_task` or `Losses.by_source`."""
        return losses.by_task()

    @abstractmethod
    def weights(self, tasks: Mapping[str, Tensor], moment: Moment) -> dict[str, float | Tensor]:
        """One weight for each of `tasks`."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs besides the history: tensors and plain values."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Restore what `state_dict` gave."""


def weigh(tasks: Mapping[str, Tensor], weights: Mapping[str, float | Tensor]) -> Tensor:
    """The weighted sum of `tasks` (at least one), a scalar."""
    terms = [weights[task] * loss for task, loss in tasks.items()]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


@dataclass(frozen=True)
class Fixed(Weighting):
    """The same weight for a task in every step; a task without weight is an error."""

    by_task: Mapping[str, float] = field(default_factory=dict)

    def weights(self, tasks: Mapping[str, Tensor], moment: Moment) -> dict[str, float | Tensor]:
        """The weights as they were given."""
        missing = [task for task in tasks if task not in self.by_task]
        if missing:
            raise RecipeError(
                f"the weighting gives no weight to {', '.join(missing)}; "
                "add it to weighting.weights"
            )
        return {task: self.by_task[task] for task in tasks}
