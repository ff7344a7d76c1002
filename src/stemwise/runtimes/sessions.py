"""Networks as modules that ONNX Runtime, OpenVINO or PyTorch's compiler computes.

Each takes and returns what the network itself does, on the CPU in 32 bits. Their threads are
PyTorch's: a session is made anew when `torch.get_num_threads()` says another number.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from stemwise.errors import ModelError
from stemwise.runtimes.store import folder

Tensors = tuple[Tensor, ...]


class Session(nn.Module, ABC):
    """A network whose file another library runs.

    content: the ONNX file. single: the file takes one item at a time, so that a batch is computed
    item by item. Outputs of OpenVINO hold until the thread's next call.
    """

    def __init__(self, content: bytes, precision: str, *, single: bool) -> None:
        super().__init__()
        self.content, self.precision, self.single = content, precision, single
        self._lock = threading.Lock()
        self._threads = 0

    def forward(self, *inputs: Tensor) -> Tensors:
        """Inputs and outputs of the network."""
        with self._lock:
            if self._threads != torch.get_num_threads():
                self._threads = torch.get_num_threads()
                self._open(self._threads)
        arrays = [one.detach().float().contiguous() for one in inputs]
        batch = len(arrays[0])
        if not self.single or batch == 1:
            return self._run(arrays)
        split = [torch.split(one, 1) if len(one) == batch else [one] * batch for one in arrays]
        items = zip(*split, strict=True)
        results = [[one.clone() for one in self._run(list(item))] for item in items]
        return tuple(torch.cat(parts) for parts in zip(*results, strict=True))

    @abstractmethod
    def _open(self, threads: int) -> None:
        """Make ready to run on this many threads."""

    @abstractmethod
    def _run(self, inputs: list[Tensor]) -> Tensors:
        """Compute; raises ModelError with the library's reason."""


class OnnxSession(Session):
    """ONNX Runtime."""

    def _open(self, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors only
        try:
            self._session = onnxruntime.InferenceSession(
                self.content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors have no base of their own
            raise _refused("ONNX Runtime", error) from error
        self._names = [one.name for one in self._session.get_inputs()]

    def _run(self, inputs: list[Tensor]) -> Tensors:
        fed = {name: one.numpy() for name, one in zip(self._names, inputs, strict=True)}
        try:
            return tuple(torch.from_numpy(one) for one in self._session.run(None, fed))
        except Exception as error:
            raise _refused("ONNX Runtime", error) from error


@cache
def _core() -> Any:
    """OpenVINO's core, which is never given up.

    With it would go the stack on which the thread handles signals, so that Ctrl-C crashed.
    """
    import openvino

    return openvino.Core()


class OpenVinoSession(Session):
    """OpenVINO on the CPU; every thread has a request, whose memory its outputs are."""

    def _open(self, threads: int) -> None:
        core = _core()
        able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        # it names what the CPU has, whatever the environment forbids
        half = "BF16" in able and "ONEDNN_MAX_CPU_ISA" not in os.environ
        wide = self.precision == "fp32" or (self.precision == "int8" and not half)
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32" if wide else "bf16",
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            self._compiled = core.compile_model(core.read_model(self.content), "CPU", settings)
        except RuntimeError as error:
            raise _refused("OpenVINO", error) from error
        self._requests = threading.local()

    def _run(self, inputs: list[Tensor]) -> Tensors:
        request = getattr(self._requests, "one", None)
        if request is None:
            request = self._requests.one = self._compiled.create_infer_request()
        try:
            request.infer([one.numpy() for one in inputs], share_inputs=True, share_outputs=True)
        except RuntimeError as error:
            raise _refused("OpenVINO", error) from error
        return tuple(torch.from_numpy(one.data) for one in request.output_tensors)


class CompiledNetwork(nn.Module):
    """PyTorch's compiler; on CUDA GPUs with graphs, so that no kernel waits for Python."""

    def __init__(self, network: nn.Module, precision: str, device: torch.device) -> None:
        super().__init__()
        # a minute's work of the C++ compiler is kept beside the other networks
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder() / "inductor"))
        self.bfloat, self.device = precision == "bf16", device
        if device.type == "cuda":
            self.compiled = torch.compile(network, mode="reduce-overhead")
        else:
            self.compiled = torch.compile(network, dynamic=True, options={"freezing": True})

    def forward(self, *inputs: Tensor) -> Tensors:
        """Inputs and outputs of the network."""
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat):
            found: Tensors = self.compiled(*inputs)
        return found


def _refused(library: str, error: Exception) -> ModelError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[-1].rstrip(".") if lines else type(error).__name__
    return ModelError(f"{library} cannot run this network ({reason}): choose another runtime.")
