"""BSS Eval v4: SDR, ISR, SIR and SAR as museval gives them, from arrays, files or streams.

Definition (museval 0.4, mode v4). One FIR filter of 512 taps per reference and estimate channel,
least squares over the whole track, projects each estimate onto its own source (A) and onto all
sources (P). With R the reference and E the estimate, each window of 1 s gives, in dB,

    SDR = |R|^2 / |R - E|^2      ISR = |R|^2 / |A - R|^2
    SIR = |A|^2 / |P - A|^2      SAR = |P|^2 / |E - P|^2

where A and P come from the samples of the window alone, tails of the filters included. A zero
denominator gives inf, a zero numerator -inf. There is no permutation: estimate j is scored
against source j. An incomplete last window is not scored but counts in the filters.

Silence. A signal is silent where the sum over its channels is exactly zero. A window in which any
reference or estimate is silent is NaN for all sources, with the reason in `BssEval.silent`. A
signal that is silent from beginning to end is an error, or, with silent="nan", makes all windows
NaN.

Aggregation is left to the caller; usual is the median over windows (infinities taken as NaN, NaN
left out), then the median or the mean over tracks.

Deviations from museval: references that depend on each other exactly often have no value there on
recent NumPy (an AttributeError), and always one here, since the projections are determined even
where the filters are not; tracks too short to determine them are refused. Memory does not grow with
the length, except for the scores themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from stemwise.errors import EvaluationError
from stemwise.evaluation.blocks import (
    BlockSource,
    PairedBlocks,
    Samples,
    array_blocks,
    file_blocks,
    file_format,
)
from stemwise.evaluation.correlations import Correlator
from stemwise.evaluation.energies import (
    ARTEFACTS,
    EVERY,
    INTERFERENCE,
    OWN,
    SPATIAL,
    Energies,
    window_energies,
)
from stemwise.evaluation.filters import TAPS, Solver, fit_filters
from stemwise.evaluation.framing import Framing
from stemwise.evaluation.parallel import Workers, workers
from stemwise.heap import keep_heap

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BssEval:
    """Scores of one track in dB, each (source, window); may be NaN or infinite.

    `times` (window,) are the windows' beginnings in seconds. `silent` has for every window the
    reason why it is NaN, or None. `solver` says how the filters were found: "cholesky", or, where
    rounding or dependent references make that impossible, "lu" or "lstsq" (least squares).
    """

    sdr: Scores
    isr: Scores
    sir: Scores
    sar: Scores
    times: npt.NDArray[np.float64]
    silent: tuple[str | None, ...]
    solver: Solver


def bss_eval(
    references: npt.ArrayLike,
    estimates: npt.ArrayLike,
    sample_rate: float,
    window: float = 1.0,
    hop: float = 1.0,
    *,
    filters: int = TAPS,
    silent: Literal["raise", "nan"] = "raise",
    threads: int | None = None,
) -> BssEval:
    """Score `estimates` against `references`, arrays (source, channel, sample) or (source, sample).

    `window` and `hop` are in seconds, rounded down to samples; math.inf: the whole track. `filters`
    is the number of taps. `threads`: None for one per CPU.

    Raises EvaluationError for shapes that differ, samples that are NaN or infinite, tracks that are
    too short for the filters, and, with silent="raise", signals that are silent throughout.
    """
    true, found = _array(references, "references"), _array(estimates, "estimates")
    if true.shape != found.shape:
        raise EvaluationError(
            f"References of shape {true.shape} and estimates of shape {found.shape} cannot be "
            "compared: give both the same sources, channels and samples."
        )
    return bss_eval_stream(
        array_blocks(true),
        array_blocks(found),
        sample_rate,
        window,
        hop,
        filters=filters,
        silent=silent,
        threads=threads,
        quantise=False,
    )


def bss_eval_files(
    references: Sequence[str | Path],
    estimates: Sequence[str | Path],
    window: float = 1.0,
    hop: float = 1.0,
    *,
    filters: int = TAPS,
    silent: Literal["raise", "nan"] = "raise",
    threads: int | None = None,
    quantise: bool = True,
    fit_length: bool = False,
) -> BssEval:
    """Score files against files, one per source, reading them twice in blocks.

    `quantise` rounds samples to 16 bits, as museval's data loader musdb does. `fit_length` cuts or
    zero-pads estimates at their end to the references' length. Raises AudioError for files that
    cannot be read, EvaluationError where rates, channels or lengths differ and as `bss_eval`.
    """
    true, found = [Path(path) for path in references], [Path(path) for path in estimates]
    if len(true) != len(found):
        raise EvaluationError(
            f"There are {len(true)} references and {len(found)} estimates: give one estimate per "
            "source, in the same order."
        )
    sample_rate, _ = file_format([*true, *found])
    return bss_eval_stream(
        file_blocks(true, quantised=quantise),
        file_blocks(found, quantised=quantise),
        sample_rate,
        window,
        hop,
        filters=filters,
        silent=silent,
        threads=threads,
        quantise=False,
        fit_length=fit_length,
    )


def bss_eval_stream(
    references: BlockSource,
    estimates: BlockSource,
    sample_rate: float,
    window: float = 1.0,
    hop: float = 1.0,
    *,
    filters: int = TAPS,
    silent: Literal["raise", "nan"] = "raise",
    threads: int | None = None,
    quantise: bool = True,
    fit_length: bool = False,
) -> BssEval:
    """Score what two sources of blocks (source, channel, sample) give; each is called twice.

    Blocks may have any length, and other lengths in `estimates` than in `references`. Sums of
    stems may exceed 16 bits: round their parts with `quantise` of `evaluation.blocks` and leave it
    off here. Everything else as in `bss_eval` and `bss_eval_files`.
    """
    _check_options(sample_rate, window, hop, filters, silent)
    keep_heap()
    blocks = PairedBlocks(references, estimates, quantise, fit_length)
    with workers(threads) as pool:
        samples, channels, correlations, quiet = _first_reading(blocks, filters, pool)
        framing = Framing(samples, *_in_samples(sample_rate, window, hop, samples))
        if not np.isfinite(correlations).all():
            raise EvaluationError(_not_a_number(blocks, sample_rate))
        if quiet.any():
            if silent == "raise":
                raise EvaluationError(_silence(quiet, "the whole track") + _REMEDY)
            return _all_nan(framing, quiet, sample_rate)
        _check_length(samples, len(correlations), filters)
        fitted = fit_filters(correlations, channels)
        energies = window_energies(blocks, framing, fitted, channels, pool)
    return _scores(energies, framing, sample_rate, fitted.solver)


def _first_reading(
    blocks: PairedBlocks, filters: int, pool: Workers
) -> tuple[int, int, Scores, npt.NDArray[np.bool_]]:
    """Samples, channels, correlations (reference, signal, lag), and which signals are silent."""
    correlator, channels, quiet = None, 0, np.ones(0, np.bool_)
    for pair in pool.ahead(blocks):
        if correlator is None:
            sources, channels = pair[0].shape[:2]
            rows = sources * channels
            correlator = Correlator(2 * rows, rows, filters, pool)
            quiet = np.ones(2 * sources, np.bool_)
        correlator.add(*pair)
        _note_silence(quiet, pair)
    if correlator is None:
        raise EvaluationError("The references have no samples: there is nothing to score.")
    return correlator.samples, channels, correlator.finish(), quiet


def decibels(numerator: Scores, denominator: Scores) -> Scores:
    """10 log10 of a ratio of energies; inf where the denominator is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(denominator == 0, np.inf, 10 * np.log10(numerator / denominator))


_REMEDY = ': leave that source out, or ask for silent="nan".'


def _scores(energies: Energies, framing: Framing, sample_rate: float, solver: Solver) -> BssEval:
    reasons = tuple(
        _silence(quiet, "this window") if quiet.any() else None for quiet in energies.silent.T
    )
    scored = ~energies.silent.any(axis=0)

    def ratio(numerator: Scores, denominator: Scores) -> Scores:
        return np.where(scored, decibels(numerator, denominator), np.nan)

    parts = energies.parts
    return BssEval(
        sdr=ratio(energies.reference, energies.error),
        isr=ratio(energies.reference, parts[SPATIAL]),
        sir=ratio(parts[OWN], parts[INTERFERENCE]),
        sar=ratio(parts[EVERY], parts[ARTEFACTS]),
        times=framing.starts() / sample_rate,
        silent=reasons,
        solver=solver,
    )


def _all_nan(framing: Framing, quiet: npt.NDArray[np.bool_], sample_rate: float) -> BssEval:
    nan = np.full((quiet.size // 2, framing.count), np.nan)
    reason = _silence(quiet, "the whole track")
    return BssEval(
        sdr=nan,
        isr=nan.copy(),
        sir=nan.copy(),
        sar=nan.copy(),
        times=framing.starts() / sample_rate,
        silent=(reason,) * framing.count,
        solver="cholesky",
    )


def _array(samples: npt.ArrayLike, name: str) -> Samples:
    array = np.asarray(samples)
    if array.dtype.kind not in "fiu":
        raise EvaluationError(f"The {name} are not real numbers: give samples in [-1, 1].")
    if array.ndim == 2:
        array = array[:, None]
    if array.ndim != 3 or 0 in array.shape:
        raise EvaluationError(
            f"The {name} have shape {array.shape}: give (source, channel, sample) or "
            "(source, sample), none of them empty."
        )
    return array


def _check_options(
    sample_rate: float, window: float, hop: float, filters: int, silent: str
) -> None:
    if not (sample_rate > 0 and math.isfinite(sample_rate)):
        raise EvaluationError("The sample rate must be a positive number of Hz.")
    if not (window * sample_rate >= 1 and hop * sample_rate >= 1):
        raise EvaluationError("The window and the hop must last at least one sample.")
    if filters < 1:
        raise EvaluationError("The distortion filters must have at least one tap.")
    if silent not in ("raise", "nan"):
        raise ValueError("silent is 'raise' or 'nan'")


def _in_samples(sample_rate: float, window: float, hop: float, samples: int) -> tuple[int, int]:
    """Window and hop in samples; what is longer than the track is as long as it."""

    def whole(seconds: float) -> int:
        # 0.29 s at 100 Hz are 28.999999999999996 samples
        return math.floor(min(seconds * sample_rate, samples) + 1e-6)

    return whole(window), max(whole(hop), 1)


def _check_length(samples: int, rows: int, filters: int) -> None:
    if samples <= (rows - 1) * filters:
        raise EvaluationError(
            f"The track has {samples} samples, too few for filters of {filters} taps from {rows} "
            f"channels: give more than {(rows - 1) * filters}, or fewer taps."
        )


def _note_silence(quiet: npt.NDArray[np.bool_], pair: tuple[Samples, Samples]) -> None:
    """Clear `quiet` (signal,) where this block has sound."""
    signals = [signal for several in pair for signal in several]
    for index in np.flatnonzero(quiet):
        quiet[index] = not signals[index].sum(axis=0, dtype=np.float64).any()


def _silence(quiet: npt.NDArray[np.bool_], where: str) -> str:
    half = quiet.size // 2
    named = [
        f"{'reference' if index < half else 'estimate'} {index % half + 1}"
        for index in np.flatnonzero(quiet).tolist()
    ]
    return f"{' and '.join(named)} silent in {where}"


def _not_a_number(blocks: PairedBlocks, sample_rate: float) -> str:
    """Where the first sample is that cannot be scored."""
    position = 0
    for pair in blocks:
        for name, several in zip(("reference", "estimate"), pair, strict=True):
            bad = np.argwhere(~np.isfinite(several))
            if len(bad):
                source, _, sample = bad[bad[:, 2].argmin()].tolist()
                time = (position + sample) / sample_rate
                return (
                    f"The {name} of source {source + 1} has a sample that is NaN or infinite at "
                    f"{time:.3f} s: repair or export it again."
                )
        position += pair[0].shape[-1]
    return "The samples are too large to be scored: scale them to [-1, 1]."
