"""Applies what the sampler drew to a whole batch at once, on the training device."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from stemwise.data.batch import Batch
from stemwise.data.sampling import FILTER_KNOTS


def apply(batch: Batch, channels: int = 2) -> Batch:
    """Apply what was drawn for a batch, and down-mix it to mono where asked.

    Stems keep their places relative to each other: the width and the swap are those of the whole
    mix, because where a stem sits is the cue that carries from rendered to real songs.
    """
    stems = filter_stems(batch.stems, batch.filters, batch.sample_rate)
    stems = gain(stems, batch.gains * batch.level[:, None])
    rest = None if batch.rest is None else gain(batch.rest, batch.level)
    stems = swap_channels(set_width(stems, batch.width), batch.swap)
    rest = None if rest is None else swap_channels(set_width(rest, batch.width), batch.swap)
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
        width=torch.ones_like(batch.width),
        filters=torch.zeros_like(batch.filters),
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


def set_width(waveforms: Tensor, width: Tensor) -> Tensor:
    """Scale the side signal of stereo waveforms (batch, ..., 2, sample) by width (batch,)."""
    if bool((width == 1).all()):
        return waveforms
    mid = waveforms.mean(dim=-2, keepdim=True)
    return mid + (waveforms - mid) * width.reshape(-1, *(1,) * (waveforms.dim() - 1))


def filter_stems(stems: Tensor, filters: Tensor, sample_rate: int) -> Tensor:
    """Filter stems (batch, source, channel, sample) by gains at FILTER_KNOTS, without delay.

    filters: (batch, source, knot) in decibels, interpolated linearly over the logarithm of
    frequency and constant beyond the outermost knots.
    """
    if not bool(filters.any()):
        return stems
    samples = stems.shape[-1]
    # silence behind the excerpt takes what would wrap around
    size = next_fast_len(samples + sample_rate // 10, real=True)
    frequencies = torch.fft.rfftfreq(size, 1 / sample_rate, device=stems.device)
    knots = torch.tensor(FILTER_KNOTS, device=stems.device).log()
    at = frequencies.clamp(FILTER_KNOTS[0], FILTER_KNOTS[-1]).log()
    upper = torch.searchsorted(knots, at).clamp(1, len(knots) - 1)
    share = (at - knots[upper - 1]) / (knots[upper] - knots[upper - 1])
    decibels = torch.lerp(filters[..., upper - 1], filters[..., upper], share)
    gains = (decibels * (math.log(10) / 20)).exp()
    spectrum = torch.fft.rfft(stems, size) * gains.unsqueeze(-2)
    filtered: Tensor = torch.fft.irfft(spectrum, size)
    return filtered[..., :samples]
