"""Many songs: what a run costs beyond the network, with more workers, beside the peers, on Ray.

    pip install --no-deps --target build/peers demucs openunmix einops julius tqdm sphn lameenc
    python benchmarks/catalogue.py                          # everything
    python benchmarks/catalogue.py --part songs --songs 200

Parts can be run one by one; each replaces its own figures in the JSON and leaves the others.

songs     `stemwise separate FOLDER` as a whole process, all its processes counted, and the bare
          network (`bare_network.py`) on every few of the songs: the command is held five times,
          and the network runs in between, so that both meet the machine in the same states
workers   the same command with one worker on one core, with two on two, and with one of two threads
peers     a loop over `umx`, over `demucs` and over `stemwise separate`, a process for each song
overlap   a song with its stages overlapping, and one after another
ray       what a song costs on a local Ray cluster, and in the pool, beyond what is done to it
driver    ten thousand songs of a second through a tiny network: the memory of the first process

CPU seconds are user plus system time of all threads and processes. Stems are removed as soon as the
ledger says that they are done, so that little disk is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from catalogue_songs import lengths, make_songs
from separate import machine

HERE = Path(__file__).resolve().parent
Figures = dict[str, Any]
TURNS = 5


class Watch:
    """Follows a run by its ledger: removes stems that are done, looks at the driver's memory.

    breaks: numbers of songs after which all processes of the run are held for a call of `between`.
    """

    def __init__(
        self,
        ledger: Path,
        process: int,
        early: int = 100,
        breaks: Sequence[int] = (),
        between: Callable[[], None] = lambda: None,
    ) -> None:
        self.done = 0
        self.held = 0.0
        self.early_mb = self.late_mb = 0.0
        self._ledger, self._process, self._early = ledger, process, early
        self._breaks, self._between = list(breaks), between
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, after a last look."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        at = 0
        while not self._stop.wait(0.05):
            at = self._read(at)
            if self._breaks and self.done >= self._breaks[0]:
                self._breaks.pop(0)
                self._hold()
            memory = _resident(self._process)
            if memory is not None:
                self.late_mb = memory
                if self.done >= self._early and not self.early_mb:
                    self.early_mb = memory
        self._read(at)

    def _hold(self) -> None:
        started = time.monotonic()
        os.killpg(self._process, signal.SIGSTOP)
        try:
            self._between()
        finally:
            os.killpg(self._process, signal.SIGCONT)
            self.held += time.monotonic() - started

    def _read(self, at: int) -> int:
        if not self._ledger.exists():
            return at
        with self._ledger.open("rb") as file:
            file.seek(at)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                at += len(line)
                record = json.loads(line)
                if "state" in record:
                    self.done += record["state"] == "done"
                    for stem in record["facts"].get("stems", {}).values():
                        Path(stem).unlink(missing_ok=True)
        return at


def _resident(process: int) -> float | None:
    """Megabytes of memory that a process holds; None when it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    lines = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return int(lines[0].split()[1]) / 1024 if lines else None


def run(
    command: Sequence[str],
    threads: int,
    path: Path | None = None,
    ledger: Path | None = None,
    cores: int | None = None,
    **breaks: Any,
) -> Figures:
    """A command as a whole process: wall and CPU seconds, with all processes that it started.

    cores: so many of the machine's, and no others (None: all). breaks: see `Watch`; the time for
    which the command is held does not count.
    """
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
    if path is not None:
        known = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(path.resolve()), *([known] if known else [])]
        )
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        if cores is not None:
            os.sched_setaffinity(process.pid, range(cores))
        watch = None if ledger is None else Watch(ledger, process.pid, **breaks)
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:  # Ctrl-C reaches only this process
            os.killpg(process.pid, signal.SIGTERM)
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - started
        if watch is not None:
            watch.close()
            wall -= watch.held
        output.seek(0)
        text = output.read().decode(errors="replace")
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{text[-2000:]}")
    figures: Figures = {"wall": wall, "cpu": used.ru_utime + used.ru_stime, "output": text}
    figures["peak_mb"] = used.ru_maxrss / 1024  # of the largest process
    if watch is not None:
        figures |= {"done": watch.done, "early_mb": watch.early_mb, "late_mb": watch.late_mb}
    return figures


def separate(
    folder: Path,
    options: argparse.Namespace,
    *,
    jobs: int,
    threads: int,
    model: str | None = None,
    cores: int | None = None,
    **breaks: Any,
) -> Figures:
    """`stemwise separate FOLDER`, into a folder of its own. cores, breaks: see `run`."""
    with tempfile.TemporaryDirectory(dir=options.scratch) as out:
        command = [sys.executable, "-m", "stemwise", "separate", str(folder), "-o", out, "--json"]
        command += ["-j", str(jobs), "-n", model or options.model]
        figures = run(command, threads, ledger=Path(out) / "ledger.jsonl", cores=cores, **breaks)
    del figures["output"]
    return {"jobs": jobs, "threads": threads, "cores": cores or options.cores, **figures}


def bare(songs: Sequence[Path], options: argparse.Namespace) -> Figures:
    """The bare network on songs, as many processes as there are cores, a thread each."""
    shares = [share for number in range(options.cores) if (share := songs[number :: options.cores])]
    results: list[Figures] = []

    def measure(share: Sequence[Path]) -> None:
        script = [sys.executable, str(HERE / "bare_network.py"), "--model", options.model]
        text = run([*script, *map(str, share)], 1)["output"]
        results.append(json.loads(text.splitlines()[-1]))

    threads = [threading.Thread(target=measure, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(results) < len(shares):
        raise SystemExit("the bare network could not be measured; see above")
    return {key: sum(one[key] for one in results) for key in results[0]}


def measure_songs(options: argparse.Namespace) -> Figures:
    """The command on all songs, and the bare network on some of them in between."""
    seconds = lengths(options.songs)
    songs = make_songs(options.scratch / "songs", seconds)
    some = songs[:: options.every]
    turns: list[Figures] = []
    figures = separate(
        songs[0].parent,
        options,
        jobs=options.cores,
        threads=1,
        breaks=[round((turn + 0.5) * len(songs) / TURNS) for turn in range(TURNS)],
        between=lambda: turns.append(bare(some[len(turns) :: TURNS], options)),
    )
    heard = sum(seconds)
    sums = {key: sum(turn[key] for turn in turns) for key in turns[0]}
    network, layers = sums["cpu"] / sums["seconds"], sums["layers_cpu"] / sums["seconds"]
    return {
        "songs": len(songs),
        "seconds": heard,
        **figures,
        "cpu_per_second": figures["cpu"] / heard,
        "network_songs": len(some),
        "network_cpu_per_second": network,
        "network_cpu_per_second_in_turn": [turn["cpu"] / turn["seconds"] for turn in turns],
        "layers_cpu_per_second": layers,
        "over_network": figures["cpu"] / heard / network,
        "over_layers": figures["cpu"] / heard / layers,
    }


def measure_workers(options: argparse.Namespace) -> Figures:
    """One worker on one core, two on two, and one of two threads, in turn on the same songs."""
    seconds = lengths(options.worker_songs, seed=1)
    folder = make_songs(options.scratch / "worker-songs", seconds)[0].parent
    rows: dict[str, Figures] = {}
    for jobs, threads, cores in ((1, 1, 1), (2, 1, 2), (1, 2, 2)):
        name = f"{jobs} x {threads} on {cores}"
        rows[name] = separate(folder, options, jobs=jobs, threads=threads, cores=cores)
    return {
        "songs": len(seconds),
        "seconds": sum(seconds),
        "processes x threads on cores": rows,
        "speed_up": rows["1 x 1 on 1"]["wall"] / rows["2 x 1 on 2"]["wall"],
    }


def measure_peers(options: argparse.Namespace) -> Figures:
    """A loop over each command, a process for every song, in one run; all cores to each."""
    seconds = options.peer_seconds
    songs = make_songs(options.scratch / "peer-songs", seconds, seed=2)
    weights = options.scratch / "weights"
    script = [sys.executable, str(HERE / "peer_commands.py")]
    run([*script, "weights", str(weights)], options.cores, options.peers)
    rows: dict[str, list[Figures]] = {}
    for song, length in zip(songs, seconds, strict=True):
        for system in ("stemwise", "umx", "demucs"):
            with tempfile.TemporaryDirectory(dir=options.scratch) as out:
                if system == "stemwise":
                    command = [sys.executable, "-m", "stemwise", "separate", str(song), "-q"]
                    figures = run([*command, "-o", out, "-n", options.model], options.cores)
                else:
                    command = [*script, system, str(weights), str(song), out]
                    figures = run(command, options.cores, options.peers)
                stems = len([*Path(out).rglob("*.wav")])
            if stems != 4:
                raise SystemExit(f"{system} wrote {stems} stems of {song}")
            row = {"seconds": length, "wall": figures["wall"], "cpu": figures["cpu"]}
            rows.setdefault(system, []).append(row)
            print(f"{system}, {length:.0f} s: {figures['cpu'] / length:.4f}", file=sys.stderr)
    folder = separate(songs[0].parent, options, jobs=1, threads=options.cores)
    total = {
        system: {key: sum(row[key] for row in ours) for key in ("seconds", "wall", "cpu")}
        for system, ours in rows.items()
    }
    total["stemwise, one run"] = {"seconds": sum(seconds), **folder}
    least = total["stemwise"]
    return {
        "songs": rows,
        "total": total,
        "times_stemwise": {
            system: {key: one[key] / least[key] for key in ("wall", "cpu")}
            for system, one in total.items()
        },
    }


def measure_overlap(options: argparse.Namespace) -> Figures:
    """A minute of song, with one thread and with as many as there are cores."""
    song = make_songs(options.scratch / "overlap-song", [60.0], seed=3)[0]
    rows = []
    for threads in sorted({1, options.cores}):
        command = [sys.executable, str(HERE / "overlap.py"), str(song), "--model", options.model]
        command += ["--threads", str(threads), "--formats", "wav", "flac"]
        rows += json.loads(run(command, threads)["output"].splitlines()[-1])
    return {"seconds": 60.0, "rows": rows}


def measure_ray(options: argparse.Namespace) -> Figures:
    """Milliseconds that a worker does not spend on songs, for each song."""
    from light_work import PeakWork
    from stemwise.catalogue.cluster import run_cluster
    from stemwise.catalogue.entries import Entry
    from stemwise.catalogue.pool import run_pool

    songs = make_songs(options.scratch / "second-songs", [1.0] * 20, seed=4)
    count = options.ray_songs
    entries = [Entry(f"song-{index}", str(songs[index % 20])) for index in range(count)]
    workers = min(2, options.cores)
    os.environ["PYTHONPATH"] = os.pathsep.join(  # for the processes that load the work
        [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    )

    def beyond(records: Any) -> float:
        """From the first song on: starting the workers is not part of it."""
        next(records)
        started, worked, ended = time.monotonic(), 0.0, 0
        for record in records:
            if record.state != "done":
                raise SystemExit(f"a song failed: {record.sentence}")
            worked += record.facts["elapsed"]
            ended += 1
        return 1000 * (workers * (time.monotonic() - started) - worked) / ended

    return {
        "songs": count,
        "workers": workers,
        "pool_ms_per_song": beyond(run_pool(PeakWork(), entries, workers)),
        "ray_ms_per_song": beyond(run_cluster(PeakWork(), entries, "local", workers)),
    }


def measure_driver(options: argparse.Namespace) -> Figures:
    """The memory of the first process while two others do many short songs."""
    import torch

    from stemwise import models

    torch.manual_seed(0)
    tiny = options.scratch / "tiny.safetensors"
    models.save(models.build("open-unmix", hidden=16), tiny)
    seconds = make_songs(options.scratch / "second-songs", [1.0] * 20, seed=4)
    folder = options.scratch / "many-songs"
    folder.mkdir(exist_ok=True)
    for index in range(options.driver_songs):
        link = folder / f"song-{index:05d}.flac"
        if not link.exists():
            os.link(seconds[index % 20], link)
    figures = separate(folder, options, jobs=2, threads=1, model=str(tiny))
    return {
        "songs": options.driver_songs,
        **figures,
        "grown_mb": figures["late_mb"] - figures["early_mb"],
        "songs_per_second": options.driver_songs / figures["wall"],
    }


PARTS: dict[str, Callable[[argparse.Namespace], Figures]] = {
    "songs": measure_songs,
    "workers": measure_workers,
    "peers": measure_peers,
    "overlap": measure_overlap,
    "ray": measure_ray,
    "driver": measure_driver,
}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--songs", type=int, default=50, help="of 10 s to 12 min, 166 s on average")
    parser.add_argument("--every", type=int, default=5, help="of so many songs, one is for `bare`")
    parser.add_argument("--worker-songs", type=int, default=12)
    parser.add_argument("--peer-seconds", type=float, nargs="+", default=[10, 30, 60, 120])
    parser.add_argument("--ray-songs", type=int, default=1000)
    parser.add_argument("--driver-songs", type=int, default=10000)
    parser.add_argument("--model", default="band", help="model or checkpoint")
    parser.add_argument("--peers", type=Path, default=Path("build/peers"))
    parser.add_argument("--scratch", type=Path, help="folder that keeps the rendered songs")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs/benchmarks/catalogue.json")
    options = parser.parse_args()
    options.cores = os.cpu_count() or 1
    if "peers" in options.part and not options.peers.is_dir():
        parser.error(f"{options.peers} is missing: install the peers as this file's head says")
    return options


def main() -> None:
    """Measure the parts, print them, and keep the figures."""
    options = parse()
    with tempfile.TemporaryDirectory(prefix="stemwise-benchmark-") as folder:
        options.scratch = options.scratch or Path(folder)
        options.scratch.mkdir(parents=True, exist_ok=True)
        for part in options.part:
            at_start, started = machine(), time.monotonic()
            figures = PARTS[part](options)
            took = time.monotonic() - started
            kept = json.loads(options.out.read_text()) if options.out.exists() else {}
            kept[part] = {"machine": at_start, "model": options.model, "took": took, **figures}
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(kept, indent=2) + "\n")
            print(f"{part}: {json.dumps(figures, indent=2)}", flush=True)


if __name__ == "__main__":
    main()
