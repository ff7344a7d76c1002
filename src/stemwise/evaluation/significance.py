"""Is a difference more than chance? Paired Wilcoxon signed-rank test, DeLong's test of AU-ROCs.

Both are two-sided by default; tables mark p < 0.05. Stoller et al. 2018 test separation scores per
track by the first and AU-ROCs, with every frame of every song as a sample, by the second. Frames
of one song resemble each other, so that DeLong's p over frames is too small; aggregating to
seconds first (`detection.median_per_second`) makes that milder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import stats

from stemwise.errors import EvaluationError
from stemwise.evaluation import detection

Real: TypeAlias = npt.NDArray[np.float64]
Alternative = Literal["two-sided", "greater", "less"]


@dataclass(frozen=True)
class Wilcoxon:
    """Result of the paired Wilcoxon signed-rank test.

    `statistic`: the smaller of the two rank sums (two-sided), else that of the positive
    differences. `p`: NaN where no pair could be compared, 1 where all pairs are equal. `pairs`:
    compared, equal ones included. `equal`: pairs without a difference. `left_out`: pairs with a
    NaN or an infinity. `median_difference`: of first minus second over the compared pairs.
    """

    statistic: float
    p: float
    pairs: int
    equal: int
    left_out: int
    median_difference: float


def wilcoxon(
    first: npt.ArrayLike, second: npt.ArrayLike, alternative: Alternative = "two-sided"
) -> Wilcoxon:
    """Test whether scores (track,) of the same tracks differ in their median.

    Wilcoxon 1945, by SciPy: exact for up to 50 differences without ties, else the normal
    approximation with correction for ties. Pairs in which either score is NaN (an undefined score)
    or infinite are left out; pairs without a difference are dropped before ranking, as Wilcoxon
    did (Pratt's way would rank them). "greater": the first is higher. Raises EvaluationError where
    the two are not of the same tracks.
    """
    one, other = (np.asarray(side, np.float64) for side in (first, second))
    if one.shape != other.shape or one.ndim != 1:
        raise EvaluationError(
            f"Scores of shapes {one.shape} and {other.shape} cannot be paired: give one score per "
            "track, in the same order."
        )
    if alternative not in ("two-sided", "greater", "less"):
        raise EvaluationError(f"There is no alternative {alternative!r}.")
    usable = np.isfinite(one) & np.isfinite(other)
    differences = one[usable] - other[usable]
    changed = differences[differences != 0]
    left_out, equal = int(usable.size - usable.sum()), differences.size - changed.size
    if not differences.size:
        return Wilcoxon(float("nan"), float("nan"), 0, 0, left_out, float("nan"))
    median = float(np.median(differences))
    if not changed.size:
        return Wilcoxon(0.0, 1.0, differences.size, equal, left_out, median)
    result = stats.wilcoxon(changed, alternative=alternative)
    return Wilcoxon(
        float(result.statistic), float(result.pvalue), differences.size, equal, left_out, median
    )


@dataclass(frozen=True)
class DeLong:
    """Result of DeLong's test of two AU-ROCs on the same frames.

    `first`, `second`: areas in [0, 1]. `difference`: first minus second, with its
    `standard_error` and 95 % confidence `interval`. `z`: difference by standard error.
    """

    first: float
    second: float
    difference: float
    standard_error: float
    interval: tuple[float, float]
    z: float
    p: float


def delong(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    labels: npt.ArrayLike,
    alternative: Alternative = "two-sided",
) -> DeLong:
    """Test whether two detectors' scores (frame,) have different AU-ROC on the same labels.

    DeLong, DeLong & Clarke-Pearson 1988. Detectors that rank all frames alike give z = 0, p = 1; a
    difference without variance (two perfect or wholly wrong rankings) has z = +-inf, p = 0. Raises
    EvaluationError as `au_roc_covariance` does.
    """
    if alternative not in ("two-sided", "greater", "less"):
        raise EvaluationError(f"There is no alternative {alternative!r}.")
    areas, covariance = au_roc_covariance([first, second], labels)
    difference = float(areas[0] - areas[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    # rounding leaves about this much of a variance that is zero
    if variance <= 1e-15 * float(covariance[0, 0] + covariance[1, 1]):
        variance = 0.0
    error = float(np.sqrt(variance))
    with np.errstate(divide="ignore"):
        z = float(np.divide(difference, error)) if difference else 0.0
    tails = {"two-sided": 2 * stats.norm.sf(abs(z)), "greater": stats.norm.sf(z)}
    p = float(tails.get(alternative, stats.norm.cdf(z)))
    reach = float(stats.norm.ppf(0.975)) * error
    interval = (difference - reach, difference + reach)
    return DeLong(float(areas[0]), float(areas[1]), difference, error, interval, z, p)


def au_roc_covariance(
    scores: Sequence[npt.ArrayLike] | Real, labels: npt.ArrayLike
) -> tuple[Real, Real]:
    """AU-ROCs (detector,) and the covariance (detector, detector) of their estimates.

    scores: (detector, frame), larger for active. labels: (frame,), above 0.5 for active. The
    structural components of DeLong et al. 1988 by mid-ranks (Sun & Xu 2014), O(n log n) per
    detector instead of O(n^2). Raises EvaluationError with fewer than two frames of a class, whose
    variance is undefined, for NaN, and for scores that do not fit the labels.
    """
    stack = [detection.validate(row, labels) for row in scores]
    if not stack:
        raise EvaluationError("There are no scores to compare.")
    values, active = np.stack([row for row, _ in stack]), stack[0][1]
    positives, negatives = int(active.sum()), int((~active).sum())
    if min(positives, negatives) < 2:
        raise EvaluationError(
            f"{positives} active and {negatives} inactive frames are too few: the variance of an "
            "AU-ROC needs two of each."
        )
    above = np.empty((len(values), positives))
    below = np.empty((len(values), negatives))
    for index, row in enumerate(values):
        ranks = mid_ranks(row)
        # how many of the other class each frame beats, ties counted half
        above[index] = (ranks[active] - mid_ranks(row[active])) / negatives
        below[index] = 1 - (ranks[~active] - mid_ranks(row[~active])) / positives
    covariance = np.cov(above).reshape(len(values), -1) / positives
    covariance = covariance + np.cov(below).reshape(len(values), -1) / negatives
    return above.mean(axis=1), covariance


def mid_ranks(values: Real) -> Real:
    """Ranks from 1 on of (frame,), equal values sharing the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Real = (last - (counts - 1) / 2)[inverse]
    return ranks
