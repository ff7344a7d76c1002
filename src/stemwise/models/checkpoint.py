"""Weights on disk: safetensors with the network's name and configuration as JSON in the header."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemwise.errors import ModelError, OutputError, hint
from stemwise.models.catalogue import weights
from stemwise.models.registry import NETWORKS, build

if TYPE_CHECKING:
    import torch

    from stemwise.models.separator import Separator

HEADER = "stemwise"


@dataclass(frozen=True)
class Card:
    """What a checkpoint says of itself: network, configuration, and how it was made."""

    network: str
    config: dict[str, Any]
    metadata: dict[str, Any] = field(default_factory=dict)


def save(separator: Separator, path: str | Path, *, half: bool = False, **metadata: Any) -> None:
    """Write a separator's weights, atomically.

    half: store floating-point tensors in 16 bits, but in 32 those with values that 16 cannot hold
    (running variances may exceed 65 504). metadata: JSON-ready facts (the recipe, what was
    measured) kept in the header. Raises OutputError where the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(path)
    tensors = {name: _stored(value, half) for name, value in separator.state_dict().items()}
    header = {"network": separator.kind, "config": separator.config, "metadata": metadata}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        save_file(tensors, temporary, {HEADER: json.dumps(header)})
        temporary.chmod(mode)  # safetensors lets only the owner read, whatever the umask
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"Cannot write the checkpoint {path}: {error}.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _stored(tensor: torch.Tensor, half: bool) -> torch.Tensor:
    tensor = tensor.detach().cpu().contiguous()
    if half and tensor.is_floating_point():
        halved = tensor.half()
        if bool((halved.isfinite() == tensor.isfinite()).all()):
            return halved
    return tensor.clone()


def locate(name: str | Path) -> Path:
    """The checkpoint file of a trained model's name or of a path. Raises ModelError for neither."""
    known = weights()
    if str(name) in known:
        entry = known[str(name)]
        if not entry.present:
            cure = "load them once" if entry.published else "install stemwise again"
            raise ModelError(f"The weights of {entry.name!r} are not at {entry.path}: {cure}.")
        return entry.path
    path = Path(name)
    if path.is_file():
        return path
    if path.suffix or os.sep in str(name):
        raise ModelError(f"There is no checkpoint {path}.")
    if str(name) in NETWORKS:
        raise ModelError(
            f"{str(name)!r} is a network without trained weights: "
            "train it, and give the checkpoint's path."
        )
    raise ModelError(f"There is no model {str(name)!r}: {hint(str(name), sorted(known))}")


def read_card(name: str | Path) -> Card:
    """Read what a checkpoint says of itself, without its weights."""
    from safetensors import SafetensorError, safe_open

    path = locate(name)
    try:
        with safe_open(path, framework="np") as file:
            header = (file.metadata() or {}).get(HEADER)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is not a readable safetensors file: {error}.") from error
    if header is None:
        raise ModelError(f"{path} was not written by stemwise: its header names no network.")
    content = json.loads(header)
    return Card(content["network"], content["config"], content.get("metadata", {}))


def misfits(expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> str:
    """What is missing, unexpected or of another shape in `found`, by name; "" where all fits."""
    problems = [f"missing {key}" for key in expected if key not in found]
    problems += [f"unexpected {key}" for key in found if key not in expected]
    problems += [
        f"{key} is {tuple(found[key].shape)}, not {tuple(value.shape)}"
        for key, value in expected.items()
        if key in found and found[key].shape != value.shape
    ]
    return "; ".join(problems[:8]) + (" ..." if len(problems) > 8 else "")


def load(name: str | Path, device: str | torch.device = "cpu", **config: Any) -> Separator:
    """A separator with trained weights, ready for inference.

    name: a trained model, whose weights are downloaded where they are published and not here yet,
    or a checkpoint's path. config: options that replace the stored ones and leave the parameters'
    shapes alone (`sample_rate=` of `band-unet`). Raises ModelError, listing what does not fit, and
    never loads in part; DownloadError where weights cannot be downloaded.
    """
    from safetensors.torch import load_file

    from stemwise.models.fetch import fetch

    known = weights().get(str(name))
    path = locate(name) if known is None else fetch(known)
    card = read_card(path)
    separator = build(card.network, **{**card.config, **config})
    tensors = load_file(path)
    problems = misfits(separator.state_dict(), tensors)
    if problems:
        raise ModelError(f"{path} does not fit the network {card.network!r}: {problems}.")
    separator.load_state_dict(tensors)
    return separator.to(device).eval()
