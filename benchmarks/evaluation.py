"""Speed and memory of BSS Eval v4 beside museval, on the same songs in one run.

    pip install --no-deps museval musdb && pip install pandas simplejson jsonschema
    python benchmarks/evaluation.py                       # 7 s, 60 s, 180 s; one thread and two
    python benchmarks/evaluation.py --long 3600 --set 50  # one hour; 50 songs of 4 minutes

Four stereo stems and their estimates, generated at 44.1 kHz: notes, beats and a little noise, so
that the filters are well determined; they are written as 16-bit WAV files. `stemwise` reads the
files in blocks, twice; `stemwise-arrays` and `museval` find them in memory. Each run has a process
of its own. CPU seconds are user plus system time of all threads, without imports and without
reading what is found in memory; peak memory is what is held above the imports at most, and what is
found in memory stands beside it. `fft` is the least an exact method of this kind can do: it
transforms every window of all signals twice and keeps nothing. The set is measured for stemwise
and extrapolated for museval, from its CPU seconds per second at the longest length it was run on.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from separate import Figures, machine
from systems import cpu_seconds, peak_megabytes

HERE = Path(__file__).resolve().parent
RATE = 44100
SOURCES = ("vocals", "drums", "bass", "other")
SYSTEMS = ("stemwise", "stemwise-arrays", "museval", "fft")
METRICS = ("sdr", "isr", "sir", "sar")
SET_SECONDS = 240


def write_songs(folder: Path, seconds: int) -> None:
    """Write four stems and their estimates, second by second."""
    from contextlib import ExitStack

    from stemwise.audio import create_audio

    rng = np.random.default_rng(seconds)
    folder.mkdir()
    leaks = np.eye(4) * 0.8 + 0.1
    with ExitStack() as stack:
        writers = {
            path: stack.enter_context(create_audio(path, RATE, 2))
            for paths in files(folder)
            for path in paths
        }
        for second in range(seconds):
            stems = np.stack([_stem(rng, index, second) for index in range(4)])
            noise = 0.01 * rng.standard_normal(stems.shape)
            estimates = np.einsum("ij,jct->ict", leaks, stems) + noise
            for paths, sounds in zip(files(folder), (stems, estimates), strict=True):
                for path, sound in zip(paths, sounds, strict=True):
                    writers[path].write(sound.astype(np.float32))


def _stem(rng: np.random.Generator, index: int, second: int) -> np.ndarray[Any, Any]:
    """One second of a stem, (2, sample)."""
    at = second + np.arange(RATE) / RATE
    sound = np.zeros((2, RATE))
    root = 55.0 * 2 ** (index + rng.integers(0, 12) / 12)
    for partial in range(1, 9):
        phase = rng.uniform(0, 2 * np.pi, (2, 1))
        sound += 0.06 / partial * np.sin(2 * np.pi * root * partial * at + phase)
    beat = np.exp(-((at * (index + 1)) % 1) * 8)
    # a little noise everywhere: a band without any sound leaves the filters undetermined
    return sound * beat + (0.03 * beat + 0.005) * rng.standard_normal((2, RATE))


def files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Paths of the references and of the estimates."""
    return (
        [folder / f"{source}.wav" for source in SOURCES],
        [folder / f"{source} estimate.wav" for source in SOURCES],
    )


def read(paths: list[Path]) -> np.ndarray[Any, Any]:
    """All samples of several files, (source, channel, sample)."""
    import soundfile

    return np.stack([soundfile.read(path, dtype="float64")[0].T for path in paths])


def prepare_files(folder: Path, seconds: int, threads: int) -> tuple[Callable[[], Any], float]:
    """stemwise from files; what is shorter than `seconds` is repeated."""
    from stemwise.evaluation.blocks import BlockSource, Samples, file_blocks
    from stemwise.evaluation.bss_eval import bss_eval_stream

    def repeated(paths: list[Path]) -> BlockSource:
        once = file_blocks(paths, quantised=True)

        def blocks() -> Iterator[Samples]:
            left = seconds * RATE
            while left:
                for block in once():
                    yield block[..., :left]
                    left -= min(left, block.shape[-1])

        return blocks

    references, estimates = (repeated(paths) for paths in files(folder))

    def score() -> Any:
        return bss_eval_stream(references, estimates, RATE, threads=threads, quantise=False)

    return score, 0.0


def prepare_arrays(folder: Path, seconds: int, threads: int) -> tuple[Callable[[], Any], float]:
    """stemwise from arrays."""
    from stemwise.evaluation.bss_eval import bss_eval

    references, estimates = (read(paths).astype(np.float32) for paths in files(folder))
    held = (references.nbytes + estimates.nbytes) / 1024**2
    return lambda: bss_eval(references, estimates, RATE, threads=threads), held


def museval() -> Any:
    """Its `bss_eval`; the package imports musdb, which wants ffmpeg; its metrics use neither."""
    sys.modules.setdefault("musdb", types.ModuleType("musdb"))
    return import_module("museval.metrics").bss_eval


def prepare_museval(folder: Path, seconds: int, threads: int) -> tuple[Callable[[], Any], float]:
    """museval, as its `evaluate` calls it in mode v4."""
    bss_eval = museval()
    references, estimates = (
        np.ascontiguousarray(read(paths).transpose(0, 2, 1)) for paths in files(folder)
    )
    held = (references.nbytes + estimates.nbytes) / 1024**2

    def score() -> Any:
        scores = bss_eval(references, estimates, window=RATE, hop=RATE)
        return types.SimpleNamespace(**dict(zip(METRICS, scores[:4], strict=True)))

    return score, held


def prepare_fft(folder: Path, seconds: int, threads: int) -> tuple[Callable[[], Any], float]:
    """Two transforms of every window of all signals, and nothing else."""
    from scipy import fft

    size = fft.next_fast_len(RATE + 511, real=True)
    samples = np.zeros((2 * 2 * len(SOURCES), size))
    samples[:, :RATE] = np.random.default_rng(0).standard_normal((len(samples), RATE))

    def transform() -> None:
        for _ in range(2 * seconds):
            fft.rfft(samples, axis=-1, workers=threads)

    return transform, 0.0


def prepare_set(folder: Path, songs: int, threads: int) -> tuple[Callable[[], Any], float]:
    """stemwise on one song after the other, all of them the same."""
    score, held = prepare_files(folder, SET_SECONDS, threads)

    def score_all() -> Any:
        for _ in range(songs - 1):
            score()
        return score()

    return score_all, held


PREPARE = {
    "stemwise": prepare_files,
    "stemwise-arrays": prepare_arrays,
    "museval": prepare_museval,
    "fft": prepare_fft,
    "set": prepare_set,
}


def run_one(system: str, folder: Path, seconds: int, threads: int, scores: Path) -> None:
    """Measure one system in this process and print what it cost as a line of JSON."""
    from threadpoolctl import threadpool_limits

    # everybody's imports come first, and are in nobody's figures
    for module in ("soundfile", "stemwise.audio.decoders", "stemwise.evaluation.bss_eval"):
        import_module(module)
    if system == "museval":
        museval()
    threadpool_limits(threads)
    _forget_peak()
    before = peak_megabytes()
    score, held = PREPARE[system](folder, seconds, threads)
    _forget_peak()
    cpu, wall = cpu_seconds(), time.monotonic()
    result = score()
    figures = {"wall": time.monotonic() - wall, "cpu": cpu_seconds() - cpu, "held_mb": held}
    figures["peak_mb"] = peak_megabytes() - before
    if result is not None:
        np.savez(scores, **{name: getattr(result, name) for name in METRICS})
    print(json.dumps(figures), flush=True)
    # leaving at once keeps the interpreter's clean-up out of nobody's figures but its own
    os._exit(0)


def _forget_peak() -> None:
    """Let the peak start at what is held now, where the system can."""
    switch = Path("/proc/self/clear_refs")
    if switch.exists():
        switch.write_text("5")


def run(system: str, folder: Path, seconds: int, threads: int, scores: Path) -> Figures:
    """One system on one song in a process of its own."""
    environment = dict(os.environ, **{f"{name}_NUM_THREADS": str(threads) for name in BLAS})
    command = [sys.executable, str(HERE / "evaluation.py"), "--run", system, str(folder)]
    command += [str(seconds), str(threads), str(scores)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    print(f"{system}, {seconds} s, {threads} threads: {figures}", file=sys.stderr, flush=True)
    return figures


BLAS = ("OMP", "OPENBLAS", "MKL")


def measure(options: argparse.Namespace, scratch: Path) -> list[Figures]:
    """Every system at every length: medians over interleaved rounds; museval runs once."""
    rows = []
    for seconds in options.seconds:
        folder = scratch / str(seconds)
        write_songs(folder, seconds)
        for threads in options.threads:
            runs: dict[str, list[Figures]] = {}
            for turn in range(options.repeats):
                for system in SYSTEMS:
                    if system != "museval" or not turn:
                        scores = scratch / f"{system}.npz"
                        figures = run(system, folder, seconds, threads, scores)
                        runs.setdefault(system, []).append(figures)
            for system, several in runs.items():
                row = {"system": system, "seconds": seconds, "threads": threads}
                for key in several[0]:
                    row[key] = statistics.median(one[key] for one in several)
                row["cpu_all"] = [one["cpu"] for one in several]
                if system.startswith("stemwise"):
                    row["difference_db"] = difference(scratch, system)
                rows.append(row)
    return rows


def difference(scratch: Path, system: str) -> dict[str, float]:
    """The largest difference from museval's scores in dB, by metric."""
    with np.load(scratch / f"{system}.npz") as ours, np.load(scratch / "museval.npz") as theirs:
        return {name: float(np.abs(ours[name] - theirs[name]).max()) for name in METRICS}


def measure_long(options: argparse.Namespace, scratch: Path) -> Figures:
    """A long song, which is the longest of the others repeated, for stemwise alone."""
    folder, threads = scratch / str(max(options.seconds)), max(options.threads)
    figures = run("stemwise", folder, options.long, threads, scratch / "long.npz")
    return {"system": "stemwise", "seconds": options.long, "threads": threads, **figures}


def measure_set(options: argparse.Namespace, scratch: Path, rows: list[Figures]) -> Figures:
    """A whole test set: stemwise measured, museval extrapolated."""
    folder, threads = scratch / "set", max(options.threads)
    write_songs(folder, SET_SECONDS)
    ours = run("set", folder, options.set, threads, scratch / "set.npz")
    peers = [row for row in rows if row["system"] == "museval" and row["threads"] == threads]
    peer = max(peers, key=lambda row: row["seconds"])
    audio = options.set * SET_SECONDS
    return {
        "songs": options.set,
        "seconds": SET_SECONDS,
        "threads": threads,
        "cpu_hours": ours["cpu"] / 3600,
        "hours": ours["wall"] / 3600,
        "peak_mb": ours["peak_mb"],
        "museval_cpu_hours": peer["cpu"] / peer["seconds"] * audio / 3600,
        "museval_hours": peer["wall"] / peer["seconds"] * audio / 3600,
    }


def table(rows: list[Figures]) -> str:
    """The figures as Markdown; ratios are museval's of the same length and threads to the row's."""
    base = {(row["seconds"], row["threads"]): row for row in rows if row["system"] == "museval"}
    least = {(row["seconds"], row["threads"]): row for row in rows if row["system"] == "fft"}
    lines = [
        "| song | threads | system | CPU | wall | museval's CPU / wall | of two FFTs "
        "| peak memory above imports | arrays in it | largest difference |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        key = (row["seconds"], row["threads"])
        ratios = bound = ""
        if key in base:
            peer = base[key]
            ratios = f"{peer['cpu'] / row['cpu']:.1f}x / {peer['wall'] / row['wall']:.1f}x"
        if key in least:
            bound = f"{row['cpu'] / least[key]['cpu']:.1f}x"
        apart = max(row["difference_db"].values()) if "difference_db" in row else None
        lines.append(
            f"| {row['seconds']} s | {row['threads']} | {row['system']} | {row['cpu']:.2f} s "
            f"| {row['wall']:.2f} s | {ratios} | {bound} | {row['peak_mb']:.0f} MB "
            f"| {row['held_mb']:.0f} MB | {'' if apart is None else f'{apart:.0e} dB'} |"
        )
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", nargs="+", type=int, default=[7, 60, 180])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3, help="rounds of all but museval")
    parser.add_argument("--long", type=int, help="seconds of a song for stemwise alone")
    parser.add_argument("--set", type=int, help="songs of 4 minutes to score one after the other")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs/benchmarks/evaluation.json")
    parser.add_argument("--run", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.out.is_dir():
        parser.error(f"{options.out} is a folder: name the JSON file to write")
    return options


def save(facts: Figures, rows: list[Figures], path: Path) -> None:
    """Write what is known so far."""
    facts["load_at_end"] = os.getloadavg()[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json.dumps({**facts, "rows": rows}, indent=2) + "\n")
    os.replace(temporary, path)


def main() -> int:
    """Measure, print the table, and keep the figures."""
    options = parse()
    if options.run:
        system, folder, seconds, threads, scores = options.run
        run_one(system, Path(folder), int(seconds), int(threads), Path(scores))
    facts: Figures = {"machine": machine(), "repeats": options.repeats}
    with tempfile.TemporaryDirectory(prefix="stemwise-benchmark-") as name:
        scratch = Path(name)
        rows = measure(options, scratch)
        save(facts, rows, options.out)
        if options.long:
            rows.append(measure_long(options, scratch))
            save(facts, rows, options.out)
        if options.set:
            facts["set"] = measure_set(options, scratch, rows)
            save(facts, rows, options.out)
            print(json.dumps(facts["set"], indent=2))
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
