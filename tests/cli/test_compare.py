"""`stemwise compare`: two runs, ours, museval's or a table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wilcoxon

from cli.conftest import Stemwise, leftovers

TRACKS = [f"song {number}" for number in range(9)]


def museval_file(path: Path, scores: dict[str, list[float]]) -> None:
    """What museval writes: the same score for every metric, per window."""
    targets = [
        {
            "name": name,
            "frames": [
                {
                    "time": float(at),
                    "duration": 1.0,
                    "metrics": dict.fromkeys(("SDR", "SIR", "SAR", "ISR"), value),
                }
                for at, value in enumerate(values)
            ],
        }
        for name, values in scores.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"targets": targets, "museval_version": "0.4.1"}))


@pytest.fixture
def runs(tmp_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Folders old and new with scores of nine tracks: vocals are better by 1 dB, bass is not."""
    rng = np.random.default_rng(0)
    old, new = rng.normal(5, 2, 9), rng.normal(6, 0.5, 9)
    for track, a, b in zip(TRACKS, old, new, strict=True):
        first = {"vocals": [a, a, np.nan], "bass": [a, a + 1, a - 1]}
        second = {"vocals": [a + b - 5, a + b - 5, 80], "bass": [a + 0.1, a - 0.1, a]}
        museval_file(tmp_path / f"old/test/{track}.json", first)
        museval_file(tmp_path / f"new/test/{track}.json", second)
    return old, old + new - 5


def test_paired_and_marked(
    stemwise: Stemwise, runs: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    old, new = runs
    result = stemwise("compare", "old", "new", "--metrics", "SDR", "-o", "c.csv", "-o", "c.md")
    assert result.status == 0, result.err
    table = pd.read_csv(tmp_path / "c.csv").set_index("target")
    assert list(table.index) == ["vocals", "bass"]
    row = table.loc["vocals"]
    assert (row.tracks, row.better, row.problem) == (9, int((new > old).sum()), "vocals+bass")
    assert row.a == pytest.approx(np.median(old))
    assert row.median_difference == pytest.approx(np.median(new - old))
    assert row.mean_difference == pytest.approx(np.mean(new - old))
    assert row.p == pytest.approx(wilcoxon(new, old).pvalue)
    assert row.significant
    bass = table.loc["bass"]
    assert (bass.p, bool(bass.significant)) == (1.0, False)
    lines = result.out.splitlines()
    assert "old" in lines[0]
    assert lines[1].rstrip().endswith("*")
    assert "*" not in lines[2]
    assert (tmp_path / "c.md").read_text().count("*") == 1


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_box_plots(
    stemwise: Stemwise, runs: tuple[np.ndarray, np.ndarray], tmp_path: Path, suffix: str
) -> None:
    for place in ("x", "y"):
        assert stemwise("compare", "old", "new", "-o", f"{place}/c.{suffix}").status == 0
    content = (tmp_path / f"x/c.{suffix}").read_bytes()
    assert content.startswith(b"\x89PNG" if suffix == "png" else b"<?xml")
    assert len(content) > 5000
    assert content == (tmp_path / f"y/c.{suffix}").read_bytes()
    assert not leftovers(tmp_path)


def test_tracks_in_one_run_only_and_few_of_them(
    stemwise: Stemwise, runs: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    for track in TRACKS[4:]:
        (tmp_path / f"new/test/{track}.json").unlink()
    result = stemwise("compare", "old", "new")
    assert result.status == 0
    assert "5 tracks have scores in the first run only" in result.err
    assert "fewer than 6 tracks" in result.err
    assert "4 of 4" in result.out or "3 of 4" in result.out


def test_other_problems_are_told(
    stemwise: Stemwise, runs: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    for track in TRACKS:
        museval_file(tmp_path / f"two/test/{track}.json", {"vocals": [1.0], "accompaniment": [2.0]})
    result = stemwise("compare", "old", "two")
    assert "vocals was scored among vocals+bass in one run and vocals+accompaniment" in result.err


def test_tables_of_several_methods(stemwise: Stemwise, tmp_path: Path) -> None:
    """SiSEC 2018's frame, as CSV."""
    rows = [
        (method, track, "vocals", "SDR", at + index, 0.0)
        for index, method in enumerate(("UHL2", "TAK1"))
        for at, track in enumerate(TRACKS)
    ]
    names = ["method", "track", "target", "metric", "score", "time"]
    pd.DataFrame(rows, columns=names).to_csv(tmp_path / "sisec.csv", index=False)
    result = stemwise("compare", "sisec.csv:UHL2", "sisec.csv:TAK1", "--format", "json")
    assert result.status == 0, result.err
    line = json.loads(result.out)
    assert (line["tracks"], line["median_difference"], line["significant"]) == (9, 1.0, True)
    result = stemwise("compare", "sisec.csv", "sisec.csv:TAK1")
    assert "holds several methods: name one behind a colon, sisec.csv:TAK1" in result.err
    result = stemwise("compare", "sisec.csv:X", "sisec.csv:TAK1")
    assert "has no method 'X': it has TAK1, UHL2" in result.err


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["old", "none"], 1, "none does not exist"),
        (["old", "empty"], 1, "empty holds no scores"),
        (["old", "junk"], 1, "junk.json does not hold scores in museval's schema"),
        (["old", "frame.pandas"], 1, "frame.pandas is no table: give .csv or .parquet"),
        (["old", "new", "--targets", "drums"], 1, "no target 'drums': there are vocals, bass"),
        (["old", "new", "--names", "one"], 2, "two different names"),
        (["old", "new", "-o", "x.txt"], 1, "x.txt must end in"),
    ],
)
def test_what_cannot_be_compared(
    stemwise: Stemwise,
    runs: tuple[np.ndarray, np.ndarray],
    tmp_path: Path,
    arguments: list[str],
    status: int,
    sentence: str,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk/junk.json").write_text('{"targets": [{"name": 3}]}')
    (tmp_path / "frame.pandas").write_bytes(b"cos\nsystem\n")
    result = stemwise("compare", *arguments)
    assert result.status == status
    assert sentence in result.err
