"""What the network alone costs on songs, without files: the floor for `catalogue.py`.

    python benchmarks/bare_network.py SONG...

Songs are in memory before the clock runs. The engine's pieces, with their context, go through the
separator's forward pass and the way back to waveforms, and what comes out is dropped. The second of
two passes over a song counts: the first gets libraries and memory ready for its lengths. Prints
CPU seconds, all of it and that of the network's own layers, and the seconds of song, as JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Measure some songs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("songs", nargs="+", type=Path)
    parser.add_argument("--model", default="band")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()

    import torch

    torch.set_num_threads(arguments.threads)
    from stemwise import models
    from stemwise.audio import read
    from stemwise.separation import Engine

    engine = Engine(models.load(arguments.model))
    layers = _clock(engine.separator.network)
    cpu = layers_cpu = seconds = 0.0
    for song in arguments.songs:
        audio = read(song)
        batches = list(engine._batches([audio.samples[None]]))
        for _ in range(2):
            before, layers["cpu"] = time.process_time(), 0.0
            for batch in batches:
                engine._compute(batch, True)
        cpu += time.process_time() - before
        layers_cpu += layers["cpu"]
        seconds += audio.duration
    print(json.dumps({"cpu": cpu, "layers_cpu": layers_cpu, "seconds": seconds}))


def _clock(network: Any) -> dict[str, float]:
    """CPU seconds between entering and leaving a module, counted from now on."""
    spent = {"cpu": 0.0, "entered": 0.0}

    def enter(*_: object) -> None:
        spent["entered"] = time.process_time()

    def leave(*_: object) -> None:
        spent["cpu"] += time.process_time() - spent["entered"]

    network.register_forward_pre_hook(enter)
    network.register_forward_hook(leave)
    return spent


if __name__ == "__main__":
    main()
