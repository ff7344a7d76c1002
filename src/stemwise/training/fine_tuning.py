"""A recipe that goes on with a trained model on other songs, and which of these are held out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from stemwise import models
from stemwise.data.draws import Augmentation
from stemwise.data.places import Place, of_split
from stemwise.data.track import Song
from stemwise.errors import DataError
from stemwise.models.separator import Separator
from stemwise.training.losses import ACTIVITY
from stemwise.training.recipe import load_recipe
from stemwise.training.roles import teaches
from stemwise.training.sections import Recipe
from stemwise.training.start import Start, hold_out, label_by_stems

_BASE = "fine-tune"
_SLOWER = 0.1
"""Learning rate, relative to the one that the model was trained with."""
_HELD_OUT = 0.15
"""Share of the songs that is held out where a data set holds out none."""
_SAME = ("batch", "objective", "weighting", "precision", "channels_last")


_NO_LABELS = (
    "the songs have no activity labels: only separation is learnt, and when sources play is judged "
    "by the network as it then is (`stemwise prepare --labels` makes labels from stems)"
)
_FROM_STEMS = (
    "the songs have no activity labels: they are made from the stems whenever the run starts "
    "(`stemwise prepare --labels` makes them once)"
)


def prepare_fine_tuning(
    model: str, data: Mapping[str, Place], overrides: Iterable[str] = ()
) -> tuple[Recipe, Start, list[str]]:
    """Recipe and songs of a training that starts from a trained model, and what to know of it.

    model: a name of the catalogue or a checkpoint's path. data: sets of songs by name. overrides:
    key=value changes to the recipe.

    What the model's own recipe says of objective, weighting, batches and random changes holds, at a
    tenth of its learning rate; how long and how to sample is the recipe `fine-tune`'s, because the
    songs are others. A model without a recipe takes all from `fine-tune`.

    Raises DataError for songs that lack what the model separates.
    """
    separator = models.load(model)
    every = {name: place.songs() for name, place in data.items()}
    train = {name: of_split(songs, "train") for name, songs in every.items()}
    songs = [song for one in train.values() for song in one]
    _check_stems(songs, separator, model)
    held_out: dict[str, list[str]] = {}
    if not any(song.split == "validation" for one in every.values() for song in one):
        held_out = {name: hold_out(one, _HELD_OUT, seed=0) for name, one in train.items()}
    derived = {
        "name": f"{_BASE} {Path(model).stem}",
        "separator": {
            "name": separator.kind,
            "sources": list(separator.sources),
            "initial": str(Path(model).resolve()) if Path(model).is_file() else model,
        },
        "sample_rate": _rate(songs, separator),
        "data.mix": _mix(songs, separator),
        **_own(models.read_card(model).metadata.get("recipe", {})),
    }
    notes = []
    labelled = any(teaches(song, separator, frozenset([ACTIVITY])) for song in songs)
    if separator.activity_sources and not labelled:
        by_stems = any(_says_by_stems(song, separator) for song in songs)
        derived |= {} if by_stems else _without_activity(derived)
        notes.append(_FROM_STEMS if by_stems else _NO_LABELS)
    start = Start(data, {}, held_out, labelled=notes == [_FROM_STEMS])
    changes = [f"{key}={json.dumps(value)}" for key, value in derived.items()]
    return load_recipe(_BASE, [*changes, *overrides]), start, notes


def _says_by_stems(song: Song, separator: Separator) -> bool:
    """Whether a song's stems tell when the network's sources play."""
    having = all(source in song.stems for source in separator.activity_sources)
    return having and label_by_stems(song) is not song


def _own(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What of the model's own recipe, maybe an older release's, fits other songs."""
    own = {key: recipe[key] for key in _SAME if key in recipe}
    data, optimiser = recipe.get("data", {}), dict(recipe.get("optimiser", {}))
    strengths = ("seconds", *(field.name for field in fields(Augmentation)))
    own |= {f"data.{key}": data[key] for key in strengths if key in data}
    if "learning_rate" in optimiser:
        optimiser["learning_rate"] *= _SLOWER
        own["optimiser"] = optimiser
    if "best" in recipe.get("validation", {}):
        own["validation.best"] = recipe["validation"]["best"]
    return own


def _without_activity(derived: Mapping[str, Any]) -> dict[str, Any]:
    """What gives activity no weight, and chooses no model by it."""
    name = derived.get("weighting", {}).get("name", "fixed")
    weight = {"fixed": ("weights.activity", 0.0), "blend": ("alpha", 1.0)}
    key, value = weight.get(name, ("activity", 0.0))
    best = {
        model: figure
        for model, figure in derived.get("validation.best", {}).items()
        if figure.partition("/")[0] not in (ACTIVITY, "auroc")
    }
    return {f"weighting.{key}": value, "validation.best": best or {"best": "sdr"}}


def _check_stems(songs: Sequence[Song], separator: Separator, model: str) -> None:
    if not songs:
        raise DataError("there is no song to train on: name a folder of songs with stems")
    there = sorted({stem for song in songs for stem in song.stems})
    missing = [source for source in separator.sources if source not in there]
    if missing:
        raise DataError(
            f"{model} separates {', '.join(separator.sources)}, but no song has the stem"
            f"{'s' if len(missing) > 1 else ''} {', '.join(missing)}; the songs have "
            f"{', '.join(there) or 'no stems'}: add the missing, or fine-tune another model"
        )
    if len(separator.sources) == 1 and len(there) == 1:
        raise DataError(
            f"the songs have nothing but {there[0]}: without what else plays, there is nothing to "
            "separate it from; add the other stems, e.g. accompaniment"
        )


def _rate(songs: Sequence[Song], separator: Separator) -> int | None:
    """The rate to train at: that of the songs, where the network has a view for it."""
    rate = songs[0].sample_rate
    return rate if rate != separator.sample_rate and hasattr(separator, "at_rate") else None


def _mix(songs: Sequence[Song], separator: Separator) -> list[str] | None:
    """What mixtures are made of: a network of one source needs the stems that play with it."""
    if len(separator.sources) > 1:
        return None
    common = set.intersection(*(set(song.stems) for song in songs))
    return [*separator.sources, *sorted(common - set(separator.sources))]
