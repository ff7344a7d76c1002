"""Reads batches ahead of training: in threads, for one process or its share of several.

Which excerpts are in a batch is index arithmetic (`shard`): the same for any number of threads, for
a run that goes on in the middle of an epoch, and together the same for any number of processes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor

from stemwise.data.batch import Batch
from stemwise.data.excerpts import read_plans
from stemwise.data.sampling import Excerpts


def shard(step: int, batch: int, rank: int = 0, world: int = 1, total: int | None = None) -> range:
    """Numbers of the excerpts that one process reads at one step.

    A step of all processes is world * batch excerpts in a row, of which every process has a piece
    of `batch`. Where the stream ends after `total`, the last step's pieces are shorter, some of
    them empty: every excerpt is read once, by one process.

    Raises ValueError for a rank that is not in [0, world).
    """
    if not 0 <= rank < world:
        raise ValueError(f"process {rank} of {world} does not exist")
    first = (step * world + rank) * batch
    if total is None:
        return range(first, first + batch)
    return range(min(first, total), min(first + batch, total))


class Loader:
    """Batches of a stream in order, read ahead by threads.

    Reading releases Python's lock while it copies or decodes: threads are enough, and need no
    copies between processes (`benchmarks/loading.py` measures both).

    Args:
        sampler: where excerpts come from.
        batch: excerpts per batch of this process.
        workers: reading threads; 0 reads in the caller.
        ahead: batches kept ready.
        rank: number of this process among `world` that train together; each gets its own excerpts.
        mix: apply gains while reading, for training on the CPU; see `read_plans`.

    Attributes:
        waited: seconds the consumer has waited for batches so far.
    """

    def __init__(
        self,
        sampler: Excerpts,
        batch: int,
        workers: int = 1,
        ahead: int = 3,
        *,
        rank: int = 0,
        world: int = 1,
        mix: bool = False,
    ) -> None:
        self.sampler, self.batch = sampler, batch
        self.workers, self.ahead = workers, max(1, ahead)
        self.rank, self.world, self.mix = rank, world, mix
        self.waited = 0.0

    @property
    def steps(self) -> int | None:
        """Steps until a stream that ends has been read once, the same for all processes."""
        total = self.sampler.total
        return None if total is None else -(-total // (self.batch * self.world))

    def load(self, step: int) -> Batch:
        """Read batch number `step`; IndexError where this process has none at that step."""
        numbers = shard(step, self.batch, self.rank, self.world, self.sampler.total)
        if not numbers:
            raise IndexError(f"the stream ends before step {step} of process {self.rank}")
        plans = [self.sampler.plan(number) for number in numbers]
        return read_plans(plans, self.sampler.layout, mix=self.mix)

    def batches(self, start: int = 0, stop: int | None = None) -> Generator[Batch, None, None]:
        """Batches start ... stop - 1; closing the iterator stops the threads.

        stop: None reads a stream that ends to its end. A process that has nothing at the last
        step gets one batch less.
        """
        stop = self._last(stop)
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

    def _last(self, stop: int | None) -> int:
        """The step before which this process stops."""
        steps, total = self.steps, self.sampler.total
        if steps is None or total is None:
            if stop is None:
                raise ValueError("this stream of excerpts never ends: say where to stop")
            return stop
        if steps and not shard(steps - 1, self.batch, self.rank, self.world, total):
            steps -= 1
        return steps if stop is None else min(stop, steps)
