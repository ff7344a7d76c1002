"""Songs of any number and length for `catalogue.py`, cut and joined from a few that are rendered.

The same numbers give the same songs. What is there already is kept, so that a benchmark can be run
again without rendering.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

RATE = 44100
SHORTEST, LONGEST = 10.0, 720.0
"""Seconds."""
_RENDERED, _SECONDS, _SEED = 12, 75.0, 7000
_JOIN = RATE // 10
"""Samples over which one piece of music fades into the next."""


def rendered(folder: Path) -> list[Path]:
    """Twelve different songs of 75 s, made by the built-in band."""
    from stemwise.audio import Audio, write
    from stemwise.band.render import render_song

    folder.mkdir(parents=True, exist_ok=True)
    songs = [folder / f"{number}.flac" for number in range(_RENDERED)]
    for number, song in enumerate(songs):
        if not song.exists():
            mixture = render_song(_SEED + number, duration=_SECONDS).mixture
            write(song, Audio(mixture, RATE))
    return songs


def lengths(count: int, seed: int = 0) -> list[float]:
    """Seconds of each song, log-uniform from 10 s to 12 minutes: one from each of equal parts."""
    rng = np.random.default_rng(seed)
    at = (rng.permutation(count) + rng.random(count)) / count
    return [SHORTEST * math.exp(one * math.log(LONGEST / SHORTEST)) for one in at]


def make_songs(folder: Path, seconds: list[float], seed: int = 0) -> list[Path]:
    """A FLAC file of each length, in a folder that holds nothing else."""
    sources = rendered(folder.with_name("rendered"))
    folder.mkdir(parents=True, exist_ok=True)
    songs = [folder / f"song-{number:04d}.flac" for number in range(len(seconds))]
    for extra in set(folder.iterdir()) - set(songs):
        extra.unlink()
    for number, (song, length) in enumerate(zip(songs, seconds, strict=True)):
        if not song.exists() or _samples(song) != round(length * RATE):
            _join(song, round(length * RATE), sources, np.random.default_rng([seed, number]))
    return songs


def _samples(song: Path) -> int | None:
    from stemwise.audio import probe

    return probe(song).samples


def _join(song: Path, samples: int, sources: list[Path], rng: np.random.Generator) -> None:
    """Stretches of 20 to 75 s of the rendered songs, faded into one another."""
    from stemwise.audio import create_audio, read

    rise = np.linspace(0, 1, _JOIN, dtype=np.float32)
    tail = np.zeros((2, _JOIN), np.float32)
    with create_audio(song, RATE, 2) as writer:
        left = samples
        while left:
            length = int(rng.integers(20 * RATE, int(_SECONDS * RATE)))
            start = int(rng.integers(0, int(_SECONDS * RATE) - length))
            source = sources[int(rng.integers(len(sources)))]
            piece = read(source, start=start, stop=start + length).samples
            piece[:, :_JOIN] = piece[:, :_JOIN] * rise + tail * (1 - rise)
            tail = piece[:, -_JOIN:]
            writer.write(piece[:, : min(left, length - _JOIN)])
            left -= min(left, length - _JOIN)
