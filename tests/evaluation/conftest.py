"""Shared fixtures: the reference implementation that everybody quotes."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def museval_metrics() -> Iterator[Any]:
    """The module `museval.metrics`, without musdb: that needs an ffmpeg binary to be imported."""
    if importlib.util.find_spec("museval") is None:
        pytest.skip("the package 'museval' is not installed: there is no reference to compare with")
    before = set(sys.modules)
    if "musdb" not in before:
        sys.modules["musdb"] = types.ModuleType("musdb")
    try:
        yield importlib.import_module("museval.metrics")
    finally:
        for name in set(sys.modules) - before:  # nothing that saw the stub stays
            if name.split(".")[0] in ("museval", "musdb"):
                sys.modules.pop(name, None)
