"""BSS Eval from files and streams: the same numbers, in memory that does not grow."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from stemwise.errors import EvaluationError
from stemwise.evaluation.blocks import BlockSource, Samples, file_blocks, quantise
from stemwise.evaluation.bss_eval import BssEval, bss_eval, bss_eval_files, bss_eval_stream

RATE = 8000
Array = npt.NDArray[np.float64]


def song(rng: np.random.Generator, samples: int = 150_000) -> tuple[Array, Array]:
    """Two stereo references and their estimates."""
    references = 0.1 * rng.standard_normal((2, 2, samples))
    return references, references + 0.3 * references[::-1] + 0.01 * rng.standard_normal(
        references.shape
    )


def in_blocks(samples: Array, *lengths: int) -> BlockSource:
    """A source of blocks whose lengths repeat."""

    def read() -> Iterator[Samples]:
        start, turn = 0, 0
        while start < samples.shape[-1]:
            stop = start + lengths[turn % len(lengths)]
            yield samples[..., start:stop]
            start, turn = stop, turn + 1

    return read


def equal(one: BssEval, other: BssEval) -> bool:
    """Are all scores the same, bit for bit?"""
    return all(
        np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True)
        for name in ("sdr", "isr", "sir", "sar", "times")
    )


@pytest.mark.parametrize(
    ("ours", "theirs"), [((65536,), (65536,)), ((1000, 1, 70001), (0, 4096)), ((10**9,), (777,))]
)
def test_streams_equal_arrays(
    rng: np.random.Generator, ours: tuple[int, ...], theirs: tuple[int, ...]
) -> None:
    references, estimates = song(rng)
    streamed = bss_eval_stream(
        in_blocks(references, *ours),
        in_blocks(estimates, *theirs),
        RATE,
        1.0,
        0.7,
        filters=64,
        quantise=False,
    )
    assert equal(streamed, bss_eval(references, estimates, RATE, 1.0, 0.7, filters=64))


@pytest.fixture
def files(tmp_path: Path, rng: np.random.Generator) -> tuple[list[Path], list[Path]]:
    """A song as 24-bit WAV files."""
    paths = []
    for kind, sounds in zip(("reference", "estimate"), song(rng), strict=True):
        paths.append([tmp_path / f"{kind} {index}.wav" for index in range(2)])
        for path, sound in zip(paths[-1], sounds, strict=True):
            soundfile.write(path, sound.T, RATE, "PCM_24")
    return paths[0], paths[1]


def read_all(paths: list[Path]) -> Array:
    """What a list of files holds (source, channel, sample)."""
    return np.concatenate(list(file_blocks(paths)()), axis=-1).astype(np.float64)


@pytest.mark.parametrize("quantised", [False, True])
def test_files_equal_arrays(files: tuple[list[Path], list[Path]], quantised: bool) -> None:
    scores = bss_eval_files(*files, filters=64, quantise=quantised)
    references, estimates = (read_all(paths) for paths in files)
    expected = bss_eval(references, estimates, RATE, filters=64)
    assert equal(scores, expected) is not quantised
    if quantised:
        expected = bss_eval(quantise(references), quantise(estimates), RATE, filters=64)
        assert equal(scores, expected)
    assert scores.sdr.shape == (2, 150_000 // RATE)


def test_quantised_samples_are_what_16_bits_hold() -> None:
    samples = np.array([[0.4 / 32768, 0.6 / 32768, 1.5, -1.5, -3 / 32768]])
    assert np.isnan(quantise(np.array([-np.inf, np.inf, np.nan]))).all()
    assert quantise(samples).dtype == samples.dtype
    assert quantise(samples).tolist() == [[0, 1 / 32768, 32767 / 32768, -1, -3 / 32768]]


def test_estimates_of_another_length(rng: np.random.Generator) -> None:
    references, estimates = song(rng)
    source = in_blocks(references, 5000)
    longer = np.concatenate([estimates, estimates], axis=-1)
    shorter = estimates[..., :-9000]
    padded = np.pad(shorter, ((0, 0), (0, 0), (0, 9000)))
    for other, same in ((longer, estimates), (shorter, padded)):
        with pytest.raises(EvaluationError, match="cut or zero-pad the estimates"):
            bss_eval_stream(source, in_blocks(other, 7000), RATE, filters=64, quantise=False)
        fitted = bss_eval_stream(
            source, in_blocks(other, 7000), RATE, filters=64, quantise=False, fit_length=True
        )
        assert equal(fitted, bss_eval(references, same, RATE, filters=64))


def test_files_that_do_not_fit(files: tuple[list[Path], list[Path]], tmp_path: Path) -> None:
    references, estimates = files
    sound = np.full((2, 9000), 0.1, np.float32)
    fast, mono, short = (tmp_path / f"{name}.wav" for name in ("fast", "mono", "short"))
    soundfile.write(fast, sound.T, 2 * RATE)
    soundfile.write(mono, sound[0], RATE)
    soundfile.write(short, sound.T, RATE)
    for bad, sentence in ((fast, "16000 Hz"), (mono, "1 channels"), (short, "different lengths")):
        with pytest.raises(EvaluationError, match=sentence):
            bss_eval_files([references[0], bad], estimates)
    with pytest.raises(EvaluationError, match="2 references and 1 estimates"):
        bss_eval_files(references, estimates[:1])
    with pytest.raises(EvaluationError, match="There is no file"):
        bss_eval_files([], [])


def test_sources_of_blocks_that_break_their_word(rng: np.random.Generator) -> None:
    references, estimates = song(rng)
    once = iter([references])

    def score(first: Any, second: Any) -> None:
        bss_eval_stream(first, second, RATE, filters=64, quantise=False)

    def again() -> Iterator[Samples]:
        return once

    with pytest.raises(EvaluationError, match="read twice"):
        score(again, in_blocks(estimates, 1000))
    with pytest.raises(EvaluationError, match="have no samples"):
        score(in_blocks(references[..., :0], 1000), in_blocks(estimates, 1000))
    with pytest.raises(EvaluationError, match="same sources and channels"):
        score(in_blocks(references, 1000), in_blocks(estimates[:1], 1000))


MEMORY = """
import sys
from pathlib import Path
import numpy as np
from stemwise.evaluation.bss_eval import bss_eval_stream

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

def blocks(seconds, seed, channels):
    def read():
        rng = np.random.default_rng(seed)
        for _ in range(seconds):
            yield 0.1 * rng.standard_normal((sources, channels, 44100), dtype=np.float32)
    return read

sources = 4
before = peak()
if sys.argv[1] == "stereo":
    bss_eval_stream(blocks(16, 0, 2), blocks(16, 1, 2), 44100, threads=2)
else:
    sources = 1
    for seconds in (80, 80, 240):
        bss_eval_stream(blocks(seconds, 0, 1), blocks(seconds, 1, 1), 44100, threads=1)
        print(peak(), end=" ")
print(peak() - before)
"""


def peaks(what: str) -> list[float]:
    """What a process of its own printed."""
    command = [sys.executable, "-c", MEMORY, what]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(value) for value in done.stdout.split()]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see memory")
def test_memory_is_bounded() -> None:
    (stereo,) = peaks("stereo")
    assert stereo < 250  # MB, of four stereo sources, above the imports
    _, short, long, _ = peaks("mono")
    assert long - short < 8  # 56 MB of samples more
