"""A reproduced table as Markdown, JSON and CSV."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stemwise import __version__
from stemwise.audio.part import PartFile
from stemwise.evaluation.tables import markdown_rows
from stemwise.reproduction.claims import Claim, Verdict
from stemwise.reproduction.published import Value
from stemwise.reproduction.results import Results
from stemwise.stem_output import make_folder

FORMAT = 1
CSV_COLUMNS = ("table", "row", "column", "published", "ours", "difference")


@dataclass(frozen=True)
class Report:
    """A table with all that is told of it.

    Attributes:
        results: its cells.
        judged: every claim with its verdict.
        scale: at which it was reproduced.
        songs: a sentence on the songs that it was reproduced on.
        comparable: whether the figures may be held against the published ones.
        notes: what else is to be known.
        times: name, steps and seconds of every training.
        curves: name of the file of their loss curves, beside the table; "" without.
    """

    results: Results
    judged: Sequence[tuple[Claim, Verdict]]
    scale: str
    songs: str
    comparable: bool
    notes: Sequence[str] = ()
    times: Sequence[tuple[str, int, float]] = ()
    curves: str = ""

    def write(self, folder: Path) -> Path:
        """Write TABLE.md, TABLE.json and TABLE.csv; returns the first. Raises OutputError."""
        make_folder(folder)
        name = self.results.published.name
        text = json.dumps(self.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
        files = {"json": text + "\n", "csv": self.to_csv(), "md": self.to_markdown()}
        for ending, content in files.items():
            with PartFile(folder / f"{name}.{ending}") as part:
                part.temporary.write_text(content, encoding="utf-8")
        return folder / f"{name}.md"

    def to_json(self) -> dict[str, Any]:
        """Plain data: cells, values by song, claims with the numbers that decide them."""
        published, results = self.results.published, self.results
        cells = [
            {
                "row": row,
                "column": column,
                "published": published.value(row, column),
                "ours": _plain(results.value(row, column)),
                "songs": {song: _plain(one) for song, one in results.series(row, column).items()},
            }
            for row in results.rows
            for column in published.columns
        ]
        judged = [
            {
                "claim": claim.text,
                "verdict": verdict.word,
                "because": verdict.because,
                "differences": [
                    {key: _plain(value) for key, value in asdict(one).items()}
                    for one in verdict.differences
                ],
            }
            for claim, verdict in self.judged
        ]
        trainings = [
            {"name": name, "steps": steps, "seconds": seconds}
            for name, steps, seconds in self.times
        ]
        return {
            "format": FORMAT,
            "version": __version__,
            "table": published.name,
            "paper": published.paper,
            "title": published.title,
            "measure": published.measure,
            "scale": self.scale,
            "songs": self.songs,
            "comparable": self.comparable,
            "notes": [*published.notes, *self.notes],
            "cells": cells,
            "claims": judged,
            "trainings": trainings,
        }

    def to_csv(self) -> str:
        """A line per cell."""
        lines = [",".join(CSV_COLUMNS)]
        published = self.results.published
        for row in self.results.rows:
            for column in published.columns:
                printed, ours = published.value(row, column), self.results.value(row, column)
                values = (published.name, row, column, printed, ours, _difference(printed, ours))
                lines.append(",".join("" if one is None else str(one) for one in values))
        return "\n".join(lines) + "\n"

    def to_markdown(self) -> str:
        """The page that people read."""
        published = self.results.published
        parts = [f"# {published.name}: {published.title}", self._about()]
        parts += [self._cells(), self._claims()]
        notes = [*published.notes, *_misprints(self.results), *self.notes]
        if notes:
            parts.append("Notes:\n\n" + "\n".join(f"- {note}" for note in notes))
        if self.times:
            parts.append(self._trainings())
        if self.curves:
            parts.append(f"![Curves of the trainings]({self.curves})")
        return "\n\n".join(part.strip() for part in parts) + "\n"

    def _about(self) -> str:
        published = self.results.published
        on = f"; published on {published.data}" if published.data else ""
        told = (
            f"{published.paper}{on}. {_sentence(published.measure)}\n\n"
            f"Scale `{self.scale}`. {self.songs}"
        )
        if not self.comparable:
            told += (
                " **The figures are not comparable with the published ones**; what may be compared "
                "are the rows of ours with each other."
            )
        return told

    def _cells(self) -> str:
        published = self.results.published
        lines = []
        for row in self.results.rows:
            printed = [published.value(row, column) for column in published.columns]
            ours = [self.results.value(row, column) for column in published.columns]
            between = [_difference(one, other) for one, other in zip(printed, ours, strict=True)]
            columns = published.columns
            if any(one is not None for one in printed):
                lines.append([row, "published", *map(_shown, printed, columns)])
                row = ""
            lines.append([row, "ours", *map(_shown, ours, columns)])
            if any(one is not None for one in between):
                signed = [_signed(one, name) for one, name in zip(between, columns, strict=True)]
                lines.append(["", "difference", *signed])
        return markdown_rows(["row", "", *published.columns], lines, 2)

    def _claims(self) -> str:
        if not self.judged:
            return "The paper makes no claim on this table that a program could judge."
        lines = [[claim.text, verdict.word, verdict.because] for claim, verdict in self.judged]
        table = markdown_rows(["claim", "verdict", "because"], lines, 3)
        return f"{table}\n`*`: p < 0.05 (paired Wilcoxon test over songs; DeLong's over frames)."

    def _trainings(self) -> str:
        lines = [[name, str(steps), f"{seconds:.0f}"] for name, steps, seconds in self.times]
        return markdown_rows(["training", "steps", "seconds (last sitting)"], lines, 1)


def _misprints(results: Results) -> list[str]:
    """Printed means that are not those of the printed values, recomputed."""
    return [
        f"{row}, {column}: printed {printed}, recomputed {recomputed}."
        for row, column, printed, recomputed in results.published.recomputed_means()
    ]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _difference(printed: Value, ours: Value) -> float | None:
    return ours - printed if isinstance(printed, float) and isinstance(ours, float) else None


def _digits(column: str) -> int:
    """Decimals that are shown: errors, levels and AU-ROCs are small."""
    if column in ("mse", "with", "without"):
        return 5
    return 4 if column in ("au_roc", "auc") or "_rms" in column else 2


def _shown(value: Value, column: str) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.{_digits(column)}f}"


def _signed(value: float | None, column: str) -> str:
    return "" if value is None else f"{value:+.{_digits(column)}f}"


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
