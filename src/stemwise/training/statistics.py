"""What is measured once of the training data, before a run: the input's statistics, and energies.

The input's mean and deviation per bin are those of Open-Unmix's training script: of the mixtures'
magnitudes, averaged over the channels, over all frames. A source's energy is the mean square of its
samples, at the network's rate and channels; by Parseval's theorem the mean squared magnitude of its
spectrum is in proportion to it. Both pass over the excerpts once, in bounded memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from stemwise.data import augment
from stemwise.data.loading import Loader
from stemwise.errors import DataError, OutputError
from stemwise.models.separator import Separator, SpectrogramSeparator
from stemwise.training.sections import Recipe

FILE = "statistics.safetensors"
"""Name of the file in a run's folder."""


@dataclass(frozen=True)
class Statistics:
    """Of training excerpts as the network gets them.

    Attributes:
        mean, deviation: float32 (bin,), of the mixtures' magnitudes; None for networks that take
            no statistics of their input.
        energies: mean squared sample by source, of the sources that any excerpt supervises.
        excerpts: how many were measured.
    """

    mean: Tensor | None = None
    deviation: Tensor | None = None
    energies: Mapping[str, float] = field(default_factory=dict)
    excerpts: int = 0

    def normalise(self, separator: Separator) -> None:
        """Give a network the statistics of its input, where it takes any.

        Raises DataError where nothing but silence was measured.
        """
        take = getattr(separator, "set_statistics", None)
        if take is None or self.mean is None or self.deviation is None:
            return
        if not bool(self.deviation.max() > 0):
            raise DataError(
                f"the first {self.excerpts} excerpts of training are silent: measure more of them "
                "(statistics.excerpts), or look at the songs"
            )
        take(self.mean, self.deviation)


def takes_statistics(recipe: Recipe, separator: Separator) -> bool:
    """Whether the input's statistics are measured: a network that learns on brings its own."""
    return recipe.separator.initial is None and hasattr(separator, "set_statistics")


@torch.no_grad()
def measure(
    loader: Loader, separator: Separator, excerpts: int, mix: Sequence[str] | None = None
) -> Statistics:
    """Measure the first `excerpts` of a stream, with their draws applied.

    loader: of one process, so that all of several processes find the same. mix: names of the stems
    of a batch as it is read; None: the separator's sources. The input's statistics are measured
    for networks that take them.
    """
    names = tuple(mix or separator.sources)
    bins = _Moments()
    squares = torch.zeros(len(separator.sources), dtype=torch.float64)
    counts = torch.zeros(len(separator.sources), dtype=torch.float64)
    seen = 0
    spectra = isinstance(separator, SpectrogramSeparator) and hasattr(separator, "set_statistics")
    with closing(loader.batches(0, -(-excerpts // loader.batch))) as batches:
        for read in batches:
            applied = augment.apply(read, separator.channels)
            batch = applied.narrowed(names, separator.sources)
            kept = slice(0, excerpts - seen)
            known = batch.supervised[kept].double()
            energy = batch.stems[kept].double().square().mean(dim=(2, 3))
            squares += (energy * known).sum(dim=0)
            counts += known.sum(dim=0)
            if spectra:
                for mixture in batch.mixture[kept]:
                    bins.add(_magnitudes(separator, mixture))
            seen += len(known)
    means = (squares / counts.clamp_min(1)).tolist()
    energies = {
        source: mean
        for source, mean, count in zip(separator.sources, means, counts.tolist(), strict=True)
        if count
    }
    return Statistics(*bins.summary(), energies, seen)


def save_statistics(statistics: Statistics, path: Path) -> None:
    """Write statistics to a file that appears whole or not at all; OutputError where it cannot."""
    tensors = {"energies": torch.tensor(list(statistics.energies.values()), dtype=torch.float64)}
    if statistics.mean is not None and statistics.deviation is not None:
        tensors |= {"mean": statistics.mean, "deviation": statistics.deviation}
    header = {
        "sources": json.dumps(list(statistics.energies)),
        "excerpts": str(statistics.excerpts),
    }
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.touch()
        mode = part.stat().st_mode
        save_file(tensors, part, header)
        part.chmod(mode)  # safetensors lets only the owner read, whatever the umask
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"{path} cannot be written: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def load_statistics(path: Path) -> Statistics:
    """Read what `save_statistics` wrote; DataError where that is not possible."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        sources, excerpts = json.loads(header["sources"]), int(header["excerpts"])
        energies = dict(zip(sources, tensors["energies"].tolist(), strict=True))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read ({error}): remove it, and the training data are measured again"
        ) from error
    return Statistics(tensors.get("mean"), tensors.get("deviation"), energies, excerpts)


def _magnitudes(separator: Separator, mixture: Tensor) -> Tensor:
    """Magnitudes (bin, frame) of one mixture (channel, sample), averaged over the channels."""
    assert isinstance(separator, SpectrogramSeparator)
    spectrum = separator.spectrum(mixture[None].to(separator.window.device))
    return spectrum[0].abs().mean(dim=0).cpu()


class _Moments:
    """Mean and variance of rows of numbers, batch by batch (Chan, Golub & LeVeque 1983)."""

    def __init__(self) -> None:
        self._count = 0
        self._mean = self._squares = torch.zeros(())

    def add(self, values: Tensor) -> None:
        """Take (row, number)."""
        exact = values.double()
        count, mean = exact.shape[1], exact.mean(dim=1)
        squares = (exact - mean[:, None]).square().sum(dim=1)
        total = self._count + count
        shift = mean - self._mean
        self._mean = self._mean + shift * (count / total)
        self._squares = self._squares + squares + shift.square() * (self._count * count / total)
        self._count = total

    def summary(self) -> tuple[Tensor | None, Tensor | None]:
        """Mean and standard deviation (row,) of all that was taken; None of nothing."""
        if not self._count:
            return None, None
        return self._mean.float(), (self._squares / self._count).sqrt().float()
