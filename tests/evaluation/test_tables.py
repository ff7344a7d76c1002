"""Frames, tables, and museval's files in and out."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stemwise import __version__
from stemwise.errors import EvaluationError, OutputError
from stemwise.evaluation.pairs import Pair, find_pairs
from stemwise.evaluation.record import (
    TrackScores,
    museval_targets,
    read_finished,
    read_record,
    record_path,
    write_record,
)
from stemwise.evaluation.run import evaluate_set
from stemwise.evaluation.scores import Score
from stemwise.evaluation.scoring import Settings
from stemwise.evaluation.tables import (
    check_table,
    markdown,
    per_track,
    read_run,
    summary,
    to_frame,
    write_table,
)
from track_sets import write_set

V4 = ("SDR", "SIR", "SAR", "ISR")


def scored(
    name: str, values: dict[str, list[float]], problem: str = "vocals+drums", level: float = -40.0
) -> TrackScores:
    """A track with the same score in every metric of v4."""
    scores = []
    for target, row in values.items():
        for metric in V4:
            reasons = tuple("left out" if math.isnan(one) else None for one in row)
            times = tuple(float(at) for at in range(len(row)))
            levels = (level,) * len(row)
            scores.append(Score(target, problem, metric, times, 1.0, tuple(row), levels, reasons))
    return TrackScores(name, "test", tuple(scores))


def test_median_over_windows_then_over_tracks() -> None:
    frame = to_frame(
        [
            scored("a", {"vocals": [1, 2, 9, np.nan]}, level=-30),
            scored("b", {"vocals": [4, np.nan, np.nan, 6]}, level=-60),
            scored("c", {"vocals": [np.nan] * 4}),
            scored("d", {"vocals": [30, 30, 30, 30]}),
        ]
    )
    tracks = per_track(frame).query("metric == 'SDR'").set_index("track")
    assert list(tracks.score.dropna()) == [2, 5, 30]
    assert list(tracks.left_out) == [1, 2, 4, 0]
    assert tracks.level_left_out["a"] == pytest.approx(-30)
    row = summary(frame).query("metric == 'SDR'").iloc[0]
    assert (row.score, row["median"], row.tracks) == (5, 5, 3)
    assert row["mean"] == pytest.approx(37 / 3)
    assert (row.windows, row.left_out) == (16, 7)
    # powers are averaged over all seven windows: one at -30, two at -60, four at -40 dB
    power = (1e-3 + 2e-6 + 4e-4) / 7
    assert row.level_left_out == pytest.approx(10 * math.log10(power))
    assert summary(frame, "mean").query("metric == 'SDR'").score.iloc[0] == pytest.approx(37 / 3)


def test_markdown_tells_problem_and_what_was_left_out() -> None:
    frame = to_frame([scored("a", {"vocals": [1, np.nan], "drums": [3, 3]})])
    lines = markdown(summary(frame)).splitlines()
    assert lines[0].startswith("| target | scored among | SDR (dB) | ISR (dB) |")
    assert lines[2].startswith("| vocals | vocals, drums | 1.00 | 1.00 | 1.00 | 1.00 | 1 |")
    assert lines[2].endswith("| 1 of 2 | -40.0 dBFS |")
    assert lines[3].endswith("| 0 of 2 | - |")


def test_the_same_target_in_two_problems_has_two_rows() -> None:
    two = "vocals+accompaniment"
    scores = (
        scored("a", {"vocals": [1.0], "drums": [2.0]}).scores
        + scored("a", {"vocals": [1.5], "accompaniment": [9.0]}, two).scores
    )
    table = summary(to_frame([TrackScores("a", "test", scores)]))
    assert len(table) == 16
    assert len(markdown(table).splitlines()) == 6
    # museval has one entry per target, and takes vocals from the two sources
    targets = museval_targets(scores)
    assert [one["name"] for one in targets] == ["vocals", "drums", "accompaniment"]
    assert targets[0]["frames"][0]["metrics"]["SDR"] == 1.5


def test_csv_and_parquet_are_read_back(tmp_path: Path) -> None:
    frame = to_frame([scored("a", {"vocals": [1.25, np.nan]}), scored("NA", {"vocals": [2.5, 3]})])
    for suffix in ("csv", "parquet"):
        path = tmp_path / f"new/x.{suffix}"
        write_table(path, frame)
        pd.testing.assert_frame_equal(read_run(path), frame, check_dtype=False)


def test_what_cannot_be_written_is_refused_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OutputError, match=r"must end in one of \.csv"):
        check_table(tmp_path / "x.xlsx")
    monkeypatch.setattr("stemwise.evaluation.tables.find_spec", lambda name: None)
    with pytest.raises(OutputError, match=r"needs the package pyarrow: install it, or write a"):
        check_table(tmp_path / "x.parquet")


def pair(tmp_path: Path) -> tuple[Pair, TrackScores]:
    [found] = find_pairs(*write_set(tmp_path, ("a song",))).pairs
    [scores], broken = evaluate_set([found])
    assert not broken
    return found, scores


@pytest.fixture
def museval(museval_metrics: Any) -> ModuleType:
    return importlib.import_module("museval.aggregate")


def test_museval_reads_our_files(tmp_path: Path, museval: Any) -> None:
    found, scores = pair(tmp_path)
    path = record_path(tmp_path / "run", found)
    assert path == tmp_path / "run/test/a song.json"
    write_record(path, scores)
    content = json.loads(path.read_text())
    store = museval.TrackStore("a song")
    importlib.import_module("jsonschema").validate(content, store.schema)
    theirs = museval.EvalStore()
    theirs.add_eval_dir(tmp_path / "run")
    medians = theirs.agg_frames_tracks_scores()
    ours = summary(to_frame([scores])).set_index(["target", "metric"]).score
    assert len(ours) == len(medians) == 8
    for key, value in medians.items():
        assert ours[key] == pytest.approx(value, abs=1e-12)


def test_we_read_what_museval_writes(tmp_path: Path, museval: Any) -> None:
    _, scores = pair(tmp_path)
    store = museval.TrackStore("a song")
    for target in ("vocals", "drums"):
        chosen = {one.metric: one.values for one in scores.scores if one.target == target}
        store.add_target(target, {name: list(values) for name, values in chosen.items()})
    (tmp_path / "theirs/test").mkdir(parents=True)
    store.save(tmp_path / "theirs/test/a song.json")
    frame = read_run(tmp_path / "theirs")
    assert set(frame.problem) == {"vocals+drums"}
    ours = to_frame([scores]).sort_values(["target", "metric", "time"]).score.to_numpy()
    theirs = frame.sort_values(["target", "metric", "time"]).score.to_numpy()
    np.testing.assert_allclose(theirs, ours, atol=1e-5)  # museval rounds


def test_real_museval_file(real_audio: Path) -> None:
    scores = read_record(real_audio / "Music Delta - 80s Rock.museval.json")
    problems = {one.target: one.problem for one in scores.scores}
    assert problems == dict.fromkeys(("vocals", "accompaniment"), "vocals+accompaniment")
    first = next(one for one in scores.scores if (one.target, one.metric) == ("vocals", "SDR"))
    assert first.values[0] == -16.89156


def test_a_record_says_what_it_is_of(tmp_path: Path) -> None:
    found, scores = pair(tmp_path)
    path = record_path(tmp_path / "run", found)
    more = {"estimates": {"files": True}, "stemwise": __version__}
    settings, inputs = {**Settings().to_json(), **more}, scores.inputs
    assert scores.settings == settings
    assert len(inputs) == 4
    write_record(path, scores)
    again = read_finished(path, settings, inputs)
    assert again is not None
    pd.testing.assert_frame_equal(to_frame([again]), to_frame([scores]))
    assert read_finished(path, {**settings, "hop": 0.5}, inputs) is None
    assert read_finished(path, settings, {**inputs, "more": [1, 2]}) is None
    assert read_finished(path.with_name("other.json"), settings, inputs) is None
    path.write_text(path.read_text()[:-40])
    with pytest.raises(EvaluationError, match="is not a whole JSON file: remove it"):
        read_finished(path, settings, inputs)


def test_a_folder_of_two_runs_is_not_one(tmp_path: Path) -> None:
    for method in ("one", "two"):
        write_record(tmp_path / method / "test/a.json", scored("a", {"vocals": [1.0]}))
    assert len(read_run(tmp_path / "one")) == 4
    with pytest.raises(EvaluationError, match="track a twice: give the folder of one method"):
        read_run(tmp_path)
