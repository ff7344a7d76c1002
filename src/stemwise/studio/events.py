"""Server-sent events: what changed, to everyone who listens, without waiting for the slow ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class TooManyListeners(Exception):  # noqa: N818  # a limit that was reached, not a defect
    """There is no room for one more listener."""


def message(event: str, data: Any) -> bytes:
    """One event on the wire; ASCII alone, as some clients end lines at other letters too."""
    return f"event: {event}\ndata: {json.dumps(data)}\n\n".encode()


class Listener:
    """What one client has not been sent yet: of every job only the latest, so that it is bounded.

    job: the only job to hear of (None: all).
    """

    def __init__(self, job: str | None) -> None:
        self.job = job
        self.closed = False
        self._pending: dict[str, bytes] = {}
        self._woken = asyncio.Event()

    def put(self, id: str, content: bytes) -> None:
        """Replace what is to be sent of a job."""
        self._pending.pop(id, None)
        self._pending[id] = content
        self._woken.set()

    def close(self) -> None:
        """End the stream after what is pending."""
        self.closed = True
        self._woken.set()

    async def chunks(self, heartbeat: float) -> AsyncIterator[bytes]:
        """What to send, until closed; a comment every `heartbeat` seconds of silence."""
        yield b"retry: 2000\n\n"
        while True:
            try:
                await asyncio.wait_for(self._woken.wait(), heartbeat)
            except asyncio.TimeoutError:
                yield b": still here\n\n"
            self._woken.clear()
            pending, self._pending = self._pending, {}
            if pending:
                yield b"".join(pending.values())
            if self.closed and not self._pending:
                return


class Hub:
    """Passes events to its listeners; everything but `publish` belongs to the event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._listeners: set[Listener] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Pass events on in this loop."""
        self._loop = loop

    def publish(self, id: str, content: bytes, *, last: bool = False) -> None:
        """Send an event about a job to all who listen, from any thread; last: its end."""
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        try:
            loop.call_soon_threadsafe(self._pass, id, content, last)
        except RuntimeError:  # closed between the question and the call
            return

    def _pass(self, id: str, content: bytes, last: bool) -> None:
        for listener in self._listeners:
            if listener.job in (None, id):
                listener.put(id, content)
                if last and listener.job is not None:
                    listener.close()

    def join(self, job: str | None = None) -> Listener:
        """A new listener. Raises TooManyListeners."""
        if len(self._listeners) >= self._limit:
            raise TooManyListeners
        listener = Listener(job)
        self._listeners.add(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """Forget a listener."""
        self._listeners.discard(listener)

    def close(self) -> None:
        """End every stream."""
        for listener in self._listeners:
            listener.close()


class EventStream(Response):
    """The answer to a listener; notices at once when the client has gone."""

    media_type = "text/event-stream"

    def __init__(self, hub: Hub, listener: Listener, heartbeat: float) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._hub, self._listener, self._heartbeat = hub, listener, heartbeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the stream ends or the client leaves."""
        sending = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._hub.leave(self._listener)
            for task in (sending, leaving):
                task.cancel()
            results = await asyncio.gather(sending, leaving, return_exceptions=True)
        for result in results:
            # a client that leaves in the middle of an event is no defect
            if isinstance(result, Exception) and not isinstance(result, OSError):
                raise result

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for chunk in self._listener.chunks(self._heartbeat):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
