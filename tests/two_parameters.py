"""A network of one shared number and one per source, whose training can be followed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stemwise.data.batch import Batch
from stemwise.models.separator import Grid, Prediction, Separator
from stemwise.training.learner import Learner
from stemwise.training.objectives import Distance
from stemwise.training.weighting import Weighting

Samples = NDArray[np.float64]
SOURCES = ("a", "b", "c")
RATE, HOP, SAMPLES = 8000, 8, 32


class Products(nn.Module):
    """Mixture (batch, 1, sample) times a shared number and each source's own."""

    def __init__(self, sources: Sequence[str]) -> None:
        super().__init__()
        self.shared = nn.Parameter(torch.tensor(0.8, dtype=torch.float64))
        self.own = nn.ParameterDict(
            {
                source: nn.Parameter(torch.tensor(0.3 + 0.2 * k, dtype=torch.float64))
                for k, source in enumerate(sources)
            }
        )
        self.heard = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))
        self.chosen = tuple(sources)
        self.runs: list[tuple[str, ...]] = []

    def forward(self, mixture: Tensor) -> tuple[Tensor, Tensor]:
        self.runs.append(self.chosen)
        own = torch.stack([self.own[source] for source in self.chosen])
        estimates = own[None, :, None, None] * self.shared * mixture[:, None]
        logits = (self.heard * self.shared).expand(len(mixture), len(self.chosen), SAMPLES // HOP)
        return estimates, logits

    def own_parameters(self, source: str) -> list[nn.Parameter]:
        return [self.own[source]]

    def choose(self, sources: Sequence[str]) -> bool:
        self.chosen = tuple(sources)
        return True


class TwoParameters(Separator):
    """Estimates are waveforms, numbers are 64 bits; activity does not listen to the mixture."""

    kind = "two-parameters"

    def __init__(self, sources: Sequence[str] = SOURCES) -> None:
        super().__init__(sources, RATE, 1, sources)
        self.grid = Grid(HOP, HOP, 0, 0)
        self.network: Products = Products(sources)

    @property
    def config(self) -> dict[str, Any]:
        return {"sources": list(self.sources)}

    def forward(self, mixture: Tensor) -> Prediction:
        estimates, logits = self.network(mixture.double())
        return Prediction(mixture.double(), estimates=estimates, activity=logits)

    def represent(self, stems: Tensor) -> Tensor:
        return stems.double()

    def reconstruct(
        self, prediction: Prediction, start: int = 0, stop: int | None = None
    ) -> Tensor:
        return prediction.estimates[..., start:stop]

    @property
    def values(self) -> dict[str, float]:
        """Every parameter by a short name: "shared", "heard", and the sources'."""
        own = {source: value.item() for source, value in self.network.own.items()}
        return {"shared": self.network.shared.item(), "heard": self.network.heard.item(), **own}


def learner(
    separator: TwoParameters, optimiser: torch.optim.Optimizer, weighting: Weighting
) -> Learner:
    return Learner(
        separator=separator,
        module=separator,
        objective=Distance("mse"),
        weighting=weighting,
        optimiser=optimiser,
        device=torch.device("cpu"),
        mix=separator.sources,
    )


def batch(
    seed: int, supervised: Sequence[str], labelled: Mapping[str, float] | None = None, size: int = 2
) -> Batch:
    """Noise; of what is not supervised nothing is known. labelled: share of active frames."""
    rng = np.random.default_rng(seed)
    mono = rng.standard_normal((size, len(SOURCES), 1, SAMPLES)).astype(np.float32)
    stems = torch.from_numpy(np.repeat(mono, 2, axis=2))
    known = torch.tensor([source in supervised for source in SOURCES]).expand(size, -1)
    rest = (stems * ~known[..., None, None]).sum(dim=1)
    frames = SAMPLES // HOP + 1
    activity = torch.zeros(size, len(SOURCES), frames)
    told = torch.zeros(size, len(SOURCES), dtype=torch.bool)
    for source, share in (labelled or {}).items():
        activity[:, SOURCES.index(source), : round(share * (frames - 1))] = 1
        told[:, SOURCES.index(source)] = True
    return Batch(
        stems=stems * known[..., None, None],
        rest=rest,
        supervised=known.clone(),
        activity=activity,
        activity_known=told,
        gains=torch.ones(size, len(SOURCES)),
        level=torch.ones(size),
        swap=torch.zeros(size, dtype=torch.bool),
        width=torch.ones(size),
        filters=torch.zeros(size, len(SOURCES), 7),
        sample_rate=RATE,
        origins=(("song@0.00s",),) * size,
    )


def pair(one: Batch, source: str) -> tuple[Samples, Samples]:
    """Mixture and target (batch, sample) of a source, as the network gets them."""
    mixture = one.mixture.mean(dim=1).double().numpy()
    return mixture, one.stems[:, SOURCES.index(source)].mean(dim=1).double().numpy()
