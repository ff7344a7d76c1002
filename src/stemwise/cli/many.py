"""Runs over many songs: a ledger of what was done, and processes that do the rest."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stemwise.cli.batch import Board, Failure, print_json

if TYPE_CHECKING:
    from stemwise.catalogue.entries import Entry
    from stemwise.catalogue.run import Summary
    from stemwise.catalogue.work import Facts, Record, Work

Run = Annotated[
    Path | None,
    typer.Option(
        "--run",
        metavar="DIR",
        help="Folder of the ledger, in which what is done is noted [the output folder].",
    ),
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Try songs again that failed in an earlier run.")
]


Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="ADDRESS",
        help="Ray cluster that does the work: an address, auto, or local for one of this machine.",
    ),
]


Memory = Annotated[
    float | None,
    typer.Option(
        "--memory",
        metavar="GB",
        min=0.1,
        help="A song whose process takes more fails [its share, where the machine's runs out].",
    ),
]


@dataclass(frozen=True)
class RunOptions:
    """How a run is run: its ledger's folder, who does the work, and what becomes of failures.

    memory: gigabytes that the process of a song may hold.
    """

    directory: Path | None
    retry_failed: bool
    cluster: str | None
    jobs: int | None
    memory: float | None

    def __post_init__(self) -> None:
        if self.memory is not None and self.cluster is not None:
            raise typer.BadParameter(
                "--memory is for this machine: Ray watches those of --cluster."
            )

    @property
    def asked(self) -> bool:
        """Whether an option was given that only runs have."""
        own = (self.directory, self.cluster, self.memory)
        return self.retry_failed or any(one is not None for one in own)


def wants_ledger(songs: Sequence[str], out: str, options: RunOptions) -> bool:
    """Whether a command is a run: over what holds many songs, or to a URL, or asked to be one."""
    from stemwise.catalogue.entries import is_many
    from stemwise.catalogue.storage import is_url

    if is_url(out) and options.directory is None:
        raise typer.BadParameter("results that go to a URL need --run DIR, for the ledger.")
    return options.asked or any(is_many(song) for song in songs)


def run_many(
    entries: Sequence[Entry],
    work: Work,
    out: str,
    options: RunOptions,
    board: Board,
    done: Callable[[Facts], None],
    failed: Callable[[Failure], None],
    json: bool,
    whole: Callable[[Iterator[Record]], None] = lambda records: None,
) -> None:
    """Do what the ledger lacks and sum up; exits with 1 if songs failed.

    whole: called at the end with what became of every song of the ledger.
    """
    from stemwise.catalogue import run as catalogue
    from stemwise.catalogue.cluster import LOCAL, run_cluster
    from stemwise.catalogue.entries import largest_first
    from stemwise.catalogue.ledger import Ledger
    from stemwise.catalogue.memory import GIGABYTE
    from stemwise.catalogue.pool import run_pool
    from stemwise.catalogue.storage import is_url
    from stemwise.stem_output import make_folder

    directory = options.directory or Path(out)
    parts = (directory if is_url(out) else Path(out)).absolute() / f".parts-{_digest(directory)}"
    sources = {entry.id: entry.shown for entry in entries}
    bars: dict[str, tuple[Callable[[float, float | None], None], Callable[[], None]]] = {}
    advance = board.whole(0)  # replaced when it is known how many songs are missing

    def follow(entry: Entry, seconds: float, total: float | None) -> None:
        if entry.id not in bars:
            bars[entry.id] = board.follow(entry.id)
        bars[entry.id][0](seconds, total)

    def tell(record: Record) -> None:
        bars.pop(record.id, (None, lambda: None))[1]()
        advance(record.facts.get("duration", 0.0))
        if record.sentence is None:
            done(record.facts)
        else:
            failed(Failure(sources[record.id], record.sentence))

    def execute(missing: Sequence[Entry]) -> Iterator[Record]:
        nonlocal advance
        advance = board.whole(len(missing))
        if options.cluster is not None or (options.jobs or 1) > 1:
            missing = largest_first(missing)
        if options.cluster is None:
            memory = None if options.memory is None else round(options.memory * GIGABYTE)
            jobs = options.jobs or 1
            return run_pool(work, missing, jobs, follow, memory=memory, temporary=parts)
        apart = work.staged(parts) is work or is_url(out)  # then machines need not share a folder
        shared = None if apart and options.cluster != LOCAL else parts
        shown = follow if board.shown else None
        return run_cluster(work, missing, options.cluster, options.jobs, shared, shown)

    with ExitStack() as stack:
        ledger = stack.enter_context(Ledger(directory, work.terms()))
        shutil.rmtree(parts, ignore_errors=True)  # what a killed run left
        make_folder(parts)  # here, as the songs take away what they make and have no use for
        stack.callback(shutil.rmtree, parts, ignore_errors=True)
        if not is_url(out):
            work = work.staged(parts)
        summary = catalogue.run(
            entries,
            execute,
            ledger,
            retry_failed=options.retry_failed,
            tell=tell,
        )
        whole(ledger.records())
    if json:
        print_json({"summary": summary.to_json()})
    elif not (board.quiet and summary.complete):
        board.print(_sentence(summary, ledger.path), err=True)
    if not summary.complete:
        raise typer.Exit(1)


def _digest(directory: Path) -> str:
    """Tells runs apart that write into the same folder."""
    return hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:8]


def _sentence(summary: Summary, ledger: Path) -> str:
    parts = [f"{summary.done} {'song' if summary.done == 1 else 'songs'} done"]
    if summary.already:
        parts.append(f"{summary.already} were done before")
    if summary.failures:
        parts.append(f"{len(summary.failures)} failed")
    if summary.left_failed:
        parts.append(f"{summary.left_failed} had failed before (--retry-failed tries them again)")
    return f"{', '.join(parts)}; see {ledger}"
