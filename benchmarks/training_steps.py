"""The training loops that `training.py` compares, each run alone in a process of its own.

    python benchmarks/training_steps.py SYSTEM FOLDER [--steps N] [--warm-up N] [--workers N]

trains SYSTEM on the songs that `loading.py` put into FOLDER and prints what a step cost as one line
of JSON. `openunmix` is the package's network, data set and loss in the loop of its own training
script; all else is a network of stemwise under its `Trainer`, with `+bf16`, `+channels-last` and
`+compile` after its name.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loaders import stub_torchaudio
from systems import cpu_seconds, peak_megabytes

SOURCES = ("vocals", "drums", "bass", "other")
OPEN_UNMIX_DATA = {"remix": 1.0, "gain_range": (0.25, 1.25), "swap_stems": 0.5, "mix": SOURCES}
"""As the package augments: excerpts of random songs, random gains, channels swapped half of the
time."""
NETWORKS: dict[str, dict[str, Any]] = {
    "open-unmix": {
        "separator": {"name": "open-unmix", "sources": ["vocals"]},
        "batch": 16,
        "objective": {"name": "mse", "magnitude": True},
        "optimiser": {"name": "adam", "learning_rate": 1e-3, "weight_decay": 1e-5},
        "data": {**OPEN_UNMIX_DATA, "seconds": 6.0},
    },
    "joint-unet": {
        "separator": {"name": "joint-unet"},
        "batch": 16,
        "objective": {"name": "mse"},
        "optimiser": {"name": "adam", "learning_rate": 1e-4},
        "rate": 22050,
        "data": {"groups": {"accompaniment": ["drums", "bass", "other"]}, "seconds": 2.5},
    },
    "shared-encoder": {
        "separator": {"name": "shared-encoder", "sources": SOURCES},
        "batch": 4,
        "objective": {"name": "mse"},
        "optimiser": {"name": "adam", "learning_rate": 1e-3},
        "data": {"seconds": 3.0},
    },
    "multichannel-unet": {
        "separator": {"name": "multichannel-unet", "sources": SOURCES},
        "rate": 10880,
        "batch": 4,
        "objective": {"name": "l1"},
        "optimiser": {"name": "adam", "learning_rate": 1e-3},
        "data": {"seconds": 6.0},
    },
}
"""Networks on the songs at hand, with batches that fit in a few gigabytes; `rate` is the store's,
where it is not the songs' own 44 100 Hz."""


@dataclass
class Clock:
    """Wall and CPU seconds at the end of every step, and the seconds waited for batches."""

    marks: list[tuple[float, float, float]] = field(default_factory=list)

    def tick(self, waited: float) -> None:
        """A step is over; waited: for all batches so far."""
        self.marks.append((time.perf_counter(), cpu_seconds(), waited))

    def figures(self, warm_up: int, batch: int) -> dict[str, float]:
        """Wall and CPU seconds per excerpt, and the share of the wall time that was waiting."""
        (began, cpu, waited), (ended, spent, all_waited) = self.marks[warm_up - 1], self.marks[-1]
        excerpts = batch * (len(self.marks) - warm_up)
        return {
            "wall": (ended - began) / excerpts,
            "cpu": (spent - cpu) / excerpts,
            "wait": (all_waited - waited) / (ended - began),
        }


def train_stemwise(system: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Steps of a network of stemwise, out of a store, by the trainer of `stemwise train`."""
    from stemwise.training.recipe import parse_recipe
    from stemwise.training.trainer import Trainer

    name, *variants = system.split("+")
    values = {**NETWORKS[name], "name": system, "steps": options.warm_up + options.steps}
    songs = _songs(folder, values.pop("rate", None))
    values["data"] = {**values["data"], "workers": options.workers}
    values["statistics"] = {"excerpts": 16}
    values["checkpoint"] = {"minutes": None}  # one at the end, outside of what is measured
    values["precision"] = "bf16" if "bf16" in variants else "fp32"
    values["channels_last"] = "channels-last" in variants
    values["log_every"] = 1
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="stemwise-benchmark-") as run:
        trainer = Trainer(parse_recipe(values), songs, [], Path(run), device="cpu")
        if "compile" in variants:
            trainer.separator.network.compile()
        step = trainer.procedure.step

        def timed(*arguments: Any) -> dict[str, float]:
            figures = step(*arguments)
            clock.tick(trainer.loader.waited)
            return figures

        vars(trainer.procedure)["step"] = timed
        trainer.run()
    return {**clock.figures(options.warm_up, values["batch"]), "batch": values["batch"]}


def _songs(folder: Path, rate: int | None) -> list[Any]:
    """The songs at a rate, from a store that is made when it is first asked for."""
    from stemwise.data.folder import read_folder
    from stemwise.data.prepare import prepare
    from stemwise.data.store import open_store

    if rate is None:
        return list(open_store(folder / "store").tracks)
    place = folder / f"store-{rate}"
    if not place.exists():
        prepare(read_folder(folder / "wav", "train"), place, sample_rate=rate)
    return list(open_store(place).tracks)


def train_openunmix(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Steps of the package on one target, fed from .stem.mp4, as its training script takes them."""
    stub_torchaudio()
    import torch
    from openunmix.data import Compose, MUSDBDataset, _augment_channelswap, _augment_gain
    from openunmix.model import OpenUnmix
    from openunmix.transforms import ComplexNorm, make_filterbanks
    from openunmix.utils import bandwidth_to_max_bin

    batch, songs = 16, len(list((folder / "mp4" / "train").glob("*.stem.mp4")))
    steps = options.warm_up + options.steps
    dataset = MUSDBDataset(
        target="vocals",
        root=str(folder / "mp4"),
        seq_duration=6.0,
        samples_per_track=-(-batch * steps // songs),
        source_augmentations=Compose([_augment_gain, _augment_channelswap]),
        random_track_mix=True,
    )
    numbers = torch.randperm(len(dataset))[: batch * steps].tolist()
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=batch, sampler=numbers, num_workers=options.workers
    )
    stft, _ = make_filterbanks(n_fft=4096, n_hop=1024, sample_rate=44100.0)
    encoder = torch.nn.Sequential(stft, ComplexNorm(mono=False))
    network = OpenUnmix(
        nb_bins=2049,
        nb_channels=2,
        hidden_size=512,
        max_bin=bandwidth_to_max_bin(44100.0, 4096, 16000),
    ).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, weight_decay=1e-5)
    clock, waited, began = Clock(), 0.0, time.perf_counter()
    before = _children()
    for mixture, target in loader:
        waited += time.perf_counter() - began
        optimiser.zero_grad()
        estimate = network(encoder(mixture))
        loss = torch.nn.functional.mse_loss(estimate, encoder(target))
        loss.backward()
        optimiser.step()
        loss.item()
        clock.tick(waited)
        began = time.perf_counter()
    figures = clock.figures(options.warm_up, batch)
    # the loader's processes are counted when they end: all their work over all their excerpts
    figures["loader_cpu"] = (_children() - before) / (batch * steps)
    figures["cpu"] += figures["loader_cpu"]
    return {**figures, "batch": batch}


def _children() -> float:
    """CPU seconds of the processes that this one has waited for, and of all theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one system."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("system")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--warm-up", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.system == "openunmix":
        figures = train_openunmix(options.folder, options)
    else:
        figures = train_stemwise(options.system, options.folder, options)
    print(json.dumps({**figures, "peak_mb": peak_megabytes()}), flush=True)
    # leaving at once keeps the interpreter's clean-up out of nobody's figures but its own
    os._exit(0)


if __name__ == "__main__":
    main()
