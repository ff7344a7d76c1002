"""Two runs on the same tracks: paired differences, and whether chance explains them.

Every track is a pair of scores, one per run; the Wilcoxon signed-rank test asks whether their
differences are spread evenly around zero (Stoller et al. 2018 and SiSEC judge so). Tracks without a
score in either run are left out of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stemwise.errors import EvaluationError
from stemwise.evaluation.problems import in_order
from stemwise.evaluation.scores import METRICS
from stemwise.evaluation.significance import wilcoxon
from stemwise.evaluation.tables import per_track

if TYPE_CHECKING:
    import pandas as pd

SIGNIFICANT = 0.05
FEWEST = 6
"""With fewer pairs no signed-rank test reaches p < 0.05, two-sided: the least p is 2 / 2**n."""
COLUMNS = (
    "target", "problem", "metric", "tracks", "a", "b", "median_difference", "mean_difference",
    "better", "p", "significant",
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """The table of two runs, and sentences on what it leaves out.

    table: a row per target, problem and metric with the columns of `COLUMNS`; a, b: median over
    the common tracks; differences are b - a; better: tracks on which b is better; p: two-sided.
    """

    table: pd.DataFrame
    notes: tuple[str, ...]


def compare_runs(first: pd.DataFrame, second: pd.DataFrame) -> Comparison:
    """Compare two frames with a row per window; raises EvaluationError without a common track."""
    import pandas as pd

    runs = [_scores(frame) for frame in (first, second)]
    notes = _only_one(*runs)
    rows = []
    metrics = [name for name in METRICS if all(name in set(run["metric"]) for run in runs)]
    targets = in_order(set(runs[0]["target"]) & set(runs[1]["target"]))
    for target in targets:
        for metric in metrics:
            chosen = [run[(run["target"] == target) & (run["metric"] == metric)] for run in runs]
            problems = [dict.fromkeys(one["problem"]) for one in chosen]
            for left, right in _matched(list(problems[0]), list(problems[1])):
                if left != right:
                    note = f"{target} was scored among {left} in one run and {right} in the other"
                    notes += [] if note in notes else [note]
                pair = [
                    one[one["problem"] == problem].set_index("track")["score"]
                    for one, problem in zip(chosen, (left, right), strict=True)
                ]
                both = pd.concat(pair, axis=1, keys=["a", "b"]).dropna()
                name = left if left == right else f"{left} | {right}"
                rows.append((target, name, metric, *_row(both.to_numpy(np.float64), metric)))
    table: pd.DataFrame = pd.DataFrame(rows, columns=list(COLUMNS))
    table = table[table["tracks"] > 0].reset_index(drop=True)
    if table.empty:
        raise EvaluationError(
            "the runs share no track with a score of the same target and metric: nothing to compare"
        )
    if int(table["tracks"].max()) < FEWEST:
        notes.append(
            f"with fewer than {FEWEST} tracks no difference can be significant at p < {SIGNIFICANT}"
        )
    return Comparison(table, tuple(notes))


def _scores(frame: pd.DataFrame) -> pd.DataFrame:
    scores: pd.DataFrame = per_track(frame).dropna(subset=["score"])
    return scores


def _only_one(first: pd.DataFrame, second: pd.DataFrame) -> list[str]:
    tracks = [set(run["track"]) for run in (first, second)]
    notes = []
    for name, mine, other in (("first", tracks[0], tracks[1]), ("second", tracks[1], tracks[0])):
        if mine - other:
            notes.append(f"{len(mine - other)} tracks have scores in the {name} run only: left out")
    return notes


def _matched(first: list[str], second: list[str]) -> list[tuple[str, str]]:
    """Equal problems; else the only one that each run has."""
    common = [(problem, problem) for problem in first if problem in second]
    if common or len(first) != 1 or len(second) != 1:
        return common
    return [(first[0], second[0])]


def _row(
    scores: np.ndarray, metric: str
) -> tuple[int, float, float, float, float, int, float, bool]:
    """What is said of paired scores (track, run)."""
    if not len(scores):
        return 0, np.nan, np.nan, np.nan, np.nan, 0, np.nan, False
    differences = scores[:, 1] - scores[:, 0]
    better = differences > 0 if METRICS[metric].higher else differences < 0
    p = wilcoxon(scores[:, 0], scores[:, 1]).p
    return (
        len(scores),
        float(np.median(scores[:, 0])),
        float(np.median(scores[:, 1])),
        float(np.median(differences)),
        float(np.mean(differences)),
        int(better.sum()),
        p,
        p < SIGNIFICANT,
    )


def comparison_rows(
    table: pd.DataFrame, names: tuple[str, str]
) -> tuple[list[str], list[list[str]]]:
    """A comparison as people read it; p < 0.05 is marked with a star."""
    titles = [
        "target", "scored among", "metric", names[0], names[1], "median difference",
        "mean difference", "better on", "p",
    ]  # fmt: skip
    lines = []
    for row in table.to_dict("records"):
        lines.append(
            [
                str(row["target"]),
                str(row["problem"]).replace("+", ", "),
                str(row["metric"]),
                f"{row['a']:.2f}",
                f"{row['b']:.2f}",
                f"{row['median_difference']:+.2f}",
                f"{row['mean_difference']:+.2f}",
                f"{row['better']} of {row['tracks']}",
                _p(float(row["p"])) + (" *" if row["significant"] else "  "),
            ]
        )
    return titles, lines


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"
