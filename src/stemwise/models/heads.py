"""What is put on a network's last or deepest features: activity logits, and masks or magnitudes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stemwise.errors import ModelError

MASKS = ("relu", "sigmoid", "none")
"""How a network's last layer is read: a mask from 0 up, a mask from 0 to 1, or magnitudes."""


def check_mask(network: str, mask: str) -> None:
    """Raise ModelError where `mask` is none of MASKS."""
    if mask not in MASKS:
        raise ModelError(f"The mask of {network!r} is one of {', '.join(MASKS)}, not {mask!r}.")


def activate(logits: Tensor, mask: str) -> Tensor:
    """The last layer's output as a mask, or as magnitudes (mask "none"), in 32 bits."""
    return torch.sigmoid(logits.float()) if mask == "sigmoid" else torch.relu(logits.float())


class ActivityHead(nn.Module):
    """When each source plays, from any network's features (Hung & Lerch 2020, made general).

    features: numbers per frame, all channels and bins of a map together. stride: frames of the
    song per frame of the features. Looks 4 frames of the features to each side.
    """

    WIDTH = 64
    context = 4
    """Frames of the features on one side that a logit depends on."""

    def __init__(self, features: int, sources: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.layers = nn.Sequential(
            nn.Conv1d(features, self.WIDTH, 1, bias=False),
            nn.BatchNorm1d(self.WIDTH),
            nn.ReLU(),
            nn.Conv1d(self.WIDTH, self.WIDTH, 9, padding=4, bias=False),
            nn.BatchNorm1d(self.WIDTH),
            nn.ReLU(),
            nn.Conv1d(self.WIDTH, sources, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """features: (batch, feature, frame). Returns logits (batch, source, frame * stride)."""
        logits: Tensor = self.layers(features)
        if self.stride > 1:  # the ONNX exporter of LSTMs loses track of shapes in a repeat by one
            logits = logits.repeat_interleave(self.stride, dim=-1)
        return logits.float()
