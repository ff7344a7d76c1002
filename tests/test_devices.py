"""The choice of device and precision, whatever the release of PyTorch."""

from __future__ import annotations

import pytest
import torch

from stemwise.devices import prefers_bfloat16


def test_releases_that_cannot_tell_of_the_cpu_compute_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu = torch.device("cpu")
    for features, answer in (
        ({"avx512_bf16": True}, True),
        ({"amx_tile": False}, False),
        ({}, False),
    ):
        for name in ("avx512_bf16", "amx_tile"):
            monkeypatch.delattr(torch.cpu, f"_is_{name}_supported", raising=False)
        for name, there in features.items():
            asked = f"_is_{name}_supported"
            monkeypatch.setattr(torch.cpu, asked, lambda there=there: there, raising=False)
        assert prefers_bfloat16(cpu) is answer
