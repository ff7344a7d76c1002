"""Batches of what a network is asked for: some of its sources, or sums of them.

Most networks are trained on their sources. Those that are run for one source alone, or that are
asked for the sum of all and for silence too, say so (`Separator.training_targets`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from stemwise.data.batch import Batch


def regroup(
    batch: Batch,
    sources: Sequence[str],
    activity_sources: Sequence[str],
    groups: Sequence[Sequence[str]],
) -> Batch:
    """The batch whose stems are the sums of `groups` of its sources, with the same mixtures.

    A sum is supervised where all that it consists of is, and it plays when any of that does; the
    empty sum is silence, which is always known. batch: with its draws applied, of `sources` and
    with the labels of `activity_sources`.
    """
    mixture = batch.mixture
    rows = [[list(sources).index(name) for name in group] for group in groups]
    stems = torch.stack([batch.stems[:, row].sum(dim=1) for row in rows], dim=1)
    labels = [
        [list(activity_sources).index(name) for name in group if name in activity_sources]
        for group in groups
    ]
    # of an activity that nobody labels nothing is known, but silence is
    told = [len(row) == len(group) for row, group in zip(labels, groups, strict=True)]
    return replace(
        batch,
        stems=stems,
        rest=mixture - stems.sum(dim=1),
        supervised=_all(batch.supervised, rows),
        activity=torch.stack([_any(batch.activity[:, row]) for row in labels], dim=1),
        activity_known=_all(batch.activity_known, labels)
        & torch.tensor(told, device=batch.activity_known.device),
        gains=batch.gains.new_ones(len(stems), len(rows)),
        filters=batch.filters.new_zeros(len(stems), len(rows), batch.filters.shape[-1]),
    )


def _all(known: Tensor, rows: Sequence[Sequence[int]]) -> Tensor:
    """Of (batch, column), whether all columns of each of `rows` are set: (batch, row)."""
    return torch.stack([known[:, row].all(dim=1) for row in rows], dim=1)


def _any(labels: Tensor) -> Tensor:
    """The largest of (batch, column, frame), 0 of no columns: (batch, frame)."""
    if not labels.shape[1]:
        return labels.new_zeros(labels.shape[0], labels.shape[2])
    return labels.amax(dim=1)
