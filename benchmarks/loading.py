"""Cost of training excerpts: our store beside openunmix's data sets and a bare copy, in one run.

    apt-get install ffmpeg; pip install openunmix musdb
    python benchmarks/loading.py --memory --out docs/benchmarks/loading.json

renders 8 songs of 60 s, keeps them as .stem.mp4, as wav and as a store, and reads excerpts (6 s,
stereo, 4 stems, random remix) with every system and one thread. Systems of a group take turns in
one process, so that whatever else the machine does slows all of them alike; figures are medians
over the rounds. CPU seconds are user plus system time of the process and all that it started.
Without an ffmpeg binary the package's MUSDB data sets cannot run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SONGS, SECONDS = 8, 60.0
GROUPS = {
    "copies": (
        10,
        {
            "memmap-int16": 64,
            "store": 64,
            "store-augmented": 64,
            "memmap-float": 64,
            "store-float": 64,
            "store-mixture": 64,
            "store-device": 64,
            "store-read": 64,
            "memmap-reused": 64,
            "openunmix-fixed": 32,
            "openunmix-variable": 32,
        },
    ),
    "filters": (3, {"store-filter": 16, "store-shelves": 16, "store-speed": 16}),
    "vocoder": (1, {"store-tempo": 16, "store-pitch": 16}),
    "musdb": (1, {"openunmix-musdb-mp4": 8, "openunmix-musdb-wav": 8}),
    "workers": (
        3,
        {"store:1": 320, "store:2": 320, "store:4": 320, "processes:1": 320, "processes:2": 320},
    ),
}
"""Rounds of each group, and excerpts per round of its systems; `:n` is the number of workers."""
Figures = dict[str, Any]


def make_songs(folder: Path) -> None:
    """Render the songs and write them in every form, unless they are there already."""
    import soundfile

    from stemwise.audio import create_stem_file
    from stemwise.band.render import render_folder
    from stemwise.data.folder import read_folder
    from stemwise.data.prepare import prepare

    wavs = folder / "wav" / "train"
    for path in render_folder(wavs, SONGS, 11, suffix="wav", duration=SECONDS):
        print(f"rendered {path.name}", file=sys.stderr)
    order = ["mixture", "drums", "bass", "other", "vocals"]
    for song in sorted(path for path in wavs.iterdir() if path.is_dir()):
        packed, plain = folder / "mp4" / "train", folder / "stems" / "train" / song.name
        for place in (packed, plain):
            place.mkdir(parents=True, exist_ok=True)
        target = packed / f"{song.name}.stem.mp4"
        if not target.exists():
            blocks = {n: soundfile.read(song / f"{n}.wav", dtype="float32")[0].T for n in order}
            with create_stem_file(target, 44100, order) as writer:
                writer.write(blocks)
        for name in order[1:]:  # the package wants a folder without mixtures
            if not (plain / f"{name}.wav").exists():
                os.link(song / f"{name}.wav", plain / f"{name}.wav")
    prepare(read_folder(folder / "wav", "train"), folder / "store")


def run(folder: Path, systems: dict[str, int], rounds: int) -> dict[str, list[Figures]]:
    """Some systems in turns, in a process of their own."""
    environment = dict(os.environ, GOMP_SPINCOUNT="0", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    command = [sys.executable, str(HERE / "loaders.py"), str(folder), "--rounds", str(rounds)]
    command += [f"{name}={excerpts}" for name, excerpts in systems.items()]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{', '.join(systems)} failed; see the message above")
    figures: dict[str, list[Figures]] = json.loads(done.stdout.splitlines()[-1])
    return figures


def sparse_store(folder: Path, gigabytes: float) -> None:
    """A store of songs of 4 minutes whose data files are holes of as many bytes as records say."""
    from stemwise.data.store import open_store
    from stemwise.data.store_manifest import (
        MANIFEST,
        TrackRecord,
        data_bytes,
        dump_manifest,
        file_name,
    )

    manifest = open_store(folder / "store").manifest
    target = folder / f"sparse-{gigabytes:g}"
    (target / "tracks").mkdir(parents=True, exist_ok=True)
    first, size = manifest.tracks[0], 0
    records: list[TrackRecord] = []
    while size < gigabytes * 1e9:
        name = f"song {len(records)}"
        record = first.model_copy(
            update={"name": name, "file": file_name(name), "samples": 240 * first.sample_rate}
        )
        count = data_bytes(record, manifest.settings.dtype)
        record = record.model_copy(update={"bytes": count})
        with open(target / record.file, "wb") as file:
            file.truncate(count)
        records.append(record)
        size += count
    whole = manifest.model_copy(update={"tracks": tuple(records), "expected": len(records)})
    (target / MANIFEST).write_bytes(dump_manifest(whole))


def memory(folder: Path) -> dict[str, Figures]:
    """Megabytes that the loader holds, by the size of the store."""
    found = {}
    for gigabytes in (2, 20):
        sparse_store(folder, gigabytes)
        where = folder / f"sparse-{gigabytes:g}"
        (figures,) = run(where, {"store-memory": 960}, rounds=1)["store-memory"]
        found[f"{gigabytes} GB"] = {"before": figures["before"], "after": figures["after"]}
    return found


def ratios(costs: dict[str, list[Figures]]) -> dict[str, float]:
    """What was asked for, in CPU seconds per excerpt: medians of the rounds' ratios.

    Peers give float32 stems and mixture, and so does "store-mixture"; the bare copy gives stems in
    the store's own numbers, and so does "store".
    """

    def ratio(above: str, below: str) -> float:
        pairs = list(zip(costs[above], costs[below], strict=False))
        return float(statistics.median(a["cpu"] / b["cpu"] for a, b in pairs))

    found = {
        "store / bare copy (at most 1.4)": ratio("store", "memmap-int16"),
        "augmented / bare copy (at most 2.5)": ratio("store-augmented", "memmap-int16"),
        "augmented / bare copy to float32": ratio("store-augmented", "memmap-float"),
    }
    for name in ("fixed", "variable"):
        peer = ratio(f"openunmix-{name}", "store-mixture")
        found[f"{name} folder set / store (at least 1.5)"] = peer
    for name, least in (("mp4", 60), ("wav", 50)):
        if f"openunmix-musdb-{name}" in costs:
            peer = ratio(f"openunmix-musdb-{name}", "store-mixture")
            found[f"MUSDB {name} set / store (at least {least})"] = peer
    return found


def table(results: Figures) -> str:
    """The figures for docs/performance.md."""
    lines = ["| loader | CPU ms per excerpt | excerpts per second |", "|---|---|---|"]
    for system, figures in results["systems"].items():
        cpu, speed = 1000 * figures["cpu"], 1 / figures["wall"]
        lines.append(f"| {system} | {cpu:.3g} | {speed:.4g} |")
    lines += ["", *(f"- {name}: {value:.2f}" for name, value in results["ratios"].items())]
    return "\n".join(lines)


def main() -> None:
    """Measure, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the songs are kept for another run")
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--memory", action="store_true", help="and with sparse stores to 20 GB")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    scratch = arguments.folder or Path(tempfile.mkdtemp(prefix="loading-"))
    try:
        make_songs(scratch)
        groups = list(arguments.groups)
        if "musdb" in groups and not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
            print("no ffmpeg: the package's MUSDB data sets are left out", file=sys.stderr)
            groups.remove("musdb")
        costs: dict[str, list[Figures]] = {}
        for group in groups:
            rounds, systems = GROUPS[group]
            costs |= run(scratch, systems, rounds)
            print(f"{group} done", file=sys.stderr)
        held = memory(scratch) if arguments.memory else {}
    finally:
        if arguments.folder is None:
            shutil.rmtree(scratch)
    results: Figures = {
        "machine": {"processor": platform.processor(), "cores": os.cpu_count()},
        "load_average": os.getloadavg()[2],
        "excerpt": {"seconds": 6.0, "channels": 2, "stems": 4, "sample_rate": 44100},
        "systems": {
            system: {key: statistics.median(one[key] for one in each) for key in ("cpu", "wall")}
            for system, each in costs.items()
        },
        "memory": held,
    }
    if "copies" in groups:
        results["ratios"] = ratios(costs)
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(table({"ratios": {}, **results}))


if __name__ == "__main__":
    main()
