"""IASS: the published counts and shapes, exact pieces, its own gate, its own statistics."""

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
from stemwise.models.iass import IASS, IASSNetwork
from stemwise.separation import Engine, Options

SOURCES = ("vocals", "bass")


def _small(**options: object) -> IASS:
    torch.manual_seed(0)
    options = {"sources": SOURCES, "features": 2, **options}
    separator = IASS(**options)  # type: ignore[arg-type]
    # an untrained network, whose maps fade from layer to layer, would hide errors at the edges
    generator = torch.Generator().manual_seed(1)
    for name, buffer in separator.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.3)
    for module in separator.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            module.weight.data *= 2.4
    return separator.eval()


def _noise(seconds: float, channels: int = 2, rate: int = 44100) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.standard_normal((channels, round(seconds * rate))) * 0.1).astype(np.float32)


def _run(
    separator: IASS, song: np.ndarray, rate: int = 44100, **options: object
) -> tuple[np.ndarray, np.ndarray]:
    options = {"precision": "fp32", "residual": False, **options}
    engine = Engine(separator, Options(device="cpu", **options))  # type: ignore[arg-type]

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, song.shape[-1], 30011):
            yield song[:, start : start + 30011]

    parts = list(engine.stream(blocks(), rate, len(song)))
    stems = np.concatenate([part.stems for part in parts], axis=-1)
    return stems, np.concatenate([part.activity for part in parts], axis=-1)


def _count(*modules: nn.Module | None) -> int:
    return sum(p.numel() for one in modules if one is not None for p in one.parameters())


@pytest.mark.parametrize("blocks", [3, 4])
def test_parameter_counts(blocks: int) -> None:
    with torch.device("meta"):
        network = IASSNetwork(blocks)
        separator = IASS(["vocals"], blocks=blocks)
        silent = IASS(["vocals"], blocks=blocks, activity=False)
    assert separator.parameter_count == {3: 3_205_682, 4: 3_408_170}[blocks]
    assert _count(network.linear) == 3_048_912
    if blocks == 3:
        assert _count(network.encoder, network.skips) == 75_984
        assert _count(network.decoder) == 66_577
        assert _count(network.activity) == 7_137
        assert silent.parameter_count == 3_205_682 - 7_137


@pytest.mark.parametrize("blocks", [3, 4])
def test_shapes_of_every_stage(blocks: int) -> None:
    network, seen = IASSNetwork(blocks).eval(), {}
    for name, module in network.named_modules():
        if name.count(".") == 1 or (isinstance(module, nn.Conv2d) and "activity" in name):
            module.register_forward_hook(
                lambda _m, _i, out, name=name: seen.update({name: tuple(out.shape[1:])})
            )
    with torch.inference_mode():
        masks, activity = network(torch.zeros(1, 1, 1487, 5))
    assert masks.shape == (1, 2049, 5)
    assert activity.shape == (1, 5)
    down = [(16, 495, 5), (32, 165, 5), (48, 55, 5), (64, 18, 5)][:blocks]
    assert [seen[f"encoder.{i}"] for i in range(blocks)] == down
    assert [seen[f"skips.{i}"] for i in range(blocks - 1)] == down[:-1]
    up = [(48, 55, 5), (32, 165, 5), (16, 495, 5), (1, 1487, 5)][-blocks:]
    assert [seen[f"decoder.{i}"] for i in range(blocks)] == up
    head = [shape for name, shape in seen.items() if name.startswith("activity.layers.")]
    if blocks == 3:
        assert head == [(32, 18, 5), (16, 6, 5), (16, 2, 5), (1, 1, 5)]
    else:
        assert head == [(48, 6, 5), (32, 2, 5), (16, 1, 5), (1, 1, 5)]


@pytest.mark.parametrize(("blocks", "gate"), [(3, "median"), (4, "off")])
def test_pieces_equal_one_pass(blocks: int, gate: str) -> None:
    separator = _small(blocks=blocks)
    song = _noise(4.7)
    whole, activity = _run(separator, song, segment=60.0, gate=gate)
    pieces, by_piece = _run(separator, song, segment=0.6, gate=gate)
    assert whole.shape == pieces.shape == (2, *song.shape)
    assert np.abs(whole - pieces).max() <= 1e-5
    assert np.abs(activity - by_piece).max() <= 1e-5


@pytest.mark.parametrize("blocks", [3, 4])
def test_context_is_the_least_that_is_needed(blocks: int) -> None:
    """In double precision a changed frame shows as far as the convolutions reach, no farther."""
    separator = _small(blocks=blocks)
    network = separator.network.members["bass"].double()
    frames, centre, reach = 61, 30, 4 * blocks
    song = torch.rand(2, 1, 1487, frames, dtype=torch.float64)
    song[1] = song[0]
    song[1, ..., centre] += 10
    with torch.inference_mode():
        masks, activity = network(song)
    changed = (masks[0] != masks[1]).any(dim=0).nonzero().flatten().tolist()
    assert changed == list(range(centre - reach, centre + reach + 1))
    heard = (activity[0] != activity[1]).nonzero().flatten().tolist()
    assert heard == list(range(centre - reach // 2, centre + reach // 2 + 1))
    # a sample lies in the frame before its hop, whose window starts 2048 samples earlier
    assert separator.grid.before == separator.grid.after == (reach + 3) * 1024


def test_too_little_context_shows() -> None:
    separator = _small()
    song = _noise(3.0, 1)
    whole, _ = _run(separator, song, segment=60.0)
    separator.grid = replace(separator.grid, before=4096, after=4096)
    pieces, _ = _run(separator, song, segment=0.6)
    assert np.abs(whole - pieces).max() > 1e-4


@pytest.mark.parametrize("mask", ["relu", "sigmoid", "none"])
def test_masks_and_silence(mask: str) -> None:
    separator = _small(mask=mask)
    stems, _ = _run(separator, _noise(0.5))
    assert np.isfinite(stems).all()
    assert np.abs(stems).max() > 0
    silence, activity = _run(separator, np.zeros((2, 30000), np.float32))
    assert np.abs(silence).max() == 0.0
    assert np.isfinite(activity).all()
    mixture = torch.from_numpy(_noise(0.3, 1)[None])
    with torch.inference_mode():
        prediction = separator(mixture)
    assert (prediction.masks is None) == (mask == "none")
    if mask == "sigmoid":
        assert 0 <= float(prediction.masks.min()) <= float(prediction.masks.max()) <= 1
    assert prediction.activity.shape[:2] == (1, 2)


def test_channels_share_the_mean_of_their_logits() -> None:
    separator = _small()
    song = _noise(0.8)
    song[1] *= 0.01
    logits = []
    for channel in song:
        padded = torch.from_numpy(np.pad(channel, (separator.grid.before, 65536)))[None, None]
        with torch.inference_mode():
            logits.append(separator(padded).activity[0, :, separator.grid.before // 1024 :])
    _, activity = _run(separator, song)
    mean = torch.sigmoid((logits[0] + logits[1]) / 2)[:, : activity.shape[1]]
    assert float((logits[0] - logits[1]).abs().max()) > 1e-4
    np.testing.assert_allclose(activity[:, :-2], mean[:, :-2].numpy(), atol=1e-5)


def _force(separator: IASS, source: str, logit: float) -> None:
    """Make the source's head give one logit in every frame."""
    member = separator.network.members[source]
    assert isinstance(member, IASSNetwork)
    assert member.activity is not None
    last = member.activity.layers[-1]
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    last.weight.data.zero_()
    last.bias.data.fill_(logit)


@pytest.mark.parametrize("gate", ["raw", "median"])
def test_gate_closes_the_stem_whose_head_says_so(gate: str) -> None:
    separator = _small()
    song = _noise(1.2)
    plain, _ = _run(separator, song)
    _force(separator, "vocals", -9.0)
    _force(separator, "bass", 9.0)
    stems, activity = _run(separator, song, gate=gate)
    assert np.abs(stems[0]).max() == 0.0
    np.testing.assert_array_equal(stems[1], plain[1])
    assert activity[0].max() < 0.5 < activity[1].min()


class _Stray(nn.Module):
    """A network whose first source falls silent in one frame."""

    def __init__(self, inner: nn.Module, frame: int) -> None:
        super().__init__()
        self.inner, self.frame = inner, frame

    def forward(self, magnitudes: torch.Tensor) -> tuple[torch.Tensor, ...]:
        masks, activity = self.inner(magnitudes)
        activity = activity.clone()
        activity[:, 0, self.frame] = -9.0
        return masks, activity


def test_median_gate_ignores_a_stray_frame_and_the_raw_one_does_not() -> None:
    separator = _small()
    _force(separator, "vocals", 9.0)
    stray = _Stray(separator.network, separator.grid.before // 1024 + 20)
    separator.network = stray  # type: ignore[assignment]
    song = _noise(1.5, 1)
    plain, _ = _run(separator, song, segment=10.0)
    raw, _ = _run(separator, song, segment=10.0, gate="raw")
    median, _ = _run(separator, song, segment=10.0, gate="median")
    centre = 20 * 1024
    assert np.abs(raw[0][:, centre]).max() == 0.0 < np.abs(plain[0][:, centre]).max()
    np.testing.assert_array_equal(median[0], plain[0])


def test_statistics_start_shift_and_scale() -> None:
    separator = _small()
    rng = np.random.default_rng(2)
    mean = torch.from_numpy(rng.uniform(1, 2, 2049))
    deviation = torch.from_numpy(rng.uniform(1, 2, 2049))
    deviation[5] = 0.0
    separator.set_statistics(mean, deviation, "bass")
    vocals, bass = separator.network.members.values()
    assert isinstance(vocals, IASSNetwork)
    assert isinstance(bass, IASSNetwork)
    assert bool((vocals.input_scale == 1).all())
    torch.testing.assert_close(bass.input_mean.data, -mean[:1487].float())
    largest = float(deviation[:1487].max())
    assert bass.input_scale[5].item() == pytest.approx(1e4 / largest, rel=1e-5)
    assert bass.input_scale[7].item() == pytest.approx(1 / float(deviation[7]), rel=1e-5)
    assert bass.input_scale.requires_grad
    assert bass.output_mean.requires_grad
    separator.set_statistics(mean[:1487], deviation[:1487])
    torch.testing.assert_close(vocals.input_scale, bass.input_scale)
    with pytest.raises(ModelError, match="1487 or 2049 bins"):
        separator.set_statistics(mean[:100], deviation[:100])
    with pytest.raises(ModelError, match="no source 'piano'"):
        separator.set_statistics(mean, deviation, "piano")
    with pytest.raises(ModelError, match="silent or not finite"):
        separator.set_statistics(mean, torch.zeros(2049))


def test_backward_reaches_every_parameter() -> None:
    separator = _small().train()
    prediction = separator(torch.from_numpy(_noise(0.4, 1)[None]).repeat(2, 1, 1))
    loss = prediction.estimates.abs().square().mean() + prediction.activity.square().mean()
    loss.backward()
    missing = [name for name, p in separator.named_parameters() if p.grad is None]
    assert missing == []


def test_save_load_and_combine(tmp_path: Path) -> None:
    both = _small()
    path = tmp_path / "iass.safetensors"
    models.save(both, path)
    loaded = models.load(path)
    song = _noise(0.4, 1)
    expected, _ = _run(both, song)
    np.testing.assert_array_equal(_run(loaded, song)[0], expected)  # type: ignore[arg-type]
    singles = []
    for source in SOURCES:
        single = IASS([source], features=2).eval()
        single.network.members[source] = both.network.members[source]
        singles.append(single)
    combined = combine(singles)
    assert combined.sources == combined.activity_sources == SOURCES
    np.testing.assert_array_equal(_run(combined, song)[0], expected)  # type: ignore[arg-type]


def test_bfloat16_is_close() -> None:
    separator = _small()
    song = _noise(0.5)
    full, _ = _run(separator, song)
    half, _ = _run(separator, song, precision="bf16")
    assert np.abs(full - half).max() < 0.05 * np.abs(full).max()


def test_without_head() -> None:
    separator = _small(activity=False)
    assert separator.activity_sources == ()
    assert separator(torch.zeros(1, 1, 5000)).activity is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"blocks": 5}, "3 or 4 blocks"),
        ({"mask": "soft"}, "mask of 'iass'"),
        ({"features": 3}, "even number"),
        ({"sources": ["bass", "bass"]}, "different names"),
    ],
)
def test_bad_options(options: dict[str, object], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        models.build("iass", **options)  # type: ignore[arg-type]
