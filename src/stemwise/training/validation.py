"""Figures on fixed excerpts of held-out songs while a network trains.

These steer training (best checkpoint, early look at problems); published results come from whole
songs in `benchmarks/quality.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from stemwise.data.batch import Batch
from stemwise.data.loading import Loader
from stemwise.evaluation.detection import au_roc
from stemwise.models.separator import Separator
from stemwise.training.hardware import Hardware
from stemwise.training.learner import Learner
from stemwise.training.objectives import crop_labels

_SILENT = 1e-8  # mean square below which a reference stem counts as silent (-80 dBFS)


@dataclass
class _Judged:
    """What one batch says: every figure's values, and the frames of every source's activity."""

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    frames: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


@torch.no_grad()
def validate(
    learner: Learner, loader: Loader, batches: int, hardware: Hardware | None = None
) -> dict[str, float]:
    """Judge `batches` fixed batches in evaluation mode.

    hardware: its processes share the batches, and all get the figures of all.

    Returns the mean of every loss, by task and by source, and of the weighted sum ("loss"); per
    source "sdr/<source>" (dB, mean over excerpts where the stem plays) and their mean "sdr";
    "ghost/<source>" (level of the estimate relative to the mixture in dB, mean over excerpts where
    the stem is silent); "auroc/<source>" (over the frames of all excerpts) and their mean "auroc".
    Figures without any excerpt to judge are left out.
    """
    separator = learner.separator
    trained = separator.training
    separator.eval()
    rank, world = (0, 1) if hardware is None else (hardware.rank, hardware.world)
    # each process takes every world-th batch, so that the batches are those of a single one
    mine = Loader(
        loader.sampler, loader.batch, loader.workers, loader.ahead, rank=rank, world=world
    )
    own = [_judge(learner, one) for one in mine.batches(0, max(0, -(-(batches - rank) // world)))]
    separator.train(trained)
    parts = [own] if hardware is None else hardware.gather(own)
    longest = max(len(part) for part in parts)
    return _figures(separator, [p[k] for k in range(longest) for p in parts if k < len(p)])


def _judge(learner: Learner, batch: Batch) -> _Judged:
    separator, found = learner.separator, _Judged()
    batch = learner.prepare(batch)
    prediction, judged = learner.judge(batch)
    for task, loss in (judged.by_task() | judged.by_source()).items():
        found.values[task].append(float(loss))
    tasks = learner.weighting.tasks(judged)
    if tasks:  # a batch that supervises nothing has nothing to say
        found.values["loss"].append(float(learner.weigh(tasks, batch)))
    estimates = separator.reconstruct(prediction)
    _score_stems(estimates, batch, separator.sources, separator.grid.crop, found.values)
    if prediction.activity is not None:
        labels = crop_labels(batch.activity, prediction.activity.shape[-1], separator.grid)
        for j, source in enumerate(separator.activity_sources):
            known = batch.activity_known[:, j]
            logits = prediction.activity[known, j].float().cpu().numpy()
            found.frames[source] = (logits, labels[known, j].cpu().numpy())
    return found


def _figures(separator: Separator, judged: Sequence[_Judged]) -> dict[str, float]:
    values: dict[str, list[float]] = defaultdict(list)
    for one in judged:
        for name, numbers in one.values.items():
            values[name] += numbers
    figures = {name: float(np.mean(numbers)) for name, numbers in values.items()}
    by_stem = [figures[f"sdr/{s}"] for s in separator.sources if f"sdr/{s}" in figures]
    if by_stem:
        figures["sdr"] = float(np.mean(by_stem))
    areas = []
    for source in separator.activity_sources:
        pairs = [one.frames[source] for one in judged if source in one.frames]
        if not pairs:
            continue
        area = au_roc(*(np.concatenate([pair[i].ravel() for pair in pairs]) for i in (0, 1)))
        if area is not None:
            figures[f"auroc/{source}"] = area
            areas.append(area)
    if areas:
        figures["auroc"] = float(np.mean(areas))
    return figures


def _score_stems(
    estimates: Tensor,
    batch: Batch,
    sources: Sequence[str],
    crop: int,
    scores: dict[str, list[float]],
) -> None:
    """Append SDR or ghost level of every supervised stem of a batch to `scores`."""
    stop = crop + estimates.shape[-1]
    stems, mixture = batch.stems[..., crop:stop], batch.mixture[..., crop:stop]
    energy = stems.square().mean(dim=(2, 3))
    error = (estimates - stems).square().mean(dim=(2, 3))
    estimated = estimates.square().mean(dim=(2, 3))
    mixed = mixture.square().mean(dim=(1, 2))
    for b, s in batch.supervised.nonzero().tolist():
        if energy[b, s] > _SILENT:
            sdr = 10 * torch.log10(energy[b, s] / error[b, s].clamp_min(1e-12))
            scores[f"sdr/{sources[s]}"].append(float(sdr))
        elif mixed[b] > _SILENT:
            ghost = 10 * torch.log10(estimated[b, s].clamp_min(1e-12) / mixed[b])
            scores[f"ghost/{sources[s]}"].append(float(ghost))
