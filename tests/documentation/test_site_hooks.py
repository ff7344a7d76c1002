"""What the site adds to pages and docstrings while it is built."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest
from page_examples import ROOT

pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install '.[docs]'")


def _hook(name: str) -> ModuleType:
    place = importlib.util.spec_from_file_location(name, ROOT / f"docs/hooks/{name}.py")
    assert place is not None
    assert place.loader is not None
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


def test_arguments_told_in_a_paragraph_become_a_list() -> None:
    listed = _hook("parameters").listed
    text = (
        "Read a stem.\n\nBlocks come as they are. path: the file. start, stop: samples;\nof its "
        "own rate. Raises AudioError for what is none.\n\nmusic: is no argument."
    )
    assert listed(text, {"path", "start", "stop"}) == (
        "Read a stem.\n\nBlocks come as they are.\n\n- `path`: the file.\n- `start`, `stop`: "
        "samples; of its own rate.\n\nRaises AudioError for what is none.\n\nmusic: is no argument."
    )


def test_sections_of_docstrings_stay_as_they_are() -> None:
    text = "Read.\n\nArgs:\n    path: the file.\n\nRaises:\n    AudioError: it is none."
    assert _hook("parameters").listed(text, {"path"}) == text


@pytest.mark.parametrize(
    ("document", "link", "target"),
    [
        ("faq.md", "../NOTICE", "NOTICE"),
        ("extend/loss.md", "../../src/stemwise/api.py", "src/stemwise/api.py"),
        ("extend/loss.md", "../losses.md", None),
        ("faq.md", "../no-such-file", None),
        ("faq.md", "../../outside", None),
        ("faq.md", "https://example.org/../NOTICE", None),
    ],
)
def test_links_that_leave_the_documents(document: str, link: str, target: str | None) -> None:
    assert _hook("repository_links")._outside(document, link) == target


def test_options_are_named_with_the_kind_of_their_values() -> None:
    hook = _hook("command_line")
    assert hook._code("-o, --out <path>") == "`-o, --out PATH`"
    assert hook._code("-j, --jobs <int range>") == "`-j, --jobs INT`"
    assert hook._code("SONG... <list[str]>") == "`SONG...`"
    assert hook._plain("{SONG...}...") == "SONG..."
