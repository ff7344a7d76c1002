"""A web server on this computer that serves files, and misbehaves on demand."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Handler", bytes], None]
"""Answers one request for a file with these bytes."""


@dataclass
class Mirror:
    """Files by their path; `answers` are used up one by one, then files are served properly."""

    files: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    always: Answer | None = None
    tag: str | None = '"v1"'
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def asked(self, path: str) -> list[dict[str, str]]:
        """Headers of the requests for a path."""
        return [headers for one, headers in self.requests if one == path]

    def __enter__(self) -> Mirror:
        handler = type("BoundHandler", (Handler,), {"mirror": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()


class Handler(BaseHTTPRequestHandler):
    """Looks up what to do with a request."""

    mirror: Mirror

    def do_GET(self) -> None:
        mirror = self.mirror
        path = re.sub(r"^https?://[^/]+", "", self.path)  # proxies are asked for the whole address
        mirror.requests.append((path, dict(self.headers)))
        planned = mirror.answers.get(path)
        answer = planned.pop(0) if planned else mirror.always or serve
        if path not in mirror.files:
            answer = status(404)
        with suppress(BrokenPipeError, ConnectionResetError):  # the client has gone
            answer(self, mirror.files.get(path, b""))

    def log_message(self, format: str, *args: object) -> None:
        """Tests print nothing."""

    def begin(self, code: int, **headers: object) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def start(self, body: bytes) -> int:
        """Where the client wants the file to start, if this is still the file it knows."""
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted is None or self.headers.get("If-Range", self.mirror.tag) != self.mirror.tag:
            return 0
        return int(wanted[1])

    def head(self, body: bytes, length: int | None = None) -> int:
        """Send the status and headers of a whole or partial answer; returns where it starts."""
        start = self.start(body)
        tag = {} if self.mirror.tag is None else {"ETag": self.mirror.tag}
        size = len(body) if length is None else length
        if start:
            span = f"bytes {start}-{size - 1}/{size}"
            self.begin(206, Content_Length=size - start, Content_Range=span, **tag)
        else:
            self.begin(200, Content_Length=size, **tag)
        return start


def serve(handler: Handler, body: bytes) -> None:
    """As a good server does."""
    start = handler.start(body)
    if start >= len(body) > 0:
        handler.begin(416, Content_Range=f"bytes */{len(body)}", Content_Length=0)
        return
    handler.wfile.write(body[handler.head(body) :])


def without_ranges(handler: Handler, body: bytes) -> None:
    """The whole file, whatever was asked for."""
    handler.begin(200, Content_Length=len(body))
    handler.wfile.write(body)


def without_length(handler: Handler, body: bytes) -> None:
    """The whole file, whose end is the connection's."""
    handler.begin(200)
    handler.wfile.write(body)


def cut(count: int) -> Answer:
    """The connection breaks off after `count` bytes."""

    def answer(handler: Handler, body: bytes) -> None:
        start = handler.head(body)
        handler.wfile.write(body[start : start + count])

    return answer


def stall(count: int) -> Answer:
    """Nothing comes after `count` bytes, and the connection stays open."""

    def answer(handler: Handler, body: bytes) -> None:
        start = handler.head(body)
        handler.wfile.write(body[start : start + count])
        handler.wfile.flush()
        handler.mirror.closing.wait(20)

    return answer


def silent(handler: Handler, body: bytes) -> None:
    """Not even a status line."""
    handler.mirror.closing.wait(20)


def status(code: int, **headers: object) -> Answer:
    """Nothing but a status."""
    return lambda handler, body: handler.begin(code, Content_Length=0, **headers)


def redirect(target: str, code: int = 302) -> Answer:
    """The file is elsewhere."""
    return status(code, Location=target)


def claim(length: int) -> Answer:
    """The whole file, or the rest, under a wrong Content-Length."""

    def answer(handler: Handler, body: bytes) -> None:
        handler.wfile.write(body[handler.head(body, length) :])

    return answer


def replaced(other: bytes) -> Answer:
    """Another file."""
    return lambda handler, body: serve(handler, other)


def other_part(handler: Handler, body: bytes) -> None:
    """A part that was not asked for."""
    handler.begin(206, Content_Length=4, Content_Range=f"bytes 3-6/{len(body)}")
    handler.wfile.write(body[3:7])
