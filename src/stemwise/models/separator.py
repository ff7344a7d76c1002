"""The contract that every network keeps: engine and objectives never know which one they hold.

A separator maps a mixture waveform to a `Prediction`: what it estimates of each source, in the
representation it declares, and the activity of each source where it has a head for it. It also says
how a reference stem looks in that representation and how estimates become waveforms again, and its
`Grid` says where a song may be cut.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from stemwise import spectral
from stemwise.errors import ModelError


@dataclass(frozen=True)
class Grid:
    """Where a song may be cut for a network; every length in samples at the network's rate.

    A piece of `m * alignment` samples starting at a multiple of `alignment` is computed exactly as
    in one pass over the whole song when the network sees `before` samples in front of it and
    `after` samples behind it.
    """

    hop: int
    """Distance of activity frames (and spectrogram frames, where there are any)."""
    alignment: int
    """Pieces start at its multiples: the hop times the network's total time stride."""
    before: int
    after: int
    crop: int = 0
    """Samples at each end that the network uses only as context (valid convolutions)."""
    finite: bool = True
    """False where no finite context makes pieces exact (recurrent and attention networks)."""
    padded: bool = True
    """Whether what lies outside the song is silence. False: it is absent, the first piece has
    nothing in front of it and the last ends where the song ends; then any length is accepted."""
    window: int = 0
    """Pieces at least this long are cut at its multiples: what is estimated over so much of a song
    (the covariances of a Wiener filter) is then as in one pass. 0: nothing is."""

    def step(self, samples: float) -> int:
        """What the length of pieces of about `samples` must be a multiple of."""
        return self.window if 0 < self.window <= samples else self.alignment

    def input_length(self, samples: int) -> int:
        """Shortest input the network accepts that is at least `samples` long."""
        context = self.before + self.after if self.crop else 0
        pieces = max(1, -(-(samples - context) // self.alignment))
        return pieces * self.alignment + context


class Prediction:
    """What a network says of a batch of mixtures, for the input less `Grid.crop` at each end.

    mixture: the mixture in the separator's representation, (batch, channel, ...): a complex
    spectrum (bin, frame) or a waveform (sample). activity: logits (batch, activity source, frame),
    frame i centred `i * Grid.hop` samples after the start of the cropped input, or None.

    A network gives either estimates or masks, real factors of the mixture; masks may be at a
    coarser resolution that `expand` brings to the mixture's. waveform: the mixture's samples, where
    masks that sum to 1 make the last source what the others leave of it. Estimates are made on
    demand, because nothing but training needs those of all sources at once.
    """

    waveform: Tensor | None = None

    def __init__(
        self,
        mixture: Tensor,
        *,
        masks: Tensor | None = None,
        expand: Callable[[Tensor], Tensor] | None = None,
        estimates: Tensor | None = None,
        activity: Tensor | None = None,
    ) -> None:
        if (masks is None) == (estimates is None):
            raise ValueError("a prediction holds either masks or estimates")
        self.mixture, self.activity = mixture, activity
        self._masks, self._expand, self._estimates = masks, expand, estimates

    @property
    def masks(self) -> Tensor | None:
        """(batch, source, channel, bin, frame), or None where the network estimates directly."""
        if self._masks is None or self._expand is None:
            return self._masks
        return self._expand(self._masks)

    @property
    def estimates(self) -> Tensor:
        """(batch, source, channel, ...) in the mixture's representation."""
        if self._estimates is None:
            masks = self.masks
            assert masks is not None
            self._estimates = masks * self.mixture.unsqueeze(1)
        return self._estimates

    def source(self, index: int, span: slice = slice(None)) -> Tensor:
        """The estimate of one source, (batch, channel, ...), at the frames or samples of `span`."""
        if self._estimates is not None:
            return self._estimates[:, index, ..., span]
        assert self._masks is not None
        mask = self._masks[:, index]
        mask = mask if self._expand is None else self._expand(mask)
        # the bins of a frame lie side by side in memory: transposed, the product is 5 times faster
        return (mask[..., span].mT * self.mixture[..., span].mT).mT


@runtime_checkable
class Divided(Protocol):
    """A network in which every source has parts of its own, and can be computed by itself."""

    def own_parameters(self, source: str) -> list[nn.Parameter]:
        """Parameters that the estimate of one source depends on, and no other's."""

    def choose(self, sources: Sequence[str]) -> bool:
        """Compute these sources alone from now on; False, and all stays, where that cannot be."""


State = tuple[tuple[Tensor, ...], ...]
"""What networks that look back only remember of a song; what is in it is their own affair."""


class Separator(nn.Module, ABC):
    """A network with its sources, its sample rate, and the way from waveforms to waveforms."""

    kind: ClassVar[str]
    """Name of the network in recipes, checkpoints and `stemwise.models.build`."""

    grid: Grid
    network: nn.Module
    """What is learnt; the separator around it has no parameters of its own."""
    segment: float = 20.0
    """Seconds of song computed at a time when the user names none."""
    phase: ClassVar[str] = "mixture"
    """Where the phase comes from when the user names nothing: see `separation.Options`."""
    mean_activity: ClassVar[bool] = False
    """Whether a song's channels, run one by one, share the mean of their activity logits rather
    than the largest."""
    complete: bool = False
    """Whether the stems sum to the mixture by construction."""
    carried: Grid | None = None
    """The grid of pieces that carry on from one another, where a network can do that: then it
    needs no more context than its spectrum does, and pieces equal one pass."""

    def __init__(
        self,
        sources: Sequence[str],
        sample_rate: int,
        channels: int,
        activity_sources: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if not sources or len(set(sources)) < len(sources):
            raise ModelError(
                f"{self.kind!r} needs sources of different names, one or more, not {list(sources)}."
            )
        self.sources = tuple(sources)
        self.sample_rate = sample_rate
        self.channels = channels
        self.activity_sources = tuple(activity_sources)

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The constructor's arguments, JSON-ready: `type(self)(**config)` builds it again."""

    @abstractmethod
    def forward(self, mixture: Tensor) -> Prediction:
        """Estimate the sources of `mixture` (batch, channel, sample); see `Grid.input_length`."""

    def carry_on(
        self, mixture: Tensor, stop: int, state: State | None = None
    ) -> tuple[Prediction, State]:
        """Estimate a piece of a song from what the piece before it left; for those with `carried`.

        mixture: (batch, channel, sample), the piece with the context of that grid, shorter behind
        only where the song ends. stop: the sample of it where the next piece starts. state: what
        the piece before gave, None for the first of a song. Returns the prediction, without frames
        that take more of the song to be known, and the state for the next piece.
        """
        raise NotImplementedError(f"{self.kind} carries nothing from piece to piece")

    def narrowed(self) -> Separator:
        """A separator that shares all with this one, for pieces with the whole context of the grid.

        It may leave out what only the context depends on: its `grid.crop` says how much.
        """
        return self

    @abstractmethod
    def represent(self, stems: Tensor) -> Tensor:
        """Reference stems (batch, source, channel, sample) in the estimates' representation."""

    @abstractmethod
    def reconstruct(
        self, prediction: Prediction, start: int = 0, stop: int | None = None
    ) -> Tensor:
        """Waveforms (batch, source, channel, sample) of the estimates.

        start, stop: the samples wanted, counted in the cropped input; start is a multiple of the
        hop. All of them by default.
        """

    def compared(self, prediction: Prediction, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Estimates and references on the scale on which this network's paper compares them.

        reference: as `represent` gives it. Both are (batch, source, channel, ...).
        """
        return prediction.estimates, reference

    def own_parameters(self, source: str) -> list[nn.Parameter]:
        """Parameters that the estimate of one source depends on, and no other's.

        All others are shared; networks that compute all sources at once have none but those.
        """
        return self.network.own_parameters(source) if isinstance(self.network, Divided) else []

    def shared_parameters(self) -> list[nn.Parameter]:
        """Parameters that are no single source's own."""
        own = {id(one) for source in self.sources for one in self.own_parameters(source)}
        return [parameter for parameter in self.parameters() if id(parameter) not in own]

    @property
    def training_targets(self) -> Mapping[str, Sequence[str]]:
        """What training asks for, by name: each the sum of some sources, of none: silence."""
        return {source: (source,) for source in self.sources}

    @contextmanager
    def estimating(self, targets: Sequence[str]) -> Iterator[None]:
        """Within it, predictions are of `targets` alone, names of `training_targets`.

        `sources` and `activity_sources` are then those of the predictions. A network that computes
        all of its sources at once does so here too, and they stay as they are.
        """
        before = self.sources, self.activity_sources
        if tuple(targets) == self.sources or not self._choose(targets):
            yield
            return
        self.sources = tuple(targets)
        self.activity_sources = self.sources if self.activity_sources else ()
        try:
            yield
        finally:
            self.sources, self.activity_sources = before
            self._choose(self.sources)

    def _choose(self, targets: Sequence[str]) -> bool:
        return isinstance(self.network, Divided) and self.network.choose(targets)

    @property
    def frame_rate(self) -> float:
        """Activity frames per second."""
        return self.sample_rate / self.grid.hop

    @property
    def parameter_count(self) -> int:
        """Number of trainable parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


class SpectrogramSeparator(Separator):
    """A separator whose network works on the mixture's short-time spectrum.

    A subclass sets `network`, a module of real tensors alone (it is what is exported and compiled),
    and says with `features` and `predict` what goes into it and what comes out.
    """

    pad_mode: ClassVar[str] = "constant"
    """What the first and last frames see outside the waveform: zeros, or its mirror ("reflect")."""

    def __init__(
        self,
        sources: Sequence[str],
        sample_rate: int,
        channels: int,
        activity_sources: Sequence[str],
        *,
        n_fft: int,
        hop: int,
    ) -> None:
        super().__init__(sources, sample_rate, channels, activity_sources)
        self.n_fft, self.hop = n_fft, hop
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.window: Tensor

    @abstractmethod
    def features(self, spectrum: Tensor) -> tuple[Tensor, ...]:
        """The network's inputs from a complex spectrum (batch, channel, bin, frame)."""

    @abstractmethod
    def predict(self, spectrum: Tensor, outputs: tuple[Tensor, ...]) -> Prediction:
        """What the network's outputs say of the mixture's spectrum."""

    def forward(self, mixture: Tensor) -> Prediction:
        """Estimate the sources of `mixture` (batch, channel, sample); see `Grid.input_length`."""
        spectrum = self.spectrum(mixture)
        prediction = self.predict(spectrum, self.network(*self.features(spectrum)))
        if self.complete:
            crop = self.grid.crop
            prediction.waveform = mixture[..., crop : mixture.shape[-1] - crop]
        return prediction

    def spectrum(self, waveform: Tensor) -> Tensor:
        """Centred short-time spectrum: (..., sample) to complex (..., bin, frame)."""
        return spectral.stft(waveform, self.window, self.hop, self.pad_mode)

    def waveform(self, spectrum: Tensor, samples: int) -> Tensor:
        """Inverse of `spectrum`: complex (..., bin, frame) to (..., sample)."""
        return spectral.istft(spectrum, self.window, self.hop, samples)

    def _crop_frames(self, spectrum: Tensor) -> Tensor:
        margin = self.grid.crop // self.hop
        return spectrum[..., margin : spectrum.shape[-1] - margin] if margin else spectrum

    def represent(self, stems: Tensor) -> Tensor:
        """Complex spectra of reference stems, cropped as the network crops its input."""
        return self._crop_frames(self.spectrum(stems))

    def refine(self, prediction: Prediction, phase: str, lead: int = 0) -> Prediction:
        """Complex estimates with a better phase than the mixture's.

        phase: "griffin-lim" (10 iterations, for magnitudes that no mask ties to the mixture) or
        "wiener" (one iteration of expectation maximisation over all sources). lead: frames of
        context in front of the piece, so that Wiener windows lie where the piece starts.
        """
        mixture = prediction.mixture
        if phase == "wiener":
            estimates = self._complex(prediction.estimates, mixture)
            estimates = spectral.wiener(estimates, mixture, lead=lead)
        else:
            magnitudes = prediction.estimates.abs()
            estimates = spectral.griffin_lim(magnitudes, mixture, self.window, self.hop)
        return Prediction(mixture, estimates=estimates, activity=prediction.activity)

    def reconstruct(
        self, prediction: Prediction, start: int = 0, stop: int | None = None
    ) -> Tensor:
        """Waveforms of complex estimates; magnitudes take the mixture's phase."""
        frames = prediction.mixture.shape[-1]
        stop = (frames - 1) * self.hop if stop is None else stop
        reach = self.n_fft // (2 * self.hop)  # frames that overlap the part wanted
        first = max(0, start // self.hop - reach)
        last = min(frames, -(-stop // self.hop) + reach + 1)
        part = prediction.mixture[..., first:last]
        offset = start - first * self.hop
        length = offset + stop - start
        # one transform less where the last source is known from the others; training needs them all
        whole = None if torch.is_grad_enabled() else prediction.waveform
        stems = []
        for index in range(len(self.sources) - (whole is not None)):
            estimate = prediction.source(index, slice(first, last))
            stems.append(self.waveform(self._complex(estimate, part), length)[..., offset:])
        if whole is not None:
            left = whole[..., start:stop].clone()
            for stem in stems:
                left -= stem
            stems.append(left)
        return torch.stack(stems, dim=1)

    @staticmethod
    def _complex(estimate: Tensor, mixture: Tensor) -> Tensor:
        """Magnitudes with the mixture's phase; where the mixture is silent, so is the estimate."""
        if estimate.is_complex():
            return estimate
        phase = torch.sgn(mixture)
        return estimate * (phase.unsqueeze(1) if estimate.dim() > phase.dim() else phase)
