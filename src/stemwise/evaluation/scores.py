"""Scores of a track as they are kept: per target, problem and metric, one value per window.

`METRICS` says of every metric how windows become a track's score and tracks become a set's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stemwise.errors import EvaluationError, hint

Mean = Literal["median", "mean"]


@dataclass(frozen=True)
class Metric:
    """How scores of one name are read.

    family: the name by which `--metrics` asks for it. unit: of its values. windows, tracks: what
    makes a track's score of its windows, and a set's of its tracks. higher: whether more is better.
    """

    family: str
    unit: str
    windows: Mean
    tracks: Mean
    higher: bool = True


METRICS = {
    # SiSEC 2018: median over windows, median over tracks
    **{name: Metric("v4", "dB", "median", "median") for name in ("SDR", "ISR", "SIR", "SAR")},
    # Stoller et al. 2018 (SiSEC 2016): means over 30 s windows, then over tracks
    **{f"{name} v3": Metric("v3", "dB", "mean", "mean") for name in ("SDR", "SIR", "SAR")},
    **{
        f"{name} v3 images": Metric("v3-images", "dB", "mean", "mean")
        for name in ("SDR", "ISR", "SIR", "SAR")
    },
    "uSDR": Metric("usdr", "dB", "mean", "mean"),
    "SI-SDR": Metric("si-sdr", "dB", "mean", "mean"),
    "MSE": Metric("mse", "", "mean", "mean", higher=False),
    "RMS in silence": Metric("non-vocal", "", "mean", "mean", higher=False),
    "loudness in silence": Metric("non-vocal", "LUFS", "mean", "mean", higher=False),
}
FAMILIES = tuple(dict.fromkeys(metric.family for metric in METRICS.values()))
WINDOWED = "SDR"
"""The metric whose left-out windows the tables count."""


def families(names: Sequence[str]) -> tuple[str, ...]:
    """The families asked for, each once; raises EvaluationError for an unknown one."""
    for name in names:
        if name not in FAMILIES:
            raise EvaluationError(f"there is no metric {name!r}: {hint(name, FAMILIES)}")
    if not names:
        raise EvaluationError(f"name at least one metric: {', '.join(FAMILIES)}")
    return tuple(dict.fromkeys(names))


@dataclass(frozen=True)
class Score:
    """One metric of one target: a value per window, or a single one of the whole track.

    times: where each window starts, in seconds. duration: of a window, in seconds. values: NaN
    where the metric is undefined, never infinite. levels: RMS of the estimate in the window over
    all channels, in dB relative to full scale; -inf for silence. reasons: why a value is NaN.
    """

    target: str
    problem: str
    metric: str
    times: tuple[float, ...]
    duration: float
    values: tuple[float, ...]
    levels: tuple[float, ...]
    reasons: tuple[str | None, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "target": self.target,
            "problem": self.problem,
            "metric": self.metric,
            "duration": self.duration,
            "times": list(self.times),
            "values": list(self.values),
            "levels": list(self.levels),
            "reasons": list(self.reasons),
        }

    @staticmethod
    def from_json(content: dict[str, Any]) -> Score:
        """The inverse of `to_json`; raises KeyError, TypeError or ValueError for anything else."""
        return Score(
            str(content["target"]),
            str(content["problem"]),
            str(content["metric"]),
            tuple(map(float, content["times"])),
            float(content["duration"]),
            tuple(map(float, content["values"])),
            tuple(map(float, content["levels"])),
            tuple(None if one is None else str(one) for one in content["reasons"]),
        )


def finite(
    values: Sequence[float], reasons: Sequence[str | None]
) -> tuple[tuple[float, ...], tuple[str | None, ...]]:
    """Infinite values as NaN with a reason, as museval leaves them out of its medians."""
    kept, why = [], []
    for value, reason in zip(values, reasons, strict=True):
        if math.isinf(value):
            reason = "no error: +inf dB" if value > 0 else "nothing of the reference: -inf dB"
        elif math.isnan(value) and reason is None:
            reason = "undefined: 0/0"
        kept.append(value if math.isfinite(value) else math.nan)
        why.append(reason)
    return tuple(kept), tuple(why)
