"""Songs from disks, web servers and object stores: one result, whoever does the work."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import soundfile

RATE = 44100
SONGS = {"long": 20.0, "a b": 3.0, "c": 1.0, "d": 4.0, "e": 2.0, "f": 3.0, "g": 0.3}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An object store of this machine, which children find by their environment."""
    moto = pytest.importorskip("moto.server", reason="moto is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    service = moto.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it tells of every request
    service.start()
    host, port = service.get_host_and_port()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    import s3fs

    store = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
    store.mkdir("music")
    yield store
    service.stop()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A web server of this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            """Nothing is printed."""

    (tmp_path / "web").mkdir()
    served = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "web")))
    Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_address[1]}"
    served.shutdown()


@pytest.fixture
def manifest(tmp_path: Path, bucket: Any, server: str) -> str:
    """Songs of three places, one of them missing, in a manifest on the object store."""
    rng = np.random.default_rng(0)
    rows = []
    for index, (name, seconds) in enumerate(SONGS.items()):
        noise = rng.standard_normal((round(seconds * RATE), 1 + index % 2)).astype(np.float32)
        file = tmp_path / ("local", "web", "s3")[index % 3] / f"{name}.flac"
        file.parent.mkdir(exist_ok=True)
        soundfile.write(file, 0.1 * noise, RATE)
        row = {"id": f"album {index % 2}/{name}"}
        if index % 3 == 0:
            row["path"] = str(file)
        elif index % 3 == 1:
            row["url"] = f"{server}/{name.replace(' ', '%20')}.flac?signature=secret"
        else:
            bucket.put(str(file), f"music/songs/{file.name}")
            row["path"] = f"../songs/{file.name}" if index == 2 else f"s3://music/songs/{file.name}"
        rows.append(row)
    rows[1]["options"] = "two_stems=vocals"
    rows.append({"url": f"{server}/none.flac?signature=secret"})
    text = "\n".join(json.dumps(row) for row in rows)
    bucket.pipe("music/lists/songs.jsonl", text.encode())
    return "s3://music/lists/songs.jsonl"


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "stemwise", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def lines(run: Path) -> list[dict[str, Any]]:
    content = (run / "ledger.jsonl").read_text() if (run / "ledger.jsonl").exists() else ""
    return [json.loads(line) for line in content.splitlines(keepends=True) if line.endswith("\n")]


def kill_an_actor(run: Path, mark: str, command: subprocess.Popen[str]) -> int:
    """SIGKILL to a process with a model of the cluster that `mark` tells, in the middle of a run.

    Returns how many songs were done by then.
    """
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and command.poll() is None:
        done = len(lines(run)) - 1
        if done >= 1:
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    title = (process / "cmdline").read_bytes()
                    if (
                        title.startswith(b"ray::Worker")
                        and mark.encode() in (process / "environ").read_bytes()
                    ):
                        os.kill(int(process.name), signal.SIGKILL)
                        return done
                except OSError:
                    continue
        time.sleep(0.02)
    raise AssertionError("no actor was found")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to find actors")
def test_one_process_a_pool_and_a_cluster_give_the_same(
    tmp_path: Path, model: Path, manifest: str, bucket: Any
) -> None:
    results = {}
    who = {"one": ["-j", "1"], "pool": ["-j", "2"], "cluster": ["--cluster", "local", "-j", "2"]}
    for name, options in who.items():
        run, target = tmp_path / f"run-{name}", f"s3://music/{name}"
        mark = uuid.uuid4().hex
        command = start(
            tmp_path, "separate", manifest, "-n", str(model), "-o", target, "--run", str(run),
            *options, STEMWISE_TEST_MARK=mark,
        )  # fmt: skip
        if name == "cluster":
            assert kill_an_actor(run, mark, command) < len(SONGS)
        printed, _ = command.communicate(timeout=240)
        assert command.returncode == 1, printed
        assert "7 songs done, 1 failed" in printed
        assert "secret" not in printed + (run / "ledger.jsonl").read_text()
        told = lines(run)[1:]
        assert set(Counter(line["id"] for line in told).values()) == {1}, "each once"
        files = {path[len(f"music/{name}/") :]: path for path in bucket.find(f"music/{name}")}
        contents = {path: bucket.cat_file(place) for path, place in files.items()}
        results[name] = contents, {line["id"]: comparable(line, target) for line in told}
    contents, facts = results["one"]
    assert len(contents) == 6 * 5 + 3
    assert facts["none"]["sentence"].endswith("/none.flac?signature=***.")
    for name in ("pool", "cluster"):
        assert results[name][0] == contents, name
        assert results[name][1] == facts, name


def comparable(line: dict[str, Any], target: str) -> dict[str, Any]:
    """A line of the ledger without what is of its run alone: times, and where results are."""
    facts = {key: value for key, value in line["facts"].items() if key != "elapsed"}
    text = json.dumps({**line, "facts": facts, "time": None}).replace(target, "")
    found: dict[str, Any] = json.loads(text)
    return found
