"""Pages whose blocks are run: from top to bottom, in an empty folder, by fresh interpreters.

A block with a title is a file of that name, one of `sh` is a script that must succeed, and one
of `python` without a title is a program. Blocks that install something are left out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.glob("**/*.md")])
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<kind>\w*)(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```\s*?$",
    re.MULTILINE | re.DOTALL,
)
_TITLE = re.compile(r'title="([^"]+)"')
LIMIT = 600
"""Seconds that a block may take on a busy machine."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page: its kind ("python", "sh", ...), title and text."""

    kind: str
    title: str | None
    text: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    """Fenced blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        indent = len(found["indent"])
        lines = [line[indent:] for line in found["text"].splitlines()]
        title = _TITLE.search(found["info"])
        line = text.count("\n", 0, found.start()) + 1
        yield Block(found["kind"], title and title[1], "\n".join(lines) + "\n", line)


def run_page(page: Path, folder: Path, **environment: str) -> str:
    """Run a page in an empty folder; returns what its programs printed. Fails with their errors."""
    printed = []
    for block in blocks(page):
        if block.title:
            (folder / block.title).write_text(block.text, encoding="utf-8")
        elif block.kind == "sh" and "pip install" not in block.text:
            printed.append(
                _run(
                    ["bash", "-euo", "pipefail", "-c", block.text], page, block, folder, environment
                )
            )
        elif block.kind == "python":
            printed.append(
                _run([sys.executable, "-c", block.text], page, block, folder, environment)
            )
    return "".join(printed)


def _run(
    command: list[str], page: Path, block: Block, folder: Path, changes: dict[str, str]
) -> str:
    scripts = str(Path(sys.executable).parent)
    environment = {
        **os.environ,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
        **changes,
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        text=True,
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )
    where = f"{page.relative_to(ROOT)}:{block.line}"
    assert done.returncode == 0, f"{where}\n{block.text}\n{done.stdout}\n{done.stderr}"
    return done.stdout
