"""Figures of data set statistics (matplotlib): vocals and loudness per set, energy per source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stemwise.audio.part import PartFile, output_errors
from stemwise.data.levels import ACTIVE_FLOOR
from stemwise.data.signals import ACCOMPANIMENT, VOCALS
from stemwise.data.statistics import SetStatistics
from stemwise.errors import StemwiseError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg")
_PANELS = (
    ("vocal_activity", 100.0, "Vocals are active (% of the time)"),
    ("vocal_ratio", 1.0, "Vocals to accompaniment (dB)"),
    ("loudness", 1.0, "Loudness of the mixture (LUFS)"),
)
# Okabe and Ito's colours, which colour-blind readers tell apart
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999933", "#000000")
_SOURCES = 10  # at most in one panel
_POINTS = 60  # a set with more songs is drawn as a box only


def plot_vocals(sets: Sequence[SetStatistics], path: Path) -> None:
    """Distribution over songs of vocal activity, vocal ratio and loudness, one row per set."""
    figure = _figure(11.0, 1.5 + 0.45 * len(sets))
    axes = figure.subplots(1, len(_PANELS), sharey=True)
    for axis, (property, factor, title) in zip(axes, _PANELS, strict=True):
        _rows(axis, [one.values(property) * factor for one in sets])
        axis.set_title(title, fontsize=10)
        axis.set_yticks(range(len(sets)), [f"{one.name} ({len(one.songs)})" for one in sets])
        axis.grid(axis="x", alpha=0.3)
    axes[0].set_xlim(-3, 103)
    axes[0].invert_yaxis()
    _save(figure, path)


def plot_energy(sets: Sequence[SetStatistics], path: Path) -> None:
    """Energy of 6 s excerpts per source and set: vocals and accompaniment, then single stems."""
    pair = (VOCALS, ACCOMPANIMENT)
    every = [name for name in pair if any(name in one.sources for one in sets)]
    single = _most_frequent(sets)
    figure = _figure(11.0, 4.4)
    widths = [max(1, len(every)) + 0.5, max(1, len(single)) + 0.5]
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=widths)
    _groups(left, sets, every)
    _groups(right, sets, single)
    left.set_title("Voice and accompaniment", fontsize=10)
    right.set_title("Stems", fontsize=10)
    left.set_ylabel("Energy of 6 s excerpts (dB re. full scale)")
    handles = [_patch(number, one.name) for number, one in enumerate(sets) if one.sources]
    if handles:
        figure.legend(
            handles=handles, loc="outside lower center", ncols=min(4, len(handles)), fontsize=9
        )
    _save(figure, path)


def _most_frequent(sets: Sequence[SetStatistics]) -> list[str]:
    """The stems that most songs have, in the field's usual order where it has one."""
    counts: dict[str, int] = {}
    for one in sets:
        for song in one.songs:
            for name in song.energies:
                counts[name] = counts.get(name, 0) + 1
    counts.pop(ACCOMPANIMENT, None)
    counts.pop("mixture", None)
    usual = [VOCALS, "drums", "bass", "other"]
    order = {name: place for place, name in enumerate(usual)}
    chosen = sorted(counts, key=lambda name: (-counts[name], order.get(name, 9), name))[:_SOURCES]
    return sorted(chosen, key=lambda name: (order.get(name, 9), -counts[name], name))


def _rows(axis: Axes, values: Sequence[NDArray[np.float64]]) -> None:
    """One horizontal box per set, and its songs as points; "no data" where it has none."""
    rng = np.random.default_rng(0)
    for row, found in enumerate(values):
        colour = _COLOURS[row % len(_COLOURS)]
        if not len(found):
            axis.text(
                0.5, row, "no data", transform=axis.get_yaxis_transform(), ha="center",
                va="center", fontsize=8, color="0.5",
            )  # fmt: skip
            continue
        _box(axis, found, row, 0.6, colour, vertical=False)
        if len(found) <= _POINTS:
            height = row + rng.uniform(-0.18, 0.18, len(found))
            axis.plot(found, height, ".", color="0.15", markersize=3.5, alpha=0.7, zorder=3)


def _groups(axis: Axes, sets: Sequence[SetStatistics], sources: Sequence[str]) -> None:
    """Vertical boxes of the excerpts that are not silent, and the mean over all, per source."""
    for place, source in enumerate(sources):
        have = [number for number, one in enumerate(sets) if source in one.sources]
        width = 0.8 / max(2, len(have))
        for column, number in enumerate(have):
            energies = sets[number].energies(source)
            heard = energies[energies > ACTIVE_FLOOR**2]
            at = place + (column - (len(have) - 1) / 2) * width
            if len(heard):
                colour = _COLOURS[number % len(_COLOURS)]
                _box(axis, 10 * np.log10(heard), at, 0.85 * width, colour, vertical=True)
                mean = 10 * np.log10(energies.mean())
                axis.plot(at, mean, "D", color="white", markeredgecolor="black", markersize=4.5)
    axis.set_xticks(range(len(sources)), sources)
    axis.set_xlim(-0.6, max(1, len(sources)) - 0.4)
    axis.grid(axis="y", alpha=0.3)
    if len(sources) > 6:
        axis.tick_params(axis="x", rotation=30)


def _box(
    axis: Axes, values: NDArray[np.float64], at: float, width: float, colour: str, *, vertical: bool
) -> None:
    """Quartiles and median; the whiskers reach from the 5th to the 95th percentile."""
    low, first, median, third, high = np.percentile(values, [5, 25, 50, 75, 95])
    statistics: list[dict[str, Any]] = [
        {"med": median, "q1": first, "q3": third, "whislo": low, "whishi": high, "fliers": []}
    ]
    axis.bxp(
        statistics,
        positions=[at],
        widths=[width],
        orientation="vertical" if vertical else "horizontal",
        showfliers=False,
        patch_artist=True,
        manage_ticks=False,
        boxprops={"facecolor": colour, "alpha": 0.75},
        medianprops={"color": "black", "linewidth": 1.6},
    )


def _patch(number: int, name: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(facecolor=_COLOURS[number % len(_COLOURS)], alpha=0.75, label=name)


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise StemwiseError("plots need matplotlib: pip install matplotlib") from error
    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Figure, path: Path) -> None:
    """Write a figure by its suffix under a temporary name; the same data gives the same bytes."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    kind = path.suffix[1:]
    metadata = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    with (
        PartFile(path) as part,
        output_errors(path),
        matplotlib.rc_context({"svg.hashsalt": "stemwise", "svg.fonttype": "path"}),
    ):
        figure.savefig(part.temporary, format=kind, dpi=150, metadata=metadata)
