"""Songs to stand in for data sets: noise and tones, made in no time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemwise.activity import Activity, write_activity

RATE, SECONDS = 22050, 7.0
STEMS = ("vocals", "drums", "bass", "other")
PITCH = {"vocals": (400.0, 900.0), "bass": (60.0, 120.0), "other": (1500.0, 2500.0)}


WriteSongs = Callable[..., Path]


@pytest.fixture(scope="session")
def write_songs() -> WriteSongs:
    """Function (root, count, stems) that writes songs and returns their root."""
    return _write_songs


def _write_songs(root: Path, count: int, stems: tuple[str, ...] = STEMS) -> Path:
    """Songs of 7 s in which vocals are silent every other second."""
    time = np.arange(round(SECONDS * RATE)) / RATE
    frames = np.arange(round(SECONDS * 100)) / 100
    for number in range(count):
        rng = np.random.default_rng(number)
        folder = root / f"song {number}"
        folder.mkdir(parents=True)
        for stem in stems:
            wave = rng.standard_normal(len(time)) * np.exp(-8 * ((2 * time) % 1))
            if stem in PITCH:
                wave = np.sin(2 * np.pi * rng.uniform(*PITCH[stem]) * time)
            wave = wave * ((time % 2) < 1) if stem == "vocals" else wave
            stereo = 0.1 * np.stack([0.7 * wave, 0.5 * wave], axis=1)
            soundfile.write(folder / f"{stem}.wav", stereo, RATE, subtype="PCM_16")
        on = np.stack([(frames % 2) < 1 if stem == "vocals" else frames >= 0 for stem in stems])
        labels = Activity(stems, on.astype(np.float32), 100.0, SECONDS)
        write_activity(folder / "activity.csv", labels)
    return root


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight songs with four stems each."""
    return _write_songs(tmp_path_factory.mktemp("pool"), 8)
