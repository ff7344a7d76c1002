"""The shared encoder: published counts and shapes, exact pieces, decoders added and joined."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from stemwise import models
from stemwise.errors import ModelError
from stemwise.models.bank import combine
from stemwise.models.shared_encoder import SharedEncoder, join
from stemwise.separation import Engine, Options

SOURCES = ("vocals", "drums")
BLOCK = 32 * 512


def _small(**options: object) -> SharedEncoder:
    torch.manual_seed(0)
    options = {"sources": SOURCES, "features": 2, **options}
    separator = SharedEncoder(**options)  # type: ignore[arg-type]
    # an untrained network, whose maps fade from layer to layer, would hide errors at the edges
    generator = torch.Generator().manual_seed(1)
    for name, buffer in separator.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.3)
    for module in separator.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d)):
            module.weight.data *= 2.0
    return separator.eval()


def _noise(seconds: float, channels: int = 2) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.standard_normal((channels, round(seconds * 44100))) * 0.1).astype(np.float32)


def _run(
    separator: SharedEncoder, song: np.ndarray, **options: object
) -> tuple[np.ndarray, np.ndarray]:
    options = {"precision": "fp32", "residual": False, **options}
    engine = Engine(separator, Options(device="cpu", **options))  # type: ignore[arg-type]

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, song.shape[-1], 30011):
            yield song[:, start : start + 30011]

    parts = list(engine.stream(blocks(), 44100, len(song)))
    stems = np.concatenate([part.stems for part in parts], axis=-1)
    return stems, np.concatenate([part.activity for part in parts], axis=-1)


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts() -> None:
    with torch.device("meta"):
        plain, plus, single = SharedEncoder(), SharedEncoder(plus=True), SharedEncoder(["bass"])
    assert _count(plain.network.encoder) == 1_490_064
    assert _count(plain.network.decoders["vocals"]) == 496_978
    assert plain.parameter_count == 3_477_976
    assert 4 * single.parameter_count == 7_948_168
    assert _count(plus.network.encoder) == 1_518_560
    assert _count(plus.network.decoders["other"]) == 500_818


def test_shapes_of_the_published_table() -> None:
    network = SharedEncoder(["bass"]).network.eval()
    seen: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda _m, given, out, name=name: seen.append(
                    (name.split(".")[0], tuple(given[0].shape[1:]), tuple(out.shape[1:]))
                )
            )
    with torch.inference_mode():
        (maps,) = network(torch.zeros(1, 2, 128, 1025))
    assert maps.shape == (1, 1, 2, 128, 1025)
    assert [out for side, _, out in seen if side == "encoder"] == [
        (16, 128, 1024),
        (16, 64, 512),
        (16, 64, 512),
        (32, 32, 256),
        (32, 32, 256),
        (64, 16, 128),
        (64, 16, 128),
        (128, 8, 64),
        (128, 8, 64),
        (256, 4, 32),
        (256, 4, 32),
    ]
    # what goes in is interpolated and, from the second on, concatenated
    assert [(given, out) for side, given, out in seen if side == "decoders"] == [
        ((256, 8, 64), (128, 8, 64)),
        ((256, 16, 128), (64, 16, 128)),
        ((128, 32, 256), (32, 32, 256)),
        ((64, 64, 512), (16, 64, 512)),
        ((32, 128, 1024), (16, 128, 1024)),
        ((32, 128, 1024), (16, 128, 1025)),
        ((16, 128, 1025), (2, 128, 1025)),
    ]


def test_encoder_runs_once_for_all_decoders() -> None:
    separator = _small(sources=["vocals", "drums", "bass", "other"])
    runs = 0

    def count(*_: object) -> None:
        nonlocal runs
        runs += 1

    separator.network.encoder.register_forward_hook(count)
    with torch.inference_mode():
        prediction = separator(torch.zeros(1, 2, BLOCK))
    assert prediction.estimates.shape == (1, 4, 2, 1025, 33)
    assert runs == 1


@pytest.mark.parametrize("activity", [False, True])
def test_context_is_the_least_that_is_needed(activity: bool) -> None:
    """The gradient of a block's frames, in double precision, shows what they depend on."""
    separator = _small(sources=["bass"], activity=activity, features=1)
    network = separator.network.double()
    start, frames = 7 * 32, 14 * 32
    song = torch.rand(1, 2, frames, 1025, dtype=torch.float64, requires_grad=True)
    maps, *heads = network(song)
    # two more frames at each end overlap the block's samples, the outermost in one sample only
    needed = maps[..., start - 1 : start + 34, :]
    total = (needed * torch.rand(needed.shape, dtype=torch.float64)).sum()
    for head in heads:
        total = total + head[..., start : start + 32].sum()
    total.backward()
    assert song.grad is not None
    seen = song.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    # frames nearer than 2 to an end of the input lack samples
    before, after = start - int(seen[0]) + 2, int(seen[-1]) - (start + 32) + 2
    assert separator.grid.before == -(-before // 32) * BLOCK
    assert separator.grid.after == -(-after // 32) * BLOCK


@pytest.mark.parametrize(
    "options",
    [{}, {"activity": True, "plus": True, "gate": "median"}, {"mask": "sigmoid"}],
)
def test_pieces_equal_one_pass(options: dict[str, object]) -> None:
    gate = options.pop("gate", "off")
    separator = _small(**options)
    song = _noise(5.3)
    whole, activity = _run(separator, song, segment=60.0, gate=gate)
    pieces, by_piece = _run(separator, song, segment=1.2, gate=gate)
    assert whole.shape == pieces.shape == (2, *song.shape)
    assert np.abs(whole - pieces).max() <= 1e-5 * max(1.0, float(np.abs(whole).max()))
    assert activity.shape == by_piece.shape
    if activity.size:
        assert np.abs(activity - by_piece).max() <= 1e-5


def test_too_little_context_shows() -> None:
    separator = _small()
    song = _noise(5.0)
    whole, _ = _run(separator, song, segment=60.0)
    separator.grid = replace(separator.grid, before=BLOCK, after=BLOCK)
    pieces, _ = _run(separator, song, segment=0.8)
    assert np.abs(whole - pieces).max() > 1e-4


@pytest.mark.parametrize("mask", ["none", "relu", "sigmoid"])
def test_masks_and_silence(mask: str) -> None:
    separator = _small(mask=mask, activity=True)
    stems, _ = _run(separator, _noise(0.7, 1))
    assert stems.shape == (2, 1, round(0.7 * 44100))
    assert np.isfinite(stems).all()
    assert np.abs(stems).max() > 0
    silence, activity = _run(separator, np.zeros((2, 30000), np.float32))
    assert np.abs(silence).max() == 0.0
    assert np.isfinite(activity).all()
    with torch.inference_mode():
        prediction = separator(torch.from_numpy(_noise(1.0)[None, :, :BLOCK]))
    assert (prediction.masks is None) == (mask == "none")
    if mask == "none":
        assert not prediction.estimates.is_complex()
        assert float(prediction.estimates.min()) >= 0
    assert prediction.activity.shape == (1, 2, 33)
    torch.testing.assert_close(prediction.activity[..., -1], prediction.activity[..., -2])


def test_input_is_divided_and_output_is_not(tmp_path: Path) -> None:
    separator = _small()
    deviation = torch.linspace(0.5, 3.0, 1025)
    deviation[9] = 0.0
    spectrum = torch.rand(1, 2, 32, 1025)
    spectrum[..., 9] = 1e-4
    with torch.inference_mode():
        expected = separator.network(spectrum / deviation.clamp_min(3e-4))[0]
        separator.set_statistics(torch.zeros(1025), deviation)
        torch.testing.assert_close(separator.network(spectrum)[0], expected)
    path = tmp_path / "scaled.safetensors"
    models.save(separator, path)
    loaded = models.load(path)
    assert isinstance(loaded, SharedEncoder)
    assert torch.equal(loaded.network.input_scale, separator.network.input_scale)
    with pytest.raises(ModelError, match="1025 bins"):
        separator.set_statistics(deviation[:100], deviation[:100])
    with pytest.raises(ModelError, match="silent or not finite"):
        separator.set_statistics(deviation, torch.full((1025,), float("nan")))


def test_decoders_are_added_to_a_trained_encoder(tmp_path: Path) -> None:
    trained = _small()
    trained.set_statistics(torch.zeros(1025), torch.linspace(0.5, 3.0, 1025))
    grown = trained.with_sources(["guitar", "vocals"])
    assert grown.sources == ("guitar", "vocals")
    assert grown.config == {**trained.config, "sources": ["guitar", "vocals"]}
    assert not grown.training
    assert grown.network.encoder is trained.network.encoder
    song = _noise(0.5)
    before, _ = _run(trained, song)
    after, _ = _run(grown, song)
    np.testing.assert_array_equal(after[1], before[0])
    assert np.abs(after[0] - before[0]).max() > 0
    path = tmp_path / "grown.safetensors"
    models.save(grown, path)
    loaded = models.load(path)
    np.testing.assert_array_equal(_run(loaded, song)[0], after)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="different names"):
        trained.with_sources(["guitar", "vocals", "guitar"])


def test_decoders_of_one_encoder_are_joined() -> None:
    trained = _small()
    guitar, piano = trained.with_sources(["guitar"]), trained.with_sources(["piano"])
    both = join([trained, guitar, piano])
    assert both.sources == (*SOURCES, "guitar", "piano")
    assert both.network.decoders["piano"] is piano.network.decoders["piano"]
    song = _noise(0.5)
    stems, _ = _run(both, song)
    np.testing.assert_array_equal(stems[:2], _run(trained, song)[0])
    np.testing.assert_array_equal(stems[3], _run(piano, song)[0][0])


def test_joining_refuses_what_does_not_fit() -> None:
    trained = _small()
    with pytest.raises(ModelError, match="different names"):
        join([trained, trained.with_sources(SOURCES)])
    torch.manual_seed(5)
    stranger = SharedEncoder(["piano"], features=2)
    with pytest.raises(ModelError, match=r"piano .*another encoder \(encoder\.first"):
        join([trained, stranger])
    with pytest.raises(ModelError, match="differ in 'plus'"):
        join([trained, SharedEncoder(["piano"], plus=True, features=2)])
    scaled = SharedEncoder(["piano"], features=2)
    scaled.network.encoder = trained.network.encoder
    scaled.set_statistics(torch.ones(1025), torch.full((1025,), 2.0))
    with pytest.raises(ModelError, match="input_scale"):
        join([trained, scaled])
    with pytest.raises(ModelError, match="nothing to join"):
        join([])
    with pytest.raises(ModelError, match="computes all its sources at once"):
        combine([trained])


def test_backward_reaches_every_parameter() -> None:
    separator = _small(activity=True).train()
    prediction = separator(torch.from_numpy(_noise(2.0)[:, : 2 * BLOCK]).repeat(2, 1, 1))
    (prediction.estimates.mean() + prediction.activity.square().mean()).backward()
    assert [name for name, p in separator.named_parameters() if p.grad is None] == []


def test_decoder_alone_leaves_the_others_without_gradient() -> None:
    separator = _small().train()
    separator(torch.rand(2, 2, BLOCK)).estimates[:, 1].mean().backward()
    vocals, drums = separator.network.decoders.values()
    assert all(p.grad is None or not p.grad.any() for p in vocals.parameters())
    assert any(bool(p.grad.any()) for p in drums.parameters() if p.grad is not None)


def test_bfloat16_is_close() -> None:
    separator = _small()
    song = _noise(0.5)
    full, _ = _run(separator, song)
    half, _ = _run(separator, song, precision="bf16")
    assert np.abs(full - half).max() < 0.1 * np.abs(full).max()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mask": "soft"}, "mask of 'shared-encoder'"),
        ({"features": 0}, "start at 1"),
        ({"sources": []}, "different names"),
        ({"sources": ["bass", "bass"]}, "different names"),
    ],
)
def test_bad_options(options: dict[str, object], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        models.build("shared-encoder", **options)  # type: ignore[arg-type]


def test_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="input_length"):
        _small()(torch.zeros(1, 2, BLOCK + 512))
