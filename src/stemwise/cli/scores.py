"""What `evaluate`, `oracle` and `compare` print and write: progress, tables, files."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from stemwise.cli.batch import Board, print_json
from stemwise.cli.options import one_of

if TYPE_CHECKING:
    import pandas as pd

    from stemwise.evaluation.pairs import Broken, Found, Pair
    from stemwise.evaluation.record import TrackScores
    from stemwise.evaluation.run import Watch
    from stemwise.separation import Progress

PRINTED = ("table", "md", "csv", "json")
MEANS = ("median", "mean")
PLOTS = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Destinations:
    """Where results go: a folder of one file per track, tables and plots, standard output."""

    folder: Path | None
    files: Sequence[Path] = ()
    printed: str = "table"
    tracks: str | None = None

    def check(self) -> None:
        """Refuse, before any work, what could not be written after it."""
        from stemwise.errors import OutputError

        one_of("--format", self.printed, PRINTED)
        if self.tracks is not None:
            one_of("--tracks", self.tracks, MEANS)
        check_files(self.files)
        if self.folder is not None and self.folder.exists() and not self.folder.is_dir():
            raise OutputError(f"{self.folder} is a file: give --json a folder")


def check_files(files: Sequence[Path]) -> None:
    """Refuse tables and plots that could not be written."""
    from stemwise.errors import OutputError
    from stemwise.evaluation.plots import check_plots
    from stemwise.evaluation.tables import TABLES, check_table

    for file in files:
        if file.is_dir():
            raise OutputError(f"{file} is a folder: name a file")
        if file.suffix.lower() in PLOTS:
            check_plots(file)
        elif file.suffix.lower() in TABLES:
            check_table(file)
        else:
            raise OutputError(f"{file} must end in one of {', '.join((*TABLES, *PLOTS))}")


def list_of(text: str) -> list[str]:
    """The names in a list with commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


@dataclass
class Report:
    """Tells how a run goes: a bar per track, and a line when it is done."""

    board: Board
    quiet: bool
    printed: str
    total: float
    method: str | None = None
    seconds: float = 0.0
    bars: dict[str, tuple[Progress, Callable[[], None]]] = field(default_factory=dict)
    whole: Progress = lambda done, total: None

    @property
    def watch(self) -> Watch:
        """What `evaluate_set` calls."""
        from stemwise.evaluation.run import Watch

        return Watch(self.started, self.done, self.failed)

    def started(self, pair: Pair) -> None:
        """A track is being worked on."""
        self.bars[pair.name] = self.board.follow(pair.name)

    def follow(self, pair: Pair) -> Progress:
        """Where to tell how far a track's separation is."""
        return self.bars[pair.name][0]

    def done(self, scores: TrackScores) -> None:
        """A track is scored, or was before."""
        self._end(scores.name)
        self.seconds += scores.facts.get("samples", 0) / scores.facts.get("sample_rate", 1)
        self.whole(min(self.seconds, self.total), self.total)
        if self.printed == "json":
            facts = track_facts(scores)
            print_json(facts if self.method is None else {"method": self.method, **facts})
        if not self.quiet and self.printed != "json":
            for note in () if scores.again else scores.notes:
                self.board.print(f"stemwise: note: {scores.name}: {note}", err=True)
            self.board.print(_line(scores), err=True)

    def failed(self, broken: Broken) -> None:
        """A track cannot be scored."""
        self._end(broken.name)
        if self.printed == "json":
            print_json({"track": broken.name, "error": broken.sentence})
        self.board.print(f"stemwise: {broken.sentence}", err=True)

    def _end(self, name: str) -> None:
        if name in self.bars:
            self.bars.pop(name)[1]()


@contextmanager
def open_report(
    found: Found, quiet: bool, printed: str, method: str | None = None
) -> Iterator[Report]:
    """A report of a run over what was found; what is broken is told at once."""
    total = sum(pair.seconds for pair in found.pairs)
    with Board(not quiet and printed != "json") as board:
        report = Report(board, quiet, printed, total, method)
        if len(found.pairs) > 1:
            report.whole = board.follow(f"{len(found.pairs)} tracks")[0]
        if not quiet:
            for note in found.notes:
                board.print(f"stemwise: note: {note}", err=True)
        for broken in found.broken:
            report.failed(broken)
        yield report


@contextmanager
def resumable(folder: Path | None) -> Iterator[None]:
    """Say after Ctrl-C how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        if folder is not None:
            typer.echo(f"{folder} keeps the finished tracks; the same command continues.", err=True)
        raise


def _line(scores: TrackScores) -> str:
    """A track's main figures on one line."""
    if scores.again:
        return f"{scores.name}: scored before with the same files and settings"
    from stemwise.evaluation.tables import track_scores

    known = [row for row in track_scores(scores) if not math.isnan(row.score)]
    if not known:
        return f"{scores.name}: no score: {_why_none(scores)}"
    metric = known[0].metric
    shown = {row.target: f"{row.target} {row.score:.2f}" for row in known if row.metric == metric}
    return f"{scores.name}: {metric} {', '.join(shown.values())} ({scores.elapsed:.1f} s)"


def _why_none(scores: TrackScores) -> str:
    reasons = [reason for score in scores.scores for reason in score.reasons if reason]
    return reasons[0] if reasons else "nothing was scored"


def track_facts(scores: TrackScores) -> dict[str, Any]:
    """A track as one JSON object; what is undefined is null."""
    from stemwise.evaluation.tables import track_scores

    targets: list[dict[str, Any]] = []
    for row in track_scores(scores):
        same = {"target": row.target, "problem": row.problem}
        if not targets or any(targets[-1][key] != value for key, value in same.items()):
            targets.append({**same, "scores": {}})
        targets[-1]["scores"][row.metric] = _finite(row.score)
        if row.windows > 1 or row.metric == "SDR":
            targets[-1].setdefault("windows", row.windows)
            targets[-1].setdefault("left_out", row.left_out)
            targets[-1].setdefault("level_left_out", _finite(row.level_left_out))
    return {
        "track": scores.name,
        "split": scores.split,
        "targets": targets,
        "notes": list(scores.notes),
        "elapsed": round(scores.elapsed, 3),
        "scored_before": scores.again,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def finish(
    frame: pd.DataFrame | None, broken: Sequence[Broken], count: int, where: Destinations
) -> None:
    """Print and write the results; exit status 1 where a track failed."""
    from stemwise.evaluation.plots import write_plots
    from stemwise.evaluation.tables import write_table

    if frame is not None and not frame.empty:
        plots = [file for file in where.files if file.suffix.lower() in PLOTS]
        for file in where.files:
            if file not in plots:
                write_table(file, frame, where.tracks)  # type: ignore[arg-type]
        _print(frame, where)
        for file in plots:
            write_plots(file, frame)
    if broken:
        if count > 1:
            typer.echo(f"{len(broken)} of {count} tracks failed:", err=True)
            for one in broken:
                typer.echo(f"  {one.sentence}", err=True)
        raise typer.Exit(1)


def _print(frame: pd.DataFrame, where: Destinations) -> None:
    from stemwise.evaluation.tables import markdown, rows, summary

    if where.printed == "json":
        return  # every track had its line
    if where.printed == "csv":
        typer.echo(frame.to_csv(index=False), nl=False)
        return
    table = summary(frame, where.tracks)  # type: ignore[arg-type]
    if where.printed == "md":
        typer.echo(markdown(table), nl=False)
    else:
        print_table(*rows(table))


def print_table(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """A table on standard output."""
    from rich.console import Console
    from rich.table import Table

    from stemwise.evaluation.tables import TEXT

    piped = not sys.stdout.isatty()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, justify="left" if title in TEXT else "right", no_wrap=piped)
    for line in lines:
        table.add_row(*line)
    Console(width=400 if piped else None, markup=False, highlight=False).print(table)
