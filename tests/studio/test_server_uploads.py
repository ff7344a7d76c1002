"""Songs on their way in: what is taken, what is refused, and that refusals leave nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.studio.conftest import Offline, song

from stemwise.studio import studio as studio_module
from stemwise.studio.inspection import Inspector, NotAudio

Make = Callable[..., Offline]


@pytest.fixture(scope="module")
def wave(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return song(tmp_path_factory.mktemp("song") / "song.wav", 0.5).read_bytes()


def stored(studio: Offline) -> list[str]:
    """Files of songs that a studio has."""
    folders = studio.studio.folders
    found = [*folders.incoming.rglob("*"), *folders.jobs.rglob("*")]
    return [str(one.relative_to(folders.data)) for one in found if one.is_file()]


def test_a_song_is_queued(offline: Make, wave: bytes) -> None:
    studio = offline()
    answer = studio.upload(wave, "song.wav", stems="drums, vocals", gate="median")
    assert answer.status_code == 201
    job = answer.json()
    assert answer.headers["Location"] == f"/api/jobs/{job['id']}"
    assert (job["state"], job["position"], job["name"]) == ("queued", 1, "song.wav")
    assert (job["model"], job["stems"], job["gate"]) == ("tiny", ["vocals", "drums"], "median")
    assert job["seconds_total"] == 0.5
    assert job["size"] == len(wave)
    assert stored(studio) == [f"jobs/{job['id']}/upload"]
    assert studio.ask("GET", f"/api/jobs/{job['id']}").json() == job
    assert studio.ask("GET", "/api/jobs").json() == {"jobs": [job]}


@pytest.mark.parametrize(
    "name",
    ["../../../etc/passwd", "a\x00b.wav", "n" * 4000, "\u4eba\u9593.wav", "..", "<b>&\"'.wav", "~"],
)
def test_names_never_reach_the_disk(offline: Make, wave: bytes, name: str) -> None:
    studio = offline()
    answer = studio.upload(wave, name)
    assert answer.status_code == 201
    id = answer.json()["id"]
    assert stored(studio) == [f"jobs/{id}/upload"]
    assert studio.studio.folders.upload(id).read_bytes() == wave


def test_the_content_decides_and_not_the_name(offline: Make, wave: bytes, tmp_path: Path) -> None:
    studio = offline()
    assert studio.upload(wave, "document.pdf").status_code == 201
    for content in (b"%PDF-1.7 this is a document", b"RIFF\0\0\0\0WAVE", b"\0" * 5000, b"ID3"):
        answer = studio.upload(content, "honest.mp3")
        assert answer.status_code == 415
        sentence = answer.json()["detail"]
        assert str(studio.studio.folders.data) not in sentence
        assert "incoming" not in sentence
    broken = np.zeros((1000, 2), np.float32)
    broken[500] = np.nan
    soundfile.write(tmp_path / "nan.wav", broken, 44100, subtype="FLOAT")
    answer = studio.upload((tmp_path / "nan.wav").read_bytes(), "nan.wav")
    assert answer.status_code == 415
    assert answer.json()["detail"].startswith("nan.wav has a sample that is not a number")
    assert len(stored(studio)) == 1


def test_a_body_that_is_not_sent_as_audio(offline: Make, wave: bytes) -> None:
    studio = offline()
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/json", "video/mp4"):
        answer = studio.ask("POST", "/api/jobs", content=wave, headers={"Content-Type": kind})
        assert answer.status_code == 415
        assert "application/octet-stream" in answer.json()["detail"]
    assert studio.ask("POST", "/api/jobs", content=wave).status_code == 415
    assert studio.upload(b"").status_code == 415
    assert stored(studio) == []


def test_too_large_by_its_own_account_and_by_what_arrives(offline: Make, wave: bytes) -> None:
    studio = offline(max_upload=50_000)
    assert studio.upload(wave).status_code == 413

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(wave), 10_000):
            yield wave[start : start + 10_000]

    answer = studio.upload(pieces())  # without a Content-Length
    assert answer.status_code == 413
    assert answer.json()["detail"] == "The song is larger than 0.05 MB."
    assert stored(studio) == []


def test_a_stalled_upload_is_given_up(offline: Make, wave: bytes) -> None:
    studio = offline(upload_idle=0.1)

    async def stalled() -> AsyncIterator[bytes]:
        yield wave[:1000]
        await asyncio.sleep(0.5)
        yield wave[1000:]

    answer = studio.upload(stalled())
    assert answer.status_code == 408
    assert stored(studio) == []


def test_a_trickling_upload_is_given_up(
    offline: Make, wave: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stemwise.studio.uploads._HEAD_START", 0.05)
    studio = offline(upload_rate=1_000_000)

    async def trickle() -> AsyncIterator[bytes]:
        for start in range(0, 2000, 100):
            yield wave[start : start + 100]
            await asyncio.sleep(0.02)

    assert studio.upload(trickle()).status_code == 408
    assert stored(studio) == []


@pytest.mark.parametrize(
    ("query", "part"),
    [
        ({"model": "bnad"}, "there are tiny"),
        ({"stems": "vocls"}, "did you mean 'vocals'"),
        ({"gate": "oracle"}, "gate"),
        ({"model": "../tiny"}, "There is no model"),
        ({"model": "x" * 201}, "model"),
    ],
)
def test_orders_that_are_not_possible(
    offline: Make, wave: bytes, query: dict[str, str], part: str
) -> None:
    studio = offline()
    answer = studio.upload(wave, **query)
    assert answer.status_code == 422
    assert part in answer.json()["detail"]
    assert stored(studio) == []


def test_the_queue_is_bounded(offline: Make, wave: bytes) -> None:
    studio = offline(queue=2)
    ids = [studio.upload(wave).json()["id"] for _ in range(2)]
    full = studio.upload(wave)
    assert full.status_code == 429
    assert int(full.headers["Retry-After"]) > 0
    assert studio.ask("POST", f"/api/jobs/{ids[0]}/cancel").json()["state"] == "cancelled"
    third = studio.upload(wave)
    assert third.status_code == 201
    assert studio.ask("POST", f"/api/jobs/{ids[0]}/retry").status_code == 429
    assert studio.ask("DELETE", f"/api/jobs/{third.json()['id']}").status_code == 204
    again = studio.ask("POST", f"/api/jobs/{ids[0]}/retry").json()
    assert (again["state"], again["position"], again["expires"]) == ("queued", 2, None)


def test_uploads_at_the_same_time_are_bounded(offline: Make, wave: bytes) -> None:
    studio = offline(uploads=1)

    async def slow() -> AsyncIterator[bytes]:
        yield wave[:1000]
        other = await asyncio.to_thread(studio.upload, wave)
        assert other.status_code == 429
        yield wave[1000:]

    assert studio.upload(slow()).status_code == 201


def test_a_full_disk_and_a_quota_are_said(
    offline: Make, wave: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = offline(quota=3_000_000)
    first = studio.upload(wave)
    assert first.status_code == 201  # 176 kB, and 882 kB of masters when it is separated
    studio.studio.jobs.change(first.json()["id"], state="done", size=2_200_000)
    answer = studio.upload(wave)
    assert answer.status_code == 507
    assert "delete songs" in answer.json()["detail"]
    studio.ask("DELETE", f"/api/jobs/{first.json()['id']}")
    assert studio.upload(wave).status_code == 201
    monkeypatch.setattr(studio.studio.folders, "free", lambda: studio.studio.settings.reserve)
    assert studio.upload(wave).status_code == 507
    assert len(stored(studio)) == 1


def test_downloads_that_can_be_made_again_give_way(
    offline: Make, wave: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = offline(quota=3_000_000)
    id = studio.upload(wave).json()["id"]
    made = studio.studio.folders.made(id) / "stem-wav-int16-vocals"
    made.mkdir(parents=True)
    (made / "vocals.wav").write_bytes(bytes(2_500_000))
    studio.studio.jobs.change(id, state="done", size=studio.studio.folders.size(id))
    assert studio.upload(wave).status_code == 507  # somebody may be fetching it
    monkeypatch.setattr(studio_module, "unused", lambda made: True)
    assert studio.upload(wave).status_code == 201
    assert not made.exists()


def test_an_upload_that_ends_early_leaves_nothing(offline: Make, wave: bytes) -> None:
    studio = offline()

    async def cut() -> None:
        messages: Iterator[dict[str, object]] = iter(
            [
                {"type": "http.request", "body": wave[:5000], "more_body": True},
                {"type": "http.disconnect"},
            ]
        )

        async def receive() -> dict[str, object]:
            return next(messages, {"type": "http.disconnect"})

        sent: list[dict[str, object]] = []

        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        headers = [(b"host", b"localhost"), (b"content-type", b"audio/wav")]
        scope = {
            "type": "http", "method": "POST", "path": "/api/jobs", "raw_path": b"/api/jobs",
            "query_string": b"", "headers": headers, "http_version": "1.1", "scheme": "http",
            "server": ("localhost", 80), "client": ("127.0.0.1", 1), "root_path": "",
        }  # fmt: skip
        await studio.app(scope, receive, send)  # type: ignore[arg-type]
        assert sent[0]["status"] == 400
        body = sent[1]["body"]
        assert isinstance(body, bytes)
        assert "ended before" in json.loads(body)["detail"]

    asyncio.run(cut())
    assert stored(studio) == []


def test_unknown_jobs(offline: Make) -> None:
    studio = offline()
    id = "A" * 22
    for method, path in (
        ("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("POST", "/retry"), ("GET", "/events"),
        ("GET", "/multitrack"), ("GET", "/audio/vocals.wav"), ("GET", "/stems/vocals.wav"),
        ("GET", "/stems.zip"), ("GET", "/remix.wav"), ("GET", "/report.html"),
    ):  # fmt: skip
        assert studio.ask(method, f"/api/jobs/{id}{path}").status_code == 404
        assert studio.ask(method, f"/api/jobs/..%2f..%2fetc{path}").status_code in (404, 405, 422)
        assert studio.ask(method, f"/api/jobs/{id}%0a{path}").status_code == 422


def test_results_of_a_job_that_waits(offline: Make, wave: bytes) -> None:
    studio = offline()
    id = studio.upload(wave).json()["id"]
    for path in ("multitrack", "audio/mixture.wav", "stems/vocals.wav", "stems.zip", "remix.mp3"):
        answer = studio.ask("GET", f"/api/jobs/{id}/{path}")
        assert answer.status_code == 409
        assert answer.json()["detail"] == "The song is not separated: its job is queued."
    assert studio.ask("POST", f"/api/jobs/{id}/retry").status_code == 409


def test_finished_jobs_expire(offline: Make, wave: bytes) -> None:
    studio = offline(keep=3600)
    id = studio.upload(wave).json()["id"]
    cancelled = studio.ask("POST", f"/api/jobs/{id}/cancel").json()
    assert cancelled["expires"] > cancelled["finished"]
    waiting = studio.upload(wave).json()["id"]
    jobs = studio.studio.jobs
    studio.studio.expire()
    assert len(jobs.all()) == 2
    jobs.clock = lambda now=jobs.clock: now() + 3601  # type: ignore[misc]
    studio.studio.expire()
    assert [job.id for job in jobs.all()] == [waiting]
    assert stored(studio) == [f"jobs/{waiting}/upload"]


def test_a_file_that_crashes_the_decoder_is_no_audio(tmp_path: Path, wave: bytes) -> None:
    path = tmp_path / "upload"
    path.write_bytes(wave)
    inspector = Inspector()
    inspector.start()
    assert inspector._child is not None
    assert inspector._child.pid is not None
    os.kill(inspector._child.pid, signal.SIGSEGV)
    with pytest.raises(NotAudio, match="crashed the decoder"):
        inspector.inspect(path, "song.wav")
    assert inspector.inspect(path, "song.wav").duration == 0.5  # by a new process
    inspector.close()
