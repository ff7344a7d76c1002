"""A Ray cluster of this machine: every song once, whatever becomes of an actor."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from works import CopyWork, notes

from stemwise.catalogue.assignment import RefusedError
from stemwise.catalogue.cluster import run_cluster
from stemwise.catalogue.entries import Entry
from stemwise.errors import CatalogueError


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let actors find the works of these tests."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_lost_actors_cost_no_song(tmp_path: Path) -> None:
    kinds = ("good", "fail", "crash once", "crash", *["good"] * 6)
    songs = [Entry(f"song{index}", kind) for index, kind in enumerate(kinds)]
    records = {record.id: record for record in run_cluster(CopyWork(tmp_path), songs, "local", 2)}
    assert sorted(records) == sorted(song.id for song in songs)
    failed = {id: str(record.sentence) for id, record in records.items() if record.state != "done"}
    assert sorted(failed) == ["song1", "song3"]
    assert failed["song1"] == "song1 cannot be read: give it as a WAV file."
    assert failed["song3"].startswith("crash brought down 2 processes (ActorDiedError)")
    begun = Counter(words[1] for words in notes(tmp_path))
    assert begun == {**{song.id: 1 for song in songs}, "song2": 2, "song3": 2}


def test_work_that_cannot_begin_ends_the_run(tmp_path: Path) -> None:
    songs = [Entry("song", "good")]
    with pytest.raises(RefusedError, match="There is no model 'x'"):
        list(run_cluster(CopyWork(tmp_path, refuse=True), songs, "local", 1))


def test_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"The cluster 127\.0\.0\.1:1 cannot be reached"):
        list(run_cluster(CopyWork(tmp_path), [Entry("song", "good")], "127.0.0.1:1"))
