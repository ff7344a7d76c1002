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
    scale = mixture.abs().max()
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
            covariance.append(x @ x.conj().T / power[k].sum())
        for t in range(frames):
            total = sum(power[k, t] * covariance[k] for k in range(sources))
            total = total + eps * torch.eye(channels, dtype=torch.complex128)
            inverse = torch.linalg.inv(total)
            for k in range(sources):
                out[k, :, f, t] = power[k, t] * covariance[k] @ inverse @ mixture[:, f, t]
    return out * scale


@pytest.mark.parametrize("channels", [1, 2])
def test_wiener_equals_the_definition(channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    estimates = torch.randn(3, channels, 5, 12, dtype=torch.complex64, generator=generator)
    mixture = estimates.sum(dim=0) + 0.3 * torch.randn(
        channels, 5, 12, dtype=torch.complex64, generator=generator
    )
    ours = spectral.wiener(estimates[None], mixture[None])[0]
    expected = _wiener_by_loops(estimates, mixture)
    torch.testing.assert_close(ours.to(torch.complex128), expected, rtol=2e-3, atol=2e-3)
    torch.testing.assert_close(ours.sum(dim=0), mixture, rtol=1e-3, atol=1e-3)


def test_wiener_of_silence_is_silence() -> None:
    silence = torch.zeros(1, 2, 2, 4, 7, dtype=torch.complex64)
    assert torch.equal(spectral.wiener(silence, silence[:, 0]), silence)


def test_wiener_refuses_surround() -> None:
    with pytest.raises(ValueError, match="one or two channels"):
        spectral.wiener(torch.zeros(1, 2, 3, 4, 5), torch.zeros(1, 3, 4, 5))
