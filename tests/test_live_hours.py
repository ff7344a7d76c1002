"""Hours of audio through a stream: nothing grows, nothing drifts, no counter runs over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from small_networks import small
from stemwise.live import Stream
from stemwise.models.separator import Grid, Prediction, Separator
from stemwise.separation import Engine, Options

HOUR = 3600
GROWTH = 24 * 2**20
"""Bytes that a process may grow by between an early minute and the last."""


class Shares(Separator):
    """A quarter and a half of the mixture; the first plays while the mixture is above zero."""

    kind = "shares"

    def __init__(self, sample_rate: int, hop: int) -> None:
        super().__init__(("quarter", "half"), sample_rate, 1, ("quarter",))
        self.network = torch.nn.Identity()
        self.grid = Grid(hop, hop, before=hop, after=hop)

    @property
    def config(self) -> dict[str, Any]:
        return {"sample_rate": self.sample_rate, "hop": self.grid.hop}

    def forward(self, mixture: Tensor) -> Prediction:
        estimates = torch.stack([0.25 * mixture, 0.5 * mixture], dim=1)
        logits = mixture[:, :, :: self.grid.hop] * 100
        return Prediction(mixture, estimates=estimates, activity=logits)

    def represent(self, stems: Tensor) -> Tensor:
        return stems

    def reconstruct(
        self, prediction: Prediction, start: int = 0, stop: int | None = None
    ) -> Tensor:
        return prediction.estimates[..., start:stop]


def resident() -> int:
    """Bytes of the process in memory; 0 where the system does not tell."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * 4096 if status.exists() else 0


class Counted:
    """Pushes blocks, and keeps the last of what comes back, and how much waited at the most."""

    def __init__(self, stream: Stream) -> None:
        self.stream, self.pushed, self.sent, self.frames = stream, 0, 0, 0
        self.waited: list[int] = []
        self.sizes: list[int] = []
        self.last = self.activity = np.zeros(0)

    def push(self, block: np.ndarray) -> None:
        self.pushed += block.shape[1]
        self._take(self.stream.push(block))
        self.waited.append(self.pushed - self.sent)

    def finish(self) -> None:
        self._take(self.stream.finish())

    def _take(self, blocks: list[Any]) -> None:
        for block in blocks:
            assert (block.start, block.first_frame) == (self.sent, self.frames)
            self.sent += block.stems.shape[-1]
            self.frames += block.activity.shape[-1]
            self.last, self.activity = block.stems, block.activity
        assert self.stream._blocks.empty()
        assert self.stream._ready == []
        if len(self.waited) % 16 == 0:
            self.sizes.append(resident())


def options(**chosen: Any) -> Options:
    return Options(device="cpu", precision="fp32", residual=False, **chosen)


def ending(pattern: np.ndarray, last: np.ndarray) -> np.ndarray:
    """What was pushed where the stems `last` end: whole patterns, one after another."""
    samples = last.shape[-1]
    return np.tile(pattern, -(-samples // pattern.size))[-samples:]


def check(counted: Counted, rate: int, block: int) -> None:
    """Ends the stream: nothing waited longer than stated, memory stayed, every sample came."""
    sizes = counted.sizes
    quarter = len(sizes) // 4
    assert quarter >= 4
    assert max(counted.waited) <= counted.stream.latency * rate + block
    assert max(sizes[-quarter:]) - max(sizes[quarter : 2 * quarter]) < GROWTH
    counted.finish()
    assert counted.sent == counted.pushed


def test_more_samples_than_32_bits_count() -> None:
    """13.5 hours at 44.1 kHz, mono; a sample's value tells its number."""
    rate, block = 44100, 1 << 20
    pattern = (np.arange(block, dtype=np.int64) * 7919 % 65521).astype(np.float32) / 65536
    with Stream(Engine(Shares(rate, rate), options(segment=20.0)), rate, 1) as stream:
        counted = Counted(stream)
        while counted.pushed <= 2**31:
            counted.push(pattern[None])
        check(counted, rate, block)
    np.testing.assert_allclose(counted.last[1, 0], ending(pattern, counted.last) / 2)
    assert counted.sent > 2**31
    assert counted.frames == -(-counted.sent // rate)


def test_rates_activity_and_gate_do_not_drift() -> None:
    """Two hours at 11 025 Hz through a network at 8 kHz: a tone, above zero in 4 s out of 8."""
    rate, frames = 11025, 10
    time = np.arange(8 * rate) / rate
    song = (0.1 * np.sin(2 * np.pi * 440 * time) + np.where(time < 4, 0.5, -0.5)).astype(np.float32)
    engine = Engine(Shares(8000, 8000 // frames), options(segment=8.0, gate="median"))
    with Stream(engine, rate, 1) as stream:
        counted = Counted(stream)
        while counted.pushed < 2 * HOUR * rate:
            counted.push(song[None])
        check(counted, rate, song.size)
        assert counted.frames == 2 * HOUR * frames
    now, wave = ending(time, counted.last), ending(song, counted.last)
    inside = np.abs(now % 4 - 2) < 1.5  # what two resamplers make of the steps is left out
    inside[-rate // 2 :] = False
    np.testing.assert_allclose(counted.last[1, 0][inside], wave[inside] / 2, atol=1e-4)
    plays = now < 4  # the gate silences the first stem elsewhere
    np.testing.assert_allclose(counted.last[0, 0][inside], (wave * plays)[inside] / 4, atol=1e-4)
    ends = counted.activity[0, -80:]
    centres = np.arange(80)
    assert (ends[(centres > 2) & (centres < 38)] > 0.5).all()
    assert (ends[(centres > 42) & (centres < 78)] < 0.5).all()


def test_states_of_a_network_neither_grow_nor_wear_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour of a unidirectional LSTM ends as its last minute would alone."""
    rate = 8000
    network = small(
        "open-unmix", unidirectional=True, sample_rate=rate, channels=1, sources=["vocals"],
        hidden=4, bandwidth=None, n_fft=256, hop=128,
    ).eval()  # fmt: skip
    chosen = options(segment=4.0, phase="mixture")
    sizes: set[tuple[torch.Size, ...]] = set()
    whole = network.carry_on

    def carry_on(*given: Any) -> Any:
        prediction, state = whole(*given)
        sizes.add(tuple(part.shape for part in state[0]))
        assert all(part.untyped_storage().nbytes() < 10_000 for part in state[0])
        return prediction, state

    monkeypatch.setattr(network, "carry_on", carry_on)
    rng = np.random.default_rng(0)
    minute = (0.1 * rng.standard_normal((1, 60 * rate))).astype(np.float32)
    with Stream(Engine(network, chosen), rate, 1) as stream:
        counted = Counted(stream)
        for _ in range(60):
            for start in range(0, minute.shape[1], 5 * rate):
                counted.push(minute[:, start : start + 5 * rate])
        assert len(sizes) == 1, "all pieces leave a state of one size"
        check(counted, rate, 5 * rate)
    alone = list(Engine(network, chosen).stream([np.tile(minute, 2)], rate, 1))
    tail = counted.last.shape[-1]
    expected = np.concatenate([block.stems for block in alone], axis=-1)[..., -tail:]
    np.testing.assert_allclose(counted.last, expected, atol=1e-5)
