"""Short-time spectra, Griffin-Lim and Wiener filtering against definitions and references."""

from __future__ import annotations

import pytest
import torch

from stemwise import spectral


def _noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("n_fft", "hop"), [(512, 256), (4096, 1024), (2048, 512), (1022, 256)])
@pytest.mark.parametrize("samples", [1, 5000, 40960])
def test_istft_inverts_stft(n_fft: int, hop: int, samples: int) -> None:
    waveform, window = _noise(2, 3, samples), torch.hann_window(n_fft)
    spectrum = spectral.stft(waveform, window, hop)
    assert spectrum.shape == (2, 3, n_fft // 2 + 1, samples // hop + 1)
    whole = samples // hop * hop  # the last, incomplete hop has no frame after it
    back = spectral.istft(spectrum, window, hop, whole)
    assert back.shape == (2, 3, whole)
    torch.testing.assert_close(back, waveform[..., :whole], rtol=0, atol=2e-5)


@pytest.mark.parametrize("n_fft", [1024, 1022])
def test_istft_equals_torch_on_inconsistent_spectra(n_fft: int) -> None:
    """Also for a window that is no whole number of hops long."""
    window, hop, samples = torch.hann_window(n_fft), 256, 256 * 20
    spectrum = spectral.stft(_noise(2, samples), window, hop)
    spectrum = spectrum * _noise(2, n_fft // 2 + 1, 21, seed=1)
    expected = torch.istft(spectrum, n_fft, hop, window=window, center=True, length=samples)
    ours = spectral.istft(spectrum, window, hop, samples)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_griffin_lim_makes_phases_consistent() -> None:
    window, hop = torch.hann_window(512), 128
    truth = spectral.stft(_noise(1, 2, 128 * 60), window, hop)
    magnitudes = truth.abs().unsqueeze(1)
    mixture = spectral.stft(_noise(1, 2, 128 * 60, seed=3), window, hop)

    def inconsistency(spectrum: torch.Tensor) -> float:
        again = spectral.stft(spectral.istft(spectrum, window, hop, 128 * 60), window, hop)
        return float((again.abs() - magnitudes).square().sum() / magnitudes.square().sum())

    few = spectral.griffin_lim(magnitudes, mixture, window, hop, iterations=1)
    many = spectral.griffin_lim(magnitudes, mixture, window, hop, iterations=30)
    torch.testing.assert_close(many.abs(), magnitudes, rtol=1e-3, atol=1e-4)
    assert inconsistency(many) < 0.6 * inconsistency(few)


def _wiener_by_loops(
    estimates: torch.Tensor, mixture: torch.Tensor, eps: float = 1e-10
) -> torch.Tensor:
    """One EM iteration of multichannel Wiener filtering, bin by bin, with general inverses."""
    sources, channels, bins, frames = estimates.shape
    scale = max(1.0, float(mixture.abs().max()) / 10)
    estimates, mixture = (
        estimates.to(torch.complex128) / scale,
        mixture.to(torch.complex128) / scale,
    )
    out = torch.zeros_like(estimates)
    for f in range(bins):
        power = estimates[:, :, f].abs().square().mean(dim=1)
        covariance = []
        for k in range(sources):
            x = estimates[k, :, f]
            covariance.append(x @ x.conj().T / (power[k].sum() + eps))
        for t in range(frames):
            total = sum(power[k, t] * covariance[k] for k in range(sources))
            total = total + eps**0.5 * torch.eye(channels, dtype=torch.complex128)
            inverse = torch.linalg.inv(total)
            for k in range(sources):
                out[k, :, f, t] = power[k, t] * covariance[k] @ inverse @ mixture[:, f, t]
    return out * scale


@pytest.mark.parametrize("loudness", [1.0, 30.0])
@pytest.mark.parametrize("channels", [1, 2])
def test_wiener_equals_the_definition(channels: int, loudness: float) -> None:
    generator = torch.Generator().manual_seed(0)
    estimates = torch.randn(3, channels, 5, 12, dtype=torch.complex64, generator=generator)
    mixture = estimates.sum(dim=0) + 0.3 * torch.randn(
        channels, 5, 12, dtype=torch.complex64, generator=generator
    )
    estimates, mixture = estimates * loudness, mixture * loudness
    ours = spectral.wiener(estimates[None], mixture[None])[0]
    expected = _wiener_by_loops(estimates, mixture)
    limit = 1e-4 * loudness
    torch.testing.assert_close(ours.to(torch.complex128), expected, rtol=1e-4, atol=limit)
    torch.testing.assert_close(ours.sum(dim=0), mixture, rtol=1e-3, atol=10 * limit)


def test_wiener_blocks_start_at_the_lead() -> None:
    generator = torch.Generator().manual_seed(0)
    estimates = torch.randn(1, 3, 2, 5, 70, dtype=torch.complex64, generator=generator)
    mixture = estimates.sum(dim=1)
    ours = spectral.wiener(estimates, mixture, window=30, lead=40)
    for start, stop in ((0, 10), (10, 40), (40, 70)):
        alone = spectral.wiener(estimates[..., start:stop], mixture[..., start:stop])
        torch.testing.assert_close(ours[..., start:stop], alone)


def test_wiener_takes_factors_of_the_mixture_and_makes_parts() -> None:
    generator = torch.Generator().manual_seed(0)
    mixture = torch.randn(2, 2, 5, 70, dtype=torch.complex64, generator=generator)
    factors = torch.rand(2, 3, 2, 5, 70, generator=generator)
    whole = spectral.wiener(factors * mixture.unsqueeze(1), mixture, iterations=2, window=30)
    filtered = spectral.WienerFilter(factors, mixture, iterations=2, window=30)
    for index in range(3):
        torch.testing.assert_close(filtered.source(index), whole[:, index])
    part = filtered.source(1, slice(25, 64))
    torch.testing.assert_close(part, whole[:, 1, ..., 25:64])


def test_wiener_of_equal_channels_keeps_the_sum() -> None:
    """A mono song in stereo has covariances of rank one: rounding must not blow up."""
    generator = torch.Generator().manual_seed(0)
    mono = torch.randn(1, 1, 5, 70, dtype=torch.complex64, generator=generator) * 10
    mixture = mono.expand(-1, 2, -1, -1)
    factors = torch.tensor([0.7, 0.3]).reshape(1, 2, 1, 1, 1).expand(1, 2, 2, 5, 70)
    ours = spectral.wiener(factors, mixture)
    assert bool(ours.isfinite().all())
    assert float((ours.sum(dim=1) - mixture).abs().max() / mixture.abs().max()) < 0.02


def test_wiener_of_silence_is_silence() -> None:
    silence = torch.zeros(1, 2, 2, 4, 7, dtype=torch.complex64)
    assert torch.equal(spectral.wiener(silence, silence[:, 0]), silence)


def test_wiener_refuses_surround_and_no_iteration() -> None:
    estimates = torch.zeros(1, 2, 3, 4, 5, dtype=torch.complex64)
    with pytest.raises(ValueError, match="one or two channels"):
        spectral.wiener(estimates, estimates[:, 0])
    with pytest.raises(ValueError, match="at least one iteration"):
        spectral.wiener(estimates[:, :, :2], estimates[:, 0, :2], iterations=0)
