"""Audio that comes bit by bit: blocks in, stems and activity out as soon as they are known.

The engine takes a song as an iterator; here it runs in a thread that is awake only while a block is
being pushed, so that what `push` returns depends on what was pushed and on nothing else.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from stemwise.errors import AudioError, Cancelled, StemwiseError

if TYPE_CHECKING:
    from stemwise.models.separator import Separator
    from stemwise.separation import Block, Engine


class Stream:
    """Separates audio while it comes in; memory does not depend on how long that goes on.

    Use as a context manager: leaving it ends the stream and drops what was not fetched. What comes
    out in all is what the engine makes of the whole song. Any thread may push, one at a time; any
    may close the stream, also while another pushes, which then gets nothing more.

    Args:
        engine: how to separate; short segments and a short lookahead make it quick to answer.
        sample_rate: of the audio, in hertz.
        channels: 1 to 8.

    Attributes:
        latency: seconds of audio, at most, that come in after a sample before its stems come out.
        received: seconds of audio that were pushed.
        computing: seconds that pushing took; over `received` it is the real-time factor.
    """

    def __init__(self, engine: Engine, sample_rate: int, channels: int) -> None:
        if sample_rate <= 0 or not 1 <= channels <= 8:
            raise AudioError(
                f"A stream has 1 to 8 channels and a positive rate, not {channels} at "
                f"{sample_rate} Hz."
            )
        self.latency = engine.latency(sample_rate)
        if not engine.carries:
            _ = engine.running  # another runtime compiles it now, not while samples wait
        self.channels = channels
        self.received = self.computing = self._late = 0.0
        self._engine, self._rate = engine, sample_rate
        self._piece = engine.piece / engine.separator.sample_rate
        self._pushing = threading.Lock()
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
        what they hold; they follow each other without gaps. The block is copied: a sound card may
        use its memory again. Raises AudioError for another number of channels, for integers and
        for samples that are not numbers; StemwiseError after the end and while another thread
        pushes.
        """
        block = np.asarray(block)
        if not np.issubdtype(block.dtype, np.floating):
            raise AudioError(
                f"The block is {block.dtype}: convert it to floating point from -1 to 1."
            )
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise AudioError(
                f"The stream has {self.channels} channels, and the block has the shape "
                f"{block.shape}: give (channel, sample)."
            )
        if self._ended:
            raise StemwiseError("The stream has ended: open another one.")
        return self._give(np.array(block, np.float32)) if block.shape[1] else []

    @property
    def behind(self) -> float:
        """Seconds by which stems are late because computing cannot keep up with the audio.

        Counted as if the audio came as fast as it plays; 0 while a piece is computed before the
        next one has come.
        """
        return max(0.0, self._late - self._piece)

    def finish(self) -> list[Block]:
        """End the audio; returns the rest, so that every sample has its stems."""
        if self._ended:
            return []
        rest = self._give(None)
        self._ended = True
        return rest

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
        if not self._pushing.acquire(blocking=False):
            raise StemwiseError("Another thread is pushing: let one push at a time.")
        began = time.monotonic()
        try:
            self._blocks.put(block)
            self._hungry.acquire()
            if self._error is not None:
                raise self._error
            ready, self._ready = self._ready, []
            return ready
        except BaseException:  # Ctrl-C too: what was being computed belongs to nobody any more
            self._ended = True
            self._cancel.set()
            raise
        finally:
            took, lasts = time.monotonic() - began, 0.0
            if block is not None:
                lasts = block.shape[1] / self._rate
            self.received += lasts
            self.computing += took
            self._late = max(0.0, self._late + took - lasts)
            self._pushing.release()

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


def latency(outline: Separator, sample_rate: int | None = None, **options: Any) -> float:
    """The latency that a stream through a network would have; nothing is computed for it.

    outline: of `models.summary.outline`. sample_rate: of the audio, in hertz; the network's own by
    default. options: of `separation.Options`. Errors are those of an `Engine`.
    """
    from stemwise.separation import Engine, Options

    engine = Engine(outline, Options(device="meta", **options))
    return engine.latency(sample_rate or outline.sample_rate)


def shortest_latency(outline: Separator) -> float:
    """Latency in seconds with the shortest pieces and lookahead that a network takes."""
    return latency(outline, segment=1e-9, lookahead=0.0)
