"""Folders, patterns, manifests and URLs: every song once, noted in a ledger, resumable."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import soundfile

from cli.conftest import Stemwise, noise

RATE = 44100


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """Four songs in folders, one of which is no audio."""
    folder = tmp_path / "songs"
    for index, name in enumerate(("one.wav", "album/one.wav", "album/two ü.flac")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise(RATE // 2 + index * 1000), RATE)
    (folder / "broken.mp3").write_text("this is no audio")
    return folder


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "ledger.jsonl").read_text().splitlines()]


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "ledger" not in path.name
    }


def test_a_folder_is_separated_and_what_is_missing_later(
    stemwise: Stemwise, model: Path, songs: Path
) -> None:
    first = stemwise("separate", songs, "-n", model, "-o", "out", "-j", 2)
    assert first.status == 1
    assert "broken.mp3" in first.err
    assert "3 songs done, 1 failed; see out/ledger.jsonl" in first.err
    states = {line["id"]: line["state"] for line in lines(Path("out"))[1:]}
    assert states == {
        "one": "done",
        "album/one": "done",
        "album/two ü": "done",
        "broken": "failed",
    }
    for song, name in (("one.wav", "one"), ("album/one.wav", "album/one")):
        alone = stemwise("separate", songs / song, "-n", model, "-o", "alone")
        assert alone.status == 0
        assert files(Path("out") / name) == files(Path("alone") / "one")
    assert not list(Path("out").glob(".parts*"))

    soundfile.write(songs / "broken.wav", noise(5000), RATE)
    (songs / "broken.mp3").unlink()
    soundfile.write(songs / "new.wav", noise(6000), RATE)
    second = stemwise("separate", songs, "-n", model, "-o", "out", "--json")
    *told, summary = [json.loads(line) for line in second.out.splitlines()]
    assert [one["song"] for one in told] == [str(songs / "new.wav")]
    assert summary["summary"]["done"] == 1
    assert (summary["summary"]["already"], summary["summary"]["left_failed"]) == (3, 1)
    assert second.status == 1, "a song of the run is still missing"
    third = stemwise("separate", songs, "-n", model, "-o", "out", "--retry-failed", "--quiet")
    assert (third.status, third.out) == (0, "")
    assert Counter(line["id"] for line in lines(Path("out"))[1:])["broken"] == 2

    other = stemwise("separate", songs, "-n", model, "-o", "out", "--flac")
    assert other.status == 1
    assert "out holds results with format" in other.err


def test_a_manifest_of_files_and_urls_with_options_of_their_own(
    stemwise: Stemwise, model: Path, songs: Path, server: str
) -> None:
    manifest = songs / "list.jsonl"
    rows = [
        {"path": "one.wav", "id": "first"},
        {"url": f"{server}/album/two%20%C3%BC.flac", "options": {"two_stems": "vocals"}},
        {"url": f"{server}/nothing.wav"},
    ]
    manifest.write_text("\n".join(json.dumps(row) for row in rows))
    target = f"file://{Path('remote').resolve()}/stems"
    outcome = stemwise("separate", manifest, "-n", model, "-o", target, "--run", "run")
    assert outcome.status == 1
    assert f"There is no file {server}/nothing.wav." in outcome.err
    assert sorted(files(Path("remote") / "stems")) == [
        *(f"first/{name}" for name in ("activity.csv", "bass.wav", "drums.wav", "other.wav")),
        "first/vocals.wav",
        *(f"two ü/{name}" for name in ("activity.csv", "no_vocals.wav", "vocals.wav")),
    ]
    stemwise("separate", songs / "one.wav", "-n", model, "-o", "alone")
    assert files(Path("remote/stems/first")) == files(Path("alone/one"))
    [done] = [line for line in lines(Path("run")) if line.get("id") == "first"]
    assert done["facts"]["stems"]["vocals"] == f"{target}/first/vocals.wav"


def test_detection_of_a_folder(stemwise: Stemwise, model: Path, songs: Path) -> None:
    command = ("detect", songs, "-n", model, "--format", "lab", "-o", "labels")
    outcome = stemwise(*command)
    assert outcome.status == 1
    assert sorted(files(Path("labels"))) == ["album/one.lab", "album/two ü.lab", "one.lab"]
    assert "3 were done before" in stemwise(*command).err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("nothing/*.wav",), "There are no songs in nothing/*.wav"),
        (("songs", "-o", "s3://bucket/out"), "need --run DIR"),
        (("songs", "--filename", "{stem}.{ext}"), "--filename needs {track}"),
        (("songs", "-o", "s3://b/out", "--run", "run", "--skip-existing"), "looks at files of thi"),
        (("songs", "songs"), "is given twice"),
        (("songs", "--memory", "2", "--cluster", "local"), "--memory is for this machine"),
    ],
)
def test_what_cannot_be_a_run(
    stemwise: Stemwise, model: Path, songs: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    outcome = stemwise("separate", *arguments, "-n", model)
    assert outcome.status != 0
    assert sentence in outcome.err
    assert not list(Path("separated").rglob("*.wav"))


def test_unknown_options_of_a_song_end_the_command(
    stemwise: Stemwise, model: Path, songs: Path
) -> None:
    manifest = songs / "list.csv"
    manifest.write_text("path,options\none.wav,gaet=raw\n")
    outcome = stemwise("separate", manifest, "-n", model)
    assert outcome.status == 1
    assert "one: a song has no option 'gaet': did you mean 'gate'?" in outcome.err


def test_a_killed_run_goes_on_where_it_was(
    stemwise: Stemwise, model: Path, songs: Path, tmp_path: Path
) -> None:
    (songs / "broken.mp3").unlink()
    for index in range(3):
        soundfile.write(songs / f"more{index}.wav", noise(RATE // 4 + index), RATE)
    command = ["separate", "songs", "-n", str(model), "-j", "2"]
    assert stemwise(*command, "-o", "whole").status == 0
    for count in (0, 2, 4):  # songs that are done when everything is killed
        job = subprocess.Popen(
            [sys.executable, "-m", "stemwise", *command, "-o", "out"],
            stderr=subprocess.DEVNULL,
            cwd=tmp_path,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        ledger = tmp_path / "out" / "ledger.jsonl"
        deadline = time.monotonic() + 200
        while not ledger.exists() or ledger.read_bytes().count(b"\n") < 1 + count:
            assert job.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    last = stemwise(*command, "-o", "out")
    assert last.status == 0, last.err
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    ids = Counter(line["id"] for line in lines(tmp_path / "out")[1:])
    assert set(ids.values()) == {1}, "no song was done twice after it was noted"


@pytest.fixture
def server(songs: Path) -> Iterator[str]:
    """The folder of songs behind a web server of this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            """Nothing is printed."""

    served = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(songs)))
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_address[1]}"
    served.shutdown()
