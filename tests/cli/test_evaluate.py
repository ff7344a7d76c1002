"""`stemwise evaluate`: what people type, on sets as they come."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from cli.conftest import Stemwise, leftovers
from stemwise.evaluation.bss_eval import bss_eval
from track_sets import RATE, estimated, stems, write_set, write_track


def test_two_folders(stemwise: Stemwise, tmp_path: Path) -> None:
    references, estimates = write_set(tmp_path)
    result = stemwise("evaluate", references, estimates, "-o", "a/all.csv", "-o", "all.md")
    assert result.status == 0, result.err
    lines = result.out.splitlines()
    assert lines[0].split()[:2] == ["target", "scored"]
    assert lines[1].split()[:3] == ["vocals", "vocals,", "drums"]
    assert "1 of 4" in lines[1]
    assert "dBFS" in lines[1]
    assert "alpha: SDR vocals" in result.err
    frame = pd.read_csv(tmp_path / "a/all.csv", keep_default_na=False, na_values=[""])
    assert len(frame) == 2 * 2 * 4 * 2
    first = frame[(frame.track == "alpha") & (frame.metric == "SDR")]
    assert list(first.reason.fillna("")) == ["reference of vocals silent in this window", ""] * 2
    assert (tmp_path / "all.md").read_text().startswith("| target | scored among | SDR (dB) |")
    assert not leftovers(tmp_path)


def test_the_scores_are_those_of_the_arrays(stemwise: Stemwise, tmp_path: Path) -> None:
    references, estimates = write_set(tmp_path, ("only",))
    assert stemwise("evaluate", references, estimates, "-o", "x.csv", "-q").status == 0
    arrays = [
        np.stack([soundfile.read(place / f"only/{name}.wav")[0] for name in ("vocals", "drums")])
        for place in (references, estimates)
    ]
    wanted = bss_eval(arrays[0], arrays[1], RATE)
    frame = pd.read_csv(tmp_path / "x.csv")
    for metric, values in (("SDR", wanted.sdr), ("SAR", wanted.sar)):
        for index, target in enumerate(("vocals", "drums")):
            chosen = frame[(frame.metric == metric) & (frame.target == target)]
            np.testing.assert_allclose(chosen.score, values[index], rtol=0, atol=1e-9)
    power = np.mean(np.square(arrays[1][0][RATE : 2 * RATE]))
    level = frame[(frame.target == "vocals") & (frame.metric == "SDR")].level
    assert level.iloc[1] == pytest.approx(10 * np.log10(power))


def test_two_files(stemwise: Stemwise, tmp_path: Path) -> None:
    references = stems()
    write_track(tmp_path, {"voice": references["vocals"], "mine": estimated(references)["vocals"]})
    result = stemwise("evaluate", "voice.wav", "mine.wav", "--metrics", "v4", "--format", "csv")
    assert result.status == 0, result.err
    table = [line.split(",") for line in result.out.splitlines()]
    assert {line[1] for line in table[1:]} == {"voice"}
    infinite = [line for line in table[1:] if line[3] == "SIR"]
    # nothing but the source itself can be explained away
    assert all(line[-1] == "no error: +inf dB" for line in infinite)


def test_json_lines_and_nothing_else(stemwise: Stemwise, tmp_path: Path) -> None:
    references, estimates = write_set(tmp_path)
    (estimates / "beta/drums.wav").unlink()
    result = stemwise("evaluate", references, estimates, "--format", "json")
    assert result.status == 1
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert lines[0]["track"] == "beta"
    assert "no estimate of drums" in lines[0]["error"]
    assert lines[1]["track"] == "alpha"
    assert lines[1]["targets"][0]["target"] == "vocals"
    assert lines[1]["targets"][0]["left_out"] == 1
    assert 5 < lines[1]["targets"][1]["scores"]["SDR"] < 40


def test_finished_tracks_are_not_scored_again(stemwise: Stemwise, tmp_path: Path) -> None:
    references, estimates = write_set(tmp_path)
    command = ("evaluate", references, estimates, "--json", "scores")
    assert stemwise(*command, "-o", "1.csv").status == 0
    files = sorted((tmp_path / "scores/test").iterdir())
    assert [file.name for file in files] == ["alpha.json", "beta.json"]
    before = [file.read_bytes() for file in files]
    again = stemwise(*command, "-o", "2.csv")
    assert again.err.count("scored before with the same files and settings") == 2
    assert [file.read_bytes() for file in files] == before
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()


def test_a_stale_result_is_not_taken(stemwise: Stemwise, tmp_path: Path) -> None:
    references, estimates = write_set(tmp_path)
    command = ("evaluate", references, estimates, "--json", "scores")
    assert stemwise(*command).status == 0
    write_track(estimates / "beta", estimated(stems(10), 77))
    result = stemwise(*command)
    assert "alpha: scored before" in result.err
    assert "beta: SDR" in result.err
    result = stemwise(*command, "--hop", "0.5")
    assert "scored before" not in result.err
    assert "4 of 12" not in result.err
    assert (
        len(json.loads((tmp_path / "scores/test/beta.json").read_text())["targets"][0]["frames"])
        == 3
    )


def test_files_of_others_are_left_alone(stemwise: Stemwise, tmp_path: Path) -> None:
    references, estimates = write_set(tmp_path)
    (tmp_path / "scores/test").mkdir(parents=True)
    (tmp_path / "scores/test/alpha.json").write_text('{"targets": []}')
    result = stemwise("evaluate", references, estimates, "--json", "scores")
    assert result.status == 1
    assert "alpha.json was not written by stemwise and is left alone" in result.err
    assert (tmp_path / "scores/test/alpha.json").read_text() == '{"targets": []}'
    assert (tmp_path / "scores/test/beta.json").exists()


def test_broken_tracks_stop_nobody(stemwise: Stemwise, tmp_path: Path) -> None:
    tracks = ("fine", "nan", "cut", "short", "long")
    references, estimates = write_set(tmp_path, tracks)
    samples = soundfile.read(estimates / "nan/drums.wav")[0]
    samples[777] = np.nan
    soundfile.write(estimates / "nan/drums.wav", samples, RATE, subtype="FLOAT")
    (estimates / "cut/drums.wav").write_bytes((estimates / "cut/drums.wav").read_bytes()[:20])
    for track, length in (("short", 12000), ("long", 20000)):
        found = {name: np.resize(one, (1, length)) for name, one in stems(3).items()}
        write_track(estimates / track, found)
    result = stemwise("evaluate", references, estimates, "--json", "scores", "-o", "x.md")
    assert result.status == 1
    assert "nan: " in result.err
    assert "drums.wav has a sample that is not a number at 0.097 s" in result.err
    assert "2 of 5 tracks failed:" in result.err
    assert "short: the estimate of vocals ends 0.600 s (4800 samples) early: padded" in result.err
    assert "long: the estimate of drums is 0.400 s (3200 samples) too long: cut" in result.err
    names = sorted(file.stem for file in (tmp_path / "scores/test").iterdir())
    assert names == ["fine", "long", "short"]
    assert not leftovers(tmp_path)
    notes = json.loads((tmp_path / "scores/test/short.json").read_text())["stemwise"]["notes"]
    assert len(notes) == 2


def test_silence(stemwise: Stemwise, tmp_path: Path) -> None:
    references, estimates = write_set(tmp_path)
    write_track(references / "alpha", {"drums": np.zeros((1, 16800))})
    result = stemwise("evaluate", references, estimates)
    assert result.status == 0
    assert "alpha: no score: reference of drums silent in the whole track" in result.err
    assert "2 of 4" in result.out
    result = stemwise("evaluate", references, estimates, "--silent", "raise")
    assert result.status == 1
    assert "alpha: reference of drums silent in the whole track" in result.err
    assert "beta: SDR" in result.err


def test_any_number_of_processes_gives_the_same(stemwise: Stemwise, tmp_path: Path) -> None:
    references, estimates = write_set(tmp_path, ("a", "b", "c"))
    (references / "b/drums.wav").write_bytes(b"RIFF")
    assert stemwise("evaluate", references, estimates, "-o", "1.csv", "--json", "one").status == 1
    assert stemwise("evaluate", references, estimates, "-o", "2.csv", "-j", 2).status == 1
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_run_is_completed(
    stemwise: Stemwise, tmp_path: Path, how: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    monkeypatch.setenv("TMPDIR", str(spool))
    monkeypatch.setattr(tempfile, "tempdir", str(spool))
    tracks = [f"track {number}" for number in range(16)]
    references, estimates = write_set(tmp_path, tracks)
    command = ["evaluate", str(references), str(estimates), "--json", "scores"]
    process = subprocess.Popen(
        [sys.executable, "-m", "stemwise", *command],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        # tests that run in the background inherit that SIGINT is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    first = tmp_path / "scores/test/track 0.json"
    deadline = time.monotonic() + 60
    while not first.exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    done = sorted((tmp_path / "scores/test").glob("*.json"))
    assert 1 <= len(done) < len(tracks)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert b"the same command continues" in err
        assert not list(spool.iterdir())
    kept = [file.read_bytes() for file in done]
    result = stemwise(*command, "-o", "x.csv")
    assert result.status == 0
    assert result.err.count("scored before") == len(done)
    assert [file.read_bytes() for file in done] == kept
    assert len(list((tmp_path / "scores/test").glob("*.json"))) == len(tracks)
    assert not list(spool.iterdir())
    assert not leftovers(tmp_path / "scores")


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["references"], 2, "give ESTIMATES, or --model NAME"),
        (["references", "estimates", "--metrics", "v5"], 2, "there is no 'v5': choose v4, v3"),
        (["references", "estimates", "--problem", "stem"], 2, "did you mean 'stems'"),
        (["references", "estimates", "--window", "0"], 2, "window must be longer than 0"),
        (["references", "estimates", "-o", "x.xls"], 1, "x.xls must end in one of .csv"),
        (["references", "none"], 1, "none does not exist"),
        (["references", "estimates", "--precision", "fp32"], 2, "--precision need --model"),
        (["references", "-n", "band", "--precision", "fp8"], 2, "'fp8'"),
        (["references", "estimates", "--split", "test"], 1, "it has no splits"),
    ],
)
def test_command_lines_that_are_wrong(
    stemwise: Stemwise, tmp_path: Path, arguments: list[str], status: int, sentence: str
) -> None:
    write_set(tmp_path, ("a",))
    result = stemwise("evaluate", *arguments)
    assert result.status == status
    assert sentence in result.err
    assert not (tmp_path / "x.xls").exists()


def test_help_does_not_import_pandas_or_torch() -> None:
    code = (
        "import sys; from stemwise.cli import run; run(['evaluate', '--help']); "
        "sys.exit(int(bool({'pandas', 'torch', 'numpy'} & set(sys.modules))))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_model(stemwise: Stemwise, model: Path, tmp_path: Path) -> None:
    names = ("vocals", "drums", "bass", "other")
    references, _ = write_set(tmp_path, ("a",), names)
    command = ("evaluate", references, "--model", model, "--json", "scores", "--metrics", "v4")
    result = stemwise(*command, "-o", "x.csv")
    assert result.status == 0, result.err
    assert set(pd.read_csv(tmp_path / "x.csv").target) == set(names)
    kept = json.loads((tmp_path / "scores/test/a.json").read_text())["stemwise"]["settings"]
    assert kept["estimates"]["network"] == "band-unet"
    # the same stems as through files
    total = np.sum([soundfile.read(references / f"a/{name}.wav")[0] for name in names], axis=0)
    soundfile.write(tmp_path / "a.wav", total, RATE, subtype="FLOAT")
    assert stemwise("separate", "a.wav", "-n", model, "--float32").status == 0
    assert stemwise("evaluate", references, "separated", "-o", "y.csv").status == 0
    scores = [pd.read_csv(tmp_path / file).score for file in ("x.csv", "y.csv")]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)
    assert "scored before" in stemwise(*command).err
    if kept["estimates"]["precision"] != "fp32":  # what computes otherwise is scored anew
        result = stemwise(*command, "--precision", "fp32")
        assert "scored before" not in result.err
        kept = json.loads((tmp_path / "scores/test/a.json").read_text())["stemwise"]["settings"]
        assert (kept["estimates"]["runtime"], kept["estimates"]["precision"]) == ("torch", "fp32")
    assert leftovers(tmp_path) == []


def test_the_shipped_model_on_a_real_song(
    stemwise: Stemwise, real_audio: Path, tmp_path: Path
) -> None:
    """Two problems of four stems and of vocals against the rest, in one pass without stems."""
    (tmp_path / "song").mkdir()
    for file in (real_audio / "iosr").glob("*.wav"):
        name = "vocals.wav" if file.stem == "vox" else file.name
        shutil.copy(file, tmp_path / "song" / name)
    command = ("evaluate", "song", "--model", "band", "--problem", "both", "--format", "json")
    result = stemwise(*command)
    assert result.status == 0, result.err
    targets = json.loads(result.out)["targets"]
    assert [one["target"] for one in targets] == [
        "vocals", "drums", "bass", "other", "vocals", "accompaniment",
    ]  # fmt: skip
    vocals = [one["scores"] for one in targets if one["target"] == "vocals"]
    assert vocals[0]["SDR"] == vocals[1]["SDR"] > 2  # does not depend on the other sources
    assert 0 < abs(vocals[0]["SAR"] - vocals[1]["SAR"]) < 2
    assert not leftovers(tmp_path)
