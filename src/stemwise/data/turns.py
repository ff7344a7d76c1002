"""Streams of excerpts made of others: taken in turn, one after the other, or thinned out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stemwise.data.excerpts import Layout, Plan
from stemwise.data.sampling import Excerpts, common_layout
from stemwise.errors import DataError


class Turns:
    """Endless streams in strict turns: a block of the first, one of the second, and so on.

    Args:
        streams: of one layout.
        block: excerpts in a row that come from one stream; with the batch size of all processes
            together, batches take turns.
    """

    def __init__(self, streams: Sequence[Excerpts], block: int) -> None:
        if any(stream.total is not None for stream in streams):
            raise ValueError("only endless streams can take turns")
        self.streams, self.block = list(streams), block
        self.layout: Layout = common_layout(streams)
        self.total = None

    def place(self, index: int) -> tuple[int, int]:
        """Which stream excerpt `index` is of, and its number there."""
        turn, offset = divmod(index, self.block)
        number, stream = divmod(turn, len(self.streams))
        return stream, number * self.block + offset

    def plan(self, index: int) -> Plan:
        """What excerpt number `index` (>= 0) is read from and changed by."""
        stream, number = self.place(index)
        return self.streams[stream].plan(number)


class Chain:
    """Streams that end, one after the other."""

    def __init__(self, streams: Sequence[Excerpts]) -> None:
        totals = [stream.total for stream in streams]
        if any(total is None for total in totals):
            raise ValueError("only streams that end can follow each other")
        self.streams = list(streams)
        self.layout: Layout = common_layout(streams)
        self._ends = np.cumsum([total or 0 for total in totals])
        self.total = int(self._ends[-1])

    def plan(self, index: int) -> Plan:
        """What excerpt number `index` is read from; DataError behind the last one."""
        if index >= self.total:
            raise DataError(f"there are {self.total} excerpts, none of number {index}")
        stream = int(np.searchsorted(self._ends, index, side="right"))
        before = int(self._ends[stream - 1]) if stream else 0
        return self.streams[stream].plan(index - before)


class Thinned:
    """At most `count` excerpts of a stream that ends, spread evenly over it.

    block: excerpts in a row that stay together, e.g. one of every source; where `count` has room
    for one block at least, no block is split.
    """

    def __init__(self, stream: Excerpts, count: int, block: int = 1) -> None:
        if stream.total is None:
            raise ValueError("only a stream that ends can be thinned out")
        self.stream, self.layout = stream, stream.layout
        self._block = block if block <= min(count, stream.total) else 1
        self._all, self._kept = (total // self._block for total in (stream.total, count))
        self._kept = min(self._kept, self._all)
        self.total = self._kept * self._block

    def plan(self, index: int) -> Plan:
        """What excerpt number `index` is read from; DataError behind the last one."""
        if index >= self.total:
            raise DataError(f"there are {self.total} excerpts, none of number {index}")
        block, offset = divmod(index, self._block)
        return self.stream.plan(block * self._all // self._kept * self._block + offset)
