"""A web server of this machine that keeps files and misbehaves on request."""

from __future__ import annotations

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TIMES = 10**9


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that left early are no error."""


class Loopback:
    """Files by path below `url`; `faults` says of a path what happens, and how many times.

    "cut": the answer ends in its middle. "stall": it never comes. A number: that HTTP status.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, tuple[str | int, int]] = {}
        self.asked: Counter[str] = Counter()
        self._closed = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop, also what stalls."""
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()

    def fault(self, path: str) -> str | int | None:
        """What is to go wrong now."""
        kind, times = self.faults.get(path, (None, 0))
        if kind is None or times == 0:
            return None
        self.faults[path] = kind, times - 1
        return kind

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        place = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self._answer(False)

            def do_GET(self) -> None:
                place.asked[self.path.partition("?")[0]] += 1
                self._answer(True)

            def _answer(self, whole: bool) -> None:
                path = self.path.partition("?")[0]
                content = place.files.get(path)
                fault = place.fault(path) if whole or path not in place.files else None
                if fault == "stall":
                    place._closed.wait(60)
                    self.close_connection = True
                    return
                status = fault if isinstance(fault, int) else 200 if content is not None else 404
                body = content if status == 200 and content is not None else b""
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Accept-Ranges", "none")
                self.end_headers()
                if whole and fault == "cut":
                    self.wfile.write(body[: len(body) // 2])
                    self.close_connection = True
                elif whole:
                    self.wfile.write(body)

            def log_message(self, format: str, *arguments: Any) -> None:
                """Nothing is printed."""

        return Handler
