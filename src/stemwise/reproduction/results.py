"""A table's cells from what was measured, and whether rows differ by more than chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stemwise.evaluation.significance import delong, wilcoxon
from stemwise.reproduction.experiments import Cell, Experiment
from stemwise.reproduction.measures import Measured, Series
from stemwise.reproduction.published import Published, Value


@dataclass(frozen=True)
class Difference:
    """One row less another in one column.

    Attributes:
        first, second: rows.
        column: of both.
        value: of the first less that of the second, None where either is missing.
        p: of the paired Wilcoxon test over songs, or of DeLong's test over frames; NaN where it
            cannot be computed.
        pairs: songs (and sources) that were compared, or frames.
        test: its name.
    """

    first: str
    second: str
    column: str
    value: float | None
    p: float
    pairs: int
    test: str


class Results:
    """The cells of a reproduced table.

    Args:
        published: the table.
        experiment: what stands behind it.
        measured: by task; tasks that were not measured are absent.
    """

    def __init__(
        self, published: Published, experiment: Experiment, measured: Mapping[str, Measured]
    ) -> None:
        self.published, self.experiment, self.measured = published, experiment, measured

    @property
    def rows(self) -> list[str]:
        """The paper's rows, then those that are only compared with."""
        more = [row for row, _ in self.experiment.cells]
        return list(dict.fromkeys([*self.published.rows, *more]))

    def value(self, row: str, column: str) -> Value:
        """What was measured; None where it was not, or is undefined."""
        if self.published.name == "stoller2018-replacement" and column == "replacement":
            return self._replacement(row)
        cell = self.experiment.cells.get((row, column))
        if cell is None or cell.task not in self.measured:
            return None
        found = self._value(cell, cell.task)
        if cell.minus is None or not isinstance(found, float):
            return found
        other = self._value(cell, cell.minus) if cell.minus in self.measured else None
        return found - other if isinstance(other, float) else None

    def number(self, row: str, column: str) -> float | None:
        """The same where it is a number."""
        found = self.value(row, column)
        return found if isinstance(found, float) else None

    def series(self, row: str, column: str) -> Series:
        """Values by song (and by source, where the cell is of all of them)."""
        cell = self.experiment.cells.get((row, column))
        if cell is None or cell.task not in self.measured:
            return {}
        return series_of_cell(cell, self.measured[cell.task])

    def difference(self, first: str, second: str, column: str) -> Difference:
        """One row less another, and whether chance explains it."""
        one, other = self.number(first, column), self.number(second, column)
        value = one - other if one is not None and other is not None else None
        return self._tested(first, second, column, column, value)

    def between(self, row: str, first: str, second: str) -> Difference:
        """One column less another in a row: for tables whose columns are what is compared."""
        one, other = self.number(row, first), self.number(row, second)
        value = one - other if one is not None and other is not None else None
        return self._tested(row, row, first, second, value)

    def _tested(
        self, row: str, other: str, column: str, second: str, value: float | None
    ) -> Difference:
        names = (row, other, column) if row != other else (column, second, row)
        frames = [self._frames(row, column), self._frames(other, second)]
        if frames[0] is not None and frames[1] is not None:
            (scores, labels), (against, same) = frames[0], frames[1]
            if np.array_equal(labels, same) and 2 <= labels.sum() <= len(labels) - 2:
                p = delong(scores, against, labels).p
                return Difference(*names, value, p, len(labels), "DeLong")
        one, two = self.series(row, column), self.series(other, second)
        both = [name for name in one if name in two]
        found = wilcoxon([one[name] for name in both], [two[name] for name in both])
        return Difference(*names, value, found.p, found.pairs, "Wilcoxon")

    def _frames(self, row: str, column: str) -> tuple[np.ndarray, np.ndarray] | None:
        cell = self.experiment.cells.get((row, column))
        if cell is None or cell.metrics != ("AU-ROC",) or cell.task not in self.measured:
            return None
        return self.measured[cell.task].frames.get(cell.target or "")

    def _value(self, cell: Cell, task: str) -> Value:
        measured = self.measured[task]
        if cell.statistic == "fact":
            return measured.facts.get(cell.metrics[0])
        if cell.statistic == "pooled":
            return measured.pooled.get((cell.target or "", cell.metrics[0]))
        values = []
        for metric in cell.metrics:
            series = list(_of_target(metric, cell.target, measured).values())
            if not series:
                return None
            values.append(_statistic(series, cell.statistic))
        return float(np.mean(values))

    def _replacement(self, row: str) -> str | None:
        """In words, as the paper has it: a lower error is better."""
        found = self.between(row, "with", "without").value
        return None if found is None else "better" if found < 0 else "worse"


def series_of_cell(cell: Cell, measured: Measured) -> Series:
    """Values by song; the mean over the cell's metrics where it has several."""
    each = [_of_target(metric, cell.target, measured) for metric in cell.metrics]
    names = [name for name in each[0] if all(name in one for one in each)]
    return {name: float(np.mean([one[name] for one in each])) for name in names}


def _of_target(metric: str, target: str | None, measured: Measured) -> Series:
    """A metric's values by song; of all sources, by "song: source", where the target is None."""
    if target is not None:
        return measured.songs.get((target, metric), {})
    if ("", metric) in measured.songs:
        return measured.songs["", metric]
    return {
        f"{song}: {source}": value
        for (source, name), series in measured.songs.items()
        if name == metric
        for song, value in series.items()
    }


def _statistic(values: list[float], statistic: str) -> float:
    """Over songs; the standard deviation is that of NumPy, of all that there are."""
    if statistic == "median":
        return float(np.median(values))
    return float(np.std(values) if statistic == "std" else np.mean(values))
