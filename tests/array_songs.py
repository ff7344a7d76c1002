"""Songs that are arrays in memory, for tests of what is drawn from songs and how."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from stemwise.activity import Activity
from stemwise.data.track import Song

RATE, HOP, SAMPLES = 8000, 80, 4000
SOURCES = ("vocals", "drums", "bass", "other")


class ArraySong:
    """A song of float32 stems (2, sample); a mixture of its own only where one is given."""

    def __init__(
        self,
        name: str,
        audio: Mapping[str, np.ndarray],
        labels: Activity | None = None,
        mixture: np.ndarray | None = None,
        split: str = "",
    ) -> None:
        self.name, self.split, self.sample_rate = name, split, RATE
        self.audio, self.labels = dict(audio), labels
        self.mixture = sum(audio.values()) if mixture is None else mixture
        self.samples = int(np.shape(self.mixture)[-1])

    @property
    def stems(self) -> Collection[str]:
        return tuple(self.audio)

    def read_stem(self, source: str, start: int, samples: int) -> np.ndarray:
        assert 0 <= start <= self.samples - samples
        return self.audio[source][:, start : start + samples]

    def read_mixture(self, start: int, samples: int) -> np.ndarray:
        assert 0 <= start <= self.samples - samples
        return np.asarray(self.mixture)[:, start : start + samples]

    def active_level(self, source: str) -> float | None:
        power = float(np.square(self.audio[source]).mean())
        return power**0.5 if power else None


class StoredArraySong(ArraySong):
    """The same with 16-bit numbers that are samples times 20000."""

    dtype = np.dtype(np.int16)

    def scale(self, source: str) -> float:
        return 1 / 20000

    def read_pcm(
        self, source: str, start: int, samples: int, out: np.ndarray | None = None
    ) -> np.ndarray:
        stored = np.rint(self.read_stem(source, start, samples) * 20000).astype(np.int16)
        if out is None:
            return stored
        out[:] = stored
        return out


def labelled(spans: Mapping[str, Sequence[tuple[float, float]]], seconds: float) -> Activity:
    """Activity of sources that play in spans of seconds."""
    return Activity.from_segments(dict(spans), seconds, 100.0)


def ramps(number: int, seconds: float, sources: Sequence[str] = SOURCES) -> dict[str, np.ndarray]:
    """Stems in which every sample tells its song, source, channel and place.

    Sample n of channel c of source s is (n + 100000 c + 300000 s + 3000000 number) / 2 ** 24.
    """
    count = round(seconds * RATE)
    places = np.arange(count) + 100_000 * np.arange(2)[:, None]
    return {
        source: ((places + 300_000 * s + 3_000_000 * number) / 2**24).astype(np.float32)
        for s, source in enumerate(sources)
    }


def noise(seed: int, seconds: float, sources: Sequence[str] = SOURCES) -> dict[str, np.ndarray]:
    """Stems of noise, RMS 0.05 and more."""
    rng = np.random.default_rng(seed)
    return {
        source: (0.05 * (k + 1) * rng.standard_normal((2, round(seconds * RATE)))).astype(
            np.float32
        )
        for k, source in enumerate(sources)
    }


def as_songs(songs: Sequence[ArraySong]) -> list[Song]:
    """The songs as what samplers take, which checks that they keep to its contract."""
    return list(songs)
