"""Excerpts per second of a training step: our Open-Unmix beside the package's own, loader included.

    apt-get install ffmpeg; pip install openunmix musdb
    python benchmarks/training.py --json docs/benchmarks/training.json
    python benchmarks/training.py --systems joint-unet joint-unet+bf16 joint-unet+channels-last

renders 8 songs of 60 s, keeps them as .stem.mp4 and as a store, and trains one target on batches of
16 excerpts of 6 s, 2 loader workers: the package from .stem.mp4, stemwise from its store. Every run
is a process of its own; systems take turns, and figures are medians over the rounds, ratios of the
runs of one round, so that whatever else the machine does slows all alike. The first steps are not
counted. CPU seconds are user plus system time of the process and all that it started. Systems are
networks of `training_steps.py`, with `+bf16`, `+channels-last` and `+compile` as wanted, and the
package, `openunmix`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from loading import make_songs
from separate import Figures, machine
from training_steps import NETWORKS

HERE = Path(__file__).resolve().parent
PACKAGE = "openunmix"
OURS = "open-unmix"
SYSTEMS = (PACKAGE, OURS, f"{OURS}+bf16", f"{OURS}+compile", f"{OURS}+bf16+compile")
VARIANTS = ("bf16", "channels-last", "compile")


def run(system: str, folder: Path, options: argparse.Namespace) -> Figures:
    """One system in a process of its own."""
    environment = dict(os.environ, GOMP_SPINCOUNT="0", OMP_NUM_THREADS=str(options.threads))
    command = [sys.executable, str(HERE / "training_steps.py"), system, str(folder)]
    for name in ("steps", "warm_up", "workers", "threads"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{system} failed:\n{done.stderr}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure(folder: Path, options: argparse.Namespace) -> dict[str, list[Figures]]:
    """What every system costs in every round."""
    found: dict[str, list[Figures]] = {system: [] for system in options.systems}
    for number in range(options.rounds):
        for system in options.systems:
            found[system].append(run(system, folder, options))
            label = f"round {number + 1}: {system}"
            print(f"{label}: {json.dumps(found[system][-1])}", file=sys.stderr, flush=True)
    return found


def summary(found: dict[str, list[Figures]]) -> list[Figures]:
    """A row per system: medians, and how many times less it takes than the package."""
    rows = []
    for system, each in found.items():
        row: Figures = {"system": system}
        for key in each[0]:
            row[key] = statistics.median(one[key] for one in each)
        row["excerpts_per_second"] = 1 / row["wall"]
        for key in ("cpu", "wall"):
            pairs = zip(found.get(PACKAGE, []), each, strict=False)
            ratios = [theirs[key] / ours[key] for theirs, ours in pairs]
            if ratios and system.partition("+")[0] == OURS:
                row[f"{key}_ratio"] = statistics.median(ratios)
                row[f"{key}_ratio_range"] = [min(ratios), max(ratios)]
        rows.append(row)
    return rows


def table(rows: list[Figures]) -> str:
    """The figures for docs/performance.md."""
    lines = [
        "| system | batch | excerpts per second | CPU s per excerpt | times less CPU, wall "
        "| waiting for data | peak memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratios = [f"{row[f'{key}_ratio']:.2f}" for key in ("cpu", "wall") if f"{key}_ratio" in row]
        lines.append(
            f"| {row['system']} | {row['batch']:.0f} | {row['excerpts_per_second']:.3g} "
            f"| {row['cpu']:.3f} | {', '.join(ratios)} | {100 * row['wait']:.2g} % "
            f"| {row['peak_mb']:.0f} MB |"
        )
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--systems", nargs="+", metavar="SYSTEM", default=list(SYSTEMS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="that are measured, in every run")
    parser.add_argument("--warm-up", type=int, default=2, help="steps before those")
    parser.add_argument("--workers", type=int, default=2, help="of the loaders")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the songs are kept for another run")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the figures are written")
    options = parser.parse_args()
    for name in ("rounds", "steps", "warm_up"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    for system in options.systems:
        name, *variants = system.split("+")
        if system != PACKAGE and (name not in NETWORKS or not set(variants) <= set(VARIANTS)):
            known = ", ".join([PACKAGE, *NETWORKS])
            parser.error(
                f"there is no {system!r}: choose among {known}, with +{', +'.join(VARIANTS)}"
            )
    if PACKAGE in options.systems and not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
        parser.error("the package reads .stem.mp4 with ffmpeg and ffprobe: install them")
    return options


def main() -> None:
    """Measure, print a table, write the figures."""
    options = parse()
    scratch = options.folder or Path(tempfile.mkdtemp(prefix="training-"))
    try:
        make_songs(scratch)
        rows = summary(measure(scratch, options))
    finally:
        if options.folder is None:
            shutil.rmtree(scratch)
    settings = ("rounds", "steps", "warm_up", "workers", "threads")
    facts: dict[str, Any] = {
        "machine": machine(),
        "load_average": os.getloadavg()[2],
        **{name: getattr(options, name) for name in settings},
    }
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        part = options.json.with_name(f".{options.json.name}.part")
        part.write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n", encoding="utf-8")
        part.replace(options.json)
    print(table(rows))


if __name__ == "__main__":
    main()
