"""The command as a process: killed and started again, interrupted, refused."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.studio.conftest import Client, long_song, wait_until

from stemwise.processes import is_alive

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "stemwise", "studio", *map(str, arguments)]


@contextmanager
def studio(data: Path, *more: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A studio in a process of its own, and its address."""
    process = subprocess.Popen(
        command("--no-open", "--port", 0, "--data", data, *more),
        stdout=subprocess.PIPE,
        text=True,
        # a runner in the background ignores the signal, and its children would too
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    try:
        found = re.search(r"(http://\S+)", process.stdout.readline())
        assert found is not None
        yield process, found[1]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def children(process: int) -> list[int]:
    """The processes that a process has begun."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process:
            found.append(int(path.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="tells processes by /proc")
def test_a_studio_that_is_killed_goes_on_where_it_was(tmp_path: Path, tiny: Path) -> None:
    data, more = tmp_path / "data", ("--checkpoint", tiny)
    path = long_song(tmp_path / "song.flac", 80, 8000)
    with studio(data, *more, "-j", 2) as (process, address), Client(address) as client:
        id = client.upload(path)["id"]
        wait_until(lambda: client.job(id)["seconds_done"] > 0, "The song did not begin.")
        (data / "incoming" / ("x" * 22)).write_bytes(b"half a song")
        family = children(process.pid)
        assert family
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_until(lambda: not any(map(is_alive, family)), "A process outlived its studio.")
    assert (data / "jobs" / id / "work").exists()
    with studio(data, *more) as (process, address), Client(address) as client:
        assert list((data / "incoming").iterdir()) == []
        job = client.finish(id)
        assert job["state"] == "done", job["error"]
        assert job["seconds_done"] == 80
        assert {one.name for one in (data / "jobs" / id).iterdir()} == {"upload", "masters"}
        again = client.upload(path)["id"]  # is interrupted by Ctrl-C
        wait_until(lambda: client.job(again)["state"] == "running", "The song did not begin.")
        family = children(process.pid)
        with client.stream("GET", "/api/events"):  # an open stream keeps nobody
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        # the one that only watches over shared memory may need a moment
        wait_until(lambda: not any(map(is_alive, family)), "A process outlived its studio.")
        assert process.stdout is not None
        assert "is closed" in process.stdout.read()
    assert not (data / "jobs" / again / "work").exists()


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = subprocess.run(
            command("--no-open", "--port", port, "--data", tmp_path),
            capture_output=True,
            text=True,
            check=False,
        )
    assert result.returncode == 1
    assert result.stderr == (
        f"stemwise: Port {port} is taken, perhaps by another studio: choose another --port.\n"
    )
    assert not (tmp_path / "studio.sqlite3").exists()
