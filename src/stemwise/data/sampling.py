"""Excerpts for training, each a pure function of (seed, index).

Excerpt i never depends on how many workers read, nor on where a run was interrupted. What is
chosen is a plan (`schemes`, `epochs`); reading it gives a batch (`excerpts`); what was drawn for
it is applied to whole batches on the training device (`augment`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stemwise.data.batch import Batch
from stemwise.data.draws import FILTER_KNOTS, Augmentation, Drawer
from stemwise.data.epochs import Chunks, Independent, Sequential
from stemwise.data.excerpts import Layout, Plan, read_plans, stored_dtype
from stemwise.data.schemes import NonSilentSource, NonVocalReplacement, PoolMix, Random, Scheme
from stemwise.data.track import Song
from stemwise.errors import RecipeError, closest

__all__ = [
    "FILTER_KNOTS",
    "SCHEMES",
    "Augmentation",
    "Excerpts",
    "Mixed",
    "Sampler",
    "check_scheme",
    "common_layout",
    "mix_sets",
]

SCHEMES: dict[str, type[Scheme]] = {
    "random": Random,
    "sequential": Sequential,
    "non-silent-source": NonSilentSource,
    "non-vocal-replacement": NonVocalReplacement,
    "pool-mix": PoolMix,
    "independent": Independent,
    "chunks": Chunks,
}
"""Sampling schemes by the name that a recipe gives them."""


def check_scheme(name: str) -> None:
    """Raise RecipeError, with the nearest name, where there is no such scheme."""
    if name not in SCHEMES:
        near = closest(name, tuple(SCHEMES), cutoff=0.0)
        raise RecipeError(f"there is no sampling scheme '{name}'; the nearest is '{near}'")


class Excerpts(Protocol):
    """A stream of planned excerpts, which a loader reads batch by batch."""

    @property
    def layout(self) -> Layout:
        """Of every excerpt."""

    @property
    def total(self) -> int | None:
        """Excerpts of the stream; None where it never ends."""

    def plan(self, index: int) -> Plan:
        """What excerpt number `index` (>= 0) is read from and changed by."""


class Sampler:
    """Excerpts of a fixed length from songs.

    Args:
        tracks: songs of one sample rate, each at least `samples` long.
        sources: order of the stems.
        activity_sources: order of the activity labels.
        samples: excerpt length.
        hop: samples per activity frame.
        seed: stream of excerpts; other seeds give other excerpts.
        augmentation: strengths of the random changes; None changes nothing.
        scheme: how songs and starts are chosen, a name of SCHEMES.
        options: of the scheme.

    Raises:
        RecipeError: no such scheme. DataError: songs that the scheme cannot work with.
    """

    def __init__(
        self,
        tracks: Sequence[Song],
        sources: Sequence[str],
        activity_sources: Sequence[str],
        samples: int,
        hop: int,
        seed: int,
        augmentation: Augmentation | None = None,
        scheme: str = "random",
        **options: Any,
    ) -> None:
        check_scheme(scheme)
        self.tracks = list(tracks)
        self.seed = seed
        self.augmentation = augmentation or Augmentation()
        names = tuple(sources)
        width = samples + int(np.ceil(samples * self.augmentation.tempo))
        rate = self.tracks[0].sample_rate
        layout = Layout(names, tuple(activity_sources), samples, hop, rate, width)
        self.scheme = SCHEMES[scheme](self.tracks, layout, self.augmentation, seed, **options)
        as_stored = self.scheme.mixes_only_stems and not (
            self.augmentation.speed or self.augmentation.tempo
        )
        self.layout = replace(layout, stored=stored_dtype(self.tracks) if as_stored else None)
        self._drawer = Drawer(self.augmentation, names)

    @property
    def total(self) -> int | None:
        """Excerpts of the stream; None where it never ends."""
        return self.scheme.total

    @cached_property
    def frames(self) -> int:
        """Activity frames of an excerpt."""
        return self.layout.frames

    def plan(self, index: int) -> Plan:
        """What excerpt number `index` (>= 0) of this stream is read from and changed by."""
        rng = np.random.default_rng([self.seed, index])
        draws = self._drawer.draw(rng, again=(self.seed, index, 1))
        return self.scheme.choose(index, rng, draws)

    def excerpt(self, index: int) -> Batch:
        """Excerpt number `index` as a batch of one."""
        return read_plans([self.plan(index)], self.layout)


class Mixed:
    """Several streams as one: data sets with other songs, schemes or strengths, by weight.

    Args:
        samplers: endless streams of one layout.
        weights: how often each is drawn, relative to the others, to about one percent of all.
        seed: of the choice.
        block: excerpts in a row that come from one stream; with the batch size of all processes
            together, every batch is of one data set.

    Every stream is read from its beginning and without a gap, so that epochs stay epochs.
    """

    def __init__(
        self, samplers: Sequence[Sampler], weights: Sequence[float], seed: int, block: int = 1
    ) -> None:
        shares = np.asarray(weights, dtype=np.float64)
        if len(shares) != len(samplers) or not (shares > 0).all():
            raise RecipeError("every data set of a mix needs a weight above 0")
        if any(sampler.total is not None for sampler in samplers):
            raise RecipeError("only endless sampling schemes can be mixed, not 'sequential'")
        self.layout = common_layout(samplers)
        self.total = None
        self.samplers = list(samplers)
        self.seed, self.block = seed, block
        counts = np.maximum(1, np.rint(_CYCLE * shares / shares.sum())).astype(int)
        self._counts = counts
        self._slots = np.repeat(np.arange(len(counts)), counts)
        self._cycle = lru_cache(4)(self._shuffled)

    def place(self, index: int) -> tuple[int, int]:
        """Which stream excerpt `index` is of, and its number there."""
        block, offset = divmod(index, self.block)
        cycle, slot = divmod(block, len(self._slots))
        streams, ranks = self._cycle(cycle)
        stream = int(streams[slot])
        number = cycle * int(self._counts[stream]) + int(ranks[slot])
        return stream, number * self.block + offset

    def plan(self, index: int) -> Plan:
        """What excerpt number `index` (>= 0) is read from and changed by."""
        stream, number = self.place(index)
        return self.samplers[stream].plan(number)

    def _shuffled(self, cycle: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Per slot of a cycle, the stream and how many slots before it are the same stream's."""
        streams = np.random.default_rng([self.seed, cycle, 2]).permutation(self._slots)
        ranks = np.zeros_like(streams)
        for stream, count in enumerate(self._counts):
            ranks[streams == stream] = np.arange(count)
        return streams, ranks


def common_layout(streams: Sequence[Excerpts]) -> Layout:
    """The layout of several streams; RecipeError where they differ in more than what is stored."""
    shapes = {replace(stream.layout, stored=None) for stream in streams}
    if len(shapes) != 1:
        raise RecipeError("the data sets of a mix differ in rate, length, sources or tempo")
    stored = {stream.layout.stored for stream in streams}
    return replace(shapes.pop(), stored=stored.pop() if len(stored) == 1 else None)


_CYCLE = 128
"""Blocks in which every stream has just its share."""


def mix_sets(
    sets: Mapping[str, Sampler], weights: Mapping[str, float], seed: int, block: int = 1
) -> Sampler | Mixed:
    """The streams of named data sets as one.

    weights: by name of the set; sets that it does not name weigh 1. With one set, that alone.
    Raises RecipeError for a weight of a set that there is not.
    """
    for name in weights:
        if name not in sets:
            near = closest(name, tuple(sets), cutoff=0.0)
            raise RecipeError(f"data.weights names '{name}', no data set; the nearest is '{near}'")
    if len(sets) == 1:
        return next(iter(sets.values()))
    return Mixed(list(sets.values()), [weights.get(name, 1.0) for name in sets], seed, block)
