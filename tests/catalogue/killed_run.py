"""A run over many songs with a light work, to be killed: `killed_run.py FOLDER [OPTION ...]`.

Options: a kill of the work (POINT-WHOM, or POINT-WHOM-SIGNAL), of the ledger ("torn-line",
"before-line", "after-line"), or in the first half second ("early-driver", "early-all"); "retry";
"cluster" for actors of Ray; "slow" for songs that take ten times as long; "elsewhere" for a ledger
that is not in the output folder.
SIGTERM stops it as it does the command.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from works import POINTS, BlockWork, Kill

from stemwise.catalogue.entries import Entry
from stemwise.catalogue.ledger import Ledger
from stemwise.catalogue.work import Record
from stemwise.cli.batch import Board, Failure
from stemwise.cli.many import RunOptions, run_many

SONGS = 60
STOPPED = 130
_LINES = 3
"""Songs that are noted before a kill of the ledger."""


def kill_at_line(instant: str) -> None:
    """Have the process killed at an instant of the ledger's next lines."""
    add, write, lines = Ledger.add, os.write, 0

    def torn(handle: int, data: Any) -> int:
        write(handle, bytes(data)[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    def counted(ledger: Ledger, record: Record) -> None:
        nonlocal lines
        lines += 1
        if lines > _LINES and instant == "before-line":
            os.kill(os.getpid(), signal.SIGKILL)
        if lines > _LINES and instant == "torn-line":
            os.write = torn  # type: ignore[assignment]
        add(ledger, record)
        if lines > _LINES:
            os.kill(os.getpid(), signal.SIGKILL)

    Ledger.add = counted  # type: ignore[method-assign]


def main() -> None:
    """Run; the exit status is that of the command."""
    folder, options = Path(sys.argv[1]), sys.argv[2:]
    kills = []
    for one in options:
        point, *how = one.split("-")
        if one.endswith("-line"):
            kill_at_line(one)
        elif point == "early":
            kill = Kill(point, *how).strike
            threading.Timer(random.uniform(0, 0.5), kill, (0, os.getpid())).start()
        elif point in POINTS or point.isdigit():
            kills.append(Kill(point, *how))
    entries = [Entry(f"album{index % 3}/song{index}", f"{index}") for index in range(SONGS)]
    pause = 0.02 if "slow" in options else 0.002
    work = BlockWork(folder / "out", folder / "trace", tuple(kills), pause)
    cluster = "local" if "cluster" in options else None
    directory = folder / "elsewhere" if "elsewhere" in options else None
    running = RunOptions(directory, "retry" in options, cluster, 2, None)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    def tell(failure: Failure) -> None:
        print(failure.sentence, file=sys.stderr)

    out = str(folder / "out")
    try:
        with Board(False) as board:
            run_many(entries, work, out, running, board, lambda facts: None, tell, False)
    except KeyboardInterrupt:
        sys.exit(STOPPED)


if __name__ == "__main__":
    main()
