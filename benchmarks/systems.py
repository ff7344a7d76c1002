"""The separation systems that `separate.py` compares, each run alone in a process of its own.

    python benchmarks/systems.py SYSTEM SONG FOLDER STARTED [--model NAME] [--threads N]

separates SONG into four 16-bit WAV files in FOLDER and prints what it cost as one line of JSON. All
systems read, compute and write in float32 stereo; the peers have the shapes of their published
models, with random weights: speed and memory are the same.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

SOURCES = ("vocals", "drums", "bass", "other")
Separate = Callable[[Path, Path], None]


def prepare_stemwise(model: str) -> Separate:
    """The library as `stemwise separate` uses it: streaming from file to files."""
    from stemwise.models import build, load
    from stemwise.separation import Engine
    from stemwise.songs import Output, separate_file

    engine = Engine(build("band-unet") if model == "random" else load(model))

    def separate(song: Path, folder: Path) -> None:
        separate_file(engine, song, Output(folder))

    return separate


def openunmix(iterations: int) -> Any:
    """Open-Unmix (Stoter et al. 2019) as its package has it: four `umx` targets, a Wiener filter.

    It maps (batch, 2, sample) at 44 100 Hz to (batch, target, 2, sample).
    """
    # its spectral code only imports torchaudio, whose compiled part is not needed here
    sys.modules.setdefault("torchaudio", types.ModuleType("torchaudio"))
    from openunmix.model import OpenUnmix, Separator
    from openunmix.utils import bandwidth_to_max_bin

    max_bin = bandwidth_to_max_bin(44100, 4096, 16000)
    targets = {
        source: OpenUnmix(nb_bins=2049, nb_channels=2, hidden_size=512, max_bin=max_bin)
        for source in SOURCES
    }
    return Separator(target_models=targets, niter=iterations, nb_channels=2).eval()


def prepare_openunmix(iterations: int) -> Separate:
    """Open-Unmix on a whole song at once, as its own command runs it."""
    import torch

    network = openunmix(iterations)

    def separate(song: Path, folder: Path) -> None:
        mixture = read(song)
        with torch.inference_mode():
            stems = network(mixture[None])[0]
        _write(stems, folder)

    return separate


def prepare_htdemucs() -> Separate:
    """htdemucs (Rouard et al. 2023), applied with the defaults of the `demucs` command."""
    from fractions import Fraction

    import torch
    from demucs.apply import apply_model
    from demucs.htdemucs import HTDemucs

    network = HTDemucs(
        list(SOURCES),
        dconv_mode=3,
        bottom_channels=512,
        t_sparse_self_attn=False,
        segment=Fraction(39, 5),
    ).eval()

    def separate(song: Path, folder: Path) -> None:
        mixture = read(song)
        reference = mixture.mean(0)
        mixture = (mixture - reference.mean()) / reference.std()
        with torch.inference_mode():
            stems = apply_model(network, mixture[None], shifts=1, split=True, overlap=0.25)[0]
        _write(stems * reference.std() + reference.mean(), folder)

    return separate


def read(song: Path) -> Any:
    """The song as a tensor (2, sample)."""
    import soundfile
    import torch

    samples, rate = soundfile.read(song, dtype="float32", always_2d=True)
    if rate != 44100 or samples.shape[1] != 2:
        raise SystemExit(f"{song} must be stereo at 44100 Hz")
    return torch.from_numpy(samples.T.copy())


def _write(stems: Any, folder: Path) -> None:
    import soundfile

    for source, stem in zip(SOURCES, stems, strict=True):
        soundfile.write(folder / f"{source}.wav", stem.numpy().T, 44100, subtype="PCM_16")


def prepare(system: str, model: str) -> Separate:
    """Import and load a system; what it returns separates one song."""
    if system == "stemwise":
        return prepare_stemwise(model)
    if system == "htdemucs":
        return prepare_htdemucs()
    return prepare_openunmix({"openunmix-0": 0, "openunmix-1": 1}[system])


def cpu_seconds() -> float:
    """User and system time of this process so far, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def peak_megabytes() -> float:
    """The most memory this process has held."""
    # ru_maxrss of a child starts at its parent's size; VmHWM counts this program alone
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    unit = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main() -> None:
    """Measure one system on one song."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("system", choices=("stemwise", "openunmix-0", "openunmix-1", "htdemucs"))
    parser.add_argument("song", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("started", type=float, help="monotonic clock at the process's start")
    parser.add_argument("--model", default="band")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    separate = prepare(arguments.system, arguments.model)
    import torch

    torch.set_num_threads(arguments.threads)
    cpu, wall = cpu_seconds(), time.monotonic()
    separate(arguments.song, arguments.folder)
    done = time.monotonic()
    figures = {
        "cpu": cpu_seconds() - cpu,
        "wall": done - wall,
        "process_cpu": cpu_seconds(),
        "process_wall": done - arguments.started,
        "peak_mb": peak_megabytes(),
        "torch": torch.__version__,
    }
    print(json.dumps(figures), flush=True)
    # leaving at once keeps the interpreter's clean-up out of nobody's figures but its own
    os._exit(0)


if __name__ == "__main__":
    main()
