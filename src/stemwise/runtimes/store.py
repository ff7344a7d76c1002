"""Networks that were made for a runtime, kept in the cache folder: each whole, or not at all."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import platform
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from stemwise import __version__
from stemwise.cache import cache_folder
from stemwise.errors import OutputError
from stemwise.models.digest import weights_digest
from stemwise.models.separator import Separator

Entry = tuple[dict[str, Any], bytes]
"""What is known of a network, JSON-ready, and its file."""

_LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime", "openvino")
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")
"""Environment variables that keep libraries from using what the CPU can."""


def folder() -> Path:
    """Where networks and measurements are kept; may be deleted at any time."""
    return cache_folder("runtimes")


def key(separator: Separator, *facts: str) -> str:
    """A name for a network on this machine with these libraries."""
    parts = [model_digest(separator), machine(), libraries(), *facts]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return "-".join([separator.kind, *facts, digest[:20]])


def kept(name: str, make: Callable[[], Entry]) -> Entry:
    """The entry of this name; where there is none, or a damaged one, `make` makes it.

    Two processes may do so at once: each puts a whole file in place. Raises OutputError where the
    cache cannot be written, and what `make` raises.
    """
    path = folder() / f"{name}.network"
    found = _read(path)
    if found is not None:
        return found
    facts, content = make()
    body = json.dumps(facts).encode() + b"\n" + content
    write_whole(path, hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    return facts, content


def write_whole(path: Path, content: bytes) -> None:
    """Write a file of the cache under a temporary name, then rename it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(
            f"Cannot write {path}: {error.strerror or error}; "
            "STEMWISE_CACHE may name another folder for it."
        ) from error
    finally:
        with suppress(OSError):  # where nothing could be written, nothing is left
            temporary.unlink(missing_ok=True)


def _read(path: Path) -> Entry | None:
    """A whole entry, or None."""
    try:
        digest, _, body = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    if hashlib.sha256(body).hexdigest().encode() != digest:
        return None
    facts, _, content = body.partition(b"\n")
    return json.loads(facts), content


def model_digest(separator: Separator) -> str:
    """Of the network's kind, configuration and weights, and how much it crops."""
    weights = weights_digest(separator.network)
    facts = [separator.kind, separator.config, separator.grid.crop, weights]
    digest = hashlib.sha256(json.dumps(facts).encode())
    digest.update(Path(inspect.getfile(type(separator))).read_bytes())  # who changes it sees it
    return digest.hexdigest()


@cache
def machine() -> str:
    """The CPU's model and features, less what the environment forbids to use."""
    facts = [platform.machine(), torch.backends.cpu.get_cpu_capability()]
    facts += [f"{name}={os.environ[name]}" for name in _LIMITS if name in os.environ]
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return "; ".join([*facts, platform.processor()])
    wanted = ("model name", "flags", "Features")
    first = {line.partition(":")[0].strip(): line for line in reversed(lines)}
    return "; ".join([*facts, *(first[name] for name in wanted if name in first)])


@cache
def libraries() -> str:
    """Versions of all that make or run networks."""
    found = [f"stemwise {__version__}"]
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)
