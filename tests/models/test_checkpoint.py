"""Saving and loading: same output, clear refusals, never a partial load."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from stemwise import models
from stemwise.errors import ModelError

SMALL = {"widths": (8, 8, 8, 8, 8), "squeezed": 2, "hidden": 16}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    path = tmp_path / "small.safetensors"
    models.save(models.build("band-unet", **SMALL), path, recipe={"seed": 0})
    return path


def _rewrite(path: Path, change: str) -> None:
    tensors = load_file(path)
    header = {"stemwise": _header(path)}
    key = "network.stem.weight"
    if change == "missing":
        del tensors[key]
    elif change == "extra":
        tensors["network.stem.extra"] = torch.zeros(1)
    else:
        tensors[key] = torch.zeros(1, 2)
    save_file(tensors, path, header)


def _header(path: Path) -> str:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return str(file.metadata()["stemwise"])


def test_round_trip(checkpoint: Path) -> None:
    first, second = models.load(checkpoint), models.load(checkpoint, sample_rate=22050)
    card = models.read_card(checkpoint)
    assert card.network == "band-unet"
    assert card.metadata == {"recipe": {"seed": 0}}
    assert second.sample_rate == 22050
    assert not first.training
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_half_precision_is_half_the_size(checkpoint: Path, tmp_path: Path) -> None:
    small = tmp_path / "half.safetensors"
    models.save(models.load(checkpoint), small, half=True)
    assert small.stat().st_size < 0.7 * checkpoint.stat().st_size
    assert next(models.load(small).parameters()).dtype == torch.float32


def test_half_precision_keeps_what_sixteen_bits_cannot_hold(tmp_path: Path) -> None:
    """A running variance of 1e5 would become infinite: a layer that says nothing any more."""
    network = models.build("band-unet", **SMALL)
    norm = next(m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert norm.running_var is not None
    norm.running_var.fill_(1e5)
    models.save(network, tmp_path / "x.safetensors", half=True)
    state = models.load(tmp_path / "x.safetensors").state_dict()
    assert all(bool(value.isfinite().all()) for value in state.values())
    assert any(bool((value == 1e5).all()) for value in state.values() if value.dim() == 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("missing", "missing network.stem.weight"),
        ("extra", "unexpected network.stem.extra"),
        ("shape", r"network.stem.weight is \(1, 2\)"),
    ],
)
def test_misfits_are_listed(checkpoint: Path, change: str, words: str) -> None:
    _rewrite(checkpoint, change)
    with pytest.raises(ModelError, match=words):
        models.load(checkpoint)


def test_other_files_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "weights.safetensors"
    text.write_text("not weights")
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        models.load(text)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(1)}, foreign)
    with pytest.raises(ModelError, match="not written by stemwise"):
        models.load(foreign)
    with pytest.raises(ModelError, match="There is no checkpoint"):
        models.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: models.build("joint-net"), "did you mean 'joint-unet'"),
        (lambda: models.build("band-unet", width=3), "did you mean 'widths'"),
        (lambda: models.load("bnad"), "did you mean 'band'"),
        (lambda: models.load("joint-unet"), "without trained weights"),
    ],
)
def test_names_are_corrected(call: object, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        call()  # type: ignore[operator]


def test_failed_save_leaves_nothing(tmp_path: Path) -> None:
    from stemwise.errors import OutputError

    network = models.build("band-unet", **SMALL)
    with pytest.raises(OutputError, match="Cannot write the checkpoint"):
        models.save(network, tmp_path / "absent" / "x.safetensors")
    assert list(tmp_path.iterdir()) == []
