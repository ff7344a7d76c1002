"""The built pages that are shipped: of these sources, self-contained, with their licences."""

from __future__ import annotations

import hashlib
import json
import re
from importlib.resources import files
from pathlib import Path

import pytest

WEB = Path(__file__).parents[2] / "web"
BUILT = files("stemwise.web")
OTHERS = {"report": "src/studio/", "studio": "src/report.ts"}
"""What a page is not made of."""


def fingerprint(page: str) -> str:
    """The same as build.mjs computes."""
    sources = [
        path.relative_to(WEB).as_posix() for path in (WEB / "src").rglob("*") if path.is_file()
    ]
    names = [name for name in sources if not name.startswith(OTHERS[page])]
    digest = hashlib.sha256()
    for name in sorted(["build.mjs", "package-lock.json", *names]):
        digest.update(f"{name}\0".encode() + (WEB / name).read_bytes() + b"\0")
    return digest.hexdigest()


def text(name: str) -> str:
    return (BUILT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name", ["report.js", "report.css", "studio.js", "studio.css", "studio.html"]
)
def test_built_of_these_sources(name: str) -> None:
    stamp = re.search(r"sources sha256:([0-9a-f]{64})", text(name)[:400])
    assert stamp is not None
    page = name.split(".")[0]
    assert stamp[1] == fingerprint(page), "the sources changed: npm run build in web/"


@pytest.mark.parametrize("name", ["report.js", "studio.js"])
def test_scripts_carry_the_licences_of_what_they_contain(name: str) -> None:
    banner = text(name).split("*/")[0]
    version = json.loads((WEB / "package.json").read_text())["devDependencies"]["wavesurfer.js"]
    assert f"wavesurfer.js {version}" in banner
    assert "Redistributions in binary form must reproduce" in banner


@pytest.mark.parametrize("name", ["report.js", "report.css", "studio.js", "studio.css"])
def test_nothing_is_loaded_from_elsewhere(name: str) -> None:
    code = text(name).split("*/", 1)[1]
    namespaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"}
    assert set(re.findall(r"https?://[^\"'`\s)]+", code)) <= namespaces
    assert not re.search(r"@import|sourceMappingURL", code)


def test_a_report_can_hold_its_script_inline() -> None:
    assert not re.search(r"</script|<!--", text("report.js"), re.IGNORECASE)
    assert "</style" not in text("report.css")


def test_the_lock_names_no_registry_and_has_every_hash() -> None:
    lock = (WEB / "package-lock.json").read_text()
    assert "://" not in lock
    packages = json.loads(lock)["packages"]
    assert all("integrity" in entry for name, entry in packages.items() if name)
    wanted = json.loads((WEB / "package.json").read_text())["devDependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())
    assert {name: packages[f"node_modules/{name}"]["version"] for name in wanted} == wanted


def test_colours_of_text_and_controls_have_contrast() -> None:
    theme = (WEB / "src/theme.css").read_text()
    light, dark = (
        _colours(part) for part in theme.split("@media (prefers-color-scheme: dark)")[:2]
    )
    dark = {**light, **_colours(theme.split("@media")[1])}
    for scheme in (light, dark):
        for paper in ("paper", "raised", "lane"):
            assert contrast(scheme["ink"], scheme[paper]) >= 7
        for paper in ("paper", "lane"):
            assert contrast(scheme["soft"], scheme[paper]) >= 4.5
        assert contrast(scheme["warn"], scheme["warn-paper"]) >= 4.5
        for control in ("control", "focus", "cursor"):
            assert contrast(scheme[control], scheme["paper"]) >= 3
        for stem in (name for name in scheme if name.startswith("stem-")):
            # a pressed button is written in the paper's colour
            assert contrast(scheme[stem], scheme["paper"]) >= 4.5, stem


def _colours(css: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", css))


def contrast(one: str, other: str) -> float:
    """Of two colours #rrggbb, as WCAG 2.2 defines it."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
