"""Speed and memory of every network, through the engine, beside the `openunmix` package.

    pip install --no-deps --target build/peers openunmix tqdm
    python benchmarks/networks.py                                # every network, 30 s to 30 min
    python benchmarks/networks.py --systems iass open-unmix+wiener openunmix-1 --seconds 30

A system is a network of stemwise, with `+mixture`, `+wiener` or `+griffin-lim` for a phase other
than the one it was published with, or the package `openunmix-0` or `openunmix-1` (without and with
its Wiener filter). Weights are random, which changes neither speed nor memory; each run has a
process of its own that reads the song from a WAV file and throws the stems away. CPU seconds are
user plus system time of all threads and, like the wall time, leave out imports and building; the
peak memory leaves out nothing. The package holds the whole song in memory: it is not run on songs
beyond `--package-limit`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from separate import Figures, machine, write_song
from stemwise.models import NETWORKS
from systems import SOURCES, cpu_seconds, openunmix, peak_megabytes, read

HERE = Path(__file__).resolve().parent
PACKAGE = {"openunmix-0": 0, "openunmix-1": 1}
PHASES = ("mixture", "wiener", "griffin-lim")
OWN_SOURCES = ("joint-unet",)
"""Networks that are measured with their own sources, not with the usual four."""


def prepare_network(system: str, precision: str) -> tuple[Callable[[Path], None], Figures]:
    """A network of stemwise behind the engine, and facts about it."""
    from stemwise.audio import open_audio
    from stemwise.models import build
    from stemwise.separation import Engine, Options

    name, _, phase = system.partition("+")
    separator = build(name, None if name in OWN_SOURCES else SOURCES)
    settings: dict[str, Any] = {"precision": precision, "phase": phase or "auto"}
    engine = Engine(separator, Options(device="cpu", **settings))

    def separate(song: Path) -> None:
        with open_audio(song) as reader:
            blocks = engine.stream(reader, reader.sample_rate, reader.channels)
            samples = sum(block.stems.shape[-1] for block in blocks)
        if samples == 0:
            raise SystemExit(f"{system} gave no stems")

    facts = {
        "sources": len(separator.sources),
        "parameters": separator.parameter_count,
        "segment": engine.piece / separator.sample_rate,
        "phase": engine.phase,
    }
    return separate, facts


def prepare_package(system: str, precision: str) -> tuple[Callable[[Path], None], Figures]:
    """The `openunmix` package, on the whole song at once, as its own command runs it."""
    import torch

    network = openunmix(PACKAGE[system])

    def separate(song: Path) -> None:
        with torch.inference_mode(), torch.autocast("cpu", enabled=precision == "bf16"):
            network(read(song)[None])

    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return separate, {"sources": len(SOURCES), "parameters": parameters}


def run_one(system: str, precision: str, song: Path, threads: int) -> None:
    """Measure one system in this process and print what it cost as a line of JSON."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    prepare = prepare_package if system in PACKAGE else prepare_network
    separate, facts = prepare(system, precision)
    cpu, wall = cpu_seconds(), time.monotonic()
    separate(song)
    figures = {"wall": time.monotonic() - wall, "cpu": cpu_seconds() - cpu}
    print(json.dumps({**facts, **figures, "peak_mb": peak_megabytes()}), flush=True)
    # leaving at once keeps the interpreter's clean-up out of nobody's figures but its own
    os._exit(0)


def run(system: str, precision: str, song: Path, options: argparse.Namespace) -> Figures:
    """One system on one song in a process of its own; {"failed": why} where it ends in an error."""
    environment = dict(os.environ, GOMP_SPINCOUNT="0", OMP_NUM_THREADS=str(options.threads))
    if system in PACKAGE:
        environment["PYTHONPATH"] = str(options.peers.resolve())
    command = [sys.executable, str(HERE / "networks.py"), "--run", system, precision, str(song)]
    command += ["--threads", str(options.threads)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {"failed": lines[-1] if lines else f"ended with status {done.returncode}"}
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure(options: argparse.Namespace, scratch: Path) -> list[Figures]:
    """Medians of every system at every length, over interleaved rounds."""
    runs: dict[tuple[str, str, int], list[Figures]] = {}
    for seconds in sorted(options.seconds):
        song = scratch / f"{seconds}.wav"
        write_song(song, seconds)
        for turn in range(options.repeats):
            for system in options.systems:
                if system in PACKAGE and seconds > options.package_limit:
                    continue
                for precision in options.precision:
                    figures = run(system, precision, song, options)
                    runs.setdefault((system, precision, seconds), []).append(figures)
                    label = f"round {turn + 1}: {system}, {precision}, {seconds} s"
                    print(f"{label}: {json.dumps(figures)}", file=sys.stderr, flush=True)
        song.unlink()
    return [_median(*key, several) for key, several in runs.items()]


def _median(system: str, precision: str, seconds: int, several: list[Figures]) -> Figures:
    row = {"system": system, "precision": precision, "seconds": seconds}
    failed = [one for one in several if "failed" in one]
    if failed:
        return {**row, **failed[0]}

    def middle(key: str) -> float:
        return float(statistics.median(one[key] for one in several))

    costs = [one["cpu"] / seconds for one in several]
    facts = {key: several[0].get(key) for key in ("sources", "parameters", "segment", "phase")}
    return {
        **row,
        **facts,
        "cpu_per_second": middle("cpu") / seconds,
        "cpu_per_second_range": [min(costs), max(costs)],
        "real_time_factor": middle("wall") / seconds,
        "peak_mb": middle("peak_mb"),
    }


def table(rows: list[Figures]) -> str:
    """The figures as Markdown; ratios are to `openunmix-1` in fp32 at the same length."""
    reference = {
        row["seconds"]: row["cpu_per_second"]
        for row in rows
        if row["system"] == "openunmix-1" and row["precision"] == "fp32" and "failed" not in row
    }
    lines = [
        "| system | precision | song | parameters | CPU s per s | of openunmix-1 "
        "| wall s per s | peak memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        start = f"| {row['system']} | {row['precision']} | {row['seconds']} s |"
        if "failed" in row:
            lines.append(f"{start} failed: {row['failed']} | | | | |")
            continue
        base = reference.get(row["seconds"])
        ratio = f"{row['cpu_per_second'] / base:.2f}" if base else ""
        lines.append(
            f"{start} {row['parameters'] / 1e6:.1f} M | {row['cpu_per_second']:.4f} | {ratio} "
            f"| {row['real_time_factor']:.4f} | {row['peak_mb']:.0f} MB |"
        )
    return "\n".join(lines)


def known_systems() -> list[str]:
    """Every network with its own phase, Open-Unmix also with the others, and the package."""
    systems = list(NETWORKS)
    if "open-unmix" in systems:
        systems += ["open-unmix+mixture", "open-unmix+wiener"]
    return [*systems, *PACKAGE]


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--systems", nargs="+", metavar="SYSTEM", default=known_systems())
    parser.add_argument("--seconds", nargs="+", type=int, default=[30, 180, 1800])
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32"])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--package-limit", type=int, default=180, help="seconds of song")
    parser.add_argument("--peers", type=Path, default=Path("build/peers"))
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs/benchmarks/networks.json")
    parser.add_argument(
        "--run", nargs=3, metavar=("SYSTEM", "PRECISION", "SONG"), help=argparse.SUPPRESS
    )
    options = parser.parse_args()
    if options.out.is_dir():
        parser.error(f"{options.out} is a folder: name the JSON file to write")
    for system in options.systems:
        name, _, phase = system.partition("+")
        if system not in PACKAGE and (name not in NETWORKS or (phase and phase not in PHASES)):
            parser.error(f"there is no {system!r}: choose among {', '.join(known_systems())}")
    if set(options.systems) & set(PACKAGE) and not options.run and not options.peers.is_dir():
        parser.error(f"{options.peers} is missing: install the package as this file's head says")
    return options


def main() -> int:
    """Measure, print the table, and keep the figures; 1 where a system failed."""
    options = parse()
    if options.run:
        system, precision, song = options.run
        run_one(system, precision, Path(song), options.threads)
    facts = {"machine": machine(), "threads": options.threads, "repeats": options.repeats}
    with tempfile.TemporaryDirectory(prefix="stemwise-benchmark-") as folder:
        rows = measure(options, Path(folder))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    temporary = options.out.with_name(f".{options.out.name}.part")
    temporary.write_text(json.dumps({**facts, "rows": rows}, indent=2) + "\n")
    os.replace(temporary, options.out)
    print(table(rows))
    return int(any("failed" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main())
