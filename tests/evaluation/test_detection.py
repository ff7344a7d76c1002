"""AU-ROC, precision, recall and F against scikit-learn; aggregation by medians."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemwise.activity import Activity
from stemwise.errors import EvaluationError
from stemwise.evaluation.detection import (
    INSTRUMENT_GROUPS,
    au_roc,
    best_threshold,
    detect,
    instrument_au_roc,
    median_per_second,
    merge_sources,
    pool,
    roc_curve,
)

metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the outside reference")

FRAMES = st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=1, max_size=60)


@settings(deadline=None)
@given(FRAMES)
def test_au_roc_is_that_of_scikit_learn(frames: list[tuple[int, bool]]) -> None:
    scores, labels = (np.array(side) for side in zip(*frames, strict=True))
    if labels.all() or not labels.any():
        assert au_roc(scores, labels) is None
    else:
        assert au_roc(scores, labels) == pytest.approx(metrics.roc_auc_score(labels, scores))


@settings(deadline=None)
@given(FRAMES, st.integers(-5, 5))
def test_counts_are_those_of_scikit_learn(frames: list[tuple[int, bool]], threshold: int) -> None:
    scores, labels = (np.array(side) for side in zip(*frames, strict=True))
    found = detect(scores, labels, threshold)
    predicted = scores >= threshold
    assert found.hits + found.false_alarms + found.misses + found.rejections == labels.size
    for name, value in (
        ("precision_score", found.precision),
        ("recall_score", found.recall),
        ("f1_score", found.f),
    ):
        expected = getattr(metrics, name)(labels, predicted, zero_division=np.nan)
        assert value == pytest.approx(expected, nan_ok=True)
    assert found.accuracy == pytest.approx(metrics.accuracy_score(labels, predicted))


@settings(deadline=None)
@given(FRAMES.filter(lambda frames: any(label for _, label in frames)))
def test_no_threshold_beats_the_best_one(frames: list[tuple[int, bool]]) -> None:
    scores, labels = (np.array(side) for side in zip(*frames, strict=True))
    chosen = best_threshold(scores, labels)
    best = detect(scores, labels, chosen).f
    for threshold in {*scores.tolist(), -10.0, 10.0}:
        other = detect(scores, labels, threshold).f
        assert other < best or (other == best and threshold <= chosen)


def test_the_roc_curve_has_the_area() -> None:
    rng = np.random.default_rng(1)
    labels = rng.random(500) < 0.3
    scores = np.round(rng.standard_normal(500) + labels, 1)
    curve = roc_curve(scores, labels)
    area = np.trapezoid(curve.true_positive_rate, curve.false_positive_rate)
    assert area == pytest.approx(au_roc(scores, labels))
    false, true, thresholds = metrics.roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.false_positive_rate, false)
    np.testing.assert_allclose(curve.true_positive_rate, true)
    np.testing.assert_allclose(curve.thresholds, thresholds)


def test_many_frames_are_no_trouble() -> None:
    rng = np.random.default_rng(2)
    labels = rng.random(300_000) < 0.5
    scores = rng.standard_normal(300_000) + labels
    assert au_roc(scores, labels) == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        ([1.0, 2.0], [1], "one label per frame"),
        ([1.0, math.nan], [1, 0], "scores hold NaN"),
        ([1.0, 2.0], [1, math.nan], "labels hold NaN"),
        (["loud"], [1], "must be numbers"),
    ],
)
def test_bad_frames_are_refused(scores: list[float], labels: list[float], words: str) -> None:
    with pytest.raises(EvaluationError, match=words):
        au_roc(scores, labels)


def test_a_curve_or_a_threshold_needs_active_frames() -> None:
    with pytest.raises(EvaluationError, match="one class is absent"):
        roc_curve([1, 2], [0, 0])
    with pytest.raises(EvaluationError, match="without an active frame"):
        best_threshold([1, 2], [0, 0])


def activity(rows: dict[str, list[float]], frame_rate: float) -> Activity:
    values = np.array(list(rows.values()), np.float32)
    return Activity(tuple(rows), values, frame_rate, values.shape[1] / frame_rate)


def test_medians_of_every_second() -> None:
    song = activity({"vocals": [0, 0.2, 0.4, 1, 0, 1, 1, 0.6]}, 3)
    medians = median_per_second(song)
    # the frames at 0, 1/3 and 2/3 s, and so on; the last span has two frames only
    np.testing.assert_allclose(medians["vocals"], [0.2, 1, 0.8], rtol=1e-6)
    assert (medians.frame_rate, medians.duration) == (1, song.duration)


@settings(deadline=None)
@given(st.floats(1, 100), st.integers(1, 300))
def test_every_frame_counts_in_one_second(frame_rate: float, frames: int) -> None:
    values = np.linspace(0, 1, frames, dtype=np.float32)
    song = Activity(("a",), values[np.newaxis], frame_rate, frames / frame_rate)
    medians = median_per_second(song)
    assert medians.probabilities.shape[1] == int((frames - 1) / frame_rate + 1e-9) + 1
    assert np.all(np.diff(medians["a"]) > 0) or medians.probabilities.shape[1] == 1


def test_spans_without_frames_are_refused() -> None:
    with pytest.raises(EvaluationError, match="hold no frame"):
        median_per_second(activity({"a": [0, 1, 0]}, 0.5))
    with pytest.raises(EvaluationError, match="more than 0 seconds"):
        median_per_second(activity({"a": [0, 1, 0]}, 10), 0)


def test_sub_instruments_are_merged_by_the_higher() -> None:
    song = activity({"male singer": [0, 0.9], "drums": [1, 1], "female singer": [0.3, 0]}, 1)
    merged = merge_sources(song, INSTRUMENT_GROUPS)
    assert merged.sources == ("vocals", "drums")
    np.testing.assert_allclose(merged["vocals"], [0.3, 0.9])


def test_instruments_are_scored_over_all_songs() -> None:
    predictions = [
        activity({"vocals": [0.9, 0.9, 0.1, 0.1], "bass": [0.5] * 4}, 2),
        activity({"vocals": [0.4, 0.4, 0.2]}, 2),
    ]
    labels = [
        activity({"vocals": [1, 1, 0, 0], "bass": [1, 1, 1, 1]}, 2),
        activity({"vocals": [0, 0, 1, 1, 1]}, 2),
    ]
    areas = instrument_au_roc(predictions, labels)
    # seconds: 0.9 and 0.2 are active, 0.1 and 0.4 are not
    assert areas == {"vocals": 0.75, "bass": None}
    frames = pool(predictions, labels)["vocals"]
    assert frames[0].size == 7
    assert au_roc(*frames) == pytest.approx(metrics.roc_auc_score(frames[1], frames[0]))


def test_labels_of_another_rate_take_that_of_the_predictions() -> None:
    predicted = activity({"vocals": [0.1, 0.2, 0.8, 0.9]}, 2)
    truth = activity({"vocals": [0] * 10 + [1] * 10}, 10)
    _, labels = pool([predicted], [truth])["vocals"]
    assert labels.tolist() == [False, False, True, True]
    with pytest.raises(ValueError, match="zip"):
        pool([predicted], [])
