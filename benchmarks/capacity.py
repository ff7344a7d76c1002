"""How long a catalogue takes on how many workers: measured on this machine, simulated beyond it.

    python benchmarks/capacity.py                       # measure, simulate, write JSON and figure
    python benchmarks/capacity.py --simulate            # with the measurements that are there
    python benchmarks/capacity.py --write               # and put the tables into docs/scale.md
    python benchmarks/capacity.py --check               # whether page and figures agree

Measuring takes about five minutes on two idle cores, simulating two. Seconds that are measured
while other programs run are too long by as much as these took.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from capacity_tables import draw, page_with_tables
from catalogue_simulation import (
    Costs,
    World,
    alone,
    efficiency,
    fitted,
    simulate,
    song_lengths,
)

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs/benchmarks/capacity.json"
FIGURE = ROOT / "docs/benchmarks/capacity.png"
PAGE = ROOT / "docs/scale.md"
SONGS = 100_000
WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
FORMAT = "flac"
# assumptions, as nobody measured a cluster here
SLOW, SLOWNESS = 0.05, 2.0
FAILURES, PREEMPTIONS = 0.01, 0.05
LONG = 0.002
SLOW_LEDGER = 0.02
Figures = dict[str, Any]


def costs_of(measured: Figures) -> Costs:
    """What the simulation takes over from the measurements; of the run with one worker."""
    [one] = [run for run in measured["runs"] if run["workers"] == 1]
    costs = fitted(one["lengths"], one["elapsed"])
    driver, waits = measured["driver"]["ray"], measured["driver"]["wait"]
    numbers = sorted(waits, key=int)
    slope = (waits[numbers[-1]] - waits[numbers[0]]) / (int(numbers[-1]) - int(numbers[0]))
    pool = measured["driver"]["pool"]["wall"]
    start = one["wall"] - sum(one["elapsed"]) - pool * len(one["elapsed"])
    store = measured["store"]
    return replace(
        costs,
        start=max(start, 0.0),
        driver=driver["cpu"] + driver["ledger"],
        driver_per_worker=max(slope, 0.0),
        per_file=store["fetch"]["per_file"] + 5 * store["publish"]["per_file"],
    )


def validation(measured: Figures, costs: Costs) -> list[Figures]:
    """The measured runs, simulated."""
    pool = measured["driver"]["pool"]
    local = replace(costs, driver=pool["cpu"] + pool["ledger"], driver_per_worker=0, per_file=0)
    found = []
    for run in measured["runs"]:
        walls = [
            simulate(run["lengths"], run["workers"], local, World(), seed).seconds
            for seed in range(20)
        ]
        simulated = float(np.mean(walls))
        found.append(
            {
                "workers": run["workers"],
                "measured": run["wall"],
                "simulated": simulated,
                "error": simulated / run["wall"] - 1,
                "songs_per_hour": len(run["lengths"]) / run["wall"] * 3600,
                "music_per_second": sum(run["lengths"]) / run["wall"],
            }
        )
    return found


def scenarios(measured: Figures) -> dict[str, World]:
    """What is simulated, by name."""
    sizes = measured["bytes_per_second"]
    traffic = sizes["song"]["flac"] + sizes["stems"][FORMAT]
    calm = World(traffic=traffic)
    usual = replace(calm, slow=SLOW, slowness=SLOWNESS, failures=FAILURES)
    return {
        "calm": calm,
        "usual": usual,
        "longest": replace(usual, order="longest"),
        "shortest": replace(usual, order="shortest"),
        "preempted": replace(usual, preemptions=PREEMPTIONS),
        "store 1 Gbit/s": replace(usual, bandwidth=125e6),
        "store 10 Gbit/s": replace(usual, bandwidth=1250e6),
    }


def handed_out(costs: Costs) -> Figures:
    """What the driver can do at most, with a ledger on the disk of here or a slower one."""
    seconds = costs.base + costs.per_second * float(song_lengths(SONGS).mean())
    found: Figures = {"seconds_per_song": seconds}
    for name, more in (("here", 0.0), ("slow", SLOW_LEDGER)):
        each = costs.driver + more
        found[name] = {"songs_per_second": 1 / each, "workers": seconds / each}
    return found


def simulated(measured: Figures, costs: Costs) -> Figures:
    """Every scenario with every number of workers, over two catalogues."""
    rows = []
    catalogues = {"songs": song_lengths(SONGS), "with hours": song_lengths(SONGS, LONG)}
    for catalogue, lengths in catalogues.items():
        for name, world in scenarios(measured).items():
            if catalogue == "with hours" and name not in ("usual", "longest"):
                continue
            base = alone(lengths, costs, world)
            for workers in WORKERS:
                outcome = simulate(lengths, workers, costs, world)
                rows.append(
                    {
                        "catalogue": catalogue,
                        "scenario": name,
                        "workers": workers,
                        "seconds": float(outcome.seconds),
                        "efficiency": float(efficiency(base, outcome, workers)),
                        "tail": float(outcome.tail),
                        "driver": float(outcome.driver / outcome.seconds),
                        "lost": float(outcome.lost),
                        "losses": outcome.losses,
                        "given_up": outcome.given_up,
                    }
                )
    return {
        "songs": SONGS,
        "hours_of_music": {
            name: float(lengths.sum() / 3600) for name, lengths in catalogues.items()
        },
        "slower": slower(measured, costs),
        "rows": rows,
    }


def slower(measured: Figures, costs: Costs) -> list[Figures]:
    """What becomes of networks that take more time for each second of song."""
    lengths = song_lengths(SONGS)
    world = scenarios(measured)["preempted"]
    found = []
    for times in (1, 10, 30):
        heavy = replace(costs, base=costs.base * times, per_second=costs.per_second * times)
        base = alone(lengths, heavy, world)
        outcome = simulate(lengths, 256, heavy, world)
        found.append(
            {
                "times": times,
                "workers": 256,
                "seconds": float(outcome.seconds),
                "efficiency": float(efficiency(base, outcome, 256)),
                "losses": outcome.losses,
                "given_up": outcome.given_up,
            }
        )
    return found


def machine() -> Figures:
    """What the figures were measured on."""
    import os

    import torch

    information = Path("/proc/cpuinfo").read_text().splitlines()
    [model, *_] = [line for line in information if line.startswith("model name")]
    return {
        "processor": model.partition(":")[2].strip(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="songs of every length [3]")
    parser.add_argument("--simulate", action="store_true", help="use the measurements in the JSON")
    parser.add_argument("--write", action="store_true", help="only put the tables into the page")
    parser.add_argument("--check", action="store_true", help="only compare page and JSON")
    return parser.parse_args()


def main() -> None:
    """Measure, simulate, write."""
    options = parse()
    if not (options.write or options.check):
        found = json.loads(TARGET.read_text()) if options.simulate else measured_here(options)
        costs = costs_of(found["measured"])
        found["costs"] = {**asdict(costs), "noise": sorted(costs.noise)}
        found["validation"] = validation(found["measured"], costs)
        found["driver"] = handed_out(costs)
        found["simulated"] = simulated(found["measured"], costs)
        found["assumed"] = {
            "slow": SLOW,
            "slowness": SLOWNESS,
            "failures_per_hour": FAILURES,
            "preemptions_per_hour": PREEMPTIONS,
            "share_of_hours": LONG,
            "slow_ledger": SLOW_LEDGER,
            "back": World().back,
            "back_preempted": World().back_preempted,
            "worker_bandwidth": World().worker_bandwidth,
        }
        TARGET.write_text(json.dumps(found, indent=1) + "\n")
        draw(found, FIGURE)
    found = json.loads(TARGET.read_text())
    page = PAGE.read_text(encoding="utf-8")
    written = page_with_tables(page, found)
    if options.check and page != written:
        raise SystemExit(f"{PAGE.name} and {TARGET.name} differ: run capacity.py --write")
    if not options.check:
        PAGE.write_text(written, encoding="utf-8")


def measured_here(options: argparse.Namespace) -> Figures:
    """The measurements, and of which machine."""
    from capacity_measurements import measure

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    about = machine()
    with tempfile.TemporaryDirectory(prefix="capacity-") as scratch:
        return {"machine": about, "measured": measure(Path(scratch), options.rounds)}


if __name__ == "__main__":
    main()
