"""Closed-form distances equal the same expression in autograd, value and gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from stemwise.training.masked import (
    masked_complex_distance,
    masked_distance,
    masked_magnitude_distance,
)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_equals_autograd(weight: float) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (2, 3, 2, 9, 7)
    stems = torch.randn(shape, generator=generator, dtype=torch.complex64)
    mixture = torch.randn(2, 2, 9, 7, generator=generator, dtype=torch.complex64)
    masks = torch.rand(shape, generator=generator).requires_grad_()
    grads = torch.rand(2, 3, generator=generator)

    distance = masked_distance(masks, mixture, stems, weight)
    (gradient,) = torch.autograd.grad(distance, masks, grads)

    estimates = masks * mixture.unsqueeze(1)
    magnitude = (estimates.abs() - stems.abs()).abs()
    plain = weight * (estimates - stems).abs() + (1 - weight) * magnitude
    plain = plain.flatten(2).mean(dim=2)
    (expected,) = torch.autograd.grad(plain, masks, grads)
    torch.testing.assert_close(distance, plain, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("plane", ["complex", "magnitudes"])
def test_plain_distances_equal_autograd(plane: str, squared: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (2, 3, 2, 9, 7)
    stems = torch.randn(shape, generator=generator, dtype=torch.complex64)
    mixture = torch.randn(2, 2, 9, 7, generator=generator, dtype=torch.complex64)
    masks = torch.rand(shape, generator=generator).requires_grad_()
    grads = torch.rand(2, 3, generator=generator)

    closed = masked_complex_distance if plane == "complex" else masked_magnitude_distance
    distance = closed(masks, mixture, stems, squared=squared)
    (gradient,) = torch.autograd.grad(distance, masks, grads, retain_graph=True)
    (again,) = torch.autograd.grad(distance, masks, grads)
    assert torch.equal(gradient, again), "what is kept for the gradient stays as it is"

    estimates = masks * mixture.unsqueeze(1)
    if plane == "complex":
        difference = (estimates - stems).abs()
    else:
        difference = (estimates.abs() - stems.abs()).abs()
    plain = (difference.square() if squared else difference).flatten(2).mean(dim=2)
    (expected,) = torch.autograd.grad(plain, masks, grads)
    torch.testing.assert_close(distance, plain)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize(
    "distance",
    [
        partial(masked_distance, complex_weight=0.5),
        partial(masked_complex_distance, squared=False),
        partial(masked_complex_distance, squared=True),
        partial(masked_magnitude_distance, squared=False),
        partial(masked_magnitude_distance, squared=True),
    ],
)
def test_perfect_masks_have_finite_gradients(distance: Callable[..., Tensor]) -> None:
    mixture = torch.randn(1, 2, 5, 4, dtype=torch.complex64)
    masks = torch.full((1, 2, 2, 5, 4), 0.5, requires_grad=True)
    stems = (0.5 * mixture).unsqueeze(1).expand(1, 2, 2, 5, 4)
    loss = distance(masks, mixture, stems)
    (gradient,) = torch.autograd.grad(loss.sum(), masks)
    assert bool(torch.isfinite(gradient).all())
    assert float(loss.detach().max()) < 1e-5
