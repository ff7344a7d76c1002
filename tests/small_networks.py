"""Every network of the registry, small enough to be run many times."""

from __future__ import annotations

from typing import Any

import torch

from stemwise.models import Separator, build

SMALL: dict[str, dict[str, Any]] = {
    "band-unet": {"widths": [8, 8, 8, 8, 8], "squeezed": 2, "hidden": 16},
    "conditioned-unet": {"features": [4, 6, 8, 10], "control": [4, 8, 16], "activity": True},
    "iass": {"features": 4},
    "joint-unet": {"features": 4},
    "multichannel-unet": {"features": [4, 6, 8, 10], "activity": True},
    "open-unmix": {"hidden": 16, "layers": 2, "n_fft": 1024, "hop": 256, "activity": True},
    "open-unmix-transformer": {
        "hidden": 16,
        "layers": 2,
        "heads": 2,
        "feed_forward": 16,
        "n_fft": 1024,
        "hop": 256,
        "activity": True,
    },
    "shared-encoder": {"features": 4, "activity": True},
    "waveform-unmix": {"levels": 6, "features": 4, "hidden": 8, "layers": 1, "activity": True},
}


def small(name: str, **options: Any) -> Separator:
    """A small network with random weights, in training mode.

    Its batch statistics are as after training: those of a new network would hide errors.
    """
    torch.manual_seed(0)
    network = build(name, **{**SMALL[name], **options})
    generator = torch.Generator().manual_seed(1)
    for key, buffer in network.named_buffers():
        if key.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.3)
    return network
