"""Two processes that train together, played by two threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from torch import Tensor

Result = TypeVar("Result")
Mean = Callable[[Tensor], Tensor]


def together(*work: Callable[[Mean], Result]) -> list[Result]:
    """Results of all of `work`, each given the mean of a tensor over all, as Hardware.mean is."""
    slots: list[Tensor | None] = [None] * len(work)
    barrier = threading.Barrier(len(work), timeout=60)

    def run(rank: int) -> Result:
        def mean(tensor: Tensor) -> Tensor:
            slots[rank] = tensor.detach().clone()
            barrier.wait()
            given = [slot for slot in slots if slot is not None]
            barrier.wait()
            return sum(given[1:], given[0]) / len(work)

        return work[rank](mean)

    with ThreadPoolExecutor(len(work)) as pool:
        return list(pool.map(run, range(len(work))))
