"""Speed and memory of `stemwise separate` beside Open-Unmix and htdemucs, measured in one run.

    pip install --no-deps --target build/peers demucs openunmix einops julius tqdm
    python benchmarks/separate.py                    # 30 s and 3 min, every system
    python benchmarks/separate.py --long 3600        # and stemwise's memory on an hour of song

Every system separates the same generated songs, one process each, in interleaved rounds; figures
are medians over the rounds. CPU seconds are user plus system time of all threads. The first sample
is on disk when any file in the output folder, unfinished ones included, holds more than a header.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
NAMES = {
    "stemwise": "stemwise `band`",
    "openunmix-0": "Open-Unmix, no Wiener filter (niter=0)",
    "openunmix-1": "Open-Unmix, Wiener filter (niter=1)",
    "htdemucs": "htdemucs",
}
HEADER_BYTES = 4096
Figures = dict[str, Any]


def run(system: str, song: Path, options: argparse.Namespace, scratch: Path) -> Figures:
    """One system on one song in a process of its own."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    environment = dict(os.environ, GOMP_SPINCOUNT="0", OMP_NUM_THREADS=str(options.threads))
    if system != "stemwise":
        environment["PYTHONPATH"] = str(options.peers.resolve())
    started = time.monotonic()
    command = [sys.executable, str(HERE / "systems.py"), system, str(song), str(folder)]
    command += [str(started), "--model", options.model, "--threads", str(options.threads)]
    first: float | None = None
    try:
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
            while child.poll() is None:
                if first is None and _has_samples(folder):
                    first = time.monotonic() - started
                time.sleep(0.02 if first is None else 0.2)
            assert child.stdout is not None
            output = child.stdout.read()
        if child.returncode:
            raise SystemExit(f"{system} failed; see its message above")
        return {**json.loads(output.splitlines()[-1]), "first_sample": first}
    finally:
        shutil.rmtree(folder)


def _has_samples(folder: Path) -> bool:
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # renamed since it was listed
                if (Path(place) / name).stat().st_size > HEADER_BYTES:
                    return True
    return False


def write_song(path: Path, seconds: int, *, sparse: bool = False) -> None:
    """A generated stereo song: chords over a beat; sparse: 5 s of that in every minute."""
    import numpy as np

    from stemwise.audio import create_audio

    rate, rng = 44100, np.random.default_rng(0)
    with create_audio(path, rate, 2) as writer:
        for second in range(seconds):
            block = np.zeros((2, rate), np.float32)
            if not sparse or second % 60 < 5:
                time_axis = second + np.arange(rate) / rate
                root = 110 * 2 ** (rng.integers(0, 12) / 12)
                for partial in (1, 1.25, 1.5, 2, 3):
                    phase = rng.uniform(0, 2 * np.pi, (2, 1))
                    block += 0.05 * np.sin(2 * np.pi * root * partial * time_axis + phase)
                beat = np.exp(-((time_axis * 4) % 1) * 8)
                block += 0.1 * beat * rng.standard_normal((2, rate))
            writer.write(block.astype(np.float32))


def measure(options: argparse.Namespace, scratch: Path) -> list[Figures]:
    """Medians of every system at every length."""
    songs = {seconds: scratch / f"{seconds}.wav" for seconds in options.seconds}
    for seconds, path in songs.items():
        write_song(path, seconds)
    runs: dict[tuple[str, int], list[Figures]] = {}
    for turn in range(options.repeats):
        for seconds, song in songs.items():
            for system in options.systems:
                figures = run(system, song, options, scratch)
                runs.setdefault((system, seconds), []).append(figures)
                cost = figures["cpu"] / seconds
                print(f"round {turn + 1}: {system}, {seconds} s: {cost:.4f}", file=sys.stderr)
    return [_median(system, seconds, several) for (system, seconds), several in runs.items()]


def _median(system: str, seconds: int, several: list[Figures]) -> Figures:
    def middle(key: str) -> float:
        return float(statistics.median(one[key] for one in several))

    costs = [one["cpu"] / seconds for one in several]
    return {
        "system": system,
        "seconds": seconds,
        "cpu_per_second": middle("cpu") / seconds,
        "cpu_per_second_range": [min(costs), max(costs)],
        "wall": middle("wall"),
        "process_cpu_per_second": middle("process_cpu") / seconds,
        "process_wall": middle("process_wall"),
        "first_sample": middle("first_sample"),
        "peak_mb": middle("peak_mb"),
    }


def measure_long(options: argparse.Namespace, scratch: Path) -> Figures:
    """stemwise's peak memory on a long song beside that on three minutes of it."""
    result: Figures = {}
    for name, seconds in (("short", 180), ("long", options.long)):
        song = scratch / f"{name}.flac"
        write_song(song, seconds, sparse=True)
        figures = run("stemwise", song, options, scratch)
        result[name] = {"seconds": seconds, **figures}
    result["difference_mb"] = result["long"]["peak_mb"] - result["short"]["peak_mb"]
    return result


def table(rows: list[Figures]) -> str:
    """The figures as Markdown; ratios are to stemwise at the same length."""
    ours = {row["seconds"]: row for row in rows if row["system"] == "stemwise"}
    lines = [
        "| system | song | CPU s per s | ratio | wall | whole process: CPU s per s, wall "
        "| first sample on disk | peak memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: row["seconds"]):
        base = ours.get(row["seconds"])
        ratio = f"{row['cpu_per_second'] / base['cpu_per_second']:.1f}×" if base else ""
        lines.append(
            f"| {NAMES[row['system']]} | {row['seconds']} s | {row['cpu_per_second']:.4f} "
            f"| {ratio} | {row['wall']:.1f} s "
            f"| {row['process_cpu_per_second']:.4f}, {row['process_wall']:.1f} s "
            f"| {row['first_sample']:.1f} s | {row['peak_mb']:.0f} MB |"
        )
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        models = [x for x in information.read_text().splitlines() if x.startswith("model name")]
        processor = models[0].partition(":")[2].strip() if models else processor
    return {
        "processor": processor,
        "cpus": os.cpu_count(),
        "load_at_start": os.getloadavg()[0],
        "python": platform.python_version(),
    }


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--systems", nargs="+", choices=list(NAMES), default=list(NAMES))
    parser.add_argument("--seconds", nargs="+", type=int, default=[30, 180])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--model", default="band", help="model or checkpoint; 'random' for random weights"
    )
    parser.add_argument("--long", type=int, help="seconds of a song to measure the memory of")
    parser.add_argument("--peers", type=Path, default=Path("build/peers"))
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs/benchmarks/separate.json")
    options = parser.parse_args()
    if options.out.is_dir():
        parser.error(f"{options.out} is a folder: name the JSON file to write")
    peers = set(options.systems) - {"stemwise"} if options.repeats else set()
    if peers and not options.peers.is_dir():
        parser.error(f"{options.peers} is missing: install the peers as this file's head says")
    return options


def main() -> None:
    """Measure, print the table, and keep the figures."""
    options = parse()
    result: dict[str, Any] = {
        "machine": machine(),
        "threads": options.threads,
        "model": options.model,
        "repeats": options.repeats,
    }
    with tempfile.TemporaryDirectory(prefix="stemwise-benchmark-") as folder:
        scratch = Path(folder)
        result["rows"] = measure(options, scratch) if options.repeats else []
        if options.long:
            result["long"] = measure_long(options, scratch)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(table(result["rows"]))
    if options.long:
        short, long = result["long"]["short"], result["long"]["long"]
        print(
            f"\npeak memory: {long['seconds']} s {long['peak_mb']:.0f} MB, "
            f"{short['seconds']} s {short['peak_mb']:.0f} MB, "
            f"difference {result['long']['difference_mb']:.0f} MB"
        )


if __name__ == "__main__":
    main()
