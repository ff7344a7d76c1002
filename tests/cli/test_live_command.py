"""`stemwise live`: raw samples through a pipe."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, cast

import numpy as np
import pytest
import soundfile

from cli.conftest import Stemwise, noise
from stemwise.cli.live import WAITING, _Notes
from stemwise.live import Stream

RATE = 44100


def live(model: Path, content: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "stemwise", "live", "-n", str(model), *arguments]
    return subprocess.run(command, input=content, capture_output=True, timeout=300)


def test_stems_are_those_of_separate(stemwise: Stemwise, model: Path, tmp_path: Path) -> None:
    samples = np.round(noise(3 * RATE + 123) * 32768).astype("<i2")
    soundfile.write(tmp_path / "song.wav", samples, RATE)
    options = ("--segment", "1")
    assert stemwise("separate", "song.wav", "-n", model, *options).status == 0
    # a byte too many: the sample that it begins never comes
    done = live(model, samples.tobytes() + b"\1", *options, "--stems", "vocals,bass")
    assert done.returncode == 0, done.stderr
    assert b"vocals, bass, " in done.stderr
    assert b" s behind what comes in" in done.stderr
    assert b"the last 1 bytes are no whole sample" in done.stderr
    assert b"3.0 s of audio, " in done.stderr
    assert b" of real time" in done.stderr
    found = np.frombuffer(done.stdout, "<i2").reshape(-1, 4)
    for index, stem in enumerate(("vocals", "bass")):
        expected, _ = soundfile.read(tmp_path / f"separated/song/{stem}.wav", dtype="int16")
        difference = found[:, 2 * index : 2 * index + 2].astype(int) - expected
        assert np.abs(difference).max() <= 1


def test_activity_as_lines(model: Path) -> None:
    samples = noise(RATE, 1).astype("<f4")
    arguments = ("--format", "f32le", "--channels", "1", "--activity", "--quiet")
    done = live(model, samples.tobytes(), *arguments)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0].keys() == {"time", "vocals", "drums", "bass", "other"}
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    assert 0.9 < lines[-1]["time"] <= 1.0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--format", "mp3"), "s16le"),
        (("--segment", "0"), "longer than 0 seconds"),
        (("--lookahead", "-1"), "0 seconds or more"),
        (("--stems", "flute"), "flute"),
    ],
)
def test_wrong_options(
    stemwise: Stemwise, model: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    outcome = stemwise("live", "-n", model, *arguments)
    assert outcome.status == 2
    assert sentence in outcome.err


pipes = pytest.mark.skipif(os.name == "nt", reason="pipes and signals are others there")


@contextmanager
def running(model: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command with pipes at both ends, stopped at the end."""
    command = [sys.executable, "-m", "stemwise", "live", "-n", str(model), *arguments]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class Feeder(threading.Thread):
    """Writes as fast as it is taken, and counts."""

    def __init__(self, pipe: IO[bytes] | None, content: bytes, hold: bool = False) -> None:
        super().__init__(daemon=True)
        assert pipe is not None
        self.pipe, self.content, self.hold, self.written = pipe, content, hold, 0
        self.start()

    def run(self) -> None:
        try:
            for start in range(0, len(self.content), 4096):
                self.pipe.write(self.content[start : start + 4096])
                self.written += 4096
            if not self.hold:
                self.pipe.close()
        except (BrokenPipeError, ValueError):  # the command has ended, or the test
            pass

    def until_it_waits(self, out: IO[bytes] | None) -> int:
        """Bytes that were taken when `out` has something, and nothing was for a second."""
        assert select.select([out], [], [], 120)[0]
        last, since = -1, time.monotonic()
        while time.monotonic() - since < 1.0:
            if self.written != last:
                last, since = self.written, time.monotonic()
            time.sleep(0.02)
        return last


SONG = (noise(16 * RATE) * 32768).astype("<i2").tobytes()
QUICK = ("--segment", "0.25", "--lookahead", "0.25")


@pipes
def test_a_reader_that_stops_stops_the_writer_and_loses_nothing(model: Path) -> None:
    with running(model, *QUICK, "-q") as process:
        assert process.stdout is not None
        feeder = Feeder(process.stdin, SONG)
        taken = feeder.until_it_waits(process.stdout)
        assert taken < WAITING + 3 * RATE * 4, "what nobody reads is not asked for"
        received = b""
        while piece := process.stdout.read(100_001):
            received += piece
            time.sleep(0.002)
        assert process.wait(60) == 0
    assert len(received) == 4 * len(SONG)


@pipes
def test_ctrl_c_leaves_whole_samples(model: Path) -> None:
    """Two bytes for each of two channels of three stems; the pipe is full when it comes."""
    with running(model, *QUICK, "--stems", "vocals,bass,drums") as process:
        Feeder(process.stdin, SONG).until_it_waits(process.stdout)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stderr is not None
        out, err = process.stdout.read(1 << 20), b""
        while piece := process.stdout.read(1 << 20):
            out += piece
        assert process.wait(60) == 130
        err = process.stderr.read()
    assert len(out) > 0
    assert len(out) % 12 == 0
    assert b"Traceback" not in err
    assert err.splitlines()[-1].startswith(b"stemwise: stopped")


@pipes
def test_a_reader_that_leaves_in_the_middle(model: Path) -> None:
    with running(model, *QUICK) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        Feeder(process.stdin, SONG)
        assert len(process.stdout.read(5)) == 5
        process.stdout.close()
        assert process.wait(60) == 1
        said = process.stderr.read()
    assert len(said.splitlines()) <= 1, said


@pipes
def test_activity_beside_the_samples_while_it_runs(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "activity.jsonl"
    with running(model, *QUICK, "--activity-to", str(file), "--json") as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stderr is not None
        feeder = Feeder(process.stdin, SONG[: 3 * RATE * 4], hold=True)
        sizes: list[int] = []

        def drain() -> None:
            while piece := process.stdout.read(1 << 16):  # type: ignore[union-attr]
                sizes.append(len(piece))

        drained = threading.Thread(target=drain, daemon=True)
        drained.start()
        deadline = time.monotonic() + 60
        while not (file.exists() and file.read_bytes().count(b"\n") > 40):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert process.poll() is None
        lines = file.read_text().splitlines()[:40]
        assert all("vocals" in json.loads(line) for line in lines)
        feeder.join(60)
        process.stdin.close()
        assert process.wait(60) == 0
        drained.join(60)
        said = [json.loads(line) for line in process.stderr.read().splitlines()]
    assert sum(sizes) == 3 * RATE * 16
    assert said[0]["writes"] == ["vocals", "drums", "bass", "other"]
    assert 0.5 < said[0]["latency"] < 2
    assert said[-1]["seconds"] == 3.0
    assert said[-1]["real_time_factor"] == pytest.approx(said[-1]["computing"] / 3, abs=1e-3)


def test_terminals_get_no_samples(
    stemwise: Stemwise, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert "not from a terminal" in stemwise("live", "-n", model).err
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    refused = stemwise("live", "-n", model)
    assert refused.status == 2
    assert "would fill the terminal" in refused.err


@pytest.mark.parametrize("content", [b"", b"\1\2\3"])
def test_nothing_or_less_than_a_sample(model: Path, content: bytes) -> None:
    done = live(model, content, "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_latency_without_weights(stemwise: Stemwise, model: Path) -> None:
    told = stemwise("live", "--latency", "-n", model)
    assert told.status == 0
    assert " s behind what comes in with --segment 0.5 --lookahead 0.5; at least " in told.out
    facts = json.loads(stemwise("live", "--latency", "--json", "-n", "umxl", "--rate", "48000").out)
    assert facts["model"] == "umxl"
    assert 0 < facts["shortest"] < 0.1 < facts["latency"]


def notes(capsys: pytest.CaptureFixture[str], lags: list[float], **how: bool) -> list[str]:
    stream = SimpleNamespace(latency=1.0, behind=0.0, received=60.0, computing=90.0)
    said = _Notes(cast(Stream, stream), **{"quiet": False, "json": False, **how})
    said.begin(["vocals"])
    for stream.behind in lags:
        said.follow()
    said.end()
    return capsys.readouterr().err.splitlines()


def test_falling_behind_is_said_to_all(capsys: pytest.CaptureFixture[str]) -> None:
    lags = [0.0, 0.9, 1.1, 1.5, 2.1, 2.3, 0.0, 9.0]
    lines = notes(capsys, lags)
    assert [line.partition(" s slower")[0][-3:] for line in lines[1:-1]] == ["1.1", "2.3", "9.0"]
    assert lines[-1] == "stemwise: 60.0 s of audio, 90.0 s of computing: 1.50 of real time"
    assert notes(capsys, lags, quiet=True) == lines[1:]
    facts: list[dict[str, Any]] = [json.loads(line) for line in notes(capsys, lags, json=True)]
    assert [one["behind"] for one in facts[1:-1]] == [1.1, 2.3, 9.0]
    assert facts[-1]["real_time_factor"] == 1.5
    assert notes(capsys, [0.0, 0.5], quiet=True) == []
