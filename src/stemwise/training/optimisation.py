"""Optimisers, and the running average of the weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from stemwise.errors import RecipeError
from stemwise.training.schedules import learning_rate
from stemwise.training.sections import OptimiserSection

__all__ = ["Average", "build_optimiser", "learning_rate", "load_moments"]

Module = TypeVar("Module", bound=nn.Module)


def build_optimiser(
    module: nn.Module, section: OptimiserSection, *, fused: bool = True
) -> torch.optim.Optimizer:
    """The optimiser of a recipe, for the parameters of `module` that are learnt.

    adamw: decoupled weight decay that leaves out biases and normalisations (parameters of one
    axis). adam: the papers' L2 penalty, added to the gradient of every parameter. sgd: momentum
    with the same penalty.

    fused: one kernel for all parameters; not for fp16, whose gradients are unscaled before.

    Raises RecipeError where nothing is left to learn.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise RecipeError("all of the separator is frozen: there is nothing to train")
    shared: dict[str, Any] = {"lr": section.learning_rate, "fused": fused}
    if section.name == "adam":
        return torch.optim.Adam(
            parameters, betas=section.betas, weight_decay=section.weight_decay, **shared
        )
    if section.name == "sgd":
        return torch.optim.SGD(
            parameters, momentum=section.momentum, weight_decay=section.weight_decay, **shared
        )
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": section.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], betas=section.betas, **shared
    )


def load_moments(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take moments and step counts from a checkpoint, and keep the recipe's settings."""
    wanted = [
        {key: value for key, value in group.items() if key != "params"}
        for group in optimiser.param_groups
    ]
    optimiser.load_state_dict(state)
    for group, settings in zip(optimiser.param_groups, wanted, strict=True):
        group.update(settings)


class Average(Generic[Module]):
    """Exponential moving average of a module's weights and of its buffers that are no integers.

    Running statistics of the last batches alone would be as unsteady as the weights were. The decay
    of step t (from 0) is min(decay, (1 + t) / (10 + t)): the average forgets the start quickly.
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
        for kept, new in zip(self.module.buffers(), module.buffers(), strict=True):
            if kept.is_floating_point():
                averages.append(kept)
                weights.append(new)
            else:
                kept.copy_(new)
        torch._foreach_lerp_(averages, weights, 1 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        """Weights and buffers of the average."""
        return dict(self.module.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` gave."""
        self.module.load_state_dict(dict(state))
