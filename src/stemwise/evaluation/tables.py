"""Scores as tables: one row per window, per track, per set; CSV, Parquet and Markdown.

A track's score is the median (v4) or mean over its windows, a set's the median or mean over its
tracks, as `scores.METRICS` says for each metric. NaN is left out of both, and counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemwise.audio import PartFile
from stemwise.audio.part import output_errors
from stemwise.errors import EvaluationError, OutputError, hint
from stemwise.evaluation.problems import in_order
from stemwise.evaluation.record import TrackScores, find_records, read_record
from stemwise.evaluation.scores import METRICS, WINDOWED, Mean
from stemwise.evaluation.scoring import level
from stemwise.stem_output import make_folder

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "track", "target", "problem", "metric", "time", "duration", "score", "level", "reason",
)  # fmt: skip
TABLES = (".csv", ".parquet", ".md")
TEXT = ("method", "target", "scored among", "metric")
"""Titles of columns that hold no numbers."""
_TRACK = ["track", "target", "problem", "metric"]
_SET = ["target", "problem", "metric"]


def to_frame(tracks: Iterable[TrackScores], method: str | None = None) -> pd.DataFrame:
    """One row per track, target, problem, metric and window.

    Columns: track, target, problem, metric, time and duration in seconds, score, level (RMS of the
    estimate there, dB relative to full scale), reason (why a score is NaN, else empty); with
    `method`, that name before them.
    """
    import pandas as pd

    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for track in tracks:
        for score in track.scores:
            count = len(score.values)
            for name, value in (
                ("track", track.name),
                ("target", score.target),
                ("problem", score.problem),
                ("metric", score.metric),
                ("duration", score.duration),
            ):
                columns[name] += [value] * count
            columns["time"] += score.times
            columns["score"] += score.values
            columns["level"] += score.levels
            columns["reason"] += [reason or "" for reason in score.reasons]
    frame: pd.DataFrame = pd.DataFrame(columns)
    if method is not None:
        frame.insert(0, "method", method)
    return frame


@dataclass(frozen=True)
class TrackScore:
    """A track's score of one target, problem and metric.

    left_out: how many of its windows have none. level_left_out: RMS of the estimate over those, in
    dB relative to full scale (NaN where there is none).
    """

    target: str
    problem: str
    metric: str
    score: float
    windows: int
    left_out: int
    level_left_out: float


def track_scores(track: TrackScores) -> list[TrackScore]:
    """The scores of one track, its windows put together."""
    return [
        _together(one.target, one.problem, one.metric, np.array(one.values), np.array(one.levels))
        for one in track.scores
    ]


def _together(
    target: str, problem: str, metric: str, values: np.ndarray, levels: np.ndarray
) -> TrackScore:
    undefined = np.isnan(values)
    score = _middle(values[~undefined], METRICS[metric].windows if metric in METRICS else "mean")
    there = _mean_level(levels[undefined])
    return TrackScore(target, problem, metric, score, len(values), int(undefined.sum()), there)


def per_track(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per track, target, problem and metric, with the fields of `TrackScore`."""
    import pandas as pd

    found = []
    by = [name for name in ("method", *_TRACK) if name in frame.columns]
    for key, group in frame.groupby(by, sort=False):
        values, levels = (group[name].to_numpy(np.float64) for name in ("score", "level"))
        one = _together("", "", str(key[-1]), values, levels)
        found.append((*key, one.score, one.windows, one.left_out, one.level_left_out))
    more = ["score", "windows", "left_out", "level_left_out"]
    table: pd.DataFrame = pd.DataFrame(found, columns=[*by, *more])
    return table


def summary(frame: pd.DataFrame, tracks: Mean | None = None) -> pd.DataFrame:
    """One row per target, problem and metric of a set, from a frame with a row per window.

    tracks: "median" or "mean" over tracks (None: what is usual for each metric). Columns besides
    those: score; median and mean over tracks; tracks, how many have a score; windows, left_out
    and level_left_out of all of them together.
    """
    import pandas as pd

    rows = []
    whole = per_track(frame)
    by = [name for name in ("method", *_SET) if name in frame.columns]
    for key, group in whole.groupby(by, sort=False):
        metric = key[by.index("metric")]
        values = group["score"].dropna().to_numpy(np.float64)
        median, mean = _middle(values, "median"), _middle(values, "mean")
        rule = tracks or (METRICS[metric].tracks if metric in METRICS else "mean")
        left = group[group["left_out"] > 0]
        rows.append(
            (
                *key,
                median if rule == "median" else mean,
                median,
                mean,
                len(values),
                int(group["windows"].sum()),
                int(group["left_out"].sum()),
                _mean_level(
                    left["level_left_out"].to_numpy(np.float64), left["left_out"].to_numpy()
                ),
            )
        )
    more = ["score", "median", "mean", "tracks", "windows", "left_out", "level_left_out"]
    table: pd.DataFrame = pd.DataFrame(rows, columns=[*by, *more])
    return table


def _middle(values: np.ndarray, rule: Mean) -> float:
    if not len(values):
        return math.nan
    return float(np.median(values) if rule == "median" else np.mean(values))


def _mean_level(levels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The level of several windows together: powers are averaged, not decibels."""
    known = ~np.isnan(levels)
    if not known.any():
        return math.nan
    powers = 10 ** (levels[known] / 10)
    return level(float(np.average(powers, weights=None if weights is None else weights[known])))


def rows(table: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """A set's table as people read it: titles, and a line per target and problem.

    The last columns count the tracks and the windows that have an SDR and have none, and tell the
    estimate's level where there is none.
    """
    metrics = [name for name in METRICS if name in set(table["metric"])]
    methods = list(dict.fromkeys(table["method"])) if "method" in table.columns else [None]
    windowed = bool((table["metric"] == WINDOWED).any())
    titles = [*(["method"] if methods != [None] else []), "target", "scored among"]
    titles += [_title(name) for name in metrics]
    titles += ["tracks", *(["windows left out", "level there"] if windowed else [])]
    lines = []
    for method in methods:
        chosen = table if method is None else table[table["method"] == method]
        for problem in dict.fromkeys(chosen["problem"]):
            part = chosen[chosen["problem"] == problem]
            for target in in_order(set(part["target"])):
                one = part[part["target"] == target].set_index("metric")
                line = [] if method is None else [str(method)]
                line += [target, problem.replace("+", ", ")]
                line += [_number(name, one) for name in metrics]
                main = WINDOWED if WINDOWED in one.index else one.index[0]
                line.append(str(int(one["tracks"][main])))
                lines.append([*line, *(_left_out(one) if windowed else ())])
    return titles, lines


def _title(metric: str) -> str:
    unit = METRICS[metric].unit
    return f"{metric} ({unit})" if unit else metric


def _number(metric: str, one: pd.DataFrame) -> str:
    value = float(one["score"].get(metric, math.nan))
    return "-" if math.isnan(value) else f"{value:.2f}" if METRICS[metric].unit else f"{value:.4g}"


def _left_out(one: pd.DataFrame) -> tuple[str, str]:
    if WINDOWED not in one.index:
        return "-", "-"
    row = one.loc[WINDOWED]
    there = float(row["level_left_out"])
    shown = "-" if math.isnan(there) else "silent" if there == -math.inf else f"{there:.1f} dBFS"
    return f"{int(row['left_out'])} of {int(row['windows'])}", shown


def markdown(table: pd.DataFrame) -> str:
    """A set's table in Markdown."""
    titles, lines = rows(table)
    return markdown_rows(titles, lines, len([name for name in TEXT if name in titles]))


def markdown_rows(titles: Sequence[str], lines: Sequence[Sequence[str]], text: int) -> str:
    """Rows in Markdown; columns from number `text` on are set to the right."""
    rule = ["---"] * text + ["---:"] * (len(titles) - text)
    rows = [titles, rule, *lines]
    return "\n".join("| " + " | ".join(one.strip() for one in line) + " |" for line in rows) + "\n"


def check_table(path: Path) -> None:
    """Raise OutputError for a table file that cannot be written, before there is anything in it."""
    suffix = path.suffix.lower()
    if suffix not in TABLES:
        raise OutputError(f"{path} must end in one of {', '.join(TABLES)}")
    if suffix == ".parquet" and find_spec("pyarrow") is None:
        raise OutputError(f"{path} needs the package pyarrow: install it, or write a .csv file")


def write_table(path: Path, frame: pd.DataFrame, tracks: Mean | None = None) -> None:
    """Write a frame with a row per window as CSV or Parquet, or its summary as Markdown.

    The file has its name only when it is whole. Raises OutputError.
    """
    table = markdown(summary(frame, tracks)) if path.suffix.lower() == ".md" else ""
    write_rows(path, frame, table)


def write_rows(path: Path, frame: pd.DataFrame, text: str) -> None:
    """Write a frame as CSV or Parquet, or its `text` as Markdown; see `write_table`."""
    check_table(path)
    make_folder(path.parent)
    suffix = path.suffix.lower()
    with output_errors(path), PartFile(path) as part:
        if suffix == ".csv":
            frame.to_csv(part.temporary, index=False)
        elif suffix == ".parquet":
            frame.to_parquet(part.temporary, index=False)
        else:
            part.temporary.write_text(text, encoding="utf-8")


def joined(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Several runs in one frame, told apart by the column `method`."""
    import pandas as pd

    named = [frame.assign(method=name) for name, frame in frames.items()]
    whole: pd.DataFrame = pd.concat(named, ignore_index=True)
    return whole


def keep(
    frame: pd.DataFrame, targets: Sequence[str] | None, metrics: Sequence[str] | None
) -> pd.DataFrame:
    """The rows of some targets and metrics; raises EvaluationError for one that is not there."""
    for name, wanted in (("target", targets), ("metric", metrics)):
        if wanted is None:
            continue
        known = [str(one) for one in dict.fromkeys(frame[name])]
        for one in wanted:
            if one not in known:
                raise EvaluationError(f"a run has no {name} {one!r}: {hint(one, known)}")
        frame = frame[frame[name].isin(list(wanted))]
    return frame


def read_run(place: str | Path) -> pd.DataFrame:
    """The frame of a run: a folder of score files (ours, museval's, SiSEC 2018's), or a table.

    A table of several methods, such as SiSEC 2018's, needs the method behind a colon:
    `sisec18.csv:UHL2`. Raises EvaluationError.
    """
    text = str(place)
    path, method = Path(text), None
    if not path.exists() and ":" in text:
        name, _, method = text.rpartition(":")
        path = Path(name)
    if path.is_dir():
        return _folder_frame(path)
    if not path.is_file():
        raise EvaluationError(f"{text} does not exist: give the --json folder of a run, or a table")
    return _chosen(_read_table(path), path, method)


def _folder_frame(path: Path) -> pd.DataFrame:
    tracks = [read_record(file) for file in find_records(path)]
    names: dict[str, str] = {}
    for track in tracks:
        if track.name in names:
            raise EvaluationError(
                f"{path} holds the track {track.name} twice: give the folder of one method"
            )
        names[track.name] = track.split
    return to_frame(tracks)


def _read_table(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        if path.suffix.lower() == ".parquet":
            frame = pd.read_parquet(path)
        elif path.suffix.lower() == ".csv":
            # a track may be called NA; only numbers may be missing
            undefined = {
                name: ["", "nan", "NaN"] for name in ("score", "level", "time", "duration")
            }
            text = dict.fromkeys(("method", *_TRACK, "reason"), str)
            frame = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=undefined)
        else:
            raise EvaluationError(
                f"{path} is no table: give .csv or .parquet (pickled frames run code when they "
                "are opened; convert them first)"
            )
    except (OSError, ValueError, ImportError) as error:
        raise EvaluationError(f"{path} cannot be read as a table ({error})") from error
    missing = [name for name in ("track", "target", "metric", "score") if name not in frame.columns]
    if missing:
        raise EvaluationError(f"{path} has no column {', '.join(missing)}")
    defaults: dict[str, Any] = {
        "problem": "",
        "time": 0.0,
        "duration": math.nan,
        "level": math.nan,
        "reason": "",
    }
    for name, value in defaults.items():
        if name not in frame.columns:
            frame[name] = value
    frame["reason"] = frame["reason"].fillna("")
    frame["problem"] = frame["problem"].fillna("")
    return frame


def _chosen(frame: pd.DataFrame, path: Path, method: str | None) -> pd.DataFrame:
    if "method" not in frame.columns:
        if method is not None:
            raise EvaluationError(f"{path} has no column of methods: leave :{method} out")
        return frame
    methods: Sequence[str] = sorted(map(str, set(frame["method"])))
    if method is None and len(methods) > 1:
        raise EvaluationError(
            f"{path} holds several methods: name one behind a colon, {path}:{methods[0]} (it has "
            f"{', '.join(methods)})"
        )
    if method is not None and method not in methods:
        raise EvaluationError(f"{path} has no method {method!r}: it has {', '.join(methods)}")
    kept = frame if method is None else frame[frame["method"] == method]
    chosen: pd.DataFrame = kept.drop(columns="method")
    return chosen
