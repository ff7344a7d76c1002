"""What a network looks like inside: its layers, their shapes and their parameters.

Nothing is computed for it: networks are built on the meta device, and run on tensors that have a
shape and no content, so that one of 124 million parameters is described as quickly as a small one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from stemwise.models.registry import build
from stemwise.models.separator import Separator


@dataclass(frozen=True)
class Layer:
    """One module of a network, in the order in which the modules were made."""

    name: str
    """Path from the separator, as in the names of its parameters."""
    type: str
    outputs: tuple[tuple[int, ...], ...]
    """Shapes it returned when it first ran, batch first where it has one; none: it did not run."""
    calls: int
    """How often one pass runs it."""
    parameters: int
    """Trainable parameters of the module and all modules in it."""
    own_parameters: int
    """Those that are of no module in it: over all layers they sum to the network's."""

    @property
    def depth(self) -> int:
        """Modules it lies in."""
        return self.name.count(".")

    def to_json(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**asdict(self), "outputs": [list(shape) for shape in self.outputs]}


def outline(name: str, **config: Any) -> Separator:
    """A network without numbers: its facts and parameter shapes, in no time and no memory.

    Arguments and errors are those of `stemwise.models.build`. Its parameters are on the meta
    device: it can be counted, neither run nor saved. A network whose constructor looks at numbers
    is built with them.
    """
    try:
        with torch.device("meta"):
            return build(name, **config)
    except RuntimeError:
        return build(name, **config)


def sample_length(separator: Separator) -> int:
    """Samples of an input that leaves every part of the network something to do.

    A second or a little more, besides what valid convolutions take away.
    """
    grid = separator.grid
    if not grid.padded:
        return separator.sample_rate
    return grid.input_length(grid.crop * 2 + max(separator.sample_rate, grid.alignment))


def layers(name: str, **config: Any) -> list[Layer]:
    """The modules of a network with the shapes they return for one song of `sample_length`.

    Arguments and errors are those of `stemwise.models.build`. A network that looks at numbers on
    its way is computed with random weights.
    """
    try:
        with FakeTensorMode():
            return list(_run(build(name, **config).eval()))
    except RuntimeError:
        return list(_run(build(name, **config).eval()))


def _run(separator: Separator) -> Iterator[Layer]:
    shapes: dict[str, tuple[tuple[int, ...], ...]] = {}
    calls: dict[str, int] = {}

    def watch(name: str, module: nn.Module) -> None:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            shapes.setdefault(name, tuple(tuple(one.shape) for one in tensors(output)))
            calls[name] = calls.get(name, 0) + 1

        module.register_forward_hook(hook)

    modules = [(name, module) for name, module in separator.named_modules() if name]
    for name, module in modules:
        watch(name, module)
    with torch.no_grad():
        separator(torch.zeros(1, separator.channels, sample_length(separator)))
    for name, module in modules:
        yield Layer(
            name,
            type(module).__name__,
            shapes.get(name, ()),
            calls.get(name, 0),
            _count(module, recurse=True),
            _count(module, recurse=False),
        )


def tensors(output: Any) -> Iterator[Tensor]:
    """The tensors of what a module returned, however deep in tuples, lists and mappings."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict):
        for one in output.values():
            yield from tensors(one)
    elif isinstance(output, (tuple, list)):
        for one in output:
            yield from tensors(one)


def _count(module: nn.Module, *, recurse: bool) -> int:
    return sum(p.numel() for p in module.parameters(recurse) if p.requires_grad)
