"""SIGKILL to workers, the driver and all processes of a run: nothing is lost, halved or twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from killed_run import SONGS, STOPPED

SCRIPT = Path(__file__).with_name("killed_run.py")
_LONG = 120.0


@dataclass
class Runs:
    """Runs one after another in one folder."""

    folder: Path

    def __post_init__(self) -> None:
        for name in ("trace", "tmp"):
            (self.folder / name).mkdir(parents=True)

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Begin a run."""
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), str(self.folder), *options],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={
                **os.environ,
                "TMPDIR": str(self.folder / "tmp"),
                "RAY_TMPDIR": tempfile.gettempdir(),  # its sockets need short names
                "PYTHONPATH": os.pathsep.join(
                    [str(SCRIPT.parent), os.environ.get("PYTHONPATH", "")]
                ),
                "OMP_NUM_THREADS": "1",
            },
        )

    def finish(self, *options: str) -> str:
        """A run to its end; what it says."""
        run = self.start(*options)
        assert run.stderr is not None
        said = run.stderr.read()
        assert run.wait() == 0, said
        return said

    def killed(self, *options: str) -> None:
        """A run that kills itself."""
        run = self.start(*options)
        assert run.wait(_LONG) == -signal.SIGKILL, options
        self.wait_for_orphans()

    def steps(self) -> list[list[str]]:
        """What the workers noted so far: instant, process."""
        notes = self.folder / "trace" / "notes.txt"
        return [line.split() for line in notes.read_text().splitlines()] if notes.exists() else []

    def wait_for(self, steps: int, run: subprocess.Popen[str]) -> None:
        """Wait until the workers have noted so many more, or the run has ended."""
        goal = len(self.steps()) + steps
        until = time.monotonic() + _LONG
        while len(self.steps()) < goal and run.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.002)

    def wait_for_orphans(self) -> None:
        """Workers end by themselves once their driver is gone, whatever they are doing."""
        workers = {int(process) for _, process in self.steps()}
        until = time.monotonic() + 30
        while any(_runs(process) for process in workers):
            assert time.monotonic() < until, "a worker survived its driver"
            time.sleep(0.01)

    def stopped(self, run: subprocess.Popen[str]) -> None:
        """Check what a run leaves that was told to stop: results of whole songs, and its ledger."""
        assert run.wait(_LONG) == STOPPED
        self.wait_for_orphans()
        out = self.folder / "out"
        assert [path.name for path in out.rglob(".*")] == [".ledger.jsonl.lock"]
        assert not list((self.folder / "tmp").iterdir())
        songs = [path for path in out.glob("*/*") if path.is_dir()]
        assert all({file.name for file in song.iterdir()} in ({"a", "b"}, set()) for song in songs)

    def check(self) -> None:
        """All results are there and whole, each song is noted once, and nothing else is left."""
        out = self.folder / "out"
        there = {
            path.relative_to(out).as_posix(): path.read_text()
            for path in out.rglob("*")
            if path.is_file() and "ledger" not in path.name
        }
        assert there == {
            f"album{index % 3}/song{index}/{name}": "".join(
                f"album{index % 3}/song{index} {name} {block}\n" * 500 for block in range(4)
            )
            for index in range(SONGS)
            for name in "ab"
        }
        hidden = [path.name for path in out.rglob(".*")]
        assert hidden == [".ledger.jsonl.lock"]
        assert not list((self.folder / "tmp").iterdir())
        lines = [json.loads(line) for line in (out / "ledger.jsonl").read_text().splitlines()]
        done = Counter(line["id"] for line in lines[1:] if line["state"] == "done")
        assert len(done) == SONGS
        assert set(done.values()) == {1}


def _runs(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # nobody may be there to take note of its end


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    if not Path("/proc/self/stat").exists():
        pytest.skip("this test looks at processes as Linux shows them")
    return Runs(tmp_path)


@pytest.mark.parametrize(("whom", "seed"), [("driver", 1), ("all", 2)])
def test_kills_at_random_instants(runs: Runs, whom: str, seed: int) -> None:
    draw = random.Random(seed)
    for number in range(12):
        # one in four before the workers have begun; together less than all songs take
        instant = len(runs.steps()) + draw.randrange(1, 45)
        runs.killed(f"{instant if number % 4 else 'early'}-{whom}")
    assert "songs done, " in runs.finish()
    runs.check()
    assert f"0 songs done, {SONGS} were done before" in runs.finish()


@pytest.mark.parametrize("whom", ["driver", "all"])
def test_kills_at_chosen_instants(runs: Runs, whom: str) -> None:
    for point in ("begin", "fetch", "write", "rename", "renamed"):
        runs.killed(f"{point}-{whom}")
    if whom == "driver":
        for instant in ("before-line", "torn-line", "after-line"):
            runs.killed(instant)
    runs.finish()
    runs.check()


def test_killed_workers_cost_no_song(runs: Runs) -> None:
    chosen = ("begin-worker", "fetch-worker", "write-worker", "rename-worker", "renamed-worker")
    others = [f"{number}-worker" for number in random.Random(3).sample(range(30, 500), 9)]
    run = runs.start(*chosen, *others)
    assert run.stderr is not None
    said = run.stderr.read()
    if run.wait() != 0:  # a song was hit twice, which counts as its own fault
        assert "brought down 2 processes (signal SIGKILL)" in said
        runs.finish("retry")
    runs.check()
    assert len(list((runs.folder / "trace").glob("*-*"))) == len(chosen) + len(others)


@pytest.mark.parametrize("whom", ["driver", "all"])  # terminals and batch systems tell all
def test_runs_that_are_told_to_stop(runs: Runs, whom: str) -> None:
    runs.stopped(runs.start(f"12-{whom}-SIGINT"))
    runs.stopped(runs.start(f"40-{whom}-SIGTERM"))
    runs.finish()
    runs.check()


def test_two_runs_into_one_folder_leave_each_other_alone(runs: Runs) -> None:
    slow = runs.start("slow")
    runs.wait_for(6, slow)
    assert slow.poll() is None
    assert f"{SONGS} songs done" in runs.finish("elsewhere")
    assert slow.stderr is not None
    assert f"{SONGS} songs done" in slow.stderr.read()
    assert slow.wait() == 0
    runs.check()


def test_kills_on_a_cluster(runs: Runs) -> None:
    run = runs.start("cluster", "slow")
    runs.wait_for(20, run)
    # agents of Ray that serve nobody any more end a minute later
    processes = [one for one in _descendants(run.pid) if b"Agent" not in _command(one)]
    assert run.poll() is None, run.stderr.read() if run.stderr else ""
    assert len(processes) > 3
    run.kill()
    assert run.wait() == -signal.SIGKILL
    until = time.monotonic() + 60
    while any(_runs(process) for process in processes):
        assert time.monotonic() < until, "a process survived its driver"
        time.sleep(0.05)

    run = runs.start("cluster", "slow")
    runs.wait_for(20, run)
    run.terminate()
    runs.stopped(run)

    runs.finish("cluster", "fetch-worker", "rename-worker")
    runs.check()


def _descendants(process: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{process}/task").iterdir())
        children = [one for task in tasks for one in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [one for child in children for one in (int(child), *_descendants(int(child)))]


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
