"""What can run a network: names, packages, precisions, and how far results may be from eager."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from shutil import which

import torch
from torch import Tensor

from stemwise.errors import ModelError

RUNTIMES = ("torch", "compile", "onnx", "openvino")
"""PyTorch as it is, PyTorch's compiler, ONNX Runtime, OpenVINO."""
PRECISIONS = {
    "torch": ("fp32", "bf16"),
    "compile": ("fp32", "bf16"),
    "onnx": ("fp32", "int8"),
    "openvino": ("fp32", "bf16", "int8"),
}
"""What each runtime computes in; int8 holds for convolutions of 3 x 3 alone."""
PACKAGES = {
    "torch": (),
    "compile": (),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
}
BOUNDS = {"fp32": 1e-4, "bf16": 0.05, "int8": 0.2}
"""Largest `Difference.rms` from eager fp32 with which a network is run."""


@dataclass(frozen=True)
class Difference:
    """How far outputs are from eager fp32, the worst of all outputs.

    rms: root mean square of the difference over that of the output. largest: of all differences,
    over the largest output where that is more than 1. Both are infinite where any is not a number.
    """

    rms: float
    largest: float


def difference(expected: tuple[Tensor, ...], found: tuple[Tensor, ...]) -> Difference:
    """How far `found` is from `expected`, tensors of the same shapes."""
    rms = largest = 0.0
    for ours, theirs in zip(expected, found, strict=True):
        if ours.shape != theirs.shape or not bool(torch.isfinite(theirs).all()):
            return Difference(float("inf"), float("inf"))
        wrong = (ours - theirs.to(ours.device)).float()
        power = float(ours.float().square().mean())
        rms = max(rms, (float(wrong.square().mean()) / max(power, 1e-12)) ** 0.5)
        largest = max(largest, float(wrong.abs().max()) / max(1.0, float(ours.abs().max())))
    return Difference(rms, largest)


def missing(runtime: str) -> list[str]:
    """What a runtime needs and this machine does not have."""
    lacking = [name for name in PACKAGES[runtime] if find_spec(name) is None]
    if runtime == "compile" and not any(map(which, ("c++", "g++", "clang++", "cl"))):
        lacking.append("a C++ compiler")
    return lacking


def check_runtime(runtime: str, precision: str, device: torch.device) -> None:
    """Raise ModelError where a runtime cannot run here, or not in this precision."""
    lacking = missing(runtime)
    if lacking:
        cure = "pip install 'stemwise[runtimes]'" if PACKAGES[runtime] else "install one"
        raise ModelError(f"The runtime {runtime!r} needs {' and '.join(lacking)}: {cure}.")
    if precision not in PRECISIONS[runtime]:
        able = [name for name, known in PRECISIONS.items() if precision in known]
        raise ModelError(
            f"The runtime {runtime!r} computes in {' or '.join(PRECISIONS[runtime])}, not in "
            f"{precision}, which {' and '.join(able)} can."
        )
    if PACKAGES[runtime] and device.type != "cpu":
        raise ModelError(
            f"The runtime {runtime!r} is for CPUs, and the device is {device.type}: "
            "choose --device cpu, or the runtime torch or compile."
        )
