"""Songs that take too much memory, crash or never end: each is reported, and harms no other."""

from __future__ import annotations

import mmap
import os
import signal
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from works import CopyWork, notes

from stemwise.audio import AudioFormat
from stemwise.catalogue import memory, pool
from stemwise.catalogue.assignment import Loss, RefusedError
from stemwise.catalogue.cluster import _Cluster
from stemwise.catalogue.entries import Entry
from stemwise.catalogue.memory import Memory, held_memory, machine_memory
from stemwise.catalogue.pool import run_pool
from stemwise.catalogue.work import Do
from stemwise.naming import Plan
from stemwise.stem_output import StemOutput

LINUX = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this test needs Linux")
MEGABYTE = 10**6


def songs(*kinds: str) -> list[Entry]:
    return [Entry(f"song{index}", kind) for index, kind in enumerate(kinds)]


@LINUX
def test_a_song_that_takes_too_much_memory(tmp_path: Path) -> None:
    kinds = ("good", "eat", "good", "good")
    limit = 250 * MEGABYTE
    records = {
        record.id: record for record in run_pool(CopyWork(tmp_path), songs(*kinds), 2, memory=limit)
    }
    assert records["song1"].sentence == (
        "eat takes more than the 0.25 GB of memory that a process may: choose a shorter --segment "
        "or a larger --memory."
    )
    assert {record.state for id, record in records.items() if id != "song1"} == {"done"}
    assert Counter(words[1] for words in notes(tmp_path)) == {f"song{i}": 1 for i in range(4)}


@LINUX
def test_the_largest_has_to_go_when_the_memory_of_the_machine_runs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "machine_memory", lambda: Memory(500 * MEGABYTE, 0))
    records = {r.id: r for r in run_pool(CopyWork(tmp_path), songs("good", "eat", "good"), 2)}
    sentence = str(records["song1"].sentence)
    assert "when this machine's memory ran out, more than its share: choose" in sentence
    assert [records[f"song{index}"].state for index in (0, 2)] == ["done", "done"]


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (
            "SIGSEGV",
            "SIGSEGV brought down 2 processes (signal SIGSEGV): its file may be damaged, or be "
            "more than the decoder bears; convert it to WAV.",
        ),
        (
            "SIGKILL",
            "SIGKILL brought down 2 processes (signal SIGKILL): the system does so where memory "
            "runs out; choose fewer --jobs or a shorter --segment.",
        ),
        (
            "exit",
            "exit brought down 2 processes (exit status 3): its file may be damaged, or there is "
            "too little memory for it.",
        ),
    ],
)
def test_what_a_process_ended_by_is_told_apart(tmp_path: Path, kind: str, sentence: str) -> None:
    [record] = run_pool(CopyWork(tmp_path), songs(kind), 1)
    assert record.sentence == sentence


def test_a_song_without_progress_is_given_up(tmp_path: Path) -> None:
    records = {
        r.id: r for r in run_pool(CopyWork(tmp_path), songs("wait", "good"), 1, patience=2.0)
    }
    assert "wait made no progress for " in str(records["song0"].sentence)
    assert "and was given up: its file may be damaged" in str(records["song0"].sentence)
    assert records["song1"].state == "done"
    assert Counter(words[1] for words in notes(tmp_path)) == {"song0": 1, "song1": 1}


@dataclass(frozen=True)
class Frail(CopyWork):
    """Its processes are killed before they have begun, so many times."""

    times: int = 0

    def begin(self) -> Do:
        """Make ready, or be killed."""
        marks = [self.folder / f"begin{number}" for number in range(self.times)]
        for mark in marks:
            if not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().begin()


def test_processes_that_are_lost_before_they_begin_are_no_fault_of_songs(tmp_path: Path) -> None:
    records = list(run_pool(Frail(tmp_path, times=2), songs("crash once", "good"), 1))
    assert {record.state for record in records} == {"done"}


def test_a_run_ends_where_no_process_can_begin(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"3 processes ended before they had begun \(signal SIG"):
        list(run_pool(Frail(tmp_path, times=9), songs("good", "good"), 2))
    assert not (tmp_path / "notes.txt").exists(), "no song was to blame"


@dataclass(frozen=True)
class Spilling(CopyWork):
    """Leaves half a song behind when its process is killed."""

    def _do(self, entry: Entry, progress: Any, cancel: threading.Event) -> Mapping[str, Any]:
        plan = Plan(
            Path(entry.source), entry.id, self.folder / "staging", {"stem": Path("a.wav")}, None
        )
        with StemOutput(plan, 44100, 2, format=AudioFormat()):
            return super()._do(entry, progress, cancel)


def test_what_a_killed_process_wrote_does_not_stay_until_the_end_of_the_run(tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    [failed] = run_pool(Spilling(tmp_path), songs("crash"), 1, temporary=staging)
    assert "brought down" in str(failed.sentence)
    assert not list(staging.iterdir())


MEMINFO = "MemTotal: 8000000 kB\nMemFree: 1 kB\nMemAvailable: 4000000 kB\n"


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("", {}, (8192000000, 4096000000)),
        ("0::/\n", {"memory.max": "max\n"}, (8192000000, 4096000000)),
        (
            "0::/job/step\n",
            {
                "job/memory.max": "2000000000",
                "job/memory.current": "1500000000",
                "job/memory.stat": "anon 5\ninactive_file 300000000\n",
                "job/step/memory.max": "max",
            },
            (2000000000, 800000000),
        ),
        (
            "5:cpu:/other\n4:memory:/box\n",
            {
                "memory/box/memory.limit_in_bytes": "1000000000",
                "memory/box/memory.usage_in_bytes": "1200000000",
                "memory/box/memory.stat": "total_inactive_file 0\n",
                "memory/memory.limit_in_bytes": "9223372036854771712",
                "memory/memory.usage_in_bytes": "0",
                "memory/memory.stat": "total_inactive_file 0\n",
            },
            (1000000000, 0),
        ),
    ],
)
def test_what_control_groups_grant_counts(
    tmp_path: Path, groups: str, files: dict[str, str], expected: tuple[int, int]
) -> None:
    contents = {"proc/meminfo": MEMINFO, "proc/self/cgroup": groups}
    contents |= {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    for name, text in contents.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert machine_memory(tmp_path) == Memory(*expected)


def test_memory_is_short_before_it_is_gone() -> None:
    assert Memory(10 * memory.GIGABYTE, memory.GIGABYTE // 4).is_short
    assert not Memory(10 * memory.GIGABYTE, memory.GIGABYTE).is_short
    assert not Memory(1000 * memory.GIGABYTE, 2 * memory.GIGABYTE).is_short
    assert machine_memory(Path("/nowhere")) is None


def test_memory_that_runs_out_on_a_cluster_is_told_apart() -> None:
    ray = pytest.importorskip("ray")
    told = partial(_Cluster._loss, SimpleNamespace(_ray=ray))  # type: ignore[arg-type]
    errors = ray.exceptions
    assert told(errors.OutOfMemoryError("the node ran low")) == Loss("OutOfMemoryError", "memory")
    assert told(errors.ActorDiedError()) == Loss("ActorDiedError", "unknown")


@LINUX
def test_memory_of_this_process_and_machine() -> None:
    before = held_memory(os.getpid())
    with mmap.mmap(
        -1, 50_000_000, mmap.MAP_PRIVATE
    ) as block:  # of the system, not of what the process still holds
        block.write(os.urandom(1000) * 50_000)
        after = held_memory(os.getpid())
    assert before is not None
    assert after is not None
    assert after - before > 40_000_000
    machine = machine_memory()
    assert machine is not None
    assert 0 < machine.free < machine.total
