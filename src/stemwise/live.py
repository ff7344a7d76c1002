"""Audio that comes bit by bit: blocks in, stems and activity out as soon as they are known.

The engine takes a song as an iterator; here it runs in a thread that is awake only while a block is
being pushed, so that what `push` returns depends on what was pushed and on nothing else.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from stemwise.errors import AudioError, Cancelled, StemwiseError

if TYPE_CHECKING:
    from stemwise.separation import Block, Engine


class Stream:
    """Separates audio while it comes in; memory does not depend on how long that goes on.

    Use as a context manager: leaving it ends the stream and drops what was not fetched. What comes
    out in all is what the engine makes of the whole song.

    Args:
        engine: how to separate; short segments and a short lookahead make it quick to answer.
        sample_rate: of the audio, in hertz.
        channels: 1 to 8.

    Attributes:
        latency: seconds of audio, at most, that come in after a sample before its stems come out.
    """

    def __init__(self, engine: Engine, sample_rate: int, channels: int) -> None:
        if sample_rate <= 0 or not 1 <= channels <= 8:
            raise AudioError(
                f"A stream has 1 to 8 channels and a positive rate, not {channels} at "
                f"{sample_rate} Hz."
            )
        self.latency = engine.latency(sample_rate)
        self.channels = channels
        self._engine, self._rate = engine, sample_rate
        self._blocks: queue.SimpleQueue[np.ndarray | None] = queue.SimpleQueue()
        self._hungry = threading.Semaphore(0)
        self._cancel = threading.Event()
        self._ready: list[Block] = []
        self._error: BaseException | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)
        self._thread.start()
        self._hungry.acquire()
        if self._error is not None:
            raise self._error

    def push(self, block: np.ndarray) -> list[Block]:
        """Take a block (channel, sample) of any length; returns what is known by now.

        Returns blocks of stems (source, channel, sample) at the stream's rate with the activity of
        what they hold; they follow each other without gaps. Raises AudioError for another number of
        channels and for samples that are not numbers.
        """
        block = np.asarray(block, np.float32)
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise AudioError(
                f"The stream has {self.channels} channels, and the block has the shape "
                f"{block.shape}: give (channel, sample)."
            )
        if self._ended:
            raise StemwiseError("The stream has ended: open another one.")
        return self._give(block) if block.shape[1] else []

    def finish(self) -> list[Block]:
        """End the audio; returns the rest, so that every sample has its stems."""
        if self._ended:
            return []
        self._ended = True
        return self._give(None)

    def close(self) -> None:
        """End the stream now."""
        self._ended = True
        self._cancel.set()
        self._blocks.put(None)
        self._thread.join()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _give(self, block: np.ndarray | None) -> list[Block]:
        self._blocks.put(block)
        self._hungry.acquire()
        if self._error is not None:
            self._ended = True
            raise self._error
        ready, self._ready = self._ready, []
        return ready

    def _run(self) -> None:
        try:
            stream = self._engine.stream(
                self._coming(), self._rate, self.channels, cancel=self._cancel
            )
            for block in stream:
                self._ready.append(block)
        except Cancelled:
            self._ready = []
        except BaseException as error:  # belongs to whoever pushes
            self._error = error
        finally:
            self._hungry.release()

    def _coming(self) -> Iterator[np.ndarray]:
        """Blocks as they are pushed; asking for the next says that all before it are worked off."""
        first = True
        while True:
            self._hungry.release()
            block = self._blocks.get()
            if block is None:
                if first:
                    self._cancel.set()  # nothing came, so there is nothing to separate
                return
            first = False
            yield block
