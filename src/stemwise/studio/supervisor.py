"""Looks after the worker: gives it the next song, follows it, stops it, survives its death."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from stemwise.child import Child, ChildDied
from stemwise.studio import worker
from stemwise.studio.folders import Folders
from stemwise.studio.jobs import Job, Jobs
from stemwise.studio.names import title
from stemwise.studio.offers import Candidate, Offer, Remembered, default
from stemwise.studio.settings import Settings, StudioError

_log = logging.getLogger("stemwise.studio")
GRACE = 2.0
"""Seconds in which the worker may stop by itself; after that its process is ended."""
_POLL = 0.1
_START = 600.0


class Supervisor:
    """The threads that keep the workers busy. `offers` is known as soon as a worker tells."""

    def __init__(self, settings: Settings, folders: Folders, jobs: Jobs) -> None:
        self._settings, self._folders, self._jobs = settings, folders, jobs
        self._cancelled: set[tuple[str, float | None]] = set()
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._slots: list[_Slot] = []
        self.offers: Future[dict[str, Offer]] = Future()

    def start(self, candidates: list[Candidate]) -> None:
        """Start the workers."""
        remembered = Remembered(self._folders.data / "models.json")
        known = remembered.load(candidates)
        if known is not None:
            self.offers.set_result({one.name: one for one in known})

        def described(found: list[Offer]) -> None:
            if not self.offers.done():
                remembered.save(candidates, found)
                self.offers.set_result({one.name: one for one in found})

        for index in range(self._settings.workers):
            undescribed = candidates if known is None and index == 0 else []
            slot = _Slot(self, undescribed, described)
            self._slots.append(slot)
            thread = threading.Thread(target=slot.run, name=f"worker {index + 1}")
            self._threads.append(thread)
            thread.start()

    def cancel(self, job: Job) -> None:
        """Stop a running job soon; another attempt at it goes on."""
        self._cancelled.add((job.id, job.started))

    def close(self) -> None:
        """End the workers; what they were doing is done anew after the next start."""
        self._closing.set()
        self._jobs.stop()
        for thread in self._threads:
            thread.join()
        if not self.offers.done():
            self.offers.cancel()


class _Slot:
    """One worker process after the other, and the job it is doing."""

    def __init__(
        self,
        supervisor: Supervisor,
        undescribed: list[Candidate],
        described: Callable[[list[Offer]], None],
    ) -> None:
        self._all = supervisor
        self._undescribed, self._described = undescribed, described
        self._child: Child | None = None
        self._first: tuple[float, float] | None = None  # elapsed and done, for the speed

    def run(self) -> None:
        """Separate until the studio closes."""
        try:
            self._warm_up()
            while (job := self._all._jobs.take()) is not None:
                try:
                    self._separate(job)
                except Exception:  # a defect must not end the thread, and all work with it
                    _log.exception("The job %s failed", job.id)
                    self._end()
                    self._conclude(job, worker.Failed("The studio made a mistake with this song."))
        finally:
            self._end(GRACE)

    def _warm_up(self) -> None:
        """Have the worker load the default model while nobody waits for it."""
        with suppress(ChildDied, StudioError):
            child = self._started()
            offers = self._offers()
            child.send(worker.Preload(offers[default(offers)].path))

    def _offers(self) -> dict[str, Offer]:
        """The models, which another slot's worker may be about to tell. Raises StudioError."""
        while not self._all.offers.done():
            if self._all._closing.wait(_POLL):
                raise StudioError("The studio is closing.")
        return self._all.offers.result()

    def _started(self) -> Child:
        if self._child is None:
            settings = self._all._settings
            child = self._child = Child(
                worker.main, self._undescribed, settings.device, settings.workers, name="worker"
            )
            end = time.monotonic() + _START
            while (answer := child.receive(_POLL)) is None:
                if self._all._closing.is_set() or time.monotonic() > end:
                    self._end()
                    raise StudioError("The worker did not start.")
            if isinstance(answer, worker.Failed):
                self._end()
                error = StudioError(answer.sentence or "The worker did not start.")
                if not self._all.offers.done():
                    self._all.offers.set_exception(error)
                raise error
            if answer.offers is not None:
                self._described(answer.offers)
                self._undescribed = []
        return self._child

    def _end(self, grace: float = 0.0) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.close(grace)

    def _separate(self, job: Job) -> None:
        folders, jobs = self._all._folders, self._all._jobs
        work = folders.work(job.id)
        shutil.rmtree(work, ignore_errors=True)
        try:
            work.mkdir(parents=True)
            outcome = self._follow(job, work)
            if isinstance(outcome, worker.Finished):
                masters = folders.masters(job.id)
                shutil.rmtree(masters, ignore_errors=True)
                work.rename(masters)
        except ChildDied as error:
            self._end()
            outcome = worker.Failed(
                f"The separation was ended from outside ({error.how}): there may be too little "
                "memory; try it again, or another model."
            )
        except (StudioError, OSError) as error:
            outcome = worker.Failed(str(error))
        shutil.rmtree(work, ignore_errors=True)
        if self._all._closing.is_set() and not isinstance(outcome, worker.Finished):
            # asked to stop, the job has done nothing wrong
            jobs.change(job.id, state="queued", started=None, progress=None, attempts=0)
            return
        self._conclude(job, outcome)

    def _conclude(self, job: Job, outcome: worker.Finished | worker.Failed) -> None:
        folders, jobs = self._all._folders, self._all._jobs
        self._all._cancelled.discard((job.id, job.started))
        now = jobs.clock()
        common: dict[str, Any] = {
            "finished": now,
            "expires": now + self._all._settings.keep,
            "size": folders.size(job.id),
            "attempts": 0,
        }
        if isinstance(outcome, worker.Finished):
            jobs.change(
                job.id,
                state="done",
                progress=1.0,
                warnings=outcome.warnings,
                seconds_done=outcome.seconds,
                seconds_total=outcome.seconds,
                speed=outcome.speed,
                **common,
            )
        elif outcome.sentence is None:
            jobs.change(job.id, state="cancelled", progress=None, speed=None, **common)
        else:
            # what users cannot see means nothing to them
            sentence = outcome.sentence.replace(f"{folders.work(job.id)}{os.sep}", "")
            jobs.change(job.id, state="failed", progress=None, speed=None, error=sentence, **common)
        if jobs.get(job.id) is None:
            folders.remove(job.id)  # deleted while it ran

    def _follow(self, job: Job, work: Path) -> worker.Finished | worker.Failed:
        """Give the job to the worker and wait for its end, whatever that is."""
        child = self._started()
        offer = self._offers().get(job.model)
        if offer is None:
            return worker.Failed(f"The model {job.model!r} is not on this computer any more.")
        song = self._all._folders.upload(job.id)
        started = time.monotonic()
        child.send(
            worker.Task(
                job.id, song, work, title(job.name), job.model, offer.path, job.stems, job.gate
            )
        )
        self._first = None
        asked: float | None = None
        why = worker.Failed(None)
        while True:
            answer = child.receive(_POLL)
            if isinstance(answer, (worker.Finished, worker.Failed)):
                return answer if asked is None else why
            now = time.monotonic()
            if isinstance(answer, worker.Progress):
                self._tell(job, answer, now - started)
            if asked is None:
                reason = self._reason_to_stop(job, now - started)
                if reason is not None:
                    asked, why = now, reason
                    child.send(worker.Cancel(job.id))
            elif now - asked > GRACE:
                self._end()
                return why

    def _reason_to_stop(self, job: Job, elapsed: float) -> worker.Failed | None:
        settings, jobs = self._all._settings, self._all._jobs
        if self._all._closing.is_set() or (job.id, job.started) in self._all._cancelled:
            return worker.Failed(None)
        if jobs.get(job.id) is None:
            return worker.Failed(None)
        if elapsed > settings.timeout:
            return worker.Failed(
                f"The separation took longer than {settings.timeout:g} seconds: start the studio "
                "with a longer --timeout."
            )
        if self._all._folders.free() < settings.reserve / 2:
            return worker.Failed("The disk is nearly full: free some space and try it again.")
        return None

    def _tell(self, job: Job, progress: worker.Progress, elapsed: float) -> None:
        if self._first is None:
            self._first = elapsed, progress.done  # before it, the model may have been loaded
        since, done = elapsed - self._first[0], progress.done - self._first[1]
        self._all._jobs.follow(
            job.id,
            seconds_done=progress.done,
            seconds_total=progress.total,
            progress=progress.share,
            speed=done / since if since > 0 and done > 0 else None,
        )
