"""The ledger keeps what is sure, whatever kills the run that writes it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stemwise.catalogue.ledger import Ledger
from stemwise.catalogue.work import Record
from stemwise.errors import CatalogueError

TERMS = {"command": "separate", "model": "band", "gate": "off", "stems": ("vocals",)}
WRITER = """
import sys
from pathlib import Path
from stemwise.catalogue.ledger import Ledger
from stemwise.catalogue.work import Record
with Ledger(Path(sys.argv[1]), {}) as ledger:
    for number in range(10 ** 9):
        ledger.add(Record(f"song{number}", "done"))
        print(number, flush=True)
"""


def states(folder: Path, *ids: str) -> list[str | None]:
    with Ledger(folder, TERMS) as ledger:
        return [ledger.state(id) for id in ids]


def test_what_was_added_is_found_again(tmp_path: Path) -> None:
    with Ledger(tmp_path / "run", TERMS) as ledger:
        ledger.add(Record("a", "done", facts={"seconds": 1.5}))
        ledger.add(Record("Ü/b", "failed", "It is broken."))
    assert states(tmp_path / "run", "a", "Ü/b", "c") == ["done", "failed", None]
    with Ledger(tmp_path / "run", TERMS) as ledger:
        ledger.add(Record("Ü/b", "done"))
    assert states(tmp_path / "run", "Ü/b") == ["done"], "the last line counts"
    lines = [json.loads(line) for line in (tmp_path / "run" / "ledger.jsonl").open()]
    assert [line.get("id") for line in lines] == [None, "a", "Ü/b", "Ü/b"]
    assert lines[2]["sentence"] == "It is broken."


@pytest.mark.parametrize("torn", [1, 10, 40])
def test_a_torn_last_line_is_as_if_it_were_not_there(tmp_path: Path, torn: int) -> None:
    with Ledger(tmp_path, TERMS) as ledger:
        for name in "ab":
            ledger.add(Record(name, "done"))
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(path.read_bytes()[:-torn])
    assert states(tmp_path, "a", "b") == ["done", None]
    with Ledger(tmp_path, TERMS) as ledger:
        ledger.add(Record("c", "done"))
    assert states(tmp_path, "a", "b", "c") == ["done", None, "done"]


def test_a_torn_first_line_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_bytes(b'{"ledger": 1, "ter')
    assert states(tmp_path, "a") == [None]


def test_damage_elsewhere_is_named(tmp_path: Path) -> None:
    with Ledger(tmp_path, TERMS) as ledger:
        for name in "ab":
            ledger.add(Record(name, "done"))
    lines = (tmp_path / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "ledger.jsonl").write_bytes(lines[0] + b"{]\n" + lines[2])
    with pytest.raises(CatalogueError, match="line 2 is damaged"):
        states(tmp_path, "a")


def test_other_terms_are_refused(tmp_path: Path) -> None:
    with Ledger(tmp_path, TERMS):
        pass
    with (
        pytest.raises(CatalogueError, match='with model "band", not "umxl": choose'),
        Ledger(tmp_path, {**TERMS, "model": "umxl"}),
    ):
        pass
    with (
        pytest.raises(CatalogueError, match=r"with gate \"off\", not left out"),
        Ledger(tmp_path, {key: value for key, value in TERMS.items() if key != "gate"}),
    ):
        pass
    assert states(tmp_path, "a") == [None], "and the lock is free again"


def test_two_runs_on_one_directory_are_refused(tmp_path: Path) -> None:
    with (
        Ledger(tmp_path, TERMS),
        pytest.raises(CatalogueError, match="Another run is at work"),
        Ledger(tmp_path, TERMS),
    ):
        pass


def test_a_killed_writer_loses_nothing_that_it_said_was_done(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    for line in writer.stdout:
        if int(line) == 20:
            writer.send_signal(signal.SIGKILL)
            break
    said = [20, *(int(line) for line in writer.stdout if line.endswith("\n"))]
    writer.wait()
    with Ledger(tmp_path, {}) as ledger:  # its lock ended with it
        assert all(ledger.state(f"song{number}") == "done" for number in range(said[-1] + 1))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    with Ledger(tmp_path, TERMS) as ledger:
        keep = os.dup(ledger._file)
        with open("/dev/full", "wb") as full:
            os.dup2(full.fileno(), ledger._file)
            with pytest.raises(CatalogueError, match="free some space"):
                ledger.add(Record("a", "done"))
        os.dup2(keep, ledger._file)
        os.close(keep)
        assert ledger.state("a") is None
