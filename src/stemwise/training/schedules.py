"""Learning rates: functions of the step, and the plateau, which also looks at validation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from stemwise.training.sections import ScheduleSection

_KEPT = ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")


def learning_rate(step: int, steps: int, peak: float, schedule: ScheduleSection) -> float:
    """Learning rate of step `step` (from 0) of `steps`, apart from what a plateau takes away.

    The warm-up is linear and ends at `peak`; the cosine begins where the warm-up ends.
    """
    if step < schedule.warmup:
        return peak * (step + 1) / schedule.warmup
    if schedule.name == "cosine":
        done = (step - schedule.warmup) / max(1, steps - schedule.warmup)
        share = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        return peak * (schedule.final + (1 - schedule.final) * share)
    decaying = schedule.decay * steps
    if decaying > 0 and step > steps - decaying:
        return peak * (steps - step) / decaying
    return peak


class Schedule:
    """Sets the learning rate of every step.

    Args:
        peak: the optimiser section's rate.
        steps: of the whole run.
    """

    def __init__(self, section: ScheduleSection, peak: float, steps: int) -> None:
        self.section, self.peak, self.steps = section, peak, steps
        self._plateau: ReduceLROnPlateau | None = None
        if section.name == "plateau":
            # torch lowers the rate of an optimiser of its own, from 1: the warm-up is a factor too
            self._share = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=1.0)
            self._plateau = ReduceLROnPlateau(
                self._share,
                factor=section.factor,
                patience=section.patience,
                cooldown=section.cooldown,
                threshold=section.threshold,
            )

    def rate(self, step: int) -> float:
        """Learning rate of step `step` (from 0)."""
        rate = learning_rate(step, self.steps, self.peak, self.section)
        return rate if self._plateau is None else rate * self._share.param_groups[0]["lr"]

    def apply(self, optimiser: torch.optim.Optimizer, step: int) -> None:
        """Give an optimiser the rate of a step."""
        rate = self.rate(step)
        for group in optimiser.param_groups:
            group["lr"] = rate

    def validated(self, loss: float) -> None:
        """Tell the plateau of a validation's loss."""
        if self._plateau is not None:
            self._plateau.step(loss)

    def state_dict(self) -> dict[str, Any]:
        """The plateau's counters and its share of the rate; empty for other schedules."""
        if self._plateau is None:
            return {}
        state = {key: getattr(self._plateau, key) for key in _KEPT}
        return state | {"share": self._share.param_groups[0]["lr"]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave; nothing where the schedule was another one."""
        if self._plateau is None or not state:
            return
        for key in _KEPT:
            setattr(self._plateau, key, state[key])
        self._share.param_groups[0]["lr"] = state["share"]
