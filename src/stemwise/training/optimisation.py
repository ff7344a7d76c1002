"""Optimiser, learning-rate schedule and the running average of the weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from stemwise.training.sections import OptimiserSection, ScheduleSection

Module = TypeVar("Module", bound=nn.Module)


def build_optimiser(module: nn.Module, section: OptimiserSection) -> torch.optim.AdamW:
    """AdamW whose weight decay leaves out biases and normalisations (parameters of one axis)."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": section.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=section.learning_rate,
        betas=section.betas,
        fused=True,
    )


def learning_rate(step: int, steps: int, peak: float, schedule: ScheduleSection) -> float:
    """Learning rate of step `step` (from 0) of `steps`: a function of the step alone."""
    rate = peak
    if step < schedule.warmup:
        rate *= (step + 1) / schedule.warmup
    decaying = schedule.decay * steps
    if decaying > 0 and step > steps - decaying:
        rate *= (steps - step) / decaying
    return rate


class Average(Generic[Module]):
    """Exponential moving average of a module's weights; buffers are copied.

    The decay of step t (from 0) is min(decay, (1 + t) / (10 + t)): the average forgets the random
    start quickly.
    """

    def __init__(self, module: Module, decay: float) -> None:
        self.decay = decay
        self.module: Module = copy.deepcopy(module).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take one step towards the module's present weights."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages = [p.detach() for p in self.module.parameters()]
        weights = [p.detach() for p in module.parameters()]
        torch._foreach_lerp_(averages, weights, 1 - decay)
        for kept, new in zip(self.module.buffers(), module.buffers(), strict=True):
            kept.copy_(new)

    def state_dict(self) -> dict[str, Tensor]:
        """Weights and buffers of the average."""
        return dict(self.module.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` gave."""
        self.module.load_state_dict(dict(state))
