"""Which data set is for which task, and which songs teach a network anything.

A song with stems is for separation, one with activity labels for detection, most are for both.
`alternating` keeps the two apart, data set by data set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stemwise.data.track import Song
from stemwise.errors import DataError, RecipeError, closest
from stemwise.models.separator import Separator
from stemwise.training.losses import ACTIVITY, SEPARATION
from stemwise.training.sections import Recipe, WeightingSection

Sets = Mapping[str, Sequence[Song]]
"""Songs by the name of their data set."""
DETECTION = "detection"
"""The role of a data set in recipes; the other is called as its task, separation."""
_UNHEARD = {"fixed": "weighting.weights.activity=0", "blend": "weighting.alpha=1"}
"""What gives activity no weight, by the name of the weighting."""
_TASKS = {SEPARATION: SEPARATION, DETECTION: ACTIVITY}


def songs_of(sets: Sets) -> list[Song]:
    """The songs of all data sets."""
    return [song for songs in sets.values() for song in songs]


def wanted_tasks(recipe: Recipe, separator: Separator) -> frozenset[str]:
    """The tasks whose losses a recipe gives a weight above 0."""
    tasks = {SEPARATION, ACTIVITY} if separator.activity_sources else {SEPARATION}
    return frozenset(task for task in tasks if _weight(recipe.weighting, task) > 0)


def _weight(section: WeightingSection, task: str) -> float:
    if section.name == "fixed":
        return section.weights.get(task, 1.0)
    if section.name == "blend":
        return section.alpha if task == SEPARATION else 1 - section.alpha
    return 1.0 if task == SEPARATION else section.activity


def teaches(song: Song, separator: Separator, tasks: frozenset[str]) -> bool:
    """Whether a song has a stem, or labels, that any of the tasks learns from."""
    if SEPARATION in tasks and any(source in song.stems for source in separator.sources):
        return True
    return ACTIVITY in tasks and _is_labelled(song, separator)


def check_taught(
    recipe: Recipe, songs: Sequence[Song], separator: Separator, tasks: frozenset[str]
) -> None:
    """Raise DataError for a source without any stem, and for activity without any label."""
    for source in separator.sources if SEPARATION in tasks else ():
        if not any(source in song.stems for song in songs):
            parts = recipe.data.groups.get(source)
            made = f", nor {', '.join(parts)}, whose sum it is," if parts else ","
            raise DataError(f"no track has a stem '{source}'{made} which the separator must learn")
    if ACTIVITY in tasks and not any(_is_labelled(song, separator) for song in songs):
        raise DataError(
            f"no track has activity labels of {', '.join(separator.activity_sources)}, which the "
            "network learns: compute them from stems (stemwise prepare --labels), or set "
            f"{_UNHEARD.get(recipe.weighting.name, 'weighting.activity=0')}"
        )


def by_role(recipe: Recipe, separator: Separator, sets: Sets) -> dict[str, Sets]:
    """The data sets for separation, and those for detection, as `alternating` takes them in turn.

    What `data.roles` does not name is for separation where any of its songs has a stem of the
    separator's sources.
    """
    found: dict[str, dict[str, Sequence[Song]]] = {SEPARATION: {}, DETECTION: {}}
    for name, songs in sets.items():
        stems = any(teaches(song, separator, frozenset([SEPARATION])) for song in songs)
        role = recipe.data.roles.get(name, SEPARATION if stems else DETECTION)
        found[role][name] = songs
    return dict(found)


def check_roles(recipe: Recipe, roles: Mapping[str, Sets], sets: Sets) -> None:
    """Raise RecipeError for a role of a set that is not there, DataError for a role without set."""
    for name in recipe.data.roles:
        if name not in sets:
            near = closest(name, tuple(sets), cutoff=0.0)
            raise RecipeError(f"data.roles names '{name}', no data set; the nearest is '{near}'")
    for role, own in roles.items():
        if not own:
            raise DataError(
                "the procedure 'alternating' takes turns between data sets for separation and for "
                f"detection, but none of {', '.join(sets)} is for {role}: add one, or name its "
                "role under data.roles"
            )


def task_of(role: str) -> frozenset[str]:
    """The task that a role's batches are for."""
    return frozenset([_TASKS[role]])


def _is_labelled(song: Song, separator: Separator) -> bool:
    labels = song.labels
    return labels is not None and any(one in labels.sources for one in separator.activity_sources)
