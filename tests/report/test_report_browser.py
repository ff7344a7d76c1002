"""The report in a browser: opened from disk it plays, asks the network for nothing, and fits."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stemwise.activity import Activity
from stemwise.audio import Audio, write
from stemwise.report import page as report_page
from stemwise.report import write_report

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: this test needs a browser"
)
RATE = 16000
SECONDS = 12


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed: this test needs a browser")
    options = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=options)
        yield browser
        browser.close()


def make_report(folder: Path) -> Path:
    """A page of two tones and their sum; vocals from second 3 to 6."""
    times = np.arange(SECONDS * RATE) / RATE
    tones = {"vocals": 440.0, "drums": 1000.0}
    stems = {}
    for name, frequency in tones.items():
        wave = (0.3 * np.sin(2 * np.pi * frequency * times)).astype(np.float32)
        stems[name] = folder / f"{name}.wav"
        write(stems[name], Audio(np.stack([wave, wave]), RATE))
    spans = {"vocals": [(3.0, 6.0)], "drums": [(0.0, 12.0)]}
    return write_report(
        folder,
        title="Tönë </script>",
        mixture=None,
        stems=stems,
        activity=Activity.from_segments(spans, SECONDS, 50.0),
        facts={"Model": "none"},
        warnings=["a torn file"],
    )


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_report(tmp_path_factory.mktemp("ein lied #1"))


@dataclass
class Visit:
    """A page, and what went wrong in it."""

    page: Any
    complaints: list[str] = field(default_factory=list)

    def player(self, expression: str) -> Any:
        return self.page.evaluate(f"document.getElementById('player').player.{expression}")

    def until(self, expression: str) -> None:
        """Wait for an expression about `player`; the page's policy lets nothing else wait."""
        told = "document.getElementById('player').player"
        for _ in range(600):
            if self.page.evaluate(f"(() => {{ const player = {told}; return {expression}; }})()"):
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(f"never came: {expression}")


@contextmanager
def visit(browser: Any, path: Path, **options: Any) -> Iterator[Visit]:
    context = browser.new_context(**options)
    page = context.new_page()
    seen = Visit(page)
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.on(
        "console",
        lambda line: seen.complaints.append(line.text) if line.type in ("error", "warning") else 0,
    )
    page.on(
        "request",
        lambda request: (
            0
            if request.url.startswith(("file:", "data:", "blob:"))
            else seen.complaints.append(request.url)
        ),
    )
    page.goto(path.as_uri())
    yield seen
    context.close()
    assert not seen.complaints


def test_the_page_plays_from_disk(browser: Any, embedded: Path) -> None:
    with visit(browser, embedded) as seen:
        seen.until("player !== undefined")
        assert seen.page.inner_text("h1") == "Tönë </script>"
        assert seen.page.locator(".recordings").is_hidden()
        seen.page.get_by_role("button", name="Play", exact=True).click()
        seen.until("player.position() > 0.2 && player.level('vocals') > 0.05")
        assert seen.player("level('drums')") > 0.05
        assert seen.page.locator(".torn li").inner_text() == "a torn file"
        seen.player("pause()")


def test_times_of_segments_go_there(browser: Any, embedded: Path) -> None:
    with visit(browser, embedded) as seen:
        seen.until("player !== undefined")
        seen.page.locator(".times summary").first.click()
        seen.page.get_by_role("button", name="0:02.99").click()
        assert seen.player("position()") == pytest.approx(2.99, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone(browser: Any, embedded: Path, scheme: str) -> None:
    size = {"width": 390, "height": 844}
    with visit(browser, embedded, viewport=size, color_scheme=scheme) as seen:
        seen.until("player !== undefined")
        assert seen.page.evaluate("document.documentElement.scrollWidth") == 390
        table = seen.page.locator(".measured").bounding_box()
        assert table["x"] >= 0
        assert table["x"] + table["width"] <= 390
        ground = colour(seen, "body", "backgroundColor")
        assert (ground.mean() > 128) == (scheme == "light")
        for element in ("h1", ".lead", ".measured th", ".measured td", ".share", "dt", "footer p"):
            assert contrast(colour(seen, element, "color"), ground) >= 4.5, element


def colour(seen: Visit, element: str, property: str) -> np.ndarray:
    """Red, green and blue, 0 to 255."""
    told = f"getComputedStyle(document.querySelector('{element}')).{property}"
    return np.array([float(one) for one in re.findall(r"[\d.]+", seen.page.evaluate(told))[:3]])


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    """Contrast ratio of two colours (WCAG 2.2)."""
    shares = np.array([one, other]) / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    dark, light = sorted(linear @ [0.2126, 0.7152, 0.0722])
    return float((light + 0.05) / (dark + 0.05))


def test_without_scripts_there_are_audio_and_tables(browser: Any, embedded: Path) -> None:
    with visit(browser, embedded, java_script_enabled=False) as seen:
        audio = seen.page.locator("audio")
        assert audio.count() == 3
        assert all(audio.nth(number).is_visible() for number in range(3))
        assert seen.page.locator(".measured tbody tr").count() == 3
        seen.page.locator(".times summary").first.click()
        assert "0:02.99" in seen.page.locator(".times ol").first.inner_text()


def test_a_long_song_plays_the_files_beside_the_page(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_page, "LONGEST_EMBEDDED", 5.0)
    path = make_report(tmp_path)
    with visit(browser, path) as seen:
        seen.until("player !== undefined")
        seen.page.get_by_role("button", name="Play", exact=True).click()
        seen.until("player.position() > 0.2")
        seen.player("pause()")
