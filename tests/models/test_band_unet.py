"""The default model's network: sums, rates, level and stereo behaviour, declared context."""

from __future__ import annotations

import pytest
import torch

from stemwise.errors import ModelError
from stemwise.models import build
from stemwise.models.band_unet import BandUNet

SMALL = {"widths": (8, 8, 8, 8, 8), "squeezed": 2, "hidden": 16}


@pytest.fixture(scope="module")
def network() -> BandUNet:
    torch.manual_seed(0)
    network = build("band-unet", **SMALL).eval()
    assert isinstance(network, BandUNet)
    network.network.mask.weight.data *= 20
    return network


def _song(samples: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 2, samples, generator=generator) * 0.1


def test_masks_share_out_the_mixture(network: BandUNet) -> None:
    mixture = _song(network.grid.alignment * 4)
    with torch.inference_mode():
        prediction = network(mixture)
        stems = network.reconstruct(prediction)
    assert prediction.masks is not None
    assert prediction.masks.shape == (1, 4, 2, 2049, 33)
    torch.testing.assert_close(prediction.masks.sum(dim=1), torch.ones(1, 2, 2049, 33))
    torch.testing.assert_close(stems.sum(dim=1), mixture, rtol=0, atol=1e-5)
    torch.testing.assert_close(prediction.estimates.sum(dim=1), prediction.mixture)
    one = prediction.source(2, slice(3, 9))
    torch.testing.assert_close(one, prediction.estimates[:, 2, ..., 3:9])


def test_the_song_may_be_louder(network: BandUNet) -> None:
    mixture = _song(network.grid.alignment * 4)
    with torch.inference_mode():
        quiet, loud = network(mixture * 0.01), network(mixture)
    assert quiet.masks is not None
    assert loud.masks is not None
    torch.testing.assert_close(quiet.masks, loud.masks, rtol=0, atol=1e-3)


def test_silence_is_finite(network: BandUNet) -> None:
    with torch.inference_mode():
        prediction = network(torch.zeros(1, 2, network.grid.alignment * 2))
    assert prediction.activity is not None
    assert bool(torch.isfinite(prediction.activity).all())
    assert float(prediction.estimates.abs().max()) == 0.0


def test_same_bins_at_half_the_rate(network: BandUNet) -> None:
    """A song without anything above 11 kHz has the same masks at 44.1 and 22.05 kHz."""
    low = network.at_rate(22050)
    assert low.network is network.network
    assert (low.n_fft, low.hop) == (2048, 512)
    samples = low.grid.alignment * 6
    slow = _song(samples)
    spectrum = torch.fft.rfft(slow)
    fast = torch.fft.irfft(spectrum, n=2 * samples) * 2
    with torch.inference_mode():
        a, b = low(slow).masks, network(fast).masks
    assert a is not None
    assert b is not None
    inside = slice(8, -8)
    torch.testing.assert_close(a[..., :900, inside], b[..., :900, inside], rtol=0, atol=2e-2)


def test_context_is_enough_and_not_wasteful(network: BandUNet) -> None:
    """Changing the song `before` samples away changes nothing; somewhat nearer it does."""
    grid, hop = network.grid, network.hop
    mixture = _song(2 * grid.before + 4 * grid.alignment)
    centre = grid.before // hop

    def change_at(distance: int) -> float:
        other = mixture.clone()
        other[..., : grid.before - distance] = _song(grid.before - distance, seed=1)
        with torch.inference_mode():
            a, b = network(mixture), network(other)
        assert a.masks is not None
        assert b.masks is not None
        assert a.activity is not None
        assert b.activity is not None
        masks = (a.masks[..., centre:] - b.masks[..., centre:]).abs().max()
        activity = (a.activity[..., centre:] - b.activity[..., centre:]).abs().max()
        return float(torch.maximum(masks, activity))

    assert change_at(grid.before - 2 * hop) <= 1e-6
    assert change_at(8 * hop) > 1e-6


def test_a_twin_is_on_the_same_device() -> None:
    """Its window once stayed on the CPU while the shared network was elsewhere."""
    network = build("band-unet", **SMALL).to("meta")
    assert isinstance(network, BandUNet)
    assert network.at_rate(22050).window.device.type == "meta"


def test_other_rates_are_refused() -> None:
    with pytest.raises(ModelError, match="takes 22050 or 44100 Hz, not 8000 Hz"):
        build("band-unet", sample_rate=8000)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_narrow_network_computes_the_same_piece(depth: int) -> None:
    """Less of the context, and not a bit of the piece is another."""
    torch.manual_seed(0)
    separator = BandUNet(widths=[8, 8, 8, 8, 8], squeezed=2, hidden=16, depth=depth).eval()
    narrow, grid, hop = separator.narrowed(), separator.grid, separator.hop
    assert narrow.network.stem is separator.network.stem
    assert separator.narrowed() is narrow
    start, stop = grid.before, grid.before + 3 * grid.alignment
    mixture = torch.randn(1, 2, stop + grid.after) * 0.1
    with torch.no_grad():
        whole, part = separator(mixture), narrow(mixture)
        expected = separator.reconstruct(whole, start, stop)
        crop = narrow.grid.crop
        assert part.mixture.shape[-1] == whole.mixture.shape[-1] - 2 * crop // hop
        found = narrow.reconstruct(part, start - crop, stop - crop)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    first, frames, cropped = start // hop, (stop - start) // hop, crop // hop
    torch.testing.assert_close(
        part.activity[..., first - cropped : first - cropped + frames],
        whole.activity[..., first : first + frames],
        atol=1e-5,
        rtol=0,
    )


def test_the_last_stem_is_what_the_others_leave() -> None:
    """One inverse transform less gives what that transform gives, and training takes them all."""
    separator = BandUNet(widths=[8, 8, 8, 8, 8], squeezed=2, hidden=16).eval()
    mixture = torch.randn(1, 2, separator.grid.input_length(60_000)) * 0.1
    prediction = separator(mixture)
    trained = separator.reconstruct(prediction)
    assert trained.requires_grad
    with torch.no_grad():
        found = separator.reconstruct(prediction)
        prediction.waveform = None
        expected = separator.reconstruct(prediction)
    torch.testing.assert_close(trained, expected)
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)
    samples = mixture[..., : found.shape[-1]]
    torch.testing.assert_close(found.sum(dim=1), samples, atol=1e-6, rtol=0)
