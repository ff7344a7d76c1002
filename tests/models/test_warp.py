"""The frequency warp: against bilinear sampling by torch, and smooth masks there and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.interpolate import CubicSpline

from stemwise.models.warp import FrequencyWarp


def _sampled(x: torch.Tensor, rows: torch.Tensor, aligned: bool) -> torch.Tensor:
    """`x` (1, 1, bin, frame) at `rows`, by torch's bilinear sampling."""
    frames = x.shape[-1]
    columns = torch.linspace(-1, 1, frames)
    grid = torch.stack(
        [columns.expand(len(rows), -1), rows[:, None].expand(-1, frames)], dim=-1
    ).unsqueeze(0)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=aligned)


def _rows(bins: int, inverse: bool) -> torch.Tensor:
    y = torch.linspace(-1, 1, bins, dtype=torch.float64)
    if inverse:
        return (2 * torch.log(10 * y + 11) / math.log(21) - 1).float()
    return ((21 ** ((y + 1) / 2) - 11) / 10).float()


def _smooth_mask(points: int, seed: int) -> torch.Tensor:
    """A cubic curve through random `points` in 0..1, another for each of 16 frames."""
    rng = np.random.default_rng(seed)
    curve = CubicSpline(np.linspace(0, 511, points), rng.uniform(0, 1, (points, 16)))
    return torch.from_numpy(curve(np.arange(512)).clip(0, 1)).float()[None, None]


def test_both_directions_equal_bilinear_sampling() -> None:
    warp = FrequencyWarp()
    generator = torch.Generator().manual_seed(0)
    spectrum = torch.rand(1, 1, 512, 16, generator=generator)
    warped = warp(spectrum)
    assert warped.shape == (1, 1, 256, 16)
    expected = _sampled(spectrum, _rows(256, inverse=False), aligned=True)
    torch.testing.assert_close(warped, expected, rtol=0, atol=1e-4)
    back = warp.inverse(warped)
    assert back.shape == spectrum.shape
    expected = _sampled(warped, _rows(512, inverse=True), aligned=True)
    torch.testing.assert_close(back, expected, rtol=0, atol=1e-4)


def test_first_and_last_bin_stay_where_they_are() -> None:
    warp = FrequencyWarp()
    spectrum = torch.rand(512, 3, generator=torch.Generator().manual_seed(0))
    for resampled in (warp(spectrum), warp.inverse(warp(spectrum))):
        torch.testing.assert_close(resampled[[0, -1]], spectrum[[0, -1]], rtol=0, atol=1e-6)


@pytest.mark.parametrize("points", [4, 16, 32])
def test_inverse_restores_smooth_masks(points: int) -> None:
    mask = _smooth_mask(points, seed=points)
    warp = FrequencyWarp()
    error = float((warp.inverse(warp(mask)) - mask).abs().mean())
    assert error <= 1e-2
    # corners that are not aligned lose an order of magnitude: this measure sees the difference
    shifted = _sampled(mask, _rows(256, inverse=False), aligned=False)
    shifted = _sampled(shifted, _rows(512, inverse=True), aligned=False)
    assert float((shifted - mask).abs().mean()) > 2 * error


def test_constants_stay_constant_in_any_precision() -> None:
    warp = FrequencyWarp(33, 20)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        flat = torch.full((2, 33, 5), 0.75, dtype=dtype)
        back = warp.inverse(warp(flat))
        assert back.dtype == dtype
        torch.testing.assert_close(back, flat)


def test_what_is_above_zero_stays_above_zero() -> None:
    """Logarithms follow: a quiet bin beside a loud one must not become zero."""
    spectrum = torch.full((512, 2), 1e-10)
    spectrum[::2] = 1e3
    warp = FrequencyWarp()
    assert float(warp(spectrum).min()) > 0
    assert float(warp.inverse(warp(spectrum)).min()) > 0


def test_gradients_pass() -> None:
    warp = FrequencyWarp()
    mask = torch.rand(256, 2, requires_grad=True)
    warp.inverse(mask).sum().backward()
    assert mask.grad is not None
    # every linear bin hands its whole gradient on
    assert float(mask.grad.sum()) == pytest.approx(2 * 512, rel=1e-5)


def test_a_single_bin_is_refused() -> None:
    with pytest.raises(ValueError, match="two bins"):
        FrequencyWarp(512, 1)
