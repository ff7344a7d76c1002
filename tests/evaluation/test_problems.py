"""Which sources are scored together."""

from __future__ import annotations

import pytest

from stemwise.errors import EvaluationError
from stemwise.evaluation.problems import choose_problems, files_of, in_order, summands

FOUR = ("vocals", "drums", "bass", "other")
TWO = ("vocals", "accompaniment")


def names(*arguments: object, **more: object) -> list[tuple[str, tuple[str, ...]]]:
    problems = choose_problems(*arguments, **more)  # type: ignore[arg-type]
    return [(one.name, one.reported) for one in problems]


def test_four_stems_are_one_problem() -> None:
    assert names(FOUR, FOUR) == [("vocals+drums+bass+other", FOUR)]


def test_museval_takes_vocals_from_two_sources_where_the_accompaniment_is_given() -> None:
    assert names(FOUR, (*FOUR, "accompaniment")) == [
        ("vocals+drums+bass+other", ("drums", "bass", "other")),
        ("vocals+accompaniment", TWO),
    ]


def test_vocals_and_accompaniment_against_four_stems() -> None:
    assert names(FOUR, TWO) == [("vocals+accompaniment", TWO)]
    assert names(TWO, FOUR) == [("vocals+accompaniment", TWO)]
    assert names(TWO, TWO) == [("vocals+accompaniment", TWO)]


def test_asked_for() -> None:
    given = (*FOUR, "accompaniment")
    assert names(FOUR, given, "stems") == [("vocals+drums+bass+other", FOUR)]
    assert names(FOUR, FOUR, "accompaniment") == [("vocals+accompaniment", TWO)]
    assert names(FOUR, FOUR, "both") == [
        ("vocals+drums+bass+other", FOUR),
        ("vocals+accompaniment", TWO),
    ]
    assert names(FOUR, ("vocals", "bass"), sources=("bass", "vocals")) == [
        ("vocals+bass", ("vocals", "bass"))
    ]
    assert names(FOUR, FOUR, sources=TWO) == [("vocals+accompaniment", TWO)]
    assert names(("piano", "guitar"), ("guitar", "piano", "drums")) == [
        ("guitar+piano", ("guitar", "piano"))
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((FOUR, ("vocals", "drums")), "no estimate of bass, other.*--sources vocals,drums"),
        ((FOUR, FOUR, "stmes"), "no problem 'stmes': did you mean 'stems'"),
        ((FOUR, FOUR, "auto", ("vocal",)), "no vocal: did you mean 'vocals'"),
        ((FOUR, ("vocals", "drums"), "accompaniment"), "bass, other is missing"),
        ((("drums", "bass"), ("drums", "bass"), "accompaniment"), "no reference of vocals"),
        ((FOUR, ("drums", "bass", "other"), "accompaniment"), "no estimate of vocals"),
        ((("vocals",), ("vocals",), "accompaniment"), "what is not vocals is missing"),
    ],
)
def test_what_is_missing_is_named(arguments: tuple[object, ...], sentence: str) -> None:
    with pytest.raises(EvaluationError, match=sentence):
        choose_problems(*arguments)  # type: ignore[arg-type]


def test_the_accompaniment_is_summed_up_from_what_the_reference_has() -> None:
    [problem] = choose_problems(FOUR, FOUR, "accompaniment")
    files = {name: (name,) for name in (*FOUR, "speech")}  # type: ignore[misc]
    found = files_of(problem, files, FOUR)  # type: ignore[arg-type]
    assert found == {"vocals": ("vocals",), "accompaniment": ("drums", "bass", "other")}
    assert summands("accompaniment", TWO, FOUR) == ["accompaniment"]
    assert summands("accompaniment", FOUR, TWO) == ["drums", "bass", "other"]


def test_order() -> None:
    assert in_order({"zither", "other", "accompaniment", "banjo", "vocals"}) == [
        "vocals", "other", "accompaniment", "banjo", "zither",
    ]  # fmt: skip
