"""Songs, recipes and loaders for tests of the streams that recipes ask for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from array_songs import ArraySong, labelled
from stemwise.data.loading import Loader
from stemwise.models.separator import Separator
from stemwise.training.recipe import parse_recipe
from stemwise.training.sections import Recipe
from stemwise.training.streams import training_loader

RATE = 22050
SOURCES = ("vocals", "drums", "bass", "other")


def song(
    name: str,
    kind: type[ArraySong] = ArraySong,
    stems: Sequence[str] = SOURCES,
    *,
    seconds: float = 1.0,
    sung: Sequence[tuple[float, float]] | None = ((0, 0.5),),
    mixture: bool = False,
) -> ArraySong:
    """Noise; `sung` are the labels of vocals, None for a song without labels."""
    rng = np.random.default_rng(sum(name.encode()))
    samples = round(seconds * RATE)
    audio = {s: (0.05 * rng.standard_normal((2, samples))).astype(np.float32) for s in stems}
    own = (0.1 * rng.standard_normal((2, samples))).astype(np.float32)
    labels = None if sung is None else labelled({"vocals": list(sung)}, seconds)
    made = kind(name, audio, labels, own if mixture or not stems else None)
    made.sample_rate = RATE
    return made


def recipe(batch: int = 4, keys: dict[str, object] | None = None, **data: object) -> Recipe:
    """A recipe with these `data`, and other keys."""
    base: dict[str, object] = {
        "name": "x",
        "separator": {"name": "tiny"},
        "steps": 1,
        "batch": batch,
        **(keys or {}),
    }
    base["validation"] = {"seconds": 0.4, **base.get("validation", {})}  # type: ignore[dict-item]
    return parse_recipe({**base, "data": {"seconds": 0.4, "workers": 0, **data}})


def of_sources(tiny: Separator, *sources: str) -> Separator:
    """The small network for other sources."""
    return type(tiny)(**{**tiny.config, "sources": list(sources)})


def loader(separator: Separator, asked: Recipe, **sets: list[ArraySong]) -> Loader:
    return training_loader(asked, separator, sets or {"songs": [song("a"), song("b")]})


def names_of(read: Loader, batches: int) -> list[set[str]]:
    """The songs of each of the first batches."""
    return [
        {origin.split("@")[0] for each in batch.origins for origin in each}
        for batch in read.batches(0, batches)
    ]
