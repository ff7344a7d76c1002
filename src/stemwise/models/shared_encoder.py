"""One encoder for all sources and a decoder for each (Doire & Okubadejo 2019, section 2.2).

The decoders estimate magnitudes, not masks, and may be added to a trained encoder one by one. Maps
are (batch, feature, frame, bin), as in the paper's table 1.
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
from stemwise.models.blocks import input_scale
from stemwise.models.checkpoint import misfits
from stemwise.models.heads import ActivityHead, activate, check_mask
from stemwise.models.separator import Grid, Prediction, SpectrogramSeparator

N_FFT, HOP = 2048, 512
BINS = N_FFT // 2 + 1
CHANNELS = 2
WIDTHS = (16, 16, 32, 64, 128, 256)
"""Features of each resolution of the encoder, from 1024 bins down to 32."""
DECODED = (16, 16, 32, 64, 128)
"""Features of each resolution of a decoder, from 1024 bins down to 64."""
WIDE = 32
"""Features of `encoder+` in its first three convolutions."""
STRIDE = 32
"""Frames between positions that all resolutions see alike."""


class SharedEncoder(SpectrogramSeparator):
    """Stereo, 44 100 Hz; magnitudes of every source from one pass of the encoder.

    plus: `encoder+` of section 4.4, with 32 features in the first three convolutions. activity: a
    head per source on the deepest features (the paper has none). mask: "none" (as published: ReLU
    magnitudes), "relu" or "sigmoid". features: of the first convolution; all others keep their
    ratio to it. separate: an encoder for every decoder, which is the paper's baseline of
    independent networks; those trained one by one can be combined (`stemwise.models.bank.combine`).
    The paper trains on 128 frames: 128 * 512 samples.

    The last frame of a spectrum, beyond a multiple of 32, takes the estimate of the one before.
    """

    kind = "shared-encoder"
    segment = 10.0
    network: SharedEncoderNetwork | Bank

    def __init__(
        self,
        sources: Sequence[str] = ("vocals", "drums", "bass", "other"),
        plus: bool = False,
        activity: bool = False,
        mask: str = "none",
        features: int = 16,
        separate: bool = False,
    ) -> None:
        check_mask(self.kind, mask)
        if features < 1:
            raise ModelError(f"The features of 'shared-encoder' start at 1, not {features}.")
        active = tuple(sources) if activity else ()
        super().__init__(sources, 44100, CHANNELS, active, n_fft=N_FFT, hop=HOP)
        self._config = {
            "sources": list(sources),
            "plus": plus,
            "activity": activity,
            "mask": mask,
            "features": features,
            "separate": separate,
        }
        self.mask = mask
        encoded, decoded = _widths(features, plus)
        if separate:
            self.network = Bank(self.sources, lambda: OwnEncoder(encoded, decoded, activity))
        else:
            self.network = SharedEncoderNetwork(self.sources, encoded, decoded, activity)
        before, after = _context_frames(activity)
        before, after = (-(-frames // STRIDE) * STRIDE * HOP for frames in (before, after))
        self.grid = Grid(HOP, STRIDE * HOP, before=before, after=after)

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(self._config)

    def set_statistics(self, mean: Tensor, deviation: Tensor) -> None:
        """Divide the input by the standard deviation of the training database (section 2.2).

        mean, deviation: of the mixtures' magnitude in every bin, (1025,). Nothing is subtracted:
        the mean is taken because all networks take the same statistics. The deviation is kept with
        the weights. Raises ModelError for other bins, and for what is silent or not finite.
        """
        if deviation.shape != (BINS,):
            raise ModelError(
                f"'shared-encoder' takes the deviations of {BINS} bins, "
                f"not of {tuple(deviation.shape)}."
            )
        scale = input_scale(deviation)
        network = self.network
        for one in network.members.values() if isinstance(network, Bank) else (network,):
            assert isinstance(one, (OwnEncoder, SharedEncoderNetwork))
            one.input_scale.copy_(scale)

    @property
    def shared(self) -> SharedEncoderNetwork:
        """The network; raises ModelError where every decoder has an encoder of its own."""
        if isinstance(self.network, Bank):
            raise ModelError(
                "The separator has an encoder for every source, none that is shared: "
                "build it without `separate`."
            )
        return self.network

    def take_encoder(self, other: SharedEncoder) -> None:
        """Use another separator's encoder, with the scale of its input; nothing is copied.

        Raises ModelError for an encoder of other widths, and where either has no shared encoder.
        """
        ours, theirs = self.shared.encoder_tensors(), other.shared.encoder_tensors()
        problems = misfits(ours, theirs)
        if problems:
            raise ModelError(f"The encoder does not fit: {problems}.")
        self.shared.take_encoder(other.shared)

    def with_sources(self, sources: Sequence[str]) -> SharedEncoder:
        """This encoder under the decoders of `sources`: those it has, and new ones for the rest.

        The new decoders have random weights; encoder and kept decoders share this separator's, so
        nothing is copied. Whether the encoder is trained on, is a matter of training. Raises
        ModelError for sources that are listed twice, and where no encoder is shared.
        """
        options: dict[str, Any] = {**self._config, "sources": list(sources)}
        ours = self.shared
        grown = SharedEncoder(**options).to(self.window.device)
        grown.shared.take_encoder(ours)
        for source in sources:
            if source in self.sources:
                grown.shared.decoders[source] = ours.decoders[source]
        return grown.train(self.training)

    def features(self, spectrum: Tensor) -> tuple[Tensor, ...]:
        """Magnitudes (batch, 2, frame, bin); the frames but the last are a multiple of 32."""
        frames = spectrum.shape[-1] - 1
        if frames < STRIDE or frames % STRIDE:
            raise ValueError(
                f"shared-encoder takes a multiple of {STRIDE * HOP} samples: use Grid.input_length"
            )
        return (spectrum[..., :-1].abs().mT,)

    def predict(self, spectrum: Tensor, outputs: tuple[Tensor, ...]) -> Prediction:
        """Magnitudes, or masks, of every source; the last frame repeats the one before."""
        maps = activate(outputs[0], self.mask)
        maps = torch.cat([maps, maps[..., -1:, :]], dim=-2).mT
        activity = None
        if len(outputs) > 1:
            logits = outputs[1].flatten(1, -2)  # a bank has an axis of one between
            activity = torch.cat([logits, logits[..., -1:]], dim=-1).float()
        if self.mask == "none":
            return Prediction(spectrum, estimates=maps, activity=activity)
        return Prediction(spectrum, masks=maps, activity=activity)


def join(separators: Sequence[SharedEncoder]) -> SharedEncoder:
    """One separator with the decoders of several, all trained under the same frozen encoder.

    The weights are shared with the originals. Raises ModelError where options or encoders differ,
    naming what does, or where two decoders estimate the same source.
    """
    if not separators:
        raise ModelError("There is nothing to join: give at least one separator.")
    first = separators[0]
    for other in separators[1:]:
        _check_same_encoder(first, other)
    joined = first.with_sources([name for one in separators for name in one.sources])
    for separator in separators:
        for source, decoder in separator.shared.decoders.items():
            joined.shared.decoders[source] = decoder
    return joined


def _check_same_encoder(first: SharedEncoder, other: SharedEncoder) -> None:
    for key, value in first.config.items():
        if key != "sources" and other.config[key] != value:
            raise ModelError(
                f"The separators differ in {key!r} ({value!r} and {other.config[key]!r}): "
                "only those with equal options can be joined."
            )
    ours, theirs = first.shared.encoder_tensors(), other.shared.encoder_tensors()
    problems = misfits(ours, theirs)
    differing = [name for name, value in ours.items() if not torch.equal(value, theirs[name])]
    if problems or differing:
        raise ModelError(
            f"The decoders of {', '.join(other.sources)} were trained under another encoder "
            f"({problems or ', '.join(differing[:4])} differ): train them with the encoder frozen."
        )


def _context_frames(activity: bool) -> tuple[int, int]:
    """Frames in front of and behind a piece of 32 that its samples depend on.

    An interval of frames that must be right is followed from the output back to the input.
    """
    overlap = N_FFT // (2 * HOP)
    # the first sample of the piece also lies in the frame before, the last in the two after
    low, high = 1 - overlap, STRIDE + overlap - 1
    low, high = low - 1, high + 1  # the last convolution, 3 x 2
    skips = []
    for _ in DECODED:
        skips.append((low, high))
        low, high = (low - 1) // 2, (high + 1) // 2  # convolution 3 x 3, interpolation
    if activity:
        low, high = min(low, -ActivityHead.context), max(high, ActivityHead.context)
    for skip in reversed(skips):
        low, high = 2 * (low - 1) - 1, 2 * (high + 1) + 2  # convolutions 3 x 3 and 4 x 4
        low, high = min(low, skip[0]), max(high, skip[1])
    low, high = low - 2, high + 2  # the first convolution, 5 x 6
    # frames nearer than `overlap` to the end of the input lack samples
    return overlap - low, high - STRIDE + overlap


class SharedEncoderNetwork(nn.Module):
    """Magnitudes to magnitudes of every source: table 1."""

    def __init__(
        self,
        sources: Sequence[str],
        encoded: Sequence[int],
        decoded: Sequence[int],
        activity: bool,
    ) -> None:
        super().__init__()
        self.register_buffer("input_scale", torch.ones(BINS))
        self.input_scale: Tensor
        self.encoder = Encoder(encoded)
        self.decoders = nn.ModuleDict(
            {source: Decoder(encoded, decoded, activity) for source in sources}
        )
        self.chosen = tuple(sources)

    def own_parameters(self, source: str) -> list[nn.Parameter]:
        """Those of the source's decoder."""
        return list(self.decoders[source].parameters())

    def choose(self, sources: Sequence[str]) -> bool:
        """Run the decoders of `sources` alone from now on."""
        if not all(source in self.decoders for source in sources):
            return False
        self.chosen = tuple(sources)
        return True

    def take_encoder(self, other: SharedEncoderNetwork) -> None:
        """Use another network's encoder, with the scale of its input."""
        self.encoder = other.encoder
        self.input_scale.copy_(other.input_scale)

    def encoder_tensors(self) -> dict[str, Tensor]:
        """What decoders depend on, by name: the encoder and the scale of its input."""
        tensors = {f"encoder.{name}": value for name, value in self.encoder.state_dict().items()}
        return {"input_scale": self.input_scale, **tensors}

    def forward(self, magnitudes: Tensor) -> tuple[Tensor, ...]:
        """magnitudes: (batch, 2, frame, 1025), frames a multiple of 32.

        Returns (batch, source, 2, frame, 1025), before the last ReLU, and, with heads, activity
        logits (batch, source, frame).
        """
        kept = self.encoder(magnitudes * self.input_scale)
        results = [self.decoders[source](kept) for source in self.chosen]
        maps = torch.stack([result[0] for result in results], dim=1)
        if len(results[0]) == 1:
            return (maps,)
        return maps, torch.cat([result[1] for result in results], dim=1)


class OwnEncoder(nn.Module):
    """One source with an encoder of its own: magnitudes to its magnitudes."""

    def __init__(self, encoded: Sequence[int], decoded: Sequence[int], activity: bool) -> None:
        super().__init__()
        self.register_buffer("input_scale", torch.ones(BINS))
        self.input_scale: Tensor
        self.encoder = Encoder(encoded)
        self.decoder = Decoder(encoded, decoded, activity)

    def forward(self, magnitudes: Tensor) -> tuple[Tensor, ...]:
        """(batch, 2, frame, 1025) to the same, and logits (batch, 1, frame) of a head."""
        out: tuple[Tensor, ...] = self.decoder(self.encoder(magnitudes * self.input_scale))
        return out


class Encoder(nn.Module):
    """A convolution, then five times half the frames and bins and a convolution."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.first = _layer(nn.Conv2d(CHANNELS, widths[0], (5, 6), padding=2))
        self.down = nn.ModuleList(
            _layer(nn.Conv2d(a, b, 4, stride=2, padding=1)) for a, b in pairwise(widths)
        )
        self.convolutions = nn.ModuleList(
            _layer(nn.Conv2d(width, width, 3, padding=1)) for width in widths[1:]
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """(batch, 2, frame, 1025) to the maps of all six resolutions, the finest first."""
        kept = [self.first(x.contiguous(memory_format=torch.channels_last))]
        for down, convolution in zip(self.down, self.convolutions, strict=True):
            kept.append(convolution(down(kept[-1])))
        return kept


class Decoder(nn.Module):
    """One source: five times [nearest neighbour x 2, convolution, concatenation], and the output.

    encoded, decoded: features of each resolution, the finest first, of encoder and decoder.
    """

    def __init__(self, encoded: Sequence[int], decoded: Sequence[int], activity: bool) -> None:
        super().__init__()
        joined = [a + b for a, b in zip(encoded, decoded, strict=False)]
        inputs = [*joined[1:], encoded[-1]]
        self.up = nn.ModuleList(
            _layer(nn.Conv2d(a, b, 3, padding=1))
            for a, b in reversed(list(zip(inputs, decoded, strict=True)))
        )
        self.last = _layer(nn.Conv2d(joined[0], decoded[0], (3, 2), padding=1))
        self.average = nn.Conv2d(decoded[0], CHANNELS, 1)
        deepest = encoded[-1] * (BINS // STRIDE)
        self.activity = ActivityHead(deepest, 1, STRIDE) if activity else None

    def forward(self, kept: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """kept: the encoder's maps. Returns (batch, 2, frame, 1025), and logits (batch, 1, frame)
        where there is a head."""
        x = kept[-1]
        for convolution, skip in zip(self.up, reversed(kept[:-1]), strict=True):
            x = convolution(F.interpolate(x, scale_factor=2.0, mode="nearest"))
            x = torch.cat([x, skip], dim=1)
        maps = self.average(self.last(x))
        if self.activity is None:
            return (maps,)
        return maps, self.activity(kept[-1].transpose(2, 3).flatten(1, 2))


def _widths(features: int, plus: bool) -> tuple[list[int], list[int]]:
    """Features of each resolution, the finest first, of encoder and decoder."""
    encoded = [width * features // WIDTHS[0] for width in WIDTHS]
    decoded = [width * features // WIDTHS[0] for width in DECODED]
    if plus:
        encoded[:2] = [WIDE * features // WIDTHS[0]] * 2
    return encoded, decoded


def _layer(convolution: nn.Conv2d) -> nn.Sequential:
    """Every convolution but the last has batch normalisation and a leaky ReLU of slope 0.1."""
    norm = nn.BatchNorm2d(convolution.out_channels)
    return nn.Sequential(convolution, norm, nn.LeakyReLU(0.1, inplace=True))
