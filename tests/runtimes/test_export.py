"""Exported networks compute what PyTorch's do, and say what they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from small_networks import SMALL, small
from stemwise import models
from stemwise.cli import run
from stemwise.errors import ModelError, OutputError
from stemwise.models.separator import Separator, SpectrogramSeparator
from stemwise.runtimes import export as module
from stemwise.runtimes.export import example, export, recurrent

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

LSTM = [name for name in SMALL if recurrent(small(name).network)]


def _small(name: str) -> Separator:
    return small(name).eval()


@pytest.mark.parametrize("name", SMALL)
def test_onnx_runtime_computes_the_same(name: str, tmp_path: Path) -> None:
    separator, path = _small(name), tmp_path / "x.onnx"
    exported = export(separator, path, licence="MIT")
    assert exported.difference is not None
    assert exported.difference <= 1e-4
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    arguments = example(separator, 1, 3, seed=7)
    names = [port.name for port in exported.inputs]
    fed = {key: value.numpy() for key, value in zip(names, arguments, strict=True)}
    found = session.run([port.name for port in exported.outputs], fed)
    with torch.no_grad():
        expected = separator.network(*arguments)
    for ours, theirs in zip(expected, found, strict=True):
        np.testing.assert_allclose(theirs, ours.numpy(), atol=1e-4, rtol=1e-4)
    told = {one.key: one.value for one in onnx.load(path).metadata_props}
    assert (told["network"], told["licence"]) == (name, "MIT")
    assert json.loads(told["config"]) == separator.config
    assert int(told["hop"]) == separator.grid.hop
    if isinstance(separator, SpectrogramSeparator):
        assert int(told["n_fft"]) == separator.n_fft
    assert int(told["sample_rate"]) == separator.sample_rate
    described = {one["name"]: tuple(one["axes"]) for one in json.loads(told["inputs"])}
    assert described == {one.name: tuple(one.shape) for one in session.get_inputs()}
    assert [one.name for one in tmp_path.iterdir()] == ["x.onnx"]


def test_frames_and_batch_are_free(tmp_path: Path) -> None:
    exported = export(_small("joint-unet"), tmp_path / "x.onnx", check=False)
    assert exported.difference is None
    assert [port.axes for port in exported.inputs] == [("batch", 1, 257, "frame")]
    assert [port.axes for port in exported.outputs] == [
        ("batch", 2, 257, "output_frame"),
        ("batch", 1, "output_frame"),
    ]
    assert [port.name for port in exported.outputs] == ["maps", "activity"]


def test_pt2_computes_the_same_and_says_what_it_is(tmp_path: Path) -> None:
    separator, path = _small("joint-unet"), tmp_path / "x.pt2"
    exported = export(separator, path, format="pt2")
    assert exported.difference is not None
    assert exported.difference <= 1e-4
    extra = {"stemwise.json": ""}
    with path.open("rb") as file:
        program = torch.export.load(file, extra_files=extra)
    assert json.loads(extra["stemwise.json"])["network"] == "joint-unet"
    arguments = example(separator, 3, 1)
    with torch.no_grad():
        assert torch.allclose(program.module()(*arguments)[0], separator.network(*arguments)[0])


@pytest.mark.parametrize("name", LSTM)
def test_recurrent_networks_have_no_pt2(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="recurrent layers, which"):
        export(_small(name), tmp_path / "x.pt2", format="pt2")


def test_a_file_that_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    separator, truth = _small("open-unmix"), module._onnx_runtime

    def wrong(path: Path) -> module.Run:
        return lambda arguments: tuple(one + 1e-3 for one in truth(path)(arguments))

    monkeypatch.setattr(module, "_onnx_runtime", wrong)
    (tmp_path / "x.onnx").write_text("what was there before")
    with pytest.raises(ModelError, match=r"differs from PyTorch's by .*: nothing was written"):
        export(separator, tmp_path / "x.onnx")
    assert [one.read_text() for one in tmp_path.iterdir()] == ["what was there before"]


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    separator = _small("open-unmix")
    with pytest.raises(ModelError, match="must be one of"):
        export(separator, tmp_path / "x", format="tflite")
    with pytest.raises(OutputError, match="Cannot write"):
        export(separator, tmp_path / "absent" / "x.onnx", check=False)
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "onnxruntime" else name)
    with pytest.raises(ModelError, match=r"needs onnxruntime: pip install 'stemwise\[runtimes\]'"):
        export(separator, tmp_path / "x.onnx")


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    models.save(small("open-unmix"), "mine.safetensors", licence="CC0")
    assert run(["export", "mine.safetensors", "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told["file"] == "mine.onnx"
    assert told["bytes"] == Path("mine.onnx").stat().st_size
    assert told["metadata"]["licence"] == "CC0"
    assert told["inputs"] == {"magnitudes": ["batch", "frame", 2, 372]}
    assert run(["export", "mine.safetensors", "--out", "new/x.pt2"]) == 1
    assert "export it to ONNX" in capsys.readouterr().err
    assert run(["export", "mine.safetensors", "--out", "x.pt2", "--format", "onnx"]) == 2
    assert run(["export", "mine.safetensors", "--format", "onx"]) == 2
    assert "did you mean 'onnx'?" in capsys.readouterr().err
    assert run(["export", "joint-unet"]) == 1
    assert "without trained weights" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_network_computes_the_same() -> None:
    separator = _small("band-unet")
    arguments = example(separator, 1)
    with torch.no_grad():
        expected = separator.network(*arguments)
        found = torch.compile(separator.network)(*arguments)
    for ours, theirs in zip(expected, found, strict=True):
        assert float((ours - theirs).abs().max()) <= 1e-4
