"""Songs of an hour: memory does not grow with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RATE = 8000


def _zeros(path: Path, seconds: int) -> Path:
    """A mono WAV file of silence that takes no room on disk."""
    size = seconds * RATE * 2
    numbers = ((16, 4), (1, 2), (1, 2), (RATE, 4), (2 * RATE, 4), (2, 2), (16, 2))
    head = b"".join(number.to_bytes(width, "little") for number, width in numbers)
    riff = b"RIFF" + (size + 36).to_bytes(4, "little") + b"WAVEfmt " + head
    path.write_bytes(riff + b"data" + size.to_bytes(4, "little"))
    os.truncate(path, size + 44)
    return path


def _detect(model: Path, song: Path) -> tuple[dict[str, float], float]:
    """What `stemwise detect --json` says, and the most memory that its process took, in MB."""
    command = [sys.executable, "-m", "stemwise.cli", "detect", str(song), "-n", str(model)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    with process.stdout as stdout:
        told = json.loads(stdout.read())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return told, usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "wait4"), reason="memory is measured with wait4")
def test_an_hour_takes_no_more_memory_than_minutes(model: Path, tmp_path: Path) -> None:
    _, short = _detect(model, _zeros(tmp_path / "short.wav", 180))
    told, long = _detect(model, _zeros(tmp_path / "hour.wav", 3600))
    assert told["duration"] == 3600
    assert long < short + 100
    # an hour at the network's rate, in stereo, would be 1.3 GB
    assert long < 1000
