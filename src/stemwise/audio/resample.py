"""Streaming sample-rate conversion with exact lengths (soxr, very high quality)."""

from __future__ import annotations

import numpy as np
import soxr

from stemwise.audio.format import Samples


class StreamResampler:
    """Resample blocks (channel, sample) from `source_rate` to `target_rate` Hz.

    The outputs of all `process` calls and of `flush` together have exactly
    round(samples in * target_rate / source_rate) samples (half rounds to even); with equal rates
    blocks pass through unchanged.
    """

    def __init__(self, source_rate: int, target_rate: int, channels: int) -> None:
        if source_rate <= 0 or target_rate <= 0 or channels <= 0:
            raise ValueError("sample rates and channels must be positive")
        self.source_rate, self.target_rate, self.channels = source_rate, target_rate, channels
        self._stream = (
            None
            if source_rate == target_rate
            else soxr.ResampleStream(source_rate, target_rate, channels, "float32", "VHQ")
        )
        self._taken = 0
        self._given = 0

    def process(self, block: Samples) -> Samples:
        """Take (channel, sample) at the source rate, give what is ready at the target rate."""
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise ValueError(f"expected ({self.channels}, samples), got {block.shape}")
        if self._stream is None:
            return block
        self._taken += block.shape[1]
        out = self._convert(block, last=False)
        self._given += out.shape[1]
        return out

    def flush(self) -> Samples:
        """Give the remaining samples; the resampler must not be used afterwards."""
        empty = np.zeros((self.channels, 0), np.float32)
        if self._stream is None:
            return empty
        total = round(self._taken * self.target_rate / self.source_rate)
        out = self._convert(empty, last=True)
        missing = total - self._given - out.shape[1]
        # soxr's own count may differ from the rounded one by a sample
        out = np.pad(out, ((0, 0), (0, missing))) if missing > 0 else out[:, : total - self._given]
        self._given = total
        return out

    def _convert(self, block: Samples, *, last: bool) -> Samples:
        assert self._stream is not None
        interleaved = np.ascontiguousarray(block.T, np.float32)
        if self.channels == 1:
            interleaved = interleaved[:, 0]
        out = self._stream.resample_chunk(interleaved, last=last)
        return np.ascontiguousarray(out.reshape(-1, self.channels).T)


def resample(samples: Samples, source_rate: int, target_rate: int) -> Samples:
    """Resample (channel, sample) in memory to round(samples * target / source rate) samples."""
    resampler = StreamResampler(source_rate, target_rate, samples.shape[0])
    step = 1 << 20
    parts = [
        resampler.process(samples[:, start : start + step])
        for start in range(0, samples.shape[1], step)
    ]
    return np.concatenate([*parts, resampler.flush()], axis=1)
