"""Building blocks that more than one network is made of. Maps are (batch, channel, frame, band)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stemwise.errors import ModelError

SCALE_FLOOR = 1e-4
"""Least deviation of a bin, relative to the largest: silent bins are not blown up."""


def input_scale(deviation: Tensor) -> Tensor:
    """What divides a network's input by the deviations (bin,) of the training mixtures.

    Raises ModelError where they are all zero or any is not finite.
    """
    deviation = deviation.float()
    if not (deviation.max() > 0 and bool(torch.isfinite(deviation).all())):
        raise ModelError("The statistics of the training mixtures are silent or not finite.")
    return 1 / deviation.clamp_min(SCALE_FLOOR * float(deviation.max()))


class ConvBlock(nn.Sequential):
    """`depth` times [convolution 3 x 3, batch normalisation, ReLU]."""

    def __init__(self, channels: int, depth: int) -> None:
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class SpectrumBlock(nn.Module):
    """A residual perceptron over the whole spectrum of each frame.

    It lets each band see its harmonics, which a stack of small convolutions reaches only at its
    deepest level. Like the time-distributed dense blocks of Choi et al. (2020), but over a few
    squeezed channels at once, so that it is one matrix product.
    """

    def __init__(self, channels: int, bands: int, squeezed: int, hidden: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1, bias=False)
        self.squeeze_norm = nn.BatchNorm2d(squeezed)
        self.inward = nn.Linear(bands * squeezed, hidden, bias=False)
        self.norm = nn.BatchNorm1d(hidden)
        self.outward = nn.Linear(hidden, bands * squeezed)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, frame, band) to the same shape."""
        batch, _, frames, bands = x.shape
        squeezed = torch.relu(self.squeeze_norm(self.squeeze(x)))
        # with channels last in memory, (band, channel) of a frame is one contiguous row
        rows = squeezed.permute(0, 2, 3, 1).reshape(batch * frames, -1)
        rows = self.outward(torch.relu(self.norm(self.inward(rows))))
        maps = rows.reshape(batch, frames, bands, -1).permute(0, 3, 1, 2)
        out: Tensor = x + self.expand(torch.relu(maps))
        return out


class Stage(nn.Module):
    """Convolutions, then the spectrum block: one resolution of one side of the U."""

    def __init__(
        self, channels: int, bands: int, depth: int, *, squeezed: int, hidden: int
    ) -> None:
        super().__init__()
        self.convolutions = ConvBlock(channels, depth)
        self.spectrum = SpectrumBlock(channels, bands, squeezed, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, frame, band) to the same shape."""
        out: Tensor = self.spectrum(self.convolutions(x))
        return out
