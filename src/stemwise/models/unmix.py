"""What Open-Unmix and its variants share: all but how the frames of a song are joined.

One network per source, each with the parameter names of the authors' `openunmix` package, so that
official weights load unchanged into `network.members.<source>`. Inside the network features are
(batch, frame, ...), the order in which spectra lie in memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from stemwise import spectral
from stemwise.errors import ModelError
from stemwise.models.bank import Bank
from stemwise.models.blocks import input_scale
from stemwise.models.heads import ActivityHead, activate, check_mask
from stemwise.models.separator import Grid, Prediction, SpectrogramSeparator

WIENER_FRAMES = 300
"""Frames whose spatial covariances are estimated together, in pieces that are so long."""


class UnmixSeparator(SpectrogramSeparator):
    """Masks for each source from a network of its own, then a multichannel Wiener filter.

    options: the constructor's arguments. make: a network of one source from its input bins, its
    output bins and the options. before, after: frames of context.
    """

    pad_mode = "reflect"
    phase = "wiener"

    def __init__(
        self,
        options: dict[str, Any],
        make: Callable[[int, int, dict[str, Any]], UnmixNetwork],
        before: int,
        after: int,
    ) -> None:
        sources, rate, channels = options["sources"], options["sample_rate"], options["channels"]
        n_fft, hop, bandwidth = options["n_fft"], options["hop"], options["bandwidth"]
        self._check(options)
        estimated = (*sources, "residual") if options["residual"] else tuple(sources)
        active = sources if options["activity"] else ()
        super().__init__(estimated, rate, channels, active, n_fft=n_fft, hop=hop)
        self._config = options
        self.residual, self.mask = options["residual"], options["mask"]
        bins = n_fft // 2 + 1
        self.input_bins = bins
        if bandwidth is not None:
            self.input_bins = min(bins, int(bandwidth * n_fft / rate) + 1)
        self.network: UnmixBank = UnmixBank(
            sources, lambda: make(self.input_bins, bins, options), self.residual, self.mask
        )
        self.grid = Grid(
            hop,
            hop,
            before=before * hop,
            after=after * hop,
            finite=False,
            padded=False,
            window=WIENER_FRAMES * hop,
        )

    def _check(self, options: dict[str, Any]) -> None:
        check_mask(self.kind, options["mask"])
        if not options["sources"]:
            raise ModelError(f"The network {self.kind!r} needs at least one source.")
        if options["residual"] and "residual" in options["sources"]:
            raise ModelError("The source 'residual' is what the others leave: do not name it.")
        if options["channels"] not in (1, 2):
            raise ModelError(
                f"The network {self.kind!r} has 1 or 2 channels, not {options['channels']}."
            )
        if options["hidden"] < 2 or options["hidden"] % 2 or options["layers"] < 1:
            raise ModelError(
                f"The hidden size of {self.kind!r} must be even, and it has at least one layer."
            )
        if options["bandwidth"] is not None and options["bandwidth"] <= 0:
            raise ModelError(f"The bandwidth must be more than 0 Hz, not {options['bandwidth']}.")

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(self._config)

    def set_statistics(self, mean: Tensor, deviation: Tensor) -> None:
        """Normalise the input of every source by statistics of the training mixtures.

        mean, deviation: of the magnitudes of each bin, (bin,), over all songs, channels and
        frames; bins above the bandwidth are left out. Raises ModelError where the deviations
        are silent or not finite.
        """
        scale = input_scale(deviation)
        for member in self.network.unmixers:
            with torch.no_grad():
                member.input_mean.copy_(-mean[: self.input_bins])
                member.input_scale.copy_(scale[: self.input_bins])

    def features(self, spectrum: Tensor) -> tuple[Tensor, ...]:
        """Magnitudes (batch, frame, channel, bin) up to the bandwidth."""
        return (spectrum[:, :, : self.input_bins].permute(0, 3, 1, 2).abs().contiguous(),)

    def predict(self, spectrum: Tensor, outputs: tuple[Tensor, ...]) -> Prediction:
        """Masks, or magnitudes where the option `mask` is "none"."""
        factors = outputs[0].permute(0, 1, 3, 4, 2)  # (batch, source, channel, bin, frame)
        activity = outputs[1].squeeze(2) if len(outputs) > 1 else None
        if self.mask != "none":
            return Prediction(spectrum, masks=factors, activity=activity)
        if self.residual:
            factors[:, -1] += spectrum.abs()
        return Prediction(spectrum, estimates=factors, activity=activity)

    def compared(self, prediction: Prediction, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Magnitudes, as the authors compare them.

        Masks times magnitudes are the magnitudes of the masked mixture at a quarter of the cost.
        """
        factors = prediction.masks
        if factors is None:
            return prediction.estimates.abs(), reference.abs()
        if self.residual:  # it may be below 0 where the other masks are more than 1 together
            factors = factors.abs()
        return factors * prediction.mixture.abs().unsqueeze(1), reference.abs()

    def refine(self, prediction: Prediction, phase: str, lead: int = 0) -> Prediction:
        """See `SpectrogramSeparator.refine`; Wiener estimates are made one source at a time."""
        if phase != "wiener":
            return super().refine(prediction, phase, lead)
        mixture, factors = prediction.mixture, prediction.masks
        if factors is None:
            factors = prediction.estimates / mixture.abs().clamp_min(1e-10).unsqueeze(1)
        filtered = spectral.WienerFilter(factors, mixture, window=WIENER_FRAMES, lead=lead)
        return FilteredPrediction(mixture, filtered, prediction.activity)


class FilteredPrediction(Prediction):
    """Complex estimates that a Wiener filter makes when they are asked for."""

    def __init__(
        self, mixture: Tensor, filtered: spectral.WienerFilter, activity: Tensor | None
    ) -> None:
        self.mixture, self.activity, self.filtered = mixture, activity, filtered
        self._masks = self._estimates = self._expand = None

    @property
    def estimates(self) -> Tensor:
        """(batch, source, channel, bin, frame), complex."""
        sources = range(self.filtered.power.shape[1])
        return torch.stack([self.filtered.source(index) for index in sources], dim=1)

    def source(self, index: int, span: slice = slice(None)) -> Tensor:
        """One source, complex (batch, channel, bin, frame), at the frames of `span`."""
        return self.filtered.source(index, span)


class UnmixBank(Bank):
    """All sources: magnitudes (batch, frame, channel, bin) to their masks.

    Masks are (batch, source, frame, channel, bin), logits (batch, source, 1, frame). residual: the
    last mask is what the others leave of 1, or minus their sum where they are magnitudes.
    """

    def __init__(
        self,
        sources: Sequence[str],
        make: Callable[[], UnmixNetwork],
        residual: bool,
        mask: str,
    ) -> None:
        super().__init__(sources, make)
        self.residual, self.whole = residual, 0.0 if mask == "none" else 1.0

    @property
    def unmixers(self) -> list[UnmixNetwork]:
        """The members that run, in the order of the sources."""
        return [cast(UnmixNetwork, self.members[source]) for source in self.chosen]

    def own_parameters(self, source: str) -> list[nn.Parameter]:
        """Those of the source's member; none where the residual depends on it too."""
        return [] if self.residual else super().own_parameters(source)

    def choose(self, sources: Sequence[str]) -> bool:
        """Run some members alone; the residual needs them all."""
        return not self.residual and super().choose(sources)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """inputs: magnitudes (batch, frame, channel, bin); see the class."""
        if not self.training:
            return self.gather(member(inputs[0]) for member in self.unmixers)
        masks, *logits = super().forward(*inputs)
        if self.residual:
            masks = torch.cat([masks, self.whole - masks.sum(dim=1, keepdim=True)], dim=1)
        return masks, *logits

    def gather(self, found: Iterable[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """What members find, joined; masks go to their place at once and are never there twice."""
        masks = torch.empty(0)
        logits: list[Tensor] = []
        for index, (mask, *logit) in enumerate(found):
            if not index:
                count = len(self.chosen) + self.residual
                masks = mask.new_empty(mask.shape[0], count, *mask.shape[1:])
            masks[:, index] = mask
            logits += logit
        if self.residual:
            masks[:, -1] = self.whole - masks[:, :-1].sum(dim=1)
        return (masks, torch.stack(logits, dim=1)) if logits else (masks,)


class UnmixNetwork(nn.Module, ABC):
    """One source: magnitudes (batch, frame, channel, bin) to masks with all bins.

    With `activity`, logits (batch, 1, frame) follow. options: those of `OpenUnmix`. What a
    subclass does over time has the same shape before and after it.
    """

    def __init__(self, input_bins: int, output_bins: int, options: dict[str, Any]) -> None:
        super().__init__()
        self.output_bins, self.mask = output_bins, options["mask"]
        self.channels, hidden = options["channels"], options["hidden"]
        self.fc1 = nn.Linear(self.channels * input_bins, hidden, bias=False)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.fc2 = nn.Linear(2 * hidden, hidden, bias=False)
        self.bn2 = nn.BatchNorm1d(hidden)
        self.fc3 = nn.Linear(hidden, self.channels * output_bins, bias=False)
        self.bn3 = nn.BatchNorm1d(self.channels * output_bins)
        self.input_mean = nn.Parameter(torch.zeros(input_bins))
        self.input_scale = nn.Parameter(torch.ones(input_bins))
        self.output_mean = nn.Parameter(torch.ones(output_bins))
        self.output_scale = nn.Parameter(torch.ones(output_bins))
        self.activity = ActivityHead(2 * hidden, 1) if options["activity"] else None

    @abstractmethod
    def over_time(self, x: Tensor) -> Tensor:
        """What joins the frames: (batch, frame, hidden) to the same shape."""

    def forward(self, magnitudes: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        return self.decode(self.encode(magnitudes))

    def encode(self, magnitudes: Tensor) -> Tensor:
        """Magnitudes (batch, frame, channel, bin) to (batch, frame, hidden) in -1..1."""
        if not self.training:
            return F.linear(magnitudes.flatten(2), *self.folded_input()).tanh()
        # folded into the weights, the normalisation costs next to nothing, and so does its gradient
        weight = self.fc1.weight * self.input_scale.repeat(self.channels)
        bias = (weight * self.input_mean.repeat(self.channels)).sum(dim=1)
        return _normalise(self.bn1, F.linear(magnitudes.flatten(2), weight, bias)).tanh()

    def decode(self, x: Tensor) -> tuple[Tensor, ...]:
        """What `encode` gives, to the mask (batch, frame, channel, bin) and perhaps logits."""
        return self.read(torch.cat([x, self.over_time(x)], dim=-1))

    def read(self, x: Tensor) -> tuple[Tensor, ...]:
        """Features (batch, frame, 2 hidden), before and after they were joined over time."""
        logits = () if self.activity is None else (self.activity(x.transpose(1, 2)),)
        if self.training:
            x = _normalise(self.bn2, self.fc2(x)).relu()
            x = self._channels(
                _normalise(self.bn3, self.fc3(x), self.output_scale, self.output_mean)
            )
        else:
            x = F.linear(x, *_fold(self.fc2, self.bn2)).relu()
            x = self._channels(F.linear(x, *self._folded_output()))
        return activate(x, self.mask), *logits

    def folded_input(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of `encode` before the tanh, normalisations included."""
        weight, bias = _fold(self.fc1, self.bn1)
        weight = weight * self.input_scale.repeat(self.channels)
        return weight, bias + weight @ self.input_mean.repeat(self.channels)

    def _channels(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.channels, self.output_bins)

    def _folded_output(self) -> tuple[Tensor, Tensor]:
        weight, bias = _fold(self.fc3, self.bn3)
        scale, mean = self.output_scale.repeat(self.channels), self.output_mean
        return weight * scale.unsqueeze(1), bias * scale + mean.repeat(self.channels)


def _normalise(
    norm: nn.BatchNorm1d, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    """Batch norm of (batch, frame, feature) over batch and frames.

    scale, shift: (bin,), of the bins of every channel after the norm, in the same pass.
    """
    rows = x.flatten(0, 1)
    if scale is None or shift is None:
        return cast(Tensor, norm(rows)).reshape(x.shape)
    channels = rows.shape[1] // scale.shape[0]
    scale, shift = scale.repeat(channels), shift.repeat(channels)
    affine = {"weight": norm.weight * scale, "bias": norm.bias * scale + shift}
    normalised: Tensor = functional_call(norm, affine, (rows,))
    return normalised.reshape(x.shape)


def _fold(linear: nn.Linear, norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a linear layer and the batch norm after it, in evaluation."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    return linear.weight * scale.unsqueeze(1), norm.bias - mean * scale
