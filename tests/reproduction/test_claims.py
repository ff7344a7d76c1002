"""Claims on hand-made tables, and on the published numbers themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from stemwise.reproduction.claims import CLAIMS, Claim, claims, described
from stemwise.reproduction.published import tables
from stemwise.reproduction.results import Difference

Table = Mapping[tuple[str, str], float]


class Made:
    """A table of numbers by row and column."""

    def __init__(self, numbers: Table) -> None:
        self.numbers = numbers

    def number(self, row: str, column: str) -> float | None:
        return self.numbers.get((row, column))

    def difference(self, first: str, second: str, column: str) -> Difference:
        return self._less((first, column), (second, column), (first, second, column))

    def between(self, row: str, first: str, second: str) -> Difference:
        return self._less((row, first), (row, second), (first, second, row))

    def _less(
        self, one: tuple[str, str], other: tuple[str, str], names: tuple[str, str, str]
    ) -> Difference:
        values = self.numbers.get(one), self.numbers.get(other)
        found = None if None in values else values[0] - values[1]  # type: ignore[operator]
        return Difference(*names, found, math.nan, 0, "Wilcoxon")


def _claim(start: str) -> Claim:
    [found] = [one for one in CLAIMS if one.text.startswith(start)]
    return found


def _published(name: str) -> Made:
    """A table as printed, with the rows of others that its claims compare with."""
    more = {"doire2019-3": "doire2019-2"}.get(name)
    numbers: dict[tuple[str, str], float] = {}
    for one in (name, more):
        for row, cells in tables()[one].rows.items() if one else ():
            numbers |= {(row, c): v for c, v in cells.items() if isinstance(v, float)}
    if name == "kadandale2020-4":
        for row in ("dedicated", "c-u-net"):
            value = tables()["kadandale2020-3"].value(row, "overall")
            assert isinstance(value, float)
            numbers[row, "SDR median"] = value
    return Made(numbers)


@pytest.mark.parametrize(
    "name",
    ["stoller2018-1", "doire2019-2", "doire2019-3", "kadandale2020-2", "kadandale2020-4"],
)
def test_the_papers_own_numbers_bear_out_their_claims(name: str) -> None:
    verdicts = {claim.text: claim.judge(_published(name)) for claim in claims(name)}
    assert {text: one.held for text, one in verdicts.items()} == dict.fromkeys(verdicts, True)


def test_the_published_instrument_table_bears_out_its_claims() -> None:
    table = _published("hung2020-4")
    # with the means that the printed values have, not the exchanged ones
    for row, column, _, mean in tables()["hung2020-4"].recomputed_means():
        table.numbers = {**table.numbers, (row, column): mean}
    assert [claim.judge(table).held for claim in claims("hung2020-4")] == [True, True]


ERRORS = {("svs", "mse"): 0.020, ("mtl", "mse"): 0.0188}


@pytest.mark.parametrize(
    ("mtl", "held"), [(0.0188, True), (0.0170, True), (0.0198, False), (0.0210, False)]
)
def test_the_error_must_fall_by_about_what_is_claimed(mtl: float, held: bool) -> None:
    verdict = _claim("mtl lowers the MSE").judge(Made({**ERRORS, ("mtl", "mse"): mtl}))
    assert verdict.held is held
    assert f"{mtl / 0.02 - 1:+.1%}" in verdict.because


def test_a_claim_without_its_numbers_is_not_testable() -> None:
    verdict = _claim("mtl lowers the MSE").judge(Made({("svs", "mse"): 0.02}))
    assert verdict.word == "not testable"
    assert verdict.because == "mtl against svs, mse was not measured"
    assert _claim("batch 1 with 32").judge(Made({})).word == "not testable"
    assert _claim("the median filter").judge(Made({})).word == "not testable"


def test_quieter_silence_does_not_count_where_sdr_is_lost() -> None:
    table = {
        ("svs", "vocals_rms_nonvocal"): 0.02,
        ("mtl", "vocals_rms_nonvocal"): 0.01,
        ("svs", "vocals_sdr"): 3.0,
        ("mtl", "vocals_sdr"): 2.8,
        ("svs", "acc_sdr"): 7.0,
        ("mtl", "acc_sdr"): 7.1,
    }
    claim = _claim("mtl lowers the vocal RMS")
    assert claim.judge(Made(table)).held
    assert not claim.judge(Made({**table, ("mtl", "vocals_sdr"): 1.0})).held
    seconds = {
        (row, column.replace("nonvocal", "silent_seconds")): value
        for (row, column), value in table.items()
    }
    assert claim.judge(Made(seconds)).held


@pytest.mark.parametrize(("row", "better"), [("dsd100-only", False), ("more-sets", True)])
def test_replacement_is_judged_as_each_set_up_was(row: str, better: bool) -> None:
    claim = _claim(row)
    name = claim.text.partition(":")[0]
    lower = Made({(name, "with"): 0.01, (name, "without"): 0.02})
    assert claim.judge(lower).held is better


def test_gates_are_judged_over_the_targets_that_there_are() -> None:
    claim = _claim("the median filter")
    table = {("vocals", "median"): 0.4, ("vocals", "oracle"): 0.9}
    assert claim.judge(Made(table)).held
    worse = {("drums", "median"): 0.4, ("drums", "oracle"): 0.3}
    assert not claim.judge(Made({**table, **worse})).held


def test_a_comparison_tells_its_chance() -> None:
    one = Difference("mtl", "svs", "mse", -0.001, 0.03, 12, "Wilcoxon")
    assert described(one) == "mtl against svs, mse: -0.001 (p = 0.03*, 12 songs)"
    few = Difference("mtl", "svs", "sdr", 0.5, 0.25, 3, "Wilcoxon")
    assert described(few).endswith("3 songs too few to tell from chance)")
    area = Difference("mtl", "svd", "au_roc", 0.01, 0.2, 5000, "DeLong")
    assert described(area) == "mtl against svd, au_roc: +0.01 (p = 0.2, 5000 frames)"
