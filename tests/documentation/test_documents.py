"""What the documents show works, and what they point to exists."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import typer
from page_examples import PAGES, ROOT, blocks

# typer may bring its own copy of click, so its exceptions are found through the one it exports
_Usage = cast("type[Exception]", typer.BadParameter.__mro__[1])


def test_the_new_network_of_the_architecture_page_separates_exactly() -> None:
    from stemwise.models import separator
    from stemwise.separation import Engine, Options

    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(class .*?)```", text, re.DOTALL)
    names: dict[str, Any] = {**vars(separator), "nn": torch.nn}
    exec(code, names)
    torch.manual_seed(0)
    network = names["Plain"](hidden=8)
    song = np.random.default_rng(0).standard_normal((2, 2 * 44100)).astype(np.float32) * 0.1
    results = []
    for segment in (60.0, 0.5):
        engine = Engine(network, Options(segment=segment, precision="fp32", device="cpu"))
        stream = list(engine.stream([song], 44100, 2))
        results.append(np.concatenate([block.stems for block in stream], axis=-1))
    assert results[0].shape == (2, 2, 2 * 44100)
    assert np.abs(results[0] - results[1]).max() <= 1e-5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_the_pages_are_understood(page: Path) -> None:
    for line, whole in commands(page):
        problem = _refused(line)
        # text may name a command without all that it needs
        short = problem is not None and re.search("Missing|requires an argument", problem)
        assert problem is None or (short and not whole), f"{page.name}: {line}: {problem}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_programs_of_the_pages_name_what_exists(page: Path) -> None:
    for block in blocks(page):
        if block.kind != "python":
            continue
        tree = ast.parse(block.text, f"{page.name}:{block.line}")
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stemwise"):
                module = import_module(node.module or "")
                for name in node.names:
                    found = hasattr(module, name.name) or _is_module(f"{node.module}.{name.name}")
                    assert found, f"{page.name}:{block.line}: {node.module} has no {name.name}"


def _is_module(name: str) -> bool:
    return find_spec(name) is not None


def test_commands_are_found() -> None:
    found = [line for page in PAGES for line, whole in commands(page) if whole]
    assert len(found) > 100
    assert {"separate", "detect", "train", "evaluate"} <= {line.split()[0] for line in found}


@pytest.mark.parametrize(
    "line",
    [
        "separate",
        "separate song.mp3 --gates median",
        "separat song.mp3",
        "train -j x",
        "store chek s",
    ],
)
def test_wrong_commands_are_refused(line: str) -> None:
    assert _refused(line) is not None


def commands(page: Path) -> Iterator[tuple[str, bool]]:
    """Arguments of every `stemwise` a page shows, and whether it is a whole command line."""
    text = page.read_text(encoding="utf-8")
    for block in blocks(page):
        if block.kind in ("", "sh", "bash", "text"):
            for line in block.text.replace("\\\n", " ").splitlines():
                if found := re.match(_STARTS, line):
                    yield _without_comment(line[found.end() :]), block.kind == "sh"
        text = text.replace(block.text, "")
    for line in re.findall(r"^ {4}stemwise (.+)$", text, re.MULTILINE):
        yield _without_comment(line), True
    for line in re.findall(r"`stemwise ([a-z][^`]*)`", text):
        yield " ".join(line.split()), False


_STARTS = r"^ *(?:\$ )?(?:srun |torchrun .*-m )?(?:stemwise|python mine\.py) +(?=[a-z-])"


def _without_comment(line: str) -> str:
    return re.split(r"(?:^|\s)#", re.split(r"\s[>|](?:\s|$)", line)[0])[0].strip()


def _refused(line: str) -> str | None:
    """Why the real command line does not take these arguments; None where it does."""
    from stemwise.cli import app

    command: Any = typer.main.get_command(app)
    name, arguments, context = "stemwise", shlex.split(line), None
    try:
        while True:
            context = command.make_context(name, arguments, parent=context)
            if not hasattr(command, "resolve_command"):
                return None
            arguments = [*context._protected_args, *context.args]
            name, command, arguments = command.resolve_command(context, arguments)
    except _Usage as error:
        return str(getattr(error, "format_message", error.__str__)())
    except typer.Exit:  # --help, --version
        return None
