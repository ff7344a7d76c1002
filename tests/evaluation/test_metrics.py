"""uSDR, SI-SDR, MSE and the levels in the windows that BSS Eval leaves out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal as filtering

from stemwise.errors import EvaluationError
from stemwise.evaluation.bss_eval import bss_eval
from stemwise.evaluation.bss_eval_v3 import bss_eval_images_framewise
from stemwise.evaluation.loudness import integrated_loudness
from stemwise.evaluation.metrics import (
    input_sdr,
    magnitude_mse,
    mse,
    non_vocal_level,
    rms,
    si_sdr,
    usdr,
)


@pytest.fixture
def stems(rng: np.random.Generator) -> np.ndarray:
    """Three stereo sources, (source, channel, sample)."""
    return 0.1 * rng.standard_normal((3, 2, 4000))


def test_usdr_is_the_challenge_formula(stems: np.ndarray, rng: np.random.Generator) -> None:
    estimates = stems + 0.01 * rng.standard_normal(stems.shape)
    error = ((stems - estimates) ** 2).sum(axis=(1, 2))
    expected = 10 * np.log10(((stems**2).sum(axis=(1, 2)) + 1e-7) / (error + 1e-7))
    np.testing.assert_allclose(usdr(stems, estimates), expected)
    # noise 20 dB below the source
    np.testing.assert_allclose(usdr(stems, estimates), 20, atol=0.5)


def test_a_perfect_estimate_has_the_highest_usdr(stems: np.ndarray) -> None:
    energy = np.square(stems).sum(axis=(1, 2))
    np.testing.assert_allclose(usdr(stems, stems), 10 * np.log10((energy + 1e-7) / 1e-7))
    assert (usdr(stems, stems, delta=0) == math.inf).all()
    np.testing.assert_allclose(usdr(stems, 0 * stems), 0, atol=1e-6)


@pytest.mark.parametrize("metric", [usdr, si_sdr])
def test_a_silent_reference_has_no_score(metric: object, stems: np.ndarray) -> None:
    assert callable(metric)
    references = stems.copy()
    references[1] = 0
    scores = metric(references, stems)
    assert np.isnan(scores).tolist() == [False, True, False]
    with pytest.raises(EvaluationError, match="source 1 is silent"):
        metric(references, stems, silent="raise")
    with pytest.raises(EvaluationError, match="'raise' or 'nan'"):
        metric(references, stems, silent="no")


def test_si_sdr_of_orthogonal_noise_is_its_level(rng: np.random.Generator) -> None:
    reference = rng.standard_normal((1, 2, 1000))
    noise = rng.standard_normal(reference.shape)
    noise -= reference * np.vdot(reference, noise) / np.vdot(reference, reference)
    noise *= np.sqrt(np.vdot(reference, reference) / np.vdot(noise, noise)) / 10
    assert si_sdr(reference, reference + noise) == pytest.approx(20)
    assert si_sdr(reference, noise)[0] < -200  # nothing but rounding is left of the reference
    assert np.isnan(si_sdr(reference, 0 * reference)).all()


@settings(deadline=None, max_examples=30)
@given(st.floats(0.01, 100), st.booleans(), st.integers(0, 99))
def test_si_sdr_does_not_know_the_scale(scale: float, turned: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    references, estimates = rng.standard_normal((2, 2, 1, 300))
    factor = -scale if turned else scale
    np.testing.assert_allclose(
        si_sdr(references, factor * estimates), si_sdr(references, estimates)
    )


def test_si_sdr_shares_one_scale_between_channels(rng: np.random.Generator) -> None:
    reference = rng.standard_normal((1, 2, 500))
    panned = reference * [[[1.0], [0.2]]]
    assert si_sdr(reference, panned)[0] < 10
    assert si_sdr(reference[:, :1], panned[:, :1])[0] > 200
    assert si_sdr(reference + 5, reference, zero_mean=True)[0] > 200


def test_mse_is_defined_for_silence(stems: np.ndarray) -> None:
    np.testing.assert_allclose(mse(0 * stems, stems), np.mean(stems**2, axis=(1, 2)))
    assert (mse(stems, stems) == 0).all()


@pytest.mark.parametrize("compression", ["log1p", "none"])
def test_magnitude_mse_is_that_of_scipys_spectra(stems: np.ndarray, compression: str) -> None:
    references, estimates = stems[:2, :, :3840], stems[1:, :, :3840]  # 15 whole hops
    spectra = [
        np.abs(filtering.stft(side, nperseg=512, noverlap=256, padded=False)[2]) * 256
        for side in (references, estimates)
    ]
    if compression == "log1p":
        spectra = [np.log1p(one) for one in spectra]
    expected = np.square(spectra[0] - spectra[1]).mean(axis=(1, 2, 3))
    found = magnitude_mse(references, estimates, compression=compression)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, expected)


def test_the_mixture_is_the_estimate_to_beat(stems: np.ndarray) -> None:
    mixture = stems.sum(axis=0)
    expected = usdr(stems, np.stack([mixture] * 3))
    np.testing.assert_array_equal(input_sdr(stems), expected)
    np.testing.assert_array_equal(input_sdr(stems, mixture), expected)
    np.testing.assert_allclose(expected, -3, atol=0.3)  # two others as loud as the source
    with pytest.raises(EvaluationError, match="does not belong"):
        input_sdr(stems, mixture[:, :-1])


def test_references_and_estimates_must_fit(stems: np.ndarray) -> None:
    for metric in (usdr, si_sdr, mse, magnitude_mse):
        with pytest.raises(EvaluationError, match="cannot be compared"):
            metric(stems, stems[:2])
        with pytest.raises(EvaluationError, match="NaN"):
            metric(stems, stems * np.nan)


RATE = 8000


@settings(deadline=None, max_examples=15)
@given(
    samples=st.integers(RATE + 1, 4 * RATE),
    silences=st.lists(st.tuples(st.floats(0, 3.5), st.floats(0.5, 2.5)), max_size=3),
    hop=st.sampled_from([0.5, 1.0]),
)
def test_the_windows_are_those_without_an_sdr(
    samples: int, silences: list[tuple[float, float]], hop: float
) -> None:
    """As only the reference is ever silent, a window is measured where BSS Eval has no value."""
    rng = np.random.default_rng(samples)
    references, estimates = rng.standard_normal((2, 2, 1, samples))
    for start, length in silences:
        references[0, :, int(start * RATE) : int((start + length) * RATE)] = 0
    v4 = bss_eval(references, estimates, RATE, 1.0, hop, silent="nan", threads=1)
    found = non_vocal_level(estimates[0], references[0], RATE, hop=hop)
    times = np.asarray(v4.times)
    assert found.windows == len(times)
    np.testing.assert_allclose(found.times, times[np.isnan(v4.sdr[0])])
    v3 = bss_eval_images_framewise(references, estimates, RATE, 1, hop, silent="nan", threads=1)
    found = non_vocal_level(estimates[0], references[0], RATE, 1, hop, version="v3")
    np.testing.assert_allclose(found.times, v3.times[np.isnan(v3.sdr[0])])


def test_levels_are_those_of_the_estimate_in_the_window(rng: np.random.Generator) -> None:
    reference = 0.1 * rng.standard_normal((2, 4 * RATE))
    estimate = 0.01 * rng.standard_normal((2, 4 * RATE))
    reference[:, RATE : 3 * RATE] = 0
    estimate[:, 2 * RATE : 3 * RATE] = 0
    found = non_vocal_level(estimate, reference, RATE)
    assert found.times.tolist() == [1, 2]
    piece = estimate[:, RATE : 2 * RATE]
    assert found.rms.tolist() == [pytest.approx(np.sqrt(np.mean(piece**2))), 0]
    assert found.level.tolist() == [pytest.approx(20 * np.log10(rms(piece))), -math.inf]
    assert found.loudness.tolist() == [pytest.approx(integrated_loudness(piece, RATE)), -math.inf]
    assert found.mean_rms == pytest.approx(found.rms[0] / 2)
    assert found.mean_loudness == pytest.approx(found.loudness[0] - 10 * np.log10(2))


def test_opposite_channels_are_left_out_as_bss_eval_does(rng: np.random.Generator) -> None:
    left = rng.standard_normal(2 * RATE)
    found = non_vocal_level(np.stack([left, left]), np.stack([left, -left]), RATE)
    assert found.times.tolist() == [0, 1]


def test_a_song_without_silence_has_no_such_level(rng: np.random.Generator) -> None:
    reference = rng.standard_normal(2 * RATE)  # one channel
    found = non_vocal_level(reference, reference, RATE)
    assert (found.times.size, found.windows) == (0, 2)
    assert math.isnan(found.mean_rms)
    assert math.isnan(found.mean_loudness)
    with pytest.raises(EvaluationError, match="greater than zero"):
        non_vocal_level(reference, reference, RATE, hop=0)
    with pytest.raises(EvaluationError, match="v4 or v3"):
        non_vocal_level(reference, reference, RATE, version="v2")  # type: ignore[arg-type]
