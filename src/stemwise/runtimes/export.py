"""A separator's network as one file: ONNX, or PyTorch's own exported program.

What is exported is `separator.network`, from features to maps and activity logits; the spectra
before and after it are complex, which ONNX is not, and stay with whoever runs the file. Its
metadata say what they must be.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stemwise import __version__
from stemwise.errors import ModelError, OutputError
from stemwise.models.bank import Bank
from stemwise.models.separator import Separator, SpectrogramSeparator
from stemwise.models.summary import sample_length

FORMATS = ("onnx", "pt2")
"""ONNX for ONNX Runtime and others; pt2 for `torch.export.load`."""
TOLERANCE = 1e-4
"""Largest difference from PyTorch, relative to the largest output where that is more than 1."""
OPSET = 20
BATCH = "batch"

_FAILURES = (RuntimeError, ValueError, TypeError, AssertionError)
"""What the exporters of PyTorch raise."""

Tensors = tuple[Tensor, ...]
Run = Callable[[Tensors], Tensors]


@dataclass(frozen=True)
class Port:
    """An input or output of the exported network: its name, and the length or name of each axis.

    Named axes may have any length: "batch", "frame", and "output_frame" where a network returns
    fewer frames than it takes; "sample" and "frame" of networks that work on waveforms.
    """

    name: str
    axes: tuple[int | str, ...]

    @property
    def free(self) -> dict[int, str]:
        """Axes that may have any length."""
        return {at: axis for at, axis in enumerate(self.axes) if isinstance(axis, str)}


@dataclass(frozen=True)
class _Plan:
    """What is exported: an example of the inputs, the ports, and the program for all but LSTMs."""

    arguments: Tensors
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    program: torch.export.ExportedProgram | None

    @property
    def batch_is_free(self) -> bool:
        return any(BATCH in port.axes for port in self.inputs)


@dataclass(frozen=True)
class Exported:
    """A network that was exported. difference: its largest from PyTorch; None: not compared."""

    path: Path
    format: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: dict[str, str]
    difference: float | None


def export(
    separator: Separator,
    path: str | Path,
    *,
    format: str = "onnx",
    check: bool = True,
    licence: str | None = None,
) -> Exported:
    """Write the network of a separator; it is put on the CPU and in evaluation mode.

    check: compare the file's outputs on noise, of two lengths and batches, with PyTorch's. licence:
    of the weights, kept in the file. The file has its name only when all went well.

    Raises ModelError for a network that cannot be exported, saying why, for a package that is
    missing, and where the outputs differ by more than `TOLERANCE`; OutputError where the file
    cannot be written.
    """
    path = Path(path)
    if format not in FORMATS:
        raise ModelError(f"The format must be one of {', '.join(FORMATS)}, not {format!r}.")
    if format == "pt2" and recurrent(separator.network):
        raise ModelError(
            f"{separator.kind!r} has recurrent layers, which torch.export unrolls frame by frame "
            "for one fixed length: export it to ONNX, which has such layers."
        )
    _check_packages(format, check)
    separator = separator.cpu().eval()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with torch.no_grad(), _quiet():
            plan = _plan(separator)
            metadata = _metadata(separator, plan, licence)
            if format == "onnx":
                _write_onnx(separator.network, plan, temporary, metadata)
            else:
                _write_pt2(plan, temporary, metadata)
            found = _difference(separator, temporary, format, plan) if check else None
        if found is not None and not found <= TOLERANCE:
            raise ModelError(
                f"The exported {separator.kind!r} differs from PyTorch's by {found:.1e}, which is "
                f"more than {TOLERANCE:.0e}: nothing was written; --no-check exports it as it is."
            )
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from error
    except _FAILURES as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise ModelError(f"{separator.kind!r} cannot be exported: {reason}.") from error
    finally:
        temporary.unlink(missing_ok=True)
    return Exported(path, format, plan.inputs, plan.outputs, metadata, found)


def recurrent(network: nn.Module) -> bool:
    """Whether a network has recurrent layers (LSTM, GRU)."""
    return any(isinstance(module, nn.RNNBase) for module in network.modules())


def _check_packages(format: str, check: bool) -> None:
    if format != "onnx":
        return
    needed = ["onnx", "onnxscript", *(["onnxruntime"] if check else [])]
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise ModelError(
            f"Exporting to ONNX needs {' and '.join(missing)}: pip install 'stemwise[runtimes]'."
        )


def example(separator: Separator, batch: int, steps: int = 0, seed: int = 0) -> Tensors:
    """What the network is given for noise of about a second, and `steps` grid positions more.

    The noise fades by 140 dB: what a network adds to tiny numbers must not be lost.
    """
    grid = separator.grid
    spectral = isinstance(separator, SpectrogramSeparator)
    step = 4 * grid.hop if spectral and not grid.padded else grid.alignment
    samples = sample_length(separator) + steps * step
    if not spectral:
        samples = -(-samples // step) * step
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(batch, separator.channels, samples, generator=generator) * 0.1
    noise *= torch.logspace(0, -7, samples)
    if not isinstance(separator, SpectrogramSeparator):
        return (noise,)
    with torch.no_grad():
        return separator.features(separator.spectrum(noise))


def _plan(separator: Separator) -> _Plan:
    """Ports with all axes free that the network allows."""
    network = separator.network
    arguments, (inputs, outputs) = example(separator, 2), _ports(separator)
    if recurrent(network):
        return _Plan(arguments, inputs, outputs, None)
    program = _program(network, arguments, inputs)
    fixed = _fixed(program, inputs)
    if fixed:
        arguments = example(separator, 1)
        inputs = _fix(inputs, arguments, fixed)
        outputs = _fix(outputs, network(*arguments), fixed)
        program = _program(network, arguments, inputs)
    return _Plan(arguments, inputs, outputs, program)


def _program(
    network: nn.Module, arguments: Tensors, inputs: tuple[Port, ...]
) -> torch.export.ExportedProgram:
    auto = torch.export.Dim.AUTO
    shapes = tuple(dict.fromkeys(port.free, auto) for port in inputs)
    # a network whose forward takes *inputs has one argument, a tuple of them
    dynamic = (shapes,) if isinstance(network, Bank) else shapes
    return torch.export.export(network, arguments, dynamic_shapes=dynamic, strict=False)


def _fixed(program: torch.export.ExportedProgram, inputs: tuple[Port, ...]) -> set[str]:
    """Names of axes whose length is written into the program: the network took it for a number."""
    given = set(program.graph_signature.user_inputs)
    nodes = [
        node for node in program.graph.nodes if node.op == "placeholder" and node.name in given
    ]
    return {
        name
        for port, node in zip(inputs, nodes, strict=True)
        for axis, name in port.free.items()
        if isinstance(node.meta["val"].shape[axis], int)
    }


def _fix(ports: tuple[Port, ...], values: Tensors, names: set[str]) -> tuple[Port, ...]:
    """Ports whose axes of these names have the lengths of `values`."""
    return tuple(
        Port(
            port.name,
            tuple(
                length if axis in names else axis
                for axis, length in zip(port.axes, value.shape, strict=True)
            ),
        )
        for port, value in zip(ports, values, strict=True)
    )


def _ports(separator: Separator) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Inputs and outputs of the network, and which of their axes follow batch and length."""
    network = separator.network
    shapes = []
    for batch, steps in ((2, 0), (3, 0), (2, 1)):
        inputs = example(separator, batch, steps)
        outputs = network(*inputs)
        shapes.append([[tuple(one.shape) for one in part] for part in (inputs, outputs)])
    base, wider, longer = shapes
    frames = {
        length
        for shape, more, later in zip(base[0], wider[0], longer[0], strict=True)
        for length, batches, lengths in zip(shape, more, later, strict=True)
        if length == batches and length != lengths
    }

    spectral = isinstance(separator, SpectrogramSeparator)
    same, other = ("frame", "output_frame") if spectral else ("sample", "frame")

    def axis(length: int, batches: int, lengths: int) -> int | str:
        if batches != length:
            return BATCH
        if lengths != length:
            return same if length in frames else other
        return length

    def ports(side: int, names: Sequence[str]) -> tuple[Port, ...]:
        found = zip(names, base[side], wider[side], longer[side], strict=True)
        return tuple(
            Port(name, tuple(axis(*each) for each in zip(*lengths, strict=True)))
            for name, *lengths in found
        )

    return (
        ports(0, _input_names(network, len(base[0]))),
        ports(1, _output_names(separator, len(base[1]))),
    )


def _input_names(network: nn.Module, count: int) -> list[str]:
    """As the network's own code calls them."""
    inner = next(iter(network.members.values())) if isinstance(network, Bank) else network
    named = [
        one.name
        for one in signature(inner.forward).parameters.values()
        if one.kind is Parameter.POSITIONAL_OR_KEYWORD
    ]
    return named[:count] if len(named) >= count else [f"input_{i}" for i in range(count)]


def _output_names(separator: Separator, count: int) -> list[str]:
    last = ["activity"] if separator.activity_sources and count > 1 else []
    maps = count - len(last)
    return [*(["maps"] if maps == 1 else [f"maps_{i}" for i in range(maps)]), *last]


def _metadata(separator: Separator, plan: _Plan, licence: str | None) -> dict[str, str]:
    """What the file says of itself; lists and mappings are JSON."""
    grid = separator.grid
    facts: dict[str, Any] = {
        "network": separator.kind,
        "config": separator.config,
        "sources": separator.sources,
        "activity_sources": separator.activity_sources,
        "sample_rate": separator.sample_rate,
        "channels": separator.channels,
        "hop": grid.hop,
        "step": _step(separator),
        "inputs": [{"name": port.name, "axes": port.axes} for port in plan.inputs],
        "outputs": [{"name": port.name, "axes": port.axes} for port in plan.outputs],
        "licence": licence or "unknown",
        "stemwise": __version__,
    }
    if isinstance(separator, SpectrogramSeparator):
        facts["n_fft"] = separator.n_fft
    return {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()
    }


def _write_pt2(plan: _Plan, path: Path, metadata: dict[str, str]) -> None:
    assert plan.program is not None
    with path.open("wb") as file:
        torch.export.save(plan.program, file, extra_files={"stemwise.json": json.dumps(metadata)})


def _write_onnx(network: nn.Module, plan: _Plan, path: Path, metadata: dict[str, str]) -> None:
    import onnx

    names = [[port.name for port in ports] for ports in (plan.inputs, plan.outputs)]
    if plan.program is None:
        # by TorchScript, which keeps an LSTM whole where torch.export unrolls it
        torch.onnx.export(
            network,
            plan.arguments,
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=names[0],
            output_names=names[1],
            dynamic_axes={port.name: port.free for port in (*plan.inputs, *plan.outputs)},
        )
        model = onnx.load(path)
    else:
        exported = torch.onnx.export(
            plan.program,
            plan.arguments,
            dynamo=True,
            opset_version=OPSET,
            input_names=names[0],
            output_names=names[1],
            verbose=False,
            optimize=False,  # onnxscript's takes `x + 1e-8` for `x`; runtimes have their own
        )
        assert exported is not None
        model = exported.model_proto
        _name_axes(model.graph.input, plan.inputs)
        _name_axes(model.graph.output, plan.outputs)
    model.producer_name, model.producer_version = "stemwise", __version__
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)


def _step(separator: Separator) -> int:
    """What the number of frames, or of samples, must be a multiple of (plus a constant)."""
    grid = separator.grid
    if not isinstance(separator, SpectrogramSeparator):
        return grid.alignment
    return grid.alignment // grid.hop if grid.padded else 1


def _name_axes(values: Any, ports: tuple[Port, ...]) -> None:
    """The exporter calls free axes by expressions of its own."""
    for port, value in zip(ports, values, strict=True):
        for axis, name in port.free.items():
            value.type.tensor_type.shape.dim[axis].dim_param = name


def _difference(separator: Separator, path: Path, format: str, plan: _Plan) -> float:
    """Largest difference of the file's outputs from PyTorch's, NaN where any is not a number."""
    run = _onnx_runtime(path) if format == "onnx" else _torch_program(path)
    worst = 0.0
    for batch, steps in ((2 if plan.batch_is_free else 1, 0), (1, 2)):
        arguments = example(separator, batch, steps, seed=1)
        expected: Tensors = separator.network(*arguments)
        for ours, theirs in zip(expected, run(arguments), strict=True):
            if ours.shape != theirs.shape:
                raise ModelError(
                    f"The exported {separator.kind!r} returns {tuple(theirs.shape)} where PyTorch "
                    f"returns {tuple(ours.shape)}: nothing was written."
                )
            scale = max(1.0, float(ours.abs().max()))
            found = float((ours - theirs).abs().max()) / scale
            worst = found if not found <= worst else worst
    return worst


def _onnx_runtime(path: Path) -> Run:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    failures = (errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.RuntimeException)
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except failures as error:
        raise RuntimeError(f"ONNX Runtime refuses it: {error}") from error
    names = [one.name for one in session.get_inputs()]

    def run(arguments: Tensors) -> Tensors:
        fed = {name: one.numpy() for name, one in zip(names, arguments, strict=True)}
        try:
            return tuple(torch.from_numpy(one) for one in session.run(None, fed))
        except failures as error:
            raise RuntimeError(f"ONNX Runtime cannot run it: {error}") from error

    return run


def _torch_program(path: Path) -> Run:
    with path.open("rb") as file:
        module = torch.export.load(file).module()

    def run(arguments: Tensors) -> Tensors:
        found: Tensors = module(*arguments)
        return found

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' notes about themselves from the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
