"""Latency and cost of every network on audio that comes in, and memory over a long stretch.

    python benchmarks/live.py                  # every network, to docs/benchmarks/live.json
    python benchmarks/live.py --long 1200      # the model band first, 20 minutes of audio

Audio is pushed as `stemwise live` would push it, at the network's own rate, on one core. CPU
seconds are user plus system time; only whole pieces count, after the context in front of them is
full. A network's weights are random, which changes neither latency nor speed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from separate import Figures, machine
from stemwise.live import Stream
from stemwise.models import NETWORKS, Separator, build, load
from stemwise.separation import Engine, Options
from systems import cpu_seconds

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "benchmarks" / "live.json"
SETTINGS: dict[str, dict[str, Any]] = {
    "shortest": {"segment": 1e-9, "lookahead": 0.0},
    "default": {"segment": 0.5, "lookahead": 0.5},
    "exact": {"segment": 1.0},
}
UNIDIRECTIONAL = "open-unmix, unidirectional"
PIECES = 4
"""Pieces that are timed."""


def made(name: str) -> Separator:
    torch.manual_seed(0)
    if name == UNIDIRECTIONAL:
        return build("open-unmix", unidirectional=True).eval()
    return build(name).eval()


def noise(samples: int, channels: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (0.1 * rng.standard_normal((channels, samples))).astype(np.float32)


def cost(separator: Separator, **options: Any) -> Figures:
    """Latency in seconds, and CPU seconds per second of audio once the context is full."""
    engine = Engine(separator, Options(device="cpu", **options))
    rate, piece = separator.sample_rate, engine.piece
    with Stream(engine, rate, separator.channels) as stream:
        # all context and a piece at once: what is timed has everything in front of it
        filled = engine.grid.before + engine.grid.after + 2 * piece
        stream.push(noise(filled, separator.channels))
        block, before = noise(piece, separator.channels), cpu_seconds()
        came = sum(one.stems.shape[-1] for _ in range(PIECES) for one in stream.push(block))
        spent = cpu_seconds() - before
    assert came == PIECES * piece, "every push gives a piece"
    return {
        "latency": round(stream.latency, 4),
        "piece": round(piece / rate, 4),
        "lookahead": round(engine.grid.after / rate, 4),
        "cpu_per_second": round(spent / (PIECES * piece / rate), 4),
    }


def long_run(seconds: int) -> Figures:
    """The model band with pieces of 2 s and 1 s of lookahead: memory and waiting by the minute."""
    rate, block = 44100, 44100 // 10
    engine = Engine(load("band"), Options(device="cpu", segment=2.0, lookahead=1.0))
    audio = noise(60 * rate, 2)
    figures: Figures = {"model": "band", "segment": 2.0, "lookahead": 1.0, "minutes": {}}
    sent, waited, before = 0, 0.0, cpu_seconds()
    with Stream(engine, rate, 2) as stream:
        for index in range(seconds * 10):
            start = index * block % audio.shape[1]
            sent += sum(one.stems.shape[-1] for one in stream.push(audio[:, start : start + block]))
            waited = max(waited, ((index + 1) * block - sent) / rate)
            if (index + 1) % 600 == 0:
                minute = str((index + 1) // 600)
                figures["minutes"][minute] = {
                    "resident_mb": resident_megabytes(),
                    "longest_wait": round(waited, 3),
                }
                print(minute, figures["minutes"][minute], file=sys.stderr)
                waited = 0.0
        sent += sum(one.stems.shape[-1] for one in stream.finish())
    assert sent == seconds * 10 * block
    return {
        **figures,
        "latency": round(stream.latency, 3),
        "samples": sent,
        "cpu_per_second": round((cpu_seconds() - before) / seconds, 4),
    }


def resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * 4096 / 1e6, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--networks", nargs="*", default=[*NETWORKS, UNIDIRECTIONAL])
    parser.add_argument("--long", type=int, default=0, metavar="SECONDS")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    results["machine"] = machine()
    if arguments.long:  # first, in a process that has computed nothing else yet
        results["long"] = long_run(arguments.long)
    networks = results.setdefault("networks", {})
    for name in arguments.networks:
        separator = made(name)
        networks[name] = {key: cost(separator, **chosen) for key, chosen in SETTINGS.items()}
        print(name, json.dumps(networks[name]), file=sys.stderr)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
