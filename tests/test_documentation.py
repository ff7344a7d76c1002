"""What the documents show works, and what they point to exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])


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
        blocks = list(engine.stream([song], 44100, 2))
        results.append(np.concatenate([block.stems for block in blocks], axis=-1))
    assert results[0].shape == (2, 2, 2 * 44100)
    assert np.abs(results[0] - results[1]).max() <= 1e-5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_commands_and_options_of_the_readme_exist() -> None:
    from stemwise.cli import app

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shell = "".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    lines = re.findall(r"^stemwise ([\w-]+)([^#\n]*)", shell, re.MULTILINE)
    assert len(lines) >= 8
    for command, arguments in lines:
        result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
        assert result.exit_code == 0, f"stemwise {command} does not exist"
        shown = re.sub(r"\x1b\[[0-9;]*m", "", result.output)
        for option in re.findall(r"(?<= )--?[a-z][a-z-]*", arguments):
            assert re.search(rf"{option}\b", shown), f"stemwise {command} has no {option}"
