"""Songs in chunks of 6 s, each with a warped spectrum of its own (Kadandale et al. 2020, IV-A).

A chunk is 255 hops long and has 256 frames, the first at its start and the last at its end. The
chunks of a waveform stand one after another on the frame axis of every spectrum here: 256 frames
for each, of which the last lies where the next chunk's first does. Networks see each chunk alone,
and its estimate fills exactly its samples: chunks are stitched, they do not overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from stemwise.models.heads import activate, check_mask
from stemwise.models.separator import Grid, Prediction, SpectrogramSeparator
from stemwise.models.warp import FrequencyWarp

SAMPLE_RATE = 10880
N_FFT, HOP = 1022, 256
FRAMES = 256
"""Frames of a chunk."""
CHUNK = (FRAMES - 1) * HOP
"""Samples of a chunk: 6 s."""
WARPED_BINS = 256
EPSILON = 1e-10
"""Added to magnitudes before the logarithm."""


class WarpedPrediction(Prediction):
    """A prediction that also shows what the network said on the warped axis, for its losses.

    warped: masks, or magnitudes where the network estimates those, (batch, source, channel, 256,
    frame), at least 0. Losses of the paper compare `warped_masks` with masks (equation 3), or
    `warped_estimates` with magnitudes (4), that went through `ChunkedSeparator.warp`.
    """

    def __init__(
        self, mixture: Tensor, warp: FrequencyWarp, warped: Tensor, *, masks: bool, **others: Any
    ) -> None:
        self.warp, self.warped, self._ratio = warp, warped, masks
        if masks:
            super().__init__(mixture, masks=warped, expand=warp.inverse, **others)
        else:
            super().__init__(mixture, estimates=warp.inverse(warped), **others)

    @property
    def warped_masks(self) -> Tensor | None:
        """(batch, source, channel, 256, frame), or None where the network estimates magnitudes."""
        return self.warped if self._ratio else None

    @property
    def warped_mixture(self) -> Tensor:
        """Magnitudes of the mixture, (batch, channel, 256, frame)."""
        out: Tensor = self.warp(self.mixture.abs())
        return out

    @property
    def warped_estimates(self) -> Tensor:
        """Magnitudes of the sources, (batch, source, channel, 256, frame)."""
        return self.warped * self.warped_mixture.unsqueeze(1) if self._ratio else self.warped


class ChunkedSeparator(SpectrogramSeparator):
    """What both U-Nets of the paper share: mono, 10 880 Hz, chunks, the warp and the mask.

    A subclass sets `network`, which maps log magnitudes (chunk, 1, 256, 256) to masks (chunk,
    source, 256, 256) and maybe activity logits (chunk, source, 256).
    """

    pad_mode: ClassVar[str] = "reflect"
    grid = Grid(HOP, CHUNK, before=0, after=0)

    def __init__(self, sources: Sequence[str], mask: str, activity: bool) -> None:
        check_mask(self.kind, mask)
        active = sources if activity else ()
        super().__init__(sources, SAMPLE_RATE, 1, active, n_fft=N_FFT, hop=HOP)
        self.mask = mask
        self.warp = FrequencyWarp(N_FFT // 2 + 1, WARPED_BINS)

    def spectrum(self, waveform: Tensor) -> Tensor:
        """Spectra of the chunks: (..., chunk * 65280) to complex (..., 512, chunk * 256)."""
        samples = waveform.shape[-1]
        if samples == 0 or samples % CHUNK:
            raise ValueError(
                f"{self.kind} takes whole chunks of {CHUNK} samples, not {samples}: "
                "use Grid.input_length"
            )
        return _join(super().spectrum(waveform.reshape(*waveform.shape[:-1], -1, CHUNK)))

    def waveform(self, spectrum: Tensor, samples: int) -> Tensor:
        """Stitched chunks: complex (..., 512, chunk * 256) to (..., sample)."""
        return super().waveform(_split(spectrum), CHUNK).flatten(-2)[..., :samples]

    def features(self, spectrum: Tensor) -> tuple[Tensor, ...]:
        """Log magnitudes of every chunk on the warped axis, (batch * chunk, 1, 256, 256)."""
        with torch.autocast(spectrum.device.type, enabled=False):
            warped = self.warp(spectrum.abs() + EPSILON).log()
        return (_split(warped).transpose(1, 2).flatten(0, 1),)

    def predict(self, spectrum: Tensor, outputs: tuple[Tensor, ...]) -> Prediction:
        """Masks or magnitudes of all frames, and activity, 255 frames for each chunk."""
        batch, chunks = len(spectrum), spectrum.shape[-1] // FRAMES
        maps = activate(outputs[0], self.mask)
        maps = maps.reshape(batch, chunks, *maps.shape[1:])
        warped = _join(maps.transpose(1, 2)).unsqueeze(2)
        activity = None
        if len(outputs) > 1:
            # a chunk's last frame is the first of the next
            logits = outputs[1].float()
            logits = logits.reshape(batch, chunks, *logits.shape[1:])[..., :-1]
            activity = logits.transpose(1, 2).flatten(-2)
        masks = self.mask != "none"
        return WarpedPrediction(spectrum, self.warp, warped, masks=masks, activity=activity)

    def compared(self, prediction: Prediction, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Magnitudes on the warped axis: the paper's indirect loss is their L1 (equation 4)."""
        assert isinstance(prediction, WarpedPrediction)
        return prediction.warped_estimates, self.warp(reference.abs())

    def refine(self, prediction: Prediction, phase: str, lead: int = 0) -> Prediction:
        """Complex estimates with a better phase, chunk by chunk; see SpectrogramSeparator."""
        mixture, estimates = prediction.mixture, prediction.estimates
        chunks = mixture.shape[-1] // FRAMES
        split = Prediction(
            _split(mixture).transpose(1, 2).flatten(0, 1),
            estimates=_split(estimates).movedim(-3, 1).flatten(0, 1),
        )
        refined = super().refine(split, phase).estimates
        refined = refined.reshape(-1, chunks, *refined.shape[1:])
        return Prediction(
            mixture, estimates=_join(refined.movedim(1, -3)), activity=prediction.activity
        )

    def reconstruct(
        self, prediction: Prediction, start: int = 0, stop: int | None = None
    ) -> Tensor:
        """Waveforms of the chunks that hold the samples from `start` to `stop`, stitched."""
        frames = prediction.mixture.shape[-1]
        stop = frames // FRAMES * CHUNK if stop is None else stop
        first, last = start // CHUNK, -(-stop // CHUNK)
        span = slice(first * FRAMES, last * FRAMES)
        part = prediction.mixture[..., span]
        offset, length = start - first * CHUNK, stop - first * CHUNK
        stems = []
        for index in range(len(self.sources)):
            estimate = self._complex(prediction.source(index, span), part)
            stems.append(self.waveform(estimate, length)[..., offset:])
        return torch.stack(stems, dim=1)


def _split(spectrum: Tensor) -> Tensor:
    """(..., bin, chunk * 256) to (..., chunk, bin, 256)."""
    return spectrum.reshape(*spectrum.shape[:-1], -1, FRAMES).transpose(-3, -2)


def _join(spectrum: Tensor) -> Tensor:
    """(..., chunk, bin, 256) to (..., bin, chunk * 256)."""
    # frame by frame, as the transform leaves them in memory, nothing is copied
    return spectrum.mT.flatten(-3, -2).mT


def initialise(network: nn.Module) -> None:
    """Xavier initialisation (Glorot & Bengio 2010) of every layer: uniform weights, no bias."""
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Conv1d, nn.Linear)):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
