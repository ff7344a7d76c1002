"""What is done to songs from URLs to URLs, in one process, whose memory holds the files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from cli.conftest import song
from stemwise.catalogue.detecting import DetectWork
from stemwise.catalogue.entries import Entry
from stemwise.catalogue.evaluating import EvaluateWork
from stemwise.catalogue.separating import SeparateWork
from stemwise.catalogue.tracks import read_tracks
from stemwise.catalogue.work import Record, Work, attempt
from stemwise.evaluation.scoring import Settings
from stemwise.report import page
from stemwise.separation import Options
from stemwise.songs import Output
from track_sets import write_set


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    system.put_file(str(song(tmp_path / "a.wav")), "/works/Song #1.wav")
    yield system
    system.rm("/works", recursive=True)


def done(work: Work, entry: Entry) -> Record:
    record = attempt(work.begin(), entry, lambda done, total: None, threading.Event())
    assert record.sentence is None, record.sentence
    return record


def test_stems_and_a_page_of_a_long_song(
    memory: fsspec.AbstractFileSystem, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "LONGEST_EMBEDDED", 0.1)
    work = SeparateWork(str(model), Options(), Output(report=True), target="memory://works/out")
    facts = done(work, Entry("Song #1", "memory://works/Song #1.wav")).facts
    files = {path.rpartition("/")[2]: path for path in memory.find("/works/out")}
    assert facts["report"] == "memory://works/out/Song #1/report.html"
    assert {"report.html", "report-mixture.opus", "vocals.wav", "activity.csv"} <= set(files)
    text = memory.cat_file(files["report.html"]).decode()
    assert "/stemwise-" not in text, "no path of a copy that is gone"
    assert 'src="report-mixture.opus"' in text


def test_labels(memory: fsspec.AbstractFileSystem, model: Path) -> None:
    work = DetectWork(str(model), Options(), "lab", None, 0.5, 0.1, target="memory://works/labels")
    facts = done(work, Entry("x/one", "memory://works/Song #1.wav")).facts
    assert facts["file"] == "memory://works/labels/x/one.lab"
    assert memory.isfile("/works/labels/x/one.lab")


def test_scores(memory: fsspec.AbstractFileSystem, model: Path, tmp_path: Path) -> None:
    references, _ = write_set(tmp_path, ("50% a",), ("vocals", "drums", "bass", "other"))
    memory.put(str(references) + "/", "/works/set/", recursive=True)
    work = EvaluateWork(str(model), Options(), Settings(("si-sdr",)))
    found = []
    for place in (str(references), "memory://works/set"):
        [entry] = read_tracks([place])
        facts = dict(done(work, entry).facts)
        assert facts["song"] == entry.source
        found.append({**facts, "song": None, "inputs": None, "elapsed": None})
    assert found[0] == found[1]
    assert found[0]["track"] == "50% a"
