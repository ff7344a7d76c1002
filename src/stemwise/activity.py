"""When each source plays: frame probabilities, segments, labels computed from stems.

Frame i is centred at i / frame_rate seconds and stands for half a frame on either side. A source is
active where its probability is at least the threshold. Files of activity are in `activity_files`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pathlib import Path

Segments = dict[str, list[tuple[float, float]]]

# MedleyDB's activation confidence
CONFIDENCE_RATE = 44100
_WINDOW = 4096
_HOP = 2048
_ENERGY_FLOOR = 0.01
_CUTOFF = 0.075  # of the frame rate's Nyquist frequency
_SLOPE, _MIDDLE = 20.0, 0.15


@dataclass(frozen=True, eq=False)
class Activity:
    """Probabilities that sources play: float32 (source, frame) in [0, 1].

    `frame_rate` in frames per second, `duration` of the song in seconds.
    """

    sources: tuple[str, ...]
    probabilities: NDArray[np.float32]
    frame_rate: float
    duration: float

    def __post_init__(self) -> None:
        shape = np.shape(self.probabilities)
        if len(shape) != 2 or shape[0] != len(self.sources):
            raise ValueError(f"expected ({len(self.sources)} sources, frames), got {shape}")
        if not (self.frame_rate > 0 and self.duration >= 0):
            raise ValueError("the frame rate must be positive, the duration not negative")

    @classmethod
    def from_segments(
        cls,
        segments: Mapping[str, Sequence[tuple[float, float]]],
        duration: float,
        frame_rate: float = 100.0,
    ) -> Activity:
        """Activity that is 1 in the frames whose centre lies in a segment (start, end), else 0."""
        frames = frame_count(duration, frame_rate)
        times = np.arange(frames) / frame_rate
        probabilities = np.zeros((len(segments), frames), np.float32)
        for row, spans in zip(probabilities, segments.values(), strict=True):
            for start, end in spans:
                row[np.searchsorted(times, start) : np.searchsorted(times, end)] = 1
        return cls(tuple(segments), probabilities, frame_rate, duration)

    @property
    def times(self) -> NDArray[np.float64]:
        """Centre of every frame in seconds."""
        times: NDArray[np.float64] = np.arange(self.probabilities.shape[1]) / self.frame_rate
        return times

    def __getitem__(self, source: str) -> NDArray[np.float32]:
        """Probabilities (frame,) of one source."""
        row: NDArray[np.float32] = self.probabilities[self.sources.index(source)]
        return row

    def active(self, threshold: float = 0.5) -> NDArray[np.bool_]:
        """Whether each source plays in each frame: bool (source, frame)."""
        return np.asarray(self.probabilities >= threshold)

    def segments(self, threshold: float = 0.5, minimum: float = 0.1) -> Segments:
        """Seconds (start, end) in which each source plays for at least `minimum` seconds."""
        return {
            source: self._spans(row, minimum)
            for source, row in zip(self.sources, self.active(threshold), strict=True)
        }

    def _spans(self, active: NDArray[np.bool_], minimum: float) -> list[tuple[float, float]]:
        edges = np.flatnonzero(np.diff(active.astype(np.int8), prepend=0, append=0))
        bounds = np.clip((edges - 0.5) / self.frame_rate, 0, self.duration)
        if active.size and active[-1]:
            bounds[-1] = self.duration  # the last frame reaches to the end of the song
        spans = zip(bounds[::2].tolist(), bounds[1::2].tolist(), strict=True)
        shortest = max(minimum - 1e-9, 0)  # rounding must not drop a segment of just the minimum
        return [(start, end) for start, end in spans if end > start and end - start >= shortest]

    def median(self, seconds: float) -> Activity:
        """Median over a window of `seconds`, an odd number of frames; the edges are reflected."""
        from scipy.ndimage import median_filter

        width = 2 * int(seconds * self.frame_rate / 2) + 1
        if width == 1 or not self.probabilities.size:
            return self
        smooth = median_filter(self.probabilities, size=(1, width), mode="reflect")
        return replace(self, probabilities=smooth)

    def resample(
        self, frame_rate: float, duration: float | None = None, *, frames: int | None = None
    ) -> Activity:
        """Activity at another frame rate: every new frame takes the frame nearest in time.

        `frames` defaults to as many as start within `duration` (default: unchanged).
        """
        duration = self.duration if duration is None else duration
        count = frame_count(duration, frame_rate) if frames is None else frames
        last = self.probabilities.shape[1] - 1
        if last < 0:
            raise ValueError("there is no frame to resample")
        nearest = np.rint(np.arange(count) * (self.frame_rate / frame_rate)).astype(np.int64)
        taken = self.probabilities[:, np.minimum(nearest, last)]
        return Activity(self.sources, taken, frame_rate, duration)

    def ratio(self, threshold: float = 0.5) -> dict[str, float]:
        """Fraction of the frames, 0 to 1, in which each source plays."""
        if not self.probabilities.shape[1]:
            return dict.fromkeys(self.sources, 0.0)
        means = self.active(threshold).mean(axis=1)
        return dict(zip(self.sources, means.tolist(), strict=True))


def frame_count(duration: float, frame_rate: float) -> int:
    """Frames that start within `duration` seconds, one at least."""
    # files round times, which must not make another frame of a thousandth
    return max(1, int(np.ceil(duration * frame_rate - 1e-3)))


def confidence_from_stems(stems: Mapping[str, NDArray[np.float32]], sample_rate: int) -> Activity:
    """MedleyDB's activation confidence of stems (channel, sample) that make up one mixture.

    Bittner et al., "MedleyDB: a multitrack dataset for annotation-intensive MIR research" (ISMIR
    2014): the compressed envelope of each stem relative to the loudest moment of their sum.
    Frames are 2048 / 44100 s apart. Shorter stems count as silent behind their end.
    """
    envelopes = {name: stem_envelope(stem, sample_rate) for name, stem in stems.items()}
    duration = max((np.shape(stem)[-1] for stem in stems.values()), default=0) / sample_rate
    return confidence_from_envelopes(envelopes, duration)


def confidence_from_envelopes(
    envelopes: Mapping[str, NDArray[np.float64]], duration: float
) -> Activity:
    """The same from the envelope (frame,) of each stem, for songs too long to hold every stem.

    `duration` of the song in seconds.
    """
    if not envelopes:
        raise ValueError("there are no stems")
    frames = max(len(envelope) for envelope in envelopes.values())
    energy = np.stack([np.pad(one, (0, frames - len(one))) for one in envelopes.values()])
    probabilities = _confidence(energy).astype(np.float32)
    return Activity(tuple(envelopes), probabilities, CONFIDENCE_RATE / _HOP, duration)


def stem_envelope(stem: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """Compressed envelope (frame,) of a stem (channel, sample): a frame per 2048 / 44100 s.

    Window-weighted mean of the square root of the half-wave rectified mono signal.
    """
    from stemwise.audio import resample

    mono = np.atleast_2d(np.asarray(stem)).mean(axis=0, dtype=np.float64)
    if sample_rate != CONFIDENCE_RATE:
        single = mono[np.newaxis].astype(np.float32)
        mono = resample(single, sample_rate, CONFIDENCE_RATE)[0].astype(np.float64)
    length = -(-(mono.size + _HOP) // _WINDOW) * _WINDOW
    padded = np.zeros(length)
    padded[_HOP : _HOP + mono.size] = np.sqrt(np.maximum(mono, 0))
    # MATLAB's hanning: a Hann window of two more points without its zero ends
    window = np.hanning(_WINDOW + 2)[1:-1]
    # a frame is two neighbouring hops, so that every sample is weighted twice and never copied
    halves = padded.reshape(-1, _HOP) @ window.reshape(2, _HOP).T
    envelope: NDArray[np.float64] = (halves[:-1, 0] + halves[1:, 1]) / _WINDOW
    return envelope


def _confidence(energy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Confidence (stem, frame) in [0, 1] from envelopes (stem, frame)."""
    from scipy.signal import butter, filtfilt
    from scipy.special import expit

    total = energy.sum(axis=0)
    loudest = float(total.max())
    relative = energy * (energy.shape[0] / loudest) if loudest > 0 else np.zeros_like(energy)
    relative[:, total < _ENERGY_FLOOR] = 0
    numerator, denominator = butter(2, _CUTOFF, "low")
    # SciPy's default padding of 9 frames does not fit into the shortest songs
    padding = min(3 * max(len(numerator), len(denominator)), relative.shape[1] - 1)
    smooth = filtfilt(numerator, denominator, relative, axis=1, padlen=padding)
    return np.asarray(expit(_SLOPE * (smooth - _MIDDLE)))


def loud_windows(
    vocals: NDArray[np.float32],
    sample_rate: int,
    *,
    seconds: float = 0.01,
    threshold: float = 5e-4,
) -> NDArray[np.bool_]:
    """Whether the mean absolute amplitude of vocals (channel, sample) exceeds 5e-4, per 10 ms.

    The rule behind the data set statistics of the joint separation and singing voice detection
    paper; the last window may be shorter. Returns bool (window,).
    """
    loudness = np.abs(np.atleast_2d(vocals)).mean(axis=0, dtype=np.float64)
    if not loudness.size:
        return np.zeros(0, bool)
    count = int(np.ceil(loudness.size / (seconds * sample_rate) - 1e-9))
    starts = np.rint(np.arange(count) * seconds * sample_rate).astype(np.int64)
    starts = starts[starts < loudness.size]
    lengths = np.diff(starts, append=loudness.size)
    return np.asarray(np.add.reduceat(loudness, starts) / lengths > threshold)


def write_activity(
    path: str | Path,
    activity: Activity,
    *,
    threshold: float = 0.5,
    minimum: float = 0.1,
    staging: Path | None = None,
) -> None:
    """Write by suffix: .csv (probabilities), .lab, .txt (Audacity), .jams (segments).

    `threshold` and `minimum` (seconds) make the segments. staging: a folder on the same disk for
    the file until it is whole (None: that of `path`). Raises DataError for another suffix,
    OutputError.
    """
    from stemwise.activity_files import write_file

    write_file(path, activity, threshold, minimum, staging)


def read_activity(path: str | Path, *, frame_rate: float = 100.0) -> Activity:
    """Read what `write_activity` writes, and MedleyDB's confidence tables.

    Files of segments become frames at `frame_rate`, 0 or 1. Raises DataError with path and line.
    """
    from stemwise.activity_files import read_file

    return read_file(path, frame_rate)
