"""Open-Unmix: a BiLSTM per source that masks the mixture's magnitudes (Stöter et al. 2019).

One network per source, each with the parameter names of the authors' `openunmix` package, so that
official weights load unchanged into `network.members.<source>`. Inside the network features are
(batch, frame, ...), the order in which spectra lie in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
        self.network = Bank(sources, self._member)
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

    def _member(self) -> nn.Module:
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
        for member in self._members():
            with torch.no_grad():
                member.input_mean.copy_(-mean[: self.input_bins])
                member.input_scale.copy_(1 / deviation[: self.input_bins])

    def _members(self) -> list[OpenUnmixNetwork]:
        assert isinstance(self.network, Bank)
        return [m for m in self.network.members.values() if isinstance(m, OpenUnmixNetwork)]

    def features(self, spectrum: Tensor) -> tuple[Tensor, ...]:
        """Magnitudes (batch, frame, channel, bin) up to the bandwidth."""
        return (spectrum[:, :, : self.input_bins].permute(0, 3, 1, 2).abs().contiguous(),)

    def predict(self, spectrum: Tensor, outputs: tuple[Tensor, ...]) -> Prediction:
        """Masks, or magnitudes where the option `mask` is "none"."""
        factors = outputs[0].permute(0, 1, 3, 4, 2)  # (batch, source, channel, bin, frame)
        activity = outputs[1].squeeze(2) if len(outputs) > 1 else None
        magnitudes = self.mask == "none"
        if self.residual:
            whole = spectrum.abs() if magnitudes else torch.ones_like(factors[:, 0])
            left = whole - factors.sum(dim=1)
            factors = torch.cat([factors, left.unsqueeze(1)], dim=1)
        if magnitudes:
            return Prediction(spectrum, estimates=factors, activity=activity)
        return Prediction(spectrum, masks=factors, activity=activity)


class OpenUnmixNetwork(nn.Module):
    """One source: magnitudes (batch, frame, channel, bin) to masks with all bins.

    With `activity`, logits (batch, 1, frame) follow. options: those of `OpenUnmix`.
    """

    def __init__(self, input_bins: int, output_bins: int, options: dict[str, Any]) -> None:
        super().__init__()
        self.output_bins, self.mask = output_bins, options["mask"]
        self.channels, hidden = options["channels"], options["hidden"]
        bidirectional, layers = not options["unidirectional"], options["layers"]
        self.fc1 = nn.Linear(self.channels * input_bins, hidden, bias=False)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.lstm = nn.LSTM(
            hidden,
            hidden // 2 if bidirectional else hidden,
            layers,
            batch_first=True,
            bidirectional=bidirectional,
            dropout=0.4 if layers > 1 else 0.0,
        )
        self.fc2 = nn.Linear(2 * hidden, hidden, bias=False)
        self.bn2 = nn.BatchNorm1d(hidden)
        self.fc3 = nn.Linear(hidden, self.channels * output_bins, bias=False)
        self.bn3 = nn.BatchNorm1d(self.channels * output_bins)
        self.input_mean = nn.Parameter(torch.zeros(input_bins))
        self.input_scale = nn.Parameter(torch.ones(input_bins))
        self.output_mean = nn.Parameter(torch.ones(output_bins))
        self.output_scale = nn.Parameter(torch.ones(output_bins))
        self.activity = ActivityHead(2 * hidden, 1) if options["activity"] else None

    def forward(self, magnitudes: Tensor) -> tuple[Tensor, ...]:
        """See the class; the shapes are those of the authors' package with the batch in front."""
        batch, frames = magnitudes.shape[:2]
        x = (magnitudes + self.input_mean) * self.input_scale
        x = self.bn1(self.fc1(x.flatten(2)).flatten(0, 1)).unflatten(0, (batch, frames))
        x = torch.tanh(x)
        x = torch.cat([x, self.lstm(x)[0]], dim=-1)
        logits = None if self.activity is None else self.activity(x.transpose(1, 2))
        x = F.relu(self.bn2(self.fc2(x).flatten(0, 1)))
        x = self.bn3(self.fc3(x)).reshape(batch, frames, self.channels, self.output_bins)
        mask = activate(x * self.output_scale + self.output_mean, self.mask)
        return (mask,) if logits is None else (mask, logits)
