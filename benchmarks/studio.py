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
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
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


async def measure(address: str, song: Path, clients: int, seconds: float) -> list[float]:
    """Seconds to each answer; raises for one that is no success."""
    times: list[float] = []
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(
        base_url=address, timeout=60, limits=limits, trust_env=False
    ) as client:
        answer = await client.post(
            "/api/jobs",
            params={"name": song.name},
            content=song.read_bytes(),
            headers={"Content-Type": "audio/flac"},
        )
        job = f"/api/jobs/{answer.raise_for_status().json()['id']}"
        while not (await client.get(job)).json()["seconds_done"]:
            await asyncio.sleep(0.1)
        end = time.perf_counter() + seconds

        async def ask(delay: float) -> None:
            await asyncio.sleep(delay)
            while time.perf_counter() < end:
                started = time.perf_counter()
                status = (await client.get(job)).raise_for_status()
                times.append(time.perf_counter() - started)
                if status.json()["state"] != "running":
                    raise SystemExit("The song was done too early: give more --song seconds.")
                await asyncio.sleep(PAUSE)

        async def listen() -> None:
            async with client.stream("GET", "/api/events") as stream:
                stream.raise_for_status()
                async for _ in stream.aiter_bytes():
                    if time.perf_counter() > end:
                        return

        asking = clients // 2
        await asyncio.gather(
            *(ask(PAUSE * number / asking) for number in range(asking)),
            *(listen() for _ in range(clients - asking)),
        )
        (await client.delete(job)).raise_for_status()
    return times


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
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found is not None
            times = asyncio.run(measure(found[0], song, options.clients, options.seconds))
        finally:
            process.terminate()
            process.wait()
    p50, p90, p99 = (1000 * float(one) for one in np.quantile(times, (0.5, 0.9, 0.99)))
    print(
        f"{options.clients} clients, {len(times)} answers while a song separated: "
        f"p50 {p50:.1f} ms, p90 {p90:.1f} ms, p99 {p99:.1f} ms, slowest {1000 * max(times):.1f} ms"
    )
    assert p99 < options.limit, f"p99 is {p99:.1f} ms, and {options.limit:g} ms are allowed"


if __name__ == "__main__":
    main()
