"""Networks in other runtimes compute what PyTorch does; they are made once and kept whole."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from small_networks import SMALL, small
from stemwise import models
from stemwise.errors import ModelError, OutputError
from stemwise.models.separator import Separator
from stemwise.runtimes import choice, kinds, running, store
from stemwise.runtimes.choice import Measured, best, choose
from stemwise.runtimes.export import example
from stemwise.separation import Engine, Options

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
pytest.importorskip("openvino", reason="openvino is not installed")

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEMWISE_CACHE", str(tmp_path / "cache"))


def _small(name: str = "open-unmix") -> Separator:
    return small(name).eval()


def _quiet(separator: Separator, samples: int) -> np.ndarray:
    """Stereo noise that fades into what 24 bits hardly hold."""
    noise = np.random.default_rng(5).normal(0, 0.1, (2, samples))
    return (noise * np.logspace(0, -6, samples)).astype(np.float32)


def _stems(separator: Separator, **options: Any) -> np.ndarray:
    engine = Engine(separator, Options(device="cpu", **options))
    song = _quiet(separator, 3 * separator.sample_rate)
    blocks = engine.stream([song], separator.sample_rate, 2)
    return np.concatenate([block.stems for block in blocks], axis=-1)


@pytest.mark.parametrize("name", ["open-unmix", "joint-unet"])
def test_the_engine_gets_the_same_stems(name: str) -> None:
    """Pieces of several lengths, joined, as with PyTorch."""
    separator = _small(name)
    eager = _stems(separator, runtime="torch", precision="fp32", segment=1.0)
    for runtime in ("onnx", "openvino"):
        found = _stems(separator, runtime=runtime, precision="fp32", segment=1.0)
        assert float(np.abs(eager - found).max()) <= 2e-5, runtime


def test_the_default_model_is_as_exact_as_stated() -> None:
    """One piece; onnxscript's optimiser once dropped what keeps silent bands apart from zero."""
    separator = models.load("band")
    inputs = example(separator, 1, 1, seed=3)
    with torch.no_grad():
        eager = separator.network(*inputs)
        for runtime, precision, bound in (
            ("onnx", "fp32", 1e-4),
            ("openvino", "fp32", 1e-4),
            ("openvino", "bf16", 0.05),
        ):
            found = running.running(separator, runtime, precision).network(*inputs)
            told = kinds.difference(eager, found)
            assert told.rms <= bound, (runtime, precision)
            assert told.largest <= 2 * bound, (runtime, precision)
    assert len([one for one in store.folder().iterdir() if "-float-" in one.name]) == 1


def test_int8_keeps_the_masks_of_music(monkeypatch: pytest.MonkeyPatch) -> None:
    separator = small("band-unet", widths=[8, 8, 8, 8, 8]).eval()
    noise = torch.randn(1, 2, separator.grid.input_length(50_000)) * 0.1
    for module in ("quantise", "running"):
        monkeypatch.setattr(f"stemwise.runtimes.{module}.song", lambda *_: noise)
    with torch.no_grad():
        inputs = separator.features(separator.spectrum(noise))
        eager = separator.network(*inputs)
        for runtime in ("onnx", "openvino"):
            found = running.running(separator, runtime, "int8").network(*inputs)
            # 8 bits are not 32, and not much less
            assert 1e-4 < kinds.difference(eager, found).rms < 0.1
    [file] = store.folder().glob("band-unet-int8-*")
    assert b"QuantizeLinear" in file.read_bytes()


def test_threads_follow_those_of_torch() -> None:
    separator, before = _small(), torch.get_num_threads()
    inputs = example(separator, 1)
    session = running.running(separator, "openvino", "fp32").network
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            session(*inputs)
            assert session._compiled.get_property("INFERENCE_NUM_THREADS") == threads
    finally:
        torch.set_num_threads(before)


def test_a_batch_is_computed_item_by_item_where_it_must_be() -> None:
    separator = _small()
    session = running.running(separator, "onnx", "fp32").network
    inputs = example(separator, 3)
    whole = session(*inputs)
    session.single = True
    for together, apart in zip(whole, session(*inputs), strict=True):
        assert torch.allclose(together, apart, atol=1e-5)


def test_the_original_is_left_alone() -> None:
    separator = _small()
    network = separator.network
    twin = running.running(separator, "onnx", "fp32")
    assert separator.network is network
    assert twin.network is not network
    assert twin.window is separator.window  # type: ignore[attr-defined]
    assert running.running(separator, "onnx", "fp32").network is twin.network


def test_weights_that_change_are_another_network() -> None:
    separator = _small()
    first = running.running(separator, "onnx", "fp32").network
    with torch.no_grad():
        next(separator.network.parameters()).mul_(2.0)
    assert running.running(separator, "onnx", "fp32").network is not first


# ----- what is kept


def test_an_entry_is_made_once_and_again_when_it_is_damaged() -> None:
    made = []

    def make() -> store.Entry:
        made.append(1)
        return {"single": False}, b"network"

    assert store.kept("x", make) == store.kept("x", make) == ({"single": False}, b"network")
    assert len(made) == 1
    [path] = store.folder().iterdir()
    whole = path.read_bytes()
    for damaged in (whole[:-1], b"", whole.replace(b"network", b"netw0rk")):
        path.write_bytes(damaged)
        assert store.kept("x", make) == ({"single": False}, b"network")
        assert path.read_bytes() == whole
    assert len(made) == 4


def test_what_cannot_be_kept_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("STEMWISE_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="STEMWISE_CACHE may name another folder"):
        store.kept("x", lambda: ({}, b""))


def test_a_failure_leaves_nothing() -> None:
    def fail() -> store.Entry:
        raise ModelError("no")

    with pytest.raises(ModelError):
        store.kept("x", fail)
    assert not store.folder().exists()


def _keep(folder: str, number: int) -> None:
    import os

    os.environ["STEMWISE_CACHE"] = folder
    for turn in range(50):
        content = bytes([number]) * 100_000
        store.write_whole(store.folder() / "x.network", content)
        found = (store.folder() / "x.network").read_bytes()
        assert (len(found), len(set(found))) == (100_000, 1), turn


def test_two_processes_write_whole_files(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=_keep, args=(str(tmp_path / "c"), one)) for one in (1, 2)]
    for one in both:
        one.start()
    for one in both:
        one.join(60)
    assert [one.exitcode for one in both] == [0, 0]
    assert [one.name for one in (tmp_path / "c" / "runtimes").iterdir()] == ["x.network"]


def test_names_tell_models_machines_and_versions_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    separator, other = _small(), small("open-unmix", hidden=32).eval()
    first = store.key(separator, "onnx", "fp32")
    names = {first, store.key(other, "onnx", "fp32"), store.key(separator, "onnx", "int8")}
    monkeypatch.setattr(store, "libraries", lambda: "openvino 1")
    names.add(store.key(separator, "onnx", "fp32"))
    monkeypatch.setattr(store, "machine", lambda: "a CPU of another kind")
    names.add(store.key(separator, "onnx", "fp32"))
    assert len(names) == 5
    assert first.startswith("open-unmix-onnx-fp32-")


# ----- the choice


def _row(runtime: str, precision: str, seconds: float, refused: str | None = None) -> Measured:
    return Measured(runtime, precision, seconds, refused=refused)


ROWS = [
    _row("torch", "fp32", 0.060),
    _row("torch", "bf16", 0.030),
    _row("compile", "bf16", 0.010),
    _row("onnx", "fp32", 0.050),
    _row("onnx", "int8", 0.040),
    _row("openvino", "fp32", 0.045),
    _row("openvino", "bf16", 0.024),
    _row("openvino", "int8", 0.015),
]


@pytest.mark.parametrize(
    ("precision", "chosen"),
    [
        ("auto", ("openvino", "bf16")),
        ("bf16", ("openvino", "bf16")),
        ("fp32", ("openvino", "fp32")),
        ("int8", ("openvino", "int8")),
    ],
)
def test_auto_takes_what_was_measured(
    precision: str, chosen: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "prefers_bfloat16", lambda device: True)
    separator = _small()
    choice.keep(separator, ROWS)
    assert choose(separator, CPU, "auto", precision) == chosen
    assert choose(small("open-unmix", hidden=32).eval(), CPU, "auto", "auto") == ("torch", "bf16")


def test_auto_needs_a_margin_and_an_exact_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "prefers_bfloat16", lambda device: False)
    separator = _small()
    assert choose(separator, CPU, "auto", "auto") == ("torch", "fp32")
    close = [_row("torch", "fp32", 0.050), _row("openvino", "fp32", 0.045)]
    choice.keep(separator, [*close, _row("openvino", "int8", 0.01)])
    assert choose(separator, CPU, "auto", "auto") == ("torch", "fp32")
    assert best([*close, _row("onnx", "fp32", 0.0, refused="no")], "fp32") == []
    assert choose(separator, torch.device("cuda"), "auto", "fp32") == ("torch", "fp32")


def test_a_damaged_measurement_counts_as_none() -> None:
    separator = _small()
    choice.keep(separator, ROWS)
    [path] = store.folder().iterdir()
    path.write_text("[{")
    assert choice.measured(separator) == []


def test_int8_without_a_measurement_takes_what_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    separator = _small()
    assert choose(separator, CPU, "auto", "int8") == ("openvino", "int8")
    monkeypatch.setattr(choice, "missing", lambda name: ["it"] if name == "openvino" else [])
    assert choose(separator, CPU, "auto", "int8") == ("onnx", "int8")


def test_measuring_compares_all_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    separator = _small()
    noise = torch.randn(1, 2, 60_000) * 0.1
    monkeypatch.setattr(choice, "song", lambda *_: noise)
    monkeypatch.setattr(choice, "prefers_bfloat16", lambda device: True)
    rows = {(row.runtime, row.precision): row for row in choice.measure(separator, rounds=2)}
    assert ("compile", "fp32") not in rows
    assert rows["torch", "fp32"].rms == 0.0
    assert 0 < rows["openvino", "bf16"].rms <= 0.05
    assert rows["onnx", "fp32"].seconds > 0
    assert "has no convolutions of 3 x 3" in str(rows["onnx", "int8"].refused)
    choice.keep(separator, list(rows.values()))
    assert choice.measured(separator) == list(rows.values())


# ----- refusals


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    separator = _small()
    for options, sentence in (
        ({"runtime": "tensorrt"}, "runtime must be one of auto, torch"),
        ({"runtime": "torch", "precision": "int8"}, "in fp32 or bf16, not in int8, which onnx and"),
        ({"runtime": "onnx", "precision": "bf16"}, "in fp32 or int8, not in bf16"),
    ):
        with pytest.raises(ModelError, match=sentence):
            Engine(separator, Options(device="cpu", **options))
    with pytest.raises(ModelError, match="is for CPUs, and the device is cuda"):
        kinds.check_runtime("onnx", "fp32", torch.device("cuda"))
    monkeypatch.setattr(kinds, "find_spec", lambda name: None if name == "openvino" else name)
    with pytest.raises(ModelError, match=r"needs openvino: pip install 'stemwise\[runtimes\]'"):
        Engine(separator, Options(device="cpu", runtime="openvino"))
    monkeypatch.setattr(kinds, "which", lambda name: None)
    with pytest.raises(ModelError, match=r"needs a C\+\+ compiler: install one"):
        Engine(separator, Options(device="cpu", runtime="compile"))


_SIGNALLED = """
import os, signal, torch
from onnx import TensorProto, helper
from stemwise.runtimes.sessions import OpenVinoSession
x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "small", [x], [y])
version = [helper.make_opsetid("", 17)]
content = helper.make_model(graph, opset_imports=version, ir_version=8).SerializeToString()
both = [OpenVinoSession(content, "fp32", single=False) for _ in range(2)]
for one in both:
    one(torch.zeros(1, 4))
del one
both.pop(0)
both.clear()
signal.signal(signal.SIGINT, lambda number, frame: print("told"))
os.kill(os.getpid(), signal.SIGINT)
"""


def test_signals_can_be_handled_when_sessions_are_gone() -> None:
    done = subprocess.run([sys.executable, "-c", _SIGNALLED], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "told\n")


def test_a_runtime_that_computes_something_else_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from stemwise.runtimes.sessions import OnnxSession

    truth = OnnxSession._run
    for wrong, sentence in (
        (lambda one: one * 1.01, "differs from PyTorch by 1.0e-02, more than 1e-04"),
        (lambda one: one / 0, "returns other shapes than PyTorch, or values that are not numbers"),
    ):

        def run(self: Any, inputs: Any, wrong: Any = wrong) -> Any:
            return tuple(wrong(one) for one in truth(self, inputs))

        monkeypatch.setattr(OnnxSession, "_run", run)
        with pytest.raises(ModelError, match=sentence):
            running.running(_small(), "onnx", "fp32")


def test_what_a_library_refuses_is_a_sentence() -> None:
    """OpenVINO refuses a recurrent network of waveforms, or computes nothing of it."""
    assert "waveform-unmix" in SMALL
    with pytest.raises(ModelError, match="choose another"):
        running.running(_small("waveform-unmix"), "openvino", "fp32")


def test_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from stemwise.cli import run

    monkeypatch.setattr(choice, "measure", lambda separator, compiled: ROWS)
    monkeypatch.setattr("stemwise.devices._cpu_has", lambda feature: True)
    assert run(["runtimes", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["chosen"] == {"runtime": "openvino", "precision": "bf16"}
    assert len(told["measured"]) == len(ROWS)
    assert run(["runtimes"]) == 0
    assert "--runtime auto now takes openvino in bf16 for band." in capsys.readouterr().out
    separator = models.load("band")
    assert Engine(separator, Options(device="cpu")).runtime == "openvino"
    assert run(["separate", "x.wav", "--runtime", "onx"]) == 2
    assert "did you mean 'onnx'?" in capsys.readouterr().err
