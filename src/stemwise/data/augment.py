"""Applies what the sampler drew to a whole batch at once, on the training device."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from stemwise.data.batch import Batch


def apply(batch: Batch, channels: int = 2) -> Batch:
    """Apply a batch's gains, levels, channel swaps, and down-mix to mono where asked.

    A stem keeps its place between the loudspeakers apart from the swap of the whole mix: where a
    stem sits is the cue that carries from rendered to real songs.
    """
    stems = gain(batch.stems, batch.gains * batch.level[:, None])
    rest = None if batch.rest is None else gain(batch.rest, batch.level)
    stems = swap_channels(stems, batch.swap)
    rest = None if rest is None else swap_channels(rest, batch.swap)
    if channels == 1:
        stems = stems.mean(dim=2, keepdim=True)
        rest = None if rest is None else rest.mean(dim=1, keepdim=True)
    return replace(
        batch,
        stems=stems,
        rest=rest,
        gains=torch.ones_like(batch.gains),
        level=torch.ones_like(batch.level),
        swap=torch.zeros_like(batch.swap),
    )


def gain(waveforms: Tensor, gains: Tensor) -> Tensor:
    """Scale waveforms (batch, ..., channel, sample) by linear gains (batch, ...)."""
    return waveforms * gains[..., None, None]


def swap_channels(waveforms: Tensor, swap: Tensor) -> Tensor:
    """Exchange both channels where swap (batch,) is set: (batch, ..., channel, sample)."""
    if not bool(swap.any()):
        return waveforms
    swapped = waveforms.clone()
    swapped[swap] = waveforms[swap].flip(-2)
    return swapped
