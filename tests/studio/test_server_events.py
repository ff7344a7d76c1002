"""Events: everything first, then what changes; bounded, also for clients that do not listen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.studio.conftest import Offline

from stemwise.studio.events import EventStream, Hub, TooManyListeners, message
from stemwise.studio.jobs import Job
from stemwise.studio.names import new_id


def events(text: str) -> list[tuple[str, Any]]:
    """Events of a stream that was read."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def test_a_listener_gets_the_latest_of_every_job() -> None:
    async def run() -> str:
        hub = Hub(10)
        hub.start(asyncio.get_running_loop())
        listener = hub.join()
        for number in range(1000):
            hub.publish("a", message("job", {"id": "a", "done": number}))
        hub.publish("b", message("deleted", {"id": "b"}))
        await asyncio.sleep(0)
        assert len(listener._pending) == 2  # however slow the client is
        listener.close()
        return b"".join([chunk async for chunk in listener.chunks(5)]).decode()

    assert events(asyncio.run(run())) == [
        ("job", {"id": "a", "done": 999}),
        ("deleted", {"id": "b"}),
    ]


def test_a_listener_to_one_job_hears_of_no_other_and_ends_with_it() -> None:
    async def run() -> str:
        hub = Hub(10)
        hub.start(asyncio.get_running_loop())
        listener = hub.join("a")
        hub.publish("b", message("job", {"id": "b"}), last=True)
        hub.publish("a", message("job", {"id": "a"}), last=True)
        return b"".join([chunk async for chunk in listener.chunks(5)]).decode()

    assert events(asyncio.run(run())) == [("job", {"id": "a"})]


def test_silence_is_broken_by_comments() -> None:
    async def run() -> list[bytes]:
        listener = Hub(1).join()
        chunks = listener.chunks(0.01)
        return [await chunks.__anext__() for _ in range(3)]

    assert asyncio.run(run())[1:] == [b": still here\n\n"] * 2


def test_listeners_are_bounded_and_leave() -> None:
    hub = Hub(2)
    first = hub.join()
    hub.join()
    with pytest.raises(TooManyListeners):
        hub.join()
    hub.leave(first)
    hub.join()


def test_a_client_that_goes_away_makes_room_at_once() -> None:
    async def run() -> None:
        hub = Hub(1)
        stream = EventStream(hub, hub.join(), heartbeat=60)
        gone = asyncio.Event()
        sent: list[Any] = []

        async def receive() -> Any:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(part: Any) -> None:
            sent.append(part)

        answering = asyncio.ensure_future(stream({"type": "http"}, receive, send))
        await asyncio.sleep(0.01)
        assert sent[0]["status"] == 200
        with pytest.raises(TooManyListeners):
            hub.join()
        gone.set()
        await asyncio.wait_for(answering, 5)
        hub.join()

    asyncio.run(run())


def test_a_job_that_ends_just_before_somebody_listens(offline: Callable[..., Offline]) -> None:
    """Its end is told, though the request found it still running."""
    studio = offline().studio
    now = studio.jobs.clock()
    job = studio.jobs.add(Job(new_id(), "song", "tiny", ("vocals",), "off", now, now))
    studio.jobs.change(job.id, state="done")

    async def read(found: Job) -> str:
        listener = studio.listen(found)
        return b"".join([chunk async for chunk in listener.chunks(5)]).decode()

    heard = events(asyncio.run(asyncio.wait_for(read(job), 10)))
    assert [data["state"] for _, data in heard] == ["done"]
    studio.jobs.remove(job.id)
    assert events(asyncio.run(asyncio.wait_for(read(job), 10))) == []


def test_text_of_any_kind_stays_on_its_line() -> None:
    text = "one\ntwo\r\n\r\nevent: deleted\ndata: {}\u2028\x85"
    [(event, data)] = events(message("job", {"name": text}).decode())
    assert (event, data) == ("job", {"name": text})
