"""Conditioned U-Net, C-U-Net (Meseguer-Brocal & Peeters 2019, as Kadandale et al. 2020 have it).

One U-Net with a single output estimates what a condition asks for; two control networks turn the
condition into a shift and a scale for every feature on the way down. Maps are (batch, feature, bin,
frame), where batch counts chunks of 6 s and, within each, conditions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stemwise.errors import ModelError
from stemwise.models.chunks import ChunkedSeparator, initialise
from stemwise.models.multichannel_unet import WIDTHS, Convolutions, UNet, check_widths

CONDITIONS = ("one-hot", "published")
CONTROL = (32, 512, 4096)
SUM, SILENCE = "sum", "silence"
"""What is asked for besides the sources, by names that no source may have."""


class ConditionedUNet(ChunkedSeparator):
    """Mono, 10 880 Hz; asked for one source after the other, all of a song's sources in one batch.

    conditions: what it is trained on (`training_targets`). "one-hot": each source by itself, the
    paper's N x K iterations; "published": as the authors' code, also their sum (all ones) and
    silence (all zeros). Outside training the conditions are the one-hot ones; `condition` changes
    them. features, dropout, mask, activity: as those of `multichannel-unet`. control: widths of the
    control networks.

    Feature-wise modulation has a scale gamma and a shift beta in the literature; the authors' code,
    which counts here, computes gamma + beta x, both from 0 up.
    """

    kind = "conditioned-unet"
    segment = 6.0

    def __init__(
        self,
        sources: Sequence[str] = ("vocals", "drums", "bass", "other"),
        features: Sequence[int] = WIDTHS,
        dropout: float = 0.1,
        mask: str = "relu",
        activity: bool = False,
        conditions: str = "one-hot",
        control: Sequence[int] = CONTROL,
    ) -> None:
        check_widths(self.kind, features, dropout)
        if conditions not in CONDITIONS:
            raise ModelError(
                f"The conditions of {self.kind!r} are one of {', '.join(CONDITIONS)}, "
                f"not {conditions!r}."
            )
        if {SUM, SILENCE} & set(sources):
            raise ModelError(f"No source of {self.kind!r} can be called {SUM!r} or {SILENCE!r}.")
        if len(control) != 3 or any(width < 1 for width in control):
            raise ModelError(
                f"The control networks of {self.kind!r} have 3 widths from 1 up, "
                f"not {list(control)}."
            )
        super().__init__(sources, mask, activity)
        self._config: dict[str, Any] = {
            "sources": list(sources),
            "features": list(features),
            "dropout": dropout,
            "mask": mask,
            "activity": activity,
            "conditions": conditions,
            "control": list(control),
        }
        self.network = ConditionedUNetNetwork(
            len(self.sources), features, dropout, activity, control
        )
        self.register_buffer("vectors", torch.eye(len(self.sources)), persistent=False)
        self.vectors: Tensor
        self._published = conditions == "published"
        self._targets: dict[str, tuple[str, ...]] = {one: (one,) for one in self.sources}
        self._targets |= {SUM: self.sources, SILENCE: ()}

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(self._config)

    @property
    def training_conditions(self) -> Tensor:
        """What a training step asks for, (condition, source): see `conditions` of the class."""
        return self._rows(self._targets if self._published else self._config["sources"])

    @property
    def training_targets(self) -> Mapping[str, Sequence[str]]:
        """The same by name; in evaluation, each source by itself."""
        if self.training and self._published:
            return self._targets
        return {source: self._targets[source] for source in self._config["sources"]}

    def _choose(self, targets: Sequence[str]) -> bool:
        self.vectors = self._rows(targets)
        return True

    def _rows(self, targets: Iterable[str]) -> Tensor:
        sources = self._config["sources"]
        rows = [[float(source in self._targets[name]) for source in sources] for name in targets]
        return torch.tensor(rows, device=self.vectors.device)

    @contextmanager
    def condition(self, vectors: Tensor) -> Iterator[None]:
        """Within it, predictions have a "source" for each of `vectors` (condition, source).

            with separator.condition(vectors):
                prediction = separator(mixture)  # (batch, condition, channel, ...)

        What is asked for is `wanted(stems, vectors)`. Raises ModelError for vectors of other
        lengths.
        """
        if vectors.dim() != 2 or not len(vectors) or vectors.shape[1] != len(self.sources):
            raise ModelError(
                f"The conditions of {self.kind!r} are rows of {len(self.sources)} numbers, "
                f"not {tuple(vectors.shape)}."
            )
        before = self.vectors
        self.vectors = vectors.to(before)
        try:
            yield
        finally:
            self.vectors = before

    @staticmethod
    def wanted(stems: Tensor, vectors: Tensor) -> Tensor:
        """What conditions ask for: (batch, source, ...) stems to (batch, condition, ...) sums.

        A one-hot row asks for its source, all ones for the sum of the sources, zeros for silence.
        """
        return torch.einsum("bs...,cs->bc...", stems, vectors.to(stems))

    def features(self, spectrum: Tensor) -> tuple[Tensor, ...]:
        """Log magnitudes (batch * chunk, 1, 256, 256), and the conditions (condition, source)."""
        return (*super().features(spectrum), self.vectors)


class ConditionedUNetNetwork(nn.Module):
    """Log magnitudes (batch, 1, 256, 256) and conditions (condition, source) to maps.

    Returns maps before their activation, (batch, condition, 256, 256), and, with `activity`,
    logits (batch, condition, 256).
    """

    def __init__(
        self,
        sources: int,
        features: Sequence[int],
        dropout: float,
        activity: bool,
        control: Sequence[int],
    ) -> None:
        super().__init__()
        self.widths = list(features)
        self.unet = UNet(1, features, dropout, activity)
        self.shift = Control(sources, control, sum(features), dropout)
        self.scale = Control(sources, control, sum(features), dropout)

    def forward(self, magnitudes: Tensor, conditions: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        count = conditions.shape[0]
        if self.training:  # every example has its own dropout in the control networks
            conditions = conditions.repeat(magnitudes.shape[0], 1)
        shifts = self._per_block(self.shift(conditions), count)
        scales = self._per_block(self.scale(conditions), count)
        kept: list[Tensor] = []
        x = magnitudes.contiguous(memory_format=torch.channels_last)
        blocks = [*self.unet.down, self.unet.transition]
        for depth, (block, shift, scale) in enumerate(zip(blocks, shifts, scales, strict=True)):
            assert isinstance(block, Convolutions)
            if depth:
                x = F.max_pool2d(kept[-1], 2)
            # up to here the first block is the same for all conditions: it is computed once
            x = _modulate(block.normalise(x), shift, scale, count if depth else 1)
            kept.append(block.activate(x))
        outputs = self.unet.decode(kept.pop(), kept)
        return tuple(_per_condition(output, count) for output in outputs)

    def _per_block(self, values: Tensor, count: int) -> list[Tensor]:
        """(batch or 1 * condition, all features) to (batch or 1, condition, feature, 1, 1) each."""
        values = values.reshape(-1, count, values.shape[-1], 1, 1)
        return list(torch.split(values, self.widths, dim=2))


def _modulate(x: Tensor, shift: Tensor, scale: Tensor, count: int) -> Tensor:
    """gamma + beta x for every condition: (batch * count, ...) to (batch * condition, ...)."""
    x = x.reshape(-1, count, *x.shape[1:])
    out: Tensor = torch.addcmul(shift.to(x.dtype), scale.to(x.dtype), x).flatten(0, 1)
    return out


def _per_condition(output: Tensor, count: int) -> Tensor:
    """(batch * condition, 1, ...) to (batch, condition, ...)."""
    return output.reshape(-1, count, *output.shape[2:])


class Control(nn.Sequential):
    """Conditions (batch, source) to one number, at least 0, per feature (batch, feature)."""

    def __init__(self, sources: int, widths: Sequence[int], features: int, dropout: float) -> None:
        narrow, middle, wide = widths
        super().__init__(
            nn.Linear(sources, narrow),
            nn.ReLU(),
            nn.Linear(narrow, middle),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.BatchNorm1d(middle),
            nn.Linear(middle, wide),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.BatchNorm1d(wide),
            nn.Linear(wide, features),
            nn.ReLU(),
        )
        initialise(self)
