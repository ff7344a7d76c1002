"""Joint U-Net for vocal separation and vocal activity (Stoller et al. 2018, section 3, figure 1).

Valid convolutions: 222 frames in, 130 frames out; 257 bins are zero-padded so that 258 come out,
whose last is dropped. Maps are (batch, channel, bin, frame), as in the paper's figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stemwise.models.separator import Grid, Prediction, SpectrogramSeparator

N_FFT, HOP = 512, 256
CONTEXT = 46
"""Frames the valid convolutions take from each side."""
STRIDE = 16
"""Frames between positions where four poolings see the same song."""
PAD_BELOW, PAD_ABOVE = 46, 47
"""Zero bins around the 257: 350 go in, 258 come out."""
OUTPUT_BINS = 258


class JointUNet(SpectrogramSeparator):
    """Mono, 22 050 Hz; masks for `sources`, and the activity of the first of them.

    features: channels of the first convolution, doubled by each of the four down blocks.
    detection: False leaves the detection head out (the paper's separation baseline).
    """

    kind = "joint-unet"
    segment: float = 24.0

    def __init__(
        self,
        sources: Sequence[str] = ("vocals", "accompaniment"),
        features: int = 16,
        detection: bool = True,
    ) -> None:
        active = tuple(sources[:1]) if detection else ()
        super().__init__(sources, 22050, 1, active, n_fft=N_FFT, hop=HOP)
        self._config = {"sources": list(sources), "features": features, "detection": detection}
        self.network = JointUNetNetwork(len(self.sources), features, detection)
        # a core of 16 m frames needs 16 m + 94 input frames: 46 before it, 48 from its end on
        self.grid = Grid(
            HOP, STRIDE * HOP, before=CONTEXT * HOP, after=(CONTEXT + 1) * HOP, crop=CONTEXT * HOP
        )

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(self._config)

    def features(self, spectrum: Tensor) -> tuple[Tensor, ...]:
        """Log magnitudes; the waveform must be `(221 + 16 k) * 256` samples long."""
        frames = spectrum.shape[-1]
        if frames < 110 or frames % STRIDE != 222 % STRIDE:
            raise ValueError(
                f"joint-unet takes 110, 126, ... 222, ... frames, not {frames}: "
                "use Grid.input_length"
            )
        return (torch.log1p(spectrum.abs()),)

    def predict(self, spectrum: Tensor, outputs: tuple[Tensor, ...]) -> Prediction:
        """Masks and activity of the frames that the valid convolutions leave."""
        return Prediction(
            self._crop_frames(spectrum),
            masks=outputs[0].unsqueeze(2),
            activity=outputs[1] if len(outputs) > 1 else None,
        )

    def compared(self, prediction: Prediction, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of magnitudes, log1p: the paper's normalised magnitudes (section 4.2)."""
        masks = prediction.masks
        if masks is None:
            estimates = prediction.estimates.abs()
        else:
            estimates = masks * prediction.mixture.abs().unsqueeze(1)
        return torch.log1p(estimates), torch.log1p(reference.abs())


class JointUNetNetwork(nn.Module):
    """Log magnitudes (batch, 1, 257, frame) to masks and, with `detection`, logits.

    Masks are (batch, source, 257, frame - 92), logits (batch, 1, frame - 92).
    """

    def __init__(self, sources: int, features: int, detection: bool) -> None:
        super().__init__()
        self.base = JointUNetBase(features)
        self.separation = nn.Conv2d(features + 1, sources, 1)
        self.detection = nn.Conv2d(features + 1, 1, (OUTPUT_BINS, 1)) if detection else None

    def forward(self, magnitudes: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        maps = self.base(magnitudes)
        masks = torch.sigmoid(self.separation(maps).float())[..., :-1, :]
        if self.detection is None:
            return (masks,)
        return masks, self.detection(maps).squeeze(2).float()


class JointUNetBase(nn.Module):
    """Log magnitudes (batch, 1, 257, frame) to 17 maps (batch, 17, 258, frame - 92)."""

    def __init__(self, features: int = 16) -> None:
        super().__init__()
        widths = [features * 2**depth for depth in range(5)]
        self.first = nn.Conv2d(1, widths[0], 3)
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3) for a, b in pairs)
        self.squeeze = nn.Conv2d(widths[-1], widths[-1], (18, 1))
        self.spread = nn.ConvTranspose2d(widths[-1], widths[-1], (18, 1))
        ups = [(2 * widths[-1], widths[3]), *((b, a) for a, b in reversed(pairs[:-1]))]
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in ups)
        self.merge = nn.ModuleList(nn.Conv2d(2 * b, b, 3) for _, b in ups)

    def forward(self, magnitudes: Tensor) -> Tensor:
        """See the table of the paper's figure 1; leaky ReLU everywhere but after `first`."""
        x = padded = F.pad(magnitudes, (0, 0, PAD_BELOW, PAD_ABOVE))
        x = torch.relu(self.first(x))
        kept = []
        for convolution in self.down:
            kept.append(x)
            x = F.leaky_relu(convolution(F.max_pool2d(x, 2)))
        spread = F.leaky_relu(self.spread(F.leaky_relu(self.squeeze(x))))
        x = torch.cat([x, spread], dim=1)
        for raise_, merge, skip in zip(self.up, self.merge, reversed(kept), strict=True):
            x = F.leaky_relu(raise_(x))
            x = F.leaky_relu(merge(torch.cat([x, _centre(skip, x)], dim=1)))
        return torch.cat([x, _centre(padded, x)], dim=1)


def _centre(x: Tensor, like: Tensor) -> Tensor:
    """The middle of `x` that is as large as `like`."""
    bins, frames = like.shape[-2:]
    bottom, left = (x.shape[-2] - bins) // 2, (x.shape[-1] - frames) // 2
    return x[..., bottom : bottom + bins, left : left + frames]
