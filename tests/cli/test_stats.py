"""`stemwise stats`: any mix of stores and data sets becomes tables, CSV files and figures."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from cli.conftest import Stemwise
from stemwise.data.miniature import write_miniature
from stemwise.data.prepare import prepare
from stemwise.data.sets import read_set


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A store of iKala, and RWC, which has labels only, as it is."""
    write_miniature("ikala", tmp_path / "ikala", seconds=2.0)
    prepare(read_set("ikala", tmp_path / "ikala"), tmp_path / "stored")
    write_miniature("rwc", tmp_path / "pop", seconds=2.0)
    return tmp_path


def test_stores_and_sets_together(stemwise: Stemwise, place: Path) -> None:
    done = stemwise("stats", "stored", "rwc=pop", "voices=ikala=ikala", "--out", "out")
    assert done.status == 0, done.err
    assert "wrote out/songs.csv, out/energy.csv, out/vocals.png, out/energy.png" in done.out
    with open(place / "out" / "songs.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["set"] for row in rows} == {"stored", "pop", "voices"}
    ratios = {name: [row["vocal_ratio_db"] for row in rows if row["set"] == name] for name in
              ("stored", "pop", "voices")}  # fmt: skip
    assert ratios["stored"] == ratios["voices"]
    assert all(ratios["stored"])
    assert not any(ratios["pop"])
    assert all(0 < float(row["vocal_activity"]) < 1 for row in rows)
    assert (place / "out" / "vocals.png").stat().st_size > 10_000
    table = done.out.split("\n\n")[0]
    assert [line.split()[0] for line in table.splitlines()[1:4]] == ["stored", "pop", "voices"]


def test_a_folder_is_recognised(stemwise: Stemwise, place: Path) -> None:
    done = stemwise("stats", "pop", "--format", "svg", "-o", "out", "-q")
    assert (done.status, done.out) == (0, "")
    assert (place / "out" / "energy.svg").is_file()


def test_broken_tracks(stemwise: Stemwise, place: Path) -> None:
    broken = place / "ikala" / "Wavfile" / "10161_verse.wav"
    broken.write_bytes(broken.read_bytes()[:40_000])
    failed = stemwise("stats", "ikala=ikala")
    assert failed.status == 1
    [line] = failed.err.splitlines()
    assert "10161_verse.wav" in line
    done = stemwise("stats", "ikala=ikala", "--skip-broken")
    assert done.status == 1
    assert "1 tracks skipped:" in done.err
    assert "10161_verse.wav" in done.err
    assert done.out.splitlines()[1].split()[:2] == ["ikala", "2"]


def test_wrong_commands(stemwise: Stemwise, place: Path) -> None:
    assert "two data sets are named 'stored'" in stemwise("stats", "stored", "stored").err
    assert stemwise("stats", "nothing").status == 1
    assert "is not a folder" in stemwise("stats", "nothing").err
    assert "use the kind 'ikala'" in stemwise("stats", "rwc=ikala").err
    assert stemwise("stats", "stored", "--format", "pdf").status == 2
    assert "has no split 'train'" in stemwise("stats", "stored", "--split", "train").err
