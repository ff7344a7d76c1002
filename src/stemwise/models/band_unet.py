"""The network of the default model `band`: a small U-Net with masks and an activity head.

It sees how loud each bin is in the left, right, mid and side signal, relative to the music around
it, so that neither the song's volume nor its sample rate matters: at 44.1 kHz the transform has
4096 points, at 22.05 kHz 2048, and the 1024 bins below 11 kHz are the same. Masks are a softmax over
sources, so the stems sum to the mixture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stemwise import spectral
from stemwise.models.blocks import Stage
from stemwise.models.separator import Grid, Prediction, SpectrogramSeparator

BINS = 1024
"""Bins the network sees: all below 11 025 Hz but the last."""
TOP = 64
"""Highest masks whose mean serves every bin above those the network sees."""
LEVEL_FRAMES = 32
"""Frames on each side over which the level is taken (0.74 s)."""
STRIDES = ((2, 2), (2, 2), (2, 2), (1, 2), (1, 2))
"""Stride in (frame, bin) from each resolution to the next; the stem halves the bins first."""


class BandUNet(SpectrogramSeparator):
    """Stereo separation and activity of any set of sources.

    sample_rate: 44 100 or 22 050 Hz, or any rate r whose transform size 4096 * r / 44 100 is a whole
    number; the parameters do not depend on it. channel_counts: features of each resolution, from 512
    bins down to 16.
    """

    kind = "band-unet"
    segment = 20.0

    def __init__(
        self,
        sources: Sequence[str] = ("vocals", "drums", "bass", "other"),
        sample_rate: int = 44100,
        channel_counts: Sequence[int] = (20, 40, 64, 96, 128, 160),
        depths: Sequence[int] = (1, 2, 2, 2, 2, 2),
        reduction: int = 8,
    ) -> None:
        n_fft = round(4096 * sample_rate / 44100)
        super().__init__(sources, sample_rate, 2, sources, n_fft=n_fft, hop=n_fft // 4)
        self._config = {
            "sources": list(sources),
            "sample_rate": sample_rate,
            "channel_counts": list(channel_counts),
            "depths": list(depths),
            "reduction": reduction,
        }
        self.network = BandNetwork(len(self.sources), channel_counts, depths, reduction)
        context = self.network.context_frames() + LEVEL_FRAMES + 2
        stride = self.network.time_stride
        context = -(-context // stride) * stride * self.hop
        self.grid = Grid(self.hop, stride * self.hop, before=context, after=context)

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(self._config)

    def at_rate(self, sample_rate: int) -> BandUNet:
        """The same network, sharing its parameters, for audio of another sample rate."""
        twin = BandUNet(**{**self._config, "sample_rate": sample_rate})
        twin.network = self.network
        return twin.train(self.training)

    def forward(self, mixture: Tensor) -> Prediction:
        """mixture: (batch, 2, sample), a whole number of alignments long."""
        spectrum = self.spectrum(mixture)
        # the last frame shares the mask of the one before: frames stay a multiple of the stride
        features, level = self._features(spectrum[:, :, :BINS, :-1])
        logits, activity = self.network(features, level)
        masks = logits.float().softmax(dim=1)
        masks = _repeat_last(self._full_band(masks.transpose(-1, -2), spectrum.shape[2]))
        activity = _repeat_last(activity.float())
        return Prediction(spectrum, masks * spectrum.unsqueeze(1), masks, activity)

    def _features(self, spectrum: Tensor) -> tuple[Tensor, Tensor]:
        """Magnitudes of left, right, mid and side over the local level: (batch, 4, frame, bin)."""
        spectrum = spectrum * (2.0 / self.window.sum())
        level = spectral.local_level(spectrum, LEVEL_FRAMES, floor=1e-6)
        left, right = spectrum[:, 0], spectrum[:, 1]
        views = torch.stack([left, right, (left + right) / 2, (left - right) / 2], dim=1)
        relative = (views.abs() / level).transpose(-1, -2)
        return relative.contiguous(memory_format=torch.channels_last), level

    def _full_band(self, masks: Tensor, bins: int) -> Tensor:
        """Extend masks (..., BINS, frame) to all bins with the mean of the highest."""
        top = masks[..., -TOP:, :].mean(dim=-2, keepdim=True)
        return torch.cat([masks, top.expand(*top.shape[:-2], bins - BINS, -1)], dim=-2)


def _repeat_last(x: Tensor) -> Tensor:
    return torch.cat([x, x[..., -1:]], dim=-1)


class BandNetwork(nn.Module):
    """Relative magnitudes in; mask logits and activity logits out.

    Every resolution has a `Stage` on the way down and one on the way up; the way up adds what the
    way down kept.
    """

    def __init__(
        self, sources: int, channels: Sequence[int], depths: Sequence[int], reduction: int
    ) -> None:
        super().__init__()
        self.sources, self.depths = sources, tuple(depths)
        bins = [BINS // 2 ** (level + 1) for level in range(len(channels))]
        strides = STRIDES[: len(channels) - 1]
        self.whiten = nn.BatchNorm1d(4 * BINS)
        self.stem = nn.Conv2d(5, channels[0], (3, 4), stride=(1, 2), padding=(1, 1))
        position = torch.linspace(-1, 1, BINS).expand(1, 1, 1, BINS)
        self.register_buffer("position", position.clone(), persistent=False)
        self.position: Tensor
        pairs = list(zip(channels, channels[1:], strides, strict=False))
        self.encoder = nn.ModuleList(
            Stage(c, f, d, reduction) for c, f, d in zip(channels, bins, depths, strict=True)
        )
        self.down = nn.ModuleList(nn.Conv2d(a, b, s, stride=s) for a, b, s in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, s, stride=s) for a, b, s in pairs)
        self.decoder = nn.ModuleList(
            Stage(c, f, d, reduction)
            for c, f, d in zip(channels[:-1], bins[:-1], depths[:-1], strict=True)
        )
        self.mask = nn.ConvTranspose2d(channels[0], 2 * sources, (1, 4), (1, 2), padding=(0, 1))
        self.time_stride = 1
        for stride, _ in strides:
            self.time_stride *= stride
        self.activity = ActivityHead(sources, channels[-1] * bins[-1], self.time_stride)

    def context_frames(self) -> int:
        """Frames on one side that an output frame depends on (upper bound)."""
        total, stride = 1, 1
        for level, depth in enumerate(self.depths):
            passes = 1 if level == len(self.depths) - 1 else 2
            total += passes * depth * stride
            if level < len(STRIDES):
                stride *= STRIDES[level][0]
        return total + 2 * stride + self.activity.context

    def forward(self, relative: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """relative: (batch, 4, frame, bin); level: (batch, 1, 1, frame), the scale taken out.

        Returns mask logits (batch, source, channel, frame, bin) and activity logits
        (batch, source, frame).
        """
        batch, _, frames, _ = relative.shape
        x = self._input(relative)
        kept = []
        for stage, down in zip(self.encoder, self.down, strict=False):
            x = stage(x)
            kept.append(x)
            x = down(x)
        x = deepest = self.encoder[-1](x)
        for up, stage, skip in reversed(list(zip(self.up, self.decoder, kept, strict=True))):
            x = stage(up(x) + skip)
        logits = self.mask(x).reshape(batch, self.sources, 2, frames, BINS)
        return logits, self.activity(deepest, logits, relative, level)

    def _input(self, relative: Tensor) -> Tensor:
        """Compressed, whitened per bin, with the frequency of each bin as a fifth channel."""
        batch, views, frames, bins = relative.shape
        x = relative.pow(0.3).permute(0, 1, 3, 2).reshape(batch, views * bins, frames)
        x = self.whiten(x).reshape(batch, views, bins, frames).permute(0, 1, 3, 2)
        position = self.position.expand(batch, 1, frames, bins).to(x.dtype)
        return self.stem(torch.cat([x, position], dim=1).contiguous(
            memory_format=torch.channels_last))


class ActivityHead(nn.Module):
    """When does each source play: from the deepest features and from the energy its masks let pass."""

    BANDS = 8
    WIDTH = 64
    context = 16
    """Frames on one side that its convolutions over time reach."""

    def __init__(self, sources: int, features: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.deep = nn.Conv1d(features, self.WIDTH, 1)
        self.energy_norm = nn.BatchNorm1d(sources * self.BANDS + 1)
        self.mix = nn.Sequential(
            nn.Conv1d(self.WIDTH + sources * self.BANDS + 1, self.WIDTH, 9, padding=4, bias=False),
            nn.BatchNorm1d(self.WIDTH),
            nn.ReLU(),
            nn.Conv1d(self.WIDTH, self.WIDTH, 9, padding=12, dilation=3, bias=False),
            nn.BatchNorm1d(self.WIDTH),
            nn.ReLU(),
            nn.Conv1d(self.WIDTH, sources, 1),
        )

    def forward(self, deepest: Tensor, logits: Tensor, relative: Tensor, level: Tensor) -> Tensor:
        """Activity logits (batch, source, frame)."""
        batch, sources, _, frames, _ = logits.shape
        deep = self.deep(deepest.permute(0, 1, 3, 2).flatten(1, 2))
        deep = deep.repeat_interleave(self.stride, dim=-1)
        passed = logits.float().softmax(dim=1) * relative[:, None, :2]
        power = passed.square().reshape(batch, sources, 2, frames, self.BANDS, -1).mean(dim=(2, 5))
        energy = torch.log(power + 1e-4).permute(0, 1, 3, 2).flatten(1, 2)
        loudness = torch.log(level.flatten(1, 2))
        energy = self.energy_norm(torch.cat([energy, loudness], dim=1))
        out: Tensor = self.mix(torch.cat([deep.float(), energy], dim=1))
        return out
