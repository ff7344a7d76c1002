"""Evaluation of a model on many tracks, each from its path or URL to its scores."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stemwise.catalogue.entries import Entry
from stemwise.catalogue.model_work import ModelWork, at_hand
from stemwise.catalogue.tracks import TrackEntry, fetch_track
from stemwise.catalogue.work import Facts, Record
from stemwise.evaluation.layout import Entry as Layout
from stemwise.evaluation.pairs import reference_pair
from stemwise.evaluation.record import TrackScores, fingerprint, from_facts
from stemwise.evaluation.run import Job, identity, score_track
from stemwise.evaluation.scoring import Settings
from stemwise.evaluation.separated import Separated
from stemwise.evaluation.spool import spool_folder

if TYPE_CHECKING:
    from stemwise.separation import Engine, Progress


@dataclass(frozen=True)
class EvaluateWork(ModelWork):
    """Separates tracks and scores what comes out; the scores are the facts."""

    settings: Settings

    def terms(self) -> dict[str, Any]:
        """Model, precision and settings; the release, which may score otherwise."""
        from stemwise import __version__

        return {
            "command": "evaluate",
            "model": self.model,
            "precision": self.options.precision,
            **self.settings.to_json(),
            "stemwise": __version__,
        }

    def do(
        self, engine: Engine, entry: Entry, progress: Progress, cancel: threading.Event
    ) -> Facts:
        """Score a track."""
        import torch

        assert isinstance(entry, TrackEntry)
        estimator = Separated(self.model, engine, quantised=self.settings.quantise)
        estimator.follow = lambda pair: progress
        with at_hand(entry, cancel, fetch_track) as place, spool_folder() as folder:
            pair = reference_pair(
                Layout(entry.id, entry.split, place, entry.files),
                entry.id,
                estimator.sources,
                self.settings.problem,
                self.settings.sources,
            )
            # a copy is as old as this run: its times say nothing of the track
            inputs = {} if entry.is_remote else fingerprint(pair.inputs())
            settings = identity(self.settings, estimator)
            threads = torch.get_num_threads()
            job = Job(pair, self.settings, estimator, settings, inputs, folder, threads)
            facts: dict[str, Any] = score_track(job, cancel).to_json()["stemwise"]
        seconds = facts["facts"]["samples"] / facts["facts"]["sample_rate"]
        return {**facts, "song": entry.shown, "duration": round(seconds, 6)}


def scores_of(records: Iterable[Record]) -> list[TrackScores]:
    """The scores of all tracks that a ledger has as done, in the order of their ids."""
    done = sorted(records, key=lambda record: record.id)
    return [from_facts(record.facts) for record in done if record.state == "done"]
