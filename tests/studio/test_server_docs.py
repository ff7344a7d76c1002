"""docs/studio.md: what it shows works, and what it lists is what there is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.documentation.page_examples import DOCS, Block, blocks
from tests.studio.conftest import Live, song

PAGE = DOCS / "studio.md"
ADDRESS = "http://127.0.0.1:8765"


def programs(kind: str) -> list[Block]:
    return [block for block in blocks(PAGE) if block.kind == kind]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    song(tmp_path / "song.wav", 1)
    return tmp_path


def run(live: Live, folder: Path, command: list[str], text: str) -> str:
    """Run an example in a folder with song.wav, with the address of the studio for tests."""
    assert ADDRESS in text
    text = text.replace(ADDRESS, str(live.client.base_url).rstrip("/"))
    done = subprocess.run(
        [*command, text], cwd=folder, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "no_proxy": "127.0.0.1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_shell_example(live: Live, folder: Path) -> None:
    [block] = programs("sh")
    before = len(live.studio.jobs.all())
    printed = run(live, folder, ["bash", "-euo", "pipefail", "-c"], block.text)
    assert '"state": "done"' in printed
    assert {one.name for one in folder.iterdir()} >= {"stems.zip", "karaoke.wav"}
    assert list(folder.glob("*vocals.flac"))
    assert len(live.studio.jobs.all()) == before


def test_the_python_example(live: Live, folder: Path) -> None:
    [block] = programs("python")
    run(live, folder, [sys.executable, "-c"], block.text)
    for stem in ("vocals", "drums", "bass", "other"):
        assert (folder / f"{stem}.wav").stat().st_size > 44


def test_every_route_is_listed(live: Live) -> None:
    text = PAGE.read_text(encoding="utf-8")
    schema = live.client.get("/api/openapi.json").json()
    for path in schema["paths"]:
        shown = path.replace("{id}", "ID")
        shown = re.sub(r"\{(\w+)\}", lambda found: found[1].upper(), shown)
        shown = shown.replace("EXTENSION", "EXT").replace("ID/retry", "ID/cancel")
        assert shown in text, f"{path} is not on the page"


def test_every_route_is_documented_with_its_errors(live: Live) -> None:
    schema = live.client.get("/api/openapi.json").json()
    page = live.client.get("/api/docs").text
    for path, methods in schema["paths"].items():
        assert path in page
        for route in methods.values():
            assert len(route["description"]) > 20
            assert {"401", "403", "421"} <= set(route["responses"])
            assert all(one["description"] for one in route.get("parameters", []))
            for code, answer in route["responses"].items():
                if int(code) >= 400:
                    reference = answer["content"]["application/json"]["schema"]["$ref"]
                    assert reference.endswith("/Problem"), f"{path} {code}"
    for shape in schema["components"]["schemas"]:
        assert shape in ("HTTPValidationError", "ValidationError") or shape in page
