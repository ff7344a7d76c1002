"""What every network of the registry must do, whichever it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from small_networks import SMALL, small
from stemwise import load, models
from stemwise.activity import read_activity
from stemwise.cli import run
from stemwise.errors import AudioError, ModelError
from stemwise.models import NETWORKS
from stemwise.models.separator import Separator
from stemwise.models.summary import sample_length
from stemwise.separation import Engine, Options

every_network = pytest.mark.parametrize("name", sorted(NETWORKS))


def test_every_network_is_here() -> None:
    assert set(SMALL) == set(NETWORKS), "give each new network a small configuration"


def _noise(separator: Separator, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    shape = (batch, separator.channels, sample_length(separator))
    return torch.randn(shape, generator=generator) * 0.1


@every_network
def test_gradients_are_finite_and_reach_every_parameter(name: str) -> None:
    separator = small(name).train()
    mixture = _noise(separator, batch=2)
    prediction = separator(mixture)
    assert prediction.estimates.shape[:2] == (2, len(separator.sources))
    loss = prediction.estimates.abs().mean()
    if prediction.activity is not None:
        frames = -(-(mixture.shape[-1] - 2 * separator.grid.crop) // separator.grid.hop)
        assert prediction.activity.shape[:2] == (2, len(separator.activity_sources))
        assert prediction.activity.shape[2] >= frames
        loss = loss + prediction.activity.square().mean()
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = {key: value.grad for key, value in separator.named_parameters()}
    assert [key for key, value in gradients.items() if value is None] == []
    assert all(bool(torch.isfinite(g).all()) for g in gradients.values() if g is not None)
    assert any(bool(g.any()) for g in gradients.values() if g is not None)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The checkpoint of a small network, by name."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def of(name: str) -> Path:
        path = folder / f"{name}.safetensors"
        if not path.exists():
            models.save(small(name), path)
        return path

    return of


@every_network
def test_what_is_loaded_computes_what_was_saved(
    name: str, checkpoint: Callable[[str], Path]
) -> None:
    saved, loaded = small(name).eval(), models.load(checkpoint(name))
    assert loaded.config == saved.config
    with torch.inference_mode():
        expected, found = (one(_noise(saved)) for one in (saved, loaded))
    assert torch.equal(expected.estimates, found.estimates)
    if expected.activity is not None:
        assert found.activity is not None
        assert torch.equal(expected.activity, found.activity)


def _rewritten(path: Path, out: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    """A copy of a checkpoint whose tensors were changed."""
    with safe_open(path, framework="pt") as file:
        header = dict(file.metadata())
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, out, header)
    return out


@every_network
def test_missing_and_extra_tensors_are_listed(
    name: str, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    path = checkpoint(name)
    victim = next(key for key, value in load_file(path).items() if value.dim() > 0)

    def change(tensors: dict[str, torch.Tensor]) -> None:
        del tensors[victim]
        tensors["network.foreign"] = torch.zeros(1)

    with pytest.raises(ModelError) as caught:
        models.load(_rewritten(path, tmp_path / "x.safetensors", change))
    assert f"missing {victim}" in str(caught.value)
    assert "unexpected network.foreign" in str(caught.value)


@every_network
def test_weights_of_another_network_are_refused(
    name: str, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    other = next(one for one in sorted(NETWORKS, reverse=True) if one != name)

    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors.clear()
        tensors.update(load_file(checkpoint(other)))

    with pytest.raises(ModelError, match=f"does not fit the network '{name}': "):
        models.load(_rewritten(checkpoint(name), tmp_path / "x.safetensors", change))


@every_network
def test_weights_of_other_sources_are_refused(name: str, checkpoint: Callable[[str], Path]) -> None:
    with pytest.raises(ModelError, match=r"does not fit .*(missing|is \(|unexpected)"):
        models.load(checkpoint(name), sources=["vocals", "flute", "harp", "gong", "tuba"])


@every_network
def test_silence_stays_silent(name: str) -> None:
    separator = small(name)
    engine = Engine(separator, Options(device="cpu", precision="fp32", residual=False))
    silence = np.zeros((2, 30000), np.float32)
    blocks = list(engine.stream([silence], 44100, 2))
    stems = np.concatenate([block.stems for block in blocks], axis=-1)
    assert stems.shape == (len(separator.sources), 2, 30000)
    assert np.abs(stems).max() == 0.0
    assert all(np.isfinite(block.activity).all() for block in blocks)


def test_a_sample_that_is_no_number_is_an_error_before_any_compute(
    checkpoint: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*anything: object) -> None:
        raise AssertionError("the network ran")

    path = checkpoint("joint-unet")
    monkeypatch.setattr("stemwise.models.joint_unet.JointUNetNetwork.forward", never)
    song = np.zeros((2, 44100), np.float32)
    song[1, 22050] = np.nan
    model = load(path, device="cpu")
    with pytest.raises(AudioError, match=r"not a number at 0\.500 s"):
        model.separate(song, sample_rate=44100)
    soundfile.write(tmp_path / "song.wav", song.T, 44100, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"not a number at 0\.500 s"):
        model.separate(tmp_path / "song.wav")


@every_network
def test_the_command_separates_a_song(
    name: str, checkpoint: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = 3 * 44100 + 1
    rng = np.random.default_rng(3)
    noise = (rng.standard_normal((samples, 2)) * 0.1).astype(np.float32)
    soundfile.write(tmp_path / "song.wav", noise, 44100, subtype="FLOAT")
    arguments = ["separate", tmp_path / "song.wav", "-n", checkpoint(name), "-o", tmp_path / "out"]
    status = run([*map(str, arguments), "--device", "cpu", "--float32"])
    assert status == 0, capsys.readouterr().err
    separator = small(name)
    total = np.zeros_like(noise)
    for source in separator.sources:
        stem, rate = soundfile.read(tmp_path / "out" / "song" / f"{source}.wav", dtype="float32")
        assert (rate, stem.shape) == (44100, (samples, 2))
        total += stem
    assert np.abs(total - noise).max() < 1e-4
    found = list((tmp_path / "out" / "song").glob("activity.*"))
    assert len(found) == bool(separator.activity_sources)
    if found:
        activity = read_activity(found[0])
        assert activity.sources == separator.activity_sources
        assert activity.duration == pytest.approx(3, abs=0.1)
