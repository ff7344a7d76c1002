"""The documentation site: built strictly, whole in itself, and readable in a browser from disk."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from page_examples import ROOT

pytest.importorskip("material", reason="mkdocs-material is not installed: pip install '.[docs]'")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_LOADED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "audio": "src",
    "video": "src",
    "embed": "src",
    "object": "data",
    "use": "href",
}
"""What a browser fetches without being asked."""


@dataclass
class Page(HTMLParser):
    """Links of a page, what it loads, and the places in it that links may name."""

    path: Path
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    places: set[str] = field(default_factory=set)
    mermaid: bool = False

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.places |= {values[name] for name in ("id", "name") if name in values}
        self.mermaid |= "mermaid" in values.get("class", "").split()
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and values.get("rel") not in ("prev", "next", "canonical"):
            self.loaded.append(values["href"])
        if tag in _LOADED and values.get(_LOADED[tag]):
            self.loaded.append(values[_LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `mkdocs build --strict` makes it; about 15 s of one core."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """All pages by their path."""
    # the page for missing pages is shown anywhere, so its links start at the root
    return {path: Page(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}


def test_every_link_leads_to_a_file_and_a_place_in_it(site: Path, pages: dict[Path, Page]) -> None:
    assert len(pages) > 40
    wrong = [problem for page in pages.values() for problem in _dead(page, pages)]
    assert not wrong, "\n".join(wrong)


def _dead(page: Page, pages: dict[Path, Page]) -> Iterator[str]:
    for link in [*page.links, *page.loaded]:
        parts = urlsplit(link)
        if parts.scheme in ("http", "https", "mailto", "data"):
            continue
        target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
        place = unquote(parts.fragment)
        if not target.is_file():
            yield f"{page.path.name}: {link} is not there"
        elif place and target in pages and place not in pages[target].places:
            yield f"{page.path.name}: {link} names no place of {target.name}"


def test_no_page_asks_another_server(site: Path, pages: dict[Path, Page]) -> None:
    for page in pages.values():
        outside = [one for one in page.loaded if urlsplit(one).netloc]
        assert not outside, f"{page.path.name} loads {outside}"
        # the theme would fetch the program that draws them
        assert not page.mermaid, f"{page.path.name} holds a mermaid drawing"
    for sheet in site.rglob("*.css"):
        found = re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\"']+", sheet.read_text())
        assert not found, f"{sheet.name}: {found}"


def test_no_page_names_the_machine_that_built_it(site: Path) -> None:
    telling = {f"{ROOT}/", f"{sys.prefix}/", f"{site}/"}
    for path in [*site.rglob("*.html"), *site.rglob("*.json"), *site.rglob("*.txt")]:
        text = path.read_text(encoding="utf-8")
        found = [one for one in telling if one in text]
        assert not found, f"{path.relative_to(site)}: {found}"


def test_api_pages_hold_what_programs_use(site: Path) -> None:
    wanted = {
        "stemwise": ["load", "Model.separate", "Separation.save", "evaluate"],
        "audio": ["read", "write", "AudioReader", "Audio"],
        "activity": ["Activity.segments", "write_activity"],
        "models": ["build", "load", "save"],
        "separator": ["Separator.represent", "Grid", "Prediction", "griffin_lim"],
        "data": ["read_set", "make_track"],
        "tracks": ["Track.read_stem"],
        "stores": ["prepare", "open_store"],
        "training": ["Trainer.run", "load_recipe"],
        "objectives": ["Objective.separation"],
        "weightings": ["Weighting", "Procedure"],
        "evaluation": ["evaluate", "read_run"],
        "metrics": ["bss_eval", "usdr"],
    }
    for name, members in wanted.items():
        page = Page(site / "api" / f"{name}.html")
        for member in members:
            assert any(place.endswith(f".{member}") for place in page.places), f"{name}: {member}"


def test_every_command_is_on_the_page_of_the_command_line(site: Path) -> None:
    from stemwise.cli import app

    page = Page(site / "command-line.html")
    names = [one.name or one.callback.__name__ for one in app.registered_commands if one.callback]
    assert len(names) > 15
    for name in names:
        assert f"stemwise-{name.replace('_', '-')}" in page.places


def test_in_a_browser_from_disk(site: Path, pages: dict[Path, Page]) -> None:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    asked: list[str] = []
    failures: list[str] = []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 390, "height": 844})
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("pageerror", lambda error: failures.append(str(error)))
        for path in pages:
            tab.goto(path.as_uri())
            width = tab.evaluate("document.documentElement.scrollWidth")
            assert width <= 390, f"{path.name} is {width} pixels wide on a phone"
        tab.set_viewport_size({"width": 1280, "height": 900})
        tab.goto((site / "index.html").as_uri())
        tab.click("input[name=query]")
        tab.keyboard.type("griffin")
        tab.wait_for_selector(".md-search-result__link", timeout=30_000)
        assert "Griffin" in tab.inner_text(".md-search-result__list")
        browser.close()
    assert not failures
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:", "about:"))]
