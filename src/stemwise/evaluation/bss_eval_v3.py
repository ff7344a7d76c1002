"""BSS Eval v3: `bss_eval_sources` and `bss_eval_images` as mir_eval and the MATLAB toolbox do.

Definition (Vincent et al. 2006 and 2012). FIR filters of 512 taps, least squares over the signal,
project an estimate E onto its own reference (A) and onto all references (P). With R the reference,
in dB, tails of the filters included and all channels summed:

    sources   SDR = |A|^2 / |E - A|^2     SIR = |A|^2 / |P - A|^2     SAR = |P|^2 / |E - P|^2
    images    SDR = |R|^2 / |E - R|^2     ISR = |R|^2 / |A - R|^2     SIR, SAR as above

`sources` forgives any filtering of the source and takes one channel; `images` does not forgive it
in its SDR and ISR, and takes any number of channels. Unlike v4, every window has filters of its
own. A zero denominator gives inf, a zero numerator -inf.

Aggregation of the framewise forms is left to the caller; SiSEC 2016, and with it Stoller et al.
2018, take 30 s windows, 15 s apart, and the mean over the windows that have scores.

Silence. A signal is silent where the sum over its channels is exactly zero throughout, as in
mir_eval. Framewise, a window with a silent reference or estimate is NaN for all sources, with the
reason in `silent`. A signal that is silent from beginning to end is an error, or, with
silent="nan", makes all scores NaN.

Deviations from mir_eval. References are not permuted unless asked. Empty input, NaN and infinities
are errors. All metrics of a left-out window are NaN (mir_eval leaves its ISR uninitialised), its
permutation -1. References that depend on each other (equal channels, a silent channel) are
projected onto exactly, by a pivoted Cholesky factorisation; mir_eval solves the singular system as
it is, which costs it up to 1e-4 dB, or raises an AttributeError on NumPy 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias, overload

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from stemwise.errors import EvaluationError
from stemwise.evaluation.arrays import paired
from stemwise.evaluation.arrays import silent as is_silent
from stemwise.evaluation.filters import Solver
from stemwise.evaluation.projections import energies, fit

Real: TypeAlias = npt.NDArray[np.float64]
Silent = Literal["raise", "nan"]

MOST_CHANNELS = 64
"""Reference channels whose normal equations (8 GB) are still attempted."""


@dataclass(frozen=True, eq=False)
class SourceScores:
    """Scores in dB, (source,), or (source, window) of the framewise form; may be NaN or infinite.

    `permutation`, integers of the same shape: which estimate was scored against each reference, -1
    where there are no scores. `times` (window,): beginnings in seconds. `silent`: for every window
    the reason why it is NaN, or None. `solver`: "lstsq" where references depend on each other.
    """

    sdr: Real
    sir: Real
    sar: Real
    permutation: npt.NDArray[np.int64]
    times: Real
    silent: tuple[str | None, ...]
    solver: Solver


@dataclass(frozen=True, eq=False)
class ImageScores(SourceScores):
    """Scores of `bss_eval_images`: those of `SourceScores` and the ISR."""

    isr: Real


def bss_eval_sources(
    references: npt.ArrayLike,
    estimates: npt.ArrayLike,
    permutation: bool = False,
    *,
    silent: Silent = "raise",
    threads: int | None = None,
) -> SourceScores:
    """SDR, SIR and SAR (source,) of whole signals (source, sample) or (source, 1, sample).

    `permutation`: match estimates to references so that the mean SIR is highest, else estimate j
    is scored against reference j. `threads`: None for one per CPU. See the module for definition
    and silence. Raises EvaluationError.
    """
    pair = validate(references, estimates, one_channel=True)
    whole = Windows.whole(pair[0].shape[-1])
    return _score(*pair, whole, permutation, silent, threads, images=False, flat=True)


def bss_eval_images(
    references: npt.ArrayLike,
    estimates: npt.ArrayLike,
    permutation: bool = False,
    *,
    silent: Silent = "raise",
    threads: int | None = None,
) -> ImageScores:
    """SDR, ISR, SIR and SAR (source,) of whole signals (source, channel, sample).

    Arguments are as in `bss_eval_sources`; (source, sample) counts as one channel. mir_eval's
    arrays are (source, sample, channel).
    """
    pair = validate(references, estimates)
    whole = Windows.whole(pair[0].shape[-1])
    return _score(*pair, whole, permutation, silent, threads, images=True, flat=True)


def bss_eval_sources_framewise(
    references: npt.ArrayLike,
    estimates: npt.ArrayLike,
    sample_rate: float,
    window: float = 30.0,
    hop: float = 15.0,
    permutation: bool = False,
    *,
    silent: Silent = "raise",
    threads: int | None = None,
) -> SourceScores:
    """`bss_eval_sources` of every window: scores (source, window); the last incomplete one is not.

    `window` and `hop` are in seconds, rounded to samples (sample_rate=1 makes them samples). As in
    mir_eval, signals too short for two windows are scored whole, once, however much longer than a
    window they are.
    """
    pair = validate(references, estimates, one_channel=True)
    framing = Windows.of(pair[0].shape[-1], sample_rate, window, hop)
    return _score(*pair, framing, permutation, silent, threads, images=False)


def bss_eval_images_framewise(
    references: npt.ArrayLike,
    estimates: npt.ArrayLike,
    sample_rate: float,
    window: float = 30.0,
    hop: float = 15.0,
    permutation: bool = False,
    *,
    silent: Silent = "raise",
    threads: int | None = None,
) -> ImageScores:
    """`bss_eval_images` of every window, as in `bss_eval_sources_framewise`."""
    pair = validate(references, estimates)
    framing = Windows.of(pair[0].shape[-1], sample_rate, window, hop)
    return _score(*pair, framing, permutation, silent, threads, images=True)


def validate(
    references: npt.ArrayLike, estimates: npt.ArrayLike, *, one_channel: bool = False
) -> tuple[Real, Real]:
    """Both as float64 (source, channel, sample); raises EvaluationError for what has no scores."""
    true, found = paired(references, estimates)
    if one_channel and true.shape[1] > 1:
        raise EvaluationError(
            f"bss_eval_sources scores one channel, not {true.shape[1]}: average the channels of "
            "both sides, or use bss_eval_images."
        )
    if true.shape[0] * true.shape[1] > MOST_CHANNELS:
        raise EvaluationError(
            f"{true.shape[0] * true.shape[1]} reference channels are more than {MOST_CHANNELS}: "
            "score fewer sources at a time."
        )
    return true, found


@dataclass(frozen=True)
class Windows:
    """Windows of `length` samples that begin at `starts`, in samples and in seconds."""

    starts: tuple[int, ...]
    length: int
    times: Real

    @staticmethod
    def whole(samples: int) -> Windows:
        return Windows((0,), samples, np.zeros(1))

    @staticmethod
    def of(samples: int, sample_rate: float, window: float, hop: float) -> Windows:
        if not (sample_rate > 0 and window > 0 and hop > 0 and math.isfinite(sample_rate)):
            raise EvaluationError(
                "The sample rate, the window and the hop must be greater than zero, not "
                f"{sample_rate}, {window} and {hop}."
            )
        if not math.isfinite(window + hop):
            return Windows.whole(samples)
        length, step = (max(1, round(seconds * sample_rate)) for seconds in (window, hop))
        count = (samples - length + step) // step
        if count < 2:
            return Windows.whole(samples)
        starts = tuple(range(0, count * step, step))
        return Windows(starts, length, np.asarray(starts) / sample_rate)

    def cut(self, signals: Real) -> Iterator[Real]:
        """The windows (source, channel, sample) in order."""
        for start in self.starts:
            yield signals[..., start : start + self.length]


@overload
def _score(
    true: Real,
    found: Real,
    framing: Windows,
    permutation: bool,
    silent: Silent,
    threads: int | None,
    *,
    images: Literal[False],
    flat: bool = False,
) -> SourceScores: ...
@overload
def _score(
    true: Real,
    found: Real,
    framing: Windows,
    permutation: bool,
    silent: Silent,
    threads: int | None,
    *,
    images: Literal[True],
    flat: bool = False,
) -> ImageScores: ...
def _score(
    true: Real,
    found: Real,
    framing: Windows,
    permutation: bool,
    silent: Silent,
    threads: int | None,
    *,
    images: bool,
    flat: bool = False,
) -> SourceScores:
    """Score every window; `flat`: without the window axis."""
    reason = silence(true, found)
    if silent not in ("raise", "nan"):
        raise EvaluationError(f"silent must be 'raise' or 'nan', not {silent!r}.")
    if reason and silent == "raise":
        raise EvaluationError(
            f"BSS Eval is undefined: {reason} from beginning to end; leave that source out of "
            "references and estimates, or ask for NaN with silent='nan'."
        )
    sources, windows = true.shape[0], len(framing.starts)
    scores = np.full((4, sources, windows), np.nan)
    order = np.full((sources, windows), -1, np.int64)
    reasons: list[str | None] = []
    solver: Solver = "cholesky"
    for index, pair in enumerate(zip(framing.cut(true), framing.cut(found), strict=True)):
        reasons.append(reason or silence(*pair))
        if reasons[-1]:
            continue
        table, used = _ratios(*pair, permutation, images, threads)
        solver = "lstsq" if used == "lstsq" else solver
        matched = _match(table[2]) if permutation else np.arange(sources)
        order[:, index] = matched
        scores[:, :, index] = table[:, matched, np.arange(sources)]
    sdr, isr, sir, sar = (part[:, 0] if flat else part for part in scores)
    order = order[:, 0] if flat else order
    if images:
        return ImageScores(sdr, sir, sar, order, framing.times, tuple(reasons), solver, isr)
    return SourceScores(sdr, sir, sar, order, framing.times, tuple(reasons), solver)


def silence(references: Real, estimates: Real) -> str | None:
    """Which signals (source, channel, sample) are silent, in words; None: none of them."""
    parts = []
    for name, signals in (("reference", references), ("estimate", estimates)):
        quiet = np.flatnonzero(is_silent(signals)).tolist()
        parts += [f"{name} {source + 1}" for source in quiet]
    if not parts:
        return None
    return f"{' and '.join(parts)} {'is' if len(parts) == 1 else 'are'} silent"


def _match(sir: Real) -> npt.NDArray[np.int64]:
    """The estimate for each reference that makes the mean SIR (estimate, reference) highest."""
    usable = np.isfinite(sir)
    span = float(np.ptp(sir[usable])) + 1 if usable.any() else 1.0
    top = float(sir[usable].max()) if usable.any() else 0.0
    # an infinity outweighs whatever the other pairs may gain
    far = sir.shape[0] * span
    finite = np.nan_to_num(sir, nan=top - 2 * far, posinf=top + far, neginf=top - 2 * far)
    references, chosen = linear_sum_assignment(finite.T, maximize=True)
    return np.asarray(chosen[np.argsort(references)], np.int64)


def _ratios(
    true: Real, found: Real, permutation: bool, images: bool, threads: int | None
) -> tuple[Real, Solver]:
    """SDR, ISR, SIR, SAR in dB (metric, estimate, reference) of one window.

    Without permutation only the diagonal has values.
    """
    filters, solver = fit(true, found, permutation, threads)
    energy = energies(true, found, filters)
    pairs = (
        (energy.reference, energy.error) if images else (energy.own, energy.rest),
        (energy.reference, energy.spatial),
        (energy.own, energy.interference),
        (energy.every, energy.artefacts),
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        table = np.stack([10 * np.log10(above / below) for above, below in pairs])
    for ratio, (_, below) in zip(table, pairs, strict=True):
        ratio[below == 0] = np.inf
    return table, solver
