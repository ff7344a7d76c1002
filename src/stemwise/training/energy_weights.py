"""Weights by the energy of the sources, so that loud ones do not take over (Kadandale et al. 2020).

The energy E_i of a source is its mean squared sample, over the training data or over a batch. The
paper takes the mean squared magnitude of its spectrogram, which is proportional to it (Parseval),
and only ratios matter.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from stemwise.data.batch import Batch
from stemwise.errors import RecipeError
from stemwise.training.losses import source_of
from stemwise.training.weighting import Moment, PerSource, Weights

SILENT = 0.5 / 65280
"""Mean squares below it are silence: the paper's 6 s chunks whose energy rounds to 0."""

_LEAST = 1e-6
"""A source whose energy is at most this share of the loudest's, 60 dB, is as good as silent."""


@dataclass(frozen=True)
class ByEnergy(PerSource):
    """Weights that stay the same, from the energies of the training data.

    energies: by source, all of the network's.

    Raises RecipeError for a source that is as good as silent, which would weigh without bounds.
    """

    activity: float = 1.0
    energies: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        least = _LEAST * max(self.energies.values(), default=0.0)
        silent = [name for name, energy in self.energies.items() if not energy > least]
        if silent:
            raise RecipeError(
                f"the training songs are silent, or nearly so, wherever the energy of "
                f"{', '.join(silent)} was measured: add songs that have it, leave it out, or "
                "choose a weighting that takes no energies, such as 'unit'"
            )

    def of_sources(self, tasks: Mapping[str, Tensor], moment: Moment) -> Weights:
        """From energies alone; sources that the batch lacks keep their part in them."""
        sources = {task: source_of(task) for task in tasks}
        _check_known(sources.values(), self.energies)
        weights = self.by_source()
        return {task: weights[source] for task, source in sources.items()}

    @abstractmethod
    def by_source(self) -> dict[str, float]:
        """One weight for each of `energies`."""


@dataclass(frozen=True)
class LoudestOver(ByEnergy):
    """w_i = (max_j E_j / E_i)^power: EBW-P1 (equation 6) and, of power 2, EBW-P2 (equation 8)."""

    power: float = 1.0

    def by_source(self) -> dict[str, float]:
        """At least 1; the loudest source has 1."""
        loudest = max(self.energies.values())
        return {name: (loudest / energy) ** self.power for name, energy in self.energies.items()}


@dataclass(frozen=True)
class EqualProducts(ByEnergy):
    """w_i E_i is the same for all sources, and sum w_i = 1: Oh et al. (equations 9 and 10)."""

    def by_source(self) -> dict[str, float]:
        """In (0, 1], 1 together."""
        total = sum(1 / energy for energy in self.energies.values())
        return {name: 1 / (energy * total) for name, energy in self.energies.items()}


@dataclass(frozen=True)
class LoudestOverInBatch(PerSource):
    """w_i = max_j E_j / E_i with the energies of the batch: EBW-InstP1 (equation 7).

    A source counts where it is supervised. One that is silent in the batch has no ratio and weighs
    1, as the loudest; batches of data whose silent excerpts are dropped have none.
    """

    activity: float = 1.0

    def of_sources(self, tasks: Mapping[str, Tensor], moment: Moment) -> Weights:
        """At least 1."""
        energies = batch_energies(moment.batch, moment.shared)
        sounding = energies > SILENT
        weights = torch.where(sounding, energies.max() / energies.where(sounding, 1.0), 1.0)
        sources = {task: source_of(task) for task in tasks}
        _check_known(sources.values(), moment.sources)
        return {task: weights[moment.sources.index(source)] for task, source in sources.items()}


def _check_known(sources: Iterable[str], known: Container[str]) -> None:
    missing = [source for source in sources if source not in known]
    if missing:
        raise RecipeError(
            f"weightings by energy know no energy of {', '.join(missing)}: give them songs with "
            "that stem, leave it out, or choose a weighting that takes no energies, such as 'unit'"
        )


def batch_energies(batch: Batch, shared: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Mean squared sample of every stem where it is supervised, (source,); 0 where it never is.

    shared: where several processes train together, gives the mean of a tensor over them.
    """
    squares = batch.stems.square().mean(dim=(2, 3))
    known = batch.supervised
    sums = torch.stack([torch.where(known, squares, 0.0).sum(dim=0), known.sum(dim=0)])
    total, count = sums if shared is None else shared(sums)
    return torch.where(count > 0, total / count, 0.0)
