"""Names that clients give: harmless as text, in headers and in archives, and never in paths."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemwise.studio.folders import Folders
from stemwise.studio.names import (
    LONGEST,
    attachment,
    display_name,
    file_name,
    is_id,
    is_stem_name,
    new_id,
    title,
)


@pytest.mark.parametrize(
    ("given_name", "shown"),
    [
        ("song.mp3", "song.mp3"),
        ("../../etc/passwd", "passwd"),
        ("C:\\music\\tune.wav", "tune.wav"),
        ("a\x00b\r\nc\x1b[2J.wav", "abc[2J.wav"),
        ("Bj\u00f6rk \u2013 \u4eba\u9593.flac", "Bj\u00f6rk \u2013 \u4eba\u9593.flac"),
        ("Bjo\u0308rk", "Bj\u00f6rk"),
        ("gpj.\u202egnp.mp3", "gpj.gnp.mp3"),
        ("  two   spaces ", "two spaces"),
        ("\U0001f468\u200d\U0001f3a4.mp3", "\U0001f468\u200d\U0001f3a4.mp3"),
        ("", "song"),
        ("..", "song"),
        ("/", "song"),
        ("x" * 5000, "x" * LONGEST),
    ],
)
def test_display_name(given_name: str, shown: str) -> None:
    assert display_name(given_name) == shown


@given(st.text())
def test_display_names_hold_nothing_that_hides(text: str) -> None:
    shown = display_name(text)
    assert shown
    assert shown.strip(". ")
    assert len(shown) <= LONGEST
    assert not re.search(r"[\x00-\x1f\x7f-\x9f/\\\u202a-\u202e\u2066-\u2069\u2028\u2029]", shown)
    assert display_name(shown) == shown


@given(st.text())
def test_file_names_fit_every_system(text: str) -> None:
    name = file_name(text)
    assert name
    assert len(name.encode()) <= 181
    assert not re.search(r'[<>:"/\\|?*\x00-\x1f]', name)
    assert name[-1] not in ". "
    assert name.partition(".")[0].lower() not in ("con", "nul", "com1", "aux")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_header_holds_one_line_and_the_whole_name(text: str) -> None:
    header = attachment(text)
    header.encode("ascii")
    assert not re.search(r"[\r\n]", header)
    plain = re.fullmatch(r"attachment; filename=\"([^\"\\]+)\"; filename\*=UTF-8''(\S*)", header)
    assert plain is not None
    assert unquote(plain[2]) == text


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("a.mp3", "a"),
        ("A.B.FLAC", "A.B"),
        ("Mr. Smith", "Mr. Smith"),
        ("set.stem.mp4", "set"),
        (".wav", ".wav"),
    ],
)
def test_title(name: str, without: str) -> None:
    assert title(name) == without


def test_ids_are_long_random_and_nothing_else(tmp_path: Path) -> None:
    made = {new_id() for _ in range(200)}
    assert len(made) == 200
    assert all(is_id(one) for one in made)
    folders = Folders(tmp_path)
    for bad in ("", "..", "a" * 21, "a" * 23, "../" + "a" * 19, "a" * 21 + "\n", "é" * 22):
        assert not is_id(bad)
        with pytest.raises(ValueError, match="no id"):
            folders.job(bad)


@pytest.mark.parametrize("name", ["vocals", "lead vocals", "drums_2"])
def test_stem_names(name: str) -> None:
    assert is_stem_name(name)


@pytest.mark.parametrize(
    "name", ["", "mixture", "Activity", "../x", "a/b", ".x", "x.", "con", "a\n", "x" * 65]
)
def test_names_that_no_stem_may_have(name: str) -> None:
    assert not is_stem_name(name)
