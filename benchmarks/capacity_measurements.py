"""What a capacity plan needs of one machine: seconds per song, start, driver, bytes, memory.

Songs are separated by the command as it is, with one thread a worker; what became of each song is
read from the ledger.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from null_work import NullWork

RATE = 44100
LENGTHS = (10, 15, 20, 30, 45, 60, 90, 120, 180, 240)
"""Seconds of the songs that are measured."""
FORMATS = {"wav": (), "flac": ("--flac",), "mp3": ("--mp3",), "opus": ("--opus",)}
Figures = dict[str, Any]


def measure(scratch: Path, rounds: int) -> Figures:
    """All that is measured; `rounds` songs of every length."""
    song = rendered(scratch / "rendered")
    folder = make_songs(song, scratch / "songs", rounds)
    runs = [separation(folder, scratch / f"stems-{jobs}", jobs) for jobs in (1, 2)]
    return {
        "runs": runs,
        "bytes_per_second": sizes(song, scratch / "formats"),
        "driver": driver(scratch / "drivers"),
        "store": store(scratch / "store"),
    }


def rendered(folder: Path) -> Path:
    """A minute of a song played by the band, as one FLAC file."""
    import soundfile

    command = [sys.executable, "-m", "stemwise", "render", str(folder), "--duration", "60", "-q"]
    subprocess.run([*command, "--seed", "3", "--vocals", "--accompanied"], check=True)
    [track] = [path for path in folder.iterdir() if path.is_dir()]
    stems = [path for path in sorted(track.glob("*.flac")) if path.stem != "mixture"]
    mixture = np.sum([soundfile.read(stem)[0] for stem in stems], axis=0)
    target = folder / "song.flac"
    soundfile.write(target, mixture * (0.9 / np.abs(mixture).max()), RATE, subtype="PCM_16")
    return target


def make_songs(song: Path, folder: Path, rounds: int) -> Path:
    """Songs of all lengths, in an order that a catalogue might have them."""
    import soundfile

    audio, rate = soundfile.read(song, dtype="float32")
    folder.mkdir()
    order = np.random.default_rng(0).permutation(list(LENGTHS) * rounds)
    for number, seconds in enumerate(order):
        frames = int(seconds) * rate
        repeated = np.tile(audio, (-(-frames // len(audio)), 1))[:frames]
        soundfile.write(folder / f"{number:03}-{seconds}.flac", repeated, rate, subtype="PCM_16")
    return folder


def separation(folder: Path, out: Path, jobs: int) -> Figures:
    """A run of the command over the folder, one thread a worker."""
    load, started = os.getloadavg()[0], time.perf_counter()
    command = [sys.executable, "-m", "stemwise", "separate", str(folder), "-o", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, "--jobs", str(jobs), "-q"], env=environment)
    _, status, used = os.wait4(process.pid, 0)  # with what it waited for itself: its workers
    wall = time.perf_counter() - started
    if status:
        raise SystemExit("the run failed; see its message above")
    lines = (out / "ledger.jsonl").read_text().splitlines()[1:]
    facts = sorted((one["id"], one["facts"]) for one in map(json.loads, lines))
    return {
        "workers": jobs,
        "wall": wall,
        "cpu": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss / 1024,
        "load_before": load,
        "lengths": [round(one["duration"], 3) for _, one in facts],
        "elapsed": [one["elapsed"] for _, one in facts],
    }


def sizes(song: Path, folder: Path) -> Figures:
    """Bytes of the song and of its four stems, for a second of it, in every format."""
    import soundfile

    seconds = soundfile.info(song).duration
    found: Figures = {"song": {"flac": song.stat().st_size / seconds, "wav": RATE * 4.0}}
    found["stems"] = {}
    for name, options in FORMATS.items():
        out = folder / name
        command = [sys.executable, "-m", "stemwise", "separate", str(song), "-o", str(out)]
        subprocess.run([*command, *options, "-q"], check=True)
        total = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        found["stems"][name] = total / seconds
    return found


def driver(folder: Path) -> Figures:
    """Seconds of the driver for a song that costs nothing itself, by a pool and by Ray.

    wall: from one song's end to the next, with two workers; cpu: the driver's own; ledger: of
    writing the line down until the disk has it; wait: of looking once which of so many actors has
    an answer.
    """
    from stemwise.catalogue.cluster import run_cluster
    from stemwise.catalogue.pool import run_pool

    # actors import this folder's modules, as the pool's processes do
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    os.environ["OMP_NUM_THREADS"] = "1"
    pool = _null_run(folder / "pool", 2000, lambda work, songs: run_pool(work, songs, 2))
    cluster = _null_run(
        folder / "ray", 500, lambda work, songs: run_cluster(work, songs, "local", 2)
    )
    return {"pool": pool, "ray": cluster, "wait": _waits((1, 64, 256, 1024))}


def _null_run(
    folder: Path, count: int, execute: Callable[[NullWork, Iterable[Any]], Iterator[Any]]
) -> Figures:
    from stemwise.catalogue import run as catalogue
    from stemwise.catalogue.entries import Entry
    from stemwise.catalogue.ledger import Ledger

    work, ledger_seconds, ends = NullWork(), [], []
    entries = [Entry(f"{number:06}", f"song-{number:06}.flac") for number in range(count)]

    class Timed(Ledger):
        def add(self, record: Any) -> None:
            started = time.perf_counter()
            super().add(record)
            ledger_seconds.append(time.perf_counter() - started)

    def tell(record: Any) -> None:
        ends.append((time.perf_counter(), time.process_time()))

    with Timed(folder, work.terms()) as ledger:
        catalogue.run(entries, lambda songs: execute(work, songs), ledger, tell=tell)
    (wall, cpu), (wall_end, cpu_end) = ends[count // 10], ends[-1]
    counted = count - count // 10 - 1
    return {
        "songs": count,
        "wall": (wall_end - wall) / counted,
        "cpu": (cpu_end - cpu) / counted,
        "ledger": statistics.median(ledger_seconds),
    }


def _waits(numbers: Iterable[int]) -> Figures:
    """Seconds in which Ray says which of so many answers is there."""
    import ray

    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        quick = ray.remote(lambda: None)
        never = ray.remote(lambda: time.sleep(600))
        found: Figures = {}
        for number in numbers:
            owed = [never.options(num_cpus=2).remote() for _ in range(number - 1)]
            taken = []
            for _ in range(30):
                reference = quick.remote()
                ray.get(reference)
                started = time.perf_counter()
                ray.wait([*owed, reference], timeout=2)
                taken.append(time.perf_counter() - started)
            found[str(number)] = statistics.median(taken)
            for one in owed:
                ray.cancel(one)
        return found
    finally:
        ray.shutdown()


def store(folder: Path) -> Figures:
    """Seconds of fetching a song from, and publishing a file to, an S3 server of this machine.

    Both are straight lines over the size: what remains for no bytes at all, and bytes a second. A
    real store's network has to be added to that.
    """
    import boto3
    from moto.server import ThreadedMotoServer

    from stemwise.catalogue.storage import fetch, publish

    folder.mkdir()
    os.environ.update(
        AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b", AWS_DEFAULT_REGION="us-east-1"
    )
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        os.environ["AWS_ENDPOINT_URL"] = f"http://{host}:{port}"
        boto3.client("s3").create_bucket(Bucket="songs")
        sizes = (1 << 12, 1 << 24)
        figures: Figures = {}
        for name in ("publish", "fetch"):
            taken = []
            for size in sizes:
                file = folder / f"{size}.bin"
                file.write_bytes(os.urandom(size))
                place = f"s3://songs/{size}.bin"
                step = (
                    (lambda f=file, p=place: publish(f, p))
                    if name == "publish"
                    else (lambda p=place: fetch(p, folder))
                )
                taken.append(min(_seconds(step) for _ in range(5)))
            figures[name] = {
                "per_file": taken[0],
                "bytes_per_second": (sizes[1] - sizes[0]) / (taken[1] - taken[0]),
            }
        return figures
    finally:
        server.stop()


def _seconds(step: Callable[[], object]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started
