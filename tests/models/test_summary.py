"""Networks described without being computed: the same facts as those of real ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from small_networks import SMALL, small
from stemwise.errors import ModelError
from stemwise.models import registry
from stemwise.models.joint_unet import JointUNet
from stemwise.models.summary import Layer, layers, outline, sample_length


def _by_name(found: list[Layer]) -> dict[str, Layer]:
    return {layer.name: layer for layer in found}


@pytest.mark.parametrize("name", sorted(SMALL))
def test_counts_and_shapes_are_those_of_the_real_network(name: str) -> None:
    real, found = small(name).eval(), layers(name, **SMALL[name])
    assert outline(name, **SMALL[name]).parameter_count == real.parameter_count
    assert sum(layer.own_parameters for layer in found) == real.parameter_count
    assert _by_name(found)["network"].parameters == real.parameter_count
    shapes: list[tuple[int, ...]] = []
    real.network.register_forward_hook(
        lambda module, inputs, outputs: shapes.extend(tuple(one.shape) for one in outputs)
    )
    with torch.no_grad():
        real(torch.zeros(1, real.channels, sample_length(real)))
    assert _by_name(found)["network"].outputs == tuple(shapes)


def test_an_outline_has_no_numbers() -> None:
    with pytest.raises(ModelError, match="did you mean 'features'"):
        outline("joint-unet", feature=3)
    assert all(parameter.is_meta for parameter in outline("joint-unet").parameters())


def test_layers_are_in_order_with_their_depth_and_calls() -> None:
    found = layers("joint-unet", features=16)
    names = [layer.name for layer in found]
    assert names[:3] == ["network", "network.base", "network.base.first"]
    first = _by_name(found)["network.base.first"]
    assert (first.type, first.depth, first.calls) == ("Conv2d", 2, 1)
    assert first.parameters == first.own_parameters == 16 * 9 + 16
    assert first.outputs[0][:3] == (1, 16, 348)
    assert _by_name(found)["network.base.down"].calls == 0
    assert first.to_json()["outputs"] == [list(first.outputs[0])]


class Calibrated(JointUNet):
    """A network whose constructor and forward pass look at numbers."""

    def __init__(self, features: int = 4) -> None:
        super().__init__(features=features)
        self.level = float(torch.ones(3).sum())
        self.network = nn.Sequential(self.network)

    def predict(self, spectrum: torch.Tensor, outputs: tuple[torch.Tensor, ...]) -> Any:
        if float(outputs[0].max()) > self.level:
            raise ValueError("a mask above one")
        return super().predict(spectrum, outputs)


def test_networks_that_look_at_numbers_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = registry.Network(__name__, "Calibrated", "-")
    monkeypatch.setitem(registry.NETWORKS, "calibrated", entry)
    found = _by_name(layers("calibrated"))
    assert (
        found["network.0"].outputs == _by_name(layers("joint-unet", features=4))["network"].outputs
    )
    assert (
        outline("calibrated").parameter_count == outline("joint-unet", features=4).parameter_count
    )
