"""The studio's page: songs are dropped, sent, queued, cancelled, deleted, and outlive a reload."""

from __future__ import annotations

import base64
import json
import re
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, expect
from studio_page import PATIENCE_MS, Visit, chromium, visit
from studio_server import ask, compose, lengthen, separated, studio

from stemwise.studio.settings import Settings

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def address(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with studio(Settings(data=tmp_path_factory.mktemp("studio"))) as running:
        yield running


@pytest.fixture
def visitor(browser: Browser, address: str) -> Iterator[Visit]:
    with visit(browser, address) as opened:
        yield opened


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compose(tmp_path_factory.mktemp("songs") / "Kitchen jam.wav", seconds=3)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lengthen(tmp_path_factory.mktemp("songs") / "Endless road.flac")


def named(song: Path, path: Path) -> Path:
    """The same song under another name."""
    path.write_bytes(song.read_bytes())
    return path


def drop(visitor: Visit, song: Path) -> None:
    """Drag a song over the page, and let it go."""
    content = base64.b64encode(song.read_bytes()).decode()
    transfer = visitor.page.evaluate_handle(
        """([name, content]) => {
            const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name));
            return transfer;
        }""",
        [song.name, content],
    )
    for kind in ("dragenter", "dragover"):
        visitor.page.dispatch_event("main", kind, {"dataTransfer": transfer})
    expect(visitor.page.get_by_text("Drop to separate")).to_be_visible()
    visitor.page.dispatch_event("main", "drop", {"dataTransfer": transfer})
    expect(visitor.page.get_by_text("Drop to separate")).to_be_hidden()


def test_a_dropped_song_becomes_a_player(visitor: Visit, short: Path) -> None:
    page = visitor.page
    expect(page.get_by_text("Nothing here yet")).to_be_visible()
    drop(visitor, short)
    page.wait_for_url(re.compile(r"#[\w-]{22}$"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Kitchen jam")
    expect(page.get_by_role("button", name="Solo vocals")).to_be_visible()
    expect(page).to_have_title("Kitchen jam – stemwise studio")
    # said once and politely
    expect(page.get_by_role("status").filter(has_text="Kitchen jam is ready.")).to_have_count(1)
    page.get_by_role("link", name="All songs").click()
    expect(visitor.row("Kitchen jam")).to_contain_text("0:03 · vocals, drums, bass and other")
    expect(page.get_by_text("Nothing here yet")).to_be_hidden()


def test_what_is_chosen_is_what_is_made(
    visitor: Visit, address: str, short: Path, tmp_path: Path
) -> None:
    page = visitor.page
    song = named(short, tmp_path / "Low tide.wav")
    for stem in ("vocals", "drums", "bass", "other"):
        page.get_by_role("checkbox", name=stem).uncheck()
    visitor.choose(song)
    expect(page.get_by_text("Choose at least one stem.")).to_be_visible()
    page.get_by_role("checkbox", name="bass").check()
    expect(page.get_by_text("Choose at least one stem.")).to_be_hidden()
    page.get_by_text("Advanced").click()
    page.get_by_label("Gate").select_option("median")
    visitor.choose(song)
    page.wait_for_url(re.compile("#"))
    job = ask(f"{address}/api/jobs/{page.url.partition('#')[2]}")
    assert (job["model"], job["stems"], job["gate"]) == ("band", ["bass"], "median")
    expect(page.get_by_role("button", name="Mute bass")).to_be_visible()
    expect(page.get_by_role("button", name="Mute drums")).to_have_count(0)


def test_sending_shows_how_far_it_is_and_can_be_stopped(
    visitor: Visit, address: str, long: Path
) -> None:
    before = len(ask(f"{address}/api/jobs")["jobs"])
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 1_000_000}
    network = visitor.page.context.new_cdp_session(visitor.page)
    network.send("Network.enable")
    network.send("Network.emulateNetworkConditions", slow)
    visitor.choose(long)
    row = visitor.row("Endless road")
    expect(row).to_contain_text(re.compile(r"Sending, [1-9]\d? %"))
    share = float(row.get_by_role("progressbar").get_attribute("value") or 0)
    assert 0 < share < 1
    row.get_by_role("button", name="Cancel Endless road").click()
    expect(row).to_have_count(0)
    network.detach()
    assert len(ask(f"{address}/api/jobs")["jobs"]) == before


def test_a_file_that_is_no_song_is_refused_in_the_servers_words(
    visitor: Visit, address: str, tmp_path: Path
) -> None:
    visitor.expected.append("status of 415")
    wrong = tmp_path / "Shopping <img src=x> list.wav"
    wrong.write_text("bread\nbutter\n" * 50)
    with pytest.raises(urllib.error.HTTPError, match="415") as refused:
        ask(f"{address}/api/jobs?name={quote(wrong.name)}", "POST", wrong.read_bytes())
    visitor.choose(wrong)
    row = visitor.row("Shopping <img src=x> list")
    expect(row.locator(".song-sentence")).to_have_text(json.load(refused.value)["detail"])
    row.get_by_role("button", name="Dismiss").click()
    expect(row).to_have_count(0)


def test_a_full_queue_is_waited_for(visitor: Visit, short: Path, tmp_path: Path) -> None:
    page = visitor.page
    visitor.expected.append("status of 429")
    full = {
        "status": 429,
        "headers": {"Retry-After": "2"},
        "json": {"detail": "The queue is full."},
    }
    page.route("**/api/jobs?*", lambda asked: asked.fulfill(**full), times=1)
    visitor.choose(named(short, tmp_path / "Morning bell.wav"))
    waiting = page.locator(".song-row", has_text="Waiting to be sent")
    expect(waiting).to_contain_text("The queue is full.")
    page.wait_for_url(re.compile("#"))
    expect(page.get_by_role("heading", name="Morning bell")).to_be_visible()


def test_two_songs_and_a_reload_in_the_middle(
    visitor: Visit, address: str, short: Path, long: Path, tmp_path: Path
) -> None:
    page = visitor.page
    visitor.choose(long, named(short, tmp_path / "Paper boats.wav"))
    running, waiting = visitor.row("Endless road"), visitor.row("Paper boats")
    expect(running).to_contain_text(re.compile(r"[1-9]\d? % · .*× real time · .* left"))
    expect(waiting).to_contain_text("Waiting, next in the queue")
    done = float(running.get_by_role("progressbar").get_attribute("value") or 0)
    page.reload()
    expect(running).to_contain_text("× real time")
    assert float(running.get_by_role("progressbar").get_attribute("value") or 0) >= done > 0
    expect(page.get_by_role("link", name=re.compile("2 songs under way, [1-9]"))).to_be_visible()
    visitor.picture("studio-songs", tmp_path)

    running.get_by_role("link", name="Endless road").click()
    expect(page.get_by_role("heading", name="Endless road")).to_be_focused()
    page.reload()
    expect(page.get_by_role("heading", name="Endless road")).to_be_visible()
    expect(page.locator(".progress-detail")).to_contain_text(re.compile(r"\d of 15:00 · "))
    expect(page).to_have_title(re.compile(r"^\d+ % – Endless road"))
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".progress-card")).to_contain_text("Cancelled")

    page.get_by_role("link", name="All songs").click()
    expect(waiting).to_contain_text("0:03 · vocals")
    running.get_by_role("button", name="Try Endless road again").click()
    expect(running).to_contain_text("%")
    running.get_by_role("button", name="Cancel Endless road").click()
    expect(running).to_contain_text("Cancelled")
    assert all(job["state"] != "running" for job in ask(f"{address}/api/jobs")["jobs"])


HOLD_ANSWERS = """() => {
  const send = XMLHttpRequest.prototype.send;
  window.answers = [];
  XMLHttpRequest.prototype.send = function (body) {
    const load = this.onload;
    this.onload = (event) => window.answers.push(() => load.call(this, event));
    send.call(this, body);
  };
}"""


def test_an_answer_that_comes_late_shows_no_song_twice(
    visitor: Visit, short: Path, tmp_path: Path
) -> None:
    """The event that tells of a job may overtake the answer to its upload."""
    visitor.page.evaluate(HOLD_ANSWERS)
    visitor.choose(named(short, tmp_path / "Overtaken.wav"))
    row = visitor.row("Overtaken")
    expect(row).to_contain_text("0:03 · vocals")
    expect(row).to_have_count(1)
    visitor.page.evaluate("window.answers.forEach((answer) => answer())")
    expect(visitor.page.get_by_role("heading", name="Overtaken")).to_be_visible()


def test_deleting_asks_first(visitor: Visit, address: str, short: Path) -> None:
    page = visitor.page
    visitor.expected.append("/audio/")  # what a player was loading when its song went
    id = separated(address, short, "Regret.wav")
    row = visitor.row("Regret")
    row.get_by_role("button", name="Delete Regret").click()
    expect(page.get_by_role("dialog")).to_contain_text("Regret and everything made from it")
    page.get_by_role("button", name="Keep it").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(row).to_be_visible()

    row.get_by_role("link", name="Regret").click()
    page.get_by_role("button", name="Delete this song").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("heading", name="Drop a song")).to_be_visible()
    expect(row).to_have_count(0)
    with pytest.raises(urllib.error.HTTPError, match="404"):
        ask(f"{address}/api/jobs/{id}")
    page.goto(f"{address}/#{id}")
    expect(page.get_by_text("This song was deleted, or its time here has run out.")).to_be_visible()


def test_a_dialog_that_is_closed_late_forgets_no_song(
    visitor: Visit, address: str, short: Path
) -> None:
    """Quick hands open it again before the browser tells that it was closed."""
    separated(address, short, "Second thoughts.wav")
    row = visitor.row("Second thoughts")
    row.get_by_role("button", name="Delete Second thoughts").click()
    visitor.page.locator("#confirm").dispatch_event("close")
    visitor.page.get_by_role("button", name="Delete", exact=True).click()
    expect(row).to_have_count(0)


def test_the_keyboard_alone_does_everything(visitor: Visit, short: Path, tmp_path: Path) -> None:
    page = visitor.page
    song = named(short, tmp_path / "By hand.wav")
    # before anything else, because the browser needs a while to hand its chooser over
    page.on("filechooser", lambda chooser: chooser.set_files(str(song)))
    expect(page.get_by_role("checkbox", name="vocals")).to_be_visible()

    def tab_to(name: str, key: str = "Tab") -> None:
        for _ in range(60):
            page.keyboard.press(key)
            focused = page.evaluate(
                "(document.activeElement.getAttribute('aria-label')"
                " ?? document.activeElement.textContent).trim()"
            )
            if focused == name:
                return
        raise AssertionError(f"{name} is not reached with {key}")

    tab_to("Choose songs")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="By hand")).to_be_focused()
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    tab_to("Play")
    page.keyboard.press("Enter")
    visitor.until("player.position() > 0.2")
    tab_to("Mute drums")
    page.keyboard.press("Enter")
    assert visitor.in_player("player.gains().drums") == 0
    tab_to("All songs", "Shift+Tab")
    page.keyboard.press("Enter")
    tab_to("Delete By hand")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Delete By hand")).to_be_focused()
    page.keyboard.press("Enter")
    tab_to("Delete")
    page.keyboard.press("Enter")
    expect(visitor.row("By hand")).to_have_count(0)
    assert page.evaluate("document.activeElement !== document.body")
