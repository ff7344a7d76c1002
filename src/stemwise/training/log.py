"""What a run tells: a CSV file, TensorBoard where wanted, and a live line in the terminal."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from stemwise.audio.part import PartFile, output_errors
from stemwise.errors import DataError, OutputError, RecipeError


class RunLog:
    """Figures of a run as rows (step, kind, figures as JSON) in `log.csv`.

    kind is "train", "epoch" or "validation". A resumed run drops
    the rows after its step and goes on.
    """

    def __init__(self, folder: Path, start: int, *, tensorboard: bool = False) -> None:
        self.path = folder / "log.csv"
        rows = [row for row in read_log(self.path) if row[0] <= start] if start else []
        with (
            PartFile(self.path) as part,
            output_errors(self.path),
            part.temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            _write(file, [("step", "kind", "figures")])
            _write(file, [(step, kind, json.dumps(figures)) for step, kind, figures in rows])
        self._file = self.path.open("a", newline="", encoding="utf-8")
        self._board = _tensorboard(folder, start) if tensorboard else None

    def add(self, step: int, kind: str, figures: Mapping[str, float]) -> None:
        """Append one row, flushed at once; OutputError where it cannot be written."""
        rounded = {name: float(f"{value:.6g}") for name, value in figures.items()}
        try:
            _write(self._file, [(step, kind, json.dumps(rounded))])
            self._file.flush()
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be written ({error.strerror}): make room and resume"
            ) from error
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Close the files."""
        with suppress(OSError):  # a full disk was told of when the row was added
            self._file.close()
        if self._board is not None:
            self._board.close()


def read_log(path: Path) -> list[tuple[int, str, dict[str, float]]]:
    """Rows of a run's `log.csv`: step, kind, figures; empty without the file.

    A last row that a killed run left unfinished is left out. Raises DataError for a file that
    is no log.
    """
    if not path.is_file():
        return []
    rows: list[tuple[int, str, dict[str, float]]] = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in list(csv.reader(file))[1:]:
                if len(row) != 3 or not row[2].endswith("}"):
                    break
                rows.append((int(row[0]), row[1], json.loads(row[2])))
    except (ValueError, csv.Error, OSError) as error:
        raise DataError(
            f"{path} cannot be read ({error}): a run goes on without it when it is moved away"
        ) from error
    return rows


def _write(file: Any, rows: list[tuple[Any, ...]]) -> None:
    csv.writer(file, lineterminator="\n").writerows(rows)


def _tensorboard(folder: Path, start: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise RecipeError(
            "TensorBoard logs need the package tensorboard; install it or leave the option out"
        ) from error
    return SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1 if start else None)


class LiveLine:
    """A progress bar over the latest figures; plain lines where the output is no terminal."""

    def __init__(self, steps: int, start: int, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._progress = Progress(
            TextColumn("step {task.completed}/{task.total}"),
            BarColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
        )
        self._task = self._progress.add_task("", total=steps, completed=start)
        shown = self.console.is_terminal and not self.console.quiet
        self._live = Live(self._progress, console=self.console) if shown else None

    def __enter__(self) -> LiveLine:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def step(self, step: int) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=step)

    def show(self, step: int, kind: str, figures: Mapping[str, float]) -> None:
        """Show figures: under the bar while training, as lines of their own otherwise."""
        text = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        if self._live and kind == "train":
            self._live.update(Group(self._progress, Text(text)))
        else:
            self.console.print(f"{kind} {step}: {text}", highlight=False, soft_wrap=True)
