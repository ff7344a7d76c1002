"""Open-Unmix with a transformer: sizes, attention, pieces, and that it learns and is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stemwise.errors import ModelError
from stemwise.models import build, load, save
from stemwise.models.open_unmix_transformer import EncoderLayer, OpenUnmixTransformer, positions
from stemwise.separation import Engine, Options

SMALL: dict[str, Any] = {
    "sources": ["vocals", "drums"],
    "hidden": 16,
    "heads": 4,
    "feed_forward": 32,
    "n_fft": 256,
    "hop": 64,
}


def _small(**options: Any) -> OpenUnmixTransformer:
    torch.manual_seed(0)
    network = build("open-unmix-transformer", **{**SMALL, **options}).eval()
    assert isinstance(network, OpenUnmixTransformer)
    return network


def _noise(samples: int) -> torch.Tensor:
    return torch.randn(1, 2, samples, generator=torch.Generator().manual_seed(0)) * 0.1


def _stems(network: torch.nn.Module, song: torch.Tensor, **options: Any) -> np.ndarray:
    options = {"precision": "fp32", "residual": False, **options}
    engine = Engine(network, Options(device="cpu", **options))  # type: ignore[arg-type]
    blocks = list(engine.stream([song[0].numpy()], 44100, 2))
    return np.concatenate([block.stems for block in blocks], axis=-1)


def test_parameters_per_source() -> None:
    with torch.device("meta"):
        network = build("open-unmix-transformer")
    lstm = 3 * 2 * (4 * 256 * (512 + 256) + 2 * 4 * 256)
    layer = 4 * (512 * 512 + 512) + 2 * 512 * 2048 + 2048 + 512 + 2 * 2 * 512
    assert network.parameter_count == 4 * (8_893_348 - lstm + 3 * layer + 2 * 512)
    assert network.parameter_count == 4 * 13_620_644


def test_layer_equals_that_of_torch() -> None:
    torch.manual_seed(0)
    layer = EncoderLayer(16, 4, 32, 0.1).eval()
    reference = torch.nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=True)
    pairs = {
        "norm1": layer.attention_norm,
        "self_attn.out_proj": layer.out,
        "norm2": layer.feed_forward[0],
        "linear1": layer.feed_forward[1],
        "linear2": layer.feed_forward[4],
    }
    state = {f"{k}.{n}": p for k, m in pairs.items() for n, p in m.named_parameters()}
    state["self_attn.in_proj_weight"] = layer.queries_keys_values.weight
    state["self_attn.in_proj_bias"] = layer.queries_keys_values.bias
    reference.load_state_dict(state)
    x = torch.randn(2, 23, 16)
    torch.testing.assert_close(layer(x), reference.eval()(x), rtol=1e-5, atol=1e-5)


def test_positions() -> None:
    table = positions(300, 16, torch.zeros(()))
    assert table.shape == (300, 16)
    assert torch.equal(table[0], torch.tensor([0.0, 1.0] * 8))
    torch.testing.assert_close(table[7, 0], torch.tensor(7.0).sin())
    torch.testing.assert_close(table[7, 15], torch.tensor(7.0 * 10000 ** (-14 / 16)).cos())


def test_frames_attend_to_all_of_the_piece() -> None:
    network = _small()
    spectrum = network.spectrum(_noise(64 * 100))
    (features,) = network.features(spectrum)
    features.requires_grad_()
    masks = network.network(features)[0]
    masks[:, 0, 90].sum().backward()
    assert features.grad is not None
    assert float(features.grad[:, 2].abs().max()) > 0


def test_separates_songs_of_many_pieces() -> None:
    network = _small(residual=True)
    song = _noise(64 * 700 + 5)
    short = 300 * 64 / 44100
    stems = _stems(network, song, segment=short)
    assert stems.shape == (3, 2, 64 * 700 + 5)
    assert np.abs(stems.sum(axis=0) - song[0].numpy()).max() <= 1e-3
    whole = _stems(network, song, segment=60.0)
    assert np.abs(stems - whole).max() <= 0.25 * np.abs(whole).max()


@pytest.mark.parametrize("samples", [1, 129, 3000])
def test_any_length_and_silence(samples: int) -> None:
    stems = _stems(_small(), torch.zeros(1, 2, samples))
    assert stems.shape == (2, 2, samples)
    assert np.abs(stems).max() == 0.0


def test_sixteen_bits_are_close() -> None:
    network, song = _small(), _noise(20000)
    expected = _stems(network, song, phase="mixture")
    halved = _stems(network, song, phase="mixture", precision="bf16")
    assert np.abs(halved - expected).max() <= 0.05 * np.abs(expected).max()


def test_learns_saves_and_loads(tmp_path: Path) -> None:
    network = _small(activity=True).train()
    prediction = network(_noise(5000))
    assert prediction.activity is not None
    (prediction.estimates.abs().mean() + prediction.activity.square().mean()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    save(network.eval(), tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert again.config == network.config
    assert np.array_equal(_stems(again, _noise(5000)), _stems(network, _noise(5000)))


def test_heads_share_the_width() -> None:
    with pytest.raises(ModelError, match="cannot be shared among 5 heads"):
        _small(heads=5)
