"""Where networks run, and how to make the most of it."""

from __future__ import annotations

import torch

from stemwise.errors import ModelError


def choose_device(name: str = "auto") -> torch.device:
    """The device to compute on: a CUDA GPU, Apple's, or the CPU for "auto".

    Raises ModelError for a device that this machine or this build of PyTorch does not have.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ModelError(f"The device {name!r} cannot be used here: {reason}.") from error
    return device


def prefers_bfloat16(device: torch.device) -> bool:
    """Whether convolutions in bfloat16 were measured to be faster on this kind of device."""
    if device.type == "cuda":
        # AMD's have it; NVIDIA's older than Ampere only imitate it
        return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return any(_cpu_has(feature) for feature in ("avx512_bf16", "amx_tile"))
    return False


def memory_in_use(device: torch.device) -> tuple[int, int] | None:
    """Bytes at the peak since the last call, and bytes free for more; None where nobody knows."""
    if device.type != "cuda":
        return None
    peak = torch.cuda.max_memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return peak, torch.cuda.mem_get_info(device)[0] + unused


def _cpu_has(feature: str) -> bool:
    """Whether PyTorch sees a feature of the CPU; False where a release cannot tell."""
    asked = getattr(torch.cpu, f"_is_{feature}_supported", None)
    return asked is not None and bool(asked())
