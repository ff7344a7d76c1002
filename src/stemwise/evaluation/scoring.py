"""What every family of metrics starts from: settings, one problem of one track, its windows.

Signals are read in blocks, so that a track of any length needs the same memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from stemwise.errors import EvaluationError
from stemwise.evaluation.problems import KINDS, Problem
from stemwise.evaluation.scores import families
from stemwise.evaluation.signals import Signals

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """What decides about scores, apart from the audio.

    metrics: families of `scores.METRICS`. window, hop: of BSS Eval v4, in seconds. problem,
    sources: see `choose_problems`. silent: what a source that is silent in the whole track does:
    "nan" leaves it without scores, "raise" makes the track an error, as museval does. quantise:
    files are rounded to 16 bits first, as musdb decodes them. v3_window, v3_hop: of BSS Eval v3, in
    seconds as in SiSEC 2016; the window None is the whole track, as in mir_eval.
    """

    metrics: tuple[str, ...] = ("v4",)
    window: float = 1.0
    hop: float = 1.0
    problem: str = "auto"
    sources: tuple[str, ...] | None = None
    silent: Literal["nan", "raise"] = "nan"
    quantise: bool = True
    v3_window: float | None = 30.0
    v3_hop: float = 15.0

    def __post_init__(self) -> None:
        families(self.metrics)
        for name in ("window", "hop"):
            if not getattr(self, name) > 0:
                raise EvaluationError(f"the {name} must be longer than 0 seconds")
        if not (self.v3_hop > 0 and (self.v3_window is None or self.v3_window > 0)):
            raise EvaluationError("window and hop of BSS Eval v3 must be longer than 0 seconds")
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


def levels(signals: Signals, length: int, hop: int) -> list[list[float]]:
    """RMS level of every source (source, window)."""
    if length >= signals.samples:
        energy = sum(np.sum(np.square(block), axis=(1, 2)) for block in signals.blocks())
        return [[level(float(one) / (signals.channels * signals.samples))] for one in energy]
    windows = [
        [level(float(one)) for one in np.mean(np.square(window), axis=(1, 2))]
        for window in cut(signals, length, hop)
    ]
    return [list(levels) for levels in zip(*windows, strict=True)]
