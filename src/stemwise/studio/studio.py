"""A studio: the parts of the server joined, from its start to its end."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import ExitStack
from pathlib import Path
from shutil import rmtree

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from stemwise.errors import ModelError
from stemwise.studio.answers import job_answer, refuse
from stemwise.studio.downloads import Make, Maker, unused
from stemwise.studio.events import Hub, Listener, message
from stemwise.studio.folders import Folders, size
from stemwise.studio.inspection import Facts, Inspector, NotAudio
from stemwise.studio.jobs import ENDED, Job, Jobs
from stemwise.studio.names import display_name, new_id
from stemwise.studio.offers import Offer, candidates, default, wanted_stems
from stemwise.studio.settings import GIGABYTE, Settings, StudioError
from stemwise.studio.supervisor import Supervisor
from stemwise.studio.uploads import Incoming, declared_length, too_large

_KEEPER_SECONDS = 60.0
_PATIENCE = 120.0
"""Seconds that a request waits for the models to be known, after the first start."""


class Studio:
    """Everything behind the routes. Raises StudioError where the folder cannot be used."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folders = Folders(settings.data)
        self._open = ExitStack()
        self._open.enter_context(self.folders.exclusive())
        try:
            self._candidates = candidates(settings.models)
            self.jobs = Jobs(self.folders.database)
        except BaseException:
            self._open.close()
            raise
        self.hub = Hub(settings.event_clients)
        self.incoming = Incoming(settings, self.folders)
        self.supervisor = Supervisor(settings, self.folders, self.jobs)
        self._inspector = Inspector()
        self._maker = Maker()
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="keeper")
        self.jobs.listen(self._publish)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take up what was left, and start to work."""
        self.folders.tidy({job.id for job in self.jobs.all()})
        self.jobs.recover()
        self.hub.start(loop)
        self.supervisor.start(self._candidates)
        self._inspector.start()
        self._keeper.start()

    def close(self) -> None:
        """Stop all work and release the folder; a second call does nothing."""
        if self._closing.is_set():
            return
        self._closing.set()
        self.hub.close()
        self.supervisor.close()
        if self._keeper.ident is not None:
            self._keeper.join()
        self._inspector.close()
        self._maker.close()
        self.jobs.close()
        self._open.close()

    async def offers(self) -> dict[str, Offer]:
        """The models. Raises 503 while they are not known."""
        try:
            waiting = asyncio.shield(asyncio.wrap_future(self.supervisor.offers))
            return await asyncio.wait_for(waiting, _PATIENCE)
        except asyncio.TimeoutError as error:
            raise refuse(503, "The studio is still starting.", Retry_After="5") from error
        except StudioError as error:
            raise refuse(503, str(error), Retry_After="60") from error

    async def accept(
        self, request: Request, name: str, model: str | None, stems: str | None, gate: str
    ) -> Job:
        """Take a song in and queue it. Raises the HTTP error of what is wrong."""
        offered = await self.offers()
        model = model or default(offered)
        if model not in offered:
            known = ", ".join(offered)
            raise refuse(422, f"There is no model {display_name(model)!r}: there are {known}.")
        try:
            chosen = wanted_stems(offered[model], stems)
        except ModelError as error:
            raise refuse(422, str(error)) from error
        if gate != "off" and not offered[model].activity_sources:
            raise refuse(422, f"The model {model!r} tells no activity, so gate must be off.")
        await run_in_threadpool(self.make_room, declared_length(request) or 0)
        if self.incoming.active >= self.settings.uploads:
            raise refuse(429, "Too many songs arrive at this moment: try again.", Retry_After="10")
        if len(self.jobs.queue()) + self.incoming.active >= self.settings.queue:
            raise refuse(429, "The queue is full: try again later.", Retry_After="60")
        self.incoming.active += 1
        try:
            return await self._take_in(request, display_name(name), model, chosen, gate)
        finally:
            self.incoming.active -= 1

    async def _take_in(
        self, request: Request, name: str, model: str, stems: tuple[str, ...], gate: str
    ) -> Job:
        id = new_id()
        part = self.folders.arriving(id)
        length = await self.incoming.receive(request, part)
        try:
            facts = await run_in_threadpool(self._inspector.inspect, part, name)
            await run_in_threadpool(self.make_room, length + _needed(facts, len(stems)))
            await run_in_threadpool(self._place, id)
        except NotAudio as error:
            raise refuse(415, str(error)) from error
        finally:
            part.unlink(missing_ok=True)
        now = self.jobs.clock()
        job = Job(id, name, model, stems, gate, now, now, seconds_total=facts.duration, size=length)
        try:
            return await run_in_threadpool(self.jobs.add, job)
        except sqlite3.Error as error:
            self.folders.remove(id)
            raise refuse(507, f"The list of jobs cannot be written ({error}).") from error

    def _place(self, id: str) -> None:
        self.folders.job(id).mkdir(mode=0o700)
        self.folders.arriving(id).rename(self.folders.upload(id))

    def make_room(self, needed: int, keeping: str = "") -> None:
        """Remove downloads that can be made again until `needed` bytes have a place.

        keeping: the job whose downloads stay. Raises 507 where that is not enough.
        """
        problem = self._no_room(needed)
        for job in self.jobs.all():
            if problem is None:
                return
            made = self.folders.made(job.id)
            if job.id == keeping or not made.is_dir():
                continue
            if unused(made) and not self._maker.busy(made):
                rmtree(made, ignore_errors=True)
                self.jobs.change(job.id, size=self.folders.size(job.id))
                problem = self._no_room(needed)
        if problem is not None:
            raise refuse(507, problem)

    def _no_room(self, needed: int) -> str | None:
        settings = self.settings
        if self.folders.free() < needed + settings.reserve:
            return "There is too little room on the disk for this song: free some."
        if settings.quota is not None:
            used = sum(job.size for job in self.jobs.all())
            if used + needed > settings.quota:
                return (
                    f"The studio may use {settings.quota / GIGABYTE:g} GB, and this needs more "
                    "than is left: delete songs."
                )
        return None

    def check_length(self, request: Request) -> None:
        """Raise 413 for a body that says itself that it is too large."""
        length = declared_length(request)
        if length is not None and length > self.settings.max_upload:
            raise too_large(self.settings.max_upload)

    async def make(self, job: Job, key: str, make: Make, tracks: int) -> Path:
        """A folder of files made from a job's masters. Raises 507 and what `make` raises.

        tracks: how many masters the files are as large as, at most.
        """
        folders = self.folders
        masters, made = folders.masters(job.id), folders.made(job.id)
        if not (made / key).is_dir():
            whole = await run_in_threadpool(size, masters)
            needed = whole * tracks // (len(job.stems) + 1)
            await run_in_threadpool(self.make_room, needed, job.id)
        folder = await self._maker.made(masters, made, key, make)
        now = await run_in_threadpool(folders.size, job.id)
        if now != job.size:
            await run_in_threadpool(self.jobs.change, job.id, only=("done",), size=now)
        return folder

    def find(self, id: str) -> Job | None:
        """The job of an id that a client sent."""
        return self.jobs.get(id)

    def cancel(self, job: Job) -> Job | None:
        """Stop a job that waits or runs; None where it has ended already."""
        now = self.jobs.clock()
        ended = self.jobs.change(
            job.id,
            only=("queued",),
            state="cancelled",
            finished=now,
            expires=now + self.settings.keep,
        )
        if ended is not None:
            return ended
        current = self.jobs.get(job.id)
        if current is None or current.state != "running":
            return None
        self.supervisor.cancel(current)
        return current

    def retry(self, job: Job) -> Job | None:
        """Queue a job again that failed or was cancelled; None for others."""
        if len(self.jobs.queue()) >= self.settings.queue:
            raise refuse(429, "The queue is full: try again later.", Retry_After="60")
        return self.jobs.change(
            job.id,
            only=("failed", "cancelled"),
            state="queued",
            queued=self.jobs.clock(),
            started=None,
            finished=None,
            expires=None,
            error=None,
            warnings=(),
            seconds_done=0.0,
            attempts=0,
        )

    def delete(self, id: str) -> None:
        """Forget a job and remove its files; a running one is stopped first."""
        job = self.jobs.remove(id)
        if job is not None and job.state != "running":  # else the supervisor removes them
            self.folders.remove(id)

    def listen(self, job: Job | None = None) -> Listener:
        """A listener that hears first what there is. Raises TooManyListeners."""
        listener = self.hub.join(None if job is None else job.id)
        # what there is is read after joining, so that no change falls in between
        for one in self.jobs.all() if job is None else [self.jobs.get(job.id)]:
            if one is not None:
                listener.put(one.id, message("job", job_answer(one, self.jobs)))
            if job is not None and (one is None or one.state in ENDED):
                listener.close()
        return listener

    def _publish(self, job: Job | None, id: str) -> None:
        if job is None:
            self.hub.publish(id, message("deleted", {"id": id}), last=True)
        else:
            content = message("job", job_answer(job, self.jobs))
            self.hub.publish(id, content, last=job.state in ENDED)

    def _keep(self) -> None:
        """Remove jobs that have expired, now and then."""
        pause = min(_KEEPER_SECONDS, max(0.05, self.settings.keep / 10))
        while not self._closing.wait(pause):
            self.expire()

    def expire(self) -> None:
        """Remove the jobs whose time has come."""
        now = self.jobs.clock()
        for job in self.jobs.all():
            if job.expires is not None and job.expires <= now:
                self.delete(job.id)


def _needed(facts: Facts, stems: int) -> int:
    """Bytes of the masters of a song: four per sample, of every stem and the mixture."""
    return round((facts.duration or 0) * facts.sample_rate * facts.channels * 4 * (stems + 1))
