"""The studio's page and its server: a token is asked for, and a lost connection comes back."""

from __future__ import annotations

import re
import urllib.error
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect
from studio_page import PATIENCE_MS, chromium, visit
from studio_server import ask, compose, studio

from stemwise.studio.settings import Settings

expect.set_options(timeout=PATIENCE_MS)
TOKEN = "a-token-of-the-tests"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


def test_a_token_is_asked_for_once(browser: Browser, tmp_path: Path) -> None:
    with (
        studio(Settings(data=tmp_path, token=TOKEN)) as address,
        visit(browser, address) as visitor,
    ):
        visitor.expected.append("status of 401")
        page = visitor.page
        field = page.get_by_label("Token", exact=True)
        expect(field).to_be_focused()
        expect(page.get_by_role("button", name="Choose songs")).to_be_hidden()
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask(f"{address}/api/jobs")
        field.fill("a-token-of-somebody")
        field.press("Enter")
        expect(page.get_by_text("This is not the token of this studio.")).to_be_visible()
        expect(field).to_be_focused()
        field.fill(TOKEN)
        field.press("Enter")
        expect(page.get_by_role("button", name="Choose songs")).to_be_visible()
        expect(page.get_by_role("status")).not_to_contain_text(TOKEN)
        assert TOKEN not in page.url
        page.reload()
        expect(page.get_by_role("button", name="Choose songs")).to_be_visible()
        expect(field).to_be_hidden()


def test_a_server_that_stops_is_waited_for(browser: Browser, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "studio")
    song = compose(tmp_path / "Kitchen jam.wav", seconds=3)
    with ExitStack() as visiting:
        with studio(settings) as address:
            visitor = visiting.enter_context(visit(browser, address))
            visitor.expected += ["ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING"]
            page = visitor.page
            expect(page.get_by_text("Nothing here yet")).to_be_visible()
            visitor.choose(song)
            page.wait_for_url(re.compile("#"))
            page.evaluate("window.stayed = true")
        banner = page.get_by_role("alert").filter(has_text="The studio does not answer.")
        expect(banner).to_be_visible()
        visitor.choose(compose(tmp_path / "Paper boats.wav", seconds=2))
        cut_off = page.get_by_role("status").filter(has_text="The connection broke")
        expect(cut_off).to_contain_text("Paper boats")
        port = urlsplit(address).port
        assert port is not None
        with studio(settings, port):
            # what was left in the middle is done, and the page learns of it by itself
            expect(banner).to_be_hidden()
            expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
            page.get_by_role("link", name="All songs").click()
            expect(visitor.row("Paper boats")).to_contain_text("0:02 · vocals")
            assert page.evaluate("window.stayed")
