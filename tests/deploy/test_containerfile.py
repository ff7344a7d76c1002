"""The Containerfile copies what there is, and all that the package is built from."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_it_copies_what_the_build_needs() -> None:
    text = (ROOT / "deploy/Containerfile").read_text()
    copied = {
        name for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for name in line.split()
    }
    assert all((ROOT / name).exists() for name in copied)
    project = (ROOT / "pyproject.toml").read_text()
    named = re.findall(r"^(?:readme|license-files) = (.+)$", project, re.MULTILINE)
    assert {"pyproject.toml", "src", *re.findall(r'"([^"]+)"', " ".join(named))} <= copied
    [extras] = re.findall(r"/source\[([a-z0-9,]+)\]", text)
    [section] = re.findall(r"^\[project.optional-dependencies\]\n(.*?)^\[", project, re.M | re.S)
    assert set(extras.split(",")) <= set(re.findall(r"^([a-z0-9]+) = ", section, re.MULTILINE))
    assert {"cluster", "s3"} <= set(extras.split(","))
