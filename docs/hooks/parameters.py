"""Docstrings that tell of arguments in a paragraph, as lists on the site.

The code says `rate: in hertz. stems: float32 (channel, sample). Raises AudioError for ...`, which
is short beside the code and hard to scan on a page: here each argument gets a line of its own.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Class, Extension, Function

_NAMES = re.compile(r"(?:^|(?<=[.;:)] )|(?<=\n))((?:\*{0,2}\w+)(?:(?:, | and )\*{0,2}\w+)*): ")
_ERRORS = re.compile(r"(?<=[.;)]) (?=(?:Raises|Returns|Gives) )")


class Parameters(Extension):
    """Makes the lists when the modules have been read."""

    def on_function(self, *, func: Function, **kwargs: Any) -> None:
        """List the arguments that a docstring tells of."""
        if func.docstring:
            names = {one.name.lstrip("*") for one in func.parameters}
            func.docstring.value = listed(func.docstring.value, names)

    def on_class(self, *, cls: Class, **kwargs: Any) -> None:
        """List the fields and constructor's arguments that a docstring tells of."""
        if cls.docstring:
            names = {name for name, member in cls.members.items() if member.is_attribute}
            if isinstance(init := cls.members.get("__init__"), Function):
                names |= {one.name.lstrip("*") for one in init.parameters}
            cls.docstring.value = listed(cls.docstring.value, names)


def listed(text: str, names: set[str]) -> str:
    """The docstring with lists in the place of paragraphs that begin with an argument's name."""
    paragraphs = text.split("\n\n")
    return "\n\n".join([paragraphs[0], *(_list(one, names) for one in paragraphs[1:])])


def _list(paragraph: str, names: set[str]) -> str:
    found = [one for one in _NAMES.finditer(paragraph) if _known(one[1], names)]
    if not found or paragraph.startswith(("Args:", "Attributes:", "Raises:", "Returns:")):
        return paragraph
    parts = [paragraph[: found[0].start()].strip()] if found[0].start() else []
    items = []
    for one, following in zip(found, [*found[1:], None], strict=True):
        end = following.start() if following else len(paragraph)
        told, *rest = _ERRORS.split(" ".join(paragraph[one.end() : end].split()), maxsplit=1)
        shown = ", ".join(f"`{name}`" for name in re.split(r", | and ", one[1]))
        items.append(f"- {shown}: {told}")
    return "\n\n".join([*parts, "\n".join(items), *rest])


def _known(text: str, names: set[str]) -> bool:
    return all(name.lstrip("*") in names for name in re.split(r", | and ", text))
