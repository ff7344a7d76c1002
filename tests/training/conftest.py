"""A network of a few parameters and a folder of short songs, so that whole runs take seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from stemwise.activity import Activity, write_activity
from stemwise.models.separator import Grid, Prediction, SpectrogramSeparator

RATE = 22050
SOURCES = ("vocals", "drums", "bass", "other")


class TinyNetwork(nn.Module):
    """Mask logits (batch, source * channel, bin, frame) and activity from one convolution."""

    def __init__(self, sources: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1)
        )
        self.mask = nn.Conv2d(8, sources * 2, 1)
        self.profile = nn.Parameter(torch.zeros(sources * 2, 257, 1))
        self.when = nn.Conv1d(8, sources, 1)

    def forward(self, magnitude: Tensor) -> tuple[Tensor, ...]:
        features = self.layers(magnitude)
        logits = self.mask(features) + 20 * self.profile  # learns bins before all else
        return logits, self.when(features.mean(dim=2))


class TinySeparator(SpectrogramSeparator):
    """Masks from one convolution with batch normalisation and dropout; activity from its mean."""

    kind = "tiny"

    def __init__(self, sources: Sequence[str] = SOURCES, crop: int = 0) -> None:
        super().__init__(sources, RATE, 2, sources, n_fft=512, hop=128)
        self._crop = crop
        self.grid = Grid(128, 128, before=crop, after=crop, crop=crop)
        self.network = TinyNetwork(len(self.sources))

    @property
    def config(self) -> dict[str, Any]:
        return {"sources": list(self.sources), "crop": self._crop}

    def features(self, spectrum: Tensor) -> tuple[Tensor, ...]:
        return (torch.log1p(self._crop_frames(spectrum).abs()),)

    def predict(self, spectrum: Tensor, outputs: tuple[Tensor, ...]) -> Prediction:
        logits, activity = outputs
        masks = logits.unflatten(1, (len(self.sources), 2)).softmax(dim=1)
        return Prediction(self._crop_frames(spectrum), masks=masks, activity=activity)


@pytest.fixture
def tiny() -> TinySeparator:
    torch.manual_seed(0)
    return TinySeparator()


@pytest.fixture(scope="session")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of 4 `train` and 2 `validation` songs of 4 s; the last of each is instrumental."""
    root = tmp_path_factory.mktemp("songs")
    for split, count in (("train", 4), ("validation", 2)):
        for k in range(count):
            _write_song(root / split / f"song{k}", seed=k + 10 * count, sung=k < count - 1)
    return root


def _write_song(folder: Path, seed: int, *, sung: bool) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    time = np.arange(4 * RATE) / RATE
    frames = np.arange(401) / 100
    on = ((frames % 2) < 1) & sung
    beat = np.exp(-8 * ((2 * time) % 1))
    tone = {s: np.sin(2 * np.pi * rng.uniform(*f) * time) for s, f in _PITCH.items()}
    stems = {
        "vocals": 0.2 * tone["vocals"] * ((time % 2) < 1) * sung,
        "drums": 0.2 * rng.standard_normal(len(time)) * beat,
        "bass": 0.2 * tone["bass"],
        "other": 0.1 * tone["other"],
    }
    for source, wave in stems.items():
        left, right = (0.9, 0.4) if source == "other" else (0.7, 0.7)
        stereo = np.stack([left * wave, right * wave], axis=1)
        soundfile.write(folder / f"{source}.wav", stereo, RATE, subtype="PCM_16")
    labels = np.stack([on, *[np.ones_like(on)] * 3]).astype(np.float32)
    write_activity(folder / "activity.csv", Activity(SOURCES, labels, 100.0, 4.0))


_PITCH = {"vocals": (400.0, 900.0), "bass": (60.0, 120.0), "other": (1500.0, 2500.0)}
