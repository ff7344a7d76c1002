"""The network of the default model `band`: a small U-Net with masks and an activity head.

It sees how loud each band is in the left, right, mid and side signal, relative to the music
around it, so that neither the song's volume nor its sample rate matters: at 44.1 kHz the transform
has 4096 points, at 22.05 kHz 2048, and the 1024 bins below 11 kHz are the same. Masks are a softmax
over sources, so the stems sum to the mixture. Inside the network maps are (batch, channel, frame,
band).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stemwise.errors import ModelError
from stemwise.models.blocks import Stage
from stemwise.models.separator import Grid, Prediction, SpectrogramSeparator

BINS = 1024
"""Bins the network sees: all below 11 025 Hz but the last."""
BANDS = 512
"""Bins 0-255 one by one, 256-511 in pairs, 512-1023 in fours: no wider than a spectral peak."""
TOP = 16
"""Highest bands whose mean mask serves every bin above those the network sees."""
LEVEL_FRAMES = 32
"""Frames on each side over which the level is taken (0.74 s)."""
STRIDES = ((2, 2), (2, 2), (2, 2), (1, 2))
"""Stride in (frame, band) from each resolution to the next; the stem halves the bands first."""


class BandUNet(SpectrogramSeparator):
    """Stereo separation and activity of any set of sources.

    sample_rate: 44 100 or 22 050 Hz; the parameters do not depend on it. widths: features of each
    resolution, from 256 bands down to 16. depth: convolutions of each resolution on each side of
    the U. squeezed and hidden: channels and units of the spectrum blocks.
    """

    kind = "band-unet"
    segment = 20.0
    complete = True

    def __init__(
        self,
        sources: Sequence[str] = ("vocals", "drums", "bass", "other"),
        sample_rate: int = 44100,
        widths: Sequence[int] = (32, 64, 96, 144, 192),
        depth: int = 2,
        squeezed: int = 8,
        hidden: int = 128,
    ) -> None:
        n_fft = round(4096 * sample_rate / 44100)
        if sample_rate not in (22050, 44100):
            raise ModelError(
                f"The network 'band-unet' takes 22050 or 44100 Hz, not {sample_rate} Hz."
            )
        super().__init__(sources, sample_rate, 2, sources, n_fft=n_fft, hop=n_fft // 4)
        self._config = {
            "sources": list(sources),
            "sample_rate": sample_rate,
            "widths": list(widths),
            "depth": depth,
            "squeezed": squeezed,
            "hidden": hidden,
        }
        self._narrowed: BandUNet | None = None
        self.network: BandNetwork = BandNetwork(len(self.sources), widths, depth, squeezed, hidden)
        stride = self.network.time_stride
        context = self.network.context * self.hop
        self.grid = Grid(self.hop, stride * self.hop, before=context, after=context)

    def narrowed(self) -> BandUNet:
        """The same, sharing its parameters, for pieces with the grid's context.

        Each layer computes no more of the context than what the piece itself depends on: 15 % less
        for pieces of 20 s. What it predicts starts `grid.crop` samples later and ends as much
        earlier, and its activity holds for the piece alone.
        """
        if {self.grid.before, self.grid.after} != {self.network.context * self.hop}:
            return self
        known = self._narrowed
        if known is None or known.network._modules is not self.network._modules:
            twin = copy.copy(self)
            twin.__dict__["_modules"] = dict(self._modules)
            twin.network = network = copy.copy(self.network)
            network.narrow = True
            crop = self.grid.before - network.activity.context * self.hop
            twin.grid = replace(self.grid, crop=crop)
            self.__dict__["_narrowed"] = known = twin  # no part of this module
        return known

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(self._config)

    def at_rate(self, sample_rate: int) -> BandUNet:
        """The same network, sharing its parameters, for audio of another sample rate."""
        config: dict[str, Any] = {**self._config, "sample_rate": sample_rate}
        twin = BandUNet(**config)
        twin.network = self.network
        return twin.to(self.window.device).train(self.training)

    def features(self, spectrum: Tensor) -> tuple[Tensor, ...]:
        """Relative powers and level; the frames but the last are a multiple of the stride."""
        return self._powers(spectrum[:, :, :BINS, :-1].transpose(-1, -2))

    def predict(self, spectrum: Tensor, outputs: tuple[Tensor, ...]) -> Prediction:
        """The last frame shares the mask of the one before."""
        masks, activity = outputs
        spectrum = self._crop_frames(spectrum)
        activity = _repeat_last(activity.float())
        return Prediction(spectrum, masks=masks, expand=self._full_band, activity=activity)

    def _powers(self, spectrum: Tensor) -> tuple[Tensor, Tensor]:
        """Power of left, right, mid and side in each band over the local level, and that level.

        spectrum: complex (batch, 2, frame, bin). Returns (batch, 4, frame, BANDS) and
        (batch, 1, frame, 1), a mean power per bin where a full-scale sine has power 1.
        """
        with torch.autocast(spectrum.device.type, enabled=False):
            spectrum = spectrum * (2.0 / self.window.sum())
            parts = torch.view_as_real(spectrum)
            left, right = parts[:, 0], parts[:, 1]
            cross = _merge((left * right).sum(-1)) / 2
            power_left, power_right = _merge(left.square().sum(-1)), _merge(right.square().sum(-1))
            half = (power_left + power_right) / 4
            mid, side = (half + cross).clamp_min(0), (half - cross).clamp_min(0)
            powers = torch.stack([power_left, power_right, mid, side], dim=1)
            mean = half.mean(dim=-1).unsqueeze(1)
            width = 2 * LEVEL_FRAMES + 1
            level = F.avg_pool1d(mean, width, stride=1, padding=LEVEL_FRAMES).unsqueeze(-1)
            level = level.clamp_min(1e-12)
            return powers / level, level

    def _full_band(self, masks: Tensor) -> Tensor:
        """Masks of bands (..., frame, BANDS) to masks of all bins (..., bin, frame + 1)."""
        masks = torch.cat([masks, masks[..., -1:, :]], dim=-2)
        pairs = masks[..., 256:384].repeat_interleave(2, dim=-1)
        fours = masks[..., 384:].repeat_interleave(4, dim=-1)
        top = masks[..., -TOP:].mean(dim=-1, keepdim=True)
        above = top.expand(*top.shape[:-1], self.n_fft // 2 + 1 - BINS)
        return torch.cat([masks[..., :256], pairs, fours, above], dim=-1).transpose(-1, -2)


def _merge(x: Tensor) -> Tensor:
    """Mean over the bins of each band: (batch, frame, BINS) to (batch, frame, BANDS)."""
    pairs = x[..., 256:512].reshape(*x.shape[:-1], 128, 2).mean(-1)
    fours = x[..., 512:].reshape(*x.shape[:-1], 128, 4).mean(-1)
    return torch.cat([x[..., :256], pairs, fours], dim=-1)


def _repeat_last(x: Tensor) -> Tensor:
    return torch.cat([x, x[..., -1:]], dim=-1)


class BandNetwork(nn.Module):
    """Relative powers in; masks and activity logits out.

    Every resolution has a `Stage` on the way down and one on the way up; the way up adds what the
    way down kept.
    """

    def __init__(
        self, sources: int, widths: Sequence[int], depth: int, squeezed: int, hidden: int
    ) -> None:
        super().__init__()
        self.sources, self.depth, self.levels = sources, depth, len(widths)
        bands = [BANDS // 2 ** (level + 1) for level in range(self.levels)]
        strides = STRIDES[: self.levels - 1]
        pairs = list(zip(widths, widths[1:], strides, strict=False))
        self.whiten = Whiten(4, BANDS)
        self.stem = nn.Conv2d(4, widths[0], (3, 4), stride=(1, 2), padding=(1, 1))
        self.position = nn.Parameter(torch.zeros(widths[0], 1, bands[0]))
        self.encoder = nn.ModuleList(
            Stage(c, f, depth, squeezed=squeezed, hidden=hidden)
            for c, f in zip(widths, bands, strict=True)
        )
        self.down = nn.ModuleList(nn.Conv2d(a, b, s, stride=s) for a, b, s in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, s, stride=s) for a, b, s in pairs)
        self.decoder = nn.ModuleList(
            Stage(c, f, depth, squeezed=squeezed, hidden=hidden)
            for c, f in zip(widths[:-1], bands[:-1], strict=True)
        )
        self.mask = nn.ConvTranspose2d(widths[0], 2 * sources, (1, 4), (1, 2), padding=(0, 1))
        self.narrow = False
        self.time_stride = 1
        for stride, _ in strides:
            self.time_stride *= stride
        self.activity = ActivityHead(sources, widths[-1] * bands[-1], self.time_stride)

    def context_frames(self) -> int:
        """Frames on one side that an output frame depends on (an upper bound)."""
        total, stride = 1, 1
        for level in range(self.levels):
            passes = 1 if level == self.levels - 1 else 2
            total += passes * self.depth * stride
            if level < self.levels - 1:
                stride *= STRIDES[level][0]
        return total + 2 * stride + self.activity.context

    @property
    def context(self) -> int:
        """Frames on each side of a piece that it is given, those of the level among them."""
        return _whole(self.context_frames() + LEVEL_FRAMES + 2, self.time_stride)

    def reach(self) -> list[int]:
        """Frames on each side that the stages on the way up must see, each at its own rate.

        Of all, for the masks to hold on the frames that the activity's convolutions see; last
        stands what the stem must see.
        """
        seen, needed = [], self.activity.context
        strides = [stride for stride, _ in STRIDES[: self.levels - 1]]
        for stride in strides:
            seen.append(_whole(needed + self.depth, stride))
            needed = seen[-1] // stride
        needed = max(needed, -(-self.activity.context // self.time_stride)) + self.depth
        for stride in reversed(strides):
            needed = needed * stride + self.depth
        return [*seen, _whole(needed + 1, self.time_stride)]

    def forward(self, powers: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """powers: (batch, 4, frame, BANDS); level: (batch, 1, frame, 1), the scale taken out.

        Returns masks (batch, source, channel, frame, BANDS), which sum to 1 over the sources, and
        activity logits (batch, source, frame). A narrow network leaves out the frames that
        `BandUNet.narrowed` crops.
        """
        reach = self.reach()
        x = self.whiten((powers + 1e-8).pow(0.15))
        if self.narrow:  # not before: OpenVINO would take powers of numbers of 16 bits, slowly
            x = _inner(x, self.context - reach[-1])
        position = self.position.unsqueeze(0).contiguous(memory_format=torch.channels_last)
        x = self.stem(x.contiguous(memory_format=torch.channels_last)) + position
        kept = []
        for stage, down in zip(self.encoder, self.down, strict=False):
            x = stage(x)
            kept.append(x)
            x = down(x)
        x = deepest = self.encoder[-1](x)
        held, spread = reach[-1] // self.time_stride, self.time_stride
        for at in reversed(range(self.levels - 1)):
            skip, stride = kept[at], STRIDES[at][0]
            if self.narrow:
                spread //= stride
                x = _inner(x, held - reach[at] // stride)
                skip = _inner(skip, reach[-1] // spread - reach[at])
                held = reach[at]
            x = self.decoder[at](self.up[at](x) + skip)
        if self.narrow:
            aside = held - self.activity.context
            x = _inner(x, aside)
            powers, level = (
                _inner(one, self.context - self.activity.context) for one in (powers, level)
            )
            frames = -(-self.activity.context // self.time_stride)
            deepest = _inner(deepest, reach[-1] // self.time_stride - frames)
        maps = self.mask(x)
        logits = maps.unflatten(1, (self.sources, 2)).contiguous()
        masks = logits.float().softmax(dim=1)
        return masks, self.activity(deepest, masks, powers, level)


def _whole(frames: int, stride: int) -> int:
    """The least multiple of the stride that is at least `frames`."""
    return -(-frames // stride) * stride


def _inner(x: Tensor, frames: int) -> Tensor:
    """(batch, ..., frame, band) without some frames at each end."""
    return x[..., frames : x.shape[-2] - frames, :] if frames else x


class Whiten(nn.Module):
    """Shift and scale every band of every view to mean 0 and deviation 1 by running statistics."""

    def __init__(self, views: int, bands: int, momentum: float = 0.01) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(views, 1, bands))
        self.register_buffer("variance", torch.ones(views, 1, bands))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.mean: Tensor
        self.variance: Tensor
        self.seen: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """(batch, view, frame, band) to the same shape."""
        if self.training:
            self._update(x.detach().float())
        scale = (self.variance + 1e-5).rsqrt()
        return torch.addcmul(-self.mean * scale, x, scale)

    @torch.no_grad()
    def _update(self, x: Tensor) -> None:
        self.seen += 1
        rate = max(self.momentum, 1 / int(self.seen))  # a plain mean over the first batches
        variance, mean = torch.var_mean(x, dim=(0, 2), keepdim=True)
        difference = mean[0] - self.mean
        self.mean += rate * difference
        spread = variance[0] + (1 - rate) * difference.square()
        self.variance += rate * (spread - self.variance)


class ActivityHead(nn.Module):
    """When each source plays: from the deepest features and from the power its masks let pass."""

    GROUPS = 8
    WIDTH = 64
    context = 16
    """Frames on one side that its convolutions over time reach."""

    def __init__(self, sources: int, features: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        energies = sources * self.GROUPS + 1
        self.deep = nn.Conv1d(features, self.WIDTH, 1)
        self.energy_norm = nn.BatchNorm1d(energies)
        self.mix = nn.Sequential(
            nn.Conv1d(self.WIDTH + energies, self.WIDTH, 9, padding=4, bias=False),
            nn.BatchNorm1d(self.WIDTH),
            nn.ReLU(),
            nn.Conv1d(self.WIDTH, self.WIDTH, 9, padding=12, dilation=3, bias=False),
            nn.BatchNorm1d(self.WIDTH),
            nn.ReLU(),
            nn.Conv1d(self.WIDTH, sources, 1),
        )

    def forward(self, deepest: Tensor, masks: Tensor, powers: Tensor, level: Tensor) -> Tensor:
        """Activity logits (batch, source, frame)."""
        deep = self.deep(deepest.permute(0, 1, 3, 2).flatten(1, 2))
        deep = deep.repeat_interleave(self.stride, dim=-1)
        passed = (masks * masks * powers[:, None, :2]).flatten(0, 2)
        # more than five axes, or two at once, are what runtimes reduce slowly
        grouped = passed.reshape(*passed.shape[:-1], self.GROUPS, -1).mean(dim=-1)
        grouped = grouped.reshape(*masks.shape[:3], *grouped.shape[1:]).mean(dim=2)
        energy = torch.log(grouped + 1e-5).transpose(-1, -2).flatten(1, 2)
        energy = self.energy_norm(torch.cat([energy, torch.log(level[..., 0])], dim=1))
        out: Tensor = self.mix(torch.cat([deep.float(), energy], dim=1))
        return out
