"""Silencing stems where they are not active, and sharing what is left over among the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import median_filter

from stemwise.activity import Activity
from stemwise.errors import ModelError
from stemwise.models.separator import Separator

MEDIAN_FRAMES = 21
"""Width of the smoothed gate (Hung & Lerch 2020, section 3.4)."""


def check_gate(separator: Separator, mode: str) -> None:
    """Raise ModelError where the gate asks for activity that the separator does not tell."""
    if mode in ("raw", "median") and not separator.activity_sources:
        raise ModelError(
            f"The gate {mode!r} needs activity, and {separator.kind!r} has no activity head here: "
            "choose the gate 'oracle' with labels, or another model."
        )


def check_labels(sources: Sequence[str], mode: str, labels: Activity | None) -> None:
    """Raise ModelError where labels and gate do not fit together, or labels and sources."""
    if mode == "oracle" and labels is None:
        raise ModelError("The gate 'oracle' opens stems by labels: give the song's labels.")
    if labels is None:
        return
    if mode != "oracle":
        raise ModelError(f"Labels are for the gate 'oracle', not for {mode!r}.")
    if not set(sources) & set(labels.sources):
        raise ModelError(
            f"The labels name {', '.join(labels.sources) or 'nothing'}, "
            f"but none of the stems {', '.join(sources)}."
        )
    if not labels.probabilities.shape[1]:
        raise ModelError("The labels have no frames: give labels of the whole song.")


def share_residual(
    stems: np.ndarray, mixture: np.ndarray, gains: np.ndarray | None = None
) -> np.ndarray:
    """Stems that sum to the mixture: what they leave of it goes to the open ones in equal parts.

    stems: (..., source, channel, sample). mixture: (..., channel, sample). gains: how far each stem
    is open, 0..1, (source, sample); all are where it is None, or where none is.
    """
    residual = np.expand_dims(mixture - stems.sum(axis=-3), -3)
    if gains is None:
        shared: np.ndarray = stems + residual / stems.shape[-3]
        return shared
    total = gains.sum(axis=0, keepdims=True)
    shares = np.where(total > 1e-3, gains / np.maximum(total, 1e-3), 1 / len(gains))
    weighted: np.ndarray = stems + residual * shares[:, None, :].astype(stems.dtype)
    return weighted


class Gate:
    """Applies the activity gate to a stream of stems at the separator's rate.

    mode: "off"; "raw" or "median", decided by the network's activity; "oracle", decided by
    `labels`, unsmoothed, taken at the nearest time (Hung & Lerch 2020, figure 5). A stem of which
    activity or labels say nothing stays open; behind the end of the labels, those they name are
    closed. residual: hand what a closed stem loses to the open ones. complete: the stems sum to
    the mixture as they come. The smoothed gate looks `MEDIAN_FRAMES // 2` frames ahead, so stems
    leave that much later than they come. Between frame centres gains are interpolated, so that a
    gate never clicks. Raises ModelError, see `check_gate` and `check_labels`.
    """

    def __init__(
        self,
        separator: Separator,
        mode: str,
        residual: bool,
        complete: bool = False,
        labels: Activity | None = None,
    ) -> None:
        check_gate(separator, mode)
        check_labels(separator.sources, mode, labels)
        self.hop = separator.grid.hop
        self.labels = labels
        self.labels_per_frame = 0.0 if labels is None else labels.frame_rate / separator.frame_rate
        self.seen = 0
        """Frames of the song that have come."""
        sources = separator.sources
        active = separator.activity_sources if labels is None else labels.sources
        self.rows = [active.index(name) if name in active else None for name in sources]
        self.half = MEDIAN_FRAMES // 2 if mode == "median" else 0
        self.always_open = mode == "off"
        # nothing is left over where the network shares out the mixture and no stem is closed
        self.residual = residual and not (complete and self.always_open)
        self.stems: np.ndarray | None = None
        self.mixture: np.ndarray | None = None
        self.frames: np.ndarray | None = None
        self.history = 0
        """Held frames whose samples have left already."""

    def push(
        self, stems: np.ndarray, activity: np.ndarray, mixture: np.ndarray, last: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Take the next stretch of the song; return the stems that are ready, and their gains.

        stems: (group, source, channel, sample). activity: probabilities (activity source, frame),
        one frame per hop of the stems, of which labels take the place. mixture: (group, channel,
        sample). Gains: (source, sample), 0..1, or None where every stem is always open.
        """
        if self.always_open:
            return (share_residual(stems, mixture) if self.residual else stems), None
        if self.labels is not None:
            activity = self._labelled(self.labels.probabilities, activity.shape[-1])
        stems, mixture, frames = self._held(stems, mixture, activity)
        gains = self._gains(frames)
        ready = gains.shape[-1] - self.history
        if not last:
            ready = max(0, ready - self.half - 1)
        samples = stems.shape[-1] if last else ready * self.hop
        ramp = self._interpolate(gains[:, self.history :], samples)
        self.stems, self.mixture = stems[..., samples:], mixture[..., samples:]
        forget = max(0, self.history + ready - MEDIAN_FRAMES)
        self.history += ready - forget
        self.frames = frames[:, forget:]
        gated = stems[..., :samples] * ramp[:, None, :]
        if self.residual:
            gated = share_residual(gated, mixture[..., :samples], ramp)
        return gated, ramp

    def _held(
        self, stems: np.ndarray, mixture: np.ndarray, frames: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self.stems is None or self.mixture is None or self.frames is None:
            return stems, mixture, frames
        return (
            np.concatenate([self.stems, stems], axis=-1),
            np.concatenate([self.mixture, mixture], axis=-1),
            np.concatenate([self.frames, frames], axis=-1),
        )

    def _labelled(self, labels: np.ndarray, frames: int) -> np.ndarray:
        """What the labels (label source, label frame) say of the next frames of the song."""
        coming = np.arange(self.seen, self.seen + frames)
        self.seen += frames
        nearest = np.rint(coming * self.labels_per_frame).astype(np.int64)
        known = nearest < labels.shape[1]
        taken: np.ndarray = labels[:, np.where(known, nearest, 0)] * known
        return taken

    def _gains(self, frames: np.ndarray) -> np.ndarray:
        """0 or 1 for each source and held frame."""
        active = (frames >= 0.5).astype(np.float32)
        if self.half:
            active = median_filter(active, size=(1, MEDIAN_FRAMES), mode="reflect")
        ones = np.ones(active.shape[-1], np.float32)
        return np.stack([ones if row is None else active[row] for row in self.rows])

    def _interpolate(self, gains: np.ndarray, samples: int) -> np.ndarray:
        """Gains (source, frame) to gains (source, sample), linear between frame centres."""
        position = np.arange(samples) / self.hop
        frames = np.arange(gains.shape[-1])
        return np.stack([np.interp(position, frames, row) for row in gains]).astype(np.float32)
