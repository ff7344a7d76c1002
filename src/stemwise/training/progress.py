"""Running figures of a run: since the last row of the log, and since the epoch began."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch

from stemwise.data.loading import Loader

_NO_TASKS = ("total", "gradient")


class Means:
    """Means of named numbers, kept as sums so that a checkpoint in their midst loses nothing."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, values: Mapping[str, float]) -> None:
        """Count one step's numbers."""
        for name, value in values.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = total + value, count + 1

    def close(self) -> dict[str, float]:
        """The means, and start anew."""
        means = {name: total / count for name, (total, count) in self._sums.items()}
        self._sums = {}
        return means

    def state_dict(self) -> dict[str, Any]:
        """The sums."""
        return dict(self._sums)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self._sums = {name: (total, count) for name, (total, count) in state.items()}


def tasks_of(figures: Mapping[str, float]) -> dict[str, float]:
    """The task losses among a step's figures."""
    return {name: value for name, value in figures.items() if name not in _NO_TASKS}


class Speed:
    """How fast a run is, and what it waits for, since the last report.

    Args:
        loader: whose wait is counted.
        excerpts: of a step, over all processes.
    """

    def __init__(self, loader: Loader, excerpts: int, device: torch.device) -> None:
        self._loader, self._excerpts, self._device = loader, excerpts, device
        self._measurable = device.type == "cuda"
        self._steps, self._looked = 0, 0.0
        self._start()

    def step(self) -> None:
        """Count a step."""
        self._steps += 1
        now = time.perf_counter()
        if self._measurable and now - self._looked >= 1:
            self._looked = now
            self._look()

    def close(self) -> dict[str, float]:
        """excerpts_per_second, loader_wait (share of the time), gpu_busy (share) where known."""
        elapsed = time.perf_counter() - self._began
        figures = {
            "excerpts_per_second": self._steps * self._excerpts / elapsed,
            "loader_wait": (self._loader.waited - self._waited) / elapsed,
        }
        if self._busy:
            figures["gpu_busy"] = sum(self._busy) / len(self._busy)
        self._start()
        return figures

    def _start(self) -> None:
        self._began = self._looked = time.perf_counter()
        self._waited, self._steps = self._loader.waited, 0
        self._busy: list[float] = []

    def _look(self) -> None:
        try:
            self._busy.append(torch.cuda.utilization(self._device) / 100)
        except (RuntimeError, ModuleNotFoundError):
            self._measurable = False  # the driver's library is not there: nobody can tell
