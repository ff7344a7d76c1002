"""How well a model tells when a source plays: AU-ROC, precision, recall, F (NumPy only).

A frame counts as predicted active where its score is at least the threshold, and as active where
its label is above 0.5. Frames of several songs are pooled before a figure is computed ("over all
frames"), as in Stoller et al. 2018 and Hung & Lerch 2020. Nothing here knows silence: a song
without the source has only inactive frames, and a set of songs that lacks one of the two classes
has no AU-ROC (None).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stemwise.activity import Activity
from stemwise.errors import EvaluationError

Real = npt.NDArray[np.float64]

INSTRUMENT_GROUPS = {
    "vocals": ("female singer", "male singer"),
    "bass": ("electric bass", "double bass"),
    "piano": ("electric piano", "acoustic piano"),
    "electric guitar": ("clean electric guitar", "distorted electric guitar"),
}
"""Sub-instruments that count as one (Hung & Lerch 2020, section 5)."""


@dataclass(frozen=True)
class Detection:
    """Counts of frames at one threshold and what follows from them, each from 0 to 1.

    `precision` is NaN where nothing is predicted, `recall` where nothing is active, `f` (their
    harmonic mean) where neither is.
    """

    threshold: float
    hits: int
    false_alarms: int
    misses: int
    rejections: int

    @property
    def precision(self) -> float:
        """Fraction of the predicted frames that are active."""
        return _fraction(self.hits, self.hits + self.false_alarms)

    @property
    def recall(self) -> float:
        """Fraction of the active frames that are predicted."""
        return _fraction(self.hits, self.hits + self.misses)

    @property
    def f(self) -> float:
        """2 hits / (2 hits + false alarms + misses)."""
        return _fraction(2 * self.hits, 2 * self.hits + self.false_alarms + self.misses)

    @property
    def accuracy(self) -> float:
        """Fraction of all frames that are right."""
        right = self.hits + self.rejections
        return _fraction(right, right + self.false_alarms + self.misses)


def _fraction(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


@dataclass(frozen=True, eq=False)
class RocCurve:
    """Points of the ROC curve from (0, 0) to (1, 1), each (point,); thresholds fall from inf."""

    false_positive_rate: Real
    true_positive_rate: Real
    thresholds: Real


def validate(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Real, npt.NDArray[np.bool_]]:
    """Flat scores and labels of the same frames; raises EvaluationError where they are not that."""
    given, truth = np.asarray(scores), np.asarray(labels)
    if given.shape != truth.shape:
        raise EvaluationError(
            f"Scores of shape {given.shape} and labels of shape {truth.shape} cannot be compared: "
            "give one label per frame."
        )
    for name, array in (("scores", given), ("labels", truth)):
        if array.dtype != np.bool_ and not np.issubdtype(array.dtype, np.number):
            raise EvaluationError(f"The {name} must be numbers, not {array.dtype}.")
        if np.isnan(array).any():
            raise EvaluationError(f"The {name} hold NaN: leave frames that are not known out.")
    return given.ravel().astype(np.float64), (truth > 0.5).ravel()


def au_roc(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float | None:
    """Area under the ROC curve in [0, 1]; None where a class is absent.

    The probability that an active frame has the higher score than an inactive one, ties counted
    half (Mann & Whitney): equal to the trapezoidal area, and to `roc_auc_score` of scikit-learn.
    scores: real numbers, larger for active. labels: 0 or 1, same shape. O(n log n).
    """
    values, active = validate(scores, labels)
    positives, negatives = values[active], np.sort(values[~active])
    if not positives.size or not negatives.size:
        return None
    below = np.searchsorted(negatives, positives, side="left").sum(dtype=np.int64)
    up_to = np.searchsorted(negatives, positives, side="right").sum(dtype=np.int64)
    return float((int(below) + int(up_to)) / (2 * positives.size * negatives.size))


def roc_curve(scores: npt.ArrayLike, labels: npt.ArrayLike) -> RocCurve:
    """The ROC curve with one point per distinct score; raises EvaluationError without both classes.

    Differs from scikit-learn's in keeping points on a straight line.
    """
    values, active = validate(scores, labels)
    thresholds, hits, false_alarms = _at_every_score(values, active)
    if not active.any() or active.all():
        raise EvaluationError("A ROC curve needs active and inactive frames: one class is absent.")
    return RocCurve(
        np.concatenate([[0.0], false_alarms / false_alarms[-1]]),
        np.concatenate([[0.0], hits / hits[-1]]),
        np.concatenate([[np.inf], thresholds]),
    )


def _at_every_score(
    values: Real, active: npt.NDArray[np.bool_]
) -> tuple[Real, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Distinct scores, falling, and hits and false alarms with each of them as the threshold."""
    order = np.argsort(-values, kind="stable")
    ranked, truth = values[order], active[order]
    last = np.flatnonzero(np.diff(ranked, append=-np.inf) != 0) if ranked.size else ranked
    last = np.asarray(last, np.int64)
    hits = np.cumsum(truth, dtype=np.int64)[last]
    return ranked[last], hits, last + 1 - hits


def detect(scores: npt.ArrayLike, labels: npt.ArrayLike, threshold: float = 0.5) -> Detection:
    """Count frames at a threshold; see `Detection`."""
    values, active = validate(scores, labels)
    predicted = values >= threshold
    hits = int(np.count_nonzero(predicted & active))
    found, there = int(np.count_nonzero(predicted)), int(np.count_nonzero(active))
    rest = values.size - found - there + hits
    return Detection(float(threshold), hits, found - hits, there - hits, rest)


def best_threshold(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """The threshold with the highest F on these frames; take validation songs, never test songs.

    It is one of the scores; of several equally good ones the highest. O(n log n). Raises
    EvaluationError where no frame is active: any threshold is as good as any other there.
    """
    values, active = validate(scores, labels)
    if not active.any():
        raise EvaluationError(
            "A threshold cannot be tuned without an active frame: take songs in which the source "
            "plays."
        )
    thresholds, hits, false_alarms = _at_every_score(values, active)
    f = 2 * hits / (hits + false_alarms + int(active.sum()))
    return float(thresholds[int(np.argmax(f))])


def median_per_second(activity: Activity, seconds: float = 1.0) -> Activity:
    """Activity at one frame per `seconds`: the median of the frames whose centre lies in each.

    Hung & Lerch 2020, section 5, aggregate predictions and labels so, at 1 s. Frame k of the
    result stands for the span from k * seconds on; the last span may be shorter. The median of an
    even number of labels can be 0.5, which is not above 0.5 and so counts as inactive. Raises
    EvaluationError where a span holds no frame.
    """
    if not seconds > 0:
        raise EvaluationError(f"Aggregation needs a span of more than 0 seconds, not {seconds}.")
    times = activity.times
    if not times.size:
        raise EvaluationError("There is no frame to aggregate.")
    spans = np.floor(times / seconds + 1e-9).astype(np.int64)
    edges = np.searchsorted(spans, np.arange(spans[-1] + 2))
    if (np.diff(edges) == 0).any():
        raise EvaluationError(
            f"At {activity.frame_rate:g} frames per second some spans of {seconds:g} s hold no "
            "frame: aggregate over longer ones."
        )
    pieces = np.split(activity.probabilities, edges[1:-1], axis=1)
    medians = np.stack([np.median(piece, axis=1) for piece in pieces], axis=1)
    return Activity(activity.sources, medians.astype(np.float32), 1 / seconds, activity.duration)


def merge_sources(activity: Activity, groups: Mapping[str, Sequence[str]]) -> Activity:
    """Replace the sources of each group by one of the group's name: active where any of them is.

    Takes the highest probability. Sources that are in no group stay; groups of which no source is
    there add nothing; a source that has the name of a group counts among its members.
    """
    owner = {member: group for group, members in groups.items() for member in members}
    rows: dict[str, npt.NDArray[np.float32]] = {}
    for source, row in zip(activity.sources, activity.probabilities, strict=True):
        name = owner.get(source, source)
        rows[name] = np.maximum(rows[name], row) if name in rows else row
    if not rows:
        return activity
    return Activity(
        tuple(rows), np.stack(list(rows.values())), activity.frame_rate, activity.duration
    )


def pool(
    predictions: Iterable[Activity],
    labels: Iterable[Activity],
    *,
    seconds: float | None = None,
) -> dict[str, tuple[Real, npt.NDArray[np.bool_]]]:
    """Scores and labels (frame,) per source over songs, for `au_roc`, `detect` or DeLong's test.

    Pairs predictions and labels song by song. `seconds`: both sides are aggregated first, see
    `median_per_second`; None: labels take the predictions' frame rate. A source counts in the
    songs that have both sides of it; frames behind the end of the shorter side are left out.
    """
    pieces: dict[str, list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]] = {}
    for predicted, truth in zip(predictions, labels, strict=True):
        if seconds is not None:
            predicted, truth = (median_per_second(one, seconds) for one in (predicted, truth))
        elif truth.frame_rate != predicted.frame_rate:
            truth = truth.resample(predicted.frame_rate)
        frames = min(predicted.probabilities.shape[1], truth.probabilities.shape[1])
        for source in predicted.sources:
            if source in truth.sources:
                pair = predicted[source][:frames], truth[source][:frames]
                pieces.setdefault(source, []).append(pair)
    return {
        source: validate(*(np.concatenate([pair[side] for pair in pairs]) for side in (0, 1)))
        for source, pairs in pieces.items()
    }


def instrument_au_roc(
    predictions: Iterable[Activity], labels: Iterable[Activity], *, seconds: float | None = 1.0
) -> dict[str, float | None]:
    """AU-ROC per instrument over all songs, aggregated to `seconds` (Hung & Lerch 2020, figure 4).

    See `pool`; None where an instrument always or never plays.
    """
    pooled = pool(predictions, labels, seconds=seconds)
    return {source: au_roc(*pair) for source, pair in pooled.items()}
