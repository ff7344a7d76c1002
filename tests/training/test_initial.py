"""The network that a run starts with: new, trained, under a trained encoder, frozen in part."""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from small_networks import SMALL, small
from stemwise import models
from stemwise.errors import ModelError, RecipeError
from stemwise.models.band_unet import BandNetwork
from stemwise.models.separator import Separator
from stemwise.models.shared_encoder import SharedEncoder
from stemwise.models.unmix import UnmixBank
from stemwise.training.initial import build_separator, freeze
from stemwise.training.recipe import parse_recipe
from stemwise.training.sections import Recipe


def recipe(**separator: Any) -> Recipe:
    return parse_recipe({"name": "x", "steps": 1, "batch": 1, "separator": separator})


def checkpoint(
    folder: Path, name: str = "shared-encoder", **options: Any
) -> tuple[Separator, Path]:
    separator = small(name, sources=["vocals", "drums"], **options)
    if isinstance(separator, SharedEncoder):
        separator.shared.input_scale.uniform_(0.5, 2.0, generator=torch.Generator().manual_seed(3))
    models.save(separator, folder / "model.safetensors")
    return separator, folder / "model.safetensors"


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_a_new_network() -> None:
    built = build_separator(
        recipe(name="open-unmix", sources=["vocals"], config=SMALL["open-unmix"])
    )
    assert (built.kind, built.sources) == ("open-unmix", ("vocals",))
    assert built.training


def test_a_trained_network_as_it_is(tmp_path: Path) -> None:
    trained, path = checkpoint(tmp_path)
    built = build_separator(
        recipe(name="shared-encoder", initial=str(path), sources=["vocals", "drums"])
    )
    assert same(built, trained)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"name": "iass"}, "has name shared-encoder, but the recipe's separator.name is iass"),
        ({"sources": ["piano"]}, "has sources vocals, drums, but the recipe's separator.sources"),
        ({"config": {"plus": True}}, r"has config.plus False, but the recipe's separator.config"),
    ],
)
def test_the_recipe_must_describe_the_initial_network(
    tmp_path: Path, section: dict[str, Any], message: str
) -> None:
    _, path = checkpoint(tmp_path)
    with pytest.raises(RecipeError, match=message):
        build_separator(recipe(**{"name": "shared-encoder", "initial": str(path), **section}))


@pytest.mark.parametrize("name", ["open-unmix", "iass", "shared-encoder"])
def test_some_sources_of_a_trained_network(tmp_path: Path, name: str) -> None:
    """Where sources have parts of their own, those alone are loaded, and learn on."""
    trained, path = checkpoint(tmp_path, name)
    built = build_separator(recipe(name=name, initial=str(path), sources=["drums"]))
    assert built.sources == ("drums",)
    assert built.parameter_count < trained.parameter_count
    mixture = torch.randn(
        1,
        built.channels,
        built.grid.input_length(30000),
        generator=torch.Generator().manual_seed(0),
    )
    with torch.inference_mode():
        alone, together = built.eval()(mixture), trained.eval()(mixture)
    torch.testing.assert_close(alone.estimates[:, 0], together.estimates[:, 1])


def test_new_decoders_under_a_trained_encoder(tmp_path: Path) -> None:
    """The encoder and the scale of its input are kept; every decoder is new, also of a source
    that had one."""
    trained, path = checkpoint(tmp_path)
    assert isinstance(trained, SharedEncoder)
    section = {"name": "shared-encoder", "initial": str(path), "keep": "encoder"}
    built = build_separator(recipe(**section, sources=["piano", "vocals"], freeze=["encoder"]))
    assert isinstance(built, SharedEncoder)
    assert built.sources == ("piano", "vocals")
    assert built.config["features"] == trained.config["features"], "options come with the encoder"
    assert same(built.shared.encoder, trained.shared.encoder)
    assert torch.equal(built.shared.input_scale, trained.shared.input_scale)
    assert not same(built.shared.decoders["vocals"], trained.shared.decoders["vocals"])
    learnt = {name for name, one in built.named_parameters() if one.requires_grad}
    assert learnt
    assert all(name.startswith("network.decoders.") for name in learnt)
    tuned = build_separator(recipe(**section, sources=["piano"]))
    assert all(one.requires_grad for one in tuned.parameters())


def test_encoders_that_cannot_be_kept(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"keep: encoder needs separator.initial"):
        build_separator(recipe(name="shared-encoder", keep="encoder"))
    _, path = checkpoint(tmp_path, "iass")
    section = {"name": "shared-encoder", "initial": str(path), "keep": "encoder"}
    with pytest.raises(RecipeError, match="is 'iass' and the recipe's network 'shared-encoder'"):
        build_separator(recipe(**section))
    checkpoint(tmp_path)
    with pytest.raises(ModelError, match="The encoder does not fit"):
        build_separator(recipe(**section, config={"features": 2}))
    separate = small("shared-encoder", sources=["vocals"], separate=True)
    models.save(separate, path)
    with pytest.raises(ModelError, match="an encoder for every source, none that is shared"):
        build_separator(recipe(**section, config={"separate": False}))


def step(separator: Separator) -> None:
    """A training step on noise."""
    optimiser = torch.optim.SGD([p for p in separator.parameters() if p.requires_grad], lr=0.1)
    separator.train()
    samples = separator.grid.input_length(2 * separator.sample_rate)
    generator = torch.Generator().manual_seed(0)
    mixture = torch.randn(2, separator.channels, samples, generator=generator)
    prediction = separator(mixture)
    loss = prediction.estimates.abs().square().mean()
    if prediction.activity is not None:
        loss = loss + prediction.activity.square().mean()
    loss.backward()
    optimiser.step()


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("shared-encoder", "encoder"),
        ("iass", "members.vocals.encoder"),
        ("open-unmix", "members.vocals"),
        ("open-unmix", "members.vocals.bn1"),
        ("multichannel-unet", "down.0"),
        ("band-unet", "down"),
    ],
)
def test_frozen_parts_stay_as_they_are(name: str, part: str) -> None:
    """Weights and the running statistics of batch normalisation; all else learns."""
    sources = ["vocals", "drums", "bass", "other"]
    separator = small(name, sources=sources)
    freeze(separator, [part])
    before = {key: value.clone() for key, value in separator.network.state_dict().items()}
    step(separator)
    after = separator.network.state_dict()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved
    frozen = {key for key in before if f"{key}.".startswith(f"{part}.")}
    assert frozen
    assert not moved & frozen
    assert any("running_mean" in key for key in moved), "others go on"


def test_dropout_of_frozen_parts_is_off() -> None:
    separator = small("open-unmix", sources=["vocals"])
    freeze(separator, ["members.vocals.lstm"])
    separator.train()
    assert isinstance(separator.network, UnmixBank)
    [member] = separator.network.unmixers
    rows = torch.randn(1, 20, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(member.over_time(rows), member.over_time(rows))


@pytest.mark.parametrize(
    ("part", "near"), [("encodr", "encoder"), ("decoders.vocal", "decoders.vocals")]
)
def test_parts_that_there_are_not(part: str, near: str) -> None:
    separator = small("shared-encoder", sources=["vocals", "drums"])
    with pytest.raises(RecipeError, match=f"names '{part}', no part of the network; .* '{near}'"):
        freeze(separator, [part])


def test_parts_without_parameters_keep_their_statistics() -> None:
    separator = small("band-unet")
    freeze(separator, ["whiten"])
    separator.train()
    assert isinstance(separator.network, BandNetwork)
    before = separator.network.whiten.mean.clone()
    noise = torch.randn(1, 2, 22050, generator=torch.Generator().manual_seed(0))
    separator(noise[..., : separator.grid.input_length(11025)])
    torch.testing.assert_close(separator.network.whiten.mean, before, rtol=0, atol=0)


def test_something_must_be_learnt() -> None:
    separator = small("shared-encoder", sources=["vocals", "drums"])
    with pytest.raises(RecipeError, match="encoder, decoders leaves nothing to learn"):
        freeze(separator, ["encoder", "decoders"])


def test_frozen_parts_stay_so_in_copies_and_under_synchronised_normalisation() -> None:
    """As averaged weights and training on several GPUs have them."""
    separator = small("shared-encoder", sources=["vocals", "drums"])
    freeze(separator, ["encoder"])
    copied = copy.deepcopy(separator)
    synchronised = torch.nn.SyncBatchNorm.convert_sync_batchnorm(copied)  # type: ignore[no-untyped-call]
    assert synchronised is copied
    for one in (separator, copied):
        one.train()
        samples = one.grid.input_length(one.sample_rate)
        with torch.no_grad(), contextlib.suppress(ValueError):  # no such normalisation on CPUs
            one(torch.zeros(1, 2, samples))
        assert isinstance(one, SharedEncoder)
        assert not any(module.training for module in one.shared.encoder.modules())
        assert one.shared.decoders.training
