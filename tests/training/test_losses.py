"""What counts and what does not, and the tasks that losses become."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.training.played_processes import Mean, together

from stemwise.training.losses import Losses, source_of


def losses(supervised: list[list[bool]], known: list[list[bool]] | None = None) -> Losses:
    """Distinct losses of three sources, of which the first has activity."""
    counts = torch.tensor(supervised)
    separation = torch.arange(1.0, counts.numel() + 1).reshape(counts.shape)
    activity = None if known is None else torch.arange(10.0, 10 + len(known)).reshape(-1, 1)
    told = torch.tensor(known or [[False]] * len(counts))
    return Losses(separation, counts, activity, told, ("a", "b", "c"), ("a",))


def values(tasks: dict[str, torch.Tensor]) -> dict[str, float]:
    return {task: loss.item() for task, loss in tasks.items()}


def test_by_task_is_the_mean_over_all_that_counts() -> None:
    found = losses([[True, False, True], [True, False, False]], [[False], [True]]).by_task()
    assert values(found) == {"separation": pytest.approx((1 + 3 + 4) / 3), "activity": 11.0}


def test_by_source_is_a_mean_per_column_and_absent_sources_are_absent() -> None:
    found = losses([[True, False, True], [True, False, False]], [[True], [True]]).by_source()
    expected = {"separation/a": 2.5, "separation/c": 3.0, "activity": 10.5}
    assert values(found) == expected


def test_nothing_supervised_is_no_task_and_not_a_loss_of_zero() -> None:
    nothing = losses([[False] * 3] * 2, [[False], [False]])
    assert nothing.by_task() == nothing.by_source() == {}
    without_head = losses([[True] * 3] * 2)
    assert set(without_head.by_task()) == {"separation"}
    headless = replace(without_head, known=torch.ones(2, 1, dtype=torch.bool))
    assert set(headless.by_task()) == {"separation"}


def test_what_does_not_count_may_be_no_number_and_gets_no_gradient() -> None:
    one = losses([[True, False, True], [False, True, False]])
    separation = torch.where(one.supervised, one.separation, torch.nan).requires_grad_()
    total = replace(one, separation=separation).by_task()["separation"]
    assert total.item() == pytest.approx((1 + 3 + 5) / 3)
    (gradient,) = torch.autograd.grad(total, separation)
    assert torch.equal(gradient, one.supervised / 3)


def test_the_mean_over_processes_is_that_of_one_with_both_batches() -> None:
    """One process lacks source c and activity, and gives 0 for them."""
    whole = losses([[True, False, False], [True, True, True]], [[False], [True]])

    def half(row: int) -> Callable[[Mean], list[dict[str, float]]]:
        def work(mean: Mean) -> list[dict[str, float]]:
            part = replace(
                whole,
                separation=whole.separation[row : row + 1],
                supervised=whole.supervised[row : row + 1],
                activity=None if whole.activity is None else whole.activity[row : row + 1],
                known=whole.known[row : row + 1],
                shared=mean,
            )
            return [values(part.by_task()), values(part.by_source())]

        return work

    first, second = together(half(0), half(1))
    for one, other, expected in zip(
        first, second, (whole.by_task(), whole.by_source()), strict=True
    ):
        found = {task: (one[task] + other[task]) / 2 for task in one}
        assert found == pytest.approx(values(expected))
    assert first[1]["separation/c"] == first[1]["activity"] == 0


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=5))
def test_means_over_sources_agree_with_the_mean_over_all(supervised: list[list[bool]]) -> None:
    one = losses(supervised)
    by_source = values(one.by_source())
    counts = {name: int(one.supervised[:, k].sum()) for k, name in enumerate(one.sources)}
    assert {source_of(task) for task in by_source} == {name for name in counts if counts[name]}
    whole = values(one.by_task())
    assert bool(whole) == any(counts.values())
    for value in whole.values():
        summed = sum(value * counts[source_of(task)] for task, value in by_source.items())
        assert math.isclose(value, summed / sum(counts.values()), rel_tol=1e-6)
