"""The list of jobs: order, states, what a restart finds, what is removed."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from stemwise.studio.folders import Folders
from stemwise.studio.jobs import ATTEMPTS, Job, Jobs
from stemwise.studio.names import new_id
from stemwise.studio.settings import StudioError


class Clock:
    """A time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jobs(tmp_path: Path, clock: Clock) -> Jobs:
    return Jobs(tmp_path / "jobs.sqlite3", clock=clock)


def add(jobs: Jobs, name: str = "song") -> Job:
    now = jobs.clock()
    return jobs.add(Job(new_id(), name, "band", ("vocals", "drums"), "off", now, now))


def test_the_queue_is_first_come_first_served(jobs: Jobs) -> None:
    first, second, third = (add(jobs, name) for name in "abc")
    assert [jobs.position(one) for one in (first, second, third)] == [1, 2, 3]
    taken = jobs.take()
    assert taken is not None
    assert (taken.id, taken.state, taken.attempts) == (first.id, "running", 1)
    assert jobs.position(taken) is None
    assert jobs.position(second) == 1
    jobs.change(second.id, state="cancelled")
    assert jobs.position(third) == 1


def test_taking_waits_for_a_job_and_ends_with_the_studio(jobs: Jobs) -> None:
    taken: list[Job | None] = []

    def work() -> None:
        while True:
            taken.append(jobs.take())
            if taken[-1] is None:
                return

    thread = threading.Thread(target=work)
    thread.start()
    job = add(jobs)
    while not taken:
        threading.Event().wait(0.01)
    jobs.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert [one.id if one else None for one in taken] == [job.id, None]


def test_everything_survives_a_restart(tmp_path: Path, jobs: Jobs) -> None:
    job = add(jobs, "J'ai \u4eba \U0001f3b5")
    jobs.change(job.id, state="failed", error="It's broken.", warnings=("one", "two"), size=7)
    before = jobs.get(job.id)
    jobs.close()
    again = Jobs(tmp_path / "jobs.sqlite3")
    assert again.get(job.id) == before
    again.close()


def test_a_job_that_was_interrupted_is_queued_again_and_fails_the_second_time(
    tmp_path: Path, jobs: Jobs
) -> None:
    job = add(jobs)
    assert ATTEMPTS == 2
    for attempt in (1, 2):
        taken = jobs.take()
        assert taken is not None
        assert taken.attempts == attempt
        jobs.close()
        jobs = Jobs(tmp_path / "jobs.sqlite3")
        jobs.recover()
        found = jobs.get(job.id)
        assert found is not None
        assert found.state == ("queued" if attempt == 1 else "failed")
    assert found.error is not None
    assert "stopped 2 times" in found.error
    jobs.close()


def test_an_interrupted_job_comes_before_those_that_waited(tmp_path: Path, jobs: Jobs) -> None:
    first, second = add(jobs), add(jobs)
    jobs.take()
    jobs.recover()
    assert [job.id for job in jobs.queue()] == [first.id, second.id]


def test_changes_can_be_tied_to_a_state(jobs: Jobs) -> None:
    job = add(jobs)
    assert jobs.change(job.id, only=("running",), state="done") is None
    assert jobs.change(job.id, only=("queued",), state="cancelled") is not None
    assert jobs.change(new_id(), state="done") is None


def test_progress_is_told_and_not_written(tmp_path: Path, jobs: Jobs) -> None:
    heard: list[float | None] = []
    add(jobs)
    taken = jobs.take()
    assert taken is not None
    jobs.listen(lambda job, id: heard.append(None if job is None else job.seconds_done))
    jobs.follow(taken.id, seconds_done=3.0)
    jobs.remove(taken.id)
    jobs.follow(taken.id, seconds_done=4.0)
    assert heard == [3.0, None]


def test_whoever_waits_hears_that_the_queue_moves(jobs: Jobs) -> None:
    first, second = add(jobs), add(jobs)
    heard: list[str] = []
    jobs.listen(lambda job, id: heard.append(id))
    jobs.change(first.id, state="cancelled")
    assert heard == [first.id, second.id]


def test_a_database_that_is_none_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite3"
    path.write_bytes(b"this is not a database at all" * 100)
    with pytest.raises(StudioError, match="move it away"):
        Jobs(path)


def test_a_database_of_another_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite3"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version=99")
    with pytest.raises(StudioError, match="another version"):
        Jobs(path)


def test_a_disk_that_takes_nothing_stops_no_work(tmp_path: Path, jobs: Jobs) -> None:
    job = add(jobs)
    jobs._database.execute("PRAGMA query_only=1")
    with pytest.raises(sqlite3.Error):
        add(jobs)
    taken = jobs.take()
    assert taken is not None
    assert jobs.change(job.id, state="done") is not None
    assert [(one.id, one.state) for one in jobs.all()] == [(job.id, "done")]
    jobs.close()
    again = Jobs(tmp_path / "jobs.sqlite3")
    assert [one.state for one in again.all()] == ["queued"]  # as it was last written
    again.close()


def test_what_a_killed_server_left_is_removed(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    kept, strange = new_id(), new_id()
    folders.arriving(new_id()).write_bytes(b"half a song")
    folders.job(strange).mkdir()
    for folder in (folders.work(kept), folders.masters(kept), folders.made(kept) / ".mp3.x"):
        folder.mkdir(parents=True)
        (folder / "vocals.wav").write_bytes(b"x")
    folders.tidy({kept})
    assert list(folders.incoming.iterdir()) == []
    assert [one.name for one in folders.jobs.iterdir()] == [kept]
    assert {one.name for one in folders.job(kept).iterdir()} == {"masters", "made"}
    assert list(folders.made(kept).iterdir()) == []
    assert folders.size(kept) == 1


def test_two_studios_do_not_share_a_folder(tmp_path: Path) -> None:
    first, second = Folders(tmp_path), Folders(tmp_path)
    with (
        first.exclusive(),
        pytest.raises(StudioError, match="Another studio"),
        second.exclusive(),
    ):
        pytest.fail("both have it")
    with second.exclusive():
        assert (tmp_path / "studio.lock").is_file()
