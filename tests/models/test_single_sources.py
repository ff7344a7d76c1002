"""Networks of which single sources are computed, and the parameters that are a source's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from small_networks import small
from stemwise.errors import ModelError
from stemwise.models import Separator, build
from stemwise.models.bank import combine
from stemwise.models.separator import Divided
from stemwise.models.shared_encoder import SharedEncoder
from stemwise.models.summary import sample_length

SOURCES = ("vocals", "drums", "bass", "other")
DIVIDED: list[tuple[str, dict[str, Any]]] = [
    ("iass", {}),
    ("multichannel-unet", {"dedicated": True}),
    ("open-unmix", {}),
    ("open-unmix-transformer", {}),
    ("shared-encoder", {}),
    ("shared-encoder", {"separate": True}),
    ("waveform-unmix", {}),
]
every_divided = pytest.mark.parametrize(("name", "options"), DIVIDED)


def mixture_for(separator: Separator, batch: int = 1) -> torch.Tensor:
    shape = (batch, separator.channels, sample_length(separator))
    return torch.randn(shape, generator=torch.Generator().manual_seed(2)) * 0.1


@every_divided
def test_a_source_alone_is_what_it_is_among_all(name: str, options: dict[str, Any]) -> None:
    separator = small(name, **options).eval()
    mixture = mixture_for(separator)
    with torch.inference_mode():
        together = separator(mixture)
        with separator.estimating(["bass", "vocals"]):
            assert [*separator.sources] == [*separator.activity_sources] == ["bass", "vocals"]
            alone = separator(mixture)
            waveforms = separator.reconstruct(alone)
        again = separator(mixture)
    assert [*separator.sources] == [*separator.activity_sources] == [*SOURCES]
    assert waveforms.shape[1] == 2
    torch.testing.assert_close(alone.estimates, together.estimates[:, [2, 0]], rtol=0, atol=1e-6)
    torch.testing.assert_close(alone.activity, together.activity[:, [2, 0]], rtol=0, atol=1e-6)
    assert torch.equal(again.estimates, together.estimates)


@every_divided
def test_all_sources_are_back_after_an_error(name: str, options: dict[str, Any]) -> None:
    separator = small(name, **options).eval()
    with pytest.raises(KeyError), separator.estimating(["drums"]):
        raise KeyError
    with torch.inference_mode():
        assert separator(mixture_for(separator)).estimates.shape[1] == 4


@every_divided
def test_own_parameters_are_those_no_other_source_depends_on(
    name: str, options: dict[str, Any]
) -> None:
    """What has a gradient from two sources is shared, all else is one source's own."""
    separator = small(name, **options).train()
    mixture = mixture_for(separator, 2)
    users: dict[int, set[str]] = {id(p): set() for p in separator.parameters()}
    for source in SOURCES:
        separator.zero_grad()
        with separator.estimating([source]):
            prediction = separator(mixture)
        loss = prediction.estimates.abs().square().mean() + prediction.activity.square().mean()
        loss.backward()
        for parameter in separator.parameters():
            if parameter.grad is not None:
                users[id(parameter)].add(source)
    for source in SOURCES:
        own = {id(parameter) for parameter in separator.own_parameters(source)}
        assert own == {key for key, found in users.items() if found == {source}}
    shared = [key for key, found in users.items() if len(found) > 1]
    assert bool(shared) == (name == "shared-encoder" and not options)
    assert all(len(users[key]) == 4 for key in shared)


@pytest.mark.parametrize("name", ["band-unet", "joint-unet", "multichannel-unet"])
def test_networks_that_compute_all_at_once_go_on_so(name: str) -> None:
    separator = small(name).eval()
    first, *_ = separator.sources
    assert not isinstance(separator.network, Divided)
    assert separator.own_parameters(first) == []
    with torch.inference_mode(), separator.estimating([first]):
        assert separator(mixture_for(separator)).estimates.shape[1] == len(separator.sources)


def test_a_residual_depends_on_all_sources() -> None:
    separator = small("open-unmix", sources=["vocals", "drums"], residual=True).eval()
    assert separator.own_parameters("vocals") == separator.own_parameters("residual") == []
    with torch.inference_mode(), separator.estimating(["vocals"]):
        assert separator.sources == ("vocals", "drums", "residual")
        assert separator(mixture_for(separator)).estimates.shape[1] == 3


def test_an_encoder_for_every_decoder() -> None:
    """Four independent networks of Doire & Okubadejo (2019): 7 948 168 parameters."""
    with torch.device("meta"):
        separate = build("shared-encoder", separate=True)
    assert separate.parameter_count == 7_948_168
    assert {len(separate.own_parameters(name)) for name in SOURCES} == {
        len(list(separate.parameters())) // 4
    }


def test_independent_networks_are_combined_and_have_no_encoder_to_share() -> None:
    singles = [small("shared-encoder", sources=[name], separate=True).eval() for name in "ab"]
    combined = combine(singles).eval()
    mixture = mixture_for(combined)
    with torch.inference_mode():
        together = combined(mixture).estimates
        for index, one in enumerate(singles):
            torch.testing.assert_close(together[:, index], one(mixture).estimates[:, 0])
    assert isinstance(combined, SharedEncoder)
    combined.set_statistics(torch.zeros(1025), torch.full((1025,), 2.0))
    scales = [value for name, value in combined.named_buffers() if name.endswith("input_scale")]
    assert [float(scale[7]) for scale in scales] == [0.5, 0.5]
    with pytest.raises(ModelError, match="none that is shared: build it without `separate`"):
        combined.with_sources(["c"])
