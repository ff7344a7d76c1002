"""Cells from scores: they are put together as `evaluation.tables` does, and as each paper says."""

from __future__ import annotations

import math
from types import MappingProxyType

import numpy as np
import pytest

from stemwise.evaluation.record import TrackScores
from stemwise.evaluation.scores import Score
from stemwise.evaluation.significance import delong, wilcoxon
from stemwise.evaluation.tables import summary, to_frame
from stemwise.reproduction.claims import claims
from stemwise.reproduction.experiments import experiment
from stemwise.reproduction.measures import Measured, _without_scores, series_of
from stemwise.reproduction.published import tables
from stemwise.reproduction.report import Report
from stemwise.reproduction.results import Results

FOUR = ("vocals", "drums", "bass", "other")


def _scores(
    rng: np.random.Generator, names: tuple[str, ...], sources: tuple[str, ...], windows: int
) -> list[TrackScores]:
    """Random scores of songs, some windows of which have none."""
    found = []
    for number in range(8):
        scores = []
        for source in sources:
            for name in names:
                values = rng.normal(3, 2, windows)
                values[rng.random(windows) < 0.2] = math.nan
                reasons = tuple("silent" if math.isnan(one) else None for one in values)
                times = tuple(float(one) for one in range(windows))
                levels = (-30.0,) * windows
                problem = "+".join(sources)
                scores.append(
                    Score(source, problem, name, times, 1.0, tuple(values), levels, reasons)
                )
        found.append(TrackScores(f"song {number}", "test", tuple(scores)))
    return found


def test_means_of_medians_are_those_of_the_tables(rng: np.random.Generator) -> None:
    scored = {row: _scores(rng, ("SDR", "SIR"), FOUR, 9) for row in ("independent", "interleaved")}
    measured = {row: Measured(series_of(tracks)) for row, tracks in scored.items()}
    results = Results(tables()["doire2019-2"], experiment("doire2019-2"), measured)
    for row, tracks in scored.items():
        known = summary(to_frame(tracks), "mean").set_index(["target", "metric"])["score"]
        for source in FOUR:
            for metric in ("SDR", "SIR"):
                found = results.number(row, f"{metric.lower()}_{source}")
                assert found == pytest.approx(known[source, metric], abs=1e-12)
    assert results.value("simultaneous", "sdr_bass") is None


def test_whole_tracks_have_mean_deviation_and_median(rng: np.random.Generator) -> None:
    sources = ("vocals", "accompaniment")
    tracks = _scores(rng, ("SDR v3",), sources, 1)
    measured = {"unit": Measured(series_of(tracks))}
    results = Results(tables()["kadandale2020-2"], experiment("kadandale2020-2"), measured)
    every = []
    for source in sources:
        values = np.array([s.values[0] for t in tracks for s in t.scores if s.target == source])
        values = values[~np.isnan(values)]
        every.append(values)
        assert results.number("unit", f"{source} mean") == pytest.approx(values.mean())
        assert results.number("unit", f"{source} std") == pytest.approx(values.std())
        assert results.number("unit", f"{source} median") == pytest.approx(np.median(values))
    whole = np.concatenate(every)
    assert results.number("unit", "overall mean") == pytest.approx(whole.mean())
    assert results.number("unit", "overall median") == pytest.approx(np.median(whole))


def test_the_mean_score_of_a_gate_is_told_against_no_gate() -> None:
    def songs(shift: float) -> Measured:
        names = ("SDR", "SIR", "SAR")
        values = {("piano", name): {f"song {k}": shift + k for k in range(5)} for name in names}
        return Measured(MappingProxyType(values))  # type: ignore[arg-type]

    measured = {"off-piano": songs(1.0), "median-piano": songs(1.25)}
    results = Results(tables()["hung2020-fig5"], experiment("hung2020-fig5"), measured)
    assert results.number("piano", "median") == pytest.approx(0.25)
    assert results.value("piano", "oracle") is None


def test_levels_in_silence_are_of_the_windows_that_vocals_leave_out() -> None:
    values = (3.0, math.nan, math.nan)
    levels = (-10.0, -20.0, -40.0)
    reasons = (None, "reference of vocals is silent", "estimate of accompaniment is silent")
    whole = Score("vocals", "v+a", "MSE", (0.0,), 9.0, (0.1,), (-26.0,), (None,))
    score = Score("vocals", "v+a", "SDR v3", (0.0, 15.0, 30.0), 30.0, values, levels, reasons)
    found = series_of([TrackScores("song", "test", (score, whole))])
    assert found["vocals", "RMS in silence v3"] == {"song": pytest.approx(0.1)}
    assert found["vocals", "RMS"] == {"song": pytest.approx(10 ** (-26 / 20))}
    assert found["vocals", "SDR v3"] == {"song": 3.0}


def test_rows_are_compared_song_by_song(rng: np.random.Generator) -> None:
    songs = [f"song {number}" for number in range(10)]
    first, second = rng.normal(1, 1, 10), rng.normal(0, 1, 10)
    measured = {
        row: Measured({("vocals", "SDR v3"): dict(zip(songs, values.tolist(), strict=True))})
        for row, values in (("svs", first), ("mtl", second))
    }
    results = Results(tables()["stoller2018-1"], experiment("stoller2018-1"), measured)
    found = results.difference("svs", "mtl", "vocals_sdr")
    assert found.value == pytest.approx(first.mean() - second.mean())
    assert (found.p, found.pairs) == (wilcoxon(first, second).p, 10)


def test_areas_are_compared_by_the_test_of_delong(rng: np.random.Generator) -> None:
    labels = rng.random(400) < 0.4
    scores = [labels + rng.normal(0, spread, 400) for spread in (1.0, 1.5)]
    tasks = {"svd": scores[0], "mtl-detection": scores[1]}
    measured = {
        task: Measured(pooled={("vocals", "AU-ROC"): 0.7}, frames={"vocals": (values, labels)})
        for task, values in tasks.items()
    }
    results = Results(tables()["stoller2018-1"], experiment("stoller2018-1"), measured)
    found = results.difference("mtl", "svd", "au_roc")
    assert (found.test, found.pairs) == ("DeLong", 400)
    assert found.p == delong(scores[1], scores[0], labels).p


def test_the_page_tells_published_ours_and_difference(rng: np.random.Generator) -> None:
    name = "doire2019-2"
    measured = {
        row: Measured(series_of(_scores(rng, ("SDR", "SIR"), FOUR, 5)))
        for row in tables()[name].rows
    }
    results = Results(tables()[name], experiment(name), measured)
    judged = [(claim, claim.judge(results)) for claim in claims(name)]
    report = Report(results, judged, "small", "Rendered songs.", comparable=False)
    page = report.to_markdown()
    ours = results.number("independent", "sdr_vocals")
    assert ours is not None
    assert "not comparable with the published ones" in page
    assert "| independent | published | 4.15 |" in page
    assert f"|  | ours | {ours:.2f} |" in page
    assert f"|  | difference | {ours - 4.15:+.2f} |" in page
    for claim, verdict in judged:
        assert f"| {claim.text} | {verdict.word} |" in page
    rows = report.to_csv().splitlines()
    assert rows[1].startswith(f"{name},independent,sdr_vocals,4.15,{ours},")
    told = report.to_json()
    assert told["cells"][0]["songs"] == results.series("independent", "sdr_vocals")
    assert {one["verdict"] for one in told["claims"]} <= {"held", "not held"}


def test_songs_without_scores_are_counted_with_their_reason() -> None:
    def scored(name: str, value: float, reason: str | None) -> TrackScores:
        score = Score("bass", "b+d", "SDR v3", (0.0,), 9.0, (value,), (-30.0,), (reason,))
        return TrackScores(name, "test", (score,))

    dead = "estimate of drums is silent"
    tracks = [scored("a", 3.0, None), scored("b", math.nan, dead), scored("c", math.nan, dead)]
    told = "2 of 3 songs have no score of some source (estimate of drums is silent)"
    assert _without_scores(tracks) == told
    assert _without_scores(tracks[:1]) == ""
