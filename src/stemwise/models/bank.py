"""Networks that were made one per source, side by side on one input."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from stemwise.errors import ModelError
from stemwise.models.separator import Separator


class Bank(nn.Module):
    """One network per source, each run on the same inputs.

    The inputs (the mixture's spectrum) are computed once for all of them. Parameters are named
    `members.<source>.*`. `chosen` are the sources whose networks run, all of them at first.
    """

    def __init__(self, sources: Sequence[str], make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleDict({source: make() for source in sources})
        self.chosen = tuple(sources)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Each member gives a tensor or a tuple of them (batch, ...); they are joined as
        (batch, source, ...)."""
        results: list[tuple[Tensor, ...]] = []
        for source in self.chosen:
            result = self.members[source](*inputs)
            results.append(result if isinstance(result, tuple) else (result,))
        return tuple(torch.stack(tensors, dim=1) for tensors in zip(*results, strict=True))

    def own_parameters(self, source: str) -> list[nn.Parameter]:
        """Those of the source's member."""
        return list(self.members[source].parameters())

    def choose(self, sources: Sequence[str]) -> bool:
        """Run the members of `sources` alone from now on."""
        if not all(source in self.members for source in sources):
            return False
        self.chosen = tuple(sources)
        return True


def combine(separators: Sequence[Separator]) -> Separator:
    """One separator of the sources of several that were trained one by one.

    All must be of one kind, keep a `Bank`, and differ in their sources only. The weights are
    shared with the originals, nothing is copied. Raises ModelError where they do not fit together.
    """
    if not separators:
        raise ModelError("There is nothing to combine: give at least one separator.")
    first = separators[0]
    if not isinstance(getattr(first, "network", None), Bank):
        raise ModelError(f"{first.kind!r} computes all its sources at once: it cannot be combined.")
    sources: list[str] = []
    for separator in separators:
        _check_alike(first, separator)
        for source in separator.config["sources"]:  # less what the network makes of the rest
            if source in sources:
                raise ModelError(f"Two of the separators estimate {source!r}: leave one out.")
            sources.append(source)
    combined = type(first)(**{**first.config, "sources": sources})
    bank = combined.network
    assert isinstance(bank, Bank)
    for separator in separators:
        assert isinstance(separator.network, Bank)
        for source, member in separator.network.members.items():
            bank.members[source] = member
    return combined.train(first.training)


def select(separator: Separator, sources: Sequence[str]) -> Separator:
    """A separator of some sources of one that keeps a `Bank`, which shares their weights."""
    chosen = type(separator)(**{**separator.config, "sources": list(sources)})
    assert isinstance(separator.network, Bank)
    assert isinstance(chosen.network, Bank)
    for source in sources:
        chosen.network.members[source] = separator.network.members[source]
    return chosen.train(separator.training)


def _check_alike(first: Separator, other: Separator) -> None:
    if first.kind != other.kind:
        raise ModelError(f"{first.kind!r} and {other.kind!r} cannot be combined: choose one kind.")
    for key, value in first.config.items():
        if key != "sources" and other.config.get(key) != value:
            raise ModelError(
                f"The separators differ in {key!r} ({value!r} and {other.config.get(key)!r}): "
                "only those with equal options can be combined."
            )
