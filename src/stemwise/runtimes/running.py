"""From a separator to one whose network another runtime computes: made once, checked, kept."""

from __future__ import annotations

import copy
import tempfile
import threading
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from stemwise.errors import ModelError
from stemwise.models.separator import Separator
from stemwise.runtimes.export import BATCH, example, export
from stemwise.runtimes.kinds import BOUNDS, Difference, check_runtime, difference
from stemwise.runtimes.material import features, song
from stemwise.runtimes.quantise import folded, quantise, ranges
from stemwise.runtimes.sessions import CompiledNetwork, OnnxSession, OpenVinoSession, Session
from stemwise.runtimes.store import Entry, kept, key

SESSIONS: dict[str, type[Session]] = {"onnx": OnnxSession, "openvino": OpenVinoSession}

SEED = 5
"""Of the rendered song on which results are compared; none of those that gave the ranges."""
CHECKED = 5.0
"""Seconds of it."""

_ready: WeakKeyDictionary[nn.Module, dict[Any, nn.Module]] = WeakKeyDictionary()
_lock = threading.Lock()


def running(separator: Separator, runtime: str, precision: str) -> Separator:
    """A separator that shares all with the given one but its network, which `runtime` computes.

    The first call on a machine exports the network and compares it with PyTorch's, which takes some
    seconds; later ones find it in the cache, and those of the same process in memory. Raises
    ModelError where the runtime cannot do it, or not exactly enough; OutputError where the cache
    cannot be written.
    """
    device = _device(separator)
    check_runtime(runtime, precision, device)
    if runtime == "torch":
        return separator
    network = separator.network
    # weights that were trained further or loaded anew are another network
    state = tuple(one._version for one in network.state_dict().values())
    with _lock, torch.inference_mode(False), torch.no_grad():
        known = _ready.setdefault(network, {})
        place = runtime, precision, str(device), state
        if place not in known:
            known[place] = _network(separator, runtime, precision)
        replaced = known[place]
    return with_network(separator, replaced)


def _device(separator: Separator) -> torch.device:
    """Where the network is; one without parameters may be anywhere."""
    found = next(separator.network.parameters(), None)
    return torch.device("cpu") if found is None else found.device


def with_network(separator: Separator, network: nn.Module) -> Separator:
    """A copy of a separator that shares all with it but its network."""
    twin = copy.copy(separator)
    twin.__dict__["_modules"] = dict(separator._modules)
    twin.network = network
    return twin


def _network(separator: Separator, runtime: str, precision: str) -> nn.Module:
    if runtime == "compile":
        device = _device(separator)
        compiled = CompiledNetwork(separator.network, precision, device)
        check(separator, compiled, runtime, precision)
        return compiled
    facts, content = _file(separator, "int8" if precision == "int8" else "float")
    session = SESSIONS[runtime](content, precision, single=facts["single"])

    def compared() -> Entry:
        found = check(separator, session, runtime, precision)
        return {"rms": found.rms, "largest": found.largest}, b""

    kept(key(separator, runtime, precision), compared)
    return session


def _file(separator: Separator, kind: str) -> Entry:
    """The ONNX file of a network, "float" or "int8"; single: it takes one item at a time."""

    def make() -> Entry:
        if kind == "int8":
            seen = ranges(separator)
            facts, content = _file(separator, "float")
            return facts, _quantised(content, seen)
        source = with_network(separator, folded(separator.network))
        with tempfile.TemporaryDirectory(prefix="stemwise-") as folder:
            exported = export(source, Path(folder) / "network.onnx", check=False)
            content = exported.path.read_bytes()
        return {"single": all(BATCH not in port.axes for port in exported.inputs)}, content

    return kept(key(separator, kind), make)


def _quantised(content: bytes, seen: dict[str, tuple[float, float]]) -> bytes:
    import onnx

    model = onnx.load_from_string(content)
    quantise(model, seen)
    found: bytes = model.SerializeToString()
    return found


def check(separator: Separator, network: nn.Module, runtime: str, precision: str) -> Difference:
    """Compare a network's outputs with eager fp32's.

    On noise of two lengths and batches; on a rendered song where it computes in int8, whose ranges
    are those of music. Raises ModelError where they are further apart than the precision allows.
    """
    found = Difference(0.0, 0.0)
    device = _device(separator)
    if precision == "int8":
        trials = [features(separator, song(separator, SEED, CHECKED))]
    else:
        trials = [example(separator, batch, steps, seed=1) for batch, steps in ((1, 0), (2, 2))]
    for trial in trials:
        inputs = tuple(one.to(device) for one in trial)
        one = difference(separator.network(*inputs), network(*inputs))
        found = max(found, one, key=lambda each: each.rms)
    if found.rms == float("inf"):
        raise ModelError(
            f"The runtime {runtime!r} in {precision} returns other shapes than PyTorch, or values "
            f"that are not numbers, for {separator.kind!r}: choose another."
        )
    if not found.rms <= BOUNDS[precision]:
        raise ModelError(
            f"The runtime {runtime!r} in {precision} differs from PyTorch by {found.rms:.1e}, more "
            f"than {BOUNDS[precision]:.0e}, for {separator.kind!r}: choose another."
        )
    return found
