"""Studios for tests: one that runs with a tiny model, and ones without workers, asked in place."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
import torch
import uvicorn

from stemwise import models
from stemwise.studio import Settings
from stemwise.studio.app import create_app
from stemwise.studio.inspection import Inspector
from stemwise.studio.offers import Offer
from stemwise.studio.server import _Server, listen
from stemwise.studio.studio import Studio

PATIENCE = 120.0
"""Seconds: far more than anything here takes on a machine of its own."""
TINY = Offer("tiny", "", "a model for tests", ("vocals", "drums", "bass", "other"), ("vocals",))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a small network with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    models.save(models.build("band-unet", widths=(8, 8, 8, 8, 8), squeezed=2, hidden=16), path)
    return path


def song(path: Path, seconds: float = 2.0, *, level: float = 0.1, rate: int = 44100) -> Path:
    """Write a WAV file of coloured noise in stereo."""
    rng = np.random.default_rng(3)
    noise = np.cumsum(rng.standard_normal((round(seconds * rate), 2)), axis=0) % 8 - 4
    soundfile.write(path, (noise * level / 4).astype(np.float32), rate, subtype="FLOAT")
    return path


def long_song(path: Path, seconds: int, rate: int = 44100) -> Path:
    """Write a song that takes a while and is a small file."""
    second = 0.3 * np.sin(2 * np.pi * 441 * np.arange(rate) / rate)
    with soundfile.SoundFile(path, "w", rate, 2, format="FLAC", subtype="PCM_16") as file:
        for _ in range(seconds):
            file.write(np.stack([second, second], axis=1))
    return path


@contextmanager
def running(settings: Settings) -> Iterator[tuple[str, Studio]]:
    """A studio on a free port of loopback, as the command runs it; its address and itself."""
    app = create_app(settings)
    socket = listen(settings.host, 0)
    config = uvicorn.Config(app, log_level="warning", lifespan="on", timeout_graceful_shutdown=1)
    server = _Server(config, app.state.studio)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), "The server did not start.")
        yield f"http://127.0.0.1:{socket.getsockname()[1]}", app.state.studio
    finally:
        server.should_exit = True
        thread.join()


def wait_until(condition: Callable[[], object], complaint: str) -> None:
    """Return when `condition()` is true; fail with `complaint` when patience ends."""
    waiting = threading.Event()
    for _ in range(round(PATIENCE / 0.05)):
        if condition():
            return
        waiting.wait(0.05)
    pytest.fail(complaint)


class Client(httpx.Client):
    """Requests to a studio that take their time."""

    def __init__(self, address: str, **options: Any) -> None:
        super().__init__(base_url=address, timeout=PATIENCE, trust_env=False, **options)

    def upload(self, path: Path, **query: str) -> dict[str, Any]:
        """Give a song to the studio."""
        answer = self.post(
            "/api/jobs",
            params={"model": "tiny", "name": path.name, **query},
            content=path.read_bytes(),
            headers={"Content-Type": "application/octet-stream"},
        )
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def job(self, id: str) -> dict[str, Any]:
        """A job as it is."""
        found: dict[str, Any] = self.get(f"/api/jobs/{id}").raise_for_status().json()
        return found

    def finish(self, id: str) -> dict[str, Any]:
        """A job at its end."""
        wait_until(
            lambda: self.job(id)["state"] not in ("queued", "running"), "The job did not end."
        )
        return self.job(id)

    def separate(self, path: Path, **query: str) -> str:
        """The id of a song that is separated."""
        job = self.finish(self.upload(path, **query)["id"])
        assert job["state"] == "done", job["error"]
        return str(job["id"])


@dataclass
class Live:
    """A studio that runs, and one way to talk to it."""

    studio: Studio
    client: Client


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Live]:
    """A studio that runs for all tests that leave nothing odd behind."""
    data = tmp_path_factory.mktemp("studio")
    with (
        running(Settings(data, models={"tiny": tiny}, heartbeat=0.5)) as (address, studio),
        Client(address) as client,
    ):
        yield Live(studio, client)


class Offline:
    """A studio without workers: what is uploaded waits for ever."""

    def __init__(self, settings: Settings, inspector: Inspector) -> None:
        self.app = create_app(settings)
        self.studio: Studio = self.app.state.studio
        self.studio._inspector = inspector  # one process for all tests
        self.studio.supervisor.offers.set_result({"tiny": TINY})

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request, answered in place."""

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            base = "http://127.0.0.1:8765"
            async with httpx.AsyncClient(transport=transport, base_url=base) as client:
                return await client.request(method, path, **options)

        return asyncio.run(send())

    def upload(self, content: Any, name: str = "song.wav", **query: str) -> httpx.Response:
        """Give a song to the studio."""
        return self.ask(
            "POST",
            "/api/jobs",
            params={"name": name, **query},
            content=content,
            headers={"Content-Type": "audio/wav"},
        )


@pytest.fixture(scope="session")
def inspector() -> Iterator[Inspector]:
    """A process that looks into uploads, for all studios without workers."""
    made = Inspector()
    yield made
    made.close()


@pytest.fixture
def offline(tmp_path: Path, inspector: Inspector) -> Iterator[Callable[..., Offline]]:
    """Make studios without workers; options are those of the settings."""
    made: list[Offline] = []

    def make(**options: Any) -> Offline:
        settings = Settings(**{"data": tmp_path / f"studio{len(made)}", **options})
        made.append(Offline(settings, inspector))
        return made[-1]

    yield make
    for one in made:
        one.studio._inspector = Inspector()
        one.studio.close()
