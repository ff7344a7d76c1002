"""Evaluation of a model on tracks from anywhere: a ledger of scores, one table of all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest

from cli.conftest import Stemwise, leftovers
from stemwise.catalogue.tracks import read_tracks
from stemwise.errors import CatalogueError
from track_sets import write_set

NAMES = ("vocals", "drums", "bass", "other")


def lines(run: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(run) / "ledger.jsonl").read_text().splitlines()]


def kill_after_one(run: str, *arguments: object) -> None:
    """Kill a command and all its processes when a song is in its ledger."""
    job = subprocess.Popen(
        [sys.executable, "-m", "stemwise", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    ledger = Path(run) / "ledger.jsonl"
    deadline = time.monotonic() + 200
    while not ledger.exists() or ledger.read_bytes().count(b"\n") < 2:
        assert job.poll() is None or ledger.exists()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with suppress(ProcessLookupError):
        os.killpg(job.pid, signal.SIGKILL)
    job.wait()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[str]:
    """Two tracks, one of a split, behind a URL."""
    references, _ = write_set(tmp_path, ("a", "b"), NAMES)
    system = fsspec.filesystem("memory")
    for source, target in (("a", "a"), ("b", "test/b")):
        system.put(str(references / source) + "/", f"/sets/{target}/", recursive=True)
    yield "memory://sets"
    system.rm("/sets", recursive=True)


def test_tracks_of_every_kind_of_place(memory: str, tmp_path: Path) -> None:
    def ids(*arguments: object, split: str | None = None) -> list[tuple[str, str]]:
        found = read_tracks([str(one) for one in arguments], split=split)
        return [(one.id, one.split) for one in found]

    references = tmp_path / "references"
    assert ids(references) == [("a", ""), ("b", "")]
    assert ids(references / "a") == [("a", "")]
    assert ids(f"{references}/[b]*") == [("b", "")]
    assert ids(f"{tmp_path}/ref*/*") == [("references/a", ""), ("references/b", "")]
    assert ids(memory) == ids(f"{memory}/") == [("a", ""), ("test/b", "test")]
    assert ids(memory, split="test") == [("test/b", "test")]
    assert ids(f"{memory}/test/*") == ids(f"{memory}/test/") == [("b", "")]
    assert ids(f"{memory}/a") == ids(f"{memory}/a/") == [("a", "")]
    assert ids("https://h/x/Song%201.stem.mp4?sig=1") == [("Song 1", "")]
    manifest = references / "list.csv"
    manifest.write_text(f"path,url,id\na,,first\n,{memory}/test/b,\n")
    assert ids(manifest) == [("first", ""), ("b", "")]
    with pytest.raises(CatalogueError, match="There are no tracks of the split 'train' in memory:"):
        ids(memory, split="train")
    with pytest.raises(CatalogueError, match=r"There are no tracks in .*/\*\.wav: they are"):
        ids(f"{references}/*.wav")


def test_scores_of_tracks_from_anywhere(stemwise: Stemwise, model: Path, tmp_path: Path) -> None:
    write_set(tmp_path, ("a", "b"), NAMES)
    shutil.copytree("references/b", "sets/test/b")
    url = f"file://{tmp_path}/sets/test/b"
    command = ("evaluate", "-n", model, "--metrics", "si-sdr,usdr")
    plain = stemwise(*command, "references", "-o", "plain.csv")
    assert plain.status == 0, plain.err
    manifest = tmp_path / "list.csv"
    manifest.write_text(f"path,url,id\nreferences/a,,a\n,{url},b\nnone,,none\n")
    kill_after_one("run", *command, manifest, "--run", "run", "-j", 2)
    first = stemwise(*command, manifest, "--run", "run", "-j", 2, "-o", "first.csv")
    assert first.status == 1
    [failure] = [line["sentence"] for line in lines("run")[1:] if line["id"] == "none"]
    assert failure == f"There is no track {tmp_path / 'none'}."
    assert first.out == plain.out
    pd.testing.assert_frame_equal(pd.read_csv("first.csv"), pd.read_csv("plain.csv"))
    shutil.copytree("references/a", "none")
    again = stemwise(*command, manifest, "--run", "run", "--retry-failed", "--json", "scores")
    assert again.status == 0, again.err
    assert "1 song done, 2 were done before" in again.err
    assert Counter(line["id"] for line in lines("run")[1:]) == {"a": 1, "b": 1, "none": 2}
    assert len(list(Path("scores/test").iterdir())) == 3, "those of the first run, too"
    undisturbed = stemwise(*command, manifest, "--run", "other")
    assert again.out == undisturbed.out
    assert stemwise(*command, manifest, "--run", "run", "--window", 2).status == 1
    assert {path.name for path in leftovers(tmp_path)} == {".ledger.jsonl.lock"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("references", "estimates", "--run", "run"), "need --model"),
        (("references", "-n", "band", "--cluster", "local"), "need --run DIR"),
        (("memory://sets/", "-n", "band"), "need --run DIR"),
        (("references/*", "-n", "band"), "need --run DIR"),
        (("references", "more", "-n", "band"), "need --run DIR"),
        (("references", "a", "b"), "give ESTIMATES, or --model NAME"),
    ],
)
def test_what_cannot_be_a_run(
    stemwise: Stemwise, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    outcome = stemwise("evaluate", *arguments)
    assert outcome.status == 2
    assert sentence in " ".join(outcome.err.split())
