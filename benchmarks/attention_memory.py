"""Peak memory of `open-unmix-transformer` against length: whole songs, one pass, one training step.

    python benchmarks/attention_memory.py [--out docs/benchmarks] [--seconds 10 60 180 600 1800]

Every figure is the peak resident memory of a process of its own, PyTorch included. Writes
attention_memory.csv and attention_memory.png.
"""

from __future__ import annotations

import argparse
import csv
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

RATE = 44100
EXCERPT, BATCH = 6.0, 16
"""Seconds and size of a training batch (George et al. 2022, section 3.1 and 3.3)."""
SERIES = {
    "song": "whole songs, through the engine",
    "pass": "one pass, attention over all frames",
    "train": "one training step, batches of 6 s",
}


def song(seconds: float) -> None:
    """Separate noise in blocks of a second, as from a file."""
    from stemwise.models import build
    from stemwise.separation import Engine, Options

    def blocks() -> Iterator[np.ndarray]:
        rng = np.random.default_rng(0)
        for start in range(0, round(seconds * RATE), RATE):
            samples = min(RATE, round(seconds * RATE) - start)
            yield rng.standard_normal((2, samples), dtype=np.float32) * 0.1

    engine = Engine(build("open-unmix-transformer"), Options(device="cpu", precision="fp32"))
    done = sum(block.stems.shape[-1] for block in engine.stream(blocks(), RATE, 2))
    assert done == round(seconds * RATE)


def one_pass(seconds: float) -> None:
    """The masks of one source in a single piece, attention over all of its frames."""
    import torch

    from stemwise.models import build

    network = build("open-unmix-transformer", sources=["vocals"]).eval()
    with torch.inference_mode():
        network(torch.randn(1, 2, round(seconds * RATE)) * 0.1)


def train(batch: float) -> None:
    """A step of Adam on one source."""
    import torch

    from stemwise.models import build

    network = build("open-unmix-transformer", sources=["vocals"]).train()
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    mixture = torch.randn(round(batch), 2, round(EXCERPT * RATE)) * 0.1
    prediction = network(mixture)
    prediction.estimates.abs().square().mean().backward()
    optimiser.step()


def measure(series: str, size: float) -> float:
    """Peak resident memory in MB of a fresh process."""
    command = [sys.executable, __file__, "--only", series, str(size)]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(run.stdout.strip())


def draw(rows: list[tuple[str, float, float]], path: Path) -> None:
    """Memory against seconds of audio, both on logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    for series, label in SERIES.items():
        points = [(s * EXCERPT if series == "train" else s, m) for n, s, m in rows if n == series]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", label=label)
    axes.axhline(16384, color="grey", linestyle="--", linewidth=1)
    beside = {"transform": axes.get_yaxis_transform(), "color": "grey", "va": "bottom"}
    axes.text(0.01, 16384 * 1.03, "16 GB", **beside)
    axes.set(xscale="log", yscale="log", xlabel="seconds of audio", ylabel="peak memory (MB)")
    axes.set_ylim(200, 30000)
    axes.set_title("open-unmix-transformer: memory against length (CPU, fp32)")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure every series and write the table and the drawing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument("--seconds", type=float, nargs="+", default=[10, 30, 60, 180, 600, 1800])
    parser.add_argument("--batches", type=float, nargs="+", default=[1, 4, BATCH])
    parser.add_argument("--longest-pass", type=float, default=600, help="seconds in one pass")
    parser.add_argument("--only", nargs=2, metavar=("SERIES", "SIZE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        {"song": song, "pass": one_pass, "train": train}[options.only[0]](float(options.only[1]))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    sizes = [("song", s) for s in options.seconds]
    sizes += [("pass", s) for s in options.seconds if s <= options.longest_pass]
    sizes += [("train", s) for s in options.batches]
    rows = []
    for series, size in sizes:
        rows.append((series, size, measure(series, size)))
        print(f"{SERIES[series]}: {size:g}, {rows[-1][2]:.0f} MB", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    with open(options.out / "attention_memory.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["series", "seconds_or_batch", "peak_mb"])
        writer.writerows((n, f"{s:g}", f"{m:.0f}") for n, s, m in rows)
    draw(rows, options.out / "attention_memory.png")


if __name__ == "__main__":
    main()
