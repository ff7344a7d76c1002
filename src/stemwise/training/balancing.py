"""Weights that give every source the same pull on the weights which all of them share.

A closed form of GradNorm (Chen et al. 2018): instead of descending on the weights until the norms
of the gradients agree, they are set so that they do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from stemwise.errors import RecipeError
from stemwise.training.weighting import Moment, PerSource, Weights

_LEAST = 1e-3
"""Norms below this share of the largest, and losses below this share of their first, count as it:
no weight is without bounds."""


class GradientBalance(PerSource):
    """w_i G_i proportional to r_i^restoring, and sum w_i = K.

    G_i is the norm of the gradient of source i's loss with respect to the last parameter that all
    sources share, r_i = (L_i / L_i(0)) / mean_j (L_j / L_j(0)) its relative inverse training rate
    (GradNorm, equation 2): above 1 for what learns slowly. Norms and losses are running averages,
    so that a source which a batch lacks keeps its part in the weights of the others. All weights
    are 1 where there are no gradients (in validation), and until a batch supervises two sources.

    activity: weight of the activity loss. restoring: 0 makes all norms equal; > 0 gives more to
    what learns slowly. decay: of the running averages, in [0, 1).
    """

    def __init__(self, activity: float = 1.0, restoring: float = 0.0, decay: float = 0.9) -> None:
        self.activity, self.restoring, self.decay = activity, restoring, decay
        self._norms: dict[str, Tensor] = {}
        self._losses: dict[str, Tensor] = {}
        self._first: dict[str, Tensor] = {}
        self._place: int | None = None

    def of_sources(self, tasks: Mapping[str, Tensor], moment: Moment) -> Weights:
        """From this batch and those before it."""
        if not self._observe(tasks, moment):
            return dict.fromkeys(tasks, 1.0)
        balanced = self._balance(next(iter(tasks.values())).device)
        return {task: balanced[task] for task in tasks}

    def state_dict(self) -> dict[str, Any]:
        """Running averages, first losses, and which parameter the gradients are of."""
        return {
            "norms": dict(self._norms),
            "losses": dict(self._losses),
            "first": dict(self._first),
            "place": self._place,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self._norms, self._losses = dict(state["norms"]), dict(state["losses"])
        self._first, self._place = dict(state["first"]), state["place"]

    def _observe(self, tasks: Mapping[str, Tensor], moment: Moment) -> bool:
        """Take the norms and losses of a batch; False where there are none."""
        losses = list(tasks.values())
        if not torch.is_grad_enabled() or not all(loss.requires_grad for loss in losses):
            return False
        if self._place is None:
            self._place = _last_shared(losses, moment)
        if self._place is None:
            return False
        norms = _gradients(losses, moment, self._place).flatten(1).norm(dim=1)
        values = torch.stack(losses).detach()
        values = values if moment.shared is None else moment.shared(values)
        for task, norm, value in zip(tasks, norms, values, strict=True):
            self._first.setdefault(task, value)
            self._follow(self._norms, task, norm)
            self._follow(self._losses, task, value)
        return True

    def _follow(self, averages: dict[str, Tensor], task: str, value: Tensor) -> None:
        known = averages.get(task, value).to(value)
        averages[task] = torch.lerp(value, known, self.decay)

    def _balance(self, device: torch.device) -> dict[str, Tensor]:
        names = list(self._norms)
        norms = torch.stack([self._norms[name].to(device) for name in names])
        least = (norms.max() * _LEAST).clamp_min(torch.finfo(norms.dtype).tiny)
        pull = norms.max().clamp_min(least) / norms.clamp_min(least)
        if self.restoring:
            pull = pull * self._rates(names, device) ** self.restoring
        weights = len(names) * pull / pull.sum()
        return dict(zip(names, weights.unbind(), strict=True))

    def _rates(self, names: Sequence[str], device: torch.device) -> Tensor:
        """Relative inverse training rates, mean 1; a loss that began at 0 has rate 1."""
        first, now = (
            torch.stack([losses[name].to(device) for name in names])
            for losses in (self._first, self._losses)
        )
        ratios = torch.where(first > 0, now / first, 1.0).clamp_min(_LEAST)
        return ratios / ratios.mean()


def _gradients(losses: Sequence[Tensor], moment: Moment, place: int) -> Tensor:
    """Of every loss with respect to one of the moment's parameters, (loss, ...)."""
    parameter = moment.parameters[place]
    gradients = torch.stack(
        [
            torch.autograd.grad(loss, parameter, retain_graph=True, materialize_grads=True)[0]
            for loss in losses
        ]
    )
    return gradients if moment.shared is None else moment.shared(gradients)


def _last_shared(losses: Sequence[Tensor], moment: Moment) -> int | None:
    """Index of the parameter nearest to the losses that two or more of them pull at.

    Two losses pull at a parameter where both have a gradient at the same of its elements: rows of
    an output layer that belong to one source each are not shared. Weights are preferred to biases
    and scales. None where the batch cannot tell, because fewer than two losses have a gradient.
    """
    if len(losses) < 2:
        return None
    distances = [_distances(loss) for loss in losses]
    reached = [
        (max(each[id(p)] for each in distances), k)
        for k, p in enumerate(moment.parameters)
        if all(id(p) in each for each in distances)
    ]
    matrices = [entry for entry in reached if moment.parameters[entry[1]].dim() > 1]
    felt_by = torch.zeros(len(losses), dtype=torch.bool)
    for _, place in sorted(matrices or reached):
        felt = _gradients(losses, moment, place) != 0
        if bool((felt.sum(dim=0) > 1).any()):
            return place
        felt_by |= felt.flatten(1).any(dim=1).cpu()
    if reached and int(felt_by.sum()) < 2:
        return None
    raise RecipeError(
        "the weighting 'gradnorm' balances gradients of weights that all sources share, and this "
        "network has none; choose another weighting"
    )


def _distances(loss: Tensor) -> dict[int, int]:
    """Operations on the longest way from a loss to every parameter, by the parameter's id.

    The longest, because a skip connection makes the first layer of a network look like its last.
    """
    order = _after(loss)
    found: dict[int, int] = {}
    steps = dict.fromkeys(order, 0)
    for node in reversed(order):
        variable = getattr(node, "variable", None)
        if variable is not None:
            found[id(variable)] = steps[node]
        for following, _ in node.next_functions:
            if following is not None:
                steps[following] = max(steps[following], steps[node] + 1)
    return found


def _after(loss: Tensor) -> list[Node]:
    """Everything a loss was computed with, each before what was computed from it."""
    order: list[Node] = []
    seen: set[Node] = set()
    pending = [(loss.grad_fn, False)]
    while pending:
        node, done = pending.pop()
        if node is None or (node in seen and not done):
            continue
        if done:
            order.append(node)
            continue
        seen.add(node)
        pending.append((node, True))
        pending += [(following, False) for following, _ in node.next_functions]
    return order
