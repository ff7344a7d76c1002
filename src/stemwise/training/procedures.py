"""How batches become optimiser steps.

A procedure owns the order of losses, backward passes and updates within one training step; the
trainer owns loading, schedules, checkpoints and logs.

`joint` takes one step on the weighted sum of all losses of a batch (Doire & Okubadejo 2019 call it
simultaneous). `alternating` takes one on a batch for separation and a batch for detection together
(Stoller et al. 2018, section 3.2). `interleaved` and `interleaved-accumulated` are algorithms 1 and
2 of Doire & Okubadejo (2019), `independent` their baseline: a step is one round, a batch for every
source.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from stemwise.data.batch import Batch
from stemwise.errors import RecipeError
from stemwise.models.separator import Separator
from stemwise.training.learner import Learner
from stemwise.training.losses import SEPARATION, Losses


class Procedure(ABC):
    """One training step on the next batches of a stream.

    Attributes:
        by_source: whether every batch supervises one source, as sampling `independent` makes them.
    """

    by_source = False

    def batches(self, sources: int) -> int:
        """Batches that a step takes from the stream, for a separator of so many sources."""
        return 1

    def check(self, separator: Separator) -> None:  # noqa: B027
        """Raise RecipeError for a separator that cannot be trained so."""

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


class Alternating(Procedure):
    """One update on a batch for separation and one for detection.

    The first batch gives the losses of the stems alone, the second that of the activity alone: a
    network learns each task from the data set that is for it, whatever else that set has.
    """

    def batches(self, sources: int) -> int:
        """One of either."""
        return 2

    def step(self, learner: Learner, batches: Sequence[Batch]) -> dict[str, float]:
        """See the class. The gradients of both batches add up; memory holds one batch."""
        figures: dict[str, Tensor] = {}
        totals: list[Tensor] = []
        seen: list[Batch] = []
        for batch, keep in zip(batches, (_separation_only, _activity_only), strict=True):
            prepared = learner.prepare(batch)
            tasks = learner.weighting.tasks(keep(learner.judge(prepared)[1]))
            if not tasks:
                continue
            total = learner.weigh(tasks, prepared)
            learner.backward(total)
            seen.append(prepared)
            totals.append(total.detach())
            figures |= {task: loss.detach() for task, loss in tasks.items()}
        if not totals:
            return {}
        return learner.update({**figures, "total": torch.stack(totals).sum()}, seen)


class Interleaved(Procedure):
    """Algorithm 1: a batch of every source in turn, each followed by an update.

    What is updated is what that source's estimate depends on: the shared parts and its own.
    """

    by_source = True

    def batches(self, sources: int) -> int:
        """One per source."""
        return sources

    def step(self, learner: Learner, batches: Sequence[Batch]) -> dict[str, float]:
        """See the class; "total" is that of the round, all else a mean over its batches."""
        return _round([self._turn(learner, batch) for batch in batches])

    def _turn(self, learner: Learner, batch: Batch) -> dict[str, float]:
        source = _source(batch, learner.mix)
        figures, prepared = _descend(learner, batch, source)
        return learner.update(figures, [prepared])


class Independent(Interleaved):
    """Networks of their own for the sources, side by side: an update of each on its own batch."""

    def check(self, separator: Separator) -> None:
        """Raise RecipeError where the sources' networks share anything."""
        if separator.shared_parameters():
            raise RecipeError(
                f"the procedure 'independent' trains a network per source, but the sources of this "
                f"'{separator.kind}' share parameters: use 'interleaved', or options that give "
                "every source its own (e.g. separator.config.separate=true of 'shared-encoder')"
            )


class InterleavedAccumulated(Interleaved):
    """Algorithm 2: what is a source's own is updated after its batch, what is shared once a round.

    The shared parts move by the sum of the gradients of all batches of the round.
    """

    def step(self, learner: Learner, batches: Sequence[Batch]) -> dict[str, float]:
        """See the class; "gradient" is that of the shared parts."""
        figures = _round([self._turn(learner, batch) for batch in batches])
        shared = learner.separator.shared_parameters()
        return {**figures, **learner.update({}, batches, shared)}

    def _turn(self, learner: Learner, batch: Batch) -> dict[str, float]:
        source = _source(batch, learner.mix)
        figures, prepared = _descend(learner, batch, source)
        return learner.update(figures, [prepared], learner.separator.own_parameters(source))


def _descend(learner: Learner, batch: Batch, source: str) -> tuple[dict[str, Tensor], Batch]:
    """Gradients of one source's losses; returns the figures to log, and the prepared batch."""
    prepared = learner.prepare(batch)
    tasks = learner.tasks(prepared, source)
    total = learner.weigh(tasks, prepared)
    learner.backward(total)
    figures = {**tasks, "total": total}
    if SEPARATION in tasks:
        figures[f"{SEPARATION}/{source}"] = tasks[SEPARATION]
    return figures, prepared


def _source(batch: Batch, names: Sequence[str]) -> str:
    """The one source that a batch supervises."""
    columns: list[int] = batch.supervised.any(dim=0).nonzero().flatten().tolist()
    if len(columns) != 1:
        raise RecipeError(
            "an interleaved procedure needs batches of one source each, but one supervises "
            f"{', '.join(names[k] for k in columns) or 'none'}: use data.sampling 'independent'"
        )
    return names[columns[0]]


def _separation_only(losses: Losses) -> Losses:
    return replace(losses, known=torch.zeros_like(losses.known))


def _activity_only(losses: Losses) -> Losses:
    return replace(losses, supervised=torch.zeros_like(losses.supervised))


def _round(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Figures of a round: totals add up to it, as those of all sources in one batch would."""
    names = dict.fromkeys(name for one in figures for name in one)
    found = {name: [one[name] for one in figures if name in one] for name in names}
    means = {name: sum(values) / len(values) for name, values in found.items()}
    return {**means, "total": sum(found["total"])}


PROCEDURES: dict[str, type[Procedure]] = {
    "joint": Joint,
    "alternating": Alternating,
    "independent": Independent,
    "interleaved": Interleaved,
    "interleaved-accumulated": InterleavedAccumulated,
}
"""Procedures by the name that a recipe gives them."""
