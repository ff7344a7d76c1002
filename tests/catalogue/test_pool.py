"""Processes that do songs: all of them once, whatever becomes of a process."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from works import CopyWork, ThreadsWork, notes

from stemwise.catalogue.assignment import RefusedError
from stemwise.catalogue.entries import Entry
from stemwise.catalogue.ledger import Ledger
from stemwise.catalogue.pool import run_pool
from stemwise.catalogue.run import run
from stemwise.cores import cores
from stemwise.errors import CatalogueError


def songs(*kinds: str) -> list[Entry]:
    return [Entry(f"song{index}", kind) for index, kind in enumerate(kinds)]


def test_every_song_is_done_once_by_all_processes(tmp_path: Path) -> None:
    told: set[str] = set()
    records = list(
        run_pool(CopyWork(tmp_path), songs(*["good"] * 12), 2, lambda e, d, t: told.add(e.id))
    )
    assert {record.id for record in records} == told == {f"song{index}" for index in range(12)}
    assert {record.state for record in records} == {"done"}
    assert records[0].facts["file"].endswith(f"{records[0].id}.txt")
    done = notes(tmp_path)
    assert Counter(words[1] for words in done).most_common(1)[0][1] == 1
    assert len({words[2] for words in done}) == 2, "both processes took part"


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    from stemwise.separation import Options

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    records = list(run_pool(ThreadsWork(Options()), songs("a", "b"), 2))
    share = max(1, cores() // 2)
    assert [record.facts["threads"] for record in records] == [share, share]
    assert [record.facts["cores"] for record in records] == [share, share]


def test_failures_stop_nobody_else(tmp_path: Path) -> None:
    kinds = ("fail", "good", "crash", "defect", "crash once", "good")
    records = {r.id: r for r in run_pool(CopyWork(tmp_path), songs(*kinds), 2)}
    assert [records[f"song{i}"].state for i in range(6)] == [
        *("failed", "done", "failed", "failed", "done", "done")
    ]
    assert records["song0"].sentence == "song0 cannot be read: give it as a WAV file."
    assert "brought down 2 processes (signal SIGKILL)" in str(records["song2"].sentence)
    assert "failed unexpectedly at works.py:" in str(records["song3"].sentence)
    begun = Counter(words[1] for words in notes(tmp_path))
    assert begun == {"song0": 1, "song1": 1, "song2": 2, "song3": 1, "song4": 2, "song5": 1}


def test_songs_are_taken_as_processes_become_free(tmp_path: Path) -> None:
    taken: list[str] = []

    def many() -> Iterator[Entry]:
        for index in range(10**9):
            taken.append(f"song{index}")
            yield Entry(f"song{index}", "good")

    records = run_pool(CopyWork(tmp_path), many(), 2)
    for _ in range(5):
        next(records)
    records.close()
    assert len(taken) <= 5 + 2


def test_stopping_lets_songs_clean_up(tmp_path: Path) -> None:
    records = run_pool(CopyWork(tmp_path), songs("good", "wait"), 2)
    next(records)
    deadline = time.monotonic() + 60
    while len(notes(tmp_path)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    records.close()
    assert ["cancelled", "song1"] in notes(tmp_path)


def test_work_that_cannot_begin_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="There is no model 'x'"):
        list(run_pool(CopyWork(tmp_path, refuse=True), songs("good", "good"), 2))


def test_a_run_does_what_is_missing(tmp_path: Path) -> None:
    work = CopyWork(tmp_path)

    def go(*kinds: str, retry: bool = False) -> dict[str, object]:
        with Ledger(tmp_path, work.terms()) as ledger:
            told: list[str] = []
            summary = run(
                songs(*kinds),
                lambda entries: run_pool(work, entries, 1),
                ledger,
                retry_failed=retry,
                tell=lambda record: told.append(record.id),
            )
        assert len(told) == summary.done + len(summary.failures)
        assert summary.complete == (not summary.failures and not summary.left_failed)
        return summary.to_json()

    first = go("good", "fail")
    assert first == {
        "done": 1,
        "already": 0,
        "failed": 1,
        "left_failed": 0,
        "failures": {"song1": "song1 cannot be read: give it as a WAV file."},
    }
    again = go("good", "good", "good")
    assert (again["done"], again["already"], again["left_failed"]) == (1, 1, 1)
    retried = go("good", "good", "good", retry=True)
    assert (retried["done"], retried["already"], retried["failed"]) == (1, 2, 0)
    assert Counter(words[1] for words in notes(tmp_path)) == {"song0": 1, "song1": 2, "song2": 1}


def test_songs_of_one_id_are_refused_before_any_work(tmp_path: Path) -> None:
    work = CopyWork(tmp_path)
    with Ledger(tmp_path, {}) as ledger, pytest.raises(CatalogueError, match="the same name"):
        run([Entry("a", "x"), Entry("A", "y")], lambda e: run_pool(work, e, 1), ledger)
    assert not (tmp_path / "notes.txt").exists()
