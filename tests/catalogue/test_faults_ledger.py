"""The ledger when disks are full, lines are torn, clocks jump, and two runs meet."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from works import BlockWork

from stemwise.catalogue import ledger as module
from stemwise.catalogue.entries import Entry
from stemwise.catalogue.ledger import Ledger
from stemwise.catalogue.pool import run_pool
from stemwise.catalogue.run import Summary, run
from stemwise.catalogue.work import Record
from stemwise.errors import CatalogueError

TERMS = {"command": "separate"}


def test_truncated_anywhere_it_keeps_whole_lines_and_invents_none(tmp_path: Path) -> None:
    with Ledger(tmp_path, TERMS) as ledger:
        for id, state in (("a", "done"), ("Ü/b", "failed"), ('c"\n', "done")):
            ledger.add(Record(id, state, facts={"file": "x" * 20}))  # type: ignore[arg-type]
    path = tmp_path / "ledger.jsonl"
    content = path.read_bytes()
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        lines = [json.loads(line) for line in content[:length].split(b"\n")[:-1]]
        expected = {line["id"]: line["state"] for line in lines[1:]}
        with Ledger(tmp_path, TERMS) as ledger:
            found = {id: ledger.state(id) for id in ("a", "Ü/b", 'c"\n')}
            ledger.add(Record("new", "done"))
        assert {id: state for id, state in found.items() if state} == expected, length
        # and what was added after the tear is found, too
        again = [json.loads(line) for line in path.read_bytes().splitlines()]
        assert [line.get("id") for line in again] == [None, *expected, "new"], length


@settings(max_examples=30, deadline=None)
@given(
    records=st.lists(
        st.tuples(st.text(st.characters(codec=None)), st.booleans(), st.none() | st.text()),
        max_size=8,
    )
)
def test_whatever_is_added_is_found_again(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[str, bool, str | None]]
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    expected = {}
    with Ledger(folder, TERMS) as ledger:
        for id, done, sentence in records:
            ledger.add(Record(id, "done" if done else "failed", sentence))
            expected[id] = "done" if done else "failed"
    with Ledger(folder, TERMS) as ledger:
        assert {id: ledger.state(id) for id in expected} == expected


def test_a_write_that_takes_less_than_the_line_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(module.os, "write", lambda file, data: write(file, bytes(data)[:7]))
    with Ledger(tmp_path, TERMS) as ledger:
        ledger.add(Record("a", "done"))
    monkeypatch.undo()
    with Ledger(tmp_path, TERMS) as ledger:
        assert ledger.state("a") == "done"


@pytest.mark.parametrize("place", ["write", "fsync"])
def test_a_full_disk_leaves_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def refuse(*arguments: Any) -> int:
        if place == "write":
            write(arguments[0], bytes(arguments[1])[:5])  # as much as there was room for
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write = os.write
    with Ledger(tmp_path, TERMS) as ledger:
        ledger.add(Record("a", "done"))
        before = ledger.path.read_bytes()
        monkeypatch.setattr(module.os, place, refuse)
        with pytest.raises(CatalogueError, match=r"cannot be written \(No space.*free some space"):
            ledger.add(Record("b", "done"))
        monkeypatch.undo()
        assert ledger.path.read_bytes() == before
        assert ledger.state("b") is None


@pytest.mark.parametrize("name", ["ledger.jsonl", ".ledger.jsonl.lock"])
def test_a_folder_that_may_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def refuse(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path).endswith(f"/{name}"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return opened(path, *arguments, **options)

    opened = os.open
    monkeypatch.setattr(os, "open", refuse)
    with (
        pytest.raises(CatalogueError, match=r"ledger.jsonl cannot be written \(Read-only.*choose"),
        Ledger(tmp_path, TERMS),
    ):
        pass
    monkeypatch.undo()
    with Ledger(tmp_path, TERMS) as ledger:
        assert ledger.state("a") is None, "nothing of it is locked"


HOLDER = """
import sys, time
from pathlib import Path
from stemwise.catalogue.ledger import Ledger
with Ledger(Path(sys.argv[1]), {"command": "separate"}):
    print("locked", flush=True)
    time.sleep(100)
"""


def test_another_process_is_refused_until_it_ends_however_it_does(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "locked\n"
    with (
        pytest.raises(CatalogueError, match="Another run is at work"),
        Ledger(tmp_path, TERMS),
    ):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / ".ledger.jsonl.lock").exists()
    with Ledger(tmp_path, TERMS) as ledger:
        ledger.add(Record("a", "done"))


def go(folder: Path, jobs: int = 2, songs: int = 6) -> Summary:
    """A run of a light work in this process, with its processes."""
    staging = folder / "out" / ".parts"
    for one in (folder / "trace", staging):
        one.mkdir(parents=True, exist_ok=True)
    work = BlockWork(folder / "out", folder / "trace").staged(staging)
    entries = [Entry(f"song{index}", f"{index}") for index in range(songs)]
    with Ledger(folder / "out", work.terms()) as ledger:
        return run(
            entries,
            lambda missing: run_pool(work, missing, jobs, temporary=staging),
            ledger,
            retry_failed=True,
        )


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and "ledger" not in path.name)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.mark.parametrize("step", [-7200.0, 7200.0])
def test_a_clock_that_jumps_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    go(tmp_path / "whole")
    now = 1.7e9

    def jump() -> float:
        nonlocal now
        now += step
        return now

    def jumped(seconds: float | None = None) -> time.struct_time:
        return utc(jump() if seconds is None else seconds)

    utc = time.gmtime
    monkeypatch.setattr(time, "time", jump)
    monkeypatch.setattr(time, "gmtime", jumped)
    # every new interpreter, so the processes of the run, too
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(CLOCK.format(step=step))
    paths = f"{tmp_path / 'clock'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    monkeypatch.setenv("PYTHONPATH", paths)
    monkeypatch.setenv("JUMPED", str(tmp_path / "jumped"))
    summary = go(tmp_path / "jumped-run")
    assert (summary.done, summary.failures) == (6, [])
    assert (tmp_path / "jumped").exists(), "the clock of the processes did not jump"
    assert files(tmp_path / "jumped-run" / "out") == files(tmp_path / "whole" / "out")
    lines = (tmp_path / "jumped-run" / "out" / "ledger.jsonl").read_text().splitlines()
    facts = [json.loads(line)["facts"] for line in lines[1:]]
    assert all(0 <= one["elapsed"] < 3000 for one in facts)
    assert go(tmp_path / "jumped-run").already == 6


CLOCK = """
import os, time
now = 1.7e9
def jump():
    global now
    now += {step}
    return now
time.time = jump
open(os.environ["JUMPED"], "w").close()
"""


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """Lets no file of this process, and of those it starts, grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_fills_up_fails_songs_which_are_done_later(
    tmp_path: Path, small_files: Callable[[int], None]
) -> None:
    go(tmp_path / "whole")
    small_files(10_000)  # less than a result, more than a ledger
    summary = go(tmp_path / "run", jobs=1)
    assert summary.done == 0
    assert len(summary.failures) == 6
    assert all("File too large" in str(record.sentence) for record in summary.failures)
    assert not files(tmp_path / "run" / "out" / "song0")
    small_files(resource.RLIM_INFINITY)
    assert go(tmp_path / "run").complete
    found = files(tmp_path / "run" / "out")
    assert {name: data for name, data in found.items() if ".parts" not in name} == files(
        tmp_path / "whole" / "out"
    )


def test_a_disk_that_is_too_full_for_the_ledger_ends_the_run_which_goes_on_later(
    tmp_path: Path, small_files: Callable[[int], None]
) -> None:
    terms = BlockWork(tmp_path, tmp_path).terms()
    with Ledger(tmp_path / "run" / "out", terms) as ledger:  # larger than any result
        ledger.add(Record("earlier", "done", facts={"text": "x" * 100_000}))
        size = ledger.path.stat().st_size
    small_files(size + 300)
    with pytest.raises(CatalogueError, match=r"cannot be written \(File too large\): free some"):
        go(tmp_path / "run")
    small_files(resource.RLIM_INFINITY)
    summary = go(tmp_path / "run")
    assert summary.already > 0
    assert summary.done > 0
    assert summary.already + summary.done == 6
