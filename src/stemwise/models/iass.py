"""Instrument-activation-aware source separation, IASS (Hung & Lerch 2020, section 3).

One residual U-Net per source: it compresses frequency alone, never time, and its latent also says
in which frames the source plays. Maps are (batch, feature, bin, frame).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from stemwise.errors import ModelError
from stemwise.models.bank import Bank
from stemwise.models.blocks import input_scale
from stemwise.models.heads import activate, check_mask
from stemwise.models.separator import Grid, Prediction, SpectrogramSeparator

N_FFT, HOP = 4096, 1024
OUTPUT_BINS = N_FFT // 2 + 1
INPUT_BINS = 1487
"""Bins up to 16 kHz, which enter the network."""


class IASS(SpectrogramSeparator):
    """Mono, 44 100 Hz; one network per source with a mask and, with `activity`, its logits.

    blocks: residual blocks on each side of the U, 3 or 4 (table 1). features: of the first block;
    the n-th has n times as many. activity: False leaves out the classifier of the latent (the
    ablation of section 4.3). mask: "relu" (as published), "sigmoid", or "none" for magnitudes.

    A song's channels are run one by one and share the mean of their activity logits. The paper
    calls the classifier's convolutions transposed; the frequency axis must shrink, so they are
    plain ones here. What the paper does not tell of four blocks is settled in `IASSNetwork`.
    """

    kind = "iass"
    segment = 8.0
    mean_activity = True
    network: Bank

    def __init__(
        self,
        sources: Sequence[str] = ("vocals", "drums", "bass", "other"),
        blocks: int = 3,
        activity: bool = True,
        mask: str = "relu",
        features: int = 16,
    ) -> None:
        check_mask(self.kind, mask)
        if blocks not in (3, 4):
            raise ModelError(f"The network 'iass' has 3 or 4 blocks, not {blocks}.")
        if features < 2 or features % 2:
            raise ModelError(f"The features of 'iass' must be an even number, not {features}.")
        super().__init__(sources, 44100, 1, sources if activity else (), n_fft=N_FFT, hop=HOP)
        self._config = {
            "sources": list(sources),
            "blocks": blocks,
            "activity": activity,
            "mask": mask,
            "features": features,
        }
        self.mask = mask
        self.network = Bank(self.sources, lambda: IASSNetwork(blocks, features, activity))
        # an estimate's frames overlap its samples, and the frames they depend on overlap the song
        context = (4 * blocks + N_FFT // HOP - 1) * HOP
        self.grid = Grid(HOP, HOP, before=context, after=context)

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(self._config)

    def set_statistics(self, mean: Tensor, deviation: Tensor, source: str | None = None) -> None:
        """Start the input's shift and scale from the training mixtures, as in Open-Unmix.

        mean, deviation: of the mixtures' magnitude in every bin, (bin,), 1487 bins or all 2049.
        source: whose network is meant; None: that of every source. Raises ModelError for an
        unknown source, for statistics of other bins, or for deviations that are all zero.
        """
        if source is not None and source not in self.sources:
            raise ModelError(
                f"'iass' has no source {source!r}: there are {', '.join(self.sources)}."
            )
        for name, member in self.network.members.items():
            if source in (None, name):
                assert isinstance(member, IASSNetwork)
                member.set_statistics(mean, deviation)

    def features(self, spectrum: Tensor) -> tuple[Tensor, ...]:
        """Magnitudes below 16 kHz, (batch, 1, 1487, frame)."""
        return (spectrum[:, :, :INPUT_BINS].abs(),)

    def predict(self, spectrum: Tensor, outputs: tuple[Tensor, ...]) -> Prediction:
        """Masks, or magnitudes, of all bins and frames; activity never gates them here."""
        maps = activate(outputs[0], self.mask).unsqueeze(2)
        activity = outputs[1].float() if len(outputs) > 1 else None
        if self.mask == "none":
            return Prediction(spectrum, estimates=maps, activity=activity)
        return Prediction(spectrum, masks=maps, activity=activity)


class IASSNetwork(nn.Module):
    """The network of one source (figure 1).

    Frequency shrinks by 3 in every block: 1487, 495, 165, 55 and, of a fourth block, 18. Four
    blocks have 16, 32, 48, 64 features; what is new on that side of the U is built as the third.
    """

    def __init__(self, blocks: int = 3, features: int = 16, activity: bool = True) -> None:
        super().__init__()
        widths = [features * (depth + 1) for depth in range(blocks)]
        bins = [INPUT_BINS]
        for _ in widths:
            bins.append(bins[-1] // 3)
        self.input_mean = nn.Parameter(torch.zeros(INPUT_BINS))
        self.input_scale = nn.Parameter(torch.ones(INPUT_BINS))
        self.encoder = nn.ModuleList(Block(a, b) for a, b in pairwise([1, *widths]))
        self.skips = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1) for c in widths[:-1])
        self.decoder = nn.ModuleList(
            UpBlock(c, skip, skip or 1, fine, final=not skip)
            for c, skip, fine in zip(
                reversed(widths), [*widths[-2::-1], 0], bins[-2::-1], strict=True
            )
        )
        self.activity = ActivityClassifier(widths) if activity else None
        self.linear = nn.Linear(INPUT_BINS, OUTPUT_BINS)
        self.output_scale = nn.Parameter(torch.ones(OUTPUT_BINS))
        self.output_mean = nn.Parameter(torch.ones(OUTPUT_BINS))

    @torch.no_grad()
    def set_statistics(self, mean: Tensor, deviation: Tensor) -> None:
        """See `IASS.set_statistics`."""
        for values in (mean, deviation):
            if values.shape not in ((INPUT_BINS,), (OUTPUT_BINS,)):
                raise ModelError(
                    f"'iass' takes statistics of {INPUT_BINS} or {OUTPUT_BINS} bins, "
                    f"not of {tuple(values.shape)}."
                )
        self.input_scale.copy_(input_scale(deviation[:INPUT_BINS]))
        self.input_mean.copy_(-mean[:INPUT_BINS])

    def forward(self, magnitudes: Tensor) -> tuple[Tensor, ...]:
        """magnitudes: (batch, 1, 1487, frame).

        Returns mask logits (batch, 2049, frame) and, with a classifier, activity logits
        (batch, frame).
        """
        x = (magnitudes + self.input_mean[:, None]) * self.input_scale[:, None]
        x = x.contiguous(memory_format=torch.channels_last)
        kept = []
        for block in self.encoder:
            x = block(x)
            kept.append(x)
        latent = kept.pop()
        skips = [skip(maps) for skip, maps in zip(self.skips, kept, strict=True)]
        x = latent
        for block, aside in zip(self.decoder, [*reversed(skips), None], strict=True):
            x = block(x, aside)
        logits = self.linear(x.squeeze(1).transpose(1, 2)).float()
        logits = (logits * self.output_scale + self.output_mean).transpose(1, 2)
        if self.activity is None:
            return (logits,)
        return logits, self.activity(latent)


class Block(nn.Module):
    """Two convolutions beside a 1 x 1 convolution, then a third of the bins, all frames."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(inplace=True),
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1)
        self.down = nn.Conv2d(outputs, outputs, (3, 1), stride=(3, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, bin, frame) to (batch, outputs, bin // 3, frame)."""
        out: Tensor = self.down(self.layers(x) + self.shortcut(x))
        return out


class UpBlock(nn.Module):
    """Three times the bins, then two transposed convolutions over them and the skip path's maps.

    skip: features of the skip path, 0 for none. bins: as many as come out. final: nothing follows
    on the last convolution.
    """

    def __init__(self, inputs: int, skip: int, outputs: int, bins: int, final: bool) -> None:
        super().__init__()
        middle = (inputs + skip) // 2
        self.up = nn.ConvTranspose2d(
            inputs, inputs, (3, 1), stride=(3, 1), output_padding=(bins % 3, 0)
        )
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(inputs + skip, middle, 3, padding=1),
            nn.LeakyReLU(inplace=True),
            nn.BatchNorm2d(middle),
            nn.ConvTranspose2d(middle, outputs, 3, padding=1),
        )
        if not final:
            self.layers.extend([nn.LeakyReLU(inplace=True), nn.BatchNorm2d(outputs)])

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        """(batch, inputs, bin, frame) to (batch, outputs, bins, frame)."""
        x = self.up(x)
        out: Tensor = self.layers(x if skip is None else torch.cat([x, skip], dim=1))
        return out


class ActivityClassifier(nn.Module):
    """Four convolutions along frequency, which leave one logit per frame of the latent."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        first = widths[0]
        deep = [*reversed(widths), first, first]
        channels, kernels = ([*deep[:4], 1], (3, 3, 3, 2))
        if len(widths) == 4:
            kernels = (3, 3, 2, 1)
        layers: list[nn.Module] = []
        for (a, b), kernel in zip(pairwise(channels), kernels, strict=True):
            layers.append(nn.Conv2d(a, b, (kernel, 1), stride=(kernel, 1)))
            if b > 1:
                layers.append(nn.BatchNorm2d(b))
        self.layers = nn.Sequential(*layers)

    def forward(self, latent: Tensor) -> Tensor:
        """(batch, feature, bin, frame) to logits (batch, frame)."""
        logits: Tensor = self.layers(latent)
        return logits[:, 0, 0].float()
