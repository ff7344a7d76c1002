"""Box plots of scores over tracks: one panel per metric, one box per target and method."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemwise.audio import PartFile
from stemwise.audio.part import output_errors
from stemwise.errors import OutputError
from stemwise.evaluation.problems import in_order
from stemwise.evaluation.scores import METRICS
from stemwise.evaluation.tables import per_track
from stemwise.stem_output import make_folder

if TYPE_CHECKING:
    import pandas as pd

COLOURS = ("#2f6f9f", "#d9822b", "#4d8f5b", "#a8505a", "#7a6aa5", "#7d7d7d")
_PANEL = (3.4, 3.2)  # inches


def check_plots(path: Path) -> None:
    """Raise OutputError where plots cannot be drawn, before there is anything to draw."""
    if find_spec("matplotlib") is None:
        raise OutputError(f"{path} needs the package matplotlib: install it, or write a table")


def write_plots(path: Path, frame: pd.DataFrame) -> None:
    """Draw every metric of a frame with a row per window; the suffix names the format.

    A box spans the middle half of the tracks with a line at the median, whiskers reach the last
    track within 1.5 times that, and every track is a dot. With the column `method`, each method
    has a colour. The file has its name only when it is whole. Raises OutputError.
    """
    check_plots(path)
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    whole = per_track(frame).dropna(subset=["score"])
    metrics = [name for name in METRICS if name in set(whole["metric"])]
    if not metrics:
        raise OutputError(f"{path} would be empty: no track has a score")
    methods = list(dict.fromkeys(whole["method"])) if "method" in whole.columns else [""]
    columns = min(len(metrics), 4)
    lines = -(-len(metrics) // columns)
    targets = in_order(set(whole["target"]))
    width = max(_PANEL[0], 0.32 * len(targets) * len(methods) + 1)
    figure = Figure(figsize=(width * columns, _PANEL[1] * lines), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(lines, columns)).ravel()
    for axis, metric in zip(axes, metrics, strict=False):
        _panel(axis, metric, whole[whole["metric"] == metric], methods)
    for axis in axes[len(metrics) :]:
        axis.set_visible(False)
    if len(methods) > 1:
        handles = axes[0].patches[: len(methods)]
        figure.legend(
            handles, methods, loc="outside upper center", ncols=len(methods), frameon=False
        )
    make_folder(path.parent)
    with output_errors(path), PartFile(path) as part:
        kind = path.suffix.lower().lstrip(".")
        # without date and random names, the same scores give the same file
        metadata: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
        with rc_context({"svg.hashsalt": "stemwise"}):
            figure.savefig(part.temporary, format=kind, dpi=150, metadata=metadata.get(kind, {}))


def _panel(axis: Any, metric: str, part: pd.DataFrame, methods: list[str]) -> None:
    """One metric: targets side by side, and within each the methods."""
    names: list[str] = []
    boxes: list[tuple[float, np.ndarray, str]] = []
    room = 0.8 / len(methods)
    for target in in_order(set(part["target"])):
        for problem in dict.fromkeys(part[part["target"] == target]["problem"]):
            chosen = part[(part["target"] == target) & (part["problem"] == problem)]
            centre = len(names)
            names.append(target)
            for index, method in enumerate(methods):
                one = chosen if method == "" else chosen[chosen["method"] == method]
                offset = (index - (len(methods) - 1) / 2) * room
                boxes.append(
                    (centre + offset, one["score"].to_numpy(np.float64), COLOURS[index % 6])
                )
    for place, values, colour in boxes:
        drawn = axis.boxplot(
            [values], positions=[place], widths=room * 0.8, patch_artist=True, showfliers=False,
            medianprops={"color": "black"}, whiskerprops={"color": colour},
            capprops={"color": colour},
        )  # fmt: skip
        drawn["boxes"][0].set(facecolor=colour, alpha=0.45, edgecolor=colour)
        # spread over the box by rank, so that equal scores stay apart
        spread = np.linspace(-0.2, 0.2, len(values)) * room if len(values) > 1 else np.zeros(1)
        axis.plot(place + spread[: len(values)], np.sort(values), ".", color=colour, markersize=4)
    unit = METRICS[metric].unit
    axis.set_title(f"{metric} ({unit})" if unit else metric, fontsize=10)
    axis.set_xticks(range(len(names)), names, rotation=20 if len(names) > 3 else 0)
    axis.grid(axis="y", color="0.85", linewidth=0.7)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
