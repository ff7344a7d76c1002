"""The streams of excerpts that a recipe asks for: for training, and for validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, fields
from typing import Any

from stemwise.data.folder import check_tracks
from stemwise.data.loading import Loader
from stemwise.data.regrouped import regroup
from stemwise.data.sampling import Augmentation, Excerpts, Mixed, Sampler, mix_sets
from stemwise.data.track import Song
from stemwise.data.turns import Chain, Thinned, Turns
from stemwise.errors import DataError, RecipeError, closest
from stemwise.models.separator import Separator
from stemwise.training.building import build_procedure
from stemwise.training.roles import (
    DETECTION,
    Sets,
    by_role,
    check_roles,
    check_taught,
    songs_of,
    task_of,
    teaches,
    wanted_tasks,
)
from stemwise.training.sections import Recipe

__all__ = ["Sets", "epoch_steps", "songs_of", "training_loader", "validation_loader"]

_HOLDING_OUT = ("chunks", "independent")
"""Sampling schemes that keep a part of the training songs for validation."""
_FROM_STEMS = ("random", "non-silent-source", "chunks")
"""Sampling schemes that make mixtures of the stems in `data.mix`, or of the separator's sources."""
_FROM_OTHERS = ("pool-mix", "non-vocal-replacement")
"""Sampling schemes in which songs without stems of the separator's sources have a part."""


def training_loader(
    recipe: Recipe, separator: Separator, sets: Sets, *, rank: int = 0, world: int = 1
) -> Loader:
    """Batches as the recipe's `data` and `procedure` ask for them.

    Songs that are shorter than an excerpt, or from which the network cannot learn, are left out.
    separator: at the rate of training. rank, world: number of this process among those that train
    together; each reads its own excerpts, `recipe.batch / world` a batch.

    Raises RecipeError for keys that do not fit each other, the separator or the data sets, and
    DataError for songs that cannot be trained on.
    """
    if recipe.batch % world:
        raise RecipeError(
            f"a batch of {recipe.batch} cannot be shared evenly by {world} processes: make 'batch' "
            f"a multiple of {world}"
        )
    _check_recipe(recipe, separator, sets)
    turns = [_mixed(recipe, turn) for turn in _turns(recipe, separator, sets, "train")]
    stream = turns[0] if len(turns) == 1 else Turns(turns, recipe.batch)
    data = recipe.data
    on_cpu = next(separator.parameters()).device.type == "cpu"
    return Loader(
        stream, recipe.batch // world, data.workers, data.ahead, rank=rank, world=world, mix=on_cpu
    )


def validation_loader(
    recipe: Recipe,
    separator: Separator,
    songs: Sequence[Song] | Sets = (),
    training: Sets | None = None,
) -> Loader:
    """Excerpts that are the same at every validation: at most `validation.excerpts`.

    songs: held out of training, or data sets of them by name; of those, random excerpts, half of
    them ones in which a random stem plays. Where a procedure keeps data sets for separation and
    for detection apart, so does this, in turns. training: the data sets of training, of which
    `validation.held_out` takes what the sampling keeps from training; `songs` are not read then.

    Raises RecipeError for `held_out` with a sampling that keeps nothing, DataError for songs that
    tell nothing.
    """
    section = recipe.validation
    stream: Excerpts
    if section.held_out:
        _check_held_out(recipe, training)
        turns = _turns(recipe, separator, training or {}, "validation")
        parts = [sampler for turn in turns for sampler in turn.values()]
        one_of_each = recipe.data.sampling.name == "independent"
        block = len(separator.sources) if one_of_each else 1
        whole = parts[0] if len(parts) == 1 else Chain(parts)
        stream = Thinned(whole, section.excerpts, block)
    else:
        sets = songs if isinstance(songs, Mapping) else {"songs": songs}
        stream = _random_excerpts(recipe, separator, sets)
    return Loader(stream, min(recipe.batch, section.excerpts), workers=1, ahead=2)


def too_short(recipe: Recipe, separator: Separator, sets: Sets) -> list[str]:
    """Names of the training songs that are left out because an excerpt is longer."""
    samples = _samples(separator, recipe.data.seconds)
    return [song.name for song in songs_of(sets) if song.samples < samples]


def epoch_steps(recipe: Recipe, loader: Loader, sets: Sets) -> int:
    """Optimiser steps of an epoch: see `EpochSection`.

    loader: of training. sets: its data sets.
    """
    if recipe.epoch.steps is not None:
        return recipe.epoch.steps
    sources = len(loader.sampler.layout.sources)
    per_step = recipe.batch * build_procedure(recipe.procedure).batches(sources)
    excerpts = _one_pass(loader.sampler)
    if recipe.epoch.excerpts_per_song is not None:
        excerpts = recipe.epoch.excerpts_per_song * len(songs_of(sets))
    if excerpts is None:
        return recipe.validation.every or _STEPS
    return max(1, -(-excerpts // per_step))


_STEPS = 500
"""Steps of an epoch where nothing else says what an epoch is."""


def _one_pass(stream: Excerpts) -> int | None:
    """Excerpts of a stream until each was there once; None where it makes no such passes."""
    if isinstance(stream, Sampler):
        return len(stream.scheme) if isinstance(stream.scheme, Sized) else None
    if isinstance(stream, Mixed):
        parts = [_one_pass(sampler) for sampler in stream.samplers]
        return None if None in parts else sum(part or 0 for part in parts)
    if isinstance(stream, Turns):
        parts = [_one_pass(part) for part in stream.streams]
        return None if None in parts else len(parts) * max(part or 0 for part in parts)
    return None


def _check_recipe(recipe: Recipe, separator: Separator, sets: Sets) -> None:
    """Raise RecipeError for what of a recipe does not fit separator, data sets or procedure."""
    _check_names(recipe, separator, sets)
    _check_sampling(recipe, separator)
    build_procedure(recipe.procedure).check(separator)
    if not wanted_tasks(recipe, separator):
        raise RecipeError("the weighting gives no task a weight above 0: nothing would be learnt")
    weighting = recipe.weighting
    if weighting.name == "blend" and weighting.alpha < 1 and not separator.activity_sources:
        raise RecipeError(
            f"the weighting 'blend' gives activity a weight, of which this '{separator.kind}' says "
            "nothing: set weighting.alpha=1, or options with which the network has activity"
        )
    if recipe.data.roles and recipe.procedure != "alternating":
        raise RecipeError(
            "data.roles says what data sets are for to the procedure 'alternating', not to "
            f"'{recipe.procedure}': remove it"
        )


def _check_names(recipe: Recipe, separator: Separator, sets: Sets) -> None:
    data, mixed = recipe.data, _mix(recipe, separator)
    missing = [source for source in separator.sources if source not in mixed]
    if missing:
        raise RecipeError(f"data.mix lacks '{missing[0]}', which the separator must learn")
    unknown = sorted(set(data.drop) - set(mixed))
    if unknown:
        raise RecipeError(
            f"data.drop names '{unknown[0]}', which is no stem of the mixtures ({', '.join(mixed)})"
        )
    for name in recipe.weighting.sources:
        if name not in separator.sources:
            near = closest(name, separator.sources, cutoff=0.0)
            raise RecipeError(
                f"weighting.sources names '{name}', which the network does not separate; "
                f"the nearest is '{near}'"
            )
    for name in data.weights:
        if name not in sets:
            near = closest(name, tuple(sets), cutoff=0.0)
            raise RecipeError(f"data.weights names '{name}', no data set; the nearest is '{near}'")


def _check_sampling(recipe: Recipe, separator: Separator) -> None:
    sampling, mixed = recipe.data.sampling, _mix(recipe, separator)
    if sampling.name == "sequential":
        raise RecipeError("data.sampling 'sequential' ends after one pass: choose another to train")
    silent = sampling.source or "vocals"
    if sampling.name == "non-vocal-replacement" and silent not in mixed:
        near = closest(silent, mixed, cutoff=0.0)
        raise RecipeError(
            f"data.sampling replaces excerpts without '{silent}', which is no stem of the mixtures;"
            f" the nearest for data.sampling.source is '{near}'"
        )
    independent = sampling.name == "independent"
    if build_procedure(recipe.procedure).by_source and not independent:
        raise RecipeError(
            f"the procedure '{recipe.procedure}' needs a database for every source: set "
            "data.sampling.name=independent"
        )
    if len(mixed) == 1 and sampling.name in _FROM_STEMS:
        raise RecipeError(
            f"mixtures of '{mixed[0]}' alone leave nothing to separate it from: name the stems "
            "that mixtures are made of in data.mix"
        )
    if independent and recipe.procedure == "alternating":
        raise RecipeError("'alternating' cannot have a database per source: use another sampling")
    if independent and recipe.data.mix is not None:
        raise RecipeError(
            "data.sampling 'independent' takes the rest of a mixture as it is: remove data.mix"
        )


def _check_held_out(recipe: Recipe, training: Sets | None) -> None:
    if recipe.data.sampling.name not in _HOLDING_OUT:
        raise RecipeError(
            "validation.held_out needs a sampling that keeps a part of the songs from training, "
            f"{' or '.join(_HOLDING_OUT)}, not '{recipe.data.sampling.name}'"
        )
    if not training:
        raise DataError("validation.held_out takes excerpts of the training songs: name them")


@dataclass(frozen=True)
class _Turn:
    """What is sampled in one turn: all data sets, or those of one role."""

    sets: Sets
    tasks: frozenset[str]
    scheme: str
    options: dict[str, Any]
    seed: int


def _turns(recipe: Recipe, separator: Separator, sets: Sets, part: str) -> list[dict[str, Sampler]]:
    """Samplers by the name of their data set, one after the other in every list's turn.

    All songs are one sampler's where nothing asks for their data sets to be told apart.
    """
    grouped = _regrouped(recipe, sets)
    plan = [_Turn(grouped, wanted_tasks(recipe, separator), *_scheme(recipe, part), recipe.seed)]
    if recipe.procedure == "alternating":
        roles = by_role(recipe, separator, grouped)
        check_roles(recipe, roles, sets)
        plan = [
            _Turn(own, task_of(role), *_scheme(recipe, part, role), recipe.seed + 1000 * number)
            for number, (role, own) in enumerate(roles.items())
        ]
    return [_samplers(recipe, separator, turn, part) for turn in plan]


def _scheme(recipe: Recipe, part: str, role: str = "") -> tuple[str, dict[str, Any]]:
    """Name and options of a turn's sampling scheme."""
    sampling = recipe.data.sampling
    if role == DETECTION and sampling.name in _FROM_OTHERS:
        return "random", {}  # they mix stems, and detection sets need none
    options = sampling.options
    if part == "validation":
        options["part"] = part
    elif sampling.name == "independent":
        options["batch"] = recipe.batch
    return sampling.name, options


def _samplers(recipe: Recipe, separator: Separator, turn: _Turn, part: str) -> dict[str, Sampler]:
    data = recipe.data
    kept = _usable(separator, turn.sets, data.seconds, turn.tasks, turn.scheme)
    songs = songs_of(kept)
    check_taught(recipe, songs, separator, turn.tasks)
    mix = _mix(recipe, separator)
    for source in mix:
        if turn.tasks != task_of(DETECTION) and not any(source in song.stems for song in songs):
            raise DataError(f"no track has a stem '{source}', which data.mix names")
    strengths = data.model_dump(include={field.name for field in fields(Augmentation)})
    augmentation = Augmentation(**strengths) if part == "train" else Augmentation()

    def sampler(songs: Sequence[Song], seed: int) -> Sampler:
        return _sampler(
            separator, mix, songs, data.seconds, seed, augmentation, turn.scheme, **turn.options
        )

    if not (data.weights or data.whole_batches):
        return {"all": sampler(songs, turn.seed)}
    for name, own in kept.items():
        if not own:
            raise DataError(
                f"data set '{name}' has no song that is as long as an excerpt and has what the "
                f"network learns from: {' or '.join(sorted(turn.tasks))}"
            )
    return {name: sampler(own, turn.seed + k) for k, (name, own) in enumerate(kept.items())}


def _mixed(recipe: Recipe, samplers: Mapping[str, Sampler]) -> Sampler | Mixed:
    """One endless stream of a turn's data sets."""
    weights = {name: weight for name, weight in recipe.data.weights.items() if name in samplers}
    block = recipe.batch if recipe.data.whole_batches else 1
    return mix_sets(samplers, weights, recipe.seed, block)


def _random_excerpts(recipe: Recipe, separator: Separator, sets: Sets) -> Excerpts:
    """Fixed random excerpts of held-out songs."""
    section, data = recipe.validation, recipe.data
    pooled = data.sampling.name == "pool-mix"  # the stem of a target alone is no mixture
    scheme, options = (data.sampling.name, data.sampling.options) if pooled else ("random", {})
    balanced = Augmentation(
        prefer_active=0.5,
        equalise=pooled and data.equalise,
        equalise_limit=data.equalise_limit,
    )
    tasks, mix = wanted_tasks(recipe, separator), _mix(recipe, separator)
    grouped = _regrouped(recipe, sets)
    if not any(song.samples >= _samples(separator, section.seconds) for song in songs_of(grouped)):
        raise DataError(
            f"no held-out song is {section.seconds:g} s long: lower validation.seconds, or hold "
            "out longer songs"
        )
    kept = _usable(separator, grouped, section.seconds, tasks, scheme)
    if not songs_of(kept):
        raise DataError(
            "no held-out song is as long as an excerpt of validation and has what the network is "
            f"judged by: {' or '.join(sorted(tasks))}"
        )
    turns: list[Sets] = [kept]
    if recipe.procedure == "alternating":  # held-out songs may all be of one role
        turns = [own for own in by_role(recipe, separator, kept).values() if songs_of(own)]
    streams = [
        _sampler(
            separator,
            mix,
            songs_of(own),
            section.seconds,
            section.seed + k,
            balanced,
            scheme,
            **options,
        )
        for k, own in enumerate(turns)
    ]
    return streams[0] if len(streams) == 1 else Turns(streams, 1)


def _regrouped(recipe: Recipe, sets: Sets) -> Sets:
    groups = recipe.data.groups
    if not groups:
        return sets
    return {name: [regroup(song, groups) for song in songs] for name, songs in sets.items()}


def _usable(
    separator: Separator, sets: Sets, seconds: float, tasks: frozenset[str], scheme: str
) -> dict[str, list[Song]]:
    """The songs of every set that are long enough and teach one of the tasks."""
    every = check_tracks(songs_of(sets), (), separator.sample_rate, _samples(separator, seconds))
    long = {id(song) for song in every}
    return {
        name: [
            song
            for song in songs
            if id(song) in long and (scheme in _FROM_OTHERS or teaches(song, separator, tasks))
        ]
        for name, songs in sets.items()
    }


def _mix(recipe: Recipe, separator: Separator) -> tuple[str, ...]:
    return recipe.data.mix or separator.sources


def _samples(separator: Separator, seconds: float) -> int:
    """Length of an excerpt that is at least `seconds` long and ends with a hop."""
    grid, samples = separator.grid, round(seconds * separator.sample_rate)
    if grid.padded:
        return grid.input_length(samples)
    return -(-samples // grid.hop) * grid.hop  # any length will do: pieces are for inference


def _sampler(
    separator: Separator,
    mix: Sequence[str],
    songs: Sequence[Song],
    seconds: float,
    seed: int,
    augmentation: Augmentation,
    scheme: str,
    **options: Any,
) -> Sampler:
    return Sampler(
        songs,
        mix,
        separator.activity_sources,
        _samples(separator, seconds),
        separator.grid.hop,
        seed,
        augmentation,
        scheme,
        **options,
    )
