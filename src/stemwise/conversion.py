"""A song on its way to a separator's rate and channels, and its stems on their way back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from stemwise.audio import StreamResampler
from stemwise.errors import AudioError
from stemwise.gate import share_residual
from stemwise.models.separator import Separator

RESAMPLING = 3000
"""Samples of the slower rate, at most, that a song of another rate is held by both conversions.

Measured from 8 to 192 kHz to and from 22.05 kHz: 1600 to 2500.
"""


@dataclass(frozen=True)
class Block:
    """Part of a separated song: stems (source, channel, sample), activity (activity source, frame).

    `start` is the first sample, `first_frame` the first activity frame, of the song.
    """

    stems: np.ndarray
    activity: np.ndarray
    start: int
    first_frame: int


class Conversion:
    """The way of one song to the separator's rate and channels, and of its stems back.

    The two ways may be gone in two threads, as long as what comes back went in before.
    """

    def __init__(self, separator: Separator, sample_rate: int, channels: int) -> None:
        self.channels, self.width = channels, separator.channels
        self.groups = -(-channels // self.width)
        self.sources = len(separator.sources)
        rate = separator.sample_rate
        self.resampled = rate != sample_rate
        self.inward = StreamResampler(sample_rate, rate, channels)
        self.rates = rate, sample_rate
        self.outward = StreamResampler(rate, sample_rate, self.sources * channels)
        self.mixture: deque[np.ndarray] = deque()
        self.received = self.sent = self.frames = 0

    def carry_gains(self, gated: bool) -> None:
        """Take the gate's gains along to the song's rate, as more channels of the stems."""
        if gated and self.resampled:
            self.outward = StreamResampler(*self.rates, self.sources * (self.channels + 1))

    def model_rate(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Blocks of the song as (channel group, channel, sample) at the separator's rate."""
        for block in blocks:
            if not np.isfinite(block).all():
                second = self.received / self.rates[1]
                raise AudioError(
                    f"The song has a sample that is not a number after {second:.3f} s: repair it."
                )
            self.received += block.shape[-1]
            if self.resampled:
                self.mixture.append(block)
            yield self._grouped(self.inward.process(block))
        yield self._grouped(self.inward.flush())

    def _grouped(self, block: np.ndarray) -> np.ndarray:
        # the last group is filled up by repeating the last channel: mono becomes its own stereo
        missing = self.groups * self.width - self.channels
        block = np.concatenate([block, *[block[-1:]] * missing]) if missing else block
        return block.reshape(self.groups, self.width, -1)

    def _ungrouped(self, stems: np.ndarray) -> np.ndarray:
        """(group, source, channel, sample) to (source, song's channel, sample)."""
        joined: np.ndarray = stems.transpose(1, 0, 2, 3)
        joined = joined.reshape(self.sources, self.groups * self.width, stems.shape[-1])
        if joined.shape[1] == self.channels:
            return joined
        single = joined[:, self.channels - 1 :].mean(axis=1, keepdims=True)
        return np.concatenate([joined[:, : self.channels - 1], single], axis=1)

    def song_rate(
        self,
        grouped: np.ndarray,
        gains: np.ndarray | None,
        activity: np.ndarray,
        last: bool,
        residual: bool,
    ) -> Block:
        """Stems at the song's rate, with exactly the song's length in the end.

        What lies above the separator's bandwidth is shared among the stems that are open.
        """
        stems = self._ungrouped(grouped)
        if self.resampled:
            rows = stems.reshape(self.sources * self.channels, -1)
            rows = rows if gains is None else np.concatenate([rows, gains])
            out = self.outward.process(rows)
            if last:
                out = np.concatenate([out, self.outward.flush()], axis=-1)
            out = self._fit(out, last)
            count = out.shape[-1]
            if gains is not None:
                gains = out[self.sources * self.channels :].clip(0, 1)
                out = out[: self.sources * self.channels]
            stems = out.reshape(self.sources, self.channels, count)
            mixture = self._mixture(count)
            stems = share_residual(stems, mixture, gains) if residual else stems
        block = Block(stems, activity, self.sent, self.frames)
        self.sent += stems.shape[-1]
        self.frames += activity.shape[-1]
        return block

    def _fit(self, rows: np.ndarray, last: bool) -> np.ndarray:
        left = self.received - self.sent
        if last and rows.shape[-1] < left:
            return np.pad(rows, ((0, 0), (0, left - rows.shape[-1])))
        return rows[:, :left]

    def _mixture(self, samples: int) -> np.ndarray:
        """The next `samples` of the song itself."""
        parts = [np.zeros((self.channels, 0), np.float32)]
        while samples:
            block = self.mixture.popleft()
            if block.shape[-1] > samples:
                self.mixture.appendleft(block[:, samples:])
            parts.append(block[:, :samples])
            samples -= parts[-1].shape[-1]
        return np.concatenate(parts, axis=-1)
