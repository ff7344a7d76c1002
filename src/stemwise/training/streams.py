"""The streams of excerpts that a recipe asks for: for training, and for validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from stemwise.data.folder import check_tracks
from stemwise.data.loading import Loader
from stemwise.data.sampling import Augmentation, Mixed, Sampler, mix_sets
from stemwise.data.track import Song
from stemwise.errors import DataError, RecipeError
from stemwise.models.separator import Separator
from stemwise.training.sections import Recipe

Sets = Mapping[str, Sequence[Song]]
"""Songs by the name of their data set."""


def training_loader(
    recipe: Recipe, separator: Separator, sets: Sets, *, rank: int = 0, world: int = 1
) -> Loader:
    """Batches as the recipe's `data` asks for.

    separator: at the rate of training. rank, world: number of this process among those that train
    together; each reads its own excerpts.

    Raises RecipeError for keys that do not fit the separator or the data sets, and DataError for
    songs that cannot be trained on.
    """
    data = recipe.data
    unknown = sorted(set(data.drop) - set(separator.sources))
    if unknown:
        raise RecipeError(
            f"data.drop names '{unknown[0]}', which is no source of the separator "
            f"({', '.join(separator.sources)})"
        )
    kept = _long_enough(separator, songs_of(sets), data.seconds)
    augmentation = Augmentation(
        **data.model_dump(include={field.name for field in fields(Augmentation)})
    )
    options = data.sampling.options
    if data.sampling.name == "independent":
        options["batch"] = recipe.batch * world

    def sampler(songs: Sequence[Song], seed: int) -> Sampler:
        scheme = data.sampling.name
        return _sampler(separator, songs, data.seconds, seed, augmentation, scheme, **options)

    stream: Sampler | Mixed
    if data.weights or data.whole_batches:
        each = {
            name: sampler(_of_set(name, songs, kept), recipe.seed + number)
            for number, (name, songs) in enumerate(sets.items())
        }
        block = recipe.batch * world if data.whole_batches else 1
        stream = mix_sets(each, data.weights, recipe.seed, block)
    else:
        stream = sampler(kept, recipe.seed)
    if stream.total is not None:
        raise RecipeError(
            f"data.sampling '{data.sampling.name}' ends after one pass: choose another to train"
        )
    on_cpu = next(separator.parameters()).device.type == "cpu"
    return Loader(
        stream, recipe.batch, data.workers, data.ahead, rank=rank, world=world, mix=on_cpu
    )


def validation_loader(recipe: Recipe, separator: Separator, songs: Sequence[Song]) -> Loader:
    """Fixed excerpts of held-out songs, half of them ones in which a random stem plays."""
    section = recipe.validation
    kept = _long_enough(separator, songs, section.seconds)
    balanced = Augmentation(prefer_active=0.5)
    sampler = _sampler(separator, kept, section.seconds, section.seed, balanced, "random")
    return Loader(sampler, min(recipe.batch, section.excerpts), workers=1, ahead=2)


def songs_of(sets: Sets) -> list[Song]:
    """The songs of all data sets."""
    return [song for songs in sets.values() for song in songs]


def _samples(separator: Separator, seconds: float) -> int:
    return separator.grid.input_length(round(seconds * separator.sample_rate))


def _long_enough(separator: Separator, songs: Sequence[Song], seconds: float) -> list[Song]:
    samples = _samples(separator, seconds)
    return check_tracks(songs, separator.sources, separator.sample_rate, samples)


def _of_set(name: str, songs: Sequence[Song], kept: Sequence[Song]) -> list[Song]:
    usable = {id(song) for song in kept}
    chosen = [song for song in songs if id(song) in usable]
    if not chosen:
        raise DataError(f"data set '{name}' has no song that is as long as an excerpt")
    return chosen


def _sampler(
    separator: Separator,
    songs: Sequence[Song],
    seconds: float,
    seed: int,
    augmentation: Augmentation,
    scheme: str,
    **options: Any,
) -> Sampler:
    return Sampler(
        songs,
        separator.sources,
        separator.activity_sources,
        _samples(separator, seconds),
        separator.grid.hop,
        seed,
        augmentation,
        scheme,
        **options,
    )
