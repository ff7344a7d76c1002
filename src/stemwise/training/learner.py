"""What a procedure works with: the network, its losses, and the way to new weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from stemwise.data import augment
from stemwise.data.batch import Batch
from stemwise.errors import StemwiseError
from stemwise.models.separator import Prediction, Separator
from stemwise.training.hardware import Hardware
from stemwise.training.losses import Losses
from stemwise.training.objectives import Objective
from stemwise.training.targets import regroup
from stemwise.training.weighting import Moment, Weighting, weigh

_PATIENCE = 50
"""Gradients in a row that may be too large for fp16; its scale is halved each time."""


class NotFiniteError(StemwiseError):
    """A loss or gradient that is not a number; no update was made with it."""


@dataclass
class Learner:
    """A network under training, or under validation.

    Attributes:
        separator: at the rate of the batches.
        module: what owns the parameters.
        mix: names of the stems of a batch as it is read; the separator's sources are among them.
        clip: largest norm of the gradient; None does not clip.
        history: mean losses of the past epochs, which the trainer appends to.
        hardware: precision, and the processes that train together; None: one, in full precision.
        weights: of the tasks as they were last weighed.
    """

    separator: Separator
    module: nn.Module
    objective: Objective
    weighting: Weighting
    optimiser: torch.optim.Optimizer
    device: torch.device
    mix: Sequence[str]
    clip: float | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    hardware: Hardware | None = None
    weights: dict[str, float | Tensor] = field(default_factory=dict)
    _too_large: int = 0

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
        with separator.estimating(tuple(groups) if source is None else (source,)):
            with self.hardware.autocast() if self.hardware else nullcontext():
                prediction = separator(batch.mixture)
            if separator.sources != columns[0]:
                batch = regroup(batch, *columns, [groups[name] for name in separator.sources])
            with torch.no_grad():
                reference = separator.represent(batch.stems)
            losses = self.objective(separator, prediction, reference, batch)
        return prediction, replace(losses, shared=self._shared())

    def tasks(self, batch: Batch, source: str | None = None) -> dict[str, Tensor]:
        """The scalar losses that the weighting weighs, of a prepared batch; source: see `judge`."""
        return self.weighting.tasks(self.judge(batch, source)[1])

    def weigh(self, tasks: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """The number to minimise."""
        moment = Moment.of(self.separator, batch, self.history, self._shared())
        weights = self.weighting.weights(tasks, moment)
        self.weights |= weights
        return weigh(tasks, weights)

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss to those of the parameters."""
        if self.hardware is None:
            torch.autograd.backward(loss)
        else:
            self.hardware.backward(loss)

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
        with _set_aside(self.module, learnt if parameters is not None else None):
            values = self._check(figures, self._combine(figures, learnt), batches)
            self._step()
            self.optimiser.zero_grad(set_to_none=True)
        return values

    def _combine(self, figures: Mapping[str, Tensor], learnt: Sequence[nn.Parameter]) -> Tensor:
        """Make gradients those of all processes, unscaled and clipped; figures and their norm."""
        numbers = [figure.detach().float() for figure in figures.values()]
        together = torch.stack(numbers) if numbers else torch.zeros(0, device=self.device)
        if self.hardware is not None:
            together = self.hardware.average_gradients(learnt, together)
            self.hardware.unscale(self.optimiser)
        norm = torch.nn.utils.clip_grad_norm_(learnt, self.clip or float("inf"))
        return torch.cat([together, norm.reshape(1).to(together)])

    def _check(
        self, figures: Mapping[str, Tensor], numbers: Tensor, batches: Iterable[Batch]
    ) -> dict[str, float]:
        """Figures and gradient by name; NotFiniteError where one of them is not a number."""
        values = dict(zip([*figures, "gradient"], numbers.tolist(), strict=True))
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        scaled = self.hardware is not None and self.hardware.scales_losses
        # fp16's scale of the losses is sought by trying: now and then a gradient is too large
        self._too_large = self._too_large + 1 if scaled and bad == ["gradient"] else 0
        if bad and not 0 < self._too_large < _PATIENCE:
            own = {name for one in batches for each in one.origins for name in each}
            ranks = [own] if self.hardware is None else self.hardware.gather(own)
            raise NotFiniteError(
                f"a loss or gradient is not a number ({values}); the batch was read from "
                f"{', '.join(sorted(set().union(*ranks)))}"
            )
        return {name: value for name, value in values.items() if name not in bad}

    def _step(self) -> None:
        if self.hardware is None:
            self.optimiser.step()
        else:
            self.hardware.step(self.optimiser)

    def _shared(self) -> Callable[[Tensor], Tensor] | None:
        """The mean over processes, where there are several and they learn."""
        if self.hardware is None or self.hardware.world == 1 or not torch.is_grad_enabled():
            return None
        return self.hardware.mean


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
