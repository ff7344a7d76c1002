"""The logarithmic frequency axis of the multi-channel U-Net (Kadandale et al. 2020).

Coordinates run from -1 to 1 over the bins, with the first and the last bin at the ends (aligned
corners). Output bin y of the way to the logarithmic axis lies at (21^((y + 1) / 2) - 11) / 10 on
the linear one; the inverse lies at 2 ln(10 y + 11) / ln 21 - 1. Values between two bins are
interpolated linearly.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

BASE = 21.0


def to_logarithmic(y: Tensor) -> Tensor:
    """Where on the linear axis the points `y` of the logarithmic axis lie; all in -1..1."""
    return (torch.pow(BASE, (y + 1) / 2) - 11) / 10


def to_linear(y: Tensor) -> Tensor:
    """Where on the logarithmic axis the points `y` of the linear axis lie; all in -1..1."""
    return 2 * torch.log(10 * y + 11) / math.log(BASE) - 1


class Resample(nn.Module):
    """Linear interpolation of the bins (..., bin, frame) at positions computed once.

    coordinates: (output bin) in -1..1. It is two gathers and a sum of real numbers: any device,
    any precision, exportable.
    """

    def __init__(self, coordinates: Tensor, bins: int) -> None:
        super().__init__()
        position = ((coordinates + 1) / 2 * (bins - 1)).clamp(0, bins - 1)
        lower = position.floor().clamp(max=max(0, bins - 2))
        self.register_buffer("lower", lower.long(), persistent=False)
        self.register_buffer("upper", (lower.long() + 1).clamp(max=bins - 1), persistent=False)
        share = (position - lower).float().unsqueeze(-1)
        self.register_buffer("share", share, persistent=False)
        self.lower: Tensor
        self.upper: Tensor
        self.share: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """(..., bin, frame) to (..., output bin, frame)."""
        low, high = x.index_select(-2, self.lower), x.index_select(-2, self.upper)
        share = self.share.to(x.dtype)
        # not low + share * (high - low), whose rounding makes zeros of small positive numbers
        return low * (1 - share) + high * share


class FrequencyWarp(nn.Module):
    """Both directions between `linear_bins` bins of a spectrum and `bins` on the warped axis."""

    def __init__(self, linear_bins: int = 512, bins: int = 256) -> None:
        super().__init__()
        if linear_bins < 2 or bins < 2:
            raise ValueError(f"a warp needs two bins or more, not {linear_bins} and {bins}")
        self.linear_bins, self.bins = linear_bins, bins
        # positions in double precision: the first and the last bin are met exactly
        axes = [torch.linspace(-1, 1, n, dtype=torch.float64) for n in (bins, linear_bins)]
        self.narrow = Resample(to_logarithmic(axes[0]), linear_bins)
        self.widen = Resample(to_linear(axes[1]), bins)

    def forward(self, spectra: Tensor) -> Tensor:
        """Magnitudes (..., linear bin, frame) to (..., bin, frame) on the logarithmic axis."""
        out: Tensor = self.narrow(spectra)
        return out

    def inverse(self, warped: Tensor) -> Tensor:
        """Masks or magnitudes (..., bin, frame) back to (..., linear bin, frame)."""
        out: Tensor = self.widen(warped)
        return out
