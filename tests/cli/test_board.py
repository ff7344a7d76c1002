"""The bars of a run: one for each song being worked on, and one for all of them."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from stemwise.cli import batch
from stemwise.cli.batch import Board


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which stands still unless a test moves it."""
    now = [100.0]
    monkeypatch.setattr(batch, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_a_bar_of_all_songs_counts_them_and_their_speed(
    monkeypatch: pytest.MonkeyPatch, clock: list[float]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Board(True) as board:
        assert board.shown
        advance = board.whole(3)
        progress, finish = board.follow("a")
        assert board._bars is not None
        whole, one = board._bars.tasks
        progress(5.0, 20.0)
        assert (one.description, one.percentage) == ("a", 25)
        clock[0] += 4
        finish()
        advance(20.0)
        assert (whole.description, whole.completed) == ("1 of 3 songs", 1)
        assert whole.fields["realtime"] == 5
        advance(0.0)  # one that failed
        assert (whole.description, whole.completed) == ("2 of 3 songs", 2)
        assert [task.description for task in board._bars.tasks] == ["2 of 3 songs"]


def test_no_bar_where_nobody_looks() -> None:
    with Board(True) as board:
        assert not board.shown
        board.whole(3)(1.0)
        board.follow("a")[0](1.0, 2.0)
