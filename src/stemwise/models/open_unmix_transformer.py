"""Open-Unmix with a transformer in the place of its LSTM (George et al. 2022, section 2.3).

The paper gives no sizes and ran out of memory; the sizes here are ours, and attention is computed
by the fused kernel that keeps no matrix of all pairs of frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stemwise.errors import ModelError
from stemwise.models.unmix import UnmixNetwork, UnmixSeparator

CONTEXT_FRAMES = 50
"""Frames in front of and behind a piece that attention sees (1.2 s)."""


class OpenUnmixTransformer(UnmixSeparator):
    """As `OpenUnmix`, with pre-norm transformer layers; 13 620 644 parameters per source.

    layers, heads, feed_forward, dropout: of the transformer, whose width is `hidden`.

    Attention is within a piece of the song: 300 frames (7 s) and 50 frames (1.2 s) of context at
    each side, close to the 6 s it is trained on. Positions count from the start of the piece. So
    memory does not grow with the song, and that of one pass grows in proportion to its length.
    """

    kind = "open-unmix-transformer"
    segment = 7.0

    def __init__(
        self,
        sources: Sequence[str] = ("vocals", "drums", "bass", "other"),
        sample_rate: int = 44100,
        channels: int = 2,
        hidden: int = 512,
        layers: int = 3,
        heads: int = 8,
        feed_forward: int = 2048,
        dropout: float = 0.1,
        bandwidth: float | None = 16000,
        residual: bool = False,
        activity: bool = False,
        mask: str = "relu",
        n_fft: int = 4096,
        hop: int = 1024,
    ) -> None:
        if heads < 1 or hidden % heads:
            raise ModelError(f"The hidden size {hidden} cannot be shared among {heads} heads.")
        options: dict[str, Any] = {
            "sources": list(sources),
            "sample_rate": sample_rate,
            "channels": channels,
            "hidden": hidden,
            "layers": layers,
            "heads": heads,
            "feed_forward": feed_forward,
            "dropout": dropout,
            "bandwidth": bandwidth,
            "residual": residual,
            "activity": activity,
            "mask": mask,
            "n_fft": n_fft,
            "hop": hop,
        }
        super().__init__(options, TransformerNetwork, CONTEXT_FRAMES, CONTEXT_FRAMES)


class TransformerNetwork(UnmixNetwork):
    """A transformer encoder between the linear layers of Open-Unmix."""

    def __init__(self, input_bins: int, output_bins: int, options: dict[str, Any]) -> None:
        super().__init__(input_bins, output_bins, options)
        hidden = options["hidden"]
        sizes = hidden, options["heads"], options["feed_forward"], options["dropout"]
        self.transformer = nn.ModuleList(EncoderLayer(*sizes) for _ in range(options["layers"]))
        self.norm = nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(options["dropout"])

    def over_time(self, x: Tensor) -> Tensor:
        """All frames attend to all frames of the piece."""
        x = self.dropout(x + positions(x.shape[1], x.shape[2], x))
        for layer in self.transformer:
            x = layer(x)
        normalised: Tensor = self.norm(x)
        return normalised


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward layer, each after a layer norm and beside a skip."""

    def __init__(self, width: int, heads: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.rate = heads, dropout
        self.attention_norm = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, feed_forward),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(feed_forward, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frame, width) to the same shape."""
        batch, frames, width = x.shape
        joined = self.queries_keys_values(self.attention_norm(x))
        split = joined.reshape(batch, frames, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)
        rate = self.rate if self.training else 0.0
        seen = F.scaled_dot_product_attention(query, key, value, dropout_p=rate)
        seen = self.out(seen.transpose(1, 2).reshape(batch, frames, width))
        x = x + F.dropout(seen, self.rate, self.training)
        changed: Tensor = x + self.feed_forward(x)
        return changed


def positions(frames: int, width: int, like: Tensor) -> Tensor:
    """Sinusoidal positions (frame, width) of Vaswani et al. 2017, section 3.5."""
    time = torch.arange(frames, device=like.device, dtype=torch.float32).unsqueeze(1)
    index = torch.arange(0, width, 2, device=like.device, dtype=torch.float32)
    angles = time * torch.pow(10000.0, -index / width)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1).to(like.dtype)
