"""How the losses of a batch become the number to minimise.

A weighting says which tasks it weighs (all of separation and all of activity, or each source) and
gives each a weight from what has been seen so far: this batch, past epochs, the training data.
Tasks that a batch does not supervise are absent: their terms fall away, and the weights of the
others stay what they are, because they are shares of all tasks, not of those present.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from stemwise.data.batch import Batch
from stemwise.errors import RecipeError
from stemwise.models.separator import Separator
from stemwise.training.losses import ACTIVITY, SEPARATION, Losses

History = Sequence[Mapping[str, float]]
"""Mean loss of every task in each past epoch, oldest first."""

Weights = dict[str, float | Tensor]
"""A number, or a scalar without gradient, for every task."""


@dataclass(frozen=True)
class Moment:
    """What a weighting may look at besides the losses.

    Attributes:
        batch: with its draws applied, of the separator's sources.
        history: of the tasks' mean losses in past epochs.
        sources: names of the batch's stems.
        parameters: those that all sources share, for weightings that look at gradients; empty
            where nothing is learnt (in validation).
        shared: where several processes train together, gives the mean of a tensor over them.
    """

    batch: Batch
    history: History = ()
    sources: Sequence[str] = ()
    parameters: Sequence[nn.Parameter] = ()
    shared: Callable[[Tensor], Tensor] | None = None

    @classmethod
    def of(
        cls,
        separator: Separator,
        batch: Batch,
        history: History = (),
        shared: Callable[[Tensor], Tensor] | None = None,
    ) -> Moment:
        """The moment of a prepared batch, in training or (without gradients) in validation."""
        common = separator.shared_parameters() if torch.is_grad_enabled() else []
        return cls(batch, history, separator.sources, common, shared)


class Weighting(ABC):
    """Gives every task of a step its weight."""

    def tasks(self, losses: Losses) -> dict[str, Tensor]:
        """The scalars that are weighed; those of `Losses.by_task` or `Losses.by_source`."""
        return losses.by_task()

    @abstractmethod
    def weights(self, tasks: Mapping[str, Tensor], moment: Moment) -> Weights:
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
    """The same weight for a task in every step; a task without weight is an error.

    Hung & Lerch 2020, equation 1, is separation: 1, activity: alpha.

    by_source: how often a source counts in the mean that separation is; those not named count
    once. Where it names any, each source is a task of its own: a batch's unsupervised sources leave
    the shares of the others what they are.
    """

    by_task: Mapping[str, float] = field(default_factory=dict)
    by_source: Mapping[str, float] = field(default_factory=dict)

    def tasks(self, losses: Losses) -> dict[str, Tensor]:
        """Separation and activity, or each source and activity."""
        return losses.by_source() if self.by_source else losses.by_task()

    def weights(self, tasks: Mapping[str, Tensor], moment: Moment) -> Weights:
        """The weights as they were given."""
        by_task = dict(self.by_task)
        if self.by_source and SEPARATION in by_task:
            share = by_task[SEPARATION] / len(moment.sources)
            for source in moment.sources:
                by_task[f"{SEPARATION}/{source}"] = share * self.by_source.get(source, 1.0)
        missing = [task for task in tasks if task not in by_task]
        if missing:
            raise RecipeError(
                f"the weighting gives no weight to {', '.join(missing)}; "
                "add it to weighting.weights"
            )
        return {task: by_task[task] for task in tasks}


@dataclass(frozen=True)
class Blend(Weighting):
    """alpha separation + (1 - alpha) activity (Stoller et al. 2018, section 3.2).

    alpha: in [0, 1]; 1 and 0 are the paper's baselines of a single task.
    """

    alpha: float = 0.9

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise RecipeError(f"weighting.alpha must be from 0 to 1, not {self.alpha}")

    def weights(self, tasks: Mapping[str, Tensor], moment: Moment) -> Weights:
        """The same in every step, whichever of both tasks the batch supervises."""
        weights = {SEPARATION: self.alpha, ACTIVITY: 1 - self.alpha}
        return {task: weights[task] for task in tasks}


class PerSource(Weighting):
    """Weighs the losses of the sources against each other, and activity by a fixed weight.

    Attributes:
        activity: weight of the activity loss, of all sources together.
    """

    activity: float

    def tasks(self, losses: Losses) -> dict[str, Tensor]:
        """A task for every source, and activity."""
        return losses.by_source()

    def weights(self, tasks: Mapping[str, Tensor], moment: Moment) -> Weights:
        """Those of the sources, and `activity`."""
        sources = {task: loss for task, loss in tasks.items() if task != ACTIVITY}
        weights = self.of_sources(sources, moment) if sources else {}
        return {**weights, ACTIVITY: self.activity} if ACTIVITY in tasks else weights

    @abstractmethod
    def of_sources(self, tasks: Mapping[str, Tensor], moment: Moment) -> Weights:
        """One weight for each of `tasks` (at least one), all of them "separation/<source>"."""


@dataclass(frozen=True)
class Unit(PerSource):
    """Weight 1 for every source: UW of Kadandale et al. 2020."""

    activity: float = 1.0

    def of_sources(self, tasks: Mapping[str, Tensor], moment: Moment) -> Weights:
        """Ones."""
        return dict.fromkeys(tasks, 1.0)


@dataclass(frozen=True)
class DynamicAverage(PerSource):
    """Dynamic weight average, DWA (Kadandale et al. 2020, equation 5, after Liu et al. 2019).

    In epoch t source i weighs K exp(g_i / T) / sum_j exp(g_j / T) with g_i = L_i(t - 1) / L_i(t -
    2), the mean losses of past epochs: what learns slowly weighs more. In the first two epochs
    every g is 1, and so it is for a source without losses, or a loss of 0, in either epoch.

    temperature: T, > 0; the higher, the more even the weights.
    """

    activity: float = 1.0
    temperature: float = 2.0

    def of_sources(self, tasks: Mapping[str, Tensor], moment: Moment) -> Weights:
        """The same for all batches of an epoch; they sum to K over all sources."""
        before, last = ({}, {}) if len(moment.history) < 2 else moment.history[-2:]
        known = [task for task in last if task.startswith(f"{SEPARATION}/")]
        names = dict.fromkeys([*known, *tasks])
        rates = {name: _descent(before.get(name), last.get(name)) for name in names}
        highest = max(rates.values())  # taken off, so that no exponential overflows
        powers = {name: math.exp((rates[name] - highest) / self.temperature) for name in names}
        total = sum(powers.values())
        return {task: len(names) * powers[task] / total for task in tasks}


def _descent(before: float | None, last: float | None) -> float:
    """Ratio of two epochs' losses."""
    if not before or not last:
        return 1.0
    if before < 0 or last < 0:
        raise RecipeError(
            "the weighting 'dwa' takes the ratio of losses, which means nothing where they are "
            "below 0, as those of 'si-sdr' are; choose another weighting or objective"
        )
    return last / before
