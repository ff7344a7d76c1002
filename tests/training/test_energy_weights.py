"""Weights by energy, from the energies that Kadandale et al. 2020 publish and from batches."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.small_networks import small
from tests.training.played_processes import together
from tests.training.test_objectives import make_batch

from stemwise.data.batch import Batch
from stemwise.errors import RecipeError
from stemwise.models.chunks import CHUNK
from stemwise.training.energy_weights import (
    SILENT,
    EqualProducts,
    LoudestOver,
    LoudestOverInBatch,
    batch_energies,
)
from stemwise.training.weighting import Moment, Weighting

VOICE = {"vocals": 173.4346, "accompaniment": 687.5261}
FOUR = {"vocals": 173.4346, "drums": 218.6938, "bass": 252.7046, "other": 216.4932}
"""Published energies, of which only ratios matter."""


def weights(weighting: Weighting, moment: Moment | None = None) -> dict[str, float]:
    """Those of all sources, by name."""
    names = moment.sources if moment else list(weighting.energies)  # type: ignore[attr-defined]
    moment = moment or Moment(batch_of([1.0]))
    tasks = {f"separation/{name}": torch.tensor(1.0) for name in names}
    found = weighting.weights({**tasks, "activity": torch.tensor(1.0)}, moment)
    assert found.pop("activity") == 0.25
    return {task.removeprefix("separation/"): float(weight) for task, weight in found.items()}


def batch_of(levels: list[float], supervised: list[bool] | None = None) -> Batch:
    """One excerpt whose sources have these mean squares."""
    known = torch.tensor([supervised or [True] * len(levels)])
    batch = make_batch(known, torch.ones(1, 1, dtype=torch.bool))
    stems = torch.tensor(levels).sqrt().reshape(1, -1, 1, 1) * torch.ones(1, 1, 2, 10)
    stems[..., ::2] *= -1
    return replace(batch, stems=stems)


def test_loudest_over_of_the_published_energies() -> None:
    """Equation 6: 687.5261 / 173.4346 = 3.96418."""
    voice = weights(LoudestOver(0.25, VOICE))
    assert voice == {"vocals": pytest.approx(3.96418, abs=1e-5), "accompaniment": 1.0}
    four = weights(LoudestOver(0.25, FOUR))
    assert sorted(four, key=lambda name: -four[name]) == ["vocals", "other", "drums", "bass"]
    assert four["bass"] == 1.0
    assert four["vocals"] == pytest.approx(1.457060, abs=1e-5)


def test_squares_of_the_published_energies() -> None:
    """Equation 8: the squares of equation 6."""
    voice = weights(LoudestOver(0.25, VOICE, power=2.0))
    assert voice == {"vocals": pytest.approx(15.71472, abs=1e-4), "accompaniment": 1.0}


def test_equal_products_of_the_published_energies() -> None:
    """Equations 9 and 10 with two sources: w_1 = E_2 / (E_1 + E_2)."""
    voice = weights(EqualProducts(0.25, VOICE))
    assert voice["vocals"] == pytest.approx(687.5261 / 860.9607)
    four = weights(EqualProducts(0.25, FOUR))
    assert sum(four.values()) == pytest.approx(1.0)
    assert len({round(four[name] * FOUR[name], 9) for name in FOUR}) == 1


def test_a_source_that_the_batch_lacks_does_not_change_the_others() -> None:
    for weighting in (LoudestOver(0.25, FOUR), EqualProducts(0.25, FOUR)):
        one = weighting.weights({"separation/drums": torch.tensor(1.0)}, Moment(batch_of([1.0])))
        assert one == {"separation/drums": weights(weighting)["drums"]}


def test_silent_and_unknown_sources_are_errors() -> None:
    for energy in (0.0, 1e-7, float("nan")):
        with pytest.raises(RecipeError, match="wherever the energy of drums was measured"):
            LoudestOver(1.0, {"vocals": 1.0, "drums": energy})
    with pytest.raises(RecipeError, match="no energy of bass"):
        EqualProducts(1.0, VOICE).weights(
            {"separation/bass": torch.tensor(1.0)}, Moment(batch_of([1.0]))
        )


def test_energies_of_a_batch_are_means_over_what_is_supervised() -> None:
    batch = make_batch(
        torch.tensor([[True, False, False], [True, True, False]]), torch.ones(2, 1).bool()
    )
    stems = torch.zeros(2, 3, 2, 10)
    stems[0, 0], stems[1, 0], stems[0, 1], stems[1, 1] = 1.0, 3.0, 100.0, 2.0
    assert batch_energies(replace(batch, stems=stems)).tolist() == [5.0, 4.0, 0.0]


def test_energies_of_samples_have_the_ratios_of_energies_of_spectra() -> None:
    """The paper's E_i are mean squared magnitudes of 512 bins (Parseval)."""
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(4 * CHUNK) / 10880
    bass = torch.sin(2 * torch.pi * 80 * time) * torch.exp(-3 * (time % 0.5))
    drums = torch.randn(len(time), generator=generator) * torch.exp(-20 * (time % 0.25))
    vocals = torch.sin(2 * torch.pi * 440 * time + 3 * torch.sin(2 * torch.pi * 5 * time))
    stems = torch.stack([0.5 * bass, 0.1 * drums, 0.2 * vocals * (time % 4 < 2)])
    batch = batch_of([1.0] * 3)
    samples = batch_energies(replace(batch, stems=stems[None, :, None]))
    spectra = small("multichannel-unet").represent(stems[None, :, None])
    magnitudes = spectra.abs().square().mean(dim=(0, 2, 3, 4))
    ratios = [energies.max() / energies for energies in (samples, magnitudes)]
    assert ratios[0].max() > 5
    torch.testing.assert_close(ratios[0], ratios[1], rtol=0.01, atol=0)


def test_energies_of_a_batch_over_several_processes() -> None:
    supervised = torch.tensor([[True, False, False], [True, True, False]])
    stems = torch.rand(2, 3, 2, 10, generator=torch.Generator().manual_seed(0))
    whole = replace(make_batch(supervised, torch.ones(2, 1).bool()), stems=stems)
    halves = [replace(whole, stems=stems[k, None], supervised=supervised[k, None]) for k in (0, 1)]
    found = together(*(partial(batch_energies, half) for half in halves))
    torch.testing.assert_close(found[0], batch_energies(whole))
    assert torch.equal(found[0], found[1])


def test_weights_of_a_batch() -> None:
    """Equation 7: the maximum is that of the batch."""
    moment = Moment(batch_of([0.04, 0.01, 0.02]), sources=("a", "b", "c"))
    found = weights(LoudestOverInBatch(0.25), moment)
    assert found == {name: pytest.approx(w) for name, w in zip("abc", (1.0, 4.0, 2.0), strict=True)}


def test_silent_sources_of_a_batch_weigh_as_the_loudest() -> None:
    moment = Moment(batch_of([0.04, 0.0, 0.5 * SILENT, 0.02]), sources=tuple("abcd"))
    found = weights(LoudestOverInBatch(0.25), moment)
    assert found == {"a": 1.0, "b": 1.0, "c": 1.0, "d": pytest.approx(2.0)}
    silence = Moment(batch_of([0.0, 0.0]), sources=tuple("ab"))
    assert weights(LoudestOverInBatch(0.25), silence) == {"a": 1.0, "b": 1.0}


def test_unsupervised_sources_are_not_the_loudest() -> None:
    moment = Moment(batch_of([9.0, 0.01, 0.02], [False, True, True]), sources=tuple("abc"))
    tasks = {f"separation/{name}": torch.tensor(1.0) for name in "bc"}
    found = LoudestOverInBatch().weights(tasks, moment)
    assert {task: float(weight) for task, weight in found.items()} == {
        "separation/b": pytest.approx(2.0),
        "separation/c": pytest.approx(1.0),
    }


def test_targets_that_are_no_stems_have_no_energy_in_a_batch() -> None:
    moment = Moment(batch_of([0.1]), sources=("vocals",))
    with pytest.raises(RecipeError, match="no energy of all"):
        LoudestOverInBatch().weights({"separation/all": torch.tensor(1.0)}, moment)


@given(st.lists(st.floats(1e-4, 1e2), min_size=1, max_size=5), st.floats(1e-2, 1e2))
def test_only_ratios_of_energies_matter(energies: list[float], factor: float) -> None:
    known = {str(k): energy for k, energy in enumerate(energies)}
    scaled = {name: factor * energy for name, energy in known.items()}
    kinds = (
        lambda e: LoudestOver(0.25, e),
        lambda e: LoudestOver(0.25, e, power=2.0),
        lambda e: EqualProducts(0.25, e),
    )
    for build in kinds:
        assert weights(build(scaled)) == pytest.approx(weights(build(known)))
    products = [weights(EqualProducts(0.25, known))[name] * known[name] for name in known]
    assert max(products) == pytest.approx(min(products))
    assert min(weights(LoudestOver(0.25, known)).values()) == 1.0


@given(st.lists(st.floats(1e-3, 1.0), min_size=2, max_size=4))
def test_a_batch_weighs_as_training_data_of_its_energies(levels: list[float]) -> None:
    names = [str(k) for k in range(len(levels))]
    moment = Moment(batch_of(levels), sources=names)
    expected = weights(LoudestOver(0.25, dict(zip(names, levels, strict=True))))
    assert weights(LoudestOverInBatch(0.25), moment) == pytest.approx(expected, rel=1e-4)
