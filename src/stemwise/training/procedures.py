"""How batches become optimiser steps.

A procedure owns the order of losses, backward passes and updates within one training step; the
trainer owns loading, schedules, checkpoints and logs. `joint` sums the weighted losses of all tasks
of one batch and takes one step (paper 003 calls it simultaneous).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stemwise.data import augment
from stemwise.data.batch import Batch
from stemwise.errors import StemwiseError
from stemwise.models.separator import Prediction, Separator
from stemwise.training.objectives import Objective
from stemwise.training.weighting import History, Weighting


class NotFiniteError(StemwiseError):
    """A loss or gradient that is not a number; the weights are those before the step."""


@dataclass
class Learner:
    """What a procedure works with.

    separator: the network at the rate of the batches. module: what owns the parameters.
    """

    separator: Separator
    module: nn.Module
    objective: Objective
    weighting: Weighting
    optimiser: torch.optim.Optimizer
    device: torch.device
    bf16: bool = False
    clip: float | None = None

    def judge(self, batch: Batch) -> tuple[Prediction, dict[str, Tensor]]:
        """Prediction and losses of a batch whose draws were applied and that is on the device."""
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            prediction = self.separator(batch.mixture)
        with torch.no_grad():
            reference = self.separator.represent(batch.stems)
        losses = self.objective(prediction, reference, batch, self.separator.grid)
        return prediction, losses


class Procedure(ABC):
    """One training step on one batch."""

    @abstractmethod
    def step(self, learner: Learner, batch: Batch, history: History) -> dict[str, float]:
        """Update the weights; returns the named losses, "total" and "gradient" (its norm)."""


class Joint(Procedure):
    """One update on the weighted sum of all losses of a batch."""

    def step(self, learner: Learner, batch: Batch, history: History) -> dict[str, float]:
        batch = augment.apply(batch.to(learner.device), learner.separator.channels)
        _, losses = learner.judge(batch)
        if not losses:
            return {}
        total = learner.weighting.combine(losses, batch, history)
        learner.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        norm = torch.nn.utils.clip_grad_norm_(
            learner.module.parameters(), learner.clip if learner.clip else float("inf")
        )
        figures = torch.stack([*(loss.detach() for loss in losses.values()), total.detach(), norm])
        values = dict(zip([*losses, "total", "gradient"], figures.tolist(), strict=True))
        if not bool(torch.isfinite(figures).all()):
            songs = sorted({origin for excerpt in batch.origins for origin in excerpt})
            raise NotFiniteError(
                f"a loss or gradient is not a number ({values}); the batch was read from "
                f"{', '.join(songs)}"
            )
        learner.optimiser.step()
        return values
