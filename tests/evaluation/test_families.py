"""Metrics computed from blocks equal the functions on arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stemwise.evaluation import bss_eval_v3, metrics
from stemwise.evaluation.bss_eval import bss_eval
from stemwise.evaluation.families import score
from stemwise.evaluation.problems import Problem
from stemwise.evaluation.scores import Score
from stemwise.evaluation.scoring import Settings, Task, cut
from stemwise.evaluation.signals import ArraySignals
from track_sets import estimated, stems

NAMES = ("vocals", "drums")


def arrays(samples: int = 18800, channels: int = 2) -> tuple[np.ndarray, np.ndarray]:
    references = stems(3, NAMES, samples=samples, channels=channels, silent=("vocals",))
    estimates = estimated(references)
    return np.stack(list(references.values())), np.stack(list(estimates.values()))


def scores(
    references: np.ndarray, estimates: np.ndarray, rate: int, *families: str, **settings: float
) -> dict[tuple[str, str], Score]:
    problem = Problem(NAMES, NAMES)
    sides = [ArraySignals(NAMES, one) for one in (references, estimates)]
    task = Task(problem, sides[0], sides[1], rate, Settings(families, **settings))  # type: ignore[arg-type]
    found, _ = score(task)
    return {(one.target, one.metric): one for one in found}


@pytest.mark.parametrize(("family", "metric"), [("usdr", "uSDR"), ("si-sdr", "SI-SDR"),
                                                ("mse", "MSE")])  # fmt: skip
def test_whole_tracks(family: str, metric: str) -> None:
    # more than one block
    references, estimates = arrays(150_000, 1)
    found = scores(references, estimates, 8000, family)
    function = {"usdr": metrics.usdr, "si-sdr": metrics.si_sdr, "mse": metrics.mse}[family]
    wanted = function(references, estimates)  # type: ignore[operator]
    for index, name in enumerate(NAMES):
        one = found[name, metric]
        assert one.values[0] == pytest.approx(wanted[index], rel=1e-9)
        assert one.duration == 150_000 / 8000
        power = np.mean(np.square(estimates[index]))
        assert one.levels[0] == pytest.approx(10 * np.log10(power))


@pytest.mark.parametrize("images", [False, True])
def test_v3(images: bool) -> None:
    references, estimates = arrays()
    rate = 200  # windows of 30 s are 6000 samples then
    found = scores(references, estimates, rate, "v3-images" if images else "v3")
    if images:
        wanted = bss_eval_v3.bss_eval_images_framewise(references, estimates, rate)
    else:
        mono = references.mean(axis=1), estimates.mean(axis=1)
        wanted = bss_eval_v3.bss_eval_sources_framewise(*mono, rate)  # type: ignore[assignment]
    suffix = " v3 images" if images else " v3"
    assert len(wanted.times) == 5
    for index, name in enumerate(NAMES):
        one = found[name, "SIR" + suffix]
        np.testing.assert_allclose(one.values, wanted.sir[index], rtol=1e-9)
        assert one.times == tuple(wanted.times)
        # 8000 samples of silence: one window in full, the next one in part
        assert one.reasons[0] == "reference of vocals is silent"
        assert one.reasons[1] is None


@pytest.mark.parametrize("hop", [1.0, 0.4])
def test_v4_at_other_hops_has_the_levels_of_its_windows(hop: float) -> None:
    references, estimates = arrays()
    found = scores(references, estimates, 4000, "v4", window=1.0, hop=hop)
    wanted = bss_eval(references, estimates, 4000, 1.0, hop)
    one = found["drums", "SAR"]
    np.testing.assert_allclose(one.values, wanted.sar[1])
    assert len(one.levels) == len(one.times) == wanted.sdr.shape[1]
    start = round(one.times[-1] * 4000)
    power = np.mean(np.square(estimates[1][:, start : start + 4000]))
    assert one.levels[-1] == pytest.approx(10 * np.log10(power))


def test_levels_in_silence() -> None:
    references, estimates = arrays()
    found = scores(references, estimates, 4000, "non-vocal")
    wanted = metrics.non_vocal_level(estimates[0], references[0], 4000)
    one = found["vocals", "RMS in silence"]
    assert one.times == (0.0, 1.0)
    np.testing.assert_allclose(one.values, wanted.rms)
    np.testing.assert_allclose(found["vocals", "loudness in silence"].values, wanted.loudness)
    assert math.isnan(found["drums", "RMS in silence"].values[0])
    assert found["drums", "RMS in silence"].reasons == ("the reference is silent in no window",)


def test_a_silent_estimate_counts_where_its_reference_is_silent() -> None:
    references, estimates = arrays()
    estimates[0][:, :8000] = 0
    found = scores(references, estimates, 4000, "non-vocal")
    assert found["vocals", "RMS in silence"].values == (0.0, 0.0)
    assert found["vocals", "loudness in silence"].values == (-70.0, -70.0)


def test_silence_has_no_value_and_a_reason() -> None:
    references, estimates = arrays()
    references[0] = 0
    found = scores(references, estimates, 4000, "usdr", "si-sdr", "mse", "v4", "v3")
    reasons = {
        "uSDR": "reference silent in the whole track",
        "SI-SDR": "reference or estimate silent in the whole track",
        "SDR": "reference of vocals silent in the whole track",
        "SDR v3": "reference of vocals is silent",
    }
    for metric, reason in reasons.items():
        assert math.isnan(found["vocals", metric].values[0])
        assert found["vocals", metric].reasons[0] == reason
    assert found["vocals", "MSE"].values[0] > 0
    assert found["drums", "uSDR"].values[0] > 0


def test_a_perfect_estimate_is_not_infinite() -> None:
    references, _ = arrays()
    found = scores(references, references.copy(), 4000, "si-sdr", "v4")
    assert found["drums", "SI-SDR"].reasons == ("no error: +inf dB",)
    assert all(math.isnan(value) for value in found["drums", "SDR"].values)


@pytest.mark.parametrize(("length", "hop"), [(10, 10), (10, 3), (10, 17), (1000, 10), (100, 100)])
def test_windows(length: int, hop: int) -> None:
    signal = np.arange(100.0).reshape(1, 1, 100)
    found = [window[0, 0] for window in cut(ArraySignals(("a",), signal), length, hop)]
    if length >= 100:
        assert [len(one) for one in found] == [100]
        return
    assert len(found) == (100 - length + hop) // hop
    for index, one in enumerate(found):
        np.testing.assert_array_equal(one, np.arange(index * hop, index * hop + length))
