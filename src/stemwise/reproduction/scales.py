"""How large a reproduction is: the papers' own size, a night on a CPU, or a few steps."""

from __future__ import annotations

from dataclasses import dataclass

from stemwise.errors import EvaluationError, hint


@dataclass(frozen=True)
class Scale:
    """One size.

    Attributes:
        name: of the changes that a recipe makes for it.
        rendered: songs that are rendered where neither songs nor data sets are given; 0: none are.
        seconds: how long each of them is.
        most: songs of a stand-in set at most; None: all there are.
        tests: test songs among them at most; None: a share of them.
    """

    name: str
    rendered: int
    seconds: float
    most: int | None
    tests: int | None = None


SCALES = {
    "full": Scale("full", 0, 0.0, None),
    "small": Scale("small", 64, 50.0, 48),
    "smoke": Scale("smoke", 8, 7.0, 8, 1),
}


def scale(name: str) -> Scale:
    """A scale by its name; raises EvaluationError."""
    if name not in SCALES:
        raise EvaluationError(f"there is no scale '{name}': {hint(name, tuple(SCALES))}")
    return SCALES[name]
