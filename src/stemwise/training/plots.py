"""Curves of training runs side by side (matplotlib): a panel per figure, a colour per run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stemwise.audio.part import PartFile, output_errors
from stemwise.errors import DataError, OutputError, hint
from stemwise.stem_output import make_folder
from stemwise.training.log import read_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = ("png", "svg", "pdf")
# Okabe and Ito's colours, which colour-blind readers tell apart; markers tell the rest
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999933", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_TASKS = ("separation", "activity")
_TITLES = {
    "loss": "Loss, weighted sum",
    "separation": "Separation loss",
    "activity": "Activity loss",
    "sdr": "SDR (dB)",
    "auroc": "AUROC",
    "ghost": "Level where silent (dB)",
    "rate": "Learning rate",
    "gradient": "Norm of the gradient",
    "weight": "Weight",
    "excerpts_per_second": "Excerpts per second",
    "loader_wait": "Share of time waiting for data",
    "gpu_busy": "Share of time the GPU is busy",
}
_WIDE = ("loss", "separation", "activity", "rate", "gradient", "weight")
"""What is drawn on a logarithmic axis where it spans much."""
_SET = ("rate", "weight")
"""What is no mean over random batches: nothing is smoothed."""
_PANEL = (4.0, 2.7)  # inches
_COLUMNS = 3
_MEMORY = 0.03
"""Share of a run that a smoothed curve looks back on."""
_FEWEST = 5.0
"""Points that it looks back on at least, where there are four times as many."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """One figure of a run: values at the steps after which they were logged, both (point,)."""

    steps: Floats
    values: Floats

    def smoothed(self) -> Floats:
        """Exponential averages of the values so far, (point,), without a bias at the start."""
        count = len(self.values)
        keep = 1 - 1 / max(1.0, _MEMORY * count, min(_FEWEST, count / 4))
        total, weight, averages = 0.0, 0.0, np.empty_like(self.values)
        for index, value in enumerate(self.values):
            total, weight = keep * total + value, keep * weight + 1
            averages[index] = total / weight
        return averages


@dataclass(frozen=True)
class Curves:
    """What a run's log holds, by the name of the figure.

    Attributes:
        train: means since the row before, of the training batches.
        validation: on the fixed excerpts of held-out songs.
    """

    train: dict[str, Curve]
    validation: dict[str, Curve]

    @property
    def names(self) -> list[str]:
        """Every figure that can be drawn; "loss" is the total in training and in validation."""
        names = ["loss" if name == "total" else name for name in self.train]
        return list(dict.fromkeys([*names, *self.validation]))

    def of(self, name: str) -> tuple[Curve | None, Curve | None]:
        """A figure in training and in validation."""
        return self.train.get("total" if name == "loss" else name), self.validation.get(name)


def read_curves(folder: str | Path) -> Curves:
    """Curves of a run from its folder's `log.csv`; values that are not finite are left out.

    Raises DataError for a folder without a log, and for a log without rows or with broken ones.
    """
    path = Path(folder) / "log.csv"
    if not path.is_file():
        raise DataError(f"{folder} holds no log.csv: name the output folder of a training run")
    rows = read_log(path)
    found: dict[str, dict[str, list[tuple[int, float]]]] = {"train": {}, "validation": {}}
    for step, kind, figures in rows:
        if kind in found:  # means of epochs repeat what the rows of training say
            for name, value in figures.items():
                if np.isfinite(value):
                    found[kind].setdefault(name, []).append((step, value))
    if not any(found.values()):
        raise DataError(f"{path} has no figures yet: wait until the run has logged some")
    train, validation = (
        {name: Curve(*np.array(points, np.float64).T) for name, points in found[kind].items()}
        for kind in ("train", "validation")
    )
    return Curves(train, validation)


def plot_curves(
    runs: Mapping[str, str | Path], out: str | Path, figures: Sequence[str] | None = None
) -> None:
    """Draw figures of runs side by side: training smoothed as a line, validation as points.

    runs: folders of runs by the names they are given in the legend. out: a file whose suffix names
    the format, .png, .svg or .pdf. figures: names as in the logs, e.g. "separation", "sdr/vocals",
    "rate"; None draws the loss, every task, and the scores of validation. Raises DataError for
    folders that are no runs and figures that no run has, and OutputError.
    """
    out = Path(out)
    check_format(out)
    if not runs:
        raise DataError("there is nothing to draw: name at least one run")
    curves = {name: read_curves(folder) for name, folder in runs.items()}
    known = list(dict.fromkeys(name for one in curves.values() for name in one.names))
    for name in figures or ():
        if name not in known:
            raise DataError(f"no run has the figure '{name}': {hint(name, known)}")
    _draw(curves, list(figures or _usual(curves)), out)


def check_format(out: Path) -> None:
    """Raise OutputError for a file that curves cannot be drawn into."""
    if out.suffix.lower().removeprefix(".") not in FORMATS:
        endings = ", ".join(f".{suffix}" for suffix in FORMATS)
        raise OutputError(f"{out} has no format that is known: end its name with one of {endings}")


def _usual(curves: Mapping[str, Curves]) -> list[str]:
    """The loss, the tasks, and mean SDR and AUROC of validation."""
    names: list[str] = []
    for one in curves.values():
        tasks = [n for n in one.train if n.partition("/")[0] in _TASKS]
        names += ["loss"] if len(tasks) != 1 else []  # that of a single task is its own
        areas = [name for name in one.validation if name.startswith("auroc/")]
        sums = [name for name in ("sdr", "auroc") if name in one.validation]
        # the mean of one source is that source
        names += [*tasks, *sums, *(areas if len(areas) > 1 else [])]
    order = ["loss", "separation", "activity", "sdr", "auroc"]
    unique = list(dict.fromkeys(names))
    places = {
        name: order.index(head) for name in unique if (head := name.partition("/")[0]) in order
    }
    return sorted(unique, key=lambda name: places.get(name, len(order)))


def _draw(curves: Mapping[str, Curves], names: Sequence[str], out: Path) -> None:
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise OutputError(f"{out} needs the package matplotlib: pip install matplotlib") from error
    columns = min(len(names), _COLUMNS)
    lines = -(-len(names) // columns)
    with rc_context({"svg.hashsalt": "stemwise", "font.size": 9, "axes.titlesize": 10}):
        size = (max(5.0, _PANEL[0] * columns), _PANEL[1] * lines + 0.6)
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        axes = np.atleast_1d(figure.subplots(lines, columns)).ravel()
        for axis, name in zip(axes, names, strict=False):
            _panel(axis, name, curves)
        for axis in axes[len(names) :]:
            axis.set_visible(False)
        every = [one.of(name) for one in curves.values() for name in names]
        last = max(curve.steps.max() for pair in every for curve in pair if curve is not None)
        for axis in axes[: len(names)]:
            axis.set_xlim(-0.02 * last, 1.02 * last)
        handles = _handles(list(curves))
        room = max(len(handle.get_label()) for handle in handles) + 6
        figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=max(1, min(len(handles), int(size[0] * 13 / room))),
            frameon=False,
        )
        make_folder(out.parent)
        kind = out.suffix.lower().removeprefix(".")
        # without date and random names, the same logs give the same file
        dated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
        metadata: dict[str, Any] = dated.get(kind, {})
        with output_errors(out), PartFile(out) as part:
            figure.savefig(part.temporary, format=kind, dpi=150, metadata=metadata)


def _panel(axis: Axes, name: str, curves: Mapping[str, Curves]) -> None:
    """One figure of all runs."""
    head, _, rest = name.partition("/")
    shown: list[Floats] = []
    for number, one in enumerate(curves.values()):
        colour, marker = _look(number)
        train, validation = one.of(name)
        if train is not None:
            smooth = train.values if head in _SET else train.smoothed()
            axis.plot(train.steps, train.values, color=colour, linewidth=0.6, alpha=0.25)
            axis.plot(train.steps, smooth, color=colour, linewidth=1.5)
            # single batches may lie far out; the curve should fill the panel
            shown += [smooth, np.quantile(train.values, [0.03, 0.97])]
        if validation is not None:
            axis.plot(
                validation.steps, validation.values, marker, color=colour, linestyle=":",
                linewidth=0.9, markersize=4.5, markeredgecolor="white", markeredgewidth=0.5,
            )  # fmt: skip
            shown.append(validation.values)
    _limits(axis, np.concatenate(shown), logarithmic=head in _WIDE)
    axis.set_title(_TITLES.get(head, head) + (f": {rest}" if rest else ""))
    axis.locator_params(axis="x", integer=True)
    axis.xaxis.set_major_formatter(_steps)
    axis.set_xlabel("step")
    axis.grid(color="0.88", linewidth=0.7)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _look(number: int) -> tuple[str, str]:
    """Colour and marker of a run, of which 64 are different."""
    return _COLOURS[number % 8], _MARKERS[(number + number // 8) % 8]


def _limits(axis: Axes, values: Floats, *, logarithmic: bool) -> None:
    """Limits around the values; a logarithmic axis where they may have one and need it."""
    low, high = float(values.min()), float(values.max())
    if logarithmic and low > 0 and high > 5 * low:
        from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

        axis.set_yscale("log")
        axis.set_ylim(low / 1.1, high * 1.1)
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
    else:
        margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
        axis.set_ylim(low - margin, high + margin)


def _steps(value: float, _: float) -> str:
    """12000 as 12k."""
    for factor, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:g}{unit}"
    return f"{value:g}"


def _handles(names: Sequence[str]) -> list[Any]:
    """The legend: every run, and what lines and points are."""
    from matplotlib.lines import Line2D

    runs = [
        Line2D([], [], color=colour, marker=marker, markersize=5, label=name)
        for name, (colour, marker) in zip(names, map(_look, range(len(names))), strict=True)
    ]
    line = Line2D([], [], color="0.35", label="training, smoothed")
    points = Line2D([], [], color="0.35", marker="o", markersize=5, ls=":", label="validation")
    return [*runs, line, points]
