"""Multi-channel U-Net, M-U-Net, and dedicated U-Nets (Kadandale et al. 2020, section IV-B).

Maps are (batch, feature, bin, frame); batch counts chunks of 6 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stemwise.errors import ModelError
from stemwise.models.bank import Bank
from stemwise.models.chunks import WARPED_BINS, ChunkedSeparator, initialise
from stemwise.models.heads import ActivityHead
from stemwise.models.separator import Prediction

WIDTHS = (32, 64, 128, 256, 512, 1024, 2048)
SLOPE = 0.1
"""Of the leaky ReLU below zero."""


class MultichannelUNet(ChunkedSeparator):
    """Mono, 10 880 Hz; one U-Net with an output channel per source, or one U-Net per source.

    features: of the down blocks and, last, of the transition block; each halves bins and frames.
    dropout: share of the channels left out in the up blocks. mask: "relu" (as published),
    "sigmoid", or "none" for magnitudes. activity: adds a head on the last up block's features,
    which the paper has not; the deepest ones, 64 times coarser, could not tell frames apart.
    dedicated: one network of a single output per source, trained alone or together; such
    separators can be combined (`stemwise.models.bank.combine`).

    The paper names neither the size of its kernels nor its normalisation; the settled ones give
    the published number of parameters.
    """

    kind = "multichannel-unet"
    segment = 12.0

    def __init__(
        self,
        sources: Sequence[str] = ("vocals", "drums", "bass", "other"),
        features: Sequence[int] = WIDTHS,
        dropout: float = 0.1,
        mask: str = "relu",
        activity: bool = False,
        dedicated: bool = False,
    ) -> None:
        check_widths(self.kind, features, dropout)
        super().__init__(sources, mask, activity)
        self._config = {
            "sources": list(sources),
            "features": list(features),
            "dropout": dropout,
            "mask": mask,
            "activity": activity,
            "dedicated": dedicated,
        }
        self.network: Bank | UNet
        if dedicated:
            self.network = Bank(self.sources, lambda: UNet(1, features, dropout, activity))
        else:
            self.network = UNet(len(self.sources), features, dropout, activity)

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(self._config)

    def predict(self, spectrum: Tensor, outputs: tuple[Tensor, ...]) -> Prediction:
        """Masks or magnitudes of all frames, and activity, 255 frames for each chunk."""
        if isinstance(self.network, Bank):
            outputs = tuple(output.squeeze(2) for output in outputs)
        return super().predict(spectrum, outputs)


def check_widths(network: str, features: Sequence[int], dropout: float) -> None:
    """Raise ModelError for widths or a dropout that no U-Net of 256 bins and frames has."""
    deepest = WARPED_BINS.bit_length()
    if not 2 <= len(features) <= deepest or any(width < 1 for width in features):
        raise ModelError(
            f"The network {network!r} takes 2 to {deepest} widths from 1 up, not {list(features)}."
        )
    if not 0 <= dropout < 1:
        raise ModelError(
            f"The dropout of {network!r} is at least 0 and less than 1, not {dropout}."
        )


class UNet(nn.Module):
    """Log magnitudes (batch, 1, 256, 256) to maps before their activation and maybe logits.

    Returns maps (batch, output, 256, 256) and, with `activity`, logits (batch, output, 256).
    """

    def __init__(
        self, outputs: int, features: Sequence[int], dropout: float, activity: bool
    ) -> None:
        super().__init__()
        self.down = nn.ModuleList(Convolutions(a, b) for a, b in pairwise((1, *features[:-1])))
        self.transition = Convolutions(features[-2], features[-1])
        self.rise = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in reversed(list(pairwise(features)))
        )
        self.up = nn.ModuleList(Convolutions(2 * a, a, dropout) for a in reversed(features[:-1]))
        self.output = nn.Conv2d(features[0], outputs, 1)
        self.activity = ActivityHead(features[0] * WARPED_BINS, outputs) if activity else None
        initialise(self)

    def forward(self, magnitudes: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        kept = []
        x = magnitudes.contiguous(memory_format=torch.channels_last)
        for block in self.down:
            kept.append(block(x))
            x = F.max_pool2d(kept[-1], 2)
        return self.decode(self.transition(x), kept)

    def decode(self, x: Tensor, kept: list[Tensor]) -> tuple[Tensor, ...]:
        """From the transition block's features to the outputs; empties `kept`."""
        for rise, block in zip(self.rise, self.up, strict=True):
            x = block(torch.cat([kept.pop(), rise(x)], dim=1))
        maps = self.output(x)
        if self.activity is None:
            return (maps,)
        return maps, self.activity(x.flatten(1, 2))


class Convolutions(nn.Module):
    """Twice [convolution 3 x 3, batch normalisation, leaky ReLU], with dropout of channels."""

    def __init__(self, inputs: int, outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.drop = nn.Dropout2d(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, bin, frame) to (batch, outputs, bin, frame)."""
        return self.activate(self.normalise(x))

    def normalise(self, x: Tensor) -> Tensor:
        """Up to the second normalisation, which conditions follow."""
        x = self.drop(self.first_norm(self.first(x)))
        out: Tensor = self.second_norm(self.second(F.leaky_relu(x, SLOPE, inplace=True)))
        return out

    def activate(self, x: Tensor) -> Tensor:
        """What comes after the second normalisation."""
        out: Tensor = self.drop(F.leaky_relu(x, SLOPE, inplace=True))
        return out
