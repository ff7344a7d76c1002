"""A studio for tests: the real server in a thread, songs to give to it, and a browser's page."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import soundfile
import uvicorn

from stemwise.studio.app import create_app
from stemwise.studio.settings import Settings

PATIENCE = 60.0
"""Seconds: far more than anything here takes on a machine of its own."""


@contextmanager
def studio(settings: Settings, port: int = 0) -> Iterator[str]:
    """The address of a running studio."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((settings.host, port))
    config = uvicorn.Config(
        create_app(settings), log_level="warning", timeout_graceful_shutdown=1, lifespan="on"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_until(lambda: server.started, "The server did not start.")
        yield f"http://{settings.host}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def wait_until(condition: Any, complaint: str) -> None:
    """Return as soon as `condition()` is true; fail with `complaint` when patience ends."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.05)


def ask(address: str, method: str = "GET", body: bytes | None = None) -> Any:
    """The JSON that the API answers."""
    headers = {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(address, body, headers, method=method)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        content = answer.read()
    return json.loads(content) if content else None


def separated(address: str, song: Path, name: str) -> str:
    """Upload a song and wait for its stems; returns the id of the job."""
    job = ask(f"{address}/api/jobs?name={quote(name)}", "POST", song.read_bytes())
    where = f"{address}/api/jobs/{job['id']}"
    wait_until(lambda: ask(where)["state"] not in ("queued", "running"), "It took too long.")
    found = ask(where)
    assert found["state"] == "done", found["error"]
    return str(job["id"])


def compose(path: Path, seconds: float = 4.0, rate: int = 44100) -> Path:
    """Write a song with a beat, a bass and a tune, so that several stems have something to say."""
    rng = np.random.default_rng(7)
    time_axis = np.arange(round(seconds * rate)) / rate
    beat = np.exp(-30 * (time_axis % 0.5)) * rng.standard_normal(time_axis.size) * 0.3
    bass = np.sign(np.sin(2 * np.pi * 55 * time_axis)) * 0.15
    notes = 220 * 2 ** (np.array([0, 3, 7, 10, 12, 7])[(time_axis * 3).astype(int) % 6] / 12)
    vibrato = 1 + 0.02 * np.sin(2 * np.pi * 5.5 * time_axis)
    phase = 2 * np.pi * np.cumsum(notes * vibrato) / rate
    tune = sum(np.sin(k * phase) / k for k in range(1, 9)) * 0.12
    left, right = beat + bass + tune, 0.8 * beat + bass + 0.6 * tune
    soundfile.write(path, np.stack([left, right], axis=1) * 0.8, rate)
    return path


def lengthen(path: Path, seconds: int = 900, rate: int = 22050) -> Path:
    """Write a long song that is a small file: it keeps the studio busy until it is cancelled."""
    second = np.tile(np.sin(2 * np.pi * 441 * np.arange(rate // 441 * 441) / rate), 1) * 0.3
    with soundfile.SoundFile(path, "w", rate, 1, format="FLAC", subtype="PCM_16") as file:
        for _ in range(seconds):
            file.write(second)
    return path
