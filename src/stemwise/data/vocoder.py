"""Tempo and pitch of a whole batch at once, by a phase vocoder, each excerpt at its own rate.

Flanagan and Golden, "Phase vocoder" (Bell System Technical Journal, 1966): magnitudes are
interpolated between frames of the input, phases advance by the frequency measured there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SIZE, _HOP = 2048, 512
_TAPS = 16  # of the sinc on either side of a resampled sample


def stretch(stems: Tensor, tempo: Tensor, samples: int) -> Tensor:
    """Play stems `tempo` times as fast at their pitch.

    Args:
        stems: float32 (batch, source, channel, sample), of which samples * tempo are played.
        tempo: (batch, source), above 0; 1 gives the same samples back.
        samples: of every stem that comes out.

    Returns (batch, source, channel, samples).
    """
    played = _vocode(stems, tempo, samples)
    # what is not changed is not changed by the round trip through a spectrum either
    return torch.where((tempo == 1)[..., None, None], stems[..., :samples], played)


def shift_pitch(stems: Tensor, semitones: Tensor) -> Tensor:
    """Shift stems (batch, source, channel, sample) by semitones (batch, source), duration kept."""
    samples = stems.shape[-1]
    ratio = torch.exp2(semitones / 12)
    longest = math.ceil(samples * float(ratio.max())) + 2 * _TAPS
    longer = _vocode(stems, 1 / ratio, longest)
    shifted = _resample(longer, ratio, samples)
    return torch.where((semitones == 0)[..., None, None], stems, shifted)


def _vocode(stems: Tensor, rate: Tensor, samples: int) -> Tensor:
    """Phase vocoder: `rate` input samples per output sample, (batch, source)."""
    shape = stems.shape
    window = torch.hann_window(_SIZE, device=stems.device)
    spectrum = torch.stft(
        stems.reshape(-1, shape[-1]), _SIZE, _HOP, window=window, return_complex=True
    )
    bins, frames = spectrum.shape[1:]
    count = samples // _HOP + 2
    each = rate.repeat_interleave(shape[2], dim=1).flatten()  # (signal,)
    position = torch.arange(count, device=stems.device) * each[:, None]
    # frames behind the last one repeat it: silence follows there anyway
    first = position.floor().clamp(0, frames - 2).long()
    share = (position - first).clamp(0, 1)
    index = first[:, None].expand(-1, bins, -1)
    before, behind = spectrum.gather(2, index), spectrum.gather(2, index + 1)
    magnitude = torch.lerp(before.abs(), behind.abs(), share[:, None])
    expected = torch.arange(bins, device=stems.device) * (2 * math.pi * _HOP / _SIZE)
    advance = behind.angle() - before.angle() - expected[:, None]
    advance = advance - 2 * math.pi * torch.round(advance / (2 * math.pi)) + expected[:, None]
    phase = torch.cumsum(advance.double(), dim=2)
    start = before.angle()[..., :1].double()
    phase = torch.cat([start, start + phase[..., :-1]], dim=2) % (2 * math.pi)
    turned = torch.polar(magnitude, phase.to(magnitude.dtype))
    played = torch.istft(turned, _SIZE, _HOP, window=window, length=samples)
    return played.reshape(*shape[:-1], samples)


def _resample(stems: Tensor, ratio: Tensor, samples: int) -> Tensor:
    """Sample n of the output is the input at n * ratio, by a windowed sinc."""
    position = torch.arange(samples, device=stems.device, dtype=torch.float64)
    position = position * ratio.double()[..., None]
    first = position.floor()
    share = (position - first).float()
    first = first.long()
    cutoff = (1 / ratio).clamp_max(1.0)[..., None]  # nothing may fold back when shifted up
    result = torch.zeros(*stems.shape[:-1], samples, device=stems.device)
    last = stems.shape[-1] - 1
    for tap in range(1 - _TAPS, _TAPS + 1):
        distance = share - tap
        weight = cutoff * torch.sinc(cutoff * distance)
        weight = weight * torch.cos(distance * (math.pi / (2 * (_TAPS + 1)))).square()
        at = first + tap
        weight = torch.where((at < 0) | (at > last), torch.zeros_like(weight), weight)
        index = at.clamp(0, last)[..., None, :].expand(*stems.shape[:-1], samples)
        result += stems.gather(-1, index) * weight[..., None, :]
    return result
