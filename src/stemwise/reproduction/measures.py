"""Scores of the test songs of a task; what is finished is read from earlier runs.

Stems are scored by `evaluate_set`, whose files are kept per song. What it does not score - AU-ROC
over songs, the MSE of a network's own magnitudes, levels in silence - is measured beside it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stemwise.activity import Activity
from stemwise.audio.part import PartFile
from stemwise.data.track import Part
from stemwise.errors import DataError, EvaluationError
from stemwise.evaluation.detection import au_roc, pool
from stemwise.evaluation.oracles import Oracle
from stemwise.evaluation.pairs import Pair
from stemwise.evaluation.problems import Problem
from stemwise.evaluation.record import TrackScores
from stemwise.evaluation.run import Estimator, Watch, evaluate_set
from stemwise.evaluation.scoring import Settings
from stemwise.evaluation.tables import per_track, to_frame
from stemwise.reproduction.estimators import Networks, detect, magnitude_error, read_whole
from stemwise.reproduction.experiments import Task
from stemwise.reproduction.library import Library, TestSong, safe_name
from stemwise.reproduction.published import Value
from stemwise.reproduction.runs import Run, speed

if TYPE_CHECKING:
    from stemwise.training.sections import Recipe

Series = dict[str, float]
"""Value by song."""
_DERIVED = ("accompaniment", "rest")
"""Sources that are the sum of all stems which are not scored by themselves."""
_SILENT_VOCALS = re.compile(r"\breference of vocals\b")


@dataclass
class Measured:
    """What was measured of a task.

    Attributes:
        songs: values by (target, metric), then by song; target "" where they are of all sources.
        pooled: values that all songs give together, by (target, metric).
        frames: scores and labels (frame,) by target, for tests of AU-ROCs.
        facts: of trainings, by name.
        reason: why something is missing, where something is.
    """

    songs: dict[tuple[str, str], Series] = field(default_factory=dict)
    pooled: dict[tuple[str, str], float] = field(default_factory=dict)
    frames: dict[str, tuple[NDArray[np.float64], NDArray[np.bool_]]] = field(default_factory=dict)
    facts: dict[str, Value] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class Place:
    """Where and on what a task is measured.

    sets: of the table, whose songs are dealt among them. root: where scores are kept.
    """

    library: Library
    sets: tuple[str, ...]
    root: Path
    device: str = "auto"
    jobs: int = 1
    tell: Callable[[str], None] = lambda sentence: None


def measure(task: Task, runs: Sequence[Run], place: Place) -> Measured:
    """Everything that the cells of a task need; `runs` are its finished trainings.

    Raises EvaluationError for a song that cannot be scored.
    """
    if task.measure == "cost":
        return Measured(facts=cost(task))
    if task.measure == "training":
        return Measured(facts=dict(speed(runs[0])))
    tests = _tests(task, place)
    if not tests:
        target = task.sources[0] if task.sources else "a label"
        return Measured(reason=f"no test song has {target}")
    estimator = _estimator(task, runs, tests, place)
    folder = place.root / "scores" / _slug(task)
    if task.measure == "separation":
        return _separation(task, estimator, tests, folder, place)
    assert isinstance(estimator, Networks)
    return _activity(task, estimator, tests, folder, place)


def _slug(task: Task) -> str:
    """A folder of its own for every task, whatever table asks for it."""
    first = task.trainings[0].recipe if task.trainings else str(task.oracle)
    return f"{first}-{hashlib.sha256(repr(task).encode()).hexdigest()[:8]}"


def _tests(task: Task, place: Place) -> dict[str, TestSong]:
    """The songs that count, by name: those that have what is asked for."""
    stems = {one for one in task.sources if one not in _DERIVED}
    found = {}
    for name in task.sets:
        for test in place.library.tests(place.sets, name, task.form):
            if task.measure == "separation":
                fits = "mixture" not in test.track.stems and _fits(test, stems)
            else:
                target = task.sources[0] if task.sources else "vocals"
                fits = test.labels is not None and target in test.labels.sources
            if fits:
                prefix = f"{name} - " if len(task.sets) > 1 else ""
                found[prefix + safe_name(test.track.name)] = test
    return found


def _fits(test: TestSong, stems: set[str]) -> bool:
    return stems <= set(test.track.stems) and len(test.track.stems) > 1


def _estimator(
    task: Task, runs: Sequence[Run], tests: Mapping[str, TestSong], place: Place
) -> Estimator:
    if task.oracle is not None:
        return Oracle(task.oracle)
    activity = task.measure in ("detection", "activity")
    models = [run.model(activity) for run in runs]
    labels = {name: test.labels for name, test in tests.items() if test.labels is not None}
    return Networks(models, task, labels, place.device)


def references(test: TestSong, sources: Sequence[str]) -> dict[str, tuple[Part, ...]]:
    """The parts of every source; what is no stem is the sum of the stems that are not asked for."""
    stems = test.track.stems
    others = [name for name in stems if name not in sources]
    rest = tuple(part for name in others for part in stems[name])
    return {name: stems.get(name, rest) for name in sources}


def _pair(name: str, test: TestSong, task: Task) -> Pair:
    track = test.track
    problem = Problem(task.sources, task.sources)
    return Pair(
        name,
        "test",
        references(test, task.sources),
        {},
        (problem,),
        track.sample_rate,
        task.form.channels,
        track.samples,
        track.mixture,
    )


def _separation(
    task: Task, estimator: Estimator, tests: Mapping[str, TestSong], folder: Path, place: Place
) -> Measured:
    found = Measured()
    if task.families:
        pairs = [_pair(name, test, task) for name, test in tests.items()]
        settings = Settings(metrics=task.families, v3_window=None if task.whole else 30.0)
        watch = Watch(done=lambda one: place.tell(f"scored {one.name}") if not one.again else None)
        scored, broken = evaluate_set(
            pairs, settings, estimator=estimator, jobs=place.jobs, folder=folder, watch=watch
        )
        if broken:
            raise EvaluationError(broken[0].sentence)
        found.songs = series_of(scored)
        found.reason = _without_scores(scored)
    if task.magnitudes:
        assert isinstance(estimator, Networks)
        found.songs["", "magnitude MSE"] = {
            name: _magnitudes(estimator, test, folder / "magnitudes" / f"{name}.json")
            for name, test in tests.items()
        }
    return found


def series_of(scored: Sequence[TrackScores]) -> dict[tuple[str, str], Series]:
    """Scores of songs by (target, metric), as `evaluation.tables` puts windows together.

    With "RMS" of the estimates over whole songs, and "RMS in silence v3" over the windows of BSS
    Eval v3 that have no scores because the vocals are silent.
    """
    found: dict[tuple[str, str], Series] = {}
    for row in per_track(to_frame(scored)).to_dict("records"):
        if not math.isnan(row["score"]):
            found.setdefault((row["target"], row["metric"]), {})[row["track"]] = row["score"]
    for track in scored:
        for score in track.scores:
            if score.metric == "MSE":
                found.setdefault((score.target, "RMS"), {})[track.name] = _linear(score.levels[0])
            if score.metric != "SDR v3" or score.target != "vocals":
                continue
            silent = [
                _linear(level)
                for level, reason in zip(score.levels, score.reasons, strict=True)
                if reason is not None and _SILENT_VOCALS.search(reason)
            ]
            if silent:
                series = found.setdefault(("vocals", "RMS in silence v3"), {})
                series[track.name] = float(np.mean(silent))
    return found


def _without_scores(scored: Sequence[TrackScores]) -> str:
    """How many songs have no score of some source, and the usual reason; "" where all have."""
    reasons = []
    for track in scored:
        lost = [
            score.reasons[0]
            for score in track.scores
            if score.metric.startswith("SDR") and all(map(math.isnan, score.values))
        ]
        reasons += [one or "undefined" for one in lost[:1]]
    if not reasons:
        return ""
    usual = max(reasons, key=reasons.count)
    return f"{len(reasons)} of {len(scored)} songs have no score of some source ({usual})"


def _linear(level: float) -> float:
    return 0.0 if level == -math.inf else float(10 ** (level / 20))


def _magnitudes(networks: Networks, test: TestSong, path: Path) -> float:
    """The MSE of a song's magnitudes, measured once for the same weights."""
    key = networks.digests
    if path.is_file():
        known = json.loads(path.read_text(encoding="utf-8"))
        if known["weights"] == key:
            return float(known["mse"])
    [engine] = networks.engines
    parts = references(test, engine.separator.sources)
    mixture = read_whole(test.track.mixture[0].path)
    signals = [[read_whole(one.path) for one in several] for several in parts.values()]
    stems = np.stack([np.sum(several, axis=0, dtype=np.float32) for several in signals])
    error = magnitude_error(engine, mixture, stems)
    path.parent.mkdir(parents=True, exist_ok=True)
    with PartFile(path) as part:
        part.temporary.write_text(json.dumps({"weights": key, "mse": error}), encoding="utf-8")
    return error


def _activity(
    task: Task, networks: Networks, tests: Mapping[str, TestSong], folder: Path, place: Place
) -> Measured:
    """AU-ROC of the first source, over frames ("detection") or seconds ("activity")."""
    target = task.sources[0] if task.sources else "vocals"
    predicted = [
        _detected(networks, test, folder / "activity" / f"{name}.npz")
        for name, test in tests.items()
    ]
    labels = [test.labels for test in tests.values() if test.labels is not None]
    seconds = 1.0 if task.measure == "activity" else None
    pooled = pool(predicted, labels, seconds=seconds)
    if target not in pooled:
        raise DataError(f"{task.trainings[0].name} tells no activity of {target}: train it with it")
    scores, active = pooled[target]
    area = au_roc(scores, active)
    found = Measured(frames={target: (scores, active)})
    found.pooled[target, "activation rate"] = float(active.mean())
    if area is None:
        found.reason = f"{target} plays in all frames of the test songs, or in none"
    else:
        found.pooled[target, "AU-ROC"] = area
    return found


def _detected(networks: Networks, test: TestSong, path: Path) -> Activity:
    """A song's activity, computed once for the same weights."""
    key = "".join(networks.digests)
    if path.is_file():
        with np.load(path) as known:
            if str(known["weights"]) == key:
                sources = tuple(str(one) for one in known["sources"])
                rate, duration = float(known["rate"]), float(known["duration"])
                return Activity(sources, known["probabilities"], rate, duration)
    activity = detect(networks.engines[0], test.track)
    path.parent.mkdir(parents=True, exist_ok=True)
    with PartFile(path) as part, part.temporary.open("wb") as file:
        np.savez(
            file,
            weights=key,
            sources=np.array(activity.sources),
            probabilities=activity.probabilities,
            rate=activity.frame_rate,
            duration=activity.duration,
        )
    return activity


def cost(task: Task) -> dict[str, Value]:
    """Parameters of a row's networks at the paper's size, and its effective iterations.

    N: training samples; a network per source sees all of them, one that is asked for each source
    sees every sample once per source (Kadandale et al. 2020, table I).
    """
    from stemwise.training.recipe import load_recipe

    first = task.trainings[0]
    recipe = load_recipe(first.recipe, first.overrides)
    count = f"{parameters(recipe) / 1e6:.1f}M"
    sources, networks = len(task.sources), len(task.trainings)
    if networks > 1:
        return {"params": f"{count} x {networks}", "iterations": "N each"}
    asked = recipe.separator.name == "conditioned-unet"
    return {"params": count, "iterations": f"N x {sources}" if asked else "N"}


def parameters(recipe: Recipe) -> int:
    """Trainable parameters of a recipe's network, which is built without memory for them."""
    import torch

    from stemwise import models

    section = recipe.separator
    with torch.device("meta"):
        separator = models.build(section.name, section.sources, **section.config)
    return separator.parameter_count
