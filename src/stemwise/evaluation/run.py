"""Many tracks: several processes, a file per finished track, and broken tracks that stop nobody.

A track's scores depend on nothing but its files and the settings, so any number of processes gives
the same. Only the calling process writes files, and only whole ones: a killed run leaves the
finished tracks behind, which the next run takes as they are.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from stemwise import __version__
from stemwise.cores import cores
from stemwise.data.track import Part
from stemwise.errors import Cancelled, StemwiseError
from stemwise.evaluation.families import score
from stemwise.evaluation.pairs import Broken, Pair
from stemwise.evaluation.problems import files_of, summands
from stemwise.evaluation.record import (
    TrackScores,
    fingerprint,
    read_finished,
    record_path,
    write_record,
)
from stemwise.evaluation.scores import Score
from stemwise.evaluation.scoring import Settings, Task
from stemwise.evaluation.signals import Check, FileSignals, cancelling, length_notes, survey
from stemwise.evaluation.spool import spool_folder


class Estimator(Protocol):
    """Computes estimates instead of reading them: a model or an oracle.

    `shared` estimators live in the calling process (a model's weights and its device are there
    once); others are copied to every worker.
    """

    @property
    def shared(self) -> bool:
        """Whether it stays in the calling process."""

    def to_json(self) -> dict[str, Any]:
        """What of it decides about the scores."""

    def __call__(self, pair: Pair, folder: Path, check: Check) -> Mapping[str, tuple[Part, ...]]:
        """Write estimates of all sources into `folder`; returns where they are."""


@dataclass
class Watch:
    """Who is told what happens, always in the calling thread.

    started, done, failed: with a track. cancel: set it (from a signal handler, say) to stop.
    """

    started: Callable[[Pair], None] = lambda pair: None
    done: Callable[[TrackScores], None] = lambda scores: None
    failed: Callable[[Broken], None] = lambda broken: None


def evaluate_set(
    pairs: Sequence[Pair],
    settings: Settings | None = None,
    *,
    estimator: Estimator | None = None,
    jobs: int = 1,
    folder: Path | None = None,
    watch: Watch | None = None,
) -> tuple[list[TrackScores], list[Broken]]:
    """Score tracks; returns the scores in the order of `pairs`, and the tracks that failed.

    jobs: tracks at the same time, in processes of their own from two on. folder: keeps one file
    per finished track; finished ones are read from there. Raises KeyboardInterrupt after Ctrl-C,
    when all work has stopped.
    """
    run = _Run(settings or Settings(), estimator, folder, watch or Watch(), jobs)
    try:
        run.work(pairs)
    finally:
        run.close()
    order = {pair.name: index for index, pair in enumerate(pairs)}
    return sorted(run.finished, key=lambda one: order[one.name]), run.broken


class _Run:
    """The state of one call of `evaluate_set`."""

    def __init__(
        self,
        settings: Settings,
        estimator: Estimator | None,
        folder: Path | None,
        watch: Watch,
        jobs: int,
    ) -> None:
        self.settings, self.estimator, self.folder, self.watch = settings, estimator, folder, watch
        self.jobs = max(1, jobs)
        self.finished: list[TrackScores] = []
        self.broken: list[Broken] = []
        self.waiting: dict[Future[TrackScores], Pair] = {}
        self.spool = spool_folder()
        self.place = self.spool.__enter__()
        self.executor: Executor | None = None
        self.cancel: Any = None

    def work(self, pairs: Sequence[Pair]) -> None:
        for number, pair in enumerate(pairs):
            try:
                settings, inputs = self._identity(pair)
                known = self._known(pair, settings, inputs)
                if known is not None:
                    self.finished.append(known)
                    self.watch.done(known)
                    continue
                self.watch.started(pair)
                place = self.place / str(number)
                place.mkdir()
                job = Job(
                    pair, self.settings, self.estimator, settings, inputs, place, self._threads
                )
                if self.estimator is not None and self.estimator.shared:
                    job = replace(job, pair=_estimated(job, lambda: None), estimator=None)
            except Exception as error:
                self._fail(pair, error)
                continue
            self._submit(job)
            while len(self.waiting) >= self.jobs:
                self._collect()
        while self.waiting:
            self._collect()

    @property
    def _threads(self) -> int | None:
        """None lets BSS Eval take every core; tracks at the same time have their share."""
        return None if self.jobs == 1 else max(1, cores() // self.jobs)

    def _identity(self, pair: Pair) -> tuple[dict[str, Any], dict[str, list[int]]]:
        return identity(self.settings, self.estimator), fingerprint(pair.inputs())

    def _known(
        self, pair: Pair, settings: dict[str, Any], inputs: dict[str, list[int]]
    ) -> TrackScores | None:
        if self.folder is None:
            return None
        return read_finished(record_path(self.folder, pair), settings, inputs)

    def _submit(self, job: Job) -> None:
        if self.jobs == 1:
            future: Future[TrackScores] = Future()
            try:
                future.set_result(score_track(job))
            except Exception as error:
                future.set_exception(error)
            self.waiting[future] = job.pair
            return
        if self.executor is None:
            # started afresh: a forked process would inherit locks of running threads
            context = multiprocessing.get_context("spawn")
            self.cancel = self.cancel or context.Event()
            self.executor = ProcessPoolExecutor(
                self.jobs, context, initializer=_start_worker, initargs=(self.cancel,)
            )
        self.waiting[self.executor.submit(score_track, job)] = job.pair

    def _collect(self) -> None:
        # waking up now and then lets Ctrl-C through on every system
        done, _ = wait(self.waiting, timeout=0.2, return_when=FIRST_COMPLETED)
        for future in done:
            pair = self.waiting.pop(future)
            try:
                scores = future.result()
                if self.folder is not None:
                    write_record(record_path(self.folder, pair), scores)
            except Exception as error:
                if isinstance(error, BrokenProcessPool):
                    self.executor = None
                self._fail(pair, error)
            else:
                self.finished.append(scores)
                self.watch.done(scores)

    def _fail(self, pair: Pair, error: Exception) -> None:
        broken = Broken(pair.name, _sentence(pair.name, error))
        self.broken.append(broken)
        self.watch.failed(broken)

    def close(self) -> None:
        """Stop what still runs and remove everything temporary."""
        if self.cancel is not None:
            self.cancel.set()
        if self.executor is not None:
            self.executor.shutdown(wait=True, cancel_futures=True)
        self.spool.__exit__(None, None, None)


def identity(settings: Settings, estimator: Estimator | None) -> dict[str, Any]:
    """All that decides about scores besides the files, as plain data."""
    estimated = {"files": True} if estimator is None else estimator.to_json()
    # another release may score otherwise
    return {**settings.to_json(), "estimates": estimated, "stemwise": __version__}


@dataclass(frozen=True)
class Job:
    """What a worker needs to score one track.

    identity, inputs: settings and files for the record. folder: for temporary files, emptied
    afterwards. threads: of the solver (None: all).
    """

    pair: Pair
    settings: Settings
    estimator: Estimator | None
    identity: dict[str, Any]
    inputs: dict[str, list[int]]
    folder: Path
    threads: int | None


_stopped: Any = None
"""The event that stops a worker; None in the calling process, which gets KeyboardInterrupt."""


def _start_worker(cancel: Any) -> None:
    global _stopped
    _stopped = cancel
    # Ctrl-C reaches every process of a terminal; the calling one decides what it means
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def score_track(job: Job, cancel: threading.Event | None = None) -> TrackScores:
    """Score one track; raises EvaluationError, AudioError, and Cancelled after `cancel` is set."""
    started = time.perf_counter()
    check = cancelling(cancel or _stopped)
    try:
        pair = job.pair if job.estimator is None else _estimated(job, check)
        scores, notes, facts = _score_pair(pair, job, check)
    finally:
        _empty(job.folder)
    elapsed = time.perf_counter() - started
    return TrackScores(
        pair.name, pair.split, tuple(scores), tuple(notes), job.identity, job.inputs, facts, elapsed
    )


def _estimated(job: Job, check: Check) -> Pair:
    assert job.estimator is not None
    try:
        return replace(job.pair, estimates=job.estimator(job.pair, job.folder, check))
    except BaseException:
        _empty(job.folder)
        raise


def _empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink(missing_ok=True)


def _score_pair(
    pair: Pair, job: Job, check: Check
) -> tuple[list[Score], list[str], dict[str, Any]]:
    quantised = job.settings.quantise
    reference, estimate = (
        survey(files, pair.channels, job.folder, side, quantised=quantised, check=check)
        for side, files in _used(pair).items()
    )
    samples = max(reference.lengths.values())
    notes = [*reference.warnings, *estimate.warnings]
    for what, found in (("reference", reference), ("estimate", estimate)):
        for name, length in found.lengths.items():
            notes += length_notes(f"the {what} of {name}", length, samples, pair.sample_rate)
    scores: list[Score] = []
    facts: dict[str, Any] = {"sample_rate": pair.sample_rate, "samples": samples}
    for problem in pair.problems:
        sides = [
            FileSignals(
                files_of(problem, files, tuple(pair.references)),
                pair.channels,
                samples,
                quantised,
                check,
            )
            for files in (reference.parts, estimate.parts)
        ]
        task = Task(problem, sides[0], sides[1], pair.sample_rate, job.settings, job.threads)
        found_scores, more = score(task)
        scores += found_scores
        for key, value in more.items():
            facts.setdefault(key, {}).update(value)
    return scores, notes, facts


def _used(pair: Pair) -> dict[str, dict[str, tuple[Part, ...]]]:
    """The files of either side that some problem needs."""
    used: dict[str, dict[str, tuple[Part, ...]]] = {}
    for side, files in (("reference", pair.references), ("estimate", pair.estimates)):
        names = {
            one
            for problem in pair.problems
            for source in problem.sources
            for one in summands(source, files, pair.references)
        }
        used[side] = {name: parts for name, parts in files.items() if name in names}
    return used


def _sentence(name: str, error: Exception) -> str:
    if isinstance(error, Cancelled):
        return f"{name} was stopped."
    if isinstance(error, BrokenProcessPool):
        return (
            f"{name}: the process that scored it, or one beside it, was ended from outside (too "
            "little memory, perhaps): try again with fewer --jobs"
        )
    if isinstance(error, MemoryError):
        return f"{name}: there is not enough memory: choose fewer --jobs"
    if isinstance(error, (StemwiseError, OSError)):
        return f"{name}: {error}"
    # a defect of the program, whose place matters more than its sentence
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(where.filename).name}:{where.lineno}"
    return f"{name} failed unexpectedly at {place} ({type(error).__name__}: {error})."
