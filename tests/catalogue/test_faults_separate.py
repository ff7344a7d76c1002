"""SIGKILL to processes of `stemwise separate`, with a real though tiny network."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from small_networks import small
from stemwise import models

_LONG = 200.0


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """Separates ten songs, two of which have to be fetched."""
    models.save(small("band-unet"), tmp_path / "tiny.safetensors")
    rows = []
    for index in range(10):
        path = tmp_path / "songs" / f"{index}.wav"
        path.parent.mkdir(exist_ok=True)
        noise = np.random.default_rng(index).standard_normal((22050 + index, 2)) * 0.1
        soundfile.write(path, noise, 44100)
        rows.append({"url": path.as_uri()} if index in (1, 4) else {"path": str(path)})
    (tmp_path / "list.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (tmp_path / "tmp").mkdir()
    arguments = ("separate", "list.jsonl", "-n", "tiny.safetensors", "-j", "2", "--report")
    return [sys.executable, "-m", "stemwise", *arguments]


def start(folder: Path, command: list[str], out: str) -> subprocess.Popen[bytes]:
    surroundings = {"OMP_NUM_THREADS": "1", "TMPDIR": str(folder / "tmp")}
    return subprocess.Popen(
        [*command, "-o", out],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        cwd=folder,
        start_new_session=True,
        env={**os.environ, **surroundings},
    )


def wait_until(reached: Callable[[], bool], run: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _LONG
    while not reached():
        assert run.poll() is None
        assert time.monotonic() < until
        time.sleep(0.002)


def files(folder: Path) -> dict[str, bytes]:
    """All files but those that tell when they were made: the ledger, and pages."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.suffix != ".html" else b""
        for path in folder.rglob("*")
        if path.is_file() and "ledger" not in path.name
    }


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="this test needs Linux's /proc")
def test_kills_of_the_command(tmp_path: Path, command: list[str]) -> None:
    draw = random.Random(4)
    out = tmp_path / "out"

    def noted() -> int:
        ledger = out / "ledger.jsonl"
        return ledger.read_bytes().count(b"\n") if ledger.exists() else 0

    def staged() -> bool:
        return any(out.glob(".parts-*/.*.part/final/*"))

    assert start(tmp_path, command, "whole").wait(_LONG) == 0
    for whom, reached in (
        ("driver", lambda: noted() == 1),
        ("all", staged),
        ("driver", lambda: noted() >= 2),
    ):
        run = start(tmp_path, command, "out")
        wait_until(reached, run)
        time.sleep(draw.uniform(0, 0.05))
        run.kill() if whom == "driver" else os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    run = start(tmp_path, command, "out")
    killed: set[int] = set()
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children")
    while len(killed) < 3:
        # the first as it begins, the others with a song that is half written
        wait_until(lambda: bool(workers(children) - killed) and (not killed or staged()), run)
        time.sleep(draw.uniform(0, 0.02))
        victim = draw.choice(sorted(workers(children) - killed))
        os.kill(victim, signal.SIGKILL)
        killed.add(victim)
    if run.wait(_LONG) != 0:  # one song was hit twice
        assert start(tmp_path, [*command, "--retry-failed"], "out").wait(_LONG) == 0
    assert files(out) == files(tmp_path / "whole")
    assert [path.name for path in out.rglob(".*")] == [".ledger.jsonl.lock"]
    assert not list((tmp_path / "tmp").iterdir())
    lines = [json.loads(line) for line in (out / "ledger.jsonl").read_text().splitlines()[1:]]
    assert sorted(one["id"] for one in lines if one["state"] == "done") == [*"0123456789"]


def workers(children: Path) -> set[int]:
    """Those of the processes of a run that separate."""
    found = set()
    for one in children.read_text().split():
        line = Path(f"/proc/{one}/cmdline")
        if line.exists() and b"spawn_main" in line.read_bytes():
            found.add(int(one))
    return found
