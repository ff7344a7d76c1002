"""The tables as the papers print them, and what does not add up in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import yaml

from stemwise.errors import EvaluationError, closest

Value = float | str | None
"""A number, a word of the paper, or nothing where the paper gives nothing."""
MEAN_OFF = 0.02
"""By how much a printed mean may differ from that of the printed values, which are rounded."""


@dataclass(frozen=True)
class Published:
    """One table of a paper.

    Attributes:
        name: as in `stemwise reproduce NAME`.
        title: what it compares.
        paper: authors and year.
        data: the songs that the paper tested on; "" where none are needed.
        measure: what its numbers are.
        columns: their names, in order.
        rows: printed values by row and column.
        notes: misprints and what the paper leaves out.
    """

    name: str
    title: str
    paper: str
    data: str
    measure: str
    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, Value]]
    notes: tuple[str, ...]

    def value(self, row: str, column: str) -> Value:
        """What is printed in a cell; None for cells, rows and columns that the paper has not."""
        return self.rows.get(row, {}).get(column)

    def recomputed_means(self) -> list[tuple[str, str, float, float]]:
        """Rows and columns `<variant> mean` that differ from the mean of the variant's values.

        With the printed and the recomputed mean.
        """
        found = []
        for row, cells in self.rows.items():
            for column in self.columns:
                variant, _, what = column.rpartition(" ")
                others = [f"{variant} {metric}" for metric in ("SDR", "SIR", "SAR")]
                values = [cells.get(name) for name in others]
                printed = cells.get(column)
                numbers = [one for one in values if isinstance(one, float)]
                if what != "mean" or len(numbers) < 3 or not isinstance(printed, float):
                    continue
                mean = sum(numbers) / len(numbers)
                if abs(mean - printed) > MEAN_OFF:
                    found.append((row, column, printed, round(mean, 2)))
        return found


@lru_cache(1)
def tables() -> Mapping[str, Published]:
    """All published tables by name, in the order of the papers."""
    text = resources.files(__package__).joinpath("published.yaml").read_text(encoding="utf-8")
    found = {}
    for name, one in yaml.safe_load(text).items():
        columns = tuple(one["columns"])
        rows = {
            str(row): dict(zip(columns, map(_plain, values), strict=True))
            for row, values in one["rows"].items()
        }
        notes = tuple(note.strip() for note in one.get("notes", ()))
        found[name] = Published(
            name, one["title"], one["paper"], one["data"], one["measure"], columns, rows, notes
        )
    return found


def _plain(value: object) -> Value:
    return (
        float(value) if isinstance(value, (int, float)) else None if value is None else str(value)
    )


def table_names(asked: str) -> list[str]:
    """The tables that `asked` means: one of them, or "all".

    Raises EvaluationError with the nearest name where there is no such table.
    """
    known = tuple(tables())
    if asked == "all":
        return list(known)
    if asked not in known:
        near = closest(asked, known, cutoff=0.0)
        raise EvaluationError(
            f"there is no table '{asked}'; the nearest is '{near}' (there are "
            f"{', '.join(known)}, and all)"
        )
    return [asked]
