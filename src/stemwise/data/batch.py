"""Batches of excerpts and the loader that reads them ahead of training."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stemwise.data.sampling import Excerpt, Sampler


@dataclass
class Batch:
    """What a training step sees; a loss may only use what the batch supervises.

    Attributes:
        stems: float32 (batch, source, channel, sample); zeros where a stem is unknown.
        rest: float32 (batch, channel, sample), what the mixtures hold besides the known stems;
            None where every mixture is the sum of its stems.
        supervised: bool (batch, source), whether that stem is known.
        activity: float32 (batch, activity source, frame) in {0, 1}; frame i is centred at sample
            i * hop of the excerpt.
        activity_known: bool (batch, activity source).
        gains: float32 (batch, source), level and width: float32 (batch,), swap: bool (batch,),
            filters: float32 (batch, source, knot) in decibels: drawn by the sampler (see its
            `Excerpt`), and applied to the samples by `augment.apply`.
        sample_rate: in hertz.
        origins: per excerpt, the songs and times it was read from.
    """

    stems: Tensor
    rest: Tensor | None
    supervised: Tensor
    activity: Tensor
    activity_known: Tensor
    gains: Tensor
    level: Tensor
    swap: Tensor
    width: Tensor
    filters: Tensor
    sample_rate: int
    origins: tuple[tuple[str, ...], ...]

    @property
    def mixture(self) -> Tensor:
        """float32 (batch, channel, sample): the sum of the stems and the rest."""
        total = self.stems.sum(dim=1)
        return total if self.rest is None else total + self.rest

    def to(self, device: torch.device) -> Batch:
        """The batch with every tensor on `device`."""
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return replace(self, **moved)


def collate(excerpts: Sequence[Excerpt], sample_rate: int) -> Batch:
    """Stack excerpts of equal length into a batch."""
    rest = None
    if any(excerpt.rest is not None for excerpt in excerpts):
        silence = np.zeros_like(excerpts[0].stems[0])
        rest = torch.from_numpy(np.stack([silence if e.rest is None else e.rest for e in excerpts]))
    return Batch(
        stems=torch.from_numpy(np.stack([e.stems for e in excerpts])),
        rest=rest,
        supervised=torch.from_numpy(np.stack([e.supervised for e in excerpts])),
        activity=torch.from_numpy(np.stack([e.activity for e in excerpts])),
        activity_known=torch.from_numpy(np.stack([e.activity_known for e in excerpts])),
        gains=torch.from_numpy(np.stack([e.gains for e in excerpts])),
        level=torch.tensor([e.level for e in excerpts], dtype=torch.float32),
        swap=torch.tensor([e.swap for e in excerpts]),
        width=torch.tensor([e.width for e in excerpts], dtype=torch.float32),
        filters=torch.from_numpy(np.stack([e.filters for e in excerpts])),
        sample_rate=sample_rate,
        origins=tuple(e.origin for e in excerpts),
    )


class Loader:
    """Batches of a sampler in order, read ahead by threads.

    Batch t holds excerpts t * batch ... t * batch + batch - 1 whatever the number of threads, so a
    run resumes by starting at its step. soundfile releases Python's lock while it reads: threads
    are enough, and need no copies between processes.

    Args:
        sampler: where excerpts come from.
        batch: excerpts per batch.
        workers: reading threads; 0 reads in the caller.
        ahead: batches kept ready.

    Attributes:
        waited: seconds the consumer has waited for batches so far.
    """

    def __init__(self, sampler: Sampler, batch: int, workers: int = 1, ahead: int = 3) -> None:
        self.sampler, self.batch = sampler, batch
        self.workers, self.ahead = workers, max(1, ahead)
        self.waited = 0.0

    def load(self, step: int) -> Batch:
        """Read batch number `step`."""
        first = step * self.batch
        excerpts = [self.sampler.excerpt(i) for i in range(first, first + self.batch)]
        return collate(excerpts, self.sampler.tracks[0].sample_rate)

    def batches(self, start: int, stop: int) -> Generator[Batch, None, None]:
        """Batches start ... stop - 1; closing the iterator stops the threads."""
        if self.workers == 0:
            for step in range(start, stop):
                began = time.perf_counter()
                batch = self.load(step)
                self.waited += time.perf_counter() - began
                yield batch
            return
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="loader")
        queue: deque[Future[Batch]] = deque()
        try:
            for step in range(start, min(stop, start + self.ahead)):
                queue.append(pool.submit(self.load, step))
            for step in range(start, stop):
                began = time.perf_counter()
                batch = queue.popleft().result()
                self.waited += time.perf_counter() - began
                if step + self.ahead < stop:
                    queue.append(pool.submit(self.load, step + self.ahead))
                yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
