"""What tells weights apart: a hash of them."""

from __future__ import annotations

import hashlib
from weakref import WeakKeyDictionary

import torch
from torch import nn

_known: WeakKeyDictionary[nn.Module, tuple[tuple[int, ...], str]] = WeakKeyDictionary()


def weights_digest(module: nn.Module) -> str:
    """SHA-256 of the names and values of all parameters and buffers, in hexadecimal digits.

    Kept with the module until its weights are changed in place, as training and loading do.
    """
    state = module.state_dict()
    versions = tuple(tensor._version for tensor in state.values())
    if module in _known and _known[module][0] == versions:
        return _known[module][1]
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    _known[module] = versions, digest.hexdigest()
    return digest.hexdigest()
