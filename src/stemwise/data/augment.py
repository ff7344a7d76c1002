"""Applies what was drawn to a whole batch at once, on the training device.

Gains, polarity, panning and channel swaps are one pass over the samples, which also turns the
numbers of a store into float32. What was not drawn costs nothing and changes no bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from torch import Tensor

from stemwise.data.batch import Batch
from stemwise.data.draws import FILTER_KNOTS
from stemwise.data.vocoder import shift_pitch, stretch

_BUFFER = 1024
Floats = NDArray[np.float32]


def apply(batch: Batch, channels: int = 2) -> Batch:
    """Apply what was drawn for a batch, and down-mix it to mono where asked.

    The order: tempo, pitch, filters, gains with polarity, panning and the stems' own swaps, then
    width and swap of the whole mix, because where a stem sits is the cue that carries from
    rendered to real songs.
    """
    samples = batch.samples or batch.stems.shape[-1]
    stems, scale = batch.stems, batch.scale
    if _changes_sound(batch):
        stems, scale = _as_samples(stems, scale), None
        stems = _retime(stems, batch, samples)
        stems = filter_stems(
            stems, batch.filters, batch.sample_rate, shelves=batch.shelves, bands=batch.bands
        )
    stems = stems[..., :samples]
    gains, swaps = channel_gains(batch)
    gains = gains if scale is None else gains * scale[..., None]
    if stems.dtype != torch.float32 or bool((gains != 1).any()) or bool(swaps.any()):
        stems = mix_channels(stems, gains, swaps)
    stems = set_width(stems, batch.width)
    rest = None if batch.rest is None else gain(batch.rest[..., :samples], batch.level)
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
        samples=None,
        scale=None,
        swaps=None,
        pan=None,
        shelves=None,
        bands=None,
        pitch=None,
        tempo=None,
    )


def channel_gains(batch: Batch) -> tuple[Tensor, Tensor]:
    """All gains, polarities, pannings and swaps of a batch as what `mix_channels` takes."""
    gains = batch.gains * batch.level[:, None]
    swaps = batch.swap[:, None].expand(gains.shape)
    by_channel = gains[..., None].expand(*gains.shape, 2)
    if batch.pan is not None:
        by_channel = by_channel * pan_gains(batch.pan)
        by_channel = torch.where(swaps[..., None], by_channel.flip(-1), by_channel)
    return by_channel, swaps if batch.swaps is None else swaps ^ batch.swaps


def mixes_alone(batch: Batch) -> bool:
    """Whether gains, pannings and swaps are all that was drawn for single stems."""
    return batch.rest is None and not _changes_sound(batch)


def without_mix(batch: Batch) -> Batch:
    """The batch when what `channel_gains` gives has been applied to its stems."""
    return replace(
        batch,
        gains=torch.ones_like(batch.gains),
        level=torch.ones_like(batch.level),
        swap=torch.zeros_like(batch.swap),
        scale=None,
        swaps=None,
        pan=None,
    )


def _changes_sound(batch: Batch) -> bool:
    """Whether anything was drawn that is no gain."""
    optional = (batch.shelves, batch.bands, batch.pitch, batch.tempo)
    return any(one is not None for one in optional) or bool(batch.filters.any())


def _as_samples(stems: Tensor, scale: Tensor | None) -> Tensor:
    """Stored numbers (batch, source, channel, sample) as float32 samples."""
    return stems.float() if scale is None else stems.float() * scale[..., None, None]


def _retime(stems: Tensor, batch: Batch, samples: int) -> Tensor:
    stems = stems[..., :samples] if batch.tempo is None else stretch(stems, batch.tempo, samples)
    return stems if batch.pitch is None else shift_pitch(stems, batch.pitch)


def gain(waveforms: Tensor, gains: Tensor) -> Tensor:
    """Scale waveforms (batch, ..., channel, sample) by linear gains (batch, ...)."""
    return waveforms * gains[..., None, None]


def mix_channels(stems: Tensor, gains: Tensor, swap: Tensor) -> Tensor:
    """Swap and scale the channels of stems (batch, source, 2, sample), any dtype, as float32.

    gains: (batch, source, 2), of the channels that come out. swap: bool (batch, source), whether
    left comes out right.
    """
    mix = _mix_on_cpu if stems.device.type == "cpu" else _mix_anywhere
    return mix(stems, gains, swap)


def _mix_anywhere(stems: Tensor, gains: Tensor, swap: Tensor) -> Tensor:
    mixed = stems.float()
    if bool(swap.any()):
        mixed = torch.where(swap[..., None, None], mixed.flip(-2), mixed)
    return mixed * gains[..., None]


def _mix_on_cpu(stems: Tensor, gains: Tensor, swap: Tensor) -> Tensor:
    """The same in one pass over main memory; PyTorch takes three to convert, swap and scale."""
    mixed = torch.empty(stems.shape, dtype=torch.float32)
    rows = zip(
        mixed.flatten(0, 1).numpy(),
        stems.flatten(0, 1).numpy(),
        gains.flatten(0, 1).numpy(),
        swap.flatten().tolist(),
        strict=True,
    )
    with small_buffer():
        for out, stem, factors, flip in rows:
            mix_stem(out, stem, factors, flip)
    return mixed


def mix_stem(out: Floats, stem: NDArray[Any], factors: Floats, flip: bool) -> None:
    """One stem (channel, sample), whose only channel goes into both where it is mono."""
    last = len(stem) - 1
    np.multiply(stem[last if flip else 0], factors[0], out=out[0])
    np.multiply(stem[0 if flip else last], factors[1], out=out[1])


@contextmanager
def small_buffer() -> Iterator[None]:
    """Let NumPy convert few samples at a time, which then stay in the fastest cache."""
    before = np.setbufsize(_BUFFER)
    try:
        yield
    finally:
        np.setbufsize(before)


def pan_gains(pan: Tensor) -> Tensor:
    """Linear gains (..., 2) of left and right at positions pan (...), -1 left to 1 right.

    Constant power, 1 in the middle: (1 + pan) pi / 4 is the angle, +3 dB at either end.
    """
    angle = (1 + pan) * (math.pi / 4)
    return math.sqrt(2) * torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)


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


def filter_stems(
    stems: Tensor,
    filters: Tensor,
    sample_rate: int,
    *,
    shelves: Tensor | None = None,
    bands: Tensor | None = None,
) -> Tensor:
    """Filter stems (batch, source, channel, sample) without delay; both channels alike.

    filters: (batch, source, knot) gains in decibels at FILTER_KNOTS, see `smooth_curve`; shelves
    and bands: as `draws.Draws` has them, see `shelf_curve` and `band_curve`. The curves add up.
    """
    smooth = bool(filters.any())
    if not smooth and shelves is None and bands is None:
        return stems
    samples = stems.shape[-1]
    # silence behind the excerpt takes what would wrap around
    size = next_fast_len(samples + sample_rate // 10, real=True)
    frequencies = torch.fft.rfftfreq(size, 1 / sample_rate, device=stems.device)
    curves = [smooth_curve(filters, frequencies)] if smooth else []
    curves += [] if shelves is None else [shelf_curve(shelves, frequencies)]
    curves += [] if bands is None else [band_curve(bands, frequencies)]
    decibels = curves[0] if len(curves) == 1 else torch.stack(curves).sum(0)
    gains = (decibels * (math.log(10) / 20)).exp()
    spectrum = torch.fft.rfft(stems, size) * gains.unsqueeze(-2)
    filtered: Tensor = torch.fft.irfft(spectrum, size)
    return filtered[..., :samples]


def smooth_curve(filters: Tensor, frequencies: Tensor) -> Tensor:
    """Decibels (..., bin) of gains (..., knot) at FILTER_KNOTS.

    Linear over the logarithm of frequency, constant beyond the outermost knots.
    """
    knots = torch.tensor(FILTER_KNOTS, device=filters.device).log()
    at = frequencies.clamp(FILTER_KNOTS[0], FILTER_KNOTS[-1]).log()
    upper = torch.searchsorted(knots, at).clamp(1, len(knots) - 1)
    share = (at - knots[upper - 1]) / (knots[upper] - knots[upper - 1])
    return torch.lerp(filters[..., upper - 1], filters[..., upper], share)


def shelf_curve(shelves: Tensor, frequencies: Tensor) -> Tensor:
    """Decibels (..., bin) of a low and a high shelf (..., 4): gain, corner, gain, corner.

    Half of the gain, in decibels, at the corner; 94 % of it two octaves further.
    """
    low, low_corner, high, high_corner = shelves.unsqueeze(-1).unbind(-2)
    below = low / (1 + (frequencies / low_corner).square())
    ratio = (frequencies / high_corner).square()
    return below + high * ratio / (1 + ratio)


def band_curve(bands: Tensor, frequencies: Tensor) -> Tensor:
    """Decibels (..., bin) of a band (..., 3): gain, centre, width in octaves.

    A bell over the logarithm of frequency whose gain, in decibels, is halved at half the width.
    """
    gains, centre, octaves = bands.unsqueeze(-1).unbind(-2)
    distance = torch.log2(frequencies.clamp_min(1.0) / centre) / (octaves / 2)
    bell: Tensor = gains * torch.exp2(-distance.square())
    return bell
