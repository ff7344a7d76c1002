"""Oracles: definitions, exact lengths, silence, memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal as filtering

from stemwise.errors import EvaluationError
from stemwise.evaluation.metrics import usdr
from stemwise.evaluation.oracle import ORACLES, oracle


def stems(rng: np.random.Generator, sources: int, channels: int, samples: int) -> np.ndarray:
    """Sources that differ in colour and panorama, (source, channel, sample)."""
    noise = rng.standard_normal((sources, 1, samples))
    coloured = [
        filtering.lfilter([1.0], [1.0, -pole], one)
        for one, pole in zip(noise, np.linspace(-0.9, 0.9, sources), strict=True)
    ]
    return np.stack(coloured) * rng.uniform(0.2, 1, (sources, channels, 1))


def scipys(signals: np.ndarray) -> np.ndarray:
    """Spectra (..., bin, frame) as SiSEC's oracles compute them."""
    return np.asarray(filtering.stft(signals, nperseg=2048)[2])


def back(spectra: np.ndarray, samples: int) -> np.ndarray:
    return np.asarray(filtering.istft(spectra, nperseg=2048)[1][..., :samples])


@pytest.mark.parametrize("exponent", [1, 2])
def test_the_ratio_mask_is_that_of_sisec(rng: np.random.Generator, exponent: int) -> None:
    references = stems(rng, 3, 2, 10 * 1024)
    spectra = scipys(references)
    power = np.abs(spectra) ** exponent
    expected = back(power / power.sum(axis=0) * scipys(references.sum(axis=0)), 10 * 1024)
    np.testing.assert_allclose(oracle("irm", references, exponent=exponent), expected, atol=1e-10)


def test_the_binary_mask_is_that_of_sisec(rng: np.random.Generator) -> None:
    references = stems(rng, 3, 2, 10 * 1024)
    mixture = scipys(references.sum(axis=0))
    mask = np.abs(scipys(references)) / (np.finfo(float).eps + np.abs(mixture)) >= 0.5
    np.testing.assert_allclose(
        oracle("ibm", references), back(mask * mixture, 10 * 1024), atol=1e-9
    )


def test_the_amplitude_mask_is_cut_off_at_ten(rng: np.random.Generator) -> None:
    references = stems(rng, 2, 1, 5 * 1024)
    references[1] = -0.97 * references[0]  # nearly nothing is left of either in the mixture
    mixture = references.sum(axis=0)
    np.testing.assert_allclose(oracle("iam", references)[0], 10 * mixture, atol=1e-9)
    one = stems(rng, 1, 1, 3000)
    np.testing.assert_allclose(oracle("iam", one), one, atol=1e-9)


def test_one_channel_makes_the_wiener_filter_a_ratio_mask(rng: np.random.Generator) -> None:
    references = stems(rng, 3, 1, 9000)
    np.testing.assert_allclose(oracle("mwf", references), oracle("irm", references), atol=1e-6)


def test_the_wiener_filter_unmixes_two_places(rng: np.random.Generator) -> None:
    """Two sources at two places in two channels: no mask can do it, the spatial filter can."""
    references = rng.standard_normal((2, 1, 20_000)) * [[[1.0], [0.3]], [[0.4], [1.0]]]
    filtered, masked = oracle("mwf", references), oracle("irm", references)
    assert (usdr(references, filtered) > 60).all()
    assert (usdr(references, masked) < 20).all()


@pytest.mark.parametrize("name", ["irm", "mwf", "equal"])
def test_these_sum_to_the_mixture(name: str, rng: np.random.Generator) -> None:
    references = stems(rng, 4, 2, 12_345)
    references[2, :, 3000:9000] = 0
    estimates = oracle(name, references)
    np.testing.assert_allclose(estimates.sum(axis=0), references.sum(axis=0), atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(ORACLES),
    sources=st.integers(1, 3),
    channels=st.integers(1, 3),
    samples=st.integers(1, 700),
    hop=st.sampled_from([16, 48, 64]),
)
def test_any_length_is_kept(name: str, sources: int, channels: int, samples: int, hop: int) -> None:
    rng = np.random.default_rng(samples)
    references = stems(rng, sources, channels, samples)
    estimates = oracle(name, references, 44100, n_fft=128, hop=hop)
    assert estimates.shape == references.shape
    assert np.isfinite(estimates).all()
    if sources == 1:  # a song of one source is that source
        np.testing.assert_allclose(estimates, references, atol=1e-6)


@pytest.mark.parametrize("name", ORACLES)
def test_better_than_the_mixture(name: str, rng: np.random.Generator) -> None:
    references = stems(rng, 3, 2, 30_000)
    scores, floor = (
        usdr(references, oracle(name, references)),
        usdr(references, oracle("mixture", references)),
    )
    assert (scores >= floor).all()
    if name not in ("mixture", "equal"):
        assert scores.mean() > floor.mean() + 5


@pytest.mark.parametrize("name", ORACLES)
def test_silence_stays_silence(name: str) -> None:
    assert not oracle(name, np.zeros((3, 2, 3000))).any()


@pytest.mark.parametrize("name", ["ibm", "irm", "iam", "mwf"])
def test_a_silent_source_gets_nothing(name: str, rng: np.random.Generator) -> None:
    references = stems(rng, 3, 2, 5000)
    references[1] = 0
    estimates = oracle(name, references)
    np.testing.assert_allclose(estimates[1], 0, atol=1e-9)
    assert estimates[0].any()


def test_one_channel_may_come_without_its_axis(rng: np.random.Generator) -> None:
    references = stems(rng, 2, 1, 4000)
    flat = oracle("irm", references[:, 0])
    assert flat.shape == (2, 4000)
    np.testing.assert_array_equal(flat, oracle("irm", references)[:, 0])


def test_the_mixture_may_hold_more_than_the_sources(rng: np.random.Generator) -> None:
    references = stems(rng, 2, 2, 4000)
    mixture = references.sum(axis=0) + 0.1 * rng.standard_normal((2, 4000))
    np.testing.assert_array_equal(oracle("mixture", references, mixture=mixture)[1], mixture)
    masked = oracle("irm", references, mixture=mixture)
    np.testing.assert_allclose(masked.sum(axis=0), mixture, atol=1e-9)


def test_memory_besides_the_arrays_does_not_grow(rng: np.random.Generator) -> None:
    def needed(name: str, samples: int) -> float:
        references = rng.standard_normal((4, 2, samples))
        tracemalloc.start()
        oracle(name, references)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # estimates, mixture and the weights of the frames are as long as the song
        return (peak - (references.nbytes + 3 * 8 * samples)) / 1e6

    for name in ("irm", "mwf"):
        short, long = needed(name, 150_000), needed(name, 300_000)
        assert long < short + 2
        assert long < 35


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("irn", {}, "did you mean 'irm'"),
        ("irm", {"exponent": 0}, "exponent"),
        ("irm", {"hop": 2048}, "cannot be inverted"),
        ("irm", {"n_fft": 511, "hop": 100}, "cannot be inverted"),
        ("irm", {"mixture": np.zeros((2, 9))}, "does not belong"),
        ("irm", {"sample_rate": -1}, "no sample rate"),
    ],
)
def test_bad_settings_are_refused(name: str, settings: dict[str, object], words: str) -> None:
    with pytest.raises(EvaluationError, match=words):
        oracle(name, np.ones((2, 2, 3000)), **settings)  # type: ignore[arg-type]
