"""What a procedure works with: the network, its losses, and the way to new weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from stemwise.data import augment
from stemwise.data.batch import Batch
from stemwise.errors import StemwiseError
from stemwise.models.separator import Prediction, Separator
from stemwise.training.losses import Losses
from stemwise.training.objectives import Objective
from stemwise.training.targets import regroup
from stemwise.training.weighting import Moment, Weighting, weigh


class NotFiniteError(StemwiseError):
    """A loss or gradient that is not a number; no update was made with it."""


@dataclass
class Learner:
    """A network under training, or under validation.

    Attributes:
        separator: at the rate of the batches.
        module: what owns the parameters.
        mix: names of the stems of a batch as it is read; the separator's sources are among them.
        history: mean losses of the past epochs, which the trainer appends to.
        forward: computes predictions in place of the separator, for what wraps it.
    """

    separator: Separator
    module: nn.Module
    objective: Objective
    weighting: Weighting
    optimiser: torch.optim.Optimizer
    device: torch.device
    mix: Sequence[str]
    bf16: bool = False
    clip: float | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    forward: Callable[[Tensor], Prediction] | None = None

    def prepare(self, batch: Batch) -> Batch:
        """The batch on the device, with its draws applied, of the separator's sources alone."""
        applied = augment.apply(batch.to(self.device), self.separator.channels)
        return applied.narrowed(self.mix, self.separator.sources)

    def judge(self, batch: Batch, source: str | None = None) -> tuple[Prediction, Losses]:
        """Prediction and losses of a prepared batch.

        source: what alone is asked for, and judged, where the network can leave out the rest; None
        asks for all that the network is trained on.
        """
        separator = self.separator
        groups = separator.training_targets
        columns = separator.sources, separator.activity_sources
        forward = self.forward or separator
        with separator.estimating(tuple(groups) if source is None else (source,)):
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
                prediction = forward(batch.mixture)
            if separator.sources != columns[0]:
                batch = regroup(batch, *columns, [groups[name] for name in separator.sources])
            with torch.no_grad():
                reference = separator.represent(batch.stems)
            return prediction, self.objective(separator, prediction, reference, batch)

    def tasks(self, batch: Batch, source: str | None = None) -> dict[str, Tensor]:
        """The scalar losses that the weighting weighs, of a prepared batch; source: see `judge`."""
        return self.weighting.tasks(self.judge(batch, source)[1])

    def weigh(self, tasks: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """The number to minimise."""
        moment = Moment.of(self.separator, batch, self.history)
        return weigh(tasks, self.weighting.weights(tasks, moment))

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss to those of the parameters."""
        torch.autograd.backward(loss)

    def update(
        self,
        figures: Mapping[str, Tensor],
        batches: Iterable[Batch],
        parameters: Iterable[nn.Parameter] | None = None,
    ) -> dict[str, float]:
        """Take an optimiser step on the gradients, and forget them.

        figures: scalars to check and to return, with "gradient" (its norm before clipping) added.
        parameters: those that are updated; the others keep their gradients. None: all.

        Raises NotFiniteError, with the songs of `batches`, where a figure is not a number; then
        nothing is updated.
        """
        learnt = list(self.module.parameters() if parameters is None else parameters)
        norm = torch.nn.utils.clip_grad_norm_(learnt, self.clip or float("inf"))
        names = [*figures, "gradient"]
        numbers = torch.stack([*(figure.detach() for figure in figures.values()), norm])
        values = dict(zip(names, numbers.tolist(), strict=True))
        if not bool(torch.isfinite(numbers).all()):
            songs = sorted({name for one in batches for each in one.origins for name in each})
            raise NotFiniteError(
                f"a loss or gradient is not a number ({values}); the batch was read from "
                f"{', '.join(songs)}"
            )
        with _set_aside(self.module, learnt if parameters is not None else None):
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
        return values


@contextmanager
def _set_aside(module: nn.Module, learnt: Sequence[nn.Parameter] | None) -> Iterator[None]:
    """Without gradients of all but `learnt`, so that an optimiser leaves them as they are."""
    if learnt is None:
        yield
        return
    within = {id(parameter) for parameter in learnt}
    others = [one for one in module.parameters() if id(one) not in within]
    gradients = [one.grad for one in others]
    for one in others:
        one.grad = None
    try:
        yield
    finally:
        for one, gradient in zip(others, gradients, strict=True):
            one.grad = gradient
