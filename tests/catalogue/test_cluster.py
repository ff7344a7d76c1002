"""A Ray cluster of this machine: every song once, whatever becomes of an actor."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from works import CopyWork, notes

from stemwise.catalogue import cluster
from stemwise.catalogue.assignment import RefusedError
from stemwise.catalogue.cluster import cores_of_each, run_cluster
from stemwise.catalogue.entries import Entry
from stemwise.catalogue.place import Place
from stemwise.errors import CatalogueError


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let actors find the works of these tests."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
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


def test_actors_tell_how_far_their_songs_are_and_those_that_hang_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_TOLD_EVERY", 0.1)
    told: list[tuple[str, float, float | None]] = []

    def follow(entry: Entry, done: float, total: float | None) -> None:
        told.append((entry.id, done, total))
        if done > 0:
            (tmp_path / "heard").touch()

    songs = [Entry("song", "heard"), Entry("hung", "wait"), Entry("last", "good")]
    work = CopyWork(tmp_path)
    heard, hung, last = run_cluster(work, songs, "local", 1, follow=follow, patience=3.0)
    assert heard.state == "done", heard.sentence
    assert ("song", 0.5, 1.0) in told, "while the song was being done"
    assert (hung.id, hung.state) == ("hung", "failed")
    assert str(hung.sentence).startswith("wait made no progress for ")
    assert (last.id, last.state) == ("last", "done"), "another actor took its place"


def test_work_that_cannot_begin_ends_the_run(tmp_path: Path) -> None:
    songs = [Entry("song", "good")]
    with pytest.raises(RefusedError, match="There is no model 'x'"):
        list(run_cluster(CopyWork(tmp_path, refuse=True), songs, "local", 1))


def test_a_cluster_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"The cluster 127\.0\.0\.1:1 cannot be reached"):
        list(run_cluster(CopyWork(tmp_path), [Entry("song", "good")], "127.0.0.1:1"))


@pytest.mark.parametrize(
    ("machines", "workers", "cores"),
    [
        ([1, 1], None, 1),  # two cores would lie in two machines, and no actor would ever start
        ([8, 4], None, 2),
        ([], None, 1),
        ([4, 4], 1, 4),
        ([8, 8], 3, 4),
        ([4, 2], 2, 2),
        ([2, 2], 9, 1),
    ],
)
def test_cores_of_an_actor_lie_in_one_machine(
    machines: list[int], workers: int | None, cores: int
) -> None:
    assert cores_of_each(machines, workers) == cores


def test_a_machine_without_the_folder_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with Place.here(Path("out/.parts")) as place:
        monkeypatch.chdir(tmp_path)
        assert place.enter() is None
        assert os.getcwd() == str(tmp_path / "elsewhere")
    assert not Path("out/.parts").exists()
    assert "does not have the folder" in str(place.enter())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere/out").rmdir()
    (tmp_path / "elsewhere").rmdir()
    assert f"does not have the folder {tmp_path / 'elsewhere'}" in str(place.enter())


def test_machines_with_other_versions_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "install the same version" in str(Place(str(tmp_path), None, "0.0.0").enter())


def test_actors_that_never_begin_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # actors find no module "works"
    with pytest.raises(RefusedError, match=r"ended before they had begun .*'works'"):
        list(run_cluster(CopyWork(tmp_path), [Entry("song", "good")], "local", 1))
