"""Prepares a data set: every track decoded once into a store, by any number of processes.

A run that was stopped or killed is continued by the next one; the finished store is the same, byte
for byte, however often that happened and however many processes took part.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import cast

from stemwise.data.away import Away, AwayJob
from stemwise.data.store import Store, open_store
from stemwise.data.store_manifest import (
    MANIFEST,
    TRACKS,
    UNFINISHED,
    Dtype,
    Manifest,
    Origin,
    Settings,
    SourceFile,
    TrackRecord,
    data_bytes,
    dump_manifest,
    parse_manifest,
    read_unfinished,
)
from stemwise.data.store_write import Job, file_digest, fingerprint, write_bytes, write_track
from stemwise.data.track import Track
from stemwise.errors import Cancelled, DataError, OutputError, StemwiseError, hint
from stemwise.stem_output import make_folder


@dataclass(frozen=True)
class Done:
    """A track that is in the store now, or that was skipped.

    kept: it was there already; problem: why it was skipped.
    """

    track: Track | Away
    kept: bool = False
    problem: str | None = None


def prepare(
    tracks: Sequence[Track | Away],
    folder: str | Path,
    *,
    sample_rate: int | None = None,
    channels: int | None = None,
    sources: Sequence[str] | None = None,
    dtype: Dtype = "int16",
    labels: bool = False,
    workers: int = 1,
    origin: Origin | None = None,
    broken: list[str] | None = None,
    skipped: Sequence[str] = (),
    progress: Callable[[Done], None] = lambda done: None,
) -> Store:
    """Write tracks into a store and open it.

    Args:
        tracks: their order is that of the store; those behind URLs are fetched one by one.
        folder: a new or empty folder, or a store that the same call has begun.
        sample_rate: in hertz; None keeps each track's own.
        channels: 1 mixes down, 2 doubles mono; None keeps mono tracks mono, all others stereo.
        sources: stems to keep; None keeps all. Where stems are left out, the mixture is stored.
        dtype: int16 (nothing is clipped: what exceeds full scale gets a larger scale), float16,
            float32.
        labels: compute labels (MedleyDB's activation confidence) for tracks that have none and
            whose stems are the whole mixture.
        workers: processes.
        origin: the data set; with a root, source paths are kept relative to it.
        broken: where to append a sentence for each track that cannot be prepared, and leave it
            out; None raises the first.
        skipped: sentences on tracks that were left out before, for the manifest.
        progress: called in this process with each track that is done.

    Raises DataError for broken tracks, OutputError for a full disk or a folder that is something
    else. The store is valid then, with the tracks that were done, and a new call continues.
    """
    folder, tracks = Path(folder), list(tracks)
    _check(tracks, sources)
    if labels and sources is not None:
        raise DataError("labels are computed from all stems: leave out the sources, or the labels")
    settings = Settings(
        sample_rate=sample_rate,
        channels=channels,
        sources=None if sources is None else tuple(sources),
        dtype=dtype,
        labels=labels,
    )
    origin = origin or Origin()
    root = Path(os.path.abspath(origin.root)) if origin.root else None
    if root is not None:
        origin = origin.model_copy(update={"root": str(root)})
    jobs = [
        Job(track, folder, root, settings)
        if isinstance(track, Track)
        else AwayJob(track, folder, settings)
        for track in tracks
    ]
    make_folder(folder)
    with _locked(folder):
        work = _Work(folder, settings, origin, len(jobs), list(skipped))
        work.run(jobs, workers, broken, progress)
    return open_store(folder)


def _check(tracks: Sequence[Track | Away], sources: Sequence[str] | None) -> None:
    if not tracks:
        raise DataError("there is no track to prepare")
    names: set[str] = set()
    for track in tracks:
        if track.name in names:
            raise DataError(f"two tracks are named '{track.name}': rename one of them")
        names.add(track.name)
        if track.name.encode("utf-8", "replace").decode() != track.name:
            raise DataError(f"the track name {track.name!r} is not valid Unicode: rename its files")
    here = [track for track in tracks if isinstance(track, Track)]
    if len(here) < len(tracks):
        return  # which stems the others have shows when they are here
    known = sorted({source for track in here for source in track.stems})
    for source in sources or ():
        if source not in known:
            raise DataError(f"no track has a stem '{source}': {hint(source, known)}")


class _Work:
    """One run of preparation in one folder."""

    def __init__(
        self, folder: Path, settings: Settings, origin: Origin, expected: int, skipped: list[str]
    ) -> None:
        self._folder, self._settings, self._origin = folder, settings, origin
        self._expected, self._skipped = expected, skipped
        self._records = {record.name: record for record in self._found()}

    def run(
        self,
        jobs: Sequence[Job | AwayJob],
        workers: int,
        broken: list[str] | None,
        progress: Callable[[Done], None],
    ) -> None:
        """Write what is missing, then the manifest."""
        self._remove_leftovers()
        kept = {
            job.track.name: record
            for job in jobs
            if (record := self._records.get(job.track.name)) is not None and is_fresh(record, job)
        }
        missing = [job for job in jobs if job.track.name not in kept]
        self._records = kept
        if missing:
            # from here on the store says of itself that it is not finished
            self._write_manifest(complete=False)
            for name in (TRACKS, UNFINISHED):
                make_folder(self._folder / name)
        for job in jobs:
            if job.track.name in kept:
                progress(Done(job.track, kept=True))
        try:
            for done, record in _written(missing, workers, skip=broken is not None):
                if record is not None:
                    self._records[record.name] = record
                elif broken is not None and done.problem is not None:
                    broken.append(done.problem)
                    self._skipped.append(done.problem)
                progress(done)
        except BaseException:
            # records of their own hold what this manifest cannot where the disk is full
            with suppress(OutputError):
                self._write_manifest(complete=False)
            raise
        if not self._records:
            raise DataError(f"no track could be prepared: {self._skipped[0]}")
        order = {job.track.name: at for at, job in enumerate(jobs)}
        self._skipped.sort()
        self._write_manifest(complete=True, order=order)
        self._remove_leftovers()
        shutil.rmtree(self._folder / UNFINISHED, ignore_errors=True)

    def _found(self) -> list[TrackRecord]:
        """Records of earlier runs; OutputError where this folder is not theirs to continue."""
        path = self._folder / MANIFEST
        if not path.exists():
            names = sorted(one.name for one in self._folder.iterdir())
            strange = [name for name in names if not name.startswith(f".{MANIFEST}")]
            if strange:
                raise OutputError(
                    f"{self._folder} holds other files ({strange[0]} ...): choose a new or empty "
                    "folder for the store"
                )
            return []
        manifest = parse_manifest(path.read_bytes(), str(path))
        before = {**manifest.settings.model_dump(), **manifest.origin.model_dump()}
        now = {**self._settings.model_dump(), **self._origin.model_dump()}
        for name, value in now.items():
            if before[name] != value and name != "root":
                raise OutputError(
                    f"{self._folder} was prepared with {name.replace('_', ' ')} "
                    f"{_shown(before[name])}, not {_shown(value)}: choose another folder, or the "
                    "same options"
                )
        return [*manifest.tracks, *read_unfinished(self._folder)]

    def _write_manifest(self, *, complete: bool, order: dict[str, int] | None = None) -> None:
        place = order or {}
        records = sorted(self._records.values(), key=lambda one: (place.get(one.name, 0), one.name))
        manifest = Manifest(
            complete=complete,
            expected=self._expected - len(self._skipped) if complete else self._expected,
            settings=self._settings,
            origin=self._origin,
            skipped=tuple(self._skipped) if complete else (),
            tracks=tuple(records),
        )
        write_bytes(self._folder / MANIFEST, dump_manifest(manifest))

    def _remove_leftovers(self) -> None:
        """Remove what killed runs left behind, and data files that no record speaks of."""
        known = {record.file for record in self._records.values()}
        for path in (*self._folder.glob(".*.part"), *self._folder.glob(f"{UNFINISHED}/.*.part")):
            path.unlink(missing_ok=True)
        for path in (self._folder / TRACKS).glob("*"):
            if f"{TRACKS}/{path.name}" not in known and path.suffix in (".pcm", ".part"):
                path.unlink(missing_ok=True)


def is_fresh(record: TrackRecord, job: Job | AwayJob) -> bool:
    """Whether a record is what the job would write: same parts, whole file, unchanged sources."""
    if isinstance(job, AwayJob):
        return job.is_fresh(record)
    described = [(one.name, one.parts) for one in record.signals]
    if described != job.described() or record.split != job.track.split:
        return False
    if (record.samples, record.sample_rate) != (job.samples, job.sample_rate):
        return False
    if [one.path for one in record.sources] != [job.relative(path) for path in job.files]:
        return False
    data = job.folder / record.file
    if not data.is_file() or data.stat().st_size != data_bytes(record, job.settings.dtype):
        return False
    pairs = zip(record.sources, job.files, strict=True)
    return all(is_unchanged(source, path) for source, path in pairs)


def is_unchanged(source: SourceFile, path: Path) -> bool:
    """Whether a source file is what it was: by size and time, or where the time differs by hash."""
    try:
        size, mtime = fingerprint(path)
        if size != source.bytes:
            return False
        return mtime == source.mtime_ns or file_digest(path) == source.sha256
    except DataError:
        return False


def _shown(value: object) -> str:
    if value is None:
        return "not set"
    return ",".join(value) if isinstance(value, (tuple, list)) else str(value)


def _written(
    jobs: Sequence[Job | AwayJob], workers: int, *, skip: bool
) -> Iterator[tuple[Done, TrackRecord | None]]:
    """Write every job; with `skip`, tracks that are broken come with their problem."""
    if not jobs:
        return
    if min(workers, len(jobs)) <= 1:
        for job in jobs:
            try:
                yield Done(job.track), _write(job, lambda: None)
            except DataError as error:
                if not skip:
                    raise
                yield Done(job.track, problem=_named(job, error)), None
        return
    # spawned: threads of this process would leave their locks to forked ones
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with ProcessPoolExecutor(
        min(workers, len(jobs)), mp_context=context, initializer=_begin, initargs=(stop,)
    ) as pool:
        try:
            pending = {pool.submit(_in_worker, job): job for job in jobs}
            while pending:
                # waking up now and then lets Ctrl-C through on every system
                finished, _ = wait(pending, timeout=0.2, return_when="FIRST_COMPLETED")
                for future in finished:
                    job = pending.pop(future)
                    try:
                        yield Done(job.track), future.result()
                    except DataError as error:
                        if not skip:
                            raise
                        yield Done(job.track, problem=_named(job, error)), None
        except BrokenProcessPool as error:
            raise StemwiseError(
                "a process that was preparing tracks ended, perhaps for lack of memory: run the "
                "same command again with fewer --workers, it continues"
            ) from error
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _write(
    job: Job | AwayJob, check: Callable[[], None], stop: threading.Event | None = None
) -> TrackRecord:
    return write_track(job, check) if isinstance(job, Job) else job.write(check, stop)


def _named(job: Job | AwayJob, error: DataError) -> str:
    text = str(error)
    places = job.files if isinstance(job, Job) else [job.track.base]
    known = any(str(place) in text for place in places) or job.track.name in text
    return text if known else f"{job.track.name}: {text}"


_stop: Event | None = None


def _begin(stop: Event) -> None:
    """Set up a worker: Ctrl-C is the parent's to handle, and when it is killed the worker ends."""
    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def follow(sentinel: int = parent.sentinel) -> None:
            multiprocessing.connection.wait([sentinel])
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()


def _in_worker(job: Job | AwayJob) -> TrackRecord:
    def check() -> None:
        if _stop is not None and _stop.is_set():
            raise Cancelled(f"{job.track.name} was stopped")

    # an event of processes has all that is asked of one of threads
    return _write(job, check, cast("threading.Event | None", _stop))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep a second preparation out of the folder; systems without flock go without."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputError(
                f"{folder} is being prepared by another process: wait for its end"
            ) from error
        yield
    finally:
        os.close(handle)
