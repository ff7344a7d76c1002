"""What it gives that a song is decoded and written while the network computes.

    python benchmarks/overlap.py SONG --threads N --formats wav flac

Separates the song several times in this process, with the stages overlapping and one after another
in turns, and prints the shortest wall time and the CPU seconds of each, as JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


class Now:
    """What `WriteBehind` is, without a thread."""

    def __init__(self, behind: int) -> None:
        pass

    def __enter__(self) -> Now:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def do(self, call: Callable[[], object]) -> None:
        """Make a call at once."""
        call()

    def finish(self) -> None:
        """Nothing waits."""


@contextlib.contextmanager
def asked_for(reader: Any) -> Iterator[Any]:
    """Blocks that are decoded when they are asked for."""
    yield reader


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
    ways: dict[str, Any] = {
        "in turn": {"WriteBehind": Now, "_decoded": asked_for},
        "overlapping": {"WriteBehind": songs.WriteBehind, "_decoded": songs._decoded},
    }
    rows = []
    for format in arguments.formats:
        best: dict[str, dict[str, float]] = {}
        for turn in range(arguments.repeats + 1):
            for way, parts in ways.items():
                for name, part in parts.items():
                    setattr(songs, name, part)
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
