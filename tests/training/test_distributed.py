"""Two processes on gloo: the same curves as one, and one end for both."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from short_runs import command, rows_of, state_of, write_recipe
from stemwise.cli import run
from stemwise.training.checkpoint import list_checkpoints

PROCESSES = Path(__file__).parent / "processes.py"
RATE = 22050
NO_NORM: dict[str, Any] = {
    "separator": {
        "name": "joint-unet",
        "config": {"features": 4},
        "sources": ["vocals", "drums"],
    },
    "batch": 4,
    "data": {"seconds": 0.2, "mix": ["vocals", "drums", "bass", "other"]},
    "objective": {"name": "mse"},
    "weighting": {"weights": {"separation": 1.0, "activity": 0.1}},
    "optimiser": {"learning_rate": 0.003, "clip": 0.2},
    "validation": {"every": 3, "excerpts": 10, "seconds": 0.2, "best": {"best": "loss"}},
}
"""A network without batch normalisation, which on a CPU looks at each process's batch alone."""
INTERLEAVED = {
    **NO_NORM,
    "procedure": "interleaved",
    "data": {"seconds": 0.2, "sampling": {"name": "independent"}},
}
BALANCED = {
    **NO_NORM,
    "steps": 3,
    "channels_last": True,
    "weighting": {"name": "gradnorm", "activity": 0.1},
    "data": {"seconds": 0.2, "drop": {"drums": 0.5}},
}


@pytest.fixture(scope="module")
def partly(songs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of songs, one without drums and one without labels: not all batches teach all."""
    root = tmp_path_factory.mktemp("partly") / "songs"
    for folder in sorted(songs.glob("*/*")):
        copy = root / folder.relative_to(songs)
        copy.mkdir(parents=True)
        for file in folder.iterdir():
            (copy / file.name).symlink_to(file)
    (root / "train" / "song1" / "activity.csv").unlink()
    without = root / "train" / "song2"
    stems = [soundfile.read(path)[0] for path in sorted(without.glob("*.wav"))]
    soundfile.write(without / "mixture.wav", np.sum(stems, axis=0), RATE)
    (without / "drums.wav").unlink()
    return root


def launch(arguments: list[str], environments: list[Mapping[str, str]]) -> list[tuple[int, str]]:
    """Exit status and error output of one process for each environment."""
    started = [
        subprocess.Popen(
            [sys.executable, str(PROCESSES), *arguments],
            env={**os.environ, "OMP_NUM_THREADS": "1", **one},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for one in environments
    ]
    said = [process.communicate(timeout=200)[1] for process in started]
    return [(process.returncode, text) for process, text in zip(started, said, strict=True)]


def as_torchrun(world: int = 2) -> list[Mapping[str, str]]:
    """What torchrun tells its processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world), "GROUP_RANK": "0"}
    return [{**shared, "RANK": str(k), "LOCAL_RANK": str(k)} for k in range(world)]


def test_two_processes_learn_what_one_does(partly: Path, tmp_path: Path) -> None:
    """With half of the batch each: joint, interleaved, and weights from gradients."""
    runs = {"joint": NO_NORM, "interleaved": INTERLEAVED, "balanced": BALANCED}
    arguments: list[str] = []
    for name, changes in runs.items():
        file = write_recipe(tmp_path / f"{name}.yaml", **changes)
        assert run(command(file, partly, tmp_path / f"{name}-1")) == 0
        halves = command(file, partly, tmp_path / f"{name}-2")
        if name == "joint":  # stopped together after a step, and resumed by both
            resumed = ["train", "--resume", str(tmp_path / f"{name}-2"), "-d", "cpu"]
            halves += ["--minutes", "0", "--", *resumed]
        arguments += ["--", *halves]
    ends = launch(arguments, as_torchrun())
    assert [status for status, _ in ends] == [0, 0], ends
    assert ends[1][1] == "", "the first process alone tells"
    assert "process group" not in ends[0][1]
    for name in runs:
        one, two = (rows_of(tmp_path / f"{name}-{count}") for count in (1, 2))
        assert [row[:2] for row in one] == [row[:2] for row in two]
        for (step, kind, expected), (_, _, found) in zip(one, two, strict=True):
            assert found == pytest.approx(expected, rel=1e-4, abs=1e-4), (name, step, kind)
        state_1, state_2 = (state_of(tmp_path / f"{name}-{count}") for count in (1, 2))
        for key, value in state_1["weights"].items():
            torch.testing.assert_close(state_2["weights"][key], value, rtol=1e-3, atol=1e-4)
        assert len(state_2["random"]) == 2


def test_a_nan_in_one_process_stops_all(songs: Path, tmp_path: Path) -> None:
    spoilt = tmp_path / "songs" / "train"
    for name in ("fine", "spoilt"):
        (spoilt / name).mkdir(parents=True)
        for file in (songs / "train" / "song0").iterdir():
            (spoilt / name / file.name).symlink_to(file)
    (spoilt / "spoilt" / "vocals.wav").unlink()
    broken = np.full((4 * RATE, 2), np.nan, dtype=np.float32)
    soundfile.write(spoilt / "spoilt" / "vocals.wav", broken, RATE, subtype="FLOAT")
    # two excerpts a step: sooner or later one process has the good song and one the other
    file = write_recipe(tmp_path / "r.yaml", **{**NO_NORM, "batch": 2, "steps": 40})
    ends = launch(command(file, tmp_path / "songs", tmp_path / "out"), as_torchrun())
    assert [status for status, _ in ends] == [1, 1], ends
    for _, said in ends:
        last = said.splitlines()[-1]
        assert re.match(r"stemwise: step \d+: a loss or gradient is not a number", last), said
        assert "spoilt@" in last


def test_a_lost_process_ends_the_job_and_the_run_goes_on_alone(songs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    changes = {**NO_NORM, "steps": 100_000, "checkpoint": {"every": 2, "minutes": None}}
    file = write_recipe(tmp_path / "r.yaml", **changes)
    job = subprocess.Popen(
        [sys.executable, "-m", "stemwise", *command(file, songs, out, "--devices", "2")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 200
    while not list_checkpoints(out / "checkpoints"):
        assert job.poll() is None, job.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(_process(job.pid, rank=1), signal.SIGKILL)
    said = job.communicate(timeout=100)[1]
    assert job.returncode != 0
    assert "another process of this run has ended" in said
    step = state_of(out)["step"]
    assert run(["train", "--resume", str(out), "-d", "cpu", f"steps={step + 2}"]) == 0
    assert state_of(out)["step"] == step + 2
    rows = [row[0] for row in rows_of(out) if row[1] == "train"]
    assert rows == list(range(1, step + 3)), "every step once"


def _process(parent: int, rank: int) -> int:
    """The id of a process that torchrun started."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            started_by = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            variables = (entry / "environ").read_bytes().split(b"\0")
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
        if started_by == parent and f"RANK={rank}".encode() in variables:
            return int(entry.name)
    raise AssertionError(f"there is no process of rank {rank}")


SRUN = """#!/bin/bash
# what srun tells the tasks of a step on one machine
export SLURM_STEP_NUM_TASKS=$SLURM_NTASKS SLURM_NODEID=0
for ((task = 0; task < SLURM_NTASKS; task++)); do
    SLURM_PROCID=$task SLURM_LOCALID=$task "$@" &
    tasks+=($!)
done
for task in "${tasks[@]}"; do wait "$task" || failed=$?; done
exit "${failed:-0}"
"""


def test_the_batch_script_of_the_page_starts_and_goes_on(songs: Path, tmp_path: Path) -> None:
    """As SLURM would run it, twice: the second time it is queued again."""
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    [script] = re.findall(r"```bash\n(#!/bin/bash\n#SBATCH.*?)```", page, re.DOTALL)
    (tmp_path / "train.sh").write_text(script)
    commands = {"srun": SRUN, "stemwise": f'#!/bin/bash\nexec {sys.executable} -m stemwise "$@"\n'}
    for name, text in commands.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    job = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1"}
    job |= {"SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NAME": "stemwise"}
    job |= {"SLURM_NODELIST": "127.0.0.1", "SLURM_CPUS_PER_TASK": "1"}
    file, out = write_recipe(tmp_path / "r.yaml", **{**NO_NORM, "steps": 3}), tmp_path / "out"
    environment = {**os.environ, **job, "RECIPE": str(file), "RUN": str(out)}
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    arguments = ["bash", str(tmp_path / "train.sh"), "--data", str(songs), "-d", "cpu"]
    for more, step in ((["--minutes", "0"], 1), ([], 3)):
        ended = subprocess.run(
            [*arguments, *more], env=environment, capture_output=True, text=True, timeout=200
        )
        assert ended.returncode == 0, ended.stderr
        assert state_of(out)["step"] == step
        assert len(state_of(out)["random"]) == 2, "two processes"
        assert ended.stdout.count("at step") == 1, "the first tells"
