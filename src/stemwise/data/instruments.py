"""Which source an instrument of MedleyDB or Mixing Secrets belongs to: `instruments.yaml`.

The six targets are those of Hung & Lerch, "Multitask learning for instrument activation aware music
source separation" (ISMIR 2020); all other instruments belong to a family, e.g. strings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files

import yaml

TARGETS = ("vocals", "drums", "bass", "electric guitar", "acoustic guitar", "piano")


@cache
def instrument_table() -> Mapping[str, str]:
    """Source of every known instrument, by its name in lower case."""
    text = files("stemwise.data").joinpath("instruments.yaml").read_text(encoding="utf-8")
    sources: Mapping[str, list[str]] = yaml.safe_load(text)
    return {name: source for source, names in sources.items() for name in names}


def source_of(instruments: str | Sequence[str]) -> str | None:
    """The source that a stem of these instruments belongs to; None where they are of several.

    Raises KeyError with the name that the table does not know.
    """
    names = [instruments] if isinstance(instruments, str) else instruments
    table = instrument_table()
    sources = {table[name.strip().lower()] for name in names}
    return sources.pop() if len(sources) == 1 else None


def sources_within(instruments: str | Sequence[str]) -> set[str]:
    """Every source that is heard in a stem of these instruments; raises KeyError."""
    names = [instruments] if isinstance(instruments, str) else instruments
    return {instrument_table()[name.strip().lower()] for name in names}


def unmapped(names: Iterable[str | Sequence[str]]) -> dict[str, int]:
    """Instrument names that the table does not know, each with how often it occurs."""
    flat = (name for one in names for name in ([one] if isinstance(one, str) else one))
    table = instrument_table()
    return dict(sorted(Counter(name for name in flat if name.strip().lower() not in table).items()))
