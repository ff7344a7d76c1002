"""From references and estimates of one problem to its scores, a family of metrics at a time.

Everything here reads signals in blocks, so that a track of any length needs the same memory.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stemwise.errors import EvaluationError
from stemwise.evaluation.problems import KINDS, Problem
from stemwise.evaluation.scores import Score, families, finite
from stemwise.evaluation.signals import Signals

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """What decides about scores, apart from the audio.

    metrics: families of `scores.METRICS`. window, hop: of BSS Eval v4, in seconds. problem,
    sources: see `choose_problems`. silent: what a source that is silent in the whole track does:
    "nan" leaves it without scores, "raise" makes the track an error, as museval does. quantise:
    files are rounded to 16 bits first, as musdb decodes them.
    """

    metrics: tuple[str, ...] = ("v4",)
    window: float = 1.0
    hop: float = 1.0
    problem: str = "auto"
    sources: tuple[str, ...] | None = None
    silent: Literal["nan", "raise"] = "nan"
    quantise: bool = True

    def __post_init__(self) -> None:
        families(self.metrics)
        for name in ("window", "hop"):
            if not getattr(self, name) > 0:
                raise EvaluationError(f"the {name} must be longer than 0 seconds")
        if self.problem not in KINDS:
            raise EvaluationError(f"the problem must be one of {', '.join(KINDS)}")
        if self.silent not in ("nan", "raise"):
            raise EvaluationError("silent must be nan or raise")

    def to_json(self) -> dict[str, Any]:
        """Plain data, as JSON gives it back."""
        content = asdict(self)
        content["metrics"] = list(self.metrics)
        content["sources"] = None if self.sources is None else list(self.sources)
        return content


@dataclass(frozen=True)
class Task:
    """One problem of one track, ready to be scored."""

    problem: Problem
    references: Signals
    estimates: Signals
    sample_rate: int
    settings: Settings
    threads: int | None = None


def score(task: Task) -> tuple[list[Score], dict[str, Any]]:
    """All metrics that the settings ask for, and facts about how they were computed."""
    facts: dict[str, Any] = {}
    found: list[Score] = []
    for family in families(task.settings.metrics):
        found += _FAMILIES[family](task, facts)
    return found, facts


def cut(signals: Signals, length: int, hop: int) -> Iterator[Floats]:
    """Windows (source, channel, sample): floor((n - length + hop) / hop), or one that is shorter.

    The incomplete last window is left out, as museval does.
    """
    if length >= signals.samples:
        yield np.concatenate(list(signals.blocks()), axis=-1)
        return
    held = np.zeros((len(signals.names), signals.channels, 0))
    first = start = 0  # sample at which the held ones begin, and the next window
    for block in signals.blocks():
        held = np.concatenate([held, block], axis=-1)
        while start + length <= first + held.shape[-1]:
            yield held[..., start - first : start - first + length]
            start += hop
        done = min(start - first, held.shape[-1])
        held, first = held[..., done:], first + done


def in_samples(seconds: float, sample_rate: int, samples: int) -> int:
    """A window or hop in samples, at most the track's `samples`, rounded as `bss_eval` does."""
    return max(1, math.floor(min(seconds * sample_rate, samples) + 1e-6))


def level(power: float) -> float:
    """Mean square in dB relative to full scale."""
    return 10 * math.log10(power) if power > 0 else -math.inf


def _levels(signals: Signals, length: int, hop: int) -> list[list[float]]:
    """RMS level of every source (source, window)."""
    if length >= signals.samples:
        energy = sum(np.sum(np.square(block), axis=(1, 2)) for block in signals.blocks())
        return [[level(float(one) / (signals.channels * signals.samples))] for one in energy]
    windows = [
        [level(float(one)) for one in np.mean(np.square(window), axis=(1, 2))]
        for window in cut(signals, length, hop)
    ]
    return [list(levels) for levels in zip(*windows, strict=True)]


def _v4(task: Task, facts: dict[str, Any]) -> list[Score]:
    from stemwise.evaluation.bss_eval import bss_eval_stream

    settings, rate = task.settings, task.sample_rate
    result = bss_eval_stream(
        task.references.blocks,
        task.estimates.blocks,
        rate,
        settings.window,
        settings.hop,
        silent="nan",
        threads=task.threads,
        quantise=False,
    )
    facts["solver"] = {**facts.get("solver", {}), task.problem.name: result.solver}
    samples = task.references.samples
    length = in_samples(settings.window, rate, samples)
    levels = _levels(task.estimates, length, in_samples(settings.hop, rate, samples))
    duration = min(settings.window, samples / rate)
    table = {"SDR": result.sdr, "ISR": result.isr, "SIR": result.sir, "SAR": result.sar}
    reasons = [_named(reason, task.problem.sources) for reason in result.silent]
    whole = next((one for one in reasons if one is not None and "whole track" in one), None)
    if whole is not None and settings.silent == "raise":
        raise EvaluationError(f"{whole}: leave that source out, or let silence be nan")
    return _windowed(task, table, list(result.times), duration, levels, reasons)


def _named(reason: str | None, sources: Sequence[str]) -> str | None:
    """A reason with the sources' names instead of their numbers."""

    def name(found: re.Match[str]) -> str:
        return f"{found[1]} of {sources[int(found[2]) - 1]}"

    return None if reason is None else re.sub(r"(reference|estimate) (\d+)", name, reason)


def _windowed(
    task: Task,
    table: dict[str, Floats],
    times: Sequence[float],
    duration: float,
    levels: Sequence[Sequence[float]],
    reasons: Sequence[str | None],
) -> list[Score]:
    """Scores of arrays (source, window)."""
    found = []
    for index, target in enumerate(task.problem.sources):
        if target not in task.problem.reported:
            continue
        for metric, values in table.items():
            kept, why = finite([float(one) for one in values[index]], reasons)
            found.append(
                Score(
                    target,
                    task.problem.name,
                    metric,
                    tuple(float(one) for one in times),
                    float(duration),
                    kept,
                    tuple(levels[index]),
                    why,
                )
            )
    return found


_FAMILIES: dict[str, Callable[[Task, dict[str, Any]], list[Score]]] = {"v4": _v4}
