"""The models that a studio offers: trained ones that are here, and checkpoints it was given.

What a model separates is known when its network is built, which needs torch: the worker does that,
and the server remembers it in a file until a checkpoint changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stemwise import __version__
from stemwise.audio import PartFile
from stemwise.errors import ModelError, hint
from stemwise.studio.names import is_stem_name
from stemwise.studio.settings import StudioError

DEFAULT = "band"


@dataclass(frozen=True)
class Candidate:
    """A model that can be used without a download; path: of its checkpoint."""

    name: str
    path: str
    description: str


@dataclass(frozen=True)
class Offer:
    """A model with what it separates, and the stems whose activity it tells."""

    name: str
    path: str
    description: str
    sources: tuple[str, ...]
    activity_sources: tuple[str, ...]


def candidates(more: Mapping[str, Path]) -> list[Candidate]:
    """The trained models that are on this computer, and `more` checkpoints by name.

    Raises StudioError where there is none or where one of the checkpoints is missing.
    """
    from stemwise.models.catalogue import weights

    found = {
        name: Candidate(name, str(known.path), known.summary)
        for name, known in weights().items()
        if known.present
    }
    for name, path in more.items():
        if not path.is_file():
            raise StudioError(f"There is no checkpoint {path}.")
        found[name] = Candidate(name, str(path.resolve()), f"the checkpoint {path.name}")
    if not found:
        raise StudioError("There is no model to offer: install stemwise again.")
    return list(found.values())


def describe(models: Iterable[Candidate]) -> list[Offer]:
    """What the models separate. Imports torch. Raises ModelError, StudioError."""
    from stemwise.models.checkpoint import read_card
    from stemwise.models.summary import outline

    found = []
    for one in models:
        card = read_card(one.path)
        separator = outline(card.network, **card.config)
        for source in separator.sources:
            if not is_stem_name(source):
                raise StudioError(
                    f"{one.path} has a stem called {source!r}, which cannot be a file's name."
                )
        found.append(Offer(**asdict(one), sources=tuple(separator.sources),
                           activity_sources=tuple(separator.activity_sources)))  # fmt: skip
    return found


def default(models: Mapping[str, Offer]) -> str:
    """The model that is used when none is named."""
    return DEFAULT if DEFAULT in models else next(iter(models))


def wanted_stems(offer: Offer, stems: str | None) -> tuple[str, ...]:
    """The stems of `vocals,drums` in the model's order; all of them for None or "".

    Raises ModelError for stems that the model has not.
    """
    names = [one.strip() for one in (stems or "").split(",") if one.strip()]
    for name in names:
        if name not in offer.sources:
            raise ModelError(f"The model has no stem {name!r}: {hint(name, offer.sources)}")
    return tuple(one for one in offer.sources if not names or one in names)


class Remembered:
    """Offers as they were described before, in a file, for checkpoints that have not changed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self, models: Iterable[Candidate]) -> list[Offer] | None:
        """The offers of these models, or None where one is new or has changed."""
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            known = {tuple(item["key"]): item["offer"] for item in content}
            return [_offer(known[_key(one)]) for one in models]
        except (OSError, ValueError, LookupError, TypeError):
            return None  # it is a memory only: the worker describes them again

    def save(self, models: Iterable[Candidate], found: Iterable[Offer]) -> None:
        """Remember offers."""
        content = [
            {"key": _key(one), "offer": asdict(offer)}
            for one, offer in zip(models, found, strict=True)
        ]
        with PartFile(self._path) as part:
            part.temporary.write_text(json.dumps(content), encoding="utf-8")


def _key(model: Candidate) -> tuple[str | int, ...]:
    status = Path(model.path).stat()
    return (*asdict(model).values(), status.st_size, status.st_mtime_ns, __version__)


def _offer(item: dict[str, Any]) -> Offer:
    sources, activity = tuple(item["sources"]), tuple(item["activity_sources"])
    return Offer(item["name"], item["path"], item["description"], sources, activity)
