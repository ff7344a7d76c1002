"""Work that does not go as planned: cancelled, too slow, its process killed, deleted meanwhile."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from tests.studio.conftest import Live, long_song, song, wait_until
from tests.studio.test_server_events import events

from stemwise.studio.jobs import Job
from stemwise.studio.supervisor import _Slot


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A song that is not done before a test is."""
    return long_song(tmp_path_factory.mktemp("long") / "long.flac", 3600, 8000)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return song(tmp_path_factory.mktemp("short") / "short.wav", 1)


def started(live: Live, path: Path) -> str:
    """A job whose song is being separated."""
    id = str(live.client.upload(path)["id"])
    wait_until(lambda: live.client.job(id)["seconds_done"] > 0, "The song did not begin.")
    return id


def worker_of(live: Live) -> int:
    """The process that separates."""
    slots = [one for one in live.studio.supervisor._slots if isinstance(one, _Slot)]
    assert slots[0]._child is not None
    assert slots[0]._child.pid is not None
    return slots[0]._child.pid


def files(live: Live, id: str) -> list[str]:
    return sorted(one.name for one in live.studio.folders.job(id).rglob("*"))


def test_a_running_job_tells_its_progress_and_can_be_cancelled(live: Live, long: Path) -> None:
    id = started(live, long)
    waiting = live.client.upload(long)["id"]
    assert live.client.job(waiting)["position"] == 1
    assert live.client.post(f"/api/jobs/{waiting}/cancel").json()["state"] == "cancelled"
    wait_until(lambda: live.client.job(id)["eta"] is not None, "The speed was not told.")
    job = live.client.job(id)
    assert job["seconds_total"] == 3600
    assert 0 < job["progress"] < 0.9
    assert job["progress"] == pytest.approx(0.9 * job["seconds_done"] / 3600, abs=1e-4)
    assert job["eta"] == pytest.approx((3600 - job["seconds_done"]) / job["speed"], rel=0.1)
    assert live.client.post(f"/api/jobs/{id}/cancel").status_code == 200
    job = live.client.finish(id)
    assert (job["state"], job["error"], job["progress"]) == ("cancelled", None, None)
    assert files(live, id) == ["upload"]  # for another try
    assert live.client.post(f"/api/jobs/{id}/cancel").status_code == 409
    assert live.client.post(f"/api/jobs/{id}/retry").json()["state"] in ("queued", "running")
    assert live.client.post(f"/api/jobs/{id}/cancel").status_code == 200
    assert live.client.finish(id)["state"] == "cancelled"


def test_a_killed_worker_fails_its_job_alone(live: Live, long: Path, short: Path) -> None:
    id = started(live, long)
    next_id = live.client.upload(short)["id"]
    os.kill(worker_of(live), signal.SIGKILL)
    job = live.client.finish(id)
    assert job["state"] == "failed"
    assert "SIGKILL" in job["error"]
    assert files(live, id) == ["upload"]
    assert live.client.finish(next_id)["state"] == "done"


def test_a_song_that_takes_too_long(
    live: Live, long: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(live.studio.settings, timeout=0.5)
    monkeypatch.setattr(live.studio.supervisor, "_settings", settings)
    job = live.client.finish(live.client.upload(long)["id"])
    assert job["state"] == "failed"
    assert "longer than 0.5 seconds" in job["error"]
    assert files(live, job["id"]) == ["upload"]


def test_a_disk_that_fills_up(live: Live, long: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    id = started(live, long)
    monkeypatch.setattr(live.studio.folders, "free", lambda: 1000)
    job = live.client.finish(id)
    assert job["state"] == "failed"
    assert "disk is nearly full" in job["error"]


def test_deleting_a_running_job_stops_it(live: Live, long: Path, short: Path) -> None:
    id = started(live, long)
    assert live.client.delete(f"/api/jobs/{id}").status_code == 204
    assert live.client.get(f"/api/jobs/{id}").status_code == 404
    live.client.separate(short)  # the worker is free again
    wait_until(lambda: not live.studio.folders.job(id).exists(), "Its files stayed.")


def test_a_song_that_breaks_in_the_middle(live: Live, tmp_path: Path) -> None:
    """What can be read is separated, and what was wrong is told without a path."""
    path = long_song(tmp_path / "cut.flac", 4)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    job = live.client.finish(live.client.upload(path)["id"])
    assert job["state"] == "done"
    assert job["warnings"]
    assert not any(str(live.studio.folders.data) in one for one in job["warnings"])


def test_events_tell_the_whole_life_of_a_job(live: Live, short: Path) -> None:
    heard: list[tuple[str, dict[str, object]]] = []
    connected, finished = threading.Event(), threading.Event()

    def listen() -> None:
        text = ""
        with live.client.stream("GET", "/api/events") as stream:
            for piece in stream.iter_text():
                text += piece
                connected.set()
                heard[:] = events(text)
                if any(event == "deleted" for event, _ in heard):
                    finished.set()
                    return

    thread = threading.Thread(target=listen)
    thread.start()
    assert connected.wait(60)
    id = live.client.upload(short)["id"]
    with live.client.stream("GET", f"/api/jobs/{id}/events") as stream:
        own = events("".join(stream.iter_text()))  # it ends with the job
    assert own[-1][1]["state"] == "done"
    assert all(data["id"] == id for _, data in own)
    again = events(live.client.get(f"/api/jobs/{id}/events").text)
    assert [data["state"] for _, data in again] == ["done"]
    live.client.delete(f"/api/jobs/{id}")
    assert finished.wait(60)
    thread.join()
    states = [data["state"] for event, data in heard if event == "job" and data["id"] == id]
    assert states[-1] == "done"
    assert "running" in states
    assert heard[-1] == ("deleted", {"id": id})


def test_a_job_of_a_model_that_has_gone(live: Live, short: Path) -> None:
    folders, jobs = live.studio.folders, live.studio.jobs
    id = live.client.separate(short)
    folders.job("B" * 22).mkdir()
    folders.upload("B" * 22).write_bytes(folders.upload(id).read_bytes())
    now = jobs.clock()
    jobs.add(Job("B" * 22, "song", "gone", ("vocals",), "off", now, now))
    job = live.client.finish("B" * 22)
    assert job["state"] == "failed"
    assert job["error"] == "The model 'gone' is not on this computer any more."
