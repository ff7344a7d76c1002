"""Short-time spectra and what is done to them between the network and the waveform."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def stft(waveform: Tensor, window: Tensor, hop: int, pad_mode: str = "constant") -> Tensor:
    """Centred short-time Fourier transform.

    waveform: (..., sample), real. Returns complex (..., bin, frame) with
    `len(window) // 2 + 1` bins and `samples // hop + 1` frames; frame i is centred at sample
    `i * hop`. Outside its ends the signal counts as zero, so that a piece of a song, given enough
    context, has the same frames as the song; pad_mode "reflect" mirrors it there instead.
    """
    n_fft = window.shape[0]
    flat = waveform.reshape(-1, waveform.shape[-1])
    if pad_mode == "reflect" and flat.shape[-1] <= n_fft // 2:  # too short to be mirrored whole
        flat = F.pad(flat, (0, n_fft // 2 + 1 - flat.shape[-1]))
    spectrum = torch.stft(
        flat, n_fft, hop, window=window, center=True, pad_mode=pad_mode, return_complex=True
    )
    return spectrum.reshape(*waveform.shape[:-1], *spectrum.shape[-2:])


def istft(spectrum: Tensor, window: Tensor, hop: int, samples: int) -> Tensor:
    """Least-squares inverse of `stft`: complex (..., bin, frame) to real (..., sample).

    Overlap-add is a few shifted sums of hop-long blocks (several times faster than `torch.istft` on
    a CPU); a window that is no whole number of hops long is filled up with zeros.
    """
    n_fft = window.shape[0]
    overlap = -(-n_fft // hop)
    missing = overlap * hop - n_fft
    frames = torch.fft.irfft(spectrum.transpose(-1, -2), n=n_fft, dim=-1).mul_(window)
    if missing:
        frames, window = F.pad(frames, (0, missing)), F.pad(window, (0, missing))
    frames = frames.reshape(*frames.shape[:-1], overlap, hop)
    blocks = _overlap_add(frames)
    weight = (window * window).reshape(overlap, hop).expand(frames.shape[-3], -1, -1)
    blocks = blocks / _overlap_add(weight).clamp_min(1e-8)
    start = n_fft // 2
    return blocks.flatten(-2)[..., start : start + samples]


def _overlap_add(frames: Tensor) -> Tensor:
    """(..., frame, overlap, hop) to hop-long blocks (..., frame + overlap - 1, hop)."""
    count, overlap, hop = frames.shape[-3:]
    blocks = frames.new_zeros(*frames.shape[:-3], count + overlap - 1, hop)
    for shift in range(overlap):
        blocks[..., shift : shift + count, :] += frames[..., shift, :]
    return blocks


def griffin_lim(
    magnitudes: Tensor,
    mixture: Tensor,
    window: Tensor,
    hop: int,
    iterations: int = 10,
) -> Tensor:
    """Refine the mixture's phase until it agrees with the estimated magnitudes.

    magnitudes: (batch, source, channel, bin, frame), at least 0. mixture: complex
    (batch, channel, bin, frame), the phase to start from (paper Stoller 2018, section 3.3, uses 10
    iterations of Griffin & Lim 1984). Returns complex spectra with the shape of `magnitudes`.
    """
    spectrum = magnitudes * torch.exp(1j * mixture.angle()).unsqueeze(1)
    samples = (mixture.shape[-1] - 1) * hop
    for _ in range(iterations):
        consistent = stft(istft(spectrum, window, hop, samples), window, hop)
        spectrum = magnitudes * torch.exp(1j * consistent.angle())
    return spectrum


def wiener(
    estimates: Tensor, mixture: Tensor, iterations: int = 1, window: int = 300, lead: int = 0
) -> Tensor:
    """Multichannel Wiener filtering by expectation maximisation (Nugraha et al. 2016).

    estimates: complex (batch, source, channel, bin, frame), first guesses whose sum need not be the
    mixture. mixture: complex (batch, channel, bin, frame), one or two channels. Spatial covariances
    are estimated on blocks of `window` frames, one of which starts at frame `lead`. Returns
    estimates of the same shape that sum to the mixture wherever it has energy. The 2 x 2 inverses
    are in closed form.
    """
    if mixture.shape[1] > 2:
        raise ValueError(f"wiener filters one or two channels, not {mixture.shape[1]}")
    blocks = []
    for start in range(lead % window - window if lead % window else 0, mixture.shape[-1], window):
        part = slice(max(0, start), start + window)
        blocks.append(_wiener_block(estimates[..., part], mixture[..., part], iterations))
    return torch.cat(blocks, dim=-1)


def _wiener_block(estimates: Tensor, mixture: Tensor, iterations: int) -> Tensor:
    # a common scale keeps the regularisation meaningful for loud and quiet songs
    scale = mixture.abs().amax(dim=(1, 2, 3), keepdim=True).clamp_min(1e-10)
    mixture = mixture / scale
    estimates = estimates / scale.unsqueeze(1)
    for _ in range(iterations):
        estimates = _wiener_step(estimates, mixture)
    return estimates * scale.unsqueeze(1)


def _wiener_step(estimates: Tensor, mixture: Tensor) -> Tensor:
    """One EM iteration: power and spatial covariance of each source, then the filter."""
    eps = 1e-10
    power = estimates.abs().square().mean(dim=2)  # (batch, source, bin, frame)
    weight = power.sum(dim=-1).clamp_min(eps)  # (batch, source, bin)
    left = estimates[:, :, 0]
    if mixture.shape[1] == 1:
        total = power.sum(dim=1, keepdim=True).clamp_min(eps)
        return (power / total * mixture).unsqueeze(2)
    right = estimates[:, :, 1]
    cov_ll = left.abs().square().sum(-1) / weight
    cov_rr = right.abs().square().sum(-1) / weight
    cov_lr = (left * right.conj()).sum(-1) / weight
    return _apply_filter(power, cov_ll, cov_rr, cov_lr, mixture, eps)


def _apply_filter(
    power: Tensor, cov_ll: Tensor, cov_rr: Tensor, cov_lr: Tensor, mixture: Tensor, eps: float
) -> Tensor:
    """v_k R_k (sum_j v_j R_j)^-1 x for every bin and frame, with the 2 x 2 inverse written out."""
    mix_ll = torch.einsum("bsft,bsf->bft", power, cov_ll) + eps
    mix_rr = torch.einsum("bsft,bsf->bft", power, cov_rr) + eps
    mix_lr = torch.einsum("bsft,bsf->bft", power.to(cov_lr.dtype), cov_lr)
    determinant = (mix_ll * mix_rr - mix_lr.abs().square()).clamp_min(eps * eps)
    x_l, x_r = mixture[:, 0], mixture[:, 1]
    white_l = ((mix_rr * x_l - mix_lr * x_r) / determinant).unsqueeze(1)
    white_r = ((mix_ll * x_r - mix_lr.conj() * x_l) / determinant).unsqueeze(1)
    out_l = power * (cov_ll.unsqueeze(-1) * white_l + cov_lr.unsqueeze(-1) * white_r)
    out_r = power * (cov_lr.conj().unsqueeze(-1) * white_l + cov_rr.unsqueeze(-1) * white_r)
    return torch.stack([out_l, out_r], dim=2)
