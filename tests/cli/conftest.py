"""A model small enough for tests, and a way to run command lines in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from stemwise import models
from stemwise.cli import run


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a tiny network with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    network = models.build("band-unet", widths=(8, 8, 8, 8, 8), squeezed=2, hidden=16)
    models.save(network, path)
    return path


@dataclass
class Outcome:
    """Exit status and what was printed."""

    status: int
    out: str
    err: str


Stemwise = Callable[..., Outcome]


@pytest.fixture
def stemwise(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Stemwise:
    """Run `stemwise ARGUMENTS` in an empty folder; no traceback may ever be printed."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object) -> Outcome:
        status = run([str(one) for one in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Outcome(status, captured.out, captured.err)

    return command


def noise(samples: int, channels: int = 2, level: float = 0.1) -> np.ndarray:
    """White noise (sample, channel)."""
    rng = np.random.default_rng(samples)
    return (rng.standard_normal((samples, channels)) * level).astype(np.float32)


def song(path: Path, samples: int = 20000, rate: int = 44100, **how: object) -> Path:
    """Write a WAV file of noise."""
    soundfile.write(path, noise(samples, **how), rate, subtype="FLOAT", format="WAV")  # type: ignore[arg-type]
    return path


def leftovers(folder: Path) -> list[Path]:
    """Hidden or unfinished files."""
    return [one for one in folder.rglob("*") if one.name.startswith(".") or "part" in one.suffix]
