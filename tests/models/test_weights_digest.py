"""Weights are told apart, also by whoever keeps what was known of them."""

from __future__ import annotations

import copy

import torch
from torch import nn

from stemwise.models.digest import weights_digest


def test_weights_that_change_in_place_are_others() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    twin = copy.deepcopy(network)
    first = weights_digest(network)
    assert weights_digest(twin) == first == weights_digest(network)
    with torch.no_grad():
        network[0].weight += 1
    assert weights_digest(network) not in (first, "")
    network.load_state_dict(twin.state_dict())
    assert weights_digest(network) == first
    assert weights_digest(twin.bfloat16()) != first
