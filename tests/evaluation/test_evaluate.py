"""`stemwise.evaluate` on what people have: arrays, Audio, paths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import stemwise
from stemwise.audio import Audio, read, resample
from stemwise.errors import EvaluationError
from stemwise.evaluation.bss_eval import bss_eval
from stemwise.evaluation.evaluate import evaluate
from stemwise.evaluation.record import read_record
from stemwise.evaluation.tables import to_frame
from track_sets import RATE, estimated, stems, write_set, write_track

COLUMNS = ["track", "target", "problem", "metric", "time", "duration", "score", "level", "reason"]


def sdr(frame: pd.DataFrame, target: str) -> list[float]:
    return list(frame[(frame.metric == "SDR") & (frame.target == target)].score)


def test_dicts_of_arrays() -> None:
    references = stems(silent=("vocals",))
    estimates = estimated(references)
    frame = evaluate(references, estimates, RATE)
    assert list(frame.columns) == COLUMNS
    wanted = bss_eval(*(np.stack(list(one.values())) for one in (references, estimates)), RATE)
    np.testing.assert_allclose(sdr(frame, "drums"), wanted.sdr[1])
    assert list(frame[frame.target == "drums"].reason[:2]) == [
        "reference of vocals silent in this window", "",
    ]  # fmt: skip


def test_arrays_have_numbers_for_names_unless_named() -> None:
    references = np.stack(list(stems().values()))
    estimates = np.stack(list(estimated(stems()).values()))
    frame = evaluate(references, estimates, RATE)
    assert set(frame.target) == {"0", "1"}
    assert set(frame.problem) == {"0+1"}
    named = evaluate(references[:, 0], estimates[:, 0], RATE, sources=("bass", "drums"))
    assert sdr(named, "drums") == sdr(frame, "1")


def test_a_file_against_separated_audio(tmp_path: Path) -> None:
    references = stems()
    estimates = {name: one.astype(np.float32) for name, one in estimated(references).items()}
    write_track(tmp_path / "song", references)
    write_track(tmp_path / "stems", estimates, subtype="FLOAT")
    audio = {name: Audio(one, RATE) for name, one in estimates.items()}
    frame = evaluate(tmp_path / "song", audio)
    assert set(frame.track) == {"song"}
    files = evaluate(tmp_path / "song", tmp_path / "stems")
    pd.testing.assert_frame_equal(frame, files)
    other = evaluate(tmp_path / "song", audio, quantise=False)
    assert sdr(other, "drums") != sdr(frame, "drums")


def test_a_set_of_tracks_warns_about_broken_ones(tmp_path: Path) -> None:
    references, estimates = write_set(tmp_path, ("a", "b"))
    (estimates / "b/drums.wav").unlink()
    with pytest.warns(UserWarning, match="b: there is no estimate of drums"):
        frame = evaluate(references, estimates)
    assert set(frame.track) == {"a"}
    (estimates / "a/drums.wav").unlink()
    with pytest.raises(EvaluationError, match="a: there is no estimate of drums"):
        evaluate(references, estimates)


def test_other_lengths_are_noted() -> None:
    references = stems()
    estimates = estimated(references)
    short = {name: one[:, :-100] for name, one in estimates.items()}
    frame = evaluate(references, short, RATE)
    assert frame.attrs["notes"] == [
        f"the estimate of {name} ends 0.013 s (100 samples) early: padded with zeros"
        for name in ("vocals", "drums")
    ]
    assert len(frame) == len(evaluate(references, estimates, RATE))


def test_accompaniment_and_metrics() -> None:
    names = ("vocals", "drums", "bass")
    references = stems(names=names)
    estimates = estimated(references)
    frame = evaluate(references, estimates, RATE, problem="both", metrics=("usdr", "si-sdr"))
    assert set(frame[frame.target == "vocals"].problem) == {
        "vocals+drums+bass", "vocals+accompaniment",
    }  # fmt: skip
    whole = {"vocals": references["vocals"], "accompaniment": references["drums"]
             + references["bass"]}  # fmt: skip
    parts = {"vocals": estimates["vocals"], "no_vocals": estimates["drums"] + estimates["bass"]}
    other = evaluate(whole, parts, RATE, metrics=("usdr",))
    both = frame[(frame.target == "accompaniment") & (frame.metric == "uSDR")].score.iloc[0]
    assert other[other.target == "accompaniment"].score.iloc[0] == pytest.approx(both)


def test_silence_does_not_raise_unless_asked() -> None:
    references = stems()
    references["vocals"] = references["vocals"] * 0
    frame = evaluate(references, estimated(stems()), RATE)
    assert frame.score.isna().all()
    assert set(frame.reason) == {"reference of vocals silent in the whole track"}
    with pytest.raises(EvaluationError, match="reference of vocals silent in the whole track"):
        evaluate(references, estimated(stems()), RATE, silent="raise")
    with pytest.raises(EvaluationError, match="uSDR of vocals: reference silent in the whole"):
        evaluate(references, estimated(stems()), RATE, silent="raise", metrics=("usdr",))


def bad(**changed: object) -> dict[str, object]:
    return {**estimated(stems()), **changed}


@pytest.mark.parametrize(
    ("estimates", "rate", "sentence"),
    [
        (bad(), None, "give sample_rate in Hz"),
        (bad(drums=np.full((1, 16800), np.nan)), RATE, "drums has a sample that is not a number"),
        (bad(drums=np.ones((1, 16800), np.int16)), RATE, "drums is int16: convert it to floating"),
        (bad(drums=np.ones((16800, 2))), RATE, r"give \(channel, sample\), not \(sample, channel"),
        (bad(drums=np.ones((2, 16800))), RATE, "equally many channels"),
        (bad(drums=np.ones((1, 0))), RATE, r"drums has the shape \(1, 0\)"),
        (bad(drums=Audio(np.ones((1, 100), np.float32), 44100)), RATE, "8000 Hz and 44100 Hz"),
        ({"vocals": np.ones(100)}, RATE, "there is no estimate of drums"),
        ({}, RATE, "there is no estimate: give a dict"),
        (np.ones(100), RATE, r"shape \(100,\): give \(source, channel, sample\)"),
    ],
)
def test_what_cannot_be_scored_is_one_sentence(
    estimates: object, rate: int | None, sentence: str
) -> None:
    with pytest.raises(EvaluationError, match=sentence):
        evaluate(stems(), estimates, rate)  # type: ignore[arg-type]


@pytest.mark.parametrize("option", [{"metrics": ("v5",)}, {"window": 0}, {"problem": "three"}])
def test_options_that_do_not_exist(option: dict[str, object]) -> None:
    with pytest.raises(EvaluationError):
        evaluate(stems(), estimated(stems()), RATE, **option)  # type: ignore[arg-type]


def test_resampling_is_left_to_the_user(tmp_path: Path) -> None:
    write_track(tmp_path / "song", stems())
    write_track(tmp_path / "half", {
        name: resample(one.astype(np.float32), RATE, RATE // 2) for name, one in stems().items()
    }, rate=RATE // 2)  # fmt: skip
    with pytest.raises(EvaluationError, match="has 4000 Hz and the references have 8000 Hz"):
        evaluate(tmp_path / "song", tmp_path / "half")


def test_musevals_regression_song(real_audio: Path) -> None:
    """From the stem file to the frame, 16 bits as musdb; a step of the decoder moves 0.06 dB."""
    path = real_audio / "Music Delta - 80s Rock.stem.mp4"
    samples = read(path, stream=4).samples.shape[1]
    random = np.random.RandomState(0)
    estimates = {name: random.random_sample((samples, 2)).T for name in ("vocals", "accompaniment")}
    ours = evaluate(path, estimates)
    assert set(ours.problem) == {"vocals+accompaniment"}
    theirs = to_frame([read_record(real_audio / "Music Delta - 80s Rock.museval.json")])
    keys = ["target", "metric", "time"]
    both = [one.set_index(keys).score.sort_index() for one in (ours, theirs)]
    assert len(both[0]) == 2 * 4 * 6
    assert (both[0] - both[1]).abs().max() < 0.1


def test_the_three_lines_of_the_readme(real_audio: Path) -> None:
    song = real_audio / "Music Delta - 80s Rock.stem.mp4"
    stems = stemwise.load("band").separate(song).stems
    scores = stemwise.evaluate(song, stems)
    medians = scores.groupby(["target", "metric"]).score.median()
    assert medians["vocals", "SDR"] > 3
    assert set(scores.problem) == {"vocals+drums+bass+other"}
