"""Shared fixtures: optional folders of real recordings and metadata, seeded generators."""

from __future__ import annotations

import os
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # one core each: before anything counts the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set: this test needs that folder of real recordings")
    return Path(value)


@pytest.fixture
def real_audio() -> Path:
    """Folder of real recordings named by $STEMWISE_REAL_AUDIO."""
    return _folder("STEMWISE_REAL_AUDIO")


@pytest.fixture
def real_metadata() -> Path:
    """Folder of real annotations named by $STEMWISE_REAL_METADATA."""
    return _folder("STEMWISE_REAL_METADATA")


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(0)
