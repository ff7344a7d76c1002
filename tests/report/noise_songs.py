"""Songs of noise for the tests of the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stemwise.activity import Activity
from stemwise.audio import Audio, write

RATE = 44100
STEMS = ("vocals", "drums")


def make_song(
    folder: Path, samples: int = 3 * RATE, rate: int = RATE, channels: int = 2, gain: float = 0.25
) -> tuple[Path, dict[str, Path]]:
    """A mixture and two stems of noise that sum to it; the second stem has half the amplitude."""
    rng = np.random.default_rng(0)
    vocals = rng.uniform(-gain, gain, (channels, samples)).astype(np.float32)
    parts = {"vocals": vocals, "drums": vocals * np.float32(0.5)}
    folder.mkdir(exist_ok=True)
    paths = {name: folder / f"{name}.wav" for name in parts}
    for name, path in paths.items():
        write(path, Audio(parts[name], rate))
    mixture = folder / "mixture.wav"
    write(mixture, Audio(vocals * np.float32(1.5), rate))
    return mixture, paths


def make_activity(duration: float, stems: tuple[str, ...] = STEMS) -> Activity:
    """The first stem plays in the first half, the second in the last quarter."""
    spans = [(0.0, duration / 2), (duration * 3 / 4, duration + 1)]
    segments = {name: [span] for name, span in zip(stems, spans, strict=True)}
    return Activity.from_segments(segments, duration, frame_rate=50.0)
