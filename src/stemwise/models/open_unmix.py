"""Open-Unmix: a BiLSTM per source that masks the mixture's magnitudes (Stöter et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from stemwise.models.heads import ActivityHead
from stemwise.models.separator import Grid, Prediction, State
from stemwise.models.unmix import UnmixNetwork, UnmixSeparator

CONTEXT_FRAMES = 60
"""Frames in front of and behind a piece that the recurrent layers see (1.4 s)."""


class OpenUnmix(UnmixSeparator):
    """Masks for `sources`, one network each; 8 893 348 parameters per source by default.

    bandwidth: Hz above which the network sees nothing, None for all. unidirectional: LSTMs that
    look back only, for real-time use. residual: one more source, the mixture less all others,
    which takes part in the Wiener filter. activity: a head for the activity of every source
    (ours). mask: how the last layer is read, see `heads.MASKS`.

    Recurrence reaches without end, so pieces of a song are seen with 60 frames (1.4 s) of
    context and are not exactly those of one pass; the first piece starts with an empty state and
    the spectrum is mirrored at both ends of the song, as in the authors' package. Unidirectional
    pieces carry on from the states that the piece before left, and are those of one pass.
    """

    kind = "open-unmix"
    segment = 7.0

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
        options: dict[str, Any] = {
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
        # the last frames that overlap a piece reach a window's length behind it, no further
        after = n_fft // hop if unidirectional else CONTEXT_FRAMES
        super().__init__(options, OpenUnmixNetwork, CONTEXT_FRAMES, after)
        self.carried = self._carried() if unidirectional else None

    def _carried(self) -> Grid:
        """Frames that overlap a piece, and those that its activity depends on, must be whole."""
        overlap, window = self.n_fft // (2 * self.hop), -(-self.n_fft // (2 * self.hop))
        head = ActivityHead.context if self.activity_sources else 0
        before = max(overlap + window, head)
        after = max(overlap, head - 1) + window
        return replace(self.grid, before=before * self.hop, after=after * self.hop, finite=True)

    def carry_on(
        self, mixture: Tensor, stop: int, state: State | None = None
    ) -> tuple[Prediction, State]:
        """See `Separator.carry_on`; no frame goes through the LSTMs twice."""
        assert self.carried is not None
        spectrum = self.spectrum(mixture)
        samples = mixture.shape[-1]
        if samples >= stop + self.carried.after:  # the song goes on: the last frames see a mirror
            spectrum = spectrum[..., : (samples - self.n_fft // 2) // self.hop + 1]
        before = state or (None,) * len(self.network.unmixers)
        known = 0 if state is None else state[0][-1].shape[1]
        [magnitudes] = self.features(spectrum[..., known:])
        first = max(0, stop - self.carried.before) // self.hop
        left = []

        def found() -> Iterator[tuple[Tensor, ...]]:
            for member, remembered in zip(self.network.unmixers, before, strict=True):
                assert isinstance(member, OpenUnmixNetwork)
                outputs, remembered = member.carry_on(magnitudes, remembered, first)
                left.append(remembered)
                yield outputs

        prediction = self.predict(spectrum, self.network.gather(found()))
        return prediction, tuple(left)


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

    def carry_on(
        self, magnitudes: Tensor, state: tuple[Tensor, ...] | None, first: int
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Masks and logits of the frames that `state` holds and of those that follow them.

        magnitudes: (batch, frame, channel, bin), what follows, if anything. state: that of the
        LSTM, and features (batch, frame, 2 hidden). The new one holds them from frame `first` on.
        """
        *hidden, features = state or (torch.empty(0),)
        if magnitudes.shape[1]:
            x = self.encode(magnitudes)
            states, hidden = self.lstm(x, hidden or None)
            new = torch.cat([x, states], dim=-1)
            features = torch.cat([features, new], dim=1) if state else new
        return self.read(features), (*hidden, features[:, first:].clone())
