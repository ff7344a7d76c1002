"""What networks are calibrated and measured on: rendered songs, never anyone's recordings."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from stemwise.models.separator import Separator, SpectrogramSeparator


@lru_cache(maxsize=1)
def _rendered(seed: int, sample_rate: int, seconds: float) -> np.ndarray:
    """Mixture (channel, sample) of a song that this package's own instruments play."""
    from stemwise.band.render import render_song

    return render_song(seed, sample_rate=sample_rate, duration=seconds).mixture


def song(separator: Separator, seed: int, seconds: float) -> Tensor:
    """A rendered song with a piece's context, as the separator takes it: (1, channel, sample).

    Silence follows where the song is shorter.
    """
    rate, grid = separator.sample_rate, separator.grid
    samples = max(1, round(seconds * rate / grid.alignment)) * grid.alignment
    samples += grid.before + grid.after
    audio = _rendered(seed, rate, samples / rate)
    if separator.channels == 1:
        audio = audio.mean(axis=0, keepdims=True)
    audio = np.pad(audio, ((0, 0), (0, max(0, samples - audio.shape[-1]))))[:, :samples]
    return torch.from_numpy(np.ascontiguousarray(audio, np.float32))[None]


def features(separator: Separator, mixture: Tensor) -> tuple[Tensor, ...]:
    """What the network is given for a mixture."""
    with torch.no_grad():
        if isinstance(separator, SpectrogramSeparator):
            return separator.features(separator.spectrum(mixture))
    return (mixture,)
