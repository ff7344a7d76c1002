"""Times and levels as people read them."""

from __future__ import annotations

import pytest

from stemwise.report.words import channel_count, clock, megabytes, number, percent


@pytest.mark.parametrize(
    ("seconds", "exact", "text"),
    [
        (0, False, "0:00"),
        (59.6, False, "0:59"),
        (61, False, "1:01"),
        (3661, False, "1:01:01"),
        (59.999, True, "1:00.00"),
        (1.5, True, "0:01.50"),
        (3600.25, True, "1:00:00.25"),
    ],
)
def test_clock(seconds: float, exact: bool, text: str) -> None:
    assert clock(seconds, exact=exact) == text


def test_numbers() -> None:
    assert number(-6.02) == "−6.0"
    assert number(-0.0004) == "0.0"
    assert number(None) == "–"
    assert [percent(share) for share in (0, 0.004, 0.006, 0.5, 1)] == ["0", "<1", "1", "50", "100"]
    assert [megabytes(size) for size in (1, 4321, 12_345_678)] == ["1 kB", "4 kB", "12.3 MB"]
    assert [channel_count(count) for count in (1, 2, 6)] == ["mono", "stereo", "6 channels"]
