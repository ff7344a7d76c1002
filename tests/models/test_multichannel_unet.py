"""Multi-channel and dedicated U-Nets: counts, shapes, chunks, whole songs, saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stemwise import spectral
from stemwise.errors import ModelError
from stemwise.models import build, load, save
from stemwise.models.bank import Bank, combine
from stemwise.models.chunks import CHUNK, EPSILON, WarpedPrediction
from stemwise.models.multichannel_unet import MultichannelUNet, UNet
from stemwise.separation import Engine, Options

SMALL: dict[str, Any] = {"features": [4, 6, 8, 10]}
VARIANTS: list[dict[str, Any]] = [
    {},
    {"dedicated": True, "activity": True},
    {"mask": "sigmoid", "activity": True},
    {"mask": "none"},
]


def _small(**options: Any) -> MultichannelUNet:
    """A small network with batch statistics as after training, which edges would show."""
    torch.manual_seed(0)
    network = build("multichannel-unet", ["vocals", "drums"], **{**SMALL, **options})
    assert isinstance(network, MultichannelUNet)
    generator = torch.Generator().manual_seed(1)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.3)
    for name, parameter in network.named_parameters():
        if name.endswith("output.bias"):
            parameter.data.fill_(0.3)  # masks above zero
    return network.eval()


def _song(seconds: float, channels: int = 1, rate: int = 10880) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.standard_normal((channels, round(seconds * rate))) * 0.1).astype(np.float32)


def _separate(
    network: MultichannelUNet, song: np.ndarray, rate: int = 10880, **options: Any
) -> tuple[np.ndarray, np.ndarray]:
    settings: dict[str, Any] = {"precision": "fp32", "device": "cpu", **options}
    engine = Engine(network, Options(**settings))
    parts = (song[:, i : i + 40001] for i in range(0, song.shape[1], 40001))
    blocks = list(engine.stream(parts, rate, len(song)))
    stems = np.concatenate([block.stems for block in blocks], axis=-1)
    return stems, np.concatenate([block.activity for block in blocks], axis=-1)


@pytest.mark.parametrize(
    ("sources", "count"), [(1, 124_448_673), (2, 124_448_706), (4, 124_448_772)]
)
def test_parameter_counts(sources: int, count: int) -> None:
    names = [f"source {index}" for index in range(sources)]
    with torch.device("meta"):
        assert build("multichannel-unet", names).parameter_count == count
        dedicated = build("multichannel-unet", names, dedicated=True)
    assert dedicated.parameter_count == sources * 124_448_673


def test_shapes_of_every_stage() -> None:
    """Figure 1 of the U-Net with the widths of section IV-B, on chunks of 256 x 256."""
    seen: dict[str, tuple[int, ...]] = {}
    with torch.device("meta"):
        network = build("multichannel-unet")
        unet = network.network
        assert isinstance(unet, UNet)
        for name, module in unet.named_modules():
            if name.count(".") == 1 and name.split(".")[0] in ("down", "rise", "up"):
                module.register_forward_hook(
                    lambda _m, _i, out, name=name: seen.update({name: tuple(out.shape)})
                )
        unet.transition.register_forward_hook(
            lambda _m, _i, out: seen.update(transition=tuple(out.shape))
        )
        (maps,) = unet(torch.zeros(2, 1, 256, 256))
    assert maps.shape == (2, 4, 256, 256)
    widths = [32, 64, 128, 256, 512, 1024]
    expected = {f"down.{i}": (2, w, 256 >> i, 256 >> i) for i, w in enumerate(widths)}
    expected["transition"] = (2, 2048, 4, 4)
    for i, width in enumerate(reversed(widths)):
        expected[f"rise.{i}"] = expected[f"up.{i}"] = (2, width, 8 << i, 8 << i)
    assert seen == expected


def test_xavier_initialisation() -> None:
    torch.manual_seed(0)
    network = build("multichannel-unet", features=[16, 32, 64]).network
    for layer in network.modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            area = layer.kernel_size[0] * layer.kernel_size[1]
            bound = (6 / (area * (layer.in_channels + layer.out_channels))) ** 0.5
            assert 0.85 * bound < float(layer.weight.detach().abs().max()) <= bound
            assert layer.bias is not None
            assert float(layer.bias.detach().abs().max()) == 0


def test_dropout_takes_whole_channels_of_the_up_blocks() -> None:
    torch.manual_seed(0)
    network = build("multichannel-unet", features=[32, 64], dropout=0.5).train()
    unet = network.network
    assert isinstance(unet, UNet)
    assert not any(isinstance(m, torch.nn.Dropout2d) for m in unet.down.modules())
    with torch.no_grad():
        kept = unet.up[0](torch.randn(1, 64, 8, 8)).abs().amax(dim=(0, 2, 3)) > 0
        levels = unet.up[0](torch.randn(1, 64, 8, 8))[0].flatten(1)
    assert 4 <= int(kept.sum()) <= 28
    for channel in levels:  # a channel is out as a whole or not at all
        assert bool((channel == 0).all()) or bool((channel != 0).all())


def test_what_the_network_sees() -> None:
    """Log magnitudes of each chunk's own transform, at the bins that the warp asks for."""
    network = _small()
    mixture = torch.from_numpy(_song(12.0))[None]
    (seen,) = network.features(network.spectrum(mixture))
    assert seen.shape == (2, 1, 256, 256)
    second = spectral.stft(mixture[0, :, CHUNK:], network.window, 256, "reflect").abs()
    assert second.shape == (1, 512, 256)
    torch.testing.assert_close(
        seen[1, :, [0, -1]], (second[:, [0, -1]] + EPSILON).log(), rtol=1e-4, atol=1e-4
    )
    assert bool(torch.isfinite(network.features(network.spectrum(mixture * 0))[0]).all())


@pytest.mark.parametrize("options", VARIANTS)
def test_prediction_of_chunks(options: dict[str, Any]) -> None:
    network = _small(**options)
    mixture = torch.from_numpy(_song(18.0, 2))[:, None]
    with torch.inference_mode():
        prediction = network(mixture)
        stems = network.reconstruct(prediction)
        part = network.reconstruct(prediction, CHUNK - 256, CHUNK + 700)
        single = network.reconstruct(network(mixture[1:, :, CHUNK : 2 * CHUNK]))
        back = network.waveform(network.represent(mixture[:, None]), 3 * CHUNK)
    assert isinstance(prediction, WarpedPrediction)
    assert prediction.mixture.shape == (2, 1, 512, 768)
    assert prediction.estimates.shape == (2, 2, 1, 512, 768)
    assert prediction.warped.shape == prediction.warped_estimates.shape == (2, 2, 1, 256, 768)
    assert float(prediction.warped.min()) >= 0
    assert float(prediction.warped.max()) > 0
    assert prediction.warped_mixture.shape == (2, 1, 256, 768)
    assert stems.shape == (2, 2, 1, 3 * CHUNK)
    torch.testing.assert_close(part, stems[..., CHUNK - 256 : CHUNK + 700])
    torch.testing.assert_close(single, stems[1:, :, :, CHUNK : 2 * CHUNK], rtol=0, atol=1e-5)
    torch.testing.assert_close(back, mixture[:, None], rtol=0, atol=1e-5)
    if options.get("mask") == "none":
        assert prediction.masks is None
    else:
        assert prediction.masks is not None
        assert prediction.masks.shape == (2, 2, 1, 512, 768)
        expected = prediction.warped * prediction.warped_mixture.unsqueeze(1)
        torch.testing.assert_close(prediction.warped_estimates, expected)
    if options.get("activity"):
        assert network.activity_sources == ("vocals", "drums")
        assert prediction.activity is not None
        assert prediction.activity.shape == (2, 2, 3 * 255)
    else:
        assert prediction.activity is None


@pytest.mark.parametrize("options", VARIANTS)
def test_pieces_equal_one_pass(options: dict[str, Any]) -> None:
    network = _small(**options)
    song = _song(15.3, channels=2)
    whole, activity = _separate(network, song, segment=60.0, residual=False)
    pieces, parts = _separate(network, song, segment=6.0, residual=False)
    assert whole.shape == pieces.shape == (2, *song.shape)
    assert np.abs(whole).max() > 1e-3
    assert np.abs(whole - pieces).max() <= 1e-5
    assert activity.shape == parts.shape
    if options.get("activity"):
        assert activity.shape == (2, -(-song.shape[1] // 256))
        assert np.abs(activity - parts).max() <= 1e-4


def test_every_source_has_its_own_estimate() -> None:
    for dedicated in (False, True):
        stems, _ = _separate(_small(dedicated=dedicated), _song(3.0), residual=False)
        assert np.abs(stems[0] - stems[1]).max() > 1e-3


def test_other_rates_channels_and_lengths() -> None:
    network = _small(activity=True)
    for rate, channels, samples in ((44100, 2, 61234), (8000, 3, 1), (48000, 1, 4096)):
        song = _song(2.0, channels, rate)[:, :samples]
        stems, _ = _separate(network, song, rate)
        assert stems.shape == (2, *song.shape)
        assert np.abs(stems.sum(axis=0) - song).max() <= 1e-5


@pytest.mark.parametrize("options", VARIANTS)
def test_silence_in_silence_out(options: dict[str, Any]) -> None:
    network = _small(**options)
    stems, _ = _separate(network, np.zeros((1, 70000), np.float32), residual=False)
    assert np.abs(stems).max() == 0.0


@pytest.mark.parametrize("phase", ["wiener", "griffin-lim"])
def test_phase_refinement(phase: str) -> None:
    song = _song(9.0)
    network = _small()
    plain, _ = _separate(network, song, residual=False)
    refined, _ = _separate(network, song, residual=False, phase=phase)
    assert refined.shape == plain.shape
    assert np.isfinite(refined).all()
    assert np.abs(refined - plain).max() > 1e-4


def test_sixteen_bits() -> None:
    network, song = _small(activity=True), _song(4.0)
    expected, _ = _separate(network, song, residual=False)
    stems, _ = _separate(network, song, residual=False, precision="bf16")
    assert np.isfinite(stems).all()
    assert np.square(stems - expected).sum() < 0.01 * np.square(expected).sum()


@pytest.mark.parametrize("options", VARIANTS)
def test_learns(options: dict[str, Any]) -> None:
    network = _small(**options).train()
    prediction = network(torch.from_numpy(_song(12.0, 2))[:, None])
    assert isinstance(prediction, WarpedPrediction)
    loss = prediction.warped_estimates.square().mean() + prediction.estimates.abs().mean()
    if prediction.activity is not None:
        loss = loss + prediction.activity.square().mean()
    loss.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name


def test_the_same_seed_builds_the_same_network() -> None:
    one, two = _small(), _small()
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("options", VARIANTS)
def test_saved_and_loaded(tmp_path: Path, options: dict[str, Any]) -> None:
    network = _small(**options)
    save(network, tmp_path / "net.safetensors")
    again = load(tmp_path / "net.safetensors")
    assert again.config == network.config
    song = _song(2.0)
    assert np.array_equal(_separate(network, song)[0], _separate(again, song)[0])  # type: ignore[arg-type]


def test_dedicated_networks_combine() -> None:
    torch.manual_seed(0)
    singles = [
        build("multichannel-unet", [name], dedicated=True, **SMALL).eval()
        for name in ("vocals", "drums", "bass")
    ]
    joined = combine(singles)
    assert isinstance(joined.network, Bank)
    assert joined.sources == ("vocals", "drums", "bass")
    mixture = torch.from_numpy(_song(6.0))[None]
    with torch.inference_mode():
        together = joined(mixture).estimates
        for index, single in enumerate(singles):
            torch.testing.assert_close(together[:, [index]], single(mixture).estimates)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"features": [8]}, "2 to 9 widths"),
        ({"features": [2] * 10}, "2 to 9 widths"),
        ({"features": [8, 0]}, "from 1 up"),
        ({"dropout": 1.0}, "dropout"),
        ({"mask": "softmax"}, "mask"),
        ({"sources": ["a", "a"]}, "different names"),
        ({"sources": []}, "different names"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        build("multichannel-unet", **{**SMALL, **options})


def test_deepest_network_builds() -> None:
    network = build("multichannel-unet", ["vocals"], features=[2] * 9).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 1, CHUNK)).estimates.shape == (1, 1, 1, 512, 256)


def test_parts_of_chunks_are_refused() -> None:
    network = _small()
    assert network.grid.input_length(CHUNK + 1) == 2 * CHUNK
    with pytest.raises(ValueError, match="whole chunks"):
        network(torch.zeros(1, 1, CHUNK + 256))
