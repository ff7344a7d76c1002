"""A run: the songs that are still to be done, done, and written into the ledger one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from stemwise.catalogue.entries import Entry, refuse_same_ids
from stemwise.catalogue.ledger import Ledger
from stemwise.catalogue.work import Record

Execute = Callable[[Sequence[Entry]], Iterator[Record]]
"""Does songs and says what became of each, in any order; closing the iterator stops the work."""


@dataclass
class Summary:
    """What a run did: songs done now, failed now, and left alone as an earlier run did them.

    left_failed: songs that failed in an earlier run and were not tried again.
    """

    done: int = 0
    already: int = 0
    left_failed: int = 0
    failures: list[Record] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether every song is done."""
        return not self.failures and not self.left_failed

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "done": self.done,
            "already": self.already,
            "failed": len(self.failures),
            "left_failed": self.left_failed,
            "failures": {record.id: record.sentence for record in self.failures},
        }


def run(
    entries: Sequence[Entry],
    execute: Execute,
    ledger: Ledger,
    *,
    retry_failed: bool = False,
    tell: Callable[[Record], None] = lambda record: None,
) -> Summary:
    """Do what the ledger says is missing.

    retry_failed: also the songs that failed before. tell: called with what became of each song,
    after it is in the ledger. Raises CatalogueError for two songs of one id, and what `execute`
    raises; songs that were done by then are in the ledger.
    """
    refuse_same_ids(entries)
    summary = Summary()

    def missing() -> Iterator[Entry]:
        for entry in entries:
            state = ledger.state(entry.id)
            if state == "done":
                summary.already += 1
            elif state == "failed" and not retry_failed:
                summary.left_failed += 1
            else:
                yield entry

    # what is missing is settled first: a song that fails now is not tried again in this run
    with closing(execute(list(missing()))) as records:  # type: ignore[type-var]
        for record in records:
            ledger.add(record)
            if record.state == "done":
                summary.done += 1
            else:
                summary.failures.append(record)
            tell(record)
    return summary
