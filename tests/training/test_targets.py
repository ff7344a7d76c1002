"""What networks are asked for in training, when it is not just their sources."""

from __future__ import annotations

import pytest
import torch

from small_networks import SMALL
from stemwise.data.batch import Batch
from stemwise.errors import ModelError
from stemwise.models import build
from stemwise.models.chunks import CHUNK
from stemwise.models.conditioned_unet import ConditionedUNet
from stemwise.training.building import build_procedure
from stemwise.training.learner import Learner
from stemwise.training.objectives import Distance
from stemwise.training.targets import regroup
from stemwise.training.weighting import Fixed, Unit, Weighting

SOURCES = ("vocals", "drums", "bass")


def batch(size: int = 2, *, rest: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(0)
    stems = torch.randn(size, 3, 2, CHUNK, generator=generator) * 0.1
    frames = CHUNK // 256 + 1
    return Batch(
        stems=stems,
        rest=stems[:, 0] * 0.5 if rest else None,
        supervised=torch.ones(size, 3, dtype=torch.bool),
        activity=(torch.rand(size, 3, frames, generator=generator) > 0.6).float(),
        activity_known=torch.ones(size, 3, dtype=torch.bool),
        gains=torch.ones(size, 3),
        level=torch.ones(size),
        swap=torch.zeros(size, dtype=torch.bool),
        width=torch.ones(size),
        filters=torch.zeros(size, 3, 7),
        sample_rate=10880,
        origins=(("song@0.00s",),) * size,
    )


def learner(weighting: Weighting, **options: object) -> tuple[ConditionedUNet, Learner]:
    torch.manual_seed(0)
    separator = build("conditioned-unet", SOURCES, **{**SMALL["conditioned-unet"], **options})
    assert isinstance(separator, ConditionedUNet)
    return separator, Learner(
        separator=separator,
        module=separator,
        objective=Distance("l1"),
        weighting=weighting,
        optimiser=torch.optim.SGD(separator.parameters(), lr=1e-3),
        device=torch.device("cpu"),
        mix=SOURCES,
    )


@pytest.mark.parametrize("rest", [False, True])
def test_sums_silence_and_what_is_known_of_them(rest: bool) -> None:
    one = batch(rest=rest)
    one.supervised[0, 1] = False
    one.activity_known[1, 2] = False
    asked = regroup(one, SOURCES, SOURCES, [["bass"], [*SOURCES], [], ["vocals", "drums"]])
    torch.testing.assert_close(asked.mixture, one.mixture)
    assert torch.equal(asked.stems[:, 0], one.stems[:, 2])
    torch.testing.assert_close(asked.stems[:, 1], one.stems.sum(dim=1))
    assert not asked.stems[:, 2].any()
    assert asked.supervised.tolist() == [[True, False, True, False], [True, True, True, True]]
    assert asked.activity_known.tolist() == [[True, True, True, True], [False, False, True, True]]
    assert torch.equal(asked.activity[:, 1], one.activity.amax(dim=1))
    assert not asked.activity[:, 2].any()
    assert asked.gains.shape == (2, 4)


def test_sources_that_have_no_labels_are_not_silent() -> None:
    asked = regroup(batch(), SOURCES, ("vocals",), [["vocals"], ["drums"], ["vocals", "bass"], []])
    assert asked.activity_known.tolist() == [[True, False, False, True]] * 2


def test_published_conditions_are_trained_with_their_sums_and_silence() -> None:
    """All ones ask for the sum of the sources, all zeros for silence (the authors' code)."""
    separator, taught = learner(Unit(activity=1.0), conditions="published")
    separator.train()
    prepared = taught.prepare(batch())
    torch.manual_seed(1)
    prediction, losses = taught.judge(prepared)
    assert losses.sources == (*SOURCES, "sum", "silence")
    assert losses.activity_sources == losses.sources
    assert losses.separation.shape == losses.supervised.shape == (2, 5)
    assert losses.supervised.all()
    assert prediction.activity is not None
    assert prediction.activity.shape[1] == 5
    torch.manual_seed(1)
    with separator.condition(separator.training_conditions):
        again = separator(prepared.mixture)
    stems = torch.cat([prepared.stems, prepared.stems.sum(dim=1, keepdim=True)], dim=1)
    wanted = separator.represent(torch.cat([stems, torch.zeros_like(stems[:, :1])], dim=1))
    estimates, reference = separator.compared(again, wanted)
    distance = (estimates - reference).abs().flatten(2).mean(dim=2)
    torch.testing.assert_close(losses.separation, distance)
    assert separator.sources == SOURCES, "all is as before"
    assert separator.vectors.tolist() == torch.eye(3).tolist()
    separator.eval()
    assert taught.judge(prepared)[1].sources == SOURCES, "validation asks for the sources"


def test_silence_and_the_sum_change_the_weights() -> None:
    found = []
    for conditions in ("one-hot", "published"):
        separator, taught = learner(
            Fixed({"separation": 1.0, "activity": 0.0}), conditions=conditions
        )
        separator.train()
        torch.manual_seed(1)
        figures = build_procedure("joint").step(taught, [batch()])
        assert figures["separation"] > 0
        found.append(separator.network.state_dict())
    assert any(not torch.equal(found[0][key], found[1][key]) for key in found[0])


def test_one_condition_at_a_time_in_interleaved_training() -> None:
    """The paper's N x K iterations: a network of conditions is asked for a batch's source alone."""
    separator, taught = learner(Unit(), conditions="published")
    separator.train()
    turns = []
    for k in range(3):
        one = batch()
        one.supervised[:] = torch.arange(3) == k
        one.activity_known[:] = False
        turns.append(one)
    seen = []
    separator.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1].tolist()))
    figures = build_procedure("interleaved").step(taught, turns)
    assert seen == [[row] for row in torch.eye(3).tolist()]
    assert {f"separation/{source}" for source in SOURCES} <= figures.keys()


def test_names_of_conditions_are_no_sources() -> None:
    with pytest.raises(ModelError, match="can be called 'sum' or 'silence'"):
        build("conditioned-unet", ["vocals", "sum"], **SMALL["conditioned-unet"])
