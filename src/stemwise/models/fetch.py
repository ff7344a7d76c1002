"""Published weights brought into the cache: downloaded, checked, converted, kept as one checkpoint.

Pickled files are read as plain tensors only (`weights_only=True`): they cannot run code. Once
converted they are removed.
"""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from stemwise.errors import ModelError, OutputError
from stemwise.models.catalogue import PublishedFile, Weights
from stemwise.models.checkpoint import misfits, save
from stemwise.models.download import digest, download, exclusive
from stemwise.models.registry import build

if TYPE_CHECKING:
    from torch import Tensor

Progress = Callable[[str, int, "int | None"], None]
"""Called with a file's name, the bytes that are here, and its size where that is known."""

BUFFERS = frozenset({"sample_rate", "stft.window", "transform.0.window"})
"""What published files hold of the short-time transform that was once a part of the network."""


def fetch(
    weights: Weights,
    *,
    offline: bool = False,
    progress: Progress | None = None,
    waiting: Callable[[], None] | None = None,
) -> Path:
    """The checkpoint of a trained model; published weights are downloaded where it is missing.

    offline (or $STEMWISE_OFFLINE=1): never use the network. waiting: called where another process
    is bringing the same weights, which this one then waits for. Files that were put into the
    cache by hand are taken. Raises ModelError, DownloadError or OutputError, and the cache then
    holds no checkpoint of that name.
    """
    if weights.present:
        return weights.path
    if not weights.published:
        raise ModelError(
            f"The weights of {weights.name!r} are missing from this installation "
            f"({weights.path}): install stemwise again."
        )
    folder = weights.path.parent / weights.name
    if offline or _forbidden():
        _refuse_missing(weights, folder)
    with _writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder.with_name(f".{weights.name}.lock"), waiting):
        if not weights.present:  # another process may have brought them while this one waited
            _bring(weights, folder, progress)
    return weights.path


def _forbidden() -> bool:
    return os.environ.get("STEMWISE_OFFLINE", "").strip().lower() not in ("", "0", "false", "no")


def _refuse_missing(weights: Weights, folder: Path) -> None:
    missing = [one for one in weights.published if not _intact(folder / one.name, one)]
    if missing:
        names = ", ".join(one.name for one in missing)
        raise ModelError(
            f"The weights of {weights.name!r} are not on this computer, and the network may not be "
            f"used: run once without --offline and STEMWISE_OFFLINE, or put {names} from "
            f"{missing[0].url.rpartition('/')[0]} into {folder}."
        )


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"Cannot use {path}: {error.strerror or error}.") from error


def _intact(path: Path, file: PublishedFile) -> bool:
    with _writable(path):
        return path.is_file() and digest(path).startswith(file.sha256)


def _bring(weights: Weights, folder: Path, progress: Progress | None) -> None:
    """Download what is missing, convert it, and remove what was downloaded."""
    for file in weights.published:
        path = folder / file.name
        if not _intact(path, file):
            download(file.url, path, file.sha256, progress=_named(file.name, progress))
    try:
        _convert(weights, folder)
    except ModelError:
        _remove(weights, folder)  # what does not fit would not fit the next time either
        raise
    _remove(weights, folder)


def _remove(weights: Weights, folder: Path) -> None:
    for file in weights.published:
        (folder / file.name).unlink(missing_ok=True)
    with suppress(OSError):  # somebody may keep files of their own there
        folder.rmdir()


def _named(name: str, progress: Progress | None) -> Callable[[int, int | None], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(name, done, total)


def _convert(weights: Weights, folder: Path) -> None:
    """Write the checkpoint of the published files. Raises ModelError, listing what does not fit."""
    separator = build(weights.network, **weights.config)
    state = separator.state_dict()
    for file in weights.published:
        prefix = f"network.members.{file.source}."
        expected = {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}
        for key, value in _read(folder / file.name, expected).items():
            state[prefix + key].copy_(value)
    save(
        separator,
        weights.path,
        licence=weights.licence,
        reference=weights.reference,
        sha256={one.name: digest(folder / one.name) for one in weights.published},
    )


def _read(path: Path, expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a published file, which are all that are expected and no others."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd pickles, which are refused below
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (
        OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError, AttributeError,
        pickle.UnpicklingError,
    ) as error:  # fmt: skip
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ModelError(f"{path.name} holds no weights that can be read ({reason}).") from error
    if not isinstance(found, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in found.items()
    ):
        raise ModelError(f"{path.name} holds something else than tensors by name.")
    tensors = {key: value for key, value in found.items() if key not in BUFFERS}
    problems = misfits(expected, tensors)
    if problems:
        raise ModelError(f"{path.name} does not fit the network: {problems}.")
    return tensors
