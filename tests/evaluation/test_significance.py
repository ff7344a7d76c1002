"""Wilcoxon's and DeLong's tests against published figures, SciPy and a direct implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from stemwise.errors import EvaluationError
from stemwise.evaluation.detection import au_roc
from stemwise.evaluation.significance import au_roc_covariance, delong, mid_ranks, wilcoxon

# DeLong et al. 1988, the 43 of 49 patients with all three tests, as printed with example 8 of the
# LOGISTIC procedure in the SAS/STAT manual: albumin, total protein, K-G score, outcome
PATIENTS = """
    3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0
    1.6 5.6 5 1  3.8 5.7 5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1
    4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1
    3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1
    3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1
    3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1
    3.6 6.6 5 1
"""


@pytest.fixture
def patients() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Albumin, K-G score (turned round), total protein, outcome."""
    albumin, protein, score, outcome = np.array(PATIENTS.split(), float).reshape(-1, 4).T
    return albumin, 10 - score, protein, outcome


def test_delong_on_the_published_ovarian_cancer_data(
    patients: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    """Areas, standard errors and contrasts with the K-G score as that manual prints them."""
    albumin, score, protein, outcome = patients
    areas, covariance = au_roc_covariance([albumin, score, protein], outcome)
    np.testing.assert_allclose(areas, [0.7366, 0.7258, 0.6478], atol=5e-5)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), [0.0927, 0.1028, 0.1000], atol=5e-5)
    for first, expected in (
        (albumin, (0.0108, 0.0953, 0.0127, 0.9102)),
        (protein, (-0.0780, 0.1046, 0.5554, 0.4561)),
    ):
        result = delong(first, score, outcome)
        found = (result.difference, result.standard_error, result.z**2, result.p)
        np.testing.assert_allclose(found, expected, atol=5e-5)


def test_all_three_contrasts_at_once_give_the_published_chi_square(
    patients: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
) -> None:
    areas, covariance = au_roc_covariance(list(patients[:3]), patients[3])
    contrast = np.array([[1.0, -1.0, 0.0], [0.0, -1.0, 1.0]])
    difference = contrast @ areas
    chi_square = difference @ np.linalg.solve(contrast @ covariance @ contrast.T, difference)
    assert chi_square == pytest.approx(2.5340, abs=5e-5)
    assert stats.chi2.sf(chi_square, 2) == pytest.approx(0.2817, abs=5e-5)


def direct(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Areas and covariance by comparing every pair, as DeLong et al. define them."""
    active = scores[:, labels == 1][:, :, np.newaxis]
    inactive = scores[:, labels == 0][:, np.newaxis, :]
    wins = (active > inactive) + 0.5 * (active == inactive)
    over, under = wins.mean(axis=2), wins.mean(axis=1)
    areas = wins.mean(axis=(1, 2))
    covariance = np.zeros((len(scores), len(scores)))
    for part in (over, under):
        centred = part - areas[:, np.newaxis]
        count = part.shape[1]
        covariance += centred @ centred.T / (count - 1) / count
    return areas, covariance


@settings(max_examples=60, deadline=None)
@given(
    st.integers(2, 20), st.integers(2, 20), st.integers(1, 6), st.integers(1, 3), st.integers(0, 99)
)
def test_the_fast_covariance_is_the_direct_one(
    positives: int, negatives: int, levels: int, detectors: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([1, 0], [positives, negatives]))
    scores = rng.integers(0, levels, (detectors, labels.size)) + 0.5 * labels  # many ties
    areas, covariance = au_roc_covariance(scores, labels)
    expected_areas, expected = direct(scores, labels)
    np.testing.assert_allclose(areas, expected_areas, atol=1e-13)
    np.testing.assert_allclose(covariance, expected, atol=1e-13)
    np.testing.assert_allclose(areas, [au_roc(row, labels) for row in scores], atol=1e-13)


def test_delong_is_the_z_test_of_the_direct_covariance(rng: np.random.Generator) -> None:
    labels = rng.random(300) < 0.4
    scores = rng.standard_normal((2, 300)) + labels * [[1.0], [0.4]]
    areas, covariance = direct(scores, labels)
    error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    result = delong(*scores, labels)
    z = (areas[0] - areas[1]) / error
    assert result.z == pytest.approx(z, rel=1e-10)
    assert result.p == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-9)
    assert result.interval[0] < result.difference < result.interval[1]
    assert result.interval[1] - result.difference == pytest.approx(1.959964 * error, rel=1e-6)
    back = delong(scores[1], scores[0], labels)
    assert (back.z, back.p) == pytest.approx((-result.z, result.p))
    greater = delong(*scores, labels, alternative="greater").p
    less = delong(*scores, labels, alternative="less").p
    assert greater + less == pytest.approx(1)
    assert greater == pytest.approx(result.p / 2)


def test_delong_finds_nothing_by_chance_more_often_than_it_says() -> None:
    """Under the null hypothesis p is uniform: about 5 % of the trials are below 0.05."""
    rng = np.random.default_rng(3)
    labels = np.repeat([1, 0], 60)
    found = 0
    for _ in range(400):
        common = rng.standard_normal(120) + labels
        scores = common + rng.standard_normal((2, 120))
        found += delong(*scores, labels).p < 0.05
    assert 8 <= found <= 36  # 20 expected


def test_the_same_ranking_is_no_difference(rng: np.random.Generator) -> None:
    labels = np.tile([0, 1, 1], 20)
    scores = rng.standard_normal(60)
    result = delong(scores, np.exp(scores), labels)
    assert (result.difference, result.z, result.p) == (0, 0, 1)


def test_two_perfect_opposites_differ_for_certain() -> None:
    labels = np.array([0, 0, 1, 1])
    result = delong(labels, -labels, labels)
    assert (result.first, result.second, result.z, result.p) == (1, 0, math.inf, 0)


@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        ([[1, 2, 3]], [0, 0, 1], "two of each"),
        ([[1, 2, math.nan, 1]], [0, 0, 1, 1], "NaN"),
        ([[1, 2, 3]], [0, 0, 1, 1], "one label per frame"),
        ([], [0, 0, 1, 1], "no scores"),
        ([[1, 2, 3, 4], [1, 2, 3]], [0, 0, 1, 1], "one label per frame"),
    ],
)
def test_delong_refuses_what_has_no_variance(
    scores: list[list[float]], labels: list[int], words: str
) -> None:
    with pytest.raises(EvaluationError, match=words):
        au_roc_covariance(scores, labels)


@given(st.lists(st.integers(-3, 3), max_size=30))
def test_mid_ranks_are_those_of_scipy(values: list[int]) -> None:
    found = mid_ranks(np.asarray(values, float))
    np.testing.assert_array_equal(found, stats.rankdata(values))


def test_wilcoxon_of_distinct_differences_is_exact() -> None:
    """Differences 1 to 6, one of them negative: the rank sums and p are countable by hand."""
    first = np.array([1.0, 2.0, -3.0, 4.0, 5.0, 6.0])
    result = wilcoxon(first, np.zeros(6))
    # 5 of the 64 sign patterns have a negative rank sum of at most 3
    assert (result.statistic, result.p) == (3, pytest.approx(2 * 5 / 64))
    assert (result.pairs, result.equal, result.left_out) == (6, 0, 0)
    assert result.median_difference == 3


def test_wilcoxon_leaves_out_undefined_pairs_and_drops_equal_ones(rng: np.random.Generator) -> None:
    first, second = rng.standard_normal((2, 12))
    expected = stats.wilcoxon(first, second)
    padded = np.concatenate([first, [np.nan, 1, np.inf, 5, 7]])
    other = np.concatenate([second, [1, np.nan, 2, 5, 7]])
    result = wilcoxon(padded, other)
    assert (result.p, result.statistic) == (expected.pvalue, expected.statistic)
    assert (result.pairs, result.equal, result.left_out) == (14, 2, 3)


def test_wilcoxon_without_a_difference_and_without_a_pair() -> None:
    same = wilcoxon([1, 2, 3], [1, 2, 3])
    assert (same.p, same.equal) == (1, 3)
    nothing = wilcoxon([np.nan], [1])
    assert math.isnan(nothing.p)
    assert nothing.left_out == 1
    with pytest.raises(EvaluationError, match="same order"):
        wilcoxon([1, 2], [1])


def test_one_sided_wilcoxon_knows_the_direction(rng: np.random.Generator) -> None:
    second = rng.standard_normal(30)
    first = second + 0.5 + 0.1 * rng.standard_normal(30)
    assert wilcoxon(first, second, "greater").p < 1e-6
    assert wilcoxon(first, second, "less").p > 0.99
