"""BSS Eval v4 against museval, on material whose filters are well determined."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stemwise.audio import read_stem_file
from stemwise.errors import EvaluationError
from stemwise.evaluation import energies
from stemwise.evaluation.blocks import quantise
from stemwise.evaluation.bss_eval import BssEval, bss_eval

Array = npt.NDArray[np.float64]
RATE = 1000
NAMES = ("sdr", "isr", "sir", "sar")


def song(
    rng: np.random.Generator, sources: int, channels: int, samples: int
) -> tuple[Array, Array]:
    """References and estimates with interference, another gain and noise."""
    references = rng.standard_normal((sources, channels, samples))
    leak = np.eye(sources) + rng.uniform(-0.3, 0.3, (sources, sources))
    estimates = np.einsum("ij,jct->ict", leak, references)
    return references, estimates + 0.1 * rng.standard_normal(references.shape)


def reference(
    museval_metrics: Any, references: Array, estimates: Array, window: float, hop: float, taps: int
) -> list[Array]:
    """museval's SDR, ISR, SIR, SAR; window and hop in samples."""
    scores = museval_metrics.bss_eval(
        references.transpose(0, 2, 1),
        estimates.transpose(0, 2, 1),
        window=window,
        hop=hop,
        filters_len=taps,
    )
    return list(scores[:4])


def differences(ours: BssEval, theirs: list[Array]) -> list[float]:
    """The largest difference of each metric in dB; infinities and NaN must be where theirs are."""
    found = []
    for name, right in zip(NAMES, theirs, strict=True):
        left = getattr(ours, name)
        assert left.shape == right.shape
        assert np.array_equal(np.isnan(left), np.isnan(right))
        finite = np.isfinite(left) & np.isfinite(right)
        assert np.array_equal(left[~finite], right[~finite], equal_nan=True)
        found.append(float(np.abs(left[finite] - right[finite]).max(initial=0)))
    return found


@given(data=st.data())
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_equals_museval(museval_metrics: Any, data: st.DataObject) -> None:
    sources, channels = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 2))
    taps = data.draw(st.sampled_from([1, 2, 9, 32]))
    window = data.draw(st.sampled_from([400, 401, 1000]))
    hop = data.draw(st.sampled_from([window, window // 3, window + 77]))
    # around a window's edge, and never too short for the filters
    samples = max(window * data.draw(st.integers(1, 4)) + data.draw(st.integers(-2, 2)), 350)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    references, estimates = song(rng, sources, channels, samples)
    for _ in range(data.draw(st.integers(0, 2))):
        signal = data.draw(st.sampled_from([references, estimates]))
        source = data.draw(st.integers(0, sources - 1))
        start = data.draw(st.integers(0, samples))
        # at most half of it, or the filters may not be determined any more
        signal[source, :, start : start + min(data.draw(st.integers(1, 1500)), samples // 2)] = 0
    ours = bss_eval(references, estimates, RATE, window / RATE, hop / RATE, filters=taps, threads=1)
    theirs = reference(museval_metrics, references, estimates, window, hop, taps)
    assert max(differences(ours, theirs)) <= 1e-9
    assert np.array_equal(ours.times, np.arange(ours.sdr.shape[1]) * hop / RATE)
    assert [reason is not None for reason in ours.silent] == np.isnan(ours.sdr).any(axis=0).tolist()


@pytest.mark.parametrize(
    ("samples", "window", "hop"),
    [
        (9000, math.inf, 1),
        (9000, 2500, 700),
        (9000, 2500, 6000),
        (2000, 2500, 2500),
        (3001, 3000, 1),
    ],
)
def test_long_windows_equal_museval(
    museval_metrics: Any,
    monkeypatch: pytest.MonkeyPatch,
    rng: np.random.Generator,
    samples: int,
    window: float,
    hop: int,
) -> None:
    monkeypatch.setattr(energies, "LONGEST", 600)
    references, estimates = song(rng, 3, 2, samples)
    ours = bss_eval(references, estimates, RATE, window / RATE, hop / RATE, filters=40, threads=1)
    theirs = reference(museval_metrics, references, estimates, window, hop, 40)
    assert max(differences(ours, theirs)) <= 1e-9


def test_published_filters_equal_museval(museval_metrics: Any, rng: np.random.Generator) -> None:
    references, estimates = song(rng, 2, 2, 30000)
    ours = bss_eval(references, estimates, 10000)  # 2048 equations: by Schur's algorithm
    theirs = reference(museval_metrics, references, estimates, 10000, 10000, 512)
    assert ours.solver == "cholesky"
    assert max(differences(ours, theirs)) <= 1e-9


def test_mono_may_be_given_without_channels(rng: np.random.Generator) -> None:
    references, estimates = song(rng, 2, 1, 3000)
    with_channels = bss_eval(references, estimates, RATE, filters=16)
    without = bss_eval(references[:, 0], estimates[:, 0], RATE, filters=16)
    for name in NAMES:
        assert np.array_equal(getattr(with_channels, name), getattr(without, name))


def test_windows_are_whole_samples(rng: np.random.Generator) -> None:
    references, estimates = song(rng, 2, 1, 300)
    scores = bss_eval(references, estimates, 100, 0.29, 0.29, filters=8)  # 28.999999999999996
    assert scores.sdr.shape == (2, 10)
    assert scores.times[1] == 0.29


def test_perfect_estimates(rng: np.random.Generator) -> None:
    references, _ = song(rng, 2, 2, 3000)
    scores = bss_eval(references, references.copy(), RATE, filters=16)
    assert np.isposinf(scores.sdr).all()
    assert min(scores.isr.min(), scores.sir.min(), scores.sar.min()) > 200


@pytest.mark.parametrize("taps", [1, 24])
def test_identical_sources_are_scored(rng: np.random.Generator, taps: int) -> None:
    """museval has no value here: its least-squares branch fails on recent NumPy."""
    references, estimates = song(rng, 2, 2, 3000)
    references[1] = references[0]
    scores = bss_eval(references, estimates, RATE, filters=taps)
    for index in range(2):  # projecting onto a source twice is projecting onto it
        alone = bss_eval(references[:1], estimates[index : index + 1], RATE, filters=taps)
        np.testing.assert_allclose(scores.sdr[index], alone.sdr[0], atol=1e-9)
        np.testing.assert_allclose(scores.isr[index], alone.isr[0], atol=1e-6)
        np.testing.assert_allclose(scores.sar[index], alone.sar[0], atol=1e-6)
        assert scores.sir[index].min() > 100


def test_least_squares_are_said(rng: np.random.Generator) -> None:
    references = np.rint(100 * rng.standard_normal((1, 1, 3000)))
    twice = np.concatenate([references, references])
    estimates = twice + rng.standard_normal(twice.shape)
    scores = bss_eval(twice, estimates, RATE, filters=1)
    assert scores.solver == "lstsq"
    assert np.isfinite(scores.sar).all()


@pytest.mark.parametrize("gain", [1.0, 0.5])
def test_mono_sound_in_stereo(rng: np.random.Generator, gain: float) -> None:
    """Both channels of a bass are often the same: not filters, but projections are determined."""
    references, estimates = (np.rint(500 * one) for one in song(rng, 2, 2, 6000))
    references[1, 1] = gain * references[1, 0]
    ours = bss_eval(references, estimates, RATE, filters=24)
    assert ours.solver in ("lu", "lstsq")
    only = np.concatenate([references[0], references[1, :1]])
    for index in range(2):  # a problem without the dependent channel, estimate by estimate
        projected = _projection(only, estimates[index], 24)
        error = np.pad(estimates[index], ((0, 0), (0, 23))) - projected
        expected = 10 * np.log10((projected**2).sum() / (error**2).sum())
        whole = bss_eval(references, estimates, RATE, math.inf, filters=24)
        assert whole.sar[index, 0] == pytest.approx(expected, abs=1e-6)


def _projection(references: Array, estimate: Array, taps: int) -> Array:
    """The least-squares projection of an estimate (channel, sample), with its tail."""
    samples = references.shape[1] + taps - 1
    delayed = np.zeros((len(references) * taps, samples))
    for index, signal in enumerate(references):
        for tap in range(taps):
            delayed[index * taps + tap, tap : tap + len(signal)] = signal
    padded = np.pad(estimate, ((0, 0), (0, taps - 1)))
    weights = np.linalg.lstsq(delayed.T, padded.T, rcond=None)[0]
    projection: Array = (delayed.T @ weights).T
    return projection


def test_nearly_dependent_sources(museval_metrics: Any, rng: np.random.Generator) -> None:
    """Here museval's scores themselves depend on the order of the sources."""
    references, estimates = song(rng, 3, 1, 4000)
    references[2] = references[0] - 0.5 * np.roll(references[1], 3)
    references[2] += 1e-6 * rng.standard_normal(references[2].shape)
    estimates[2] = references[2] + 0.1 * estimates[0]
    ours = bss_eval(references, estimates, RATE, filters=24)
    theirs = reference(museval_metrics, references, estimates, RATE, RATE, 24)
    turned = reference(museval_metrics, references[::-1], estimates[::-1], RATE, RATE, 24)
    spread = max(np.abs(a - b[::-1]).max() for a, b in zip(theirs, turned, strict=True))
    assert max(differences(ours, theirs)) <= max(10 * spread, 1e-9)


def test_regression_file_of_museval(real_audio: Path) -> None:
    name = "Music Delta - 80s Rock"
    stems = read_stem_file(real_audio / f"{name}.stem.mp4")
    sound = {stem: quantise(audio.samples) for stem, audio in stems.items()}
    others = sound["drums"] + sound["bass"] + sound["other"]
    references = np.stack([sound["vocals"], others])
    random = np.random.RandomState(0)  # what museval's own test draws its estimates from
    estimates = np.stack([random.random_sample(others.T.shape).T for _ in range(2)])
    scores = bss_eval(references, estimates, stems["vocals"].sample_rate)
    expected = json.loads((real_audio / f"{name}.museval.json").read_text())["targets"]
    assert [target["name"] for target in expected] == ["vocals", "accompaniment"]
    for index, target in enumerate(expected):
        for metric in NAMES:
            wanted = [frame["metrics"][metric.upper()] for frame in target["frames"]]
            # decoders differ by one step of 16 bits, which moves the scores by 0.06 dB
            np.testing.assert_allclose(getattr(scores, metric)[index], wanted, atol=0.1)


def test_silent_windows(rng: np.random.Generator) -> None:
    references, estimates = song(rng, 2, 2, 5000)
    references[0, :, 1000:2000] = 0
    estimates[1, 0, 2000:3000] = -estimates[1, 1, 2000:3000]  # their sum is what counts
    references[1, :, 3001:4000] = 0  # one sample sounds
    scores = bss_eval(references, estimates, RATE, filters=16)
    assert scores.silent == (
        None,
        "reference 1 silent in this window",
        "estimate 2 silent in this window",
        None,
        None,
    )
    for name in NAMES:
        nan = np.isnan(getattr(scores, name))
        assert nan[:, 1:3].all()
        assert not nan[:, [0, 3, 4]].any()


def test_silent_track(rng: np.random.Generator) -> None:
    references, estimates = song(rng, 2, 2, 3000)
    estimates[1] = 0
    with pytest.raises(EvaluationError, match="estimate 2 silent in the whole track"):
        bss_eval(references, estimates, RATE, filters=16)
    scores = bss_eval(references, estimates, RATE, filters=16, silent="nan")
    for name in NAMES:
        assert getattr(scores, name).shape == (2, 3)
        assert np.isnan(getattr(scores, name)).all()
    assert scores.silent == ("estimate 2 silent in the whole track",) * 3


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_change_nothing(rng: np.random.Generator, threads: int) -> None:
    references, estimates = song(rng, 2, 2, 150_000)
    one = bss_eval(references, estimates, 8000, filters=64, threads=1)
    several = bss_eval(references, estimates, 8000, filters=64, threads=threads)
    for name in NAMES:
        assert np.array_equal(getattr(one, name), getattr(several, name))


def test_integers_are_scored_as_they_are(rng: np.random.Generator) -> None:
    references, estimates = (np.rint(1000 * one) for one in song(rng, 2, 1, 3000))
    whole = bss_eval(references.astype(np.int16), estimates.astype(np.int16), RATE, filters=16)
    assert np.array_equal(whole.sar, bss_eval(references, estimates, RATE, filters=16).sar)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda r, e: (r, e[:, :, :-1]), "cannot be compared"),
        (lambda r, e: (r, e[:1]), "cannot be compared"),
        (lambda r, e: (r, np.where(np.arange(3000) == 1500, np.nan, e)), r"estimate .* 1\.500 s"),
        (lambda r, e: (np.where(np.arange(3000) == 2, np.inf, r), e), r"reference .* 0\.002 s"),
        (lambda r, e: (r * 1e200, e), "too large"),
        (lambda r, e: (r[:, :, :48], e[:, :, :48]), "too few for filters of 16 taps"),
        (lambda r, e: (r[:, :, :0], e[:, :, :0]), "none of them empty"),
        (lambda r, e: (r[0, 0], e[0, 0]), r"give \(source, channel, sample\)"),
        (lambda r, e: (r * 1j, e), "not real numbers"),
    ],
)
def test_what_cannot_be_scored(rng: np.random.Generator, change: Any, sentence: str) -> None:
    references, estimates = change(*song(rng, 2, 2, 3000))
    with pytest.raises(EvaluationError, match=sentence) as error:
        bss_eval(references, estimates, RATE, filters=16)
    assert str(error.value).count(". ") == 0


@pytest.mark.parametrize(
    "options",
    [{"window": 0.0}, {"hop": 1e-9}, {"hop": math.nan}, {"filters": 0}, {"sample_rate": 0}],
)
def test_options_that_mean_nothing(rng: np.random.Generator, options: dict[str, Any]) -> None:
    references, estimates = song(rng, 2, 1, 3000)
    with pytest.raises(EvaluationError):
        bss_eval(references, estimates, **{"sample_rate": RATE, **options})
