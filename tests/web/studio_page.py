"""A browser at the studio's page, which notes every complaint and every request that leaves."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, sync_playwright

PATIENCE_MS = 60_000


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, where it is installed."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed: this test needs a browser")
    options = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=options)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """A person at the page. expected: parts of console errors that belong to the test."""

    page: Page
    address: str
    expected: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def row(self, name: str) -> Locator:
        """The line of a song in the list."""
        return self.page.locator(".song-row", has=self.page.get_by_text(name, exact=True))

    def choose(self, *songs: Path) -> None:
        """Give songs to the page as its file chooser does."""
        self.page.set_input_files("#files", [str(song) for song in songs])

    def picture(self, name: str, folder: Path) -> Path:
        """Keep what is seen in $STEMWISE_PICTURES, where that is set, else in `folder`.

        The README's come from STEMWISE_PICTURES=docs/figures.
        """
        path = Path(os.environ.get("STEMWISE_PICTURES") or folder) / f"{name}.png"
        self.page.screenshot(path=path)
        return path

    def in_player(self, expression: str) -> Any:
        """The value of a JavaScript expression about `player`."""
        return self.page.evaluate(
            f"(() => {{ const player = document.getElementById('player')?.player;"
            f" return {expression}; }})()"
        )

    def until(self, expression: str) -> None:
        """Wait for a JavaScript expression about `player`; the policy allows the page no eval."""
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while not self.in_player(f"player !== undefined && ({expression})"):
            assert time.monotonic() < deadline, f"{expression} did not come true."
            self.page.wait_for_timeout(50)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} {message.location['url']}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.foreign.append(request.url)

    def settle(self) -> None:
        """Fail where the browser complained, also of the content policy, or asked others."""
        unexpected = [one for one in self.complaints if not any(e in one for e in self.expected)]
        assert unexpected == []
        assert self.foreign == []


@contextmanager
def visit(browser: Browser, address: str, **context: Any) -> Iterator[Visit]:
    """Open the studio in a browser of its own."""
    size = {"width": 1280, "height": 900}
    opened = browser.new_context(**{"viewport": size, "reduced_motion": "reduce", **context})
    try:
        page = opened.new_page()
        page.set_default_timeout(PATIENCE_MS)
        visitor = Visit(page, address)
        page.on("console", visitor._heard)
        page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
        page.on("request", visitor._asked)
        page.goto(address)
        yield visitor
        visitor.settle()
    finally:
        opened.close()
