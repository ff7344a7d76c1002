"""What it gives that a song is decoded and written while the network computes.

    python benchmarks/overlap.py SONG --threads N --formats wav flac

Separates the song several times in this process, with the stages overlapping and one after another
in turns, and prints the shortest wall time and the CPU seconds of each, as JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Measure one song."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("song", type=Path)
    parser.add_argument("--model", default="band")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--formats", nargs="+", default=["wav", "flac"])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()

    import torch

    torch.set_num_threads(arguments.threads)
    from stemwise import models, songs
    from stemwise.audio import AudioFormat
    from stemwise.separation import Engine

    engine = Engine(models.load(arguments.model))
    ways = {"in turn": lambda engine: False, "overlapping": lambda engine: True}
    rows = []
    for format in arguments.formats:
        best: dict[str, dict[str, float]] = {}
        for turn in range(arguments.repeats + 1):
            for way, overlaps in ways.items():
                songs._overlaps = overlaps
                with tempfile.TemporaryDirectory() as folder:
                    output = songs.Output(Path(folder), AudioFormat(format))
                    wall, cpu = time.perf_counter(), time.process_time()
                    seconds = songs.separate_file(engine, arguments.song, output).duration
                    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                if turn and (way not in best or wall < best[way]["wall"]):
                    best[way] = {"wall": wall, "cpu_per_second": cpu / seconds}
        rows.append({"format": format, "threads": arguments.threads, **best})
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
