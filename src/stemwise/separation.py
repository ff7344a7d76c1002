"""The one engine that takes songs of any length, rate and channel count through any separator.

    blocks -> model rate -> pieces with context -> network -> gate -> song's rate -> blocks

Memory holds one batch of pieces, whatever the song's length. A piece starts on the separator's
grid and is seen with the context that the grid asks for, so that for networks of finite context the
joined song equals one pass over it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from stemwise.activity import Activity
from stemwise.conversion import RESAMPLING, Conversion
from stemwise.conversion import Block as Block
from stemwise.devices import choose_device, memory_in_use
from stemwise.errors import Cancelled, ModelError
from stemwise.gate import MEDIAN_FRAMES, Gate, check_gate
from stemwise.heap import keep_heap
from stemwise.models.separator import Separator, SpectrogramSeparator
from stemwise.pieces import Cutter, Piece, seen_ahead
from stemwise.runtimes.choice import choose
from stemwise.runtimes.kinds import RUNTIMES, check_runtime
from stemwise.runtimes.running import running

Progress = Callable[[float, "float | None"], None]
"""Called with the seconds of song finished and the song's length in seconds, None where unknown."""


LARGEST_BATCH = 16
"""Pieces at once; more only delays the first stems."""
UNMEASURED_BATCH = 4
"""Pieces at once on accelerators that do not tell how much memory is free."""
MEMORY_SHARE = 0.5
"""Of the free memory, what a batch may take: other songs and programs want some too."""


@dataclass(frozen=True)
class Options:
    """How to separate.

    segment: seconds of song computed at a time (None: the model's own). lookahead: seconds of what
    follows that a piece is seen with, where less than the model's own; stems come out sooner, and
    are no longer those of one pass over the song. overlap: share of a piece
    in 0..0.5 that is cross-faded with the next, for networks without finite context. batch: pieces
    computed at once (None: one on a CPU, elsewhere as many as the first says fit into memory).
    Lookahead, overlap and batch mean nothing to a network whose pieces carry on from one another.
    gate: "off", "raw" silences a stem in every frame whose activity is below one half, "median"
    smooths that decision over 21 frames, "oracle" takes it from labels (Hung & Lerch 2020). phase:
    "mixture", "griffin-lim" or "wiener"; "auto" takes what the network was published with.
    residual: share what the stems leave of the mixture among them, so that they sum to it.
    runtime: what computes the network: "torch", "compile", "onnx" or "openvino"; "auto" is PyTorch,
    unless `stemwise runtimes` measured another to be faster here. precision: "bf16" computes the
    network in 16 bits where the device can; "auto" does so where it was measured to be faster;
    "int8" is for the runtimes onnx and openvino.
    """

    segment: float | None = None
    overlap: float = 0.0
    batch: int | None = None
    lookahead: float | None = None
    gate: Literal["off", "raw", "median", "oracle"] = "off"
    phase: Literal["auto", "mixture", "griffin-lim", "wiener"] = "auto"
    residual: bool = True
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    runtime: Literal["auto", "torch", "compile", "onnx", "openvino"] = "auto"

    def __post_init__(self) -> None:
        _one_of("gate", self.gate, ("off", "raw", "median", "oracle"))
        _one_of("phase", self.phase, ("auto", "mixture", "griffin-lim", "wiener"))
        _one_of("precision", self.precision, ("auto", "fp32", "bf16", "int8"))
        _one_of("runtime", self.runtime, ("auto", *RUNTIMES))
        if self.segment is not None and not 0 < self.segment < float("inf"):
            raise ModelError(f"A segment must be longer than 0 seconds, not {self.segment}.")
        if self.lookahead is not None and not 0 <= self.lookahead < float("inf"):
            raise ModelError(f"The lookahead must be 0 seconds or more, not {self.lookahead}.")
        if not 0 <= self.overlap <= 0.5:
            raise ModelError(f"The overlap must be between 0 and 0.5, not {self.overlap}.")
        if self.batch is not None and self.batch < 1:
            raise ModelError(f"A batch holds at least one piece, not {self.batch}.")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ModelError(f"The {name} must be one of {', '.join(known)}, not {value!r}.")


class Engine:
    """A separator on its device, ready to take songs one after another."""

    def __init__(self, separator: Separator, options: Options | None = None) -> None:
        self.options = options or Options()
        check_gate(separator, self.options.gate)
        self.device = choose_device(self.options.device)
        self.separator = separator.to(self.device).eval()
        self.separator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        spectral = isinstance(separator, SpectrogramSeparator)
        self.phase = separator.phase if self.options.phase == "auto" else self.options.phase
        if self.phase != "mixture" and not spectral:
            raise ModelError(f"{separator.kind!r} estimates waveforms: it has no phase to refine.")
        self.runtime, self.precision = choose(
            self.separator, self.device, self.options.runtime, self.options.precision
        )
        check_runtime(self.runtime, self.precision, self.device)
        self._running: Separator | None = None
        self.batch = self.options.batch or 1
        # a CPU is busy with one piece; elsewhere the first piece tells how many fit
        self._sized = self.options.batch is not None or self.device.type == "cpu"
        overlap, rate = self.options.overlap, separator.sample_rate
        if separator.carried is None:
            ahead = self.options.lookahead
            self.grid = seen_ahead(separator.grid, None if ahead is None else round(ahead * rate))
        else:
            self.grid, overlap = separator.carried, 0.0
            self.batch, self._sized = 1, True
        samples = (self.options.segment or separator.segment) * rate
        self._cutter = Cutter(self.grid, samples, overlap)
        keep_heap()

    @property
    def piece(self) -> int:
        """Samples of a piece at the separator's rate, without context."""
        return self._cutter.length

    @property
    def carries(self) -> bool:
        """Whether pieces carry on from one another; see `Separator.carried`."""
        return self.separator.carried is not None

    @property
    def running(self) -> Separator:
        """The separator with the network as its runtime computes it; made when first asked for.

        Raises ModelError where the runtime cannot compute this network.
        """
        if self._running is None:
            whole = self.grid == self.separator.grid
            separator = self.separator.narrowed() if whole else self.separator
            self._running = running(separator, self.runtime, self.precision)
        return self._running

    def latency(self, sample_rate: int) -> float:
        """Seconds of song, at most, that come in after a sample before its stems come out.

        What computing takes is not counted. sample_rate: of the song, in hertz.
        """
        rate, hop = self.separator.sample_rate, self.grid.hop
        held = self.piece + self.grid.after + 1
        if self.options.gate != "off":
            held += (MEDIAN_FRAMES // 2 + 1 if self.options.gate == "median" else 1) * hop
        resampling = 0 if rate == sample_rate else RESAMPLING / min(rate, sample_rate)
        return held / rate + resampling

    def stream(
        self,
        blocks: Iterable[np.ndarray],
        sample_rate: int,
        channels: int,
        *,
        labels: Activity | None = None,
        total: int | None = None,
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
    ) -> Iterator[Block]:
        """Separate blocks (channel, sample) of a song as they come.

        The stems have the song's rate and channels, and as many samples. labels: when each source
        plays, for the gate "oracle" (see `Gate`). total: the song's samples, where known, for the
        progress. Raises ModelError where labels and gate do not fit together, AudioError
        for NaN or infinite samples, Cancelled soon after `cancel` is set.
        """
        length = None if total is None else total / sample_rate
        for finish in self.unfinished(blocks, sample_rate, channels, labels=labels, cancel=cancel):
            block = finish()
            if progress is not None:
                progress((block.start + block.stems.shape[-1]) / sample_rate, length)
            yield block

    def unfinished(
        self,
        blocks: Iterable[np.ndarray],
        sample_rate: int,
        channels: int,
        *,
        labels: Activity | None = None,
        cancel: threading.Event | None = None,
    ) -> Iterator[Callable[[], Block]]:
        """As `stream`, but yields calls, each of which makes the next block.

        What is left to them is the gate and the way back to the song's rate. They are to be made
        in order, and may be made in another thread, while this one goes on to the next.
        """
        song = Conversion(self.separator, sample_rate, channels)
        complete = self.separator.complete and self.phase != "griffin-lim"
        gate = Gate(self.separator, self.options.gate, self.options.residual, complete, labels)
        song.carry_gains(not gate.always_open)

        def finish(stretch: _Stretch) -> Block:
            activity = stretch.activity.numpy()
            gated, gains = gate.push(
                stretch.stems.numpy(), activity, stretch.mixture.numpy(), stretch.last
            )
            return song.song_rate(gated, gains, activity, stretch.last, self.options.residual)

        for stretch in self._stretches(song.model_rate(blocks), cancel):
            yield partial(finish, stretch)

    def detect(
        self,
        blocks: Iterable[np.ndarray],
        sample_rate: int,
        channels: int,
        *,
        total: int | None = None,
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
    ) -> Iterator[np.ndarray]:
        """Activity (activity source, frame) of consecutive stretches; no stem becomes a waveform.

        Arguments and errors as `stream`. Raises ModelError for a separator without activity.
        """
        if not self.separator.activity_sources:
            raise ModelError(f"{self.separator.kind!r} has no activity head: choose another model.")
        song = Conversion(self.separator, sample_rate, channels)
        length = None if total is None else total / sample_rate
        done = 0
        for stretch in self._stretches(song.model_rate(blocks), cancel, waveforms=False):
            done += stretch.mixture.shape[-1]
            if progress is not None:
                seconds = done / self.separator.sample_rate
                progress(seconds if length is None else min(seconds, length), length)
            yield stretch.activity.numpy()

    def _stretches(
        self,
        chunks: Iterable[np.ndarray],
        cancel: threading.Event | None,
        waveforms: bool = True,
    ) -> Iterator[_Stretch]:
        """Consecutive stretches of the song, separated.

        Where pieces overlap, the stretch that a piece shares with the next waits to be cross-faded.
        """
        tail: tuple[Tensor, Tensor] | None = None
        hop = self.grid.hop
        for batch in self._batches(chunks):
            if cancel is not None and cancel.is_set():
                raise Cancelled("Separation was cancelled.")
            results = self._separate(batch, waveforms)
            if not self._sized:
                self._size_batch()
            for piece, (stems, activity) in zip(batch, results, strict=True):
                if tail is not None:
                    stems = _cross_fade(tail[0], stems)
                    activity = _cross_fade(tail[1], activity)
                keep, frames = piece.keep, -(-piece.keep // hop)
                if not piece.last and self._cutter.overlap:
                    tail = stems[..., keep:], activity[..., frames:]
                yield _Stretch(stems[..., :keep], activity[..., :frames], piece.mixture, piece.last)

    def _size_batch(self) -> None:
        """Choose the batch by the memory that the first piece took and what is free beside it."""
        self._sized = True
        known = memory_in_use(self.device)
        if known is None:
            self.batch = UNMEASURED_BATCH
        else:
            peak, free = known
            self.batch = max(1, min(LARGEST_BATCH, round(free * MEMORY_SHARE) // max(peak, 1)))

    def _batches(self, chunks: Iterable[np.ndarray]) -> Iterator[list[Piece]]:
        """Pieces in batches of equal length and context."""
        batch: list[Piece] = []
        for piece in self._cutter.cut(chunks):
            if batch and batch[0].shape != piece.shape:
                yield batch
                batch = []
            batch.append(piece)
            if len(batch) >= self.batch:
                yield batch
                batch = []
        if batch:
            yield batch

    def _separate(self, pieces: list[Piece], waveforms: bool) -> list[tuple[Tensor, Tensor]]:
        """Stems and activity of each piece without context; smaller batches if memory runs out."""
        try:
            return self._compute(pieces, waveforms)
        except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        if len(pieces) > 1:
            self.batch = half = (len(pieces) + 1) // 2
            first_half = self._separate(pieces[:half], waveforms)
            return first_half + self._separate(pieces[half:], waveforms)
        first, second = (
            self._separate([half], waveforms)[0] for half in self._cutter.halves(pieces[0])
        )
        stems = torch.cat([first[0], second[0]], dim=-1)
        return [(stems, torch.cat([first[1], second[1]], dim=-1))]

    def _compute(self, pieces: list[Piece], waveforms: bool) -> list[tuple[Tensor, Tensor]]:
        """For each piece stems (group, source, channel, sample), activity (source, frame).

        Without waveforms the stems are zeros that take no memory.
        """
        grid, separator = self.grid, self.separator
        mixture = torch.cat([piece.samples for piece in pieces]).to(self.device)
        lead, core = pieces[0].lead, pieces[0].core
        crop = grid.crop if self.carries else self.running.grid.crop
        start, first, frames = lead - crop, (lead - crop) // grid.hop, -(-core // grid.hop)
        half = self.runtime == "torch" and self.precision == "bf16"
        with torch.inference_mode():
            with torch.autocast(self.device.type, torch.bfloat16) if half else nullcontext():
                if self.carries:
                    memory = pieces[0].memory
                    prediction, state = separator.carry_on(mixture, lead + core, memory.state)
                else:
                    prediction = self.running(mixture)
            if waveforms and self.phase != "mixture":
                assert isinstance(separator, SpectrogramSeparator)
                prediction = separator.refine(prediction, self.phase, first)
            if waveforms:
                stems = separator.reconstruct(prediction, start, start + core).float().cpu()
            else:
                shape = (len(mixture), len(separator.sources), separator.channels, core)
                stems = torch.zeros(()).expand(shape)
            logits = torch.zeros(stems.shape[0], 0, frames)
            if prediction.activity is not None:
                logits = prediction.activity[..., first : first + frames].float().cpu()
        if self.carries:
            memory.state = state  # only now: a piece that memory runs out on is done again
        groups = len(stems) // len(pieces)
        # a source plays when it plays in any channel group of the song, or on average
        pool = torch.mean if separator.mean_activity else torch.amax
        return [
            (stems[i : i + groups], torch.sigmoid(pool(logits[i : i + groups], dim=0)))
            for i in range(0, len(stems), groups)
        ]


@dataclass(frozen=True)
class _Stretch:
    """What follows on the stretch before: stems (group, source, channel, sample), activity
    (activity source, frame) and mixture (group, channel, sample) at the separator's rate."""

    stems: Tensor
    activity: Tensor
    mixture: Tensor
    last: bool


def _cross_fade(old: Tensor, new: Tensor) -> Tensor:
    """Fade linearly from the end of one piece into the start of the next, which it overlaps."""
    length = min(old.shape[-1], new.shape[-1])
    rise = (torch.arange(length, dtype=new.dtype) + 0.5) / length
    new = new.clone()
    new[..., :length] = old[..., :length] * (1 - rise) + new[..., :length] * rise
    return new


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)
