"""The published tables are complete, and as printed."""

from __future__ import annotations

import pytest

from stemwise.errors import EvaluationError
from stemwise.reproduction.experiments import experiment
from stemwise.reproduction.published import table_names, tables

SIZES = {
    "stoller2018-1": (3, 11),
    "stoller2018-replacement": (3, 3),
    "hung2020-1": (2, 4),
    "hung2020-2": (2, 16),
    "hung2020-3": (6, 4),
    "hung2020-4": (6, 12),
    "hung2020-fig4": (6, 2),
    "hung2020-fig5": (6, 3),
    "george2022-1": (5, 5),
    "doire2019-2": (4, 8),
    "doire2019-3": (2, 8),
    "kadandale2020-1": (3, 2),
    "kadandale2020-2": (8, 9),
    "kadandale2020-3": (8, 5),
    "kadandale2020-4": (3, 9),
}
PRINTED = {
    ("stoller2018-1", "svd", "au_roc"): 0.9239,
    ("stoller2018-1", "mtl", "acc_sar"): 14.11,
    ("stoller2018-1", "svs", "mse"): 0.01865,
    ("stoller2018-replacement", "more-sets-in-validation-and-test", "replacement"): "better",
    ("hung2020-1", "iass-4-blocks", "other"): 4.38,
    ("hung2020-2", "iass", "bass ISR"): 6.85,
    ("hung2020-3", "acoustic-guitar", "ibm"): 3.38,
    ("hung2020-4", "bass", "yes-yes SDR"): 4.34,
    ("hung2020-4", "drums", "yes-yes mean"): 6.96,
    ("doire2019-2", "simultaneous", "sdr_other"): 2.49,
    ("doire2019-3", "encoder+", "sir_bass"): 4.37,
    ("kadandale2020-1", "c-u-net", "params"): "162M",
    ("kadandale2020-2", "ebw-inst-p1", "overall median"): 9.79,
    ("kadandale2020-3", "ebw-p2", "overall"): 3.66,
    ("kadandale2020-4", "ebw-p1-unfiltered", "SIR mean"): 8.33,
}
NUMBERS = {
    "stoller2018-1": 18,
    "hung2020-1": 8,
    "hung2020-2": 32,
    "hung2020-3": 24,
    "hung2020-4": 72,
    "george2022-1": 0,
    "doire2019-2": 32,
    "doire2019-3": 16,
    "kadandale2020-2": 72,
    "kadandale2020-3": 40,
    "kadandale2020-4": 27,
}
"""How many numbers each paper prints."""


def test_every_table_has_its_rows_and_columns() -> None:
    assert {name: (len(t.rows), len(t.columns)) for name, t in tables().items()} == SIZES


@pytest.mark.parametrize(("table", "row", "column"), PRINTED)
def test_values_are_as_printed(table: str, row: str, column: str) -> None:
    assert tables()[table].value(row, column) == PRINTED[table, row, column]


@pytest.mark.parametrize("name", NUMBERS)
def test_every_printed_number_is_there(name: str) -> None:
    table = tables()[name]
    values = [table.value(row, column) for row in table.rows for column in table.columns]
    assert sum(isinstance(value, float) for value in values) == NUMBERS[name]


def test_printed_means_that_do_not_add_up_are_found() -> None:
    found = {(row, column) for row, column, *_ in tables()["hung2020-4"].recomputed_means()}
    assert found == {
        (row, f"{variant} mean")
        for row in ("electric-guitar", "piano")
        for variant in ("no-no", "yes-no")
    }
    assert tables()["hung2020-2"].recomputed_means() == []


@pytest.mark.parametrize("name", SIZES)
def test_every_published_number_has_a_measurement(name: str) -> None:
    table, behind = tables()[name], experiment(name)
    for row in table.rows:
        for column in table.columns:
            if isinstance(table.value(row, column), float):
                assert (row, column) in behind.cells
    for cell in behind.cells.values():
        assert cell.task in behind.tasks
        assert cell.minus is None or cell.minus in behind.tasks


def test_rows_that_share_a_training_name_it_alike() -> None:
    doire = experiment("doire2019-3").tasks["encoder"]
    assert doire == experiment("doire2019-2").tasks["interleaved"]
    hung = experiment("hung2020-4").tasks
    assert hung["yes-no-piano"].trainings == hung["yes-yes-piano"].trainings
    assert (hung["yes-no-piano"].gate, hung["yes-yes-piano"].gate) == ("off", "median")
    assert hung["yes-yes-piano"] == experiment("hung2020-3").tasks["iass-piano"]


def test_an_unknown_table_is_told_the_nearest() -> None:
    with pytest.raises(EvaluationError, match="nearest is 'doire2019-2'"):
        table_names("doire2019-1b2")
    assert table_names("all") == list(SIZES)
