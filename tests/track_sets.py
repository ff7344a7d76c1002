"""Small sets of references and estimates for tests: noise, short and quick to score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

RATE = 8000
SAMPLES = 2 * RATE + 800
STEMS = ("vocals", "drums")


def stems(
    seed: int = 0,
    names: Sequence[str] = STEMS,
    *,
    samples: int = SAMPLES,
    channels: int = 1,
    silent: Sequence[str] = (),
) -> dict[str, np.ndarray]:
    """Coloured noise (channel, sample) by source; those of `silent` begin after one second."""
    rng = np.random.default_rng(seed)
    found = {}
    for name in names:
        white = rng.standard_normal((channels, samples + 30)) * 0.05
        taps = rng.standard_normal(31) * 0.4
        found[name] = np.stack([np.convolve(one, taps, "valid") for one in white])
        if name in silent:
            found[name][:, :RATE] = 0
    return found


def estimated(references: dict[str, np.ndarray], seed: int = 1) -> dict[str, np.ndarray]:
    """Each source with a little of the others and of noise."""
    rng = np.random.default_rng(seed)
    total = np.sum(list(references.values()), axis=0)
    return {
        name: 0.9 * one + 0.1 * total + 0.002 * rng.standard_normal(one.shape)
        for name, one in references.items()
    }


def write_track(
    folder: Path, sources: dict[str, np.ndarray], *, rate: int = RATE, subtype: str = "PCM_16"
) -> Path:
    """Write `<folder>/<source>.wav`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, one in sources.items():
        soundfile.write(folder / f"{name}.wav", one.T, rate, subtype=subtype)
    return folder


def write_set(
    root: Path, tracks: Sequence[str] = ("alpha", "beta"), names: Sequence[str] = STEMS
) -> tuple[Path, Path]:
    """Write references and estimates of tracks; the vocals of the first begin after a second."""
    for seed, track in enumerate(tracks):
        references = stems(10 * seed, names, silent=("vocals",) if seed == 0 else ())
        write_track(root / "references" / track, references)
        write_track(root / "estimates" / track, estimated(references, 10 * seed + 1))
    return root / "references", root / "estimates"
