"""BSS Eval v3 against mir_eval, stored and live, and against plain least squares."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy.linalg import lstsq, toeplitz

from stemwise.audio import read
from stemwise.errors import EvaluationError
from stemwise.evaluation.bss_eval_v3 import (
    ImageScores,
    SourceScores,
    bss_eval_images,
    bss_eval_images_framewise,
    bss_eval_sources,
    bss_eval_sources_framewise,
)
from stemwise.evaluation.projections import TAPS

STORED = {
    "sdr": "Source to Distortion",
    "isr": "Image to Spatial",
    "sir": "Source to Interference",
    "sar": "Source to Artifact",
    "permutation": "Source permutation",
}
FIXTURES = ("01", "02", "03", "05", "06", "07", "08", "09")
MOST_WINDOWS = 4
"""Windows of every fixture that are scored: each has filters of its own, all are alike."""


@pytest.fixture
def mir_eval() -> ModuleType:
    """The outside reference; it warns of its own end whenever it is called."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("mir_eval.separation", reason="mir_eval is the reference")


def fixture_of(folder: Path, number: str) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """References and estimates (source, sample) of one of mir_eval's fixtures, and its scores."""
    root = folder / "mir_eval_separation"
    sides = []
    for side in ("ref", "est"):
        files = sorted((root / f"{side}{number}").glob("*.wav"))
        sides.append(
            np.stack([read(file).samples.astype(np.float64).mean(axis=0) for file in files])
        )
    return sides[0], sides[1], json.loads((root / f"output{number}.json").read_text())


def copies(mono: np.ndarray, channels: int, gain: float = 1.0) -> np.ndarray:
    """Images of the fixtures as mir_eval makes them: more channels are `gain` times the first."""
    return np.stack([mono] + [gain * mono] * (channels - 1), axis=1)


def agree(scores: SourceScores, stored: dict[str, Any], tolerance: float = 1e-6) -> None:
    for name, title in STORED.items():
        if hasattr(scores, name):
            found, expected = getattr(scores, name), np.asarray(stored[title])
            expected = expected[..., : found.shape[1]] if found.ndim == 2 else expected
            np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("number", FIXTURES)
def test_sources_of_the_fixtures(real_audio: Path, number: str) -> None:
    references, estimates, stored = fixture_of(real_audio, number)
    agree(bss_eval_sources(references, estimates, permutation=True), stored["Sources"])


@pytest.mark.parametrize("number", FIXTURES)
def test_framewise_sources_of_the_fixtures(real_audio: Path, number: str) -> None:
    references, estimates, stored = fixture_of(real_audio, number)
    frames = stored["Framewise"]
    end = frames["win"] + (MOST_WINDOWS - 1) * frames["hop"]
    scores = bss_eval_sources_framewise(
        references[:, :end], estimates[:, :end], 1, frames["win"], frames["hop"]
    )
    assert scores.sdr.shape == (len(references), MOST_WINDOWS)
    agree(scores, frames)


@pytest.mark.parametrize("number", [one for one in FIXTURES if one != "08"])  # of 12 channels
def test_images_of_the_fixtures(real_audio: Path, number: str) -> None:
    """Their channels are copies of one another, so that SIR and SAR are exactly those of one.

    The stored figures come from a singular system, solved as if it were none: they are up to
    1e-4 dB away from what the same files store for one channel. Ours are not.
    """
    references, estimates, stored = fixture_of(real_audio, number)
    images = stored["Images"]
    channels = images["nchan"]
    scores = bss_eval_images(
        copies(references, channels), copies(estimates, channels, images["gain"]), permutation=True
    )
    mono = stored["Sources"]
    titles = [STORED["sir"], STORED["sar"]]
    with np.errstate(invalid="ignore"):  # one source has inf - inf
        apart = np.array([np.subtract(images[one], mono[one]) for one in titles])
    own_error = np.abs(np.nan_to_num(apart)).max()
    agree(scores, images, tolerance=max(1e-6, 1.01 * own_error))
    for name in ("sir", "sar"):
        np.testing.assert_allclose(getattr(scores, name), mono[STORED[name]], rtol=0, atol=1e-7)


@pytest.mark.parametrize("number", ["01", "03", "06", "07", "09"])
def test_framewise_images_of_the_fixtures(real_audio: Path, number: str) -> None:
    references, estimates, stored = fixture_of(real_audio, number)
    frames = stored["Images Framewise"]
    end, channels = frames["win"] + frames["hop"], frames["nchan"]
    scores = bss_eval_images_framewise(
        copies(references, channels)[..., :end],
        copies(estimates, channels, frames["gain"])[..., :end],
        1,
        frames["win"],
        frames["hop"],
    )
    assert scores.isr.shape == (len(references), 2)
    agree(scores, frames)


def song(
    rng: np.random.Generator, sources: int, channels: int, samples: int
) -> tuple[np.ndarray, np.ndarray]:
    """References (source, channel, sample) and estimates with leakage, filtering and noise."""
    references = rng.standard_normal((sources, channels, samples))
    leakage = np.eye(sources) + 0.2 * rng.standard_normal((sources, sources))
    estimates = np.einsum("ij,jcn->icn", leakage, references)
    estimates += 0.3 * np.roll(estimates, 3, axis=-1)
    return references, estimates + 0.1 * rng.standard_normal(estimates.shape)


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sources=st.integers(1, 3),
    channels=st.integers(1, 2),
    extra=st.integers(200, 1500),
    permutation=st.booleans(),
    seed=st.integers(0, 999),
)
def test_random_songs_score_as_in_mir_eval(
    mir_eval: ModuleType, sources: int, channels: int, extra: int, permutation: bool, seed: int
) -> None:
    assume(sources * channels <= (2 if permutation else 4))  # mir_eval takes minutes for more
    rng = np.random.default_rng(seed)
    # fewer samples than taps would let any estimate be matched exactly
    references, estimates = song(rng, sources, channels, sources * channels * TAPS + extra)
    estimates = estimates[rng.permutation(sources)] if permutation else estimates
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = mir_eval.bss_eval_images(
            references.transpose(0, 2, 1), estimates.transpose(0, 2, 1), permutation
        )
        mono = mir_eval.bss_eval_sources(references[:, 0], estimates[:, 0], permutation)
    ours = bss_eval_images(references, estimates, permutation)
    found = (ours.sdr, ours.isr, ours.sir, ours.sar, ours.permutation)
    for mine, expected in zip(found, theirs, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-6)
    one = bss_eval_sources(references[:, 0], estimates[:, 0], permutation)
    for mine, expected in zip((one.sdr, one.sir, one.sar, one.permutation), mono, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-6)


def test_windows_are_those_of_mir_eval(mir_eval: ModuleType, rng: np.random.Generator) -> None:
    """Incomplete windows, silence in either side, and too few windows."""
    references, estimates = song(rng, 2, 1, 7000)
    references[1, :, 2800:5000] = 0
    estimates[0, :, 5600:] = 0
    for samples, window, hop in ((7000, 1400, 700), (7000, 1400, 1400), (2099, 1400, 700)):
        sides = references[:, 0, :samples], estimates[:, 0, :samples]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = mir_eval.bss_eval_sources_framewise(*sides, window, hop)
        ours = bss_eval_sources_framewise(*sides, 1000, window / 1000, hop / 1000)
        for mine, expected in zip((ours.sdr, ours.sir, ours.sar), theirs, strict=False):
            np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-6)
        empty = np.isnan(ours.sdr[0])
        assert empty.tolist() == [one is not None for one in ours.silent]
        assert (ours.permutation[:, empty] == -1).all()
        assert ours.times.tolist() == [at * hop / 1000 for at in range(len(ours.silent))]


def projection(references: np.ndarray, estimate: np.ndarray) -> np.ndarray:
    """Least squares on all delays of references (reference, sample): (sample + TAPS - 1,)."""
    tail = np.zeros(TAPS - 1)
    delayed = np.hstack(
        [toeplitz(np.append(one, tail), np.append(one[:1], tail)) for one in references]
    )
    target = np.append(estimate, tail)
    filters = lstsq(delayed, target, cond=1e-10, lapack_driver="gelsy")[0]
    return delayed @ filters


def ratio(above: np.ndarray, below: np.ndarray) -> float:
    return float(10 * np.log10(np.square(above).sum() / np.square(below).sum()))


@pytest.mark.parametrize("dependent", [False, True])
def test_scores_are_those_of_plain_least_squares(rng: np.random.Generator, dependent: bool) -> None:
    """Also where the second source is a delayed copy of the first, and no inverse exists."""
    references, estimates = (side[:, 0] for side in song(rng, 2, 1, 1400))
    if dependent:
        references[1] = np.roll(references[0], 5)
        references[1, :5] = 0
        references[0, -5:] = 0
    scores = bss_eval_sources(references, estimates)
    assert scores.solver == ("lstsq" if dependent else "cholesky")
    for source in range(2):
        own = projection(references[source : source + 1], estimates[source])
        every = projection(references, estimates[source])
        estimate = np.append(estimates[source], np.zeros(TAPS - 1))
        assert scores.sdr[source] == pytest.approx(ratio(own, estimate - own), abs=1e-8)
        assert scores.sir[source] == pytest.approx(ratio(own, every - own), abs=1e-6)
        assert scores.sar[source] == pytest.approx(ratio(every, estimate - every), abs=1e-8)


def test_channels_that_say_nothing_new_change_nothing(rng: np.random.Generator) -> None:
    references, estimates = song(rng, 2, 1, 2000)
    alone = bss_eval_images(references, estimates)
    silent_channel = bss_eval_images(
        *(np.concatenate([side, 0 * side], axis=1) for side in (references, estimates))
    )
    for name in ("sdr", "isr", "sir", "sar"):
        np.testing.assert_allclose(getattr(silent_channel, name), getattr(alone, name), atol=1e-9)


def test_level_does_not_matter(rng: np.random.Generator) -> None:
    references, estimates = song(rng, 2, 1, 2500)
    loud = bss_eval_images(references, estimates)
    soft = bss_eval_images(1e-6 * references, 1e-6 * estimates)
    np.testing.assert_allclose(soft.sar, loud.sar, atol=1e-9)


def test_a_long_signal_is_filtered_in_blocks(rng: np.random.Generator) -> None:
    """Longer than one transform: the energies must not depend on where blocks end."""
    references, estimates = song(rng, 1, 1, 40_000)
    scores = bss_eval_sources(references[:, 0], estimates[:, 0])
    whole = bss_eval_images(references, estimates)
    assert scores.sar == pytest.approx(whole.sar)
    assert scores.sir == math.inf
    expected = np.square(references).sum() / np.square(estimates - references).sum()
    assert whole.sdr == pytest.approx(10 * np.log10(expected))


def test_estimates_in_another_order_are_found(rng: np.random.Generator) -> None:
    references, estimates = song(rng, 4, 1, 3000)
    order = np.array([2, 0, 3, 1])
    straight = bss_eval_images(references, estimates)
    shuffled = bss_eval_images(references, estimates[order], permutation=True)
    assert order[shuffled.permutation].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(shuffled.sdr, straight.sdr)
    assert straight.permutation.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("score", [bss_eval_sources, bss_eval_images])
def test_silence_is_an_error_or_nan(score: Any, rng: np.random.Generator) -> None:
    references, estimates = (side[:, 0] for side in song(rng, 3, 1, 600))
    references[1] = 0
    with pytest.raises(EvaluationError, match="reference 2 is silent from beginning to end"):
        score(references, estimates)
    scores = score(references, estimates, silent="nan")
    assert np.isnan(scores.sdr).all()
    assert scores.silent == ("reference 2 is silent",)
    estimates[2] = 0
    with pytest.raises(EvaluationError, match="reference 2 and estimate 3 are silent"):
        score(references, estimates)


def test_opposite_channels_count_as_silent(rng: np.random.Generator) -> None:
    """As in mir_eval, whose test is the sum over channels."""
    references, estimates = song(rng, 2, 2, 600)
    references[0, 1] = -references[0, 0]
    with pytest.raises(EvaluationError, match="reference 1 is silent"):
        bss_eval_images(references, estimates)


@pytest.mark.parametrize(
    ("references", "estimates", "words"),
    [
        (np.ones((2, 9)), np.ones((3, 9)), "cannot be compared"),
        (np.ones((2, 2, 9)), np.ones((2, 1, 9)), "cannot be compared"),
        (np.ones((0, 9)), np.ones((0, 9)), "empty"),
        (np.ones(9), np.ones(9), "must be numbers"),
        (np.ones((1, 9)), np.full((1, 9), np.nan), "estimates hold NaN"),
        (np.ones((1, 9)) * 1j, np.ones((1, 9)), "complex"),
        (np.ones((65, 9)), np.ones((65, 9)), "more than 64"),
    ],
)
def test_bad_arrays_are_refused(references: np.ndarray, estimates: np.ndarray, words: str) -> None:
    with pytest.raises(EvaluationError, match=words):
        bss_eval_images(references, estimates)


def test_bad_settings_are_refused(rng: np.random.Generator) -> None:
    references, estimates = song(rng, 2, 2, 600)
    with pytest.raises(EvaluationError, match="one channel, not 2"):
        bss_eval_sources(references, estimates)
    with pytest.raises(EvaluationError, match="greater than zero"):
        bss_eval_images_framewise(references, estimates, 10, hop=0)
    with pytest.raises(EvaluationError, match="'raise' or 'nan'"):
        bss_eval_images(references, estimates, silent="zero")  # type: ignore[arg-type]


def test_the_whole_song_is_one_endless_window(rng: np.random.Generator) -> None:
    references, estimates = song(rng, 2, 1, 2000)
    whole = bss_eval_images(references, estimates)
    framed = bss_eval_images_framewise(references, estimates, 8000, math.inf, math.inf)
    assert isinstance(framed, ImageScores)
    np.testing.assert_array_equal(framed.sdr[:, 0], whole.sdr)
    assert framed.times.tolist() == [0]
