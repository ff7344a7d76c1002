"""The numbers and the figure of docs/evaluation-example.md, from nothing but this repository.

    python benchmarks/evaluation_example.py WORK --figure docs/figures/evaluation-example.png

Renders held-out songs into WORK, scores the default model, the mixture and ideal masks on them, and
prints the tables. What is done already is not done again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from stemwise.cli import run
from stemwise.evaluation.plots import write_plots
from stemwise.evaluation.tables import joined, keep, markdown, read_run, summary

RENDER = "--count 8 --seed 1000 --held-out --accompanied --duration 12 -q"
METRICS = "v4,usdr,non-vocal"


def main() -> None:
    """Run every step of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--figure", type=Path, required=True)
    options = parser.parse_args()
    songs, scores = options.work / "songs", options.work / "scores"
    steps = (
        ["render", str(songs), *RENDER.split()],
        ["evaluate", str(songs), "--model", "band", "--metrics", METRICS, "--json",
         str(scores / "band"), "--format", "md"],
        ["oracle", str(songs), "--methods", "mixture,irm", "--metrics", METRICS, "--json",
         str(scores), "--format", "md"],
        ["compare", str(scores / "mixture"), str(scores / "band"), "--metrics", "SDR,uSDR",
         "--format", "md"],
    )  # fmt: skip
    for step in steps:
        print(f"\n$ stemwise {' '.join(step)}", flush=True)
        if run(step):
            raise SystemExit(1)
    runs = {name: read_run(scores / name) for name in ("mixture", "band", "irm")}
    whole = joined({name: keep(one, None, ["SDR", "SIR", "SAR"]) for name, one in runs.items()})
    # a mixture has no artefacts, and its 300 dB would flatten the others
    shown = whole[~((whole["method"] == "mixture") & (whole["metric"] == "SAR"))]
    write_plots(options.figure, shown)
    print(f"\n{options.figure}\n\n{markdown(summary(whole))}")


if __name__ == "__main__":
    main()
