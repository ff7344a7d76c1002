"""Convolutions in 8 bits: ranges seen on rendered songs, written into the ONNX file.

Only convolutions of 3 x 3 are quantised: they are nearly all of a U-Net's arithmetic, and what
surrounds them (input, masks, perceptrons, activity) stays in floating point. Weights are symmetric,
one scale for each output channel; activations have one scale for each convolution, and no zero
point other than 0, so that nothing but integers is multiplied.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from stemwise.errors import ModelError
from stemwise.models.separator import Separator
from stemwise.runtimes.material import features, song

SEEDS = (3, 11, 27, 40)
"""Of the rendered songs on which ranges are measured; no held-out render has these."""
SECONDS = 8.0
"""Of each song."""
SHARE = 0.9999
"""Of an input's values that are within its range; the rest is clipped."""


def quantisable(network: nn.Module) -> dict[str, nn.Conv2d]:
    """Convolutions of 3 x 3, by name."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3) and module.groups == 1
    }


def folded(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode with batch normalisation folded into the convolution before it."""
    network = copy.deepcopy(network).eval()
    for block in [one for one in network.modules() if isinstance(one, nn.Sequential)]:
        for (name, layer), (after, norm) in pairwise(list(block.named_children())):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(block, name, fuse_conv_bn_eval(layer, norm))
                setattr(block, after, nn.Identity())
    return network


def ranges(separator: Separator) -> dict[str, tuple[float, float]]:
    """Least and largest input of each quantisable convolution, less a few outliers.

    Measured on seconds of rendered songs, which need no instruments but those of this package.
    """
    convolutions = quantisable(separator.network)
    if not convolutions:
        raise ModelError(
            f"{separator.kind!r} has no convolutions of 3 x 3, which are what is computed in int8: "
            "choose another precision."
        )
    seen: dict[str, tuple[float, float]] = {}

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            low, high = _bounds(inputs[0])
            before = seen.get(name, (0.0, 0.0))
            seen[name] = min(low, before[0]), max(high, before[1])

        return hook

    hooks = [one.register_forward_pre_hook(watch(name)) for name, one in convolutions.items()]
    try:
        for seed in SEEDS:
            separator.network(*features(separator, song(separator, seed, SECONDS)))
    finally:
        for one in hooks:
            one.remove()
    return seen


def _bounds(values: Tensor) -> tuple[float, float]:
    """Between which all but 1 - SHARE of the values are; zero is always within."""
    values = values.detach().float().flatten()
    outside = max(1, round((1 - SHARE) * len(values)))
    high = float(values.topk(outside).values[-1])
    low = float((-values).topk(outside).values[-1])
    return min(0.0, -low), max(0.0, high)


def quantise(model: Any, seen: dict[str, tuple[float, float]]) -> None:
    """Write quantisation of inputs and weights into an ONNX model, by the convolutions' names.

    Raises ModelError where the model has none of them under its name.
    """
    from onnx import helper, numpy_helper

    weights = {one.name: one for one in model.graph.initializer}
    nodes: list[Any] = []
    added: list[Any] = []
    found = 0
    for node in model.graph.node:
        name = node.input[1].removesuffix(".weight") if node.op_type == "Conv" else ""
        if name in seen:
            found += 1
            weight = numpy_helper.to_array(weights[node.input[1]])
            scales = np.abs(weight).max(axis=(1, 2, 3)).clip(1e-12) / 127
            levels = np.rint(weight / scales[:, None, None, None]).astype(np.int8)
            low, high = seen[name]
            signed = low < 0
            scale = max(-low / 128, high / 127) if signed else high / 255
            kind = np.int8 if signed else np.uint8
            constants = {
                f"{name}.levels": levels,
                f"{name}.scales": scales.astype(np.float32),
                f"{name}.zeros": np.zeros(len(scales), np.int8),
                f"{name}.scale": np.array(max(scale, 1e-12), np.float32),
                f"{name}.zero": np.array(0, kind),
            }
            added += [numpy_helper.from_array(value, key) for key, value in constants.items()]
            levels_of = [f"{name}.scale", f"{name}.zero"]
            steps: tuple[tuple[str, list[str], str, dict[str, Any]], ...] = (
                ("QuantizeLinear", [node.input[0], *levels_of], f"{name}.in8", {}),
                ("DequantizeLinear", [f"{name}.in8", *levels_of], f"{name}.in", {}),
                (
                    "DequantizeLinear",
                    [f"{name}.levels", f"{name}.scales", f"{name}.zeros"],
                    f"{name}.weights",
                    {"axis": 0},
                ),
            )
            nodes += [
                helper.make_node(operator, inputs, [output], name=f"{output}.node", **options)
                for operator, inputs, output, options in steps
            ]
            node.input[0], node.input[1] = f"{name}.in", f"{name}.weights"
        nodes.append(node)
    if found < len(seen):
        raise ModelError(
            f"{len(seen) - found} of {len(seen)} convolutions lost their name when the network was "
            "exported, so that it cannot be computed in int8: choose another precision."
        )
    kept = [one for one in model.graph.initializer if one.name.removesuffix(".weight") not in seen]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend([*kept, *added])
