"""Songs cut into pieces on a separator's grid, each with the context that the grid asks for.

Pieces start at multiples of the grid's alignment; silence stands for what lies outside the song, or
nothing where the grid is not padded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from stemwise.errors import ModelError
from stemwise.models.separator import Grid, State

LAST_LENGTHS = 16
"""The last piece of a song has one of so many lengths, where silence may follow it: every new one
costs libraries time to get ready, and memory that they keep."""


@dataclass
class Memory:
    """What a separator remembers of a song from one piece to the next."""

    state: State | None = None


@dataclass(frozen=True)
class Piece:
    """A stretch of a song at the separator's rate, with context."""

    samples: Tensor
    """(channel group, channel, sample), context included."""
    lead: int
    """Samples of context in front."""
    core: int
    """Samples to be computed: what is neither context in front nor behind."""
    keep: int
    """Samples of the song that this piece gives: its core less padding and overlap."""
    last: bool
    memory: Memory
    """The song's: its pieces come in order."""

    @property
    def shape(self) -> tuple[torch.Size, int, int]:
        """What pieces of one batch have in common."""
        return self.samples.shape, self.lead, self.core

    @property
    def mixture(self) -> Tensor:
        """The song where this piece gives it, (channel group, channel, sample)."""
        return self.samples[..., self.lead : self.lead + self.keep]


class Cutter:
    """Cuts songs one after another.

    grid: of the separator. samples: about how long pieces are, without context. overlap: share of a
    piece that it has in common with the next.

    Attributes:
        length: samples of a piece; it may be lowered while a song is being cut.
        overlap: samples that consecutive pieces have in common.
    """

    def __init__(self, grid: Grid, samples: float, overlap: float) -> None:
        self._grid = grid
        step = grid.step(samples)
        self.length = max(1, round(samples / step)) * step
        shared = round(overlap * self.length / grid.alignment) * grid.alignment
        self.overlap = min(shared, self.length - grid.alignment)

    def cut(self, chunks: Iterable[np.ndarray]) -> Iterator[Piece]:
        """Pieces of a song that comes in chunks (channel group, channel, sample)."""
        grid = self._grid
        lead = grid.before if grid.padded else 0
        memory = Memory()
        waiting: list[np.ndarray] = []
        held = 0
        for chunk in chunks:
            if not waiting:
                waiting, held = [np.zeros((*chunk.shape[:2], lead), np.float32)], lead
            waiting.append(chunk)
            held += chunk.shape[-1]
            # a piece is only cut when more of the song is known to follow
            while held > (needed := lead + self.length + grid.after):
                buffer = np.concatenate(waiting, axis=-1)
                keep = self.length - self.overlap
                samples = torch.from_numpy(buffer[..., :needed].copy())
                yield Piece(samples, lead, self.length, keep, False, memory)
                buffer, lead = self._advance(buffer, lead, keep)
                waiting, held = [buffer], buffer.shape[-1]
        yield from self._rest(np.concatenate(waiting, axis=-1), lead, memory)

    def _rest(self, buffer: np.ndarray, lead: int, memory: Memory) -> Iterator[Piece]:
        """The pieces at the end of a song, of which no more will come."""
        grid = self._grid
        last = False
        while not last:
            left = buffer.shape[-1] - lead
            last = left <= self.length
            core = max(1, left) if last else self.length
            if grid.padded:
                core = min(-(-core // self._step) * self._step, self.length)
            seen = buffer[..., : lead + core + grid.after]
            if grid.padded or core > left:
                padding = lead + core + (grid.after if grid.padded else 0) - seen.shape[-1]
                seen = np.pad(seen, ((0, 0), (0, 0), (0, max(0, padding))))
            keep = left if last else self.length - self.overlap
            yield Piece(torch.from_numpy(seen.copy()), lead, core, keep, last, memory)
            buffer, lead = self._advance(buffer, lead, keep)

    @property
    def _step(self) -> int:
        """What the last piece's length is a multiple of, unless it is as long as the others."""
        alignment = self._grid.alignment
        if not self._grid.finite or self._grid.window:
            return alignment  # more silence would change what comes before
        return -(-self.length // (alignment * LAST_LENGTHS)) * alignment

    def _advance(self, buffer: np.ndarray, lead: int, samples: int) -> tuple[np.ndarray, int]:
        """Drop what the next piece does not see; it starts `samples` later."""
        start = lead + samples
        lead = min(self._grid.before, start)
        return buffer[..., start - lead :], lead

    def halves(self, piece: Piece) -> tuple[Piece, Piece]:
        """A piece as two, whose stems join to its own; those that follow are no longer than these.

        Raises ModelError for a piece that cannot be shorter.
        """
        grid = self._grid
        step = grid.step(piece.core // 2)
        half = piece.core // 2 // step * step
        if half == 0:
            raise ModelError("Not even the shortest piece of the song fits into memory.")
        self.length = max(grid.alignment + self.overlap, min(self.length, half))
        middle = piece.lead + half
        lead = min(grid.before, middle)
        front = piece.samples[..., : middle + grid.after]
        back = piece.samples[..., middle - lead :]
        rest = piece.core - half
        return (
            replace(piece, samples=front, core=half, keep=half, last=False),
            replace(piece, samples=back, lead=lead, core=rest, keep=rest),
        )


def seen_ahead(grid: Grid, samples: int | None) -> Grid:
    """A grid with less behind each piece, about `samples`; pieces start where they did."""
    if samples is None:
        return grid
    wanted = max(grid.crop, samples)
    spare = max(0, grid.after - wanted) // grid.alignment * grid.alignment
    return replace(grid, after=grid.after - spare, finite=grid.finite and not spare)
