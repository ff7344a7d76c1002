"""The errors a user may meet: each message is one sentence: what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches


class StemwiseError(Exception):
    """Base of every error meant for the user; commands print it and exit non-zero."""


class AudioError(StemwiseError):
    """A file that cannot be read or written as audio."""


class ModelError(StemwiseError):
    """An unknown model, or a checkpoint that does not fit its network."""


class DataError(StemwiseError):
    """A data set, track or label file that breaks its contract."""


class EvaluationError(StemwiseError):
    """References and estimates that cannot be scored against each other."""


class RecipeError(StemwiseError):
    """A training recipe with unknown, missing or contradictory keys."""


class OutputError(StemwiseError):
    """A result that cannot be written where it was asked for."""


class CatalogueError(StemwiseError):
    """Songs of a run that cannot be found or told apart, or a ledger that does not fit."""


class Cancelled(StemwiseError):  # noqa: N818  # it is no error to be asked to stop
    """Work that was stopped on request before its end."""


class AudioWarning(UserWarning):
    """Audio that was read, or its cover written, only in part."""


def closest(name: str, known: Sequence[str], cutoff: float = 0.6) -> str | None:
    """The known name most like `name`; None where none is like it by `cutoff`, 0 to 1."""
    close = get_close_matches(name, known, n=1, cutoff=cutoff)
    return close[0] if close else None


def hint(name: str, known: Sequence[str], *, otherwise: str = "there are") -> str:
    """End of a sentence on an unknown name: what was meant, or `otherwise` and all there are."""
    close = closest(name, known)
    return f"{otherwise} {', '.join(known)}." if close is None else f"did you mean {close!r}?"
