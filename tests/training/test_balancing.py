"""The gradient balance on models so small that their gradients are worked by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.small_networks import small
from tests.training.played_processes import Mean, together
from tests.training.test_objectives import make_batch
from torch import Tensor, nn

from stemwise.errors import RecipeError
from stemwise.training.balancing import GradientBalance
from stemwise.training.weighting import Moment, weigh

VOCALS, DRUMS, BASS = "separation/vocals", "separation/drums", "separation/bass"


def moment(*parameters: nn.Parameter) -> Moment:
    batch = make_batch(torch.ones(1, 2, dtype=torch.bool), torch.ones(1, 1, dtype=torch.bool))
    return Moment(batch, sources=("vocals", "drums", "bass"), parameters=parameters)


def pulls(shared: nn.Parameter, *gradients: Sequence[float]) -> dict[str, Tensor]:
    """Losses of sources with these gradients with respect to `shared`."""
    return {
        f"separation/{name}": (shared * torch.tensor(gradient)).sum()
        for name, gradient in zip(("vocals", "drums", "bass"), gradients, strict=False)
    }


def values(weights: dict[str, float | Tensor]) -> dict[str, float]:
    return {task: float(weight) for task, weight in weights.items()}


@pytest.fixture
def shared() -> nn.Parameter:
    return nn.Parameter(torch.tensor([1.0, 1.0]))


def test_norms_become_equal_and_weights_sum_to_the_number_of_sources(shared: nn.Parameter) -> None:
    tasks = pulls(shared, (3.0, 4.0), (0.6, -0.8))  # norms 5 and 1
    found = GradientBalance(0.3).weights({**tasks, "activity": 7 * shared[0]}, moment(shared))
    assert values(found) == {
        VOCALS: pytest.approx(1 / 3),
        DRUMS: pytest.approx(5 / 3),
        "activity": 0.3,
    }
    torch.autograd.backward(weigh(tasks, found))
    assert shared.grad is not None, "looking at gradients leaves the graph as it was"
    expected = torch.tensor([1.0 + 1.0, 4 / 3 - 4 / 3])
    torch.testing.assert_close(shared.grad, expected)


def test_norms_are_running_averages(shared: nn.Parameter) -> None:
    weighting = GradientBalance(decay=0.9)
    weighting.weights(pulls(shared, (3.0, 4.0), (0.6, 0.8)), moment(shared))
    found = weighting.weights(pulls(shared, (15.0, 0.0), (1.0, 0.0)), moment(shared))
    # averages 0.9 * 5 + 0.1 * 15 = 6 and 1: weights 2 * (1/6) / (7/6) and 2 / (7/6)
    assert values(found) == {VOCALS: pytest.approx(2 / 7), DRUMS: pytest.approx(12 / 7)}


def test_what_learns_slowly_is_restored(shared: nn.Parameter) -> None:
    """Losses 7 and 1.4 become 3.5 and 1.4: rates 2/3 and 4/3 against norms 5 and 1."""
    weighting = GradientBalance(restoring=1.0, decay=0.0)
    first = weighting.weights(pulls(shared, (3.0, 4.0), (0.6, 0.8)), moment(shared))
    assert values(first)[VOCALS] == pytest.approx(1 / 3), "at first all rates are 1"
    tasks = pulls(shared, (3.0, 4.0), (0.6, 0.8))
    found = weighting.weights({**tasks, VOCALS: tasks[VOCALS] - 3.5}, moment(shared))
    # (2/3) / 5 : 4/3 is 1 : 10
    assert values(found) == {VOCALS: pytest.approx(2 / 11), DRUMS: pytest.approx(20 / 11)}


def test_a_source_that_a_batch_lacks_keeps_its_part(shared: nn.Parameter) -> None:
    weighting = GradientBalance(decay=0.5)
    tasks = pulls(shared, (4.0, 0.0), (2.0, 0.0), (1.0, 0.0))
    whole = values(weighting.weights(tasks, moment(shared)))
    assert sum(whole.values()) == pytest.approx(3.0)
    again = pulls(shared, (4.0, 0.0), (2.0, 0.0), (1.0, 0.0))
    one = weighting.weights({BASS: again[BASS]}, moment(shared))
    assert values(one) == {BASS: pytest.approx(whole[BASS])}


def test_a_loss_without_pull_has_a_bounded_weight(shared: nn.Parameter) -> None:
    found = values(GradientBalance().weights(pulls(shared, (1.0, 0.0), (0.0, 0.0)), moment(shared)))
    assert found == {VOCALS: 1.0, DRUMS: 1.0}, "nothing tells yet what the sources share"
    weighting = GradientBalance(decay=0.0)
    weighting.weights(pulls(shared, (1.0, 0.0), (1.0, 0.0)), moment(shared))
    found = values(weighting.weights(pulls(shared, (1.0, 0.0), (0.0, 0.0)), moment(shared)))
    assert found[DRUMS] / found[VOCALS] == pytest.approx(1000)
    found = values(weighting.weights(pulls(shared, (0.0, 0.0), (0.0, 0.0)), moment(shared)))
    assert found == {VOCALS: 1.0, DRUMS: 1.0}


def test_equal_weights_where_there_are_no_gradients(shared: nn.Parameter) -> None:
    weighting = GradientBalance(0.3)
    weighting.weights(pulls(shared, (3.0, 4.0), (0.6, 0.8)), moment(shared))
    before = weighting.state_dict()
    with torch.no_grad():
        tasks = {**pulls(shared, (3.0, 4.0), (0.6, 0.8)), "activity": shared[0]}
        found = weighting.weights(tasks, moment())
    assert found == {VOCALS: 1.0, DRUMS: 1.0, "activity": 0.3}
    assert weighting.state_dict() == before, "validation leaves no trace"


def test_one_source_or_activity_alone_needs_no_balance(shared: nn.Parameter) -> None:
    weighting = GradientBalance(0.3)
    assert weighting.weights(pulls(shared, (3.0, 4.0)), moment(shared)) == {VOCALS: 1.0}
    assert weighting.weights({"activity": shared[0]}, moment(shared)) == {"activity": 0.3}


def test_processes_that_train_together_agree() -> None:
    """Their weights are those of the mean gradients, (3, 4) and (0.6, 0.8)."""

    def work(vocals: tuple[float, float], drums: tuple[float, float], mean: Mean) -> list[float]:
        shared = nn.Parameter(torch.ones(2))
        now = replace(moment(shared), shared=mean)
        weighting = GradientBalance(restoring=1.0)
        return list(values(weighting.weights(pulls(shared, vocals, drums), now)).values())

    found = together(partial(work, (6.0, 0.0), (0.0, 0.0)), partial(work, (0.0, 8.0), (1.2, 1.6)))
    assert found[0] == found[1] == [pytest.approx(1 / 3), pytest.approx(5 / 3)]


def test_a_resumed_run_goes_on_with_the_same_weights(shared: nn.Parameter) -> None:
    kept = GradientBalance(restoring=0.5)
    kept.weights(pulls(shared, (3.0, 4.0), (0.6, 0.8)), moment(shared))
    resumed = GradientBalance(restoring=0.5)
    resumed.load_state_dict(kept.state_dict())
    for _ in range(2):
        tasks = pulls(shared, (1.0, 2.0), (2.0, 2.0))
        found = [weighting.weights(tasks, moment(shared)) for weighting in (kept, resumed)]
        assert values(found[0]) == values(found[1])


def test_networks_that_share_nothing_are_refused() -> None:
    """The stacked outputs of separate networks: each loss reaches both, but pulls at its own."""
    parts = nn.ModuleList([nn.Linear(2, 1), nn.Linear(2, 1)])
    outputs = torch.stack([part(torch.ones(2)) for part in parts])
    tasks = {VOCALS: outputs[0].sum(), DRUMS: outputs[1].sum()}
    with pytest.raises(RecipeError, match="'gradnorm' balances gradients of weights that all"):
        GradientBalance().weights(tasks, moment(*parts.parameters()))
    with pytest.raises(RecipeError, match="this network has none"):
        GradientBalance().weights(pulls(nn.Parameter(torch.ones(2)), (1, 1), (1, 1)), moment())


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        ("joint-unet", "network.base.merge.3.weight"),
        ("multichannel-unet", "network.up.2.second.weight"),
        ("shared-encoder", "network.encoder.convolutions.4.0.weight"),
        ("band-unet", "network.mask.weight"),
    ],
)
def test_the_last_shared_weight_of_our_networks(network: str, expected: str) -> None:
    """Not the rows of an output layer, nor what a skip connection brings near."""
    separator = small(network)
    samples = separator.grid.input_length(8192)
    noise = torch.randn(2, separator.channels, samples, generator=torch.Generator().manual_seed(0))
    estimates = separator(noise).estimates.abs().mean(dim=(0, 2, 3, 4))
    tasks = {f"separation/{name}": estimates[k] for k, name in enumerate(separator.sources)}
    batch = make_batch(torch.ones(1, 1, dtype=torch.bool), torch.ones(1, 1, dtype=torch.bool))
    weighting = GradientBalance()
    weighting.weights(tasks, Moment.of(separator, batch))
    names = {id(p): name for name, p in separator.named_parameters()}
    chosen = Moment.of(separator, batch).parameters[weighting.state_dict()["place"]]
    assert names[id(chosen)] == expected


@given(st.lists(st.floats(0.05, 20.0), min_size=2, max_size=3))
def test_weighted_norms_agree_whatever_they_are(norms: list[float]) -> None:
    shared = nn.Parameter(torch.ones(2))
    tasks = pulls(shared, *((norm, 0.0) for norm in norms))
    found = list(values(GradientBalance().weights(tasks, moment(shared))).values())
    assert sum(found) == pytest.approx(len(norms), rel=1e-5)
    products = [weight * norm for weight, norm in zip(found, norms, strict=True)]
    assert max(products) == pytest.approx(min(products), rel=1e-5)
