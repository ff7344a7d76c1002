"""The joint U-Net to the letter of its paper: parameters, shapes, equivariance, heads."""

from __future__ import annotations

import pytest
import torch

from stemwise.models import build
from stemwise.models.joint_unet import JointUNet, JointUNetBase, JointUNetNetwork


def test_parameter_counts() -> None:
    base = JointUNetBase()
    assert sum(p.numel() for p in base.parameters()) == 3_449_440
    network = build("joint-unet")
    assert isinstance(network, JointUNet)
    assert network.parameter_count == 3_453_863
    inner = network.network
    assert isinstance(inner, JointUNetNetwork)
    assert sum(p.numel() for p in inner.separation.parameters()) == 36
    assert inner.detection is not None
    assert sum(p.numel() for p in inner.detection.parameters()) == 4_387


def test_shapes_of_the_published_figure() -> None:
    base, seen = JointUNetBase(), []
    for name, module in base.named_modules():
        if name.count(".") == 1 or name in ("first", "squeeze", "spread"):
            module.register_forward_hook(
                lambda _m, _i, out, name=name: seen.append((name, tuple(out.shape[1:])))
            )
    out = base(torch.zeros(1, 1, 257, 222))
    assert out.shape == (1, 17, 258, 130)
    assert dict(seen) == {
        "first": (16, 348, 220),
        "down.0": (32, 172, 108),
        "down.1": (64, 84, 52),
        "down.2": (128, 40, 24),
        "down.3": (256, 18, 10),
        "squeeze": (256, 1, 10),
        "spread": (256, 18, 10),
        "up.0": (128, 36, 20),
        "merge.0": (128, 34, 18),
        "up.1": (64, 68, 36),
        "merge.1": (64, 66, 34),
        "up.2": (32, 132, 68),
        "merge.2": (32, 130, 66),
        "up.3": (16, 260, 132),
        "merge.3": (16, 258, 130),
    }


def test_prediction_and_its_waveforms() -> None:
    network = build("joint-unet", features=4).eval()
    samples = 221 * 256
    assert network.grid.input_length(samples) == samples
    mixture = torch.randn(2, 1, samples, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        prediction = network(mixture)
        stems = network.reconstruct(prediction)
        reference = network.represent(mixture.unsqueeze(1))
    assert prediction.masks is not None
    assert prediction.activity is not None
    assert prediction.masks.shape == (2, 2, 1, 257, 130)
    assert prediction.activity.shape == (2, 1, 130)
    assert 0 <= float(prediction.masks.min()) <= float(prediction.masks.max()) <= 1
    assert stems.shape == (2, 2, 1, 129 * 256)
    # the mixture as its own reference: same crop, same scale
    torch.testing.assert_close(reference[:, 0], prediction.mixture)


def test_without_detection_head() -> None:
    network = build("joint-unet", features=4, detection=False)
    assert network.activity_sources == ()
    assert network(torch.zeros(1, 1, 109 * 256)).activity is None


def test_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="input_length"):
        build("joint-unet", features=4)(torch.zeros(1, 1, 100 * 256))


def test_shift_by_sixteen_frames() -> None:
    """Four poolings: a shift of the song by 16 frames shifts the output by as much."""
    torch.manual_seed(0)
    base = JointUNetBase(4).eval()
    song = torch.rand(1, 1, 257, 238)
    with torch.inference_mode():
        long, late = base(song), base(song[..., 16:])
    torch.testing.assert_close(long[..., 16:], late, rtol=0, atol=1e-5)
