"""Short-time spectra and what is done to them between the network and the waveform."""

from __future__ import annotations

from itertools import pairwise

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
    """All sources of a `WienerFilter`: complex (batch, source, channel, bin, frame).

    They sum to the mixture wherever it has energy.
    """
    filtered = WienerFilter(estimates, mixture, iterations, window, lead)
    return torch.stack([filtered.source(index) for index in range(estimates.shape[1])], dim=1)


class WienerFilter:
    """Multichannel Wiener filtering by expectation maximisation (Nugraha et al. 2016).

    estimates: first guesses (batch, source, channel, bin, frame) whose sum need not be the
    mixture: complex, or real factors of the mixture. mixture: complex (batch, channel, bin,
    frame), one or two channels. Spatial covariances are estimated on blocks of `window` frames,
    one of which starts at frame `lead`.

    A source is its power in every bin and frame, times its covariance in every bin and block,
    times the whitened mixture. These are kept, so that the sources' spectra are never in memory
    all at once. Regularised as in the `openunmix` package, which scales a block down to
    magnitudes of at most 10. Real arithmetic on planes (frame, bin), as they lie in memory, is
    several times faster than complex tensors. Gives no gradients.

    Covariances and inverses are in 64 bits: those of a song with equal channels have rank one, and
    in 32 bits rounding takes a third of such a song away.
    """

    EPS = 1e-10
    LOUDEST = 10.0
    CHUNK = 50
    """Frames at a time that are in 64 bits."""

    @torch.no_grad()
    def __init__(
        self,
        estimates: Tensor,
        mixture: Tensor,
        iterations: int = 1,
        window: int = 300,
        lead: int = 0,
    ) -> None:
        batch, sources, channels, bins, frames = estimates.shape
        if channels > 2:
            raise ValueError(f"wiener filters one or two channels, not {channels}")
        if iterations < 1:
            raise ValueError(f"wiener takes at least one iteration, not {iterations}")
        self.wide = torch.float32 if mixture.device.type == "mps" else torch.float64
        self.power = mixture.real.new_empty(batch, sources, frames, bins)
        self.white = mixture.real.new_empty(2, batch, channels, frames, bins)
        edges = [0, *range(lead % window or window, frames, window), frames]
        self.blocks = [slice(*edge) for edge in pairwise(edges)]
        self.covariances = [
            self._expect(block, estimates.mT[..., block, :], mixture.mT[..., block, :], iterations)
            for block in self.blocks
        ]

    @torch.no_grad()
    def source(self, index: int, span: slice = slice(None)) -> Tensor:
        """The spectrum of one source, complex (batch, channel, bin, frame), at frames `span`."""
        batch, channels, frames, bins = self.white.shape[1:]
        first, last, _ = span.indices(frames)
        dtype = torch.complex128 if self.white.dtype == torch.float64 else torch.complex64
        shape = batch, channels, last - first, bins
        spectrum = torch.empty(shape, dtype=dtype, device=self.white.device)
        for block, covariance in zip(self.blocks, self.covariances, strict=True):
            part = slice(max(first, block.start), min(last, block.stop))
            if part.start < part.stop:
                real, imaginary = self._source(index, part, covariance)
                target = spectrum[:, :, part.start - first : part.stop - first]
                torch.complex(real, imaginary, out=target)
        return spectrum.mT

    def _expect(self, block: slice, guesses: Tensor, mixture: Tensor, iterations: int) -> Tensor:
        """Iterate on one block: sets its power and white, returns its sources' covariances."""
        x = mixture.real.contiguous(), mixture.imag.contiguous()
        loudest = torch.addcmul(x[0].square(), x[1], x[1]).amax(dim=(1, 2, 3))
        # dividing all by a scale is the same as multiplying what regularises by its square
        scale = (loudest / self.LOUDEST**2).clamp_min(1.0)[:, None]
        covariance = torch.empty(0)
        for iteration in range(iterations):
            found = []
            for index in range(guesses.shape[1]):
                if iteration:
                    y = self._source(index, block, covariance)
                else:
                    y = _parts(guesses[:, index], x)
                found.append(self._model(y, self.power[:, index, block], self.EPS * scale))
            covariance = torch.stack(found, dim=2)
            self._whiten(block, x, covariance, (self.EPS**0.5 * scale).unsqueeze(-1))
            covariance = covariance.to(self.power.dtype)
        return covariance

    def _model(self, y: tuple[Tensor, Tensor], power: Tensor, least: Tensor) -> Tensor:
        """Power of one source, written to `power`, and its spatial covariance (part, batch, bin).

        Parts: left, right, real and imaginary part of left times conjugate right; for one
        channel its own only.
        """
        total = torch.zeros((), device=power.device)
        chunks = (torch.split(plane, self.CHUNK, dim=-2) for plane in (*y, power))
        for narrow_real, narrow_imaginary, target in zip(*chunks, strict=True):
            real, imaginary = narrow_real.to(self.wide), narrow_imaginary.to(self.wide)
            energy = torch.addcmul(real.square(), imaginary, imaginary)
            target.copy_(energy.mean(dim=1))
            parts = list(energy.sum(dim=-2).unbind(1))
            if len(parts) == 2:
                cross = torch.addcmul(real[:, 0] * real[:, 1], imaginary[:, 0], imaginary[:, 1])
                turned = imaginary[:, 0] * real[:, 1]
                turned.addcmul_(real[:, 0], imaginary[:, 1], value=-1)
                parts += [cross.sum(dim=-2), turned.sum(dim=-2)]
            total = total + torch.stack(parts)
        return total / (power.sum(dim=-2) + least)

    def _whiten(self, block: slice, x: tuple[Tensor, Tensor], sources: Tensor, eps: Tensor) -> None:
        """(sum of v_j R_j + eps I)^-1 x for every bin and frame."""
        planes = self.power[:, :, block], *x, *self.white[..., block, :]
        for power, real, imaginary, *white in zip(
            *(torch.split(plane, self.CHUNK, dim=-2) for plane in planes), strict=True
        ):
            total = [_weighted(power.to(self.wide), part) for part in sources]
            wide = real.to(self.wide), imaginary.to(self.wide)
            for target, plane in zip(white, _solve(total, wide, eps), strict=True):
                target.copy_(plane)

    def _source(self, index: int, part: slice, covariances: Tensor) -> tuple[Tensor, Tensor]:
        """v_j R_j times the whitened mixture: real and imaginary part (batch, channel, ...)."""
        white = self.white[..., part, :]
        power = self.power[:, index, part]
        own = covariances[:, :, index].unsqueeze(-2)
        if len(own) == 1:
            scaled = white * (own[0] * power).unsqueeze(1)
            return scaled[0], scaled[1]
        left, right, cross, turned = own
        (a, b), (c, d) = (plane.unbind(1) for plane in white)
        out = torch.empty_like(white)
        rows = (
            (out[0, :, 0], left, a, b, -1, d),
            (out[1, :, 0], left, c, d, 1, b),
            (out[0, :, 1], right, b, a, 1, c),
            (out[1, :, 1], right, d, c, -1, a),
        )
        for target, factor, first, second, turn, third in rows:
            torch.mul(factor, first, out=target).addcmul_(cross, second)
            target.addcmul_(turned, third, value=turn).mul_(power)
        return out[0], out[1]


def _parts(guess: Tensor, mixture: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of a first guess, complex or a factor of the mixture's."""
    if guess.is_complex():
        return guess.real, guess.imag
    return mixture[0] * guess, mixture[1] * guess


def _solve(matrix: list[Tensor], x: tuple[Tensor, Tensor], eps: Tensor) -> tuple[Tensor, Tensor]:
    """(matrix + eps I)^-1 x, the 2 x 2 inverse written out: real and imaginary part.

    matrix: parts (batch, frame, bin) as of a covariance, one or four. x: (batch, channel, ...).
    """
    if len(matrix) == 1:
        inverse = (matrix[0] + eps).reciprocal_().unsqueeze(1)
        return x[0] * inverse, x[1] * inverse
    left, right, cross, turned = matrix
    # det(A + eps I) = det A + eps tr A + eps^2, where rounding must not make det A negative
    inverse = torch.addcmul(left * right, cross, cross, value=-1)
    inverse.addcmul_(turned, turned, value=-1).clamp_min_(0.0)
    inverse.add_(eps * (left + right) + eps.square()).reciprocal_()
    left, right = left.add_(eps), right.add_(eps)
    real, imaginary = torch.empty_like(x[0]), torch.empty_like(x[1])
    (a, b), (c, d) = (plane.unbind(1) for plane in x)  # left a + ic, right b + id
    rows = (
        (real[:, 0], right, a, b, 1, d),
        (imaginary[:, 0], right, c, d, -1, b),
        (real[:, 1], left, b, a, -1, c),
        (imaginary[:, 1], left, d, c, 1, a),
    )
    for out, own, first, second, turn, third in rows:
        torch.mul(own, first, out=out).addcmul_(cross, second, value=-1)
        out.addcmul_(turned, third, value=turn).mul_(inverse)
    return real, imaginary


def _weighted(power: Tensor, part: Tensor) -> Tensor:
    """Sum over sources of power (batch, source, frame, bin) times part (batch, source, bin)."""
    total = power[:, 0] * part[:, 0, None]
    for index in range(1, power.shape[1]):
        total.addcmul_(power[:, index], part[:, index, None])
    return total
