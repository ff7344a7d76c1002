"""`stemwise live`: raw samples through a pipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cli.conftest import Stemwise, noise

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


@pytest.mark.skipif(os.name == "nt", reason="pipes end otherwise there")
def test_a_reader_that_leaves_ends_it_quietly(model: Path) -> None:
    command = [sys.executable, "-m", "stemwise", "live", "-n", str(model), "-q"]
    running = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert running.stdout is not None
    running.stdout.close()
    said = running.communicate((noise(6 * RATE) * 32768).astype("<i2").tobytes(), timeout=300)[1]
    assert running.returncode == 1
    assert b"Traceback" not in said
