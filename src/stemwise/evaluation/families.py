"""The metrics on signals of any length: what they are called in tables, and their values.

Definitions are those of `bss_eval`, `bss_eval_v3`, `metrics` and `loudness`; here their sums and
windows come from blocks, so that no metric holds a track.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from stemwise.errors import EvaluationError
from stemwise.evaluation import bss_eval_v3, metrics
from stemwise.evaluation.arrays import silent
from stemwise.evaluation.bss_eval import bss_eval_stream
from stemwise.evaluation.loudness import integrated_loudness
from stemwise.evaluation.scores import Score, families, finite
from stemwise.evaluation.scoring import Floats, Task, cut, in_samples, level, levels
from stemwise.loudness import ABSOLUTE_GATE, SLOWEST

Facts = dict[str, Any]


def score(task: Task) -> tuple[list[Score], Facts]:
    """All metrics that the settings ask for, and facts about how they were computed."""
    facts: Facts = {}
    found: list[Score] = []
    for family in families(task.settings.metrics):
        found += _FAMILIES[family](task, facts)
    return found, facts


def _v4(task: Task, facts: Facts) -> list[Score]:
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
    loud = levels(task.estimates, length, in_samples(settings.hop, rate, samples))
    duration = min(settings.window, samples / rate)
    table = {"SDR": result.sdr, "ISR": result.isr, "SIR": result.sir, "SAR": result.sar}
    reasons = [_named(reason, task.problem.sources) for reason in result.silent]
    whole = next((one for one in reasons if one is not None and "whole track" in one), None)
    if whole is not None and settings.silent == "raise":
        raise EvaluationError(whole + REMEDY)
    return _windowed(task, table, list(result.times), duration, loud, reasons)


def _named(reason: str | None, sources: Sequence[str]) -> str | None:
    """A reason with the sources' names instead of their numbers, which count from 1."""

    def name(found: re.Match[str]) -> str:
        return f"{found[1]} of {sources[int(found[2]) - 1]}"

    return None if reason is None else re.sub(r"(reference|estimate) (\d+)", name, reason)


def _windowed(
    task: Task,
    table: Mapping[str, Floats],
    times: Sequence[float],
    duration: float,
    loud: Sequence[Sequence[float]],
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
                    tuple(loud[index]),
                    why,
                )
            )
    return found


def _v3(task: Task, facts: Facts) -> list[Score]:
    """`bss_eval_sources` of the mean over channels: it takes one channel."""
    return _framewise(task, images=False)


def _v3_images(task: Task, facts: Facts) -> list[Score]:
    return _framewise(task, images=True)


def _framewise(task: Task, *, images: bool) -> list[Score]:
    """Windows of 30 s or the whole track, each with filters of its own."""
    samples, rate = task.references.samples, task.sample_rate
    windows = bss_eval_v3.Windows.whole(samples)
    if task.settings.v3_window is not None:
        window, hop = task.settings.v3_window, task.settings.v3_hop
        windows = bss_eval_v3.Windows.of(samples, rate, window, hop)
    hop = windows.starts[1] if len(windows.starts) > 1 else samples
    names = ("SDR", "ISR", "SIR", "SAR") if images else ("SDR", "SIR", "SAR")
    suffix = "v3 images" if images else "v3"
    values: dict[str, list[Floats]] = {f"{name} {suffix}": [] for name in names}
    reasons: list[str | None] = []
    loud: list[Floats] = []
    for references, estimates in _together(task, windows.length, hop):
        if images:
            result: bss_eval_v3.SourceScores = bss_eval_v3.bss_eval_images(
                references, estimates, silent="nan", threads=task.threads
            )
        else:
            mono = [side.mean(axis=1, keepdims=True) for side in (references, estimates)]
            result = bss_eval_v3.bss_eval_sources(
                mono[0], mono[1], silent="nan", threads=task.threads
            )
        for name in names:
            values[f"{name} {suffix}"].append(getattr(result, name.lower()))
        reasons.append(_named(result.silent[0], task.problem.sources))
        loud.append(np.mean(np.square(estimates), axis=(1, 2)))
    table = {name: np.stack(columns, axis=1) for name, columns in values.items()}
    heard = [[level(float(one)) for one in row] for row in np.stack(loud, axis=1)]
    times = [float(one) for one in windows.times]
    return _windowed(task, table, times, windows.length / rate, heard, reasons)


def _together(task: Task, length: int, hop: int) -> Iterator[tuple[Floats, Floats]]:
    """The same windows of references and estimates."""
    yield from zip(cut(task.references, length, hop), cut(task.estimates, length, hop), strict=True)


def _blocks(task: Task) -> Iterator[tuple[Floats, Floats]]:
    yield from zip(task.references.blocks(), task.estimates.blocks(), strict=True)


def _energy(signals: Floats) -> Floats:
    """Sum of squares (source,)."""
    return np.asarray(np.einsum("scn,scn->s", signals, signals))


def _whole(task: Task, metric: str, values: Sequence[float], reason: str) -> list[Score]:
    """One value per source of the whole track; `reason` says why one is NaN."""
    samples = task.references.samples
    loud = levels(task.estimates, samples, samples)
    reasons = [reason if math.isnan(one) else None for one in values]
    for target, why_not in zip(task.problem.sources, reasons, strict=True):
        if why_not is not None and task.settings.silent == "raise":
            raise EvaluationError(f"{metric} of {target}: {why_not}{REMEDY}")
    found = []
    for index, target in enumerate(task.problem.sources):
        if target in task.problem.reported:
            kept, why = finite([values[index]], [reasons[index]])
            seconds = samples / task.sample_rate
            name = task.problem.name
            found.append(
                Score(target, name, metric, (0.0,), seconds, kept, tuple(loud[index]), why)
            )
    return found


def _usdr(task: Task, facts: Facts) -> list[Score]:
    energy, error = _errors(task)
    delta = metrics.MDX_DELTA
    values = [
        _decibels(one + delta, wrong + delta) if one > 0 else math.nan
        for one, wrong in zip(energy, error, strict=True)
    ]
    return _whole(task, "uSDR", values, SILENT_REFERENCE)


def _mse(task: Task, facts: Facts) -> list[Score]:
    _, error = _errors(task)
    count = task.references.channels * task.references.samples
    return _whole(task, "MSE", [float(one) / count for one in error], "")


def _errors(task: Task) -> tuple[Floats, Floats]:
    """Energies (source,) of references and of estimates less references."""
    energy = error = np.zeros(len(task.problem.sources))
    for references, estimates in _blocks(task):
        energy = energy + _energy(references)
        error = error + _energy(references - estimates)
    return energy, error


def _si_sdr(task: Task, facts: Facts) -> list[Score]:
    energy = other = inner = rest = np.zeros(len(task.problem.sources))
    for references, estimates in _blocks(task):
        energy = energy + _energy(references)
        other = other + _energy(estimates)
        inner = inner + np.einsum("scn,scn->s", references, estimates)
    factor = np.divide(inner, energy, where=energy > 0, out=np.zeros_like(energy))
    # read again, because the difference of large sums would lose what is left of a good estimate
    for references, estimates in _blocks(task):
        rest = rest + _energy(references * factor[:, None, None] - estimates)
    values = [
        _decibels(float(a * a * r), float(left)) if r > 0 and e > 0 else math.nan
        for a, r, e, left in zip(factor, energy, other, rest, strict=True)
    ]
    return _whole(task, "SI-SDR", values, "reference or estimate silent in the whole track")


REMEDY = ": leave that source out, or let silence be nan"
SILENT_REFERENCE = "reference silent in the whole track"
NEVER_SILENT = "the reference is silent in no window"


def _decibels(above: float, below: float) -> float:
    if below == 0:
        return math.inf
    return 10 * math.log10(above / below) if above > 0 else -math.inf


def _non_vocal(task: Task, facts: Facts) -> list[Score]:
    """What estimates hold in the windows of v4 in which their reference is silent."""
    settings, rate, samples = task.settings, task.sample_rate, task.references.samples
    length = in_samples(settings.window, rate, samples)
    hop = in_samples(settings.hop, rate, samples)
    audible = task.references.channels <= 2 and rate >= SLOWEST
    found: dict[str, list[tuple[float, float, float]]] = {
        name: [] for name in task.problem.reported
    }
    for number, (references, estimates) in enumerate(_together(task, length, hop)):
        for at in np.flatnonzero(silent(references)):
            name = task.problem.sources[at]
            if name in found:
                one = estimates[at]
                lufs = integrated_loudness(one, rate) if audible else math.nan
                found[name].append(
                    (number * hop / rate, metrics.rms(one), max(lufs, ABSOLUTE_GATE))
                )
    return [
        score
        for name, rows in found.items()
        for score in _in_silence(task, name, rows, length / rate, audible)
    ]


def _in_silence(
    task: Task,
    name: str,
    rows: Sequence[tuple[float, float, float]],
    duration: float,
    audible: bool,
) -> list[Score]:
    times = tuple(row[0] for row in rows) or (0.0,)
    heard = tuple(level(row[1] ** 2) for row in rows) or (math.nan,)
    nothing = (NEVER_SILENT,)
    scores = []
    for metric, column in (("RMS in silence", 1), ("loudness in silence", 2)):
        values = tuple(row[column] for row in rows) or (math.nan,)
        why: tuple[str | None, ...] = (None,) * len(rows) or nothing
        if column == 2 and not audible:
            values = (math.nan,) * len(values)
            why = ("loudness needs one or two channels at 4 kHz or more",) * len(values)
        problem = task.problem.name
        scores.append(Score(name, problem, metric, times, duration, values, heard, why))
    return scores


_FAMILIES: dict[str, Callable[[Task, Facts], list[Score]]] = {
    "v4": _v4,
    "v3": _v3,
    "v3-images": _v3_images,
    "usdr": _usdr,
    "si-sdr": _si_sdr,
    "mse": _mse,
    "non-vocal": _non_vocal,
}
