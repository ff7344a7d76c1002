"""The conditioned U-Net: counts, conditions, feature-wise modulation, whole songs, saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stemwise.errors import ModelError
from stemwise.models import build, load, save
from stemwise.models.chunks import CHUNK, WarpedPrediction
from stemwise.models.conditioned_unet import ConditionedUNet, Control
from stemwise.separation import Engine, Options

SMALL: dict[str, Any] = {"features": [4, 6, 8], "control": [8, 16, 24]}
SOURCES = ["vocals", "drums", "bass"]


def _small(**options: Any) -> ConditionedUNet:
    """A small network with batch statistics as after training, which edges would show."""
    torch.manual_seed(0)
    network = build("conditioned-unet", **{"sources": SOURCES, **SMALL, **options})
    assert isinstance(network, ConditionedUNet)
    generator = torch.Generator().manual_seed(1)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.3)
    network.network.unet.output.bias.data.fill_(0.3)  # masks above zero
    return network.eval()


def _song(seconds: float, channels: int = 1) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.standard_normal((channels, round(seconds * 10880))) * 0.1).astype(np.float32)


def _batch(chunks: int, batch: int = 1) -> torch.Tensor:
    return torch.from_numpy(_song(6.0 * chunks, batch))[:, None]


def _separate(
    network: ConditionedUNet, song: np.ndarray, **options: Any
) -> tuple[np.ndarray, np.ndarray]:
    settings: dict[str, Any] = {
        "precision": "fp32",
        "device": "cpu",
        "residual": False,
        **options,
    }
    engine = Engine(network, Options(**settings))
    parts = (song[:, i : i + 40001] for i in range(0, song.shape[1], 40001))
    blocks = list(engine.stream(parts, 10880, len(song)))
    stems = np.concatenate([block.stems for block in blocks], axis=-1)
    return stems, np.concatenate([block.activity for block in blocks], axis=-1)


def test_parameter_counts() -> None:
    with torch.device("meta"):
        network = build("conditioned-unet")
    assert isinstance(network, ConditionedUNet)
    assert network.parameter_count == 162_004_129
    assert sum(p.numel() for p in network.network.unet.parameters()) == 124_448_673
    layers = [m for m in network.network.shift if isinstance(m, torch.nn.Linear)]
    assert [(m.in_features, m.out_features) for m in layers] == [
        (4, 32),
        (32, 512),
        (512, 4096),
        (4096, 4064),
    ]


def test_shapes_of_every_stage() -> None:
    """Every condition has its own maps from the first block's modulation on."""
    seen: dict[str, tuple[int, ...]] = {}
    with torch.device("meta"):
        network = build("conditioned-unet").eval().network
        for name, module in network.named_modules():
            if name.endswith(("second_norm", "shift", "scale")) or ".rise." in name:
                module.register_forward_hook(
                    lambda _m, _i, out, name=name: seen.update({name: tuple(out.shape)})
                )
        (maps,) = network(torch.zeros(2, 1, 256, 256), torch.eye(4))
    assert maps.shape == (2, 4, 256, 256)
    widths = [32, 64, 128, 256, 512, 1024]
    expected: dict[str, tuple[int, ...]] = {"shift": (4, 4064), "scale": (4, 4064)}
    for i, width in enumerate(widths):
        # nothing before it depends on the condition: the first block runs once per chunk
        batch = 8 if i else 2
        expected[f"unet.down.{i}.second_norm"] = (batch, width, 256 >> i, 256 >> i)
    expected["unet.transition.second_norm"] = (8, 2048, 4, 4)
    for i, width in enumerate(reversed(widths)):
        expected[f"unet.rise.{i}"] = expected[f"unet.up.{i}.second_norm"] = (
            8,
            width,
            8 << i,
            8 << i,
        )
    assert seen == expected


def test_modulation_adds_the_shift_and_multiplies_by_the_scale() -> None:
    """Shift 0 and scale 1 for every condition leave the plain U-Net."""
    network = _small().network
    magnitudes = torch.randn(2, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        (plain,) = network.unet(magnitudes)
        for control, value in ((network.shift, 0.0), (network.scale, 1.0)):
            assert isinstance(control, Control)
            control[-2].weight.zero_()
            control[-2].bias.fill_(value)
        (maps,) = network(magnitudes, torch.eye(3))
        for index in range(3):
            torch.testing.assert_close(maps[:, [index]], plain, rtol=0, atol=1e-5)
        network.scale[-2].bias.fill_(0.0)
        network.shift[-2].bias.fill_(0.7)
        (maps,) = network(magnitudes, torch.eye(3))
    # scale 0: the song no longer matters
    torch.testing.assert_close(maps[0], maps[1])


def test_control_is_never_negative() -> None:
    torch.manual_seed(0)
    control = Control(4, (8, 16, 24), 30, 0.1).eval()
    values = control(torch.randn(20, 4))
    assert values.shape == (20, 30)
    assert float(values.detach().min()) == 0
    assert float(values.detach().max()) > 0


def test_one_batch_of_conditions_equals_one_by_one() -> None:
    network, mixture = _small(activity=True), _batch(2, 2)
    with torch.inference_mode():
        together = network(mixture)
        assert isinstance(together, WarpedPrediction)
        assert together.warped.shape == (2, 3, 1, 256, 512)
        assert together.activity is not None
        assert together.activity.shape == (2, 3, 2 * 255)
        for index in range(3):
            with network.condition(torch.eye(3)[[index]]):
                alone = network(mixture)
            assert isinstance(alone, WarpedPrediction)
            torch.testing.assert_close(alone.warped, together.warped[:, [index]], rtol=0, atol=1e-5)
    assert float((together.warped[:, 0] - together.warped[:, 1]).abs().max()) > 1e-3


def test_published_conditions_add_the_sum_and_silence() -> None:
    network = _small(conditions="published")
    vectors = network.training_conditions
    assert vectors.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0]]
    assert _small().training_conditions.tolist() == torch.eye(3).tolist()
    stems = torch.randn(2, 3, 1, CHUNK, generator=torch.Generator().manual_seed(0))
    wanted = network.wanted(network.represent(stems), vectors)
    assert wanted.shape == (2, 5, 1, 512, 256)
    torch.testing.assert_close(wanted[:, :3], network.represent(stems))
    torch.testing.assert_close(wanted[:, 3], network.represent(stems.sum(dim=1)), rtol=0, atol=1e-3)
    assert float(wanted[:, 4].abs().max()) == 0
    with torch.inference_mode(), network.condition(vectors):
        assert network(_batch(1)).estimates.shape == (1, 5, 1, 512, 256)
    # afterwards, and outside training, only the sources are asked for
    with torch.inference_mode():
        assert network(_batch(1)).estimates.shape == (1, 3, 1, 512, 256)


def test_conditions_are_taken_back_after_an_error() -> None:
    network = _small()
    with pytest.raises(ValueError, match="whole chunks"), network.condition(torch.ones(1, 3)):
        network(torch.zeros(1, 1, 100))
    assert network.vectors.tolist() == torch.eye(3).tolist()


@pytest.mark.parametrize("vectors", [torch.eye(4), torch.ones(3), torch.zeros(0, 3)])
def test_wrong_conditions(vectors: torch.Tensor) -> None:
    with pytest.raises(ModelError, match="rows of 3 numbers"), _small().condition(vectors):
        pass


@pytest.mark.parametrize("conditions", ["one-hot", "published"])
def test_learns(conditions: str) -> None:
    network = _small(conditions=conditions, activity=True).train()
    vectors = network.training_conditions
    mixture = _batch(1, 2)
    with network.condition(vectors):
        prediction = network(mixture)
    assert isinstance(prediction, WarpedPrediction)
    assert prediction.warped.shape[1] == len(vectors)
    assert prediction.activity is not None
    loss = prediction.warped_estimates.square().mean() + prediction.activity.square().mean()
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name


def test_pieces_equal_one_pass() -> None:
    network, song = _small(activity=True), _song(15.3, channels=2)
    whole, activity = _separate(network, song, segment=60.0)
    pieces, parts = _separate(network, song, segment=6.0)
    assert whole.shape == pieces.shape == (3, *song.shape)
    assert np.abs(whole).max() > 1e-3
    assert np.abs(whole - pieces).max() <= 1e-5
    assert activity.shape == parts.shape == (3, -(-song.shape[1] // 256))
    assert np.abs(activity - parts).max() <= 1e-4


@pytest.mark.parametrize("mask", ["relu", "none"])
def test_silence_in_silence_out(mask: str) -> None:
    stems, _ = _separate(_small(mask=mask), np.zeros((1, 70000), np.float32))
    assert np.abs(stems).max() == 0.0


def test_sixteen_bits() -> None:
    network, song = _small(), _song(4.0)
    expected, _ = _separate(network, song)
    stems, _ = _separate(network, song, precision="bf16")
    assert np.square(stems - expected).sum() < 0.01 * np.square(expected).sum()


def test_saved_and_loaded(tmp_path: Path) -> None:
    network = _small(conditions="published")
    save(network, tmp_path / "net.safetensors")
    again = load(tmp_path / "net.safetensors")
    assert isinstance(again, ConditionedUNet)
    assert again.config == network.config
    song = _song(2.0)
    assert np.array_equal(_separate(network, song)[0], _separate(again, song)[0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"conditions": "all"}, "one-hot, published"),
        ({"control": [8, 16]}, "3 widths"),
        ({"features": [8]}, "2 to 9 widths"),
        ({"mask": "softmax"}, "mask"),
        ({"sources": []}, "different names"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        build("conditioned-unet", **{**SMALL, **options})
