"""Songs on their way in: streamed to disk, bounded in size and time, looked into, then queued."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive

from stemwise.studio.answers import refuse
from stemwise.studio.folders import Folders
from stemwise.studio.settings import MEGABYTE, Settings

_BUFFER = 1 << 20
_DRAIN_SECONDS = 10.0
"""A browser shows an answer only after it has sent everything; nobody is waited for longer."""
_HEAD_START = 30.0
"""Seconds before an upload's average rate counts."""


def check_kind(content_type: str | None) -> None:
    """Raise 415 unless a body was sent as bytes or audio: no form of another site can do that."""
    kind = (content_type or "").partition(";")[0].strip().lower()
    if kind != "application/octet-stream" and not kind.startswith("audio/"):
        raise refuse(
            415,
            "Send the song itself as the body, with the Content-Type application/octet-stream or "
            "audio/*.",
        )


def declared_length(request: Request) -> int | None:
    """The Content-Length, as a hint: what counts is what arrives."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else None


class _Body:
    """The messages of a request's body; knows whether the last one has come."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = False

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self.ended = True
        return message


@asynccontextmanager
async def draining(request: Request) -> AsyncIterator[Request]:
    """A request whose body is read on for a while where an answer comes before its end."""
    body = _Body(request.receive)
    try:
        yield Request(request.scope, body)
    except Exception:
        # the answer is sent whether or not the client gets to read it
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_drain(body), _DRAIN_SECONDS)
        raise


async def _drain(body: _Body) -> None:
    while not body.ended:
        await body()


class Incoming:
    """Writes bodies to disk, as many at a time as the settings allow."""

    def __init__(self, settings: Settings, folders: Folders) -> None:
        self._settings, self._folders = settings, folders
        self.active = 0

    async def receive(self, request: Request, target: Path) -> int:
        """Stream the body to `target`; returns its bytes. Raises the HTTP error of what is wrong.

        Whatever ends it early, `target` is removed.
        """
        try:
            return await self._write(request, target)
        except BaseException as error:
            target.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise refuse(507, "The disk is full: free some space.") from error
            if isinstance(error, ClientDisconnect):
                raise refuse(400, "The upload ended before the song did.") from error
            raise

    async def _write(self, request: Request, target: Path) -> int:
        total = 0
        limit = self._settings.max_upload
        started = time.monotonic()
        pending = bytearray()
        with await run_in_threadpool(open, target, "xb") as file:
            chunks = request.stream().__aiter__()
            while True:
                chunk = await self._next(chunks)
                if chunk is None:
                    break
                total += len(chunk)
                if total > limit:
                    raise too_large(limit)
                self._check_rate(total, time.monotonic() - started)
                pending += chunk
                if len(pending) >= _BUFFER:
                    await run_in_threadpool(file.write, bytes(pending))
                    pending.clear()
            if pending:
                await run_in_threadpool(file.write, bytes(pending))
        if not total:
            raise refuse(415, "The body is empty: send the song itself.")
        return total

    async def _next(self, chunks: AsyncIterator[bytes]) -> bytes | None:
        idle = self._settings.upload_idle
        try:
            return await asyncio.wait_for(chunks.__anext__(), idle)
        except StopAsyncIteration:
            return None
        except asyncio.TimeoutError as error:
            raise refuse(408, f"Nothing of the song arrived for {idle:g} seconds.") from error

    def _check_rate(self, total: int, elapsed: float) -> None:
        if total < self._settings.upload_rate * (elapsed - _HEAD_START):
            raise refuse(408, "The song arrives too slowly: try again on a better connection.")


def too_large(limit: int) -> Exception:
    """The refusal of a song beyond the limit."""
    return refuse(413, f"The song is larger than {limit / MEGABYTE:g} MB.")
