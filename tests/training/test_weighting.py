"""Weights of tasks and of sources, against values worked by hand from the papers' equations."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.training.conftest import TinySeparator
from tests.training.test_objectives import make_batch

from stemwise.data.batch import Batch
from stemwise.errors import RecipeError
from stemwise.training.losses import Losses
from stemwise.training.weighting import Blend, DynamicAverage, Fixed, Moment, Unit, weigh

VOCALS, DRUMS, BASS = "separation/vocals", "separation/drums", "separation/bass"


def scalars(**values: float) -> dict[str, torch.Tensor]:
    return {name.replace("_", "/"): torch.tensor(value) for name, value in values.items()}


@pytest.fixture
def batch() -> Batch:
    return make_batch(torch.ones(1, 2, dtype=torch.bool), torch.ones(1, 1, dtype=torch.bool))


def test_fixed_weights(batch: Batch) -> None:
    losses = scalars(separation=2.0, activity=3.0)
    weights = Fixed({"separation": 1.0, "activity": 0.1}).weights(losses, Moment(batch))
    assert float(weigh(losses, weights)) == pytest.approx(2.3)
    with pytest.raises(RecipeError, match="no weight to activity"):
        Fixed({"separation": 1.0}).weights(losses, Moment(batch))


def test_fixed_weights_may_count_a_source_more_often(batch: Batch) -> None:
    separation = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    counts = torch.ones(2, 2, dtype=torch.bool)
    judged = Losses(separation, counts, torch.tensor([[3.0]]), counts[:1, :1], ("a", "b"), ("a",))
    twice = Fixed({"separation": 1.0, "activity": 0.1}, {"a": 2.0})
    tasks = twice.tasks(judged)
    weights = twice.weights(tasks, Moment(batch, sources=("a", "b")))
    assert float(weigh(tasks, weights)) == pytest.approx((2 * 2.0 + 3.0) / 2 + 0.1 * 3)
    once = Fixed({"separation": 1.0, "activity": 0.1}, {"a": 1.0})
    weights = once.weights(once.tasks(judged), Moment(batch, sources=("a", "b")))
    plain = Fixed({"separation": 1.0, "activity": 0.1})
    assert float(weigh(once.tasks(judged), weights)) == pytest.approx(
        float(weigh(plain.tasks(judged), plain.weights(plain.tasks(judged), Moment(batch))))
    )


def test_blend_is_alpha_separation_and_the_rest_activity(batch: Batch) -> None:
    losses = scalars(separation=2.0, activity=3.0)
    weights = Blend(0.9).weights(losses, Moment(batch))
    assert float(weigh(losses, weights)) == pytest.approx(0.9 * 2 + 0.1 * 3)
    assert Blend(1.0).weights(losses, Moment(batch)) == {"separation": 1.0, "activity": 0.0}
    assert Blend(0.0).weights(losses, Moment(batch)) == {"separation": 0.0, "activity": 1.0}


def test_blend_keeps_the_weight_of_the_only_task_of_a_batch(batch: Batch) -> None:
    only = Blend(0.9).weights(scalars(activity=3.0), Moment(batch))
    assert only == {"activity": pytest.approx(0.1)}


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan])
def test_blend_refuses_other_alphas(alpha: float) -> None:
    with pytest.raises(RecipeError, match="alpha must be from 0 to 1"):
        Blend(alpha)


def test_unit_weighs_sources_alike_and_activity_by_its_weight(batch: Batch) -> None:
    separation = torch.tensor([[1.0, 2.0]])
    counts = torch.ones(1, 2, dtype=torch.bool)
    losses = Losses(
        separation, counts, torch.tensor([[4.0]]), counts[:, :1], ("vocals", "drums"), ("vocals",)
    )
    weighting = Unit(activity=0.5)
    tasks = weighting.tasks(losses)
    assert set(tasks) == {VOCALS, DRUMS, "activity"}
    assert float(weigh(tasks, weighting.weights(tasks, Moment(batch)))) == 1 + 2 + 0.5 * 4
    only = {"activity": tasks["activity"]}
    assert weighting.weights(only, Moment(batch)) == {"activity": 0.5}


def test_dynamic_average_starts_with_two_epochs_of_ones(batch: Batch) -> None:
    tasks = scalars(separation_vocals=5.0, separation_drums=1.0)
    first = {VOCALS: 5.0, DRUMS: 1.0}
    for history in ([], [first]):
        weights = DynamicAverage(1.0, 2.0).weights(tasks, Moment(batch, history))
        assert weights == {VOCALS: pytest.approx(1.0), DRUMS: pytest.approx(1.0)}


def test_dynamic_average_of_the_third_epoch(batch: Batch) -> None:
    """Equation 5: vocals fell to a half, drums to nine tenths."""
    tasks = scalars(separation_vocals=1.0, separation_drums=1.0, activity=1.0)
    history = [
        {VOCALS: 7.0, DRUMS: 7.0},  # older epochs do not matter
        {VOCALS: 4.0, DRUMS: 2.0, "activity": 9.0},
        {VOCALS: 2.0, DRUMS: 1.8, "activity": 1.0},
    ]
    weights = DynamicAverage(0.3, 2.0).weights(tasks, Moment(batch, history))
    # exp(0.25) = 1.2840254, exp(0.45) = 1.5683122, their sum 2.8523376
    assert weights[VOCALS] == pytest.approx(2 * 1.2840254 / 2.8523376, abs=1e-6)
    assert weights[DRUMS] == pytest.approx(2 * 1.5683122 / 2.8523376, abs=1e-6)
    assert weights["activity"] == 0.3


def test_dynamic_average_keeps_shares_where_a_batch_lacks_a_source(batch: Batch) -> None:
    history = [{VOCALS: 4.0, DRUMS: 2.0, BASS: 1.0}, {VOCALS: 2.0, DRUMS: 1.8, BASS: 1.0}]
    everything = scalars(separation_vocals=1.0, separation_drums=1.0, separation_bass=1.0)
    weighting = DynamicAverage(1.0, 2.0)
    whole = weighting.weights(everything, Moment(batch, history))
    one = weighting.weights({BASS: torch.tensor(1.0)}, Moment(batch, history))
    assert one == {BASS: whole[BASS]}


def test_dynamic_average_of_sources_without_a_past(batch: Batch) -> None:
    """A source that no past epoch supervised, or whose loss was 0, descends at rate 1."""
    history = [{VOCALS: 1.0, DRUMS: 0.0}, {VOCALS: 1.0, DRUMS: 0.5}]
    tasks = scalars(separation_vocals=1.0, separation_drums=1.0, separation_bass=1.0)
    weights = DynamicAverage(1.0, 2.0).weights(tasks, Moment(batch, history))
    assert weights == {task: pytest.approx(1.0) for task in (VOCALS, DRUMS, BASS)}


def test_dynamic_average_refuses_losses_below_zero(batch: Batch) -> None:
    history = [{VOCALS: -1.0}, {VOCALS: -2.0}]
    with pytest.raises(RecipeError, match="'dwa' takes the ratio of losses"):
        DynamicAverage().weights({VOCALS: torch.tensor(-2.0)}, Moment(batch, history))


@given(
    st.lists(st.tuples(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6)), min_size=1, max_size=5),
    st.floats(0.01, 100),
)
def test_dynamic_averages_sum_to_the_number_of_sources(
    epochs: list[tuple[float, float]], temperature: float
) -> None:
    nothing = make_batch(torch.ones(1, 1, dtype=torch.bool), torch.ones(1, 1, dtype=torch.bool))
    before, last = ({f"separation/{k}": pair[i] for k, pair in enumerate(epochs)} for i in (0, 1))
    tasks = {name: torch.tensor(1.0) for name in last}
    weights = DynamicAverage(1.0, temperature).weights(tasks, Moment(nothing, [before, last]))
    assert sum(float(weight) for weight in weights.values()) == pytest.approx(len(epochs))
    slowest = max(last, key=lambda name: last[name] / before[name])
    assert weights[slowest] == max(float(weight) for weight in weights.values())


def test_a_moment_has_the_shared_parameters_in_training_alone(tiny: TinySeparator) -> None:
    batch = make_batch(torch.ones(1, 4, dtype=torch.bool), torch.ones(1, 4, dtype=torch.bool))
    moment = Moment.of(tiny, batch, [{}])
    assert moment.sources == tiny.sources
    assert [id(p) for p in moment.parameters] == [id(p) for p in tiny.parameters()]
    with torch.no_grad():
        assert not Moment.of(tiny, batch).parameters
