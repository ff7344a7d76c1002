"""Waveform-Unmix: sizes of every level, alignment in time, pieces; it learns and is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stemwise.errors import ModelError
from stemwise.models import build, load, save
from stemwise.models.bank import combine
from stemwise.models.waveform_unmix import WaveformNetwork, WaveformUnmix, upsample
from stemwise.separation import Engine, Options

SMALL: dict[str, Any] = {"sources": ["vocals", "drums"], "levels": 5, "features": 4, "hidden": 16}


def _small(**options: Any) -> WaveformUnmix:
    torch.manual_seed(0)
    network = build("waveform-unmix", **{**SMALL, **options}).eval()
    assert isinstance(network, WaveformUnmix)
    return network


def _noise(samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(1, 2, samples, generator=torch.Generator().manual_seed(seed)) * 0.1


def _stems(network: torch.nn.Module, song: torch.Tensor, **options: Any) -> np.ndarray:
    options = {"precision": "fp32", "residual": False, **options}
    engine = Engine(network, Options(device="cpu", **options))  # type: ignore[arg-type]
    rate = engine.separator.sample_rate
    blocks = list(engine.stream([song[0].numpy()], rate, song.shape[1]))
    return np.concatenate([block.stems for block in blocks], axis=-1)


def test_sizes_of_every_level() -> None:
    with torch.device("meta"):
        network = build("waveform-unmix", sources=["vocals"])
    assert isinstance(network, WaveformUnmix)
    member = network.network.members["vocals"]
    assert isinstance(member, WaveformNetwork)
    down = [(c.in_channels, c.out_channels, c.kernel_size) for c in member.down]
    assert down == [(2, 24, (15,))] + [(24 * i - 24, 24 * i, (15,)) for i in range(2, 13)]
    up = [(c.in_channels, c.out_channels, c.kernel_size) for c in member.up]
    below = [24 * i for i in range(2, 13)] + [288]
    assert up == [(b + 24 * (i + 1), 24 * (i + 1), (5,)) for i, b in enumerate(below)]
    assert member.bottleneck.inward.weight.shape == (512, 288)
    assert member.bottleneck.outward.weight.shape == (288, 1024)
    assert network.parameter_count == 14_054_726
    assert network.grid.alignment == 4096
    shapes = {}
    member.down[11].register_forward_hook(lambda m, x, y: shapes.update(last=tuple(y.shape)))
    with torch.device("meta"):
        result = network(torch.zeros(1, 2, 4096 * 65))
    assert shapes["last"] == (1, 288, 2 * 65)
    assert result.estimates.shape == (1, 1, 2, 4096 * 65)


def test_upsampling_undoes_decimation_of_a_ramp() -> None:
    ramp = torch.arange(20.0).reshape(1, 1, 20)
    torch.testing.assert_close(upsample(ramp[..., ::2])[..., :19], ramp[..., :19])


def test_the_network_does_not_shift_in_time() -> None:
    """What one sample changes lies around it, as far to the left as to the right."""
    network = _small(levels=3)
    member = network.network.members["vocals"]
    assert isinstance(member, WaveformNetwork)
    member.bottleneck.outward.weight.data.zero_()  # without the recurrence, which reaches further
    song = _noise(800)
    changed = song.clone()
    changed[..., 400] += 1.0
    with torch.inference_mode():
        difference = (network(changed).estimates - network(song).estimates)[0, 0].abs().sum(0)
    touched = difference.nonzero().flatten()
    reach = (400 - int(touched[0]), int(touched[-1]) - 400)
    assert 0 < reach[0] < 120
    assert abs(reach[0] - reach[1]) <= 8


@pytest.mark.parametrize("samples", [1, 31, 32, 4567])
@pytest.mark.parametrize("rate", [22050, 44100])
def test_any_length_and_silence(rate: int, samples: int) -> None:
    network = _small(sample_rate=rate)
    song = _noise(samples)
    stems = _stems(network, song)
    assert stems.shape == (2, 2, samples)
    assert np.abs(stems).max() > 0
    assert np.abs(_stems(network, song * 0)).max() == 0.0


def test_pieces_are_close_to_one_pass() -> None:
    network = _small()
    song = _noise(44100 * 5 + 77)
    whole = _stems(network, song, segment=60.0)
    pieces = _stems(network, song, segment=1.0)
    assert np.abs(whole - pieces).max() <= 1e-4 * np.abs(whole).max()


def test_representation_is_the_waveform() -> None:
    network, stems = _small(), _noise(1000).expand(2, -1, -1)[None]
    assert network.represent(stems) is stems
    prediction = network(_noise(1000))
    assert torch.equal(network.reconstruct(prediction, 64, 500), prediction.estimates[..., 64:500])


def test_sixteen_bits_are_close() -> None:
    network, song = _small(), _noise(20000)
    expected = _stems(network, song)
    assert np.abs(_stems(network, song, precision="bf16") - expected).max() <= 0.05


def test_learns_saves_and_loads(tmp_path: Path) -> None:
    network = _small(activity=True).train()
    prediction = network(_noise(5000))
    assert prediction.activity is not None
    assert prediction.activity.shape == (1, 2, -(-5000 // 32))
    (prediction.estimates.abs().mean() + prediction.activity.square().mean()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    save(network.eval(), tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert again.config == network.config
    assert np.array_equal(_stems(again, _noise(5000)), _stems(network, _noise(5000)))


def test_combines_and_has_no_phase() -> None:
    both = combine([_small(sources=["vocals"]), _small(sources=["bass"])])
    assert both.sources == ("vocals", "bass")
    with pytest.raises(ModelError, match="no phase to refine"):
        Engine(both, Options(phase="wiener"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sources": []}, "at least one source"),
        ({"sample_rate": 48000}, "22050 or 44100"),
        ({"hidden": 7}, "must be positive"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        build("waveform-unmix", **{**SMALL, **options})
