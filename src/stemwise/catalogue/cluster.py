"""Songs done by actors of a Ray cluster, each of which has the model loaded on a device of its own.

Ray schedules, starts and watches processes on many machines; what they send each other are paths
and records, never audio. An actor takes one song at a time. One that is lost with its machine or
its process costs its song one more attempt on another; machines that join later get actors too.
"""

from __future__ import annotations

import logging
import signal
import socket
import tempfile
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stemwise.catalogue.assignment import (
    PATIENCE,
    Assigned,
    Assignment,
    Follow,
    Loss,
    RefusedError,
    given_up,
)
from stemwise.catalogue.entries import Entry
from stemwise.catalogue.place import Place
from stemwise.catalogue.work import Do, Record, Work, attempt
from stemwise.cores import cores, take_share
from stemwise.errors import AudioWarning, CatalogueError, StemwiseError

LOCAL = "local"
_TOLD_EVERY = 1.0
"""Seconds between two questions to an actor how far its song is, where somebody follows."""
_ASKED_EVERY = 30.0
"""The same where nobody does, but for a song that hangs."""
_LOOK = 2.0
"""Seconds between two looks at what the cluster has."""
_DESERTED = 60.0
"""Seconds without any machine to work on, after which a run gives up."""
_GRACE = 5.0
"""Seconds in which actors may remove what they have begun."""


class Worker:
    """What an actor does: begins the work, then takes songs."""

    def __init__(self, work: Work, share: int, place: Place) -> None:
        warnings.simplefilter("ignore", AudioWarning)
        take_share(share)
        self._work, self._place = work, place
        self._do: Do | None = None
        self._told: tuple[float, float | None] = (0.0, None)
        self._cancel = threading.Event()

    def begin(self) -> str | None:
        """Load what the work needs; a sentence where that cannot be."""
        import torch

        torch.set_num_threads(cores())
        if (sentence := self._place.enter()) is not None:
            return sentence
        if self._place.mark is not None:
            # of its own, as what is left of a process is known by its id, which machines share
            folder = self._place.mark.parent / socket.gethostname()
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.tempdir = str(folder)
        try:
            self._do = self._work.begin()
        except StemwiseError as error:
            return str(error)
        return None

    def attempt(self, entry: Entry) -> Record:
        """Do a song."""
        assert self._do is not None
        self._told = 0.0, None
        return attempt(self._do, entry, self._tell, self._cancel)

    def told(self) -> tuple[float, float | None]:
        """Seconds of the song that are done, and its seconds; answered while it is being done."""
        return self._told

    def _tell(self, done: float, total: float | None) -> None:
        self._told = done, total

    def stop(self) -> None:
        """Have the song that is being done removed, in a thread beside it."""
        self._cancel.set()


def run_cluster(
    work: Work,
    entries: Iterable[Entry],
    address: str,
    workers: int | None = None,
    shared: Path | None = None,
    follow: Follow | None = None,
    *,
    patience: float = PATIENCE,
) -> Iterator[Record]:
    """What became of each song, in the order in which they end.

    address: of a Ray cluster ("auto" for the one this machine belongs to), or "local" for one of
    this machine alone that ends with the run. workers: actors at most (None: one for each GPU or,
    where there are none, one for every two cores). shared: a folder that every machine has to see,
    as results go there, for temporary files, which somebody removes. follow: told how far songs
    are. patience: seconds without progress after which a song is given up, beside its own length.
    Closing the iterator, as Ctrl-C does, ends the actors; songs remove what they had begun.
    Raises CatalogueError where there is no cluster, RefusedError where the work cannot begin.
    """
    ray = _connected(address, workers)
    try:
        with Place.here(shared) as place:
            songs = Assignment(iter(entries))
            cluster = _Cluster(ray, work, songs, workers, place, follow, patience)
            try:
                yield from cluster.run()
            finally:
                cluster.close()
    finally:
        ray.shutdown()


def _connected(address: str, workers: int | None) -> Any:
    try:
        import ray
    except ImportError as error:
        raise CatalogueError(
            "--cluster needs Ray, which is not installed: pip install 'stemwise[cluster]'."
        ) from error
    _probe(address)
    options: dict[str, Any] = {"address": address}
    if address == LOCAL:
        count = max(workers or 1, cores())
        options = {"address": "local", "include_dashboard": False, "num_cpus": count}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(log_to_driver=False, logging_level=logging.CRITICAL, **options)
    except (ConnectionError, ValueError, OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise CatalogueError(
            f"The cluster {address} cannot be reached ({reason.rstrip('.')}): this machine has to "
            "belong to it (`ray start --address ...`) and to have its RAY_AUTH_TOKEN, if it has "
            "one; from elsewhere, ray://HOST:10001 is the address."
        ) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray's own would leave songs half written
    return ray


def _probe(address: str) -> None:
    """Raise CatalogueError at once where nothing listens; Ray would try for minutes."""
    place = urlsplit(address if "://" in address else f"ray://{address}")
    if place.port is None:
        return
    try:
        socket.create_connection((place.hostname or "", place.port), timeout=10).close()
    except OSError as error:
        raise CatalogueError(
            f"The cluster {address} cannot be reached ({error.strerror or error}): start it with "
            "`ray start --head`, or use --cluster local."
        ) from error


@dataclass
class _Busy:
    """An actor and the song that it has; quiet: seconds since the song went on."""

    actor: Any
    song: Assigned
    told: tuple[float, float | None] = (0.0, None)
    quiet: float = 0.0


class _Cluster:
    """The actors, and the answers they owe."""

    def __init__(
        self,
        ray: Any,
        work: Work,
        songs: Assignment,
        workers: int | None,
        place: Place,
        follow: Follow | None,
        patience: float,
    ) -> None:
        self._ray, self._songs, self._workers, self._place = ray, songs, workers, place
        self._follow, self._patience = follow, patience
        self._ask_every = _ASKED_EVERY if follow is None else _TOLD_EVERY
        self._work = ray.put(work)
        self._beginning: dict[Any, Any] = {}
        self._busy: dict[Any, _Busy] = {}
        self._asked: dict[Any, Any] = {}
        self._waiting: Assigned | None = None

    def run(self) -> Iterator[Record]:
        """Keep all actors busy until no song is left."""
        looked = 0.0
        asked = seen = time.monotonic()
        while self._more() or self._busy:
            now = time.monotonic()
            if now - looked > _LOOK and self._more():
                looked = now
                self._grow()
            owed = [*self._beginning, *self._busy]
            if not owed:
                if now - seen > _DESERTED:
                    raise CatalogueError("The cluster has had no machine for a minute.")
                time.sleep(_LOOK)
                continue
            seen = now
            if now - asked > self._ask_every:
                yield from self._give_up(now - asked)
                asked = now
                self._ask()
            timeout = min(_LOOK, self._ask_every)
            ready, _ = self._ray.wait([*owed, *self._asked], timeout=timeout)
            for reference in ready:
                if reference in self._asked:
                    self._hear(reference)
                elif reference in self._beginning:
                    self._began(reference)
                elif reference in self._busy:
                    yield from self._answered(reference)

    def _more(self) -> bool:
        if self._waiting is None:
            self._waiting = self._songs.take()
        return self._waiting is not None

    def _take(self) -> Assigned | None:
        song = self._waiting if self._more() else None
        self._waiting = None
        return song

    def _grow(self) -> None:
        """Start actors on what the cluster has and nobody uses."""
        gpus, cores, wanted = self._devices()
        actor = self._ray.remote(Worker)
        for _ in range(wanted - len(self._beginning) - len(self._busy)):
            options = {"num_gpus": 1} if gpus else {"num_cpus": cores}
            # the second thread answers `told` and `stop` while the first is at work
            options |= {"max_restarts": 0, "max_concurrency": 2}
            started = actor.options(**options).remote(self._work, cores, self._place)
            self._beginning[started.begin.remote()] = started

    def _devices(self) -> tuple[bool, int, int]:
        """Whether actors have GPUs, cores of each, and how many actors there should be."""
        machines = [one["Resources"] for one in self._ray.nodes() if one["Alive"]]
        cpus = [int(one.get("CPU", 0)) for one in machines]
        gpus = sum(int(one.get("GPU", 0)) for one in machines)
        if gpus:
            cores, wanted = max(1, sum(cpus) // gpus), gpus
        else:
            cores = cores_of_each(cpus, self._workers)
            wanted = sum(there // cores for there in cpus)
        return gpus > 0, cores, min(wanted, self._workers or wanted)

    def _began(self, reference: Any) -> None:
        actor = self._beginning.pop(reference)
        try:
            sentence = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            # a machine without this Python or stemwise shows in the last line of what Ray says
            reason = str(error).strip().rpartition("\n")[2].strip()
            self._songs.lost_early(None, replace(self._loss(error), how=reason))
            return  # the next look starts another
        self._songs.began()
        if sentence is not None:
            raise RefusedError(sentence)
        self._give(actor)

    def _give(self, actor: Any) -> None:
        song = self._take()
        if song is None:
            self._ray.kill(actor)
        else:
            self._busy[actor.attempt.remote(song.entry)] = _Busy(actor, song)

    def _answered(self, reference: Any) -> Iterator[Record]:
        busy = self._busy.pop(reference)
        try:
            record = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            failure = self._songs.lost(busy.song, self._loss(error))
            if failure is not None:
                yield failure
            return
        self._give(busy.actor)  # first, so that nobody waits for the ledger
        yield record

    def _ask(self) -> None:
        """Ask every actor how far it is that has no question open."""
        waiting = set(self._asked.values())
        for owed, busy in self._busy.items():
            if owed not in waiting:
                self._asked[busy.actor.told.remote()] = owed

    def _hear(self, reference: Any) -> None:
        owed = self._asked.pop(reference)
        if owed not in self._busy:
            return  # the song has ended meanwhile
        busy = self._busy[owed]
        with suppress(self._ray.exceptions.RayError):  # that it is lost shows in its attempt
            told = self._ray.get(reference)
            if told != busy.told:
                busy.told, busy.quiet = told, 0.0
            if self._follow is not None:
                self._follow(busy.song.entry, *told)

    def _give_up(self, passed: float) -> Iterator[Record]:
        """End actors whose songs do not go on; others take their place."""
        for owed, busy in list(self._busy.items()):
            busy.quiet += min(passed, 2 * self._ask_every)  # a suspended run heard nobody
            if busy.quiet > self._patience + (busy.told[1] or 0.0):
                del self._busy[owed]
                self._ray.kill(busy.actor)
                yield given_up(busy.song, busy.quiet)

    def _loss(self, error: Exception) -> Loss:
        """Ray tells of memory that ran out, and of nothing else why a process ended."""
        memory = isinstance(error, self._ray.exceptions.OutOfMemoryError)
        return Loss(type(error).__name__, "memory" if memory else "unknown")

    def close(self) -> None:
        """End all actors, those that have a song after they have removed what they began."""
        busy = [one.actor for one in self._busy.values()]
        for actor in busy:
            actor.stop.remote()
        if busy:
            self._ray.wait(list(self._busy), num_returns=len(busy), timeout=_GRACE)
        for actor in (*self._beginning.values(), *busy):
            self._ray.kill(actor)


def cores_of_each(machines: Sequence[int], workers: int | None) -> int:
    """Cores for an actor, which must lie in one machine.

    machines: cores of each. workers: as many as fit are given where that many actors shall have
    room; None: two, where a machine has two.
    """
    most = max(machines, default=1)
    if workers is None:
        return min(2, max(1, most))
    return max(
        (n for n in range(1, most + 1) if sum(there // n for there in machines) >= workers),
        default=1,
    )
