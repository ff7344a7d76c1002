"""Open-Unmix: a BiLSTM per source that masks the mixture's magnitudes (Stöter et al. 2019).

One network per source, each with the parameter names of the authors' `openunmix` package, so that
official weights load unchanged into `network.members.<source>`. Inside the network features are
(batch, frame, ...), the order in which spectra lie in memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stemwise import spectral
from stemwise.errors import ModelError
from stemwise.models.bank import Bank
from stemwise.models.heads import ActivityHead, activate, check_mask
from stemwise.models.separator import Grid, Prediction, SpectrogramSeparator

WIENER_FRAMES = 300
"""Frames whose spatial covariances are estimated together: pieces start at their multiples."""
CONTEXT_FRAMES = 100
"""Frames in front of and behind a piece that the recurrent layers see (2.3 s)."""
SCALE_FLOOR = 1e-4
"""Least standard deviation of a bin, relative to the largest of all bins."""


class OpenUnmix(SpectrogramSeparator):
    """Masks for `sources`, one network each; 8 893 348 parameters per source by default.

    bandwidth: Hz above which the network sees nothing, None for all. unidirectional: LSTMs that
    look back only, for real-time use. residual: one more source, the mixture less all others,
    which takes part in the Wiener filter. activity: a head for the activity of every source
    (ours). mask: how the last layer is read, see `heads.MASKS`.

    Recurrence reaches without end, so pieces of a song are seen with 100 frames (2.3 s) of
    context and are not exactly those of one pass; the first piece starts with an empty state and
    the spectrum is mirrored at both ends of the song, as in the authors' package.
    """

    kind: ClassVar[str] = "open-unmix"
    pad_mode = "reflect"
    phase = "wiener"
    segment: float = 28.0

    def __init__(
        self,
        sources: Sequence[str] = ("vocals", "drums", "bass", "other"),
        sample_rate: int = 44100,
        channels: int = 2,
        hidden: int = 512,
        layers: int = 3,
        bandwidth: float | None = 16000,
        unidirectional: bool = False,
        residual: bool = False,
        activity: bool = False,
        mask: str = "relu",
        n_fft: int = 4096,
        hop: int = 1024,
    ) -> None:
        check_mask(self.kind, mask)
        if not sources:
            raise ModelError(f"The network {self.kind!r} needs at least one source.")
        if residual and "residual" in sources:
            raise ModelError("The source 'residual' is what the others leave: do not name it.")
        if channels not in (1, 2):
            raise ModelError(f"The network {self.kind!r} has 1 or 2 channels, not {channels}.")
        if hidden < 2 or hidden % 2 or layers < 1:
            raise ModelError("The hidden size must be even and there must be at least one layer.")
        if bandwidth is not None and bandwidth <= 0:
            raise ModelError(f"The bandwidth must be more than 0 Hz, not {bandwidth}.")
        estimated = (*sources, "residual") if residual else tuple(sources)
        active = tuple(sources) if activity else ()
        super().__init__(estimated, sample_rate, channels, active, n_fft=n_fft, hop=hop)
        self._config: dict[str, Any] = {
            "sources": list(sources),
            "sample_rate": sample_rate,
            "channels": channels,
            "hidden": hidden,
            "layers": layers,
            "bandwidth": bandwidth,
            "unidirectional": unidirectional,
            "residual": residual,
            "activity": activity,
            "mask": mask,
            "n_fft": n_fft,
            "hop": hop,
        }
        self.residual, self.mask = residual, mask
        bins = n_fft // 2 + 1
        self.input_bins = bins
        if bandwidth is not None:
            self.input_bins = min(bins, int(bandwidth * n_fft / sample_rate) + 1)
        self.network: UnmixBank = UnmixBank(sources, self._member, residual, mask)
        # two frames behind the piece overlap it, and each reaches two hops further
        after = n_fft if unidirectional else CONTEXT_FRAMES * hop
        self.grid = Grid(
            hop,
            WIENER_FRAMES * hop,
            before=CONTEXT_FRAMES * hop,
            after=after,
            finite=False,
            padded=False,
        )

    def _member(self) -> UnmixNetwork:
        return OpenUnmixNetwork(self.input_bins, self.n_fft // 2 + 1, self._config)

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(self._config)

    def set_statistics(self, mean: Tensor, deviation: Tensor) -> None:
        """Normalise the input of every source by statistics of the training mixtures.

        mean, deviation: of the magnitudes of each bin, (bin,), over all songs, channels and
        frames; bins above the bandwidth are left out. Deviations are at least 1e-4 of the largest.
        """
        deviation = deviation.clamp_min(SCALE_FLOOR * float(deviation.max()))
        for member in self.network.unmixers:
            with torch.no_grad():
                member.input_mean.copy_(-mean[: self.input_bins])
                member.input_scale.copy_(1 / deviation[: self.input_bins])

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
    """A bank whose members share what they can: magnitudes in, masks of all sources out.

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
        """The members, in the order of the sources."""
        return [cast(UnmixNetwork, member) for member in self.members.values()]

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """inputs: magnitudes (batch, frame, channel, bin); see the class."""
        if not self.training:
            return self._infer(inputs[0])
        masks, *logits = super().forward(*inputs)
        if self.residual:
            masks = torch.cat([masks, self.whole - masks.sum(dim=1, keepdim=True)], dim=1)
        return masks, *logits

    def _infer(self, magnitudes: Tensor) -> tuple[Tensor, ...]:
        """The first linear layers are one for all sources, and masks go where they belong."""
        members = self.unmixers
        weights, biases = zip(*(member.folded_input() for member in members), strict=True)
        hidden = F.linear(magnitudes.flatten(2), torch.cat(weights), torch.cat(biases)).tanh()
        shape = *magnitudes.shape[:3], members[0].output_bins
        masks = magnitudes.new_empty(shape[0], len(members) + self.residual, *shape[1:])
        logits: list[Tensor] = []
        for index, x in enumerate(hidden.chunk(len(members), dim=-1)):
            masks[:, index], *logit = members[index].decode(x)
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
        x = (magnitudes + self.input_mean) * self.input_scale
        return _normalise(self.bn1, self.fc1(x.flatten(2))).tanh()

    def decode(self, x: Tensor) -> tuple[Tensor, ...]:
        """What `encode` gives, to the mask (batch, frame, channel, bin) and perhaps logits."""
        x = torch.cat([x, self.over_time(x)], dim=-1)
        logits = () if self.activity is None else (self.activity(x.transpose(1, 2)),)
        if self.training:
            x = _normalise(self.bn2, self.fc2(x)).relu()
            x = self._channels(_normalise(self.bn3, self.fc3(x)))
            x = x * self.output_scale + self.output_mean
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


class OpenUnmixNetwork(UnmixNetwork):
    """Three layers of LSTM in both directions, or in one with as many features."""

    def __init__(self, input_bins: int, output_bins: int, options: dict[str, Any]) -> None:
        super().__init__(input_bins, output_bins, options)
        hidden, layers = options["hidden"], options["layers"]
        both = not options["unidirectional"]
        self.lstm = nn.LSTM(
            hidden,
            hidden // 2 if both else hidden,
            layers,
            batch_first=True,
            bidirectional=both,
            dropout=0.4 if layers > 1 else 0.0,
        )

    def over_time(self, x: Tensor) -> Tensor:
        """The last layer's states."""
        states: Tensor = self.lstm(x)[0]
        return states


def _normalise(norm: nn.BatchNorm1d, x: Tensor) -> Tensor:
    """Batch norm of (batch, frame, feature) over batch and frames."""
    normalised: Tensor = norm(x.flatten(0, 1))
    return normalised.reshape(x.shape)


def _fold(linear: nn.Linear, norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a linear layer and the batch norm after it, in evaluation."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    return linear.weight * scale.unsqueeze(1), norm.bias - mean * scale
