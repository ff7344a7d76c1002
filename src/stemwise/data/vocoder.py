"""Tempo and pitch of batches by a phase vocoder on the training device, each stem at its own rate.

Flanagan and Golden, "Phase vocoder" (Bell System Technical Journal, 1966), with the bins around
each peak kept in the phases that they have to it (Laroche and Dolson, "Improved phase vocoder
time-scale modification of audio", IEEE Transactions on Speech and Audio Processing, 1999).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SIZE, _HOP = 2048, 512
_TAPS = 8  # of the sinc on either side of a resampled sample
_TURN = 2 * math.pi


def stretch(stems: Tensor, tempo: Tensor, samples: int) -> Tensor:
    """Play stems `tempo` times as fast at their pitch.

    Args:
        stems: float32 (batch, source, channel, sample), of which samples * tempo are played.
        tempo: (batch, source), above 0; 1 gives the same samples back.
        samples: of every stem that comes out.

    Returns (batch, source, channel, samples).
    """
    played = [_vocode(one, rate, samples) for one, rate in zip(stems, tempo, strict=True)]
    return _where_changed(tempo != 1, torch.stack(played), stems[..., :samples])


def shift_pitch(stems: Tensor, semitones: Tensor) -> Tensor:
    """Shift stems (batch, source, channel, sample) by semitones (batch, source), duration kept.

    0 gives the same samples back.
    """
    samples = stems.shape[-1]
    shifted = []
    for excerpt, ratio in zip(stems, torch.exp2(semitones / 12), strict=True):
        longest = math.ceil(samples * float(ratio.max())) + 2 * _TAPS
        longer = _vocode(excerpt, 1 / ratio, longest)
        shifted.append(_resample(longer, ratio, samples))
    return _where_changed(semitones != 0, torch.stack(shifted), stems)


def _where_changed(changed: Tensor, after: Tensor, before: Tensor) -> Tensor:
    """Keep the bits of stems that only went through a spectrum and back."""
    return torch.where(changed[..., None, None], after, before)


def _vocode(stems: Tensor, rate: Tensor, samples: int) -> Tensor:
    """Stems (source, channel, sample) at `rate` (source,) input samples per output sample."""
    shape = stems.shape
    window = torch.hann_window(_SIZE, device=stems.device)
    spectrum = torch.stft(
        stems.reshape(-1, shape[-1]), _SIZE, _HOP, window=window, return_complex=True
    )
    bins, frames = spectrum.shape[1:]
    each = rate.repeat_interleave(shape[1])  # (signal,)
    position = torch.arange(samples // _HOP + 2, device=stems.device) * each[:, None]
    # frames behind the last one repeat it: nothing of it is kept
    first = position.floor().clamp(0, frames - 2).long()
    share = (position - first).clamp(0, 1)
    index = first[:, None].expand(-1, bins, -1)
    strength, angles = spectrum.abs(), spectrum.angle()
    magnitude = torch.lerp(strength.gather(2, index), strength.gather(2, index + 1), share[:, None])
    angle, behind = angles.gather(2, index), angles.gather(2, index + 1)
    expected = torch.arange(bins, device=stems.device)[:, None] * (_TURN * _HOP / _SIZE)
    advance = behind - angle - expected
    advance = advance - _TURN * torch.round(advance / _TURN) + expected
    # the phase at frame n is the first one's and what all frames before n advanced
    phase = torch.cumsum(advance.double(), dim=2).roll(1, dims=2)
    phase[..., 0] = 0
    turn = ((phase + angle[..., :1]) % _TURN).float() - angle
    turn = turn.gather(1, _nearest_peak(magnitude))
    turned = torch.polar(magnitude, angle + turn)
    played = torch.istft(turned, _SIZE, _HOP, window=window, length=samples)
    return played.reshape(*shape[:-1], samples)


def _nearest_peak(magnitude: Tensor) -> Tensor:
    """The bin of the spectral peak nearest to every bin of (signal, bin, frame)."""
    bins = magnitude.shape[1]
    highest = torch.nn.functional.max_pool1d(
        magnitude.transpose(1, 2), kernel_size=5, stride=1, padding=2
    ).transpose(1, 2)
    number = torch.arange(bins, device=magnitude.device, dtype=torch.int32)[None, :, None]
    peak = magnitude >= highest
    below = torch.where(peak, number, -bins).cummax(dim=1).values
    above = torch.where(peak, number, 2 * bins).flip(1).cummin(dim=1).values.flip(1)
    return torch.where(number - below <= above - number, below, above).long()


def _resample(stems: Tensor, ratio: Tensor, samples: int) -> Tensor:
    """Sample n of (source, channel, samples) is the input at n * ratio (source,): windowed sinc."""
    position = torch.arange(samples, device=stems.device, dtype=torch.float64)
    position = position * ratio.double()[:, None]
    first = position.floor()
    share = (position - first).float()
    first = first.long()
    cutoff = (1 / ratio).clamp_max(1.0)[:, None]  # nothing may fold back when shifted up
    result = torch.zeros(*stems.shape[:-1], samples, device=stems.device)
    last = stems.shape[-1] - 1
    for tap in range(1 - _TAPS, _TAPS + 1):
        distance = share - tap
        weight = cutoff * torch.sinc(cutoff * distance)
        weight = weight * torch.cos(distance * (math.pi / (2 * (_TAPS + 1)))).square()
        at = first + tap
        weight = torch.where((at < 0) | (at > last), 0.0, weight)
        index = at.clamp(0, last)[:, None].expand(result.shape)
        result += stems.gather(-1, index) * weight[:, None]
    return result
