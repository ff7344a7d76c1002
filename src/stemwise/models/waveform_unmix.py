"""Open-Unmix's BiLSTM inside a Wave-U-Net, from waveform to waveform (George et al. 2022, 2.2).

The paper shows the idea in figure 3 and gives no sizes. Down and up are those of Wave-U-Net
(Stoller et al. 2018); its deepest convolution is replaced by the LSTM with the skip around it.
Inside the network signals are (batch, feature, sample).
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
from stemwise.models.heads import ActivityHead
from stemwise.models.separator import Grid, Prediction, Separator

RATES = (22050, 44100)
CONTEXT_SECONDS = 2.0
"""Context of a piece: more than the convolutions reach, and memory for the LSTM."""


class WaveformUnmix(Separator):
    """Waveforms of `sources`, one network each.

    sample_rate: 44 100 or 22 050 Hz. levels: times the rate is halved; level i has
    `features * i` channels. hidden, layers: of the LSTM, as in Open-Unmix. activity: a head on the
    LSTM, with one logit per 2^levels samples.

    Any length is accepted: the network fills it with zeros to a multiple of 2^levels samples. What
    is silent for so long is silent in every stem. Pieces have 2 s of context and are not exactly
    those of one pass.
    """

    kind = "waveform-unmix"
    segment = 8.0

    def __init__(
        self,
        sources: Sequence[str] = ("vocals", "drums", "bass", "other"),
        sample_rate: int = 44100,
        channels: int = 2,
        levels: int = 12,
        features: int = 24,
        hidden: int = 512,
        layers: int = 3,
        activity: bool = False,
    ) -> None:
        if not sources:
            raise ModelError(f"The network {self.kind!r} needs at least one source.")
        if sample_rate not in RATES:
            raise ModelError(
                f"The network {self.kind!r} takes 22050 or 44100 Hz, not {sample_rate} Hz."
            )
        if levels < 1 or features < 1 or layers < 1 or channels < 1 or hidden < 2 or hidden % 2:
            raise ModelError(
                f"The sizes of {self.kind!r} must be positive, and the hidden size even."
            )
        super().__init__(sources, sample_rate, channels, sources if activity else ())
        self._config: dict[str, Any] = {
            "sources": list(sources),
            "sample_rate": sample_rate,
            "channels": channels,
            "levels": levels,
            "features": features,
            "hidden": hidden,
            "layers": layers,
            "activity": activity,
        }
        self.network = Bank(sources, lambda: WaveformNetwork(self._config))
        stride = 2**levels
        context = -(-round(CONTEXT_SECONDS * sample_rate) // stride) * stride
        self.grid = Grid(stride, stride, context, context, finite=False, padded=False)

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(self._config)

    def forward(self, mixture: Tensor) -> Prediction:
        """Estimate the sources of `mixture` (batch, channel, sample) of any length."""
        samples, stride = mixture.shape[-1], self.grid.alignment
        padded = F.pad(mixture, (0, -samples % stride))
        estimates, *logits = self.network(padded)
        # biases make a whisper out of nothing: digital silence stays what it is
        loud = padded.abs().amax(dim=1).reshape(len(padded), 1, 1, -1, stride).amax(-1) > 0
        estimates = estimates * loud.repeat_interleave(stride, dim=-1)
        activity = logits[0].squeeze(2) if logits else None
        return Prediction(mixture, estimates=estimates[..., :samples], activity=activity)

    def represent(self, stems: Tensor) -> Tensor:
        """The stems themselves (batch, source, channel, sample)."""
        return stems

    def reconstruct(
        self, prediction: Prediction, start: int = 0, stop: int | None = None
    ) -> Tensor:
        """Estimated waveforms (batch, source, channel, sample) from `start` to `stop`."""
        return prediction.estimates[..., start:stop]


class WaveformNetwork(nn.Module):
    """One source: mixture (batch, channel, sample) to its waveform of the same shape.

    The samples are a multiple of 2^levels. With `activity`, logits (batch, 1, sample / 2^levels)
    follow. options: those of `WaveformUnmix`.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__()
        channels, hidden, layers = options["channels"], options["hidden"], options["layers"]
        widths = [options["features"] * level for level in range(1, options["levels"] + 1)]
        self.down = nn.ModuleList(
            nn.Conv1d(a, b, 15, padding=7) for a, b in pairwise([channels, *widths])
        )
        self.bottleneck = Bottleneck(widths[-1], hidden, layers)
        self.up = nn.ModuleList(
            nn.Conv1d(below + own, own, 5, padding=2)
            for below, own in zip([*widths[1:], widths[-1]], widths, strict=True)
        )
        self.out = nn.Conv1d(widths[0] + channels, channels, 1)
        self.activity = ActivityHead(2 * hidden, 1) if options["activity"] else None

    def forward(self, mixture: Tensor) -> tuple[Tensor, ...]:
        """Leaky ReLU after every convolution but the last, as in Wave-U-Net."""
        x, kept = mixture, []
        for convolution in self.down:
            x = F.leaky_relu(convolution(x), 0.2)
            kept.append(x)
            x = x[..., ::2]
        x, deepest = self.bottleneck(x)
        for convolution, skip in zip(reversed(self.up), reversed(kept), strict=True):
            x = F.leaky_relu(convolution(torch.cat([upsample(x), skip], dim=1)), 0.2)
        waveform = self.out(torch.cat([x, mixture], dim=1)).float()
        return (waveform,) if self.activity is None else (waveform, self.activity(deepest))


class Bottleneck(nn.Module):
    """Open-Unmix's three layers of BiLSTM and the skip around them, between linear layers."""

    def __init__(self, width: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.inward = nn.Linear(width, hidden)
        self.lstm = nn.LSTM(
            hidden,
            hidden // 2,
            layers,
            batch_first=True,
            bidirectional=True,
            dropout=0.4 if layers > 1 else 0.0,
        )
        self.outward = nn.Linear(2 * hidden, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, width, frame) to the same shape, and the features (batch, 2 hidden, frame)."""
        x = self.inward(x.transpose(1, 2))
        x = torch.cat([x, self.lstm(x)[0]], dim=-1)
        return self.outward(x).transpose(1, 2), x.transpose(1, 2)


def upsample(x: Tensor) -> Tensor:
    """Twice the samples: those of `x`, and between two their mean, where decimation dropped one."""
    following = torch.cat([x[..., 1:], x[..., -1:]], dim=-1)
    return torch.stack([x, (x + following) / 2], dim=-1).flatten(-2)
