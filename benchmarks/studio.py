"""How fast a studio answers while it separates: many clients that ask and listen, on loopback.

    python benchmarks/studio.py [--clients 50] [--seconds 30] [--limit 200]

Runs `stemwise studio` as a process, gives it a song, and asks for its status from half of the
clients, 5 times a second each, while the others listen to its events. Prints the quantiles of the
time to an answer in milliseconds, and fails where one is no success or the 99th percentile is
above the limit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import soundfile

RATE = 44100
PAUSE = 0.2
"""Seconds between two questions of a client."""


def write_song(path: Path, seconds: int) -> Path:
    """Write noise under a slow beat."""
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", RATE, 2, format="FLAC", subtype="PCM_16") as file:
        for _ in range(seconds):
            fading = np.linspace(0.3, 0.02, RATE)[:, np.newaxis]
            file.write(rng.standard_normal((RATE, 2)) * fading * 0.3)
    return path


class Client:
    """One connection that is kept: as little work as can be, which the studio's core needs."""

    def __init__(self, host: str, port: int) -> None:
        self._place, self._host = (host, port), f"{host}:{port}"

    async def ask(self, path: str) -> bytes:
        """The body of an answer; raises for one that is no success."""
        if not hasattr(self, "_reader"):
            self._reader, self._writer = await asyncio.open_connection(*self._place)
        self._send(path)
        head = await self._reader.readuntil(b"\r\n\r\n")
        _check(head)
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None
        return await self._reader.readexactly(int(length[1]))

    async def listen(self, path: str, end: float) -> int:
        """Follow events until a time; returns the bytes that came."""
        self._reader, self._writer = await asyncio.open_connection(*self._place)
        self._send(path)
        _check(await self._reader.readuntil(b"\r\n\r\n"))
        count = 0
        while time.perf_counter() < end:
            piece = await self._reader.read(1 << 16)
            assert piece, "A stream of events ended early."
            count += len(piece)
        self._writer.close()
        return count

    def _send(self, path: str) -> None:
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode())


def _check(head: bytes) -> None:
    line = head.partition(b"\r\n")[0]
    assert line.split()[1] == b"200", line.decode()


async def measure(host: str, port: int, job: str, clients: int, seconds: float) -> list[float]:
    """Seconds to each answer; raises for one that is no success."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    asking = clients // 2

    async def ask(delay: float) -> None:
        client = Client(host, port)
        await asyncio.sleep(delay)
        while time.perf_counter() < end:
            started = time.perf_counter()
            status = await client.ask(job)
            times.append(time.perf_counter() - started)
            assert json.loads(status)["state"] == "running", "Give more seconds of --song."
            await asyncio.sleep(PAUSE)

    await asyncio.gather(
        *(ask(PAUSE * number / asking) for number in range(asking)),
        *(Client(host, port).listen("/api/events", end) for _ in range(clients - asking)),
    )
    return times


def begin(address: str, song: Path) -> str:
    """Upload a song and wait until it is being separated; returns its path in the API."""
    headers = {"Content-Type": "audio/flac"}
    request = Request(f"{address}/api/jobs", song.read_bytes(), headers)
    with urlopen(request) as answer:
        job = f"/api/jobs/{json.load(answer)['id']}"
    while True:
        with urlopen(address + job) as answer:
            if json.load(answer)["seconds_done"]:
                return job
        time.sleep(0.1)


def main() -> None:
    """Run the studio and print what its clients saw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--song", type=int, default=1800, help="length of the song in seconds")
    parser.add_argument("--limit", type=float, default=200, help="milliseconds")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        song = write_song(Path(folder) / "song.flac", options.song)
        command = [sys.executable, "-m", "stemwise", "studio", "--no-open", "--port", "0"]
        process = subprocess.Popen(
            [*command, "--data", f"{folder}/data"], stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            found = re.search(r"(http://([\d.]+):(\d+))", process.stdout.readline())
            assert found is not None
            job = begin(found[1], song)
            times = asyncio.run(
                measure(found[2], int(found[3]), job, options.clients, options.seconds)
            )
        finally:
            process.terminate()
            process.wait()
    p50, p90, p99 = (1000 * float(one) for one in np.quantile(times, (0.5, 0.9, 0.99)))
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(
        f"{options.clients} clients, {len(times)} answers while a song separated: "
        f"p50 {p50:.1f} ms, p90 {p90:.1f} ms, p99 {p99:.1f} ms, slowest "
        f"{1000 * max(times):.1f} ms; {load}"
    )
    assert p99 < options.limit, f"p99 is {p99:.1f} ms, and {options.limit:g} ms are allowed"


if __name__ == "__main__":
    main()
