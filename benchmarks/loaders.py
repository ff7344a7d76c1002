"""The loaders that `loading.py` compares.

    python benchmarks/loaders.py FOLDER SYSTEM=EXCERPTS [SYSTEM=EXCERPTS ...] [--rounds N]

reads excerpts (6 s, stereo, 4 stems, each stem from a random song and start) of the songs that
`loading.py` put into FOLDER, with one system after the other in every round, and prints what each
cost as one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SECONDS, RATE, BATCH, HOP = 6.0, 44100, 16, 1024
SOURCES = ("vocals", "drums", "bass", "other")
Read = Callable[[int], Any]
"""Reads so many excerpts."""

REMIX: dict[str, Any] = {"remix": 1.0}
AUGMENTED: dict[str, Any] = {
    **REMIX,
    "gain_range": (0.25, 1.25),
    "swap_stems": 0.5,
    "pan": 0.5,
    "polarity": 0.5,
}
STRENGTHS: dict[str, dict[str, Any]] = {
    "store": REMIX,
    "store-read": REMIX,
    "store-memory": REMIX,
    "store-float": REMIX,
    "store-augmented": AUGMENTED,
    "store-mixture": AUGMENTED,
    "store-device": AUGMENTED,
    "store-filter": {**REMIX, "filter_db": 3.0},
    "store-shelves": {**REMIX, "shelf_db": 3.0, "band_db": 3.0},
    "store-speed": {**REMIX, "speed": 0.1},
    "store-tempo": {**REMIX, "tempo": 0.1},
    "store-pitch": {**REMIX, "pitch": 2.0},
}
LOADED_AS_IS = ("store", "store-read", "store-memory")


def store(name: str, folder: Path, workers: int = 0) -> Read:
    """Batches of stemwise's loader as they are read, or with their draws applied.

    "store-read" reads files that the others map; "store-mixture" adds the stems up, too.
    "store-device" applies everything after reading, as a GPU does.
    """
    from stemwise.data import augment
    from stemwise.data.loading import Loader
    from stemwise.data.sampling import Augmentation, Sampler
    from stemwise.data.store import open_store
    from stemwise.heap import keep_heap

    keep_heap()  # as in training
    where = folder if name == "store-memory" else folder / "store"
    songs = open_store(where, mapped=0).tracks if name == "store-read" else open_store(where).tracks
    strengths = Augmentation(**STRENGTHS[name])
    sampler = Sampler(songs, SOURCES, SOURCES, int(SECONDS * RATE), HOP, 0, strengths)
    # the device of this benchmark is the CPU, as `training.streams` tells its loader
    loader = Loader(sampler, BATCH, workers, mix=name not in (*LOADED_AS_IS, "store-device"))

    def read(count: int) -> None:
        for batch in loader.batches(0, count // BATCH):
            if name not in LOADED_AS_IS:
                done = augment.apply(batch)
                if name == "store-mixture":
                    _ = done.mixture

    return read


def bare(folder: Path, kind: str) -> Read:
    """A copy of the same bytes out of a memory map, and nothing else: the limit.

    "int16": into new arrays of a batch; "reused": into one array again and again; "float": into
    new arrays of float32.
    """
    import numpy as np

    from stemwise.data.store import open_store
    from stemwise.heap import keep_heap

    keep_heap()
    tracks = open_store(folder / "store").tracks
    shapes = [(len(t.record.signals), t.channels, t.samples) for t in tracks]
    songs = [
        np.memmap(folder / "store" / track.record.file, track.dtype, "r", shape=shape)
        for track, shape in zip(tracks, shapes, strict=True)
    ]
    samples, draw = int(SECONDS * RATE), random.Random(0)
    shape, dtype = (BATCH, len(SOURCES), 2, samples), np.float32 if kind == "float" else np.int16
    kept = np.zeros(shape, dtype)

    def read(count: int) -> None:
        for _ in range(count // BATCH):
            batch = kept if kind == "reused" else np.empty(shape, dtype)
            for excerpt in batch:
                for row, stem in enumerate(excerpt):
                    song = songs[draw.randrange(len(songs))]
                    start = draw.randrange(song.shape[-1] - samples + 1)
                    stem[:] = song[row, :, start : start + samples]

    return read


def stub_torchaudio() -> None:
    """Put soundfile behind what openunmix needs of torchaudio, which lost it in its releases."""
    import soundfile
    import torch

    def load(path: Any, frame_offset: int = 0, num_frames: int = -1) -> tuple[Any, int]:
        samples, rate = soundfile.read(
            str(path), frames=num_frames, start=frame_offset, dtype="float32", always_2d=True
        )
        return torch.from_numpy(samples.T), rate

    def info(path: str) -> Any:
        found = soundfile.info(path)
        return types.SimpleNamespace(
            sample_rate=found.samplerate, num_frames=found.frames, num_channels=found.channels
        )

    stub = types.ModuleType("torchaudio")
    vars(stub).update(load=load, info=info, get_audio_backend=lambda: "soundfile")
    sys.modules["torchaudio"] = stub


def openunmix(name: str, folder: Path) -> Read:
    """A data set of the openunmix package, with its own random mixing."""
    stub_torchaudio()
    from openunmix import data

    if name.startswith("openunmix-musdb"):
        is_wav = name.endswith("wav")
        root = folder / ("wav" if is_wav else "mp4")
        options = {"is_wav": is_wav, "seq_duration": SECONDS, "random_track_mix": True}
        dataset = data.MUSDBDataset(root=str(root), subsets="train", **options)
    elif name == "openunmix-fixed":
        others = [f"{source}.wav" for source in SOURCES[1:]]
        options = {"seq_duration": SECONDS, "random_chunks": True, "random_track_mix": True}
        dataset = data.FixedSourcesTrackFolderDataset(
            str(folder / "stems"), interferer_files=others, **options
        )
    else:
        options = {"seq_duration": SECONDS, "random_chunks": True, "random_interferer_mix": True}
        dataset = data.VariableSourcesTrackFolderDataset(str(folder / "stems"), **options)

    def read(count: int) -> None:
        for number in range(count):
            mixture, target = dataset[number % len(dataset)]
            assert mixture.shape == target.shape == (2, int(SECONDS * RATE))

    return read


def processes(folder: Path, workers: int) -> Read:
    """The same batches read by processes of PyTorch's DataLoader, for threads to be judged by."""
    from torch.utils.data import DataLoader, IterableDataset, get_worker_info

    from stemwise.data.excerpts import read_plans
    from stemwise.data.sampling import Augmentation, Sampler
    from stemwise.data.store import open_store

    strengths = Augmentation(remix=1.0)
    songs = open_store(folder / "store").tracks
    sampler = Sampler(songs, SOURCES, SOURCES, int(SECONDS * RATE), HOP, 0, strengths)

    class Stream(IterableDataset[Any]):
        count = 0

        def __iter__(self) -> Iterator[Any]:
            here = get_worker_info()
            assert here is not None
            for step in range(here.id, self.count // BATCH, here.num_workers):
                plans = [sampler.plan(i) for i in range(step * BATCH, (step + 1) * BATCH)]
                yield vars(read_plans(plans, sampler.layout))

    stream = Stream()

    def read(count: int) -> None:
        stream.count = count
        for _ in DataLoader(stream, batch_size=None, num_workers=workers):
            pass

    return read


def prepare(system: str, folder: Path) -> Read:
    """Open a system; what it returns reads excerpts."""
    name, _, workers = system.partition(":")
    if name.startswith("openunmix"):
        return openunmix(name, folder)
    if name.startswith("memmap-"):
        return bare(folder, name.removeprefix("memmap-"))
    if name == "processes":
        return processes(folder, int(workers))
    return store(name, folder, int(workers or 0))


def cpu_seconds() -> float:
    """User and system time of this process and of those that it has waited for."""
    every = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, every))


def memory() -> dict[str, float]:
    """Megabytes that this process holds now: of its own, and mapped from files."""
    status = Path("/proc/self/status").read_text().splitlines()
    found = {line.split(":")[0]: line.split()[1] for line in status if line.startswith("Rss")}
    return {"own_mb": int(found["RssAnon"]) / 1024, "mapped_mb": int(found["RssFile"]) / 1024}


def main() -> None:
    """Measure some systems in turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("systems", nargs="+", metavar="SYSTEM=EXCERPTS")
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    random.seed(0)
    asked = [system.split("=") for system in arguments.systems]
    systems = [(name, prepare(name, arguments.folder), int(count)) for name, count in asked]
    costs: dict[str, list[dict[str, Any]]] = {name: [] for name, *_ in systems}
    for number in range(arguments.rounds):
        for name, read, count in systems:
            if number == 0:
                read(count)  # the first pass maps files and takes memory
            before, cpu, wall = memory(), cpu_seconds(), time.perf_counter()
            read(count)
            cost = {
                "cpu": (cpu_seconds() - cpu) / count,
                "wall": (time.perf_counter() - wall) / count,
                "before": before,
                "after": memory(),
            }
            costs[name].append(cost)
    print(json.dumps(costs), flush=True)
    # leaving at once keeps the interpreter's clean-up out of nobody's figures but its own
    os._exit(0)


if __name__ == "__main__":
    main()
