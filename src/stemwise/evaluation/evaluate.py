"""`stemwise.evaluate`: scores of arrays, files or folders as a pandas frame.

stems = stemwise.load("band").separate("song.stem.mp4").stems
frame = stemwise.evaluate("song.stem.mp4", stems)
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from stemwise.audio import Audio, read
from stemwise.errors import EvaluationError
from stemwise.evaluation.blocks import quantise as sixteen_bits
from stemwise.evaluation.families import score
from stemwise.evaluation.layout import list_tracks
from stemwise.evaluation.pairs import find_pairs
from stemwise.evaluation.problems import ALIASES, Problem, choose_problems, summands
from stemwise.evaluation.record import TrackScores
from stemwise.evaluation.run import Watch, evaluate_set
from stemwise.evaluation.scores import Score
from stemwise.evaluation.scoring import Settings, Task
from stemwise.evaluation.signals import ArraySignals, fit, length_notes

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Watch", "evaluate", "evaluate_set"]

One = np.ndarray | Audio | str | Path
Sources = Mapping[str, One] | np.ndarray | str | Path


def evaluate(
    references: Sources,
    estimates: Sources,
    sample_rate: int | None = None,
    *,
    metrics: Sequence[str] = ("v4",),
    window: float = 1.0,
    hop: float = 1.0,
    problem: str = "auto",
    sources: Sequence[str] | None = None,
    silent: Literal["nan", "raise"] = "nan",
    quantise: bool | None = None,
    jobs: int = 1,
    threads: int | None = None,
) -> pd.DataFrame:
    """Score estimates against references.

    Args:
        references, estimates: each a dict of source names to arrays (channel, sample) or (sample,),
            to Audio or to paths; an array (source, channel, sample) or (source, sample), whose
            sources are called 0, 1 ... unless `sources` names them; or the path of a track, or of
            a set of tracks (see `layout.list_tracks`). Estimates are cut or zero-padded at their
            end to the references' length.
        sample_rate: of arrays, in Hz; files know theirs.
        metrics: families of `scores.METRICS`, e.g. ("v4", "usdr").
        window, hop: of BSS Eval v4, in seconds.
        problem, sources: see `problems.choose_problems`.
        silent: "nan" leaves what is silent without scores, "raise" raises for whole silent tracks.
        quantise: round to 16 bits first; None does so where references are files.
        jobs: tracks of a set at the same time.
        threads: of BSS Eval for arrays (None: all cores).

    Returns:
        A row per track, target, problem, metric and window, with the columns track, target,
        problem, metric, time and duration (seconds), score, level (RMS of the estimate in the
        window, dB relative to full scale) and reason (why a score is NaN; else empty). What was
        done to the files is in `frame.attrs["notes"]`.

    Raises:
        EvaluationError: what cannot be scored, in one sentence. AudioError: a file that cannot be
            read. Of a set, broken tracks are warned about and the others are scored.
    """
    from stemwise.evaluation.tables import to_frame

    settings = Settings(
        tuple(metrics),
        window,
        hop,
        problem,
        None if sources is None else tuple(sources),
        silent,
        isinstance(references, (str, Path)) if quantise is None else quantise,
    )
    if isinstance(references, (str, Path)) and isinstance(estimates, (str, Path)):
        tracks = _paths(Path(references), Path(estimates), settings, jobs)
    else:
        tracks = [_arrays(references, estimates, sample_rate, settings, threads)]
    frame = to_frame(tracks)
    frame.attrs["notes"] = [note for track in tracks for note in track.notes]
    return frame


def _paths(references: Path, estimates: Path, settings: Settings, jobs: int) -> list[TrackScores]:
    found = find_pairs(references, estimates, kind=settings.problem, sources=settings.sources)
    tracks, broken = evaluate_set(found.pairs, settings, jobs=jobs)
    broken = [*found.broken, *broken]
    if not tracks and broken:
        raise EvaluationError(broken[0].sentence)
    for one in broken:
        warnings.warn(one.sentence, stacklevel=3)
    return tracks


@dataclass(frozen=True)
class _Side:
    """References or estimates in memory: each source (channel, sample)."""

    arrays: dict[str, np.ndarray]
    sample_rate: int | None
    name: str = ""


def _arrays(
    references: Sources,
    estimates: Sources,
    sample_rate: int | None,
    settings: Settings,
    threads: int | None,
) -> TrackScores:
    left = _side(references, "reference", settings.sources)
    right = _side(estimates, "estimate", settings.sources)
    rates = {one for one in (sample_rate, left.sample_rate, right.sample_rate) if one is not None}
    if not rates:
        raise EvaluationError("arrays need their sample rate: give sample_rate in Hz")
    if len(rates) > 1:
        shown = " and ".join(f"{rate} Hz" for rate in sorted(rates))
        raise EvaluationError(f"references and estimates differ in sample rate, {shown}: resample")
    rate = rates.pop()
    channels = {name: len(one) for side in (left, right) for name, one in side.arrays.items()}
    if len({len(one) for side in (left, right) for one in side.arrays.values()}) > 1:
        raise EvaluationError(
            f"references and estimates must have equally many channels: these have {channels}"
        )
    problems = choose_problems(left.arrays, right.arrays, settings.problem, settings.sources)
    samples = max(one.shape[-1] for one in left.arrays.values())
    notes = []
    for what, side in (("reference", left), ("estimate", right)):
        for name, one in side.arrays.items():
            notes += length_notes(f"the {what} of {name}", one.shape[-1], samples, rate)
    scores: list[Score] = []
    facts: dict[str, Any] = {}
    for problem in problems:
        sides = [_stack(problem, side, left, samples, settings) for side in (left, right)]
        found, facts = score(Task(problem, sides[0], sides[1], rate, settings, threads))
        scores += found
    return TrackScores(left.name, "", tuple(scores), tuple(notes), facts=facts)


def _side(sources: Sources, what: str, names: Sequence[str] | None) -> _Side:
    if isinstance(sources, (str, Path)):
        entries = list_tracks(Path(sources))
        if len(entries) > 1:
            raise EvaluationError(f"{sources} holds several tracks: give the path of one")
        files = {
            name: parts[0] for name, parts in entries[0].sources().items() if name != "mixture"
        }
        loaded = {name: read(part.path, stream=part.stream) for name, part in files.items()}
        return replace(_mapping(loaded, what), name=entries[0].name)
    if isinstance(sources, Mapping):
        return _mapping(sources, what)
    array = np.asarray(sources)
    if array.ndim not in (2, 3):
        raise EvaluationError(
            f"the {what}s have the shape {array.shape}: give (source, channel, sample)"
        )
    if names is not None and len(names) != len(array):
        raise EvaluationError(f"there are {len(array)} {what}s and {len(names)} names of sources")
    keys = names or [str(index) for index in range(len(array))]
    return _mapping(dict(zip(keys, array, strict=True)), what)


def _mapping(sources: Mapping[str, One], what: str) -> _Side:
    arrays: dict[str, np.ndarray] = {}
    rates: dict[str, int] = {}
    for key, one in sources.items():
        name = ALIASES.get(key, key)
        if name == "mixture":
            continue
        if isinstance(one, (str, Path)):
            one = read(one)
        if isinstance(one, Audio):
            rates[name] = one.sample_rate
            one = one.samples
        arrays[name] = _checked(np.asarray(one), f"the {what} of {name}")
    if not arrays:
        raise EvaluationError(f"there is no {what}: give a dict of sources, an array or a path")
    if len(set(rates.values())) > 1:
        raise EvaluationError(f"the {what}s differ in sample rate: these have {rates}")
    return _Side(arrays, next(iter(rates.values()), None))


def _checked(array: np.ndarray, what: str) -> np.ndarray:
    """Samples (channel, sample); raises EvaluationError for what cannot be scored."""
    if not np.issubdtype(array.dtype, np.floating):
        raise EvaluationError(
            f"{what} is {array.dtype}: convert it to floating point from -1 to 1, where integers "
            "cannot overflow"
        )
    if array.ndim == 1:
        array = array[np.newaxis]
    if array.ndim != 2 or not array.size:
        raise EvaluationError(f"{what} has the shape {array.shape}: give (channel, sample)")
    if array.shape[0] > 8:
        raise EvaluationError(
            f"{what} has {array.shape[0]} channels: give (channel, sample), not (sample, channel)"
        )
    if not np.isfinite(array).all():
        bad = int(np.argmin(np.isfinite(array).all(axis=0)))
        raise EvaluationError(f"{what} has a sample that is not a number at sample {bad}")
    return array


def _stack(
    problem: Problem, side: _Side, references: _Side, samples: int, settings: Settings
) -> ArraySignals:
    def one(name: str) -> np.ndarray:
        array = fit(side.arrays[name], samples)
        return sixteen_bits(array) if settings.quantise else array

    stacked = [
        np.sum([one(part) for part in summands(name, side.arrays, references.arrays)], axis=0)
        for name in problem.sources
    ]
    return ArraySignals(problem.sources, np.stack(stacked))
