"""Runtimes and precisions of a model: CPU time of its network and of the engine, memory, quality.

    python benchmarks/runtimes.py --songs RENDERED/held-out --out docs/benchmarks

Every case runs in rounds, one after another, in one process; CPU seconds are user plus system time
of all threads per second of song, the least of the rounds, and ratios are medians of those within a
round, to eager PyTorch in fp32: the network as it is trained for the network alone, the engine with
that runtime for the whole engine. Peak memory is that of a process of its own for each case. A
second process is kept from using more than AVX2, and stands for CPUs without units for bf16. SDR is
compared on held-out renders and on the real clips of $STEMWISE_REAL_AUDIO, which no choice was made
on. With two threads it takes about six minutes on the reference machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch

from quality import STEMS, Song, power_db, real_clips, rendered_songs, sdr, separate
from stemwise.devices import prefers_bfloat16
from stemwise.errors import StemwiseError
from stemwise.models import load
from stemwise.runtimes.kinds import PRECISIONS, difference, missing
from stemwise.runtimes.material import features, song
from stemwise.runtimes.running import SEED, running
from stemwise.separation import Engine, Options
from systems import peak_megabytes

EAGER = ("torch", "fp32")
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
EXCERPT = 20.0
"""Seconds of each held-out render."""


def cases(compiled: bool) -> list[tuple[str, str]]:
    """All that is installed and that the CPU has instructions for."""
    half = prefers_bfloat16(torch.device("cpu")) and not os.environ.get("ONEDNN_MAX_CPU_ISA")
    return [
        (runtime, precision)
        for runtime, able in PRECISIONS.items()
        if not missing(runtime) and (compiled or runtime != "compile")
        for precision in able
        if half or precision != "bf16"
    ]


def timed(work: Any, seconds: float) -> float:
    """CPU seconds per second of song."""
    started = time.process_time()
    work()
    return (time.process_time() - started) / seconds


def in_rounds(runs: dict[Any, Any], seconds: float, rounds: int) -> dict[Any, dict[str, float]]:
    """Every run in turn, some rounds after one that does not count."""
    for run in runs.values():
        run()
    times: dict[Any, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(timed(run, seconds))
    first = next(iter(runs))
    return {
        name: {
            "cpu_s_per_s": round(min(taken), 5),
            "ratio": round(median(a / b for a, b in zip(times[first], taken, strict=True)), 3),
        }
        for name, taken in times.items()
    }


def networks(model: str, places: list[tuple[str, str]], rounds: int) -> list[dict[str, Any]]:
    """The network alone on one piece of 20 s; first as it is trained, with the whole context."""
    separator = load(model)
    mixture = song(separator, SEED, separator.segment)
    narrow = separator.narrowed()
    made: dict[str, Any] = {"torch fp32, as trained": (separator, EAGER)}
    rows = []
    for place in places:
        started = time.perf_counter()
        try:
            made[" ".join(place)] = running(narrow, *place), place
        except StemwiseError as error:
            rows.append({"case": " ".join(place), "refused": str(error)})
        print(place, f"ready after {time.perf_counter() - started:.1f} s", flush=True)

    inputs = {one.grid.crop: features(one, mixture) for one in (separator, narrow)}

    def run(one: Any, place: tuple[str, str]) -> Any:
        with (
            torch.inference_mode(),
            torch.autocast("cpu", torch.bfloat16, enabled=place == ("torch", "bf16")),
        ):
            return one.network(*inputs[one.grid.crop])

    timings = in_rounds(
        {name: lambda one=one: run(*one) for name, one in made.items()}, separator.segment, rounds
    )
    eager = run(narrow, EAGER)
    for name, one in made.items():
        row = {"case": name, **timings[name]}
        if one[0] is not separator:
            found = difference(eager, run(*one))
            row |= {"rms": float(f"{found.rms:.2e}"), "largest": float(f"{found.largest:.2e}")}
        rows.append(row)
        print(row, flush=True)
    return rows


def engine_song(rate: int, seconds: float) -> np.ndarray:
    """A rendered song of this length, repeated where it is shorter."""
    from stemwise.band.render import render_song

    audio = render_song(SEED, sample_rate=rate, duration=30.0).mixture
    return np.tile(audio, (1, int(seconds * rate) // audio.shape[1] + 1))[:, : int(seconds * rate)]


def engines(
    model: str, places: list[tuple[str, str]], seconds: float, segments: list[float], rounds: int
) -> list[dict[str, Any]]:
    """The whole engine, from samples to stems, at some lengths of pieces."""
    separator = load(model)
    audio = engine_song(separator.sample_rate, seconds)
    runs = {}
    for segment in segments:
        for runtime, precision in places:
            options = Options(device="cpu", runtime=runtime, precision=precision, segment=segment)
            engine = Engine(separator, options)

            def run(engine: Engine = engine) -> None:
                for _ in engine.stream([audio], separator.sample_rate, 2):
                    pass

            try:
                _ = engine.running
            except StemwiseError:
                continue
            runs[f"{runtime} {precision}, {segment:g} s"] = run
    timings = in_rounds(runs, seconds, rounds)
    rows = [{"case": name, **row} for name, row in timings.items()]
    for row in rows:
        print("engine", row, flush=True)
    return rows


def memory(model: str, runtime: str, precision: str, segment: float) -> None:
    """In a process of its own: peak memory of a song of three minutes."""
    separator = load(model)
    options = Options(device="cpu", runtime=runtime, precision=precision, segment=segment)
    engine = Engine(separator, options)
    audio = engine_song(separator.sample_rate, 60.0)
    blocks = (audio for _ in range(3))
    for _ in engine.stream(blocks, separator.sample_rate, 2):
        pass
    print(json.dumps(peak_megabytes()))


def memories(
    model: str, places: list[tuple[str, str]], segments: list[float]
) -> list[dict[str, Any]]:
    """Peak memory of each case."""
    rows = []
    for runtime, precision in places:
        for segment in segments:
            own = ["--memory", runtime, precision, str(segment), "--model", model]
            command = [sys.executable, __file__, *own]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                continue
            peak = round(json.loads(done.stdout.splitlines()[-1]))
            rows.append({"case": f"{runtime} {precision}, {segment:g} s", "peak_mb": peak})
            print(rows[-1], flush=True)
    return rows


def quality(
    model: str, places: list[tuple[str, str]], folder: Path | None, count: int
) -> dict[str, Any]:
    """SDR lost against eager fp32, and how far below the song the stems differ."""
    material: dict[str, list[Song]] = {}
    if folder is not None:
        found = list(rendered_songs(folder))[:count]
        material["held-out renders"] = [excerpt(one) for one in found]
    real = os.environ.get("STEMWISE_REAL_AUDIO")
    if real:
        material["real clips"] = list(real_clips(Path(real)))
    result = {}
    for name, songs in material.items():
        lost: dict[str, list[dict[str, float]]] = {}
        below: dict[str, list[float]] = {}
        for one in songs:
            separator = load(model, sample_rate=22050 if one.sample_rate <= 22050 else 44100)
            scores, stems = {}, {}
            for runtime, precision in places:
                options = Options(device="cpu", runtime=runtime, precision=precision)
                try:
                    stems[runtime, precision], _ = separate(Engine(separator, options), one)
                except StemwiseError:
                    continue
                scores[runtime, precision] = {
                    stem: sdr(one.stems[stem], stems[runtime, precision][stem]) for stem in STEMS
                }
            for place, score in scores.items():
                known = {s: v for s, v in scores[EAGER].items() if v is not None}
                lost.setdefault(" ".join(place), []).append(
                    {stem: round(value - score[stem], 4) for stem, value in known.items()}
                )
                wrong = np.stack([stems[place][s] - stems[EAGER][s] for s in STEMS])
                below.setdefault(" ".join(place), []).append(
                    power_db(one.mixture) - power_db(wrong) if wrong.any() else float("inf")
                )
        result[name] = {
            case: {
                "songs": len(rows),
                "sdr_lost_mean": round(fmean(v for row in rows for v in row.values()), 4),
                "sdr_lost_most": max(v for row in rows for v in row.values()),
                "stems_differ_db_below_song": None
                if case == "torch fp32"
                else round(min(below[case]), 1),
            }
            for case, rows in lost.items()
        }
        for case, row in result[name].items():
            print(name, case, row, flush=True)
    return result


def excerpt(one: Song) -> Song:
    """Its middle."""
    length = int(EXCERPT * one.sample_rate)
    start = max(0, (one.mixture.shape[1] - length) // 2)
    stems = {name: stem[:, start : start + length] for name, stem in one.stems.items()}
    return Song(one.name, one.sample_rate, stems)


def restricted(arguments: argparse.Namespace) -> dict[str, Any]:
    """Network and engine again, in a process that uses no more than AVX2."""
    own = ["--restricted", "--model", arguments.model, "--seconds", str(arguments.seconds)]
    command = [sys.executable, __file__, *own, "--rounds", str(arguments.rounds)]
    done = subprocess.run(
        command, env={**os.environ, **AVX2}, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="band")
    parser.add_argument("--songs", type=Path, help="folder of held-out renders")
    parser.add_argument("--count", type=int, default=8, help="of them")
    parser.add_argument("--seconds", type=float, default=90.0, help="of song for the engine")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="the compiler too: minutes more")
    parser.add_argument("--out", type=Path, help="folder for runtimes.json")
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--restricted", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory:
        memory(args.model, args.memory[0], args.memory[1], float(args.memory[2]))
        return
    places = cases(args.compile)
    result: dict[str, Any] = {
        "network": networks(args.model, places, args.rounds),
        "engine": engines(args.model, places, args.seconds, [20.0], args.rounds),
    }
    if args.restricted:
        print(json.dumps(result))
        return
    result["avx2"] = restricted(args)
    best = [place for place in places if place[0] in ("torch", "openvino")]
    result["engine, longer pieces"] = engines(args.model, best, args.seconds, [40.0], args.rounds)
    result["memory"] = memories(args.model, places, [20.0, 40.0])
    result["quality"] = quality(args.model, places, args.songs, args.count)
    result["threads"] = torch.get_num_threads()
    result["machine"] = f"{os.cpu_count()} CPUs, {torch.backends.cpu.get_cpu_capability()}"
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "runtimes.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
