"""Every update of every procedure, followed line by line by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from stemwise.data.batch import Batch
from stemwise.errors import RecipeError
from stemwise.training.building import build_procedure
from stemwise.training.learner import NotFiniteError
from stemwise.training.sections import Recipe
from stemwise.training.weighting import Blend, Fixed, Unit
from two_parameters import SOURCES, TwoParameters, batch, learner, pair

RATE = 0.05


class HandSgd:
    """v = m v + g; p = p - r v."""

    def __init__(self, momentum: float = 0.9) -> None:
        self.momentum, self.velocity = momentum, dict[str, float]()

    def __call__(self, values: dict[str, float], gradients: Mapping[str, float]) -> None:
        for name, gradient in gradients.items():
            velocity = self.momentum * self.velocity.get(name, 0.0) + gradient
            self.velocity[name] = velocity
            values[name] -= RATE * velocity


class HandAdam:
    """Kingma & Ba 2015, algorithm 1; every parameter counts its own steps."""

    def __init__(self) -> None:
        self.state: dict[str, tuple[int, float, float]] = {}

    def __call__(self, values: dict[str, float], gradients: Mapping[str, float]) -> None:
        for name, g in gradients.items():
            t, m, v = self.state.get(name, (0, 0.0, 0.0))
            t, m, v = t + 1, 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            self.state[name] = t, m, v
            mean, square = m / (1 - 0.9**t), v / (1 - 0.999**t)
            values[name] -= RATE * mean / (math.sqrt(square) + 1e-8)


Hand = HandSgd | HandAdam


def optimisers(name: str, separator: TwoParameters) -> tuple[torch.optim.Optimizer, Hand]:
    if name == "sgd":
        return torch.optim.SGD(separator.parameters(), lr=RATE, momentum=0.9), HandSgd()
    return torch.optim.Adam(separator.parameters(), lr=RATE), HandAdam()


def separation(values: Mapping[str, float], one: Batch, source: str) -> tuple[float, float, float]:
    """L = mean (d e y - s)^2, dL/de = 2 d mean y (d e y - s), dL/dd = 2 e mean y (d e y - s)."""
    y, s = pair(one, source)
    e, d = values["shared"], values[source]
    error = d * e * y - s
    slope = 2 * float(np.mean(y * error))
    return float(np.mean(error**2)), d * slope, e * slope


def detection(values: Mapping[str, float], label: float) -> tuple[float, float, float]:
    """Binary cross-entropy of the logit h e against labels of that mean, and its gradients."""
    e, h = values["shared"], values["heard"]
    p = 1 / (1 + math.exp(-h * e))
    loss = -label * math.log(p) - (1 - label) * math.log(1 - p)
    return loss, h * (p - label), e * (p - label)


def assert_alike(separator: TwoParameters, values: Mapping[str, float]) -> None:
    assert separator.values == pytest.approx(dict(values), rel=1e-6)


def rounds(count: int) -> list[list[tuple[str, Batch]]]:
    """A batch per source in every round, the sources in another order each time."""
    orders = [np.random.default_rng(k).permutation(SOURCES).tolist() for k in range(count)]
    return [
        [(source, batch(10 * k + i, [source])) for i, source in enumerate(order)]
        for k, order in enumerate(orders)
    ]


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_joint_sums_the_losses_of_all_sources(optimiser: str) -> None:
    """L = sum of L_i: one update of everything (paper 003, "simultaneous")."""
    separator = TwoParameters()
    real, hand = optimisers(optimiser, separator)
    taught = learner(separator, real, Unit(activity=0.5))
    values = separator.values
    for seed in range(3):
        one = batch(seed, SOURCES, {"b": 0.25})
        judged = {source: separation(values, one, source) for source in SOURCES}
        heard, heard_e, heard_h = detection(values, 0.25)
        total = sum(loss for loss, _, _ in judged.values()) + 0.5 * heard
        gradients = {source: own for source, (_, _, own) in judged.items()}
        gradients["shared"] = sum(e for _, e, _ in judged.values()) + 0.5 * heard_e
        gradients["heard"] = 0.5 * heard_h
        figures = build_procedure("joint").step(taught, [one])
        hand(values, gradients)
        assert_alike(separator, values)
        assert figures["total"] == pytest.approx(total, rel=1e-6)
        assert figures["separation/a"] == pytest.approx(judged["a"][0], rel=1e-6)
        norm = math.sqrt(sum(g * g for g in gradients.values()))
        assert figures["gradient"] == pytest.approx(norm, rel=1e-6)


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_alternating_takes_one_task_from_either_batch(optimiser: str) -> None:
    """alpha MSE of the first batch + (1 - alpha) BCE of the second: one update (paper 000).

    Labels of the first batch and stems of the second say nothing.
    """
    separator = TwoParameters()
    real, hand = optimisers(optimiser, separator)
    taught = learner(separator, real, Blend(0.9))
    procedure = build_procedure("alternating")
    assert procedure.batches(len(SOURCES)) == 2
    values = separator.values
    for seed in range(3):
        first, second = batch(seed, SOURCES, {"a": 1.0}), batch(seed + 50, SOURCES, {"a": 0.5})
        judged = {source: separation(values, first, source) for source in SOURCES}
        heard, heard_e, heard_h = detection(values, 0.5)
        # the MSE is a mean over the sources too
        gradients = {source: 0.9 * own / 3 for source, (_, _, own) in judged.items()}
        gradients["shared"] = 0.9 * sum(e for _, e, _ in judged.values()) / 3 + 0.1 * heard_e
        gradients["heard"] = 0.1 * heard_h
        mse = sum(loss for loss, _, _ in judged.values()) / 3
        figures = procedure.step(taught, [first, second])
        hand(values, gradients)
        assert_alike(separator, values)
        expected = {"separation": mse, "activity": heard, "total": 0.9 * mse + 0.1 * heard}
        assert {name: figures[name] for name in expected} == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_interleaved_is_algorithm_1(optimiser: str) -> None:
    """After every mini-batch, encoder and that source's decoder move; nothing else does."""
    separator = TwoParameters()
    real, hand = optimisers(optimiser, separator)
    taught = learner(separator, real, Unit())
    procedure = build_procedure("interleaved")
    assert procedure.batches(len(SOURCES)) == 3
    values = separator.values
    for turns in rounds(3):
        losses = {}
        figures = procedure.step(taught, [one for _, one in turns])
        for source, one in turns:  # for S_i in S
            losses[source], encoder, decoder = separation(values, one, source)
            hand(values, {"shared": encoder, source: decoder})
        assert_alike(separator, values)
        assert figures["total"] == pytest.approx(sum(losses.values()), rel=1e-6)
        for source, loss in losses.items():
            assert figures[f"separation/{source}"] == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_interleaved_accumulated_is_algorithm_2(optimiser: str) -> None:
    """Decoders move after their mini-batches, the encoder once by the sum of its gradients."""
    separator = TwoParameters()
    real, hand = optimisers(optimiser, separator)
    taught = learner(separator, real, Unit())
    procedure = build_procedure("interleaved-accumulated")
    values = separator.values
    for turns in rounds(3):
        figures = procedure.step(taught, [one for _, one in turns])
        accumulated = 0.0  # G_E = 0
        for source, one in turns:
            _, encoder, decoder = separation(values, one, source)
            accumulated += encoder  # G_E += gradient
            hand(values, {source: decoder})
        hand(values, {"shared": accumulated})
        assert_alike(separator, values)
        assert figures["gradient"] == pytest.approx(abs(accumulated), rel=1e-6)
        assert all(parameter.grad is None for parameter in separator.parameters())


def test_the_interleaved_procedures_differ() -> None:
    """The encoder that a source's gradient is taken at is another one."""
    found = {}
    for name in ("interleaved", "interleaved-accumulated"):
        separator = TwoParameters()
        real, _ = optimisers("sgd", separator)
        build_procedure(name).step(learner(separator, real, Unit()), [b for _, b in rounds(1)[0]])
        found[name] = separator.values
    assert found["interleaved"]["shared"] != found["interleaved-accumulated"]["shared"]


def test_only_the_source_of_a_batch_is_computed() -> None:
    separator = TwoParameters()
    real, _ = optimisers("sgd", separator)
    turns = rounds(1)[0]
    build_procedure("interleaved").step(learner(separator, real, Unit()), [b for _, b in turns])
    assert separator.network.runs == [(source,) for source, _ in turns]
    assert separator.sources == separator.network.chosen == SOURCES


def test_independent_networks_share_nothing() -> None:
    """Their own numbers move as in separate trainings; a shared one is refused."""
    procedure = build_procedure("independent")
    with pytest.raises(RecipeError, match="share parameters: use 'interleaved'"):
        procedure.check(TwoParameters())
    separator = TwoParameters()
    for shared in (separator.network.shared, separator.network.heard):
        shared.requires_grad_(False)
    real = torch.optim.SGD(separator.network.own.parameters(), lr=RATE, momentum=0.9)
    hand, values = HandSgd(), separator.values
    for turns in rounds(2):
        procedure.step(learner(separator, real, Unit()), [one for _, one in turns])
        for source, one in turns:
            hand(values, {source: separation(values, one, source)[2]})
        assert_alike(separator, values)


def test_labels_of_the_source_alone_are_learnt_in_its_turn() -> None:
    separator = TwoParameters()
    real, hand = optimisers("sgd", separator)
    taught = learner(separator, real, Unit(activity=1.0))
    turns = [batch(k, [source], {source: 0.5}) for k, source in enumerate(SOURCES)]
    build_procedure("interleaved").step(taught, turns)
    values = TwoParameters().values
    for source, one in zip(SOURCES, turns, strict=True):
        _, encoder, decoder = separation(values, one, source)
        _, heard_e, heard_h = detection(values, 0.5)
        hand(values, {"shared": encoder + heard_e, source: decoder, "heard": heard_h})
    assert_alike(separator, values)


@pytest.mark.parametrize(
    ("name", "batches"),
    [
        ("joint", [batch(0, [])]),
        ("alternating", [batch(0, [], {"a": 1.0}), batch(1, SOURCES)]),
    ],
)
def test_batches_that_supervise_nothing_change_nothing(name: str, batches: list[Batch]) -> None:
    separator = TwoParameters()
    real, _ = optimisers("adam", separator)
    before = separator.values
    weighting = Fixed({"separation": 1.0, "activity": 1.0})
    assert build_procedure(name).step(learner(separator, real, weighting), batches) == {}
    assert separator.values == before


def test_interleaved_needs_batches_of_one_source() -> None:
    separator = TwoParameters()
    real, _ = optimisers("sgd", separator)
    with pytest.raises(RecipeError, match=r"supervises a, b, c: use data.sampling 'independent'"):
        build_procedure("interleaved").step(
            learner(separator, real, Unit()), [batch(0, SOURCES)] * 3
        )


@pytest.mark.parametrize("name", ["joint", "alternating", "interleaved", "interleaved-accumulated"])
def test_nothing_moves_by_a_loss_that_is_not_a_number(name: str) -> None:
    separator = TwoParameters()
    real, _ = optimisers("adam", separator)
    before = separator.values
    one = batch(0, ["a"])
    one.stems[0, 0] = float("nan")
    procedure = build_procedure(name)
    with pytest.raises(NotFiniteError, match=r"song@0\.00s"):
        procedure.step(
            learner(separator, real, Blend(0.5)), [one] * procedure.batches(len(SOURCES))
        )
    assert separator.values == before


def test_every_procedure_of_recipes_can_be_built() -> None:
    names: Any = Recipe.model_fields["procedure"].annotation
    build: Callable[[str], object] = build_procedure
    assert len({type(build(name)) for name in names.__args__}) == 5
