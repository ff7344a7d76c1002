"""Building blocks that more than one network is made of. Maps are (batch, channel, frame, bin)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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


class FrequencyBlock(nn.Module):
    """A residual two-layer perceptron along frequency, the same for every channel and frame.

    It lets each bin see its harmonics, which a stack of small convolutions reaches only at its
    deepest level (the time-distributed fully connected block of Choi et al. 2020).
    """

    def __init__(self, channels: int, bins: int, bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(bottleneck, bins))
        self.up = nn.Parameter(torch.empty(bins, bottleneck))
        self.norm_down = nn.BatchNorm2d(channels)
        self.norm_up = nn.BatchNorm2d(channels)
        nn.init.kaiming_uniform_(self.down, a=5**0.5)
        nn.init.kaiming_uniform_(self.up, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, frame, bin) to the same shape."""
        # with channels last, (bin, channel) matrices are contiguous: weights multiply from the left
        hidden = torch.matmul(self.down, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        hidden = torch.relu(self.norm_down(hidden)).permute(0, 2, 3, 1)
        out = torch.matmul(self.up, hidden).permute(0, 3, 1, 2)
        return x + torch.relu(self.norm_up(out))


class Stage(nn.Module):
    """Convolutions, then the frequency block: one resolution of one side of the U."""

    def __init__(self, channels: int, bins: int, depth: int, reduction: int) -> None:
        super().__init__()
        self.convolutions = ConvBlock(channels, depth)
        self.frequency = FrequencyBlock(channels, bins, max(8, bins // reduction))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, frame, bin) to the same shape."""
        return self.frequency(self.convolutions(x))
