"""Batches of excerpts: what a training step sees, and which tasks each excerpt supervises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass
class Batch:
    """What a training step sees; a loss may only use what the batch supervises.

    Attributes:
        stems: float32 (batch, source, channel, sample); zeros where a stem is unknown. Before
            `augment.apply`, possibly in the type of a store, to be multiplied by `scale`.
        rest: float32 (batch, channel, sample), what the mixtures hold besides the known stems;
            None where every mixture is the sum of its stems.
        supervised: bool (batch, source), whether that stem is known.
        activity: float32 (batch, activity source, frame) in {0, 1}; frame i is centred at sample
            i * hop of the excerpt.
        activity_known: bool (batch, activity source).
        gains: float32 (batch, source), level and width: float32 (batch,), swap: bool (batch,),
            filters: float32 (batch, source, knot) in decibels: drawn by the sampler (see
            `draws.Draws`), and applied to the samples by `augment.apply`.
        sample_rate: in hertz.
        origins: per excerpt, the songs and times it was read from.
        samples: length of the excerpts when all is applied; None: that of `stems`.
        scale: float32 (batch, source), samples per stored number; None: the stems are samples.
        swaps: bool (batch, source), pan, pitch, tempo: float32 (batch, source), shelves: float32
            (batch, source, 4), bands: float32 (batch, source, 3): see `draws.Draws`; None where
            nothing of that kind was drawn.
    """

    stems: Tensor
    rest: Tensor | None
    supervised: Tensor
    activity: Tensor
    activity_known: Tensor
    gains: Tensor
    level: Tensor
    swap: Tensor
    width: Tensor
    filters: Tensor
    sample_rate: int
    origins: tuple[tuple[str, ...], ...]
    samples: int | None = None
    scale: Tensor | None = None
    swaps: Tensor | None = None
    pan: Tensor | None = None
    shelves: Tensor | None = None
    bands: Tensor | None = None
    pitch: Tensor | None = None
    tempo: Tensor | None = None

    @property
    def mixture(self) -> Tensor:
        """float32 (batch, channel, sample): the sum of the stems and the rest."""
        total = self.stems.sum(dim=1)
        return total if self.rest is None else total + self.rest

    def to(self, device: torch.device) -> Batch:
        """The batch with every tensor on `device`."""
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **moved)

    def narrowed(self, names: Sequence[str], wanted: Sequence[str]) -> Batch:
        """The batch of `wanted` stems alone, in that order; the others join the rest.

        names: of the stems as they are, all of `wanted` among them. For batches whose draws were
        applied: the mixture stays what it was.
        """
        if tuple(names) == tuple(wanted):
            return self
        rows = [list(names).index(name) for name in wanted]
        others = [row for row in range(len(names)) if row not in rows]
        rest = self.stems[:, others].sum(dim=1)
        return replace(
            self,
            stems=self.stems[:, rows],
            rest=rest if self.rest is None else self.rest + rest,
            supervised=self.supervised[:, rows],
            gains=self.gains[:, rows],
            filters=self.filters[:, rows],
        )
