"""`stemwise oracle`: bounds for what separation can reach on a set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from cli.conftest import Stemwise, leftovers
from stemwise.evaluation.bss_eval import bss_eval
from stemwise.evaluation.oracle import oracle
from track_sets import RATE, write_set


def test_bounds_of_a_set(stemwise: Stemwise, tmp_path: Path) -> None:
    references, estimates = write_set(tmp_path)
    result = stemwise(
        "oracle", references, "--methods", "irm,mixture", "-o", "x.csv", "--json", "oracles"
    )
    assert result.status == 0, result.err
    lines = result.out.splitlines()
    assert lines[0].split()[:2] == ["method", "target"]
    assert [line.split()[0] for line in lines[1:]] == ["irm", "irm", "mixture", "mixture"]
    frame = pd.read_csv(tmp_path / "x.csv")
    chosen = frame[(frame.metric == "SDR") & (frame.track == "beta")].dropna(subset=["score"])
    means = chosen.groupby("method").score.mean()
    assert means["irm"] > means["mixture"] + 3
    assert {path.parent.parent.name for path in (tmp_path / "oracles").rglob("*.json")} == {
        "irm", "mixture",
    }  # fmt: skip
    assert not leftovers(tmp_path)
    # a run can be compared with its bound
    assert stemwise("evaluate", references, estimates, "--json", "run", "-q").status == 0
    assert stemwise("compare", "oracles/irm", "run").status == 0


def test_the_estimates_are_those_of_the_function(stemwise: Stemwise, tmp_path: Path) -> None:
    references, _ = write_set(tmp_path, ("only",))
    command = ("oracle", references, "--methods", "mwf", "--no-quantise", "--format", "json")
    result = stemwise(*command)
    assert result.status == 0, result.err
    true = np.stack(
        [soundfile.read(references / f"only/{name}.wav")[0] for name in ("vocals", "drums")]
    )
    wanted = bss_eval(true, oracle("mwf", true, RATE), RATE)
    line = json.loads(result.out)
    assert line["method"] == "mwf"
    drums = line["targets"][1]["scores"]
    assert drums["SDR"] == pytest.approx(np.nanmedian(wanted.sdr[1]), abs=1e-3)


def test_a_broken_track_and_an_unknown_method(stemwise: Stemwise, tmp_path: Path) -> None:
    references, _ = write_set(tmp_path)
    (references / "alpha/drums.wav").write_bytes(b"RIFF")
    result = stemwise("oracle", references, "--methods", "ibm,equal")
    assert result.status == 1
    assert result.err.count("stemwise: alpha: ") == 1
    assert "1 of 3 tracks failed" in result.err
    assert len(result.out.splitlines()) == 5
    result = stemwise("oracle", references, "--methods", "irn")
    assert result.status == 2
    assert "did you mean 'irm'" in result.err
