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
from dataclasses import dataclass, replace
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
from stemwise.models.separator import Grid, Separator, SpectrogramSeparator, State
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
        grid = self.grid = _seen_ahead(separator, self.options.lookahead)
        samples = (self.options.segment or separator.segment) * separator.sample_rate
        step = grid.step(samples)
        self.piece = max(1, round(samples / step)) * step
        overlap = round(self.options.overlap * self.piece / grid.alignment) * grid.alignment
        self.overlap = min(overlap, self.piece - grid.alignment)
        self.carries = separator.carried is not None
        if self.carries:
            self.batch, self._sized, self.overlap = 1, True, 0
        keep_heap()

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
                if not piece.last and self.overlap:
                    tail = stems[..., keep:], activity[..., frames:]
                mixture = piece.samples[:, :, piece.lead : piece.lead + keep]
                yield _Stretch(stems[..., :keep], activity[..., :frames], mixture, piece.last)

    def _size_batch(self) -> None:
        """Choose the batch by the memory that the first piece took and what is free beside it."""
        self._sized = True
        known = memory_in_use(self.device)
        if known is None:
            self.batch = UNMEASURED_BATCH
        else:
            peak, free = known
            self.batch = max(1, min(LARGEST_BATCH, round(free * MEMORY_SHARE) // max(peak, 1)))

    def _batches(self, chunks: Iterable[np.ndarray]) -> Iterator[list[_Piece]]:
        """Pieces in batches of equal length and context."""
        batch: list[_Piece] = []
        for piece in self._cut(chunks):
            if batch and batch[0].shape != piece.shape:
                yield batch
                batch = []
            batch.append(piece)
            if len(batch) >= self.batch:
                yield batch
                batch = []
        if batch:
            yield batch

    def _cut(self, chunks: Iterable[np.ndarray]) -> Iterator[_Piece]:
        """Pieces with their context; silence stands for what lies outside the song, or nothing."""
        grid = self.grid
        lead = grid.before if grid.padded else 0
        memory = _Memory()
        waiting: list[np.ndarray] = []
        held = 0
        for chunk in chunks:
            if not waiting:
                waiting, held = [np.zeros((*chunk.shape[:2], lead), np.float32)], lead
            waiting.append(chunk)
            held += chunk.shape[-1]
            # a piece is only cut when more of the song is known to follow
            while held > (needed := lead + self.piece + grid.after):
                buffer = np.concatenate(waiting, axis=-1)
                advance = self.piece - self.overlap  # pieces shrink when memory runs out
                samples = torch.from_numpy(buffer[..., :needed].copy())
                yield _Piece(samples, lead, self.piece, advance, False, memory)
                buffer, lead = self._advance(buffer, lead, advance)
                waiting, held = [buffer], buffer.shape[-1]
        buffer = np.concatenate(waiting, axis=-1)
        while True:
            left = buffer.shape[-1] - lead
            last = left <= self.piece
            core = max(1, left) if last else self.piece
            if grid.padded:
                core = -(-core // grid.alignment) * grid.alignment
            seen = buffer[..., : lead + core + grid.after]
            if grid.padded or core > left:
                padding = lead + core + (grid.after if grid.padded else 0) - seen.shape[-1]
                seen = np.pad(seen, ((0, 0), (0, 0), (0, max(0, padding))))
            keep = left if last else self.piece - self.overlap
            yield _Piece(torch.from_numpy(seen.copy()), lead, core, keep, last, memory)
            if last:
                return
            buffer, lead = self._advance(buffer, lead, keep)

    def _advance(self, buffer: np.ndarray, lead: int, samples: int) -> tuple[np.ndarray, int]:
        """Drop what the next piece does not see; it starts `samples` later."""
        start = lead + samples
        lead = min(self.grid.before, start)
        return buffer[..., start - lead :], lead

    def _separate(self, pieces: list[_Piece], waveforms: bool) -> list[tuple[Tensor, Tensor]]:
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
        grid = self.grid
        whole = pieces[0]
        step = grid.step(whole.core // 2)
        half = whole.core // 2 // step * step
        if half == 0:
            raise ModelError("Not even the shortest piece of the song fits into memory.")
        self.piece = max(grid.alignment + self.overlap, min(self.piece, half))
        middle = whole.lead + half
        lead = min(grid.before, middle)
        front = whole.samples[..., : middle + grid.after]
        back = whole.samples[..., middle - lead :]
        head = replace(whole, samples=front, core=half, keep=half, last=False)
        rest = whole.core - half
        tail = replace(whole, samples=back, lead=lead, core=rest, keep=rest)
        first, second = (self._separate([one], waveforms)[0] for one in (head, tail))
        stems = torch.cat([first[0], second[0]], dim=-1)
        return [(stems, torch.cat([first[1], second[1]], dim=-1))]

    def _compute(self, pieces: list[_Piece], waveforms: bool) -> list[tuple[Tensor, Tensor]]:
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


def _seen_ahead(separator: Separator, lookahead: float | None) -> Grid:
    """The separator's grid with less behind each piece; it stays cut at multiples."""
    if separator.carried is not None:
        return separator.carried
    grid = separator.grid
    if lookahead is None:
        return grid
    wanted = max(grid.crop, round(lookahead * separator.sample_rate))
    spare = max(0, grid.after - wanted) // grid.alignment * grid.alignment
    return replace(grid, after=grid.after - spare, finite=grid.finite and not spare)


@dataclass(frozen=True)
class _Stretch:
    """What follows on the stretch before: stems (group, source, channel, sample), activity
    (activity source, frame) and mixture (group, channel, sample) at the separator's rate."""

    stems: Tensor
    activity: Tensor
    mixture: Tensor
    last: bool


@dataclass
class _Memory:
    """What a separator remembers of a song from one piece to the next."""

    state: State | None = None


@dataclass(frozen=True)
class _Piece:
    samples: Tensor
    """(channel group, channel, sample), context included."""
    lead: int
    """Samples of context in front."""
    core: int
    """Samples to be computed: what is neither context in front nor behind."""
    keep: int
    """Samples of the song that this piece gives: its core less padding and overlap."""
    last: bool
    memory: _Memory
    """The song's: its pieces come in order."""

    @property
    def shape(self) -> tuple[torch.Size, int, int]:
        """What pieces of one batch have in common."""
        return self.samples.shape, self.lead, self.core


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
