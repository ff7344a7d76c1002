"""What hands do and eyes see: the player's page, from a server and from disk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page
from tests.web.player_pages import (
    CHROMIUM,
    Site,
    Sound,
    band,
    chromium,
    do,
    embedded,
    linked,
    opened,
    reaches,
    serving,
    sine,
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
SECONDS = 72.0


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving() as served:
        yield served


@pytest.fixture(scope="module")
def song(site: Site) -> str:
    return site.add("band", band(SECONDS), pictures=True)


@pytest.fixture
def page(browser: Browser, song: str) -> Iterator[Page]:
    with opened(browser) as page:
        page.goto(song)
        yield page


def position(page: Page) -> float:
    return float(do(page, "return player.position()"))


def test_a_click_on_a_waveform_goes_there(page: Page) -> None:
    left, width = 0.0, 0.0
    for track, part in (("vocals", 0.25), ("drums", 0.8), ("mixture", 0.5)):
        axis = page.locator(f"[data-track={track}] .axis")
        box = axis.bounding_box()
        assert box is not None
        axis.click(position={"x": round(box["width"] * part), "y": 40})
        left, width = box["x"], box["width"]
        assert position(page) == pytest.approx(part * SECONDS, abs=SECONDS / width)
    cursor = page.locator("[data-track=vocals] .axis > .cursor").bounding_box()
    assert cursor is not None
    assert cursor["x"] + 1 == pytest.approx(left + width * 0.5, abs=1.5)


def test_a_drag_moves_the_cursor_and_seeks_where_it_ends(page: Page) -> None:
    box = page.locator("[data-track=bass] .axis").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 50, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 30, steps=4)
    page.mouse.up()
    assert position(page) == pytest.approx(300 / box["width"] * SECONDS, abs=SECONDS / box["width"])


def test_a_loop_by_hand_by_keys_and_by_segment(page: Page) -> None:
    ruler = page.locator(".ruler")
    box = ruler.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 100, box["y"] + 15)
    page.mouse.down()
    page.mouse.move(box["x"] + 250, box["y"] + 15, steps=5)
    page.mouse.up()
    loop = do(page, "return player.loop")
    pixel = SECONDS / box["width"]
    assert loop["start"] == pytest.approx(100 * pixel, abs=pixel)
    assert loop["end"] == pytest.approx(250 * pixel, abs=pixel)
    button = page.get_by_role("button", name=re.compile("^Loop"))
    assert button.get_attribute("aria-pressed") == "true"
    assert page.locator("[data-track=vocals] .loop-shade").is_visible()
    button.click()
    assert do(page, "return player.loop") is None
    do(page, "player.seek(20)")
    page.keyboard.press("i")
    do(page, "player.seek(31.5)")
    page.keyboard.press("o")
    assert do(page, "return player.loop") == pytest.approx({"start": 20, "end": 31.5}, abs=1e-3)
    page.keyboard.press("Home")
    page.keyboard.press("o")
    assert do(page, "return player.loop") == pytest.approx({"start": 0, "end": 0.1})
    page.keyboard.press("l")
    assert do(page, "return player.loop") is None
    start, end = do(page, "return player.song.tracks[1].activity.segments[1]")
    axis = page.locator("[data-track=vocals] .axis")
    axis.dblclick(position={"x": (start + end) / 2 / pixel, "y": 40})
    assert do(page, "return player.loop") == {"start": start, "end": end}


def test_keys(page: Page) -> None:
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowLeft")
    assert position(page) == pytest.approx(9, abs=0.01)
    page.keyboard.press("End")
    assert position(page) == pytest.approx(SECONDS, abs=0.01)
    page.keyboard.press("Home")
    assert position(page) == 0
    page.keyboard.press("Space")
    reaches(page, "player.playing && player.position() > 0.05")
    page.keyboard.press("Space")
    assert do(page, "return player.playing") is False
    page.keyboard.press("2")
    page.keyboard.press("k")
    assert do(page, "return player.gains()") == {"vocals": 0, "drums": 0, "bass": 1, "other": 1}
    page.keyboard.press("Shift+1")
    assert do(page, "return player.gains()") == {"vocals": 1, "drums": 0, "bass": 0, "other": 0}
    page.keyboard.press("v")
    assert do(page, "return player.onlyActive()") == "vocals"
    page.keyboard.press("0")
    pressed = page.get_by_role("button", name="Listen to the original song")
    assert pressed.get_attribute("aria-pressed") == "true"
    page.keyboard.press("r")
    assert do(page, "return player.mix.untouched") is True
    page.keyboard.press("s")
    assert page.locator(".spectrogram img").count() == 5
    page.keyboard.press("?")
    assert page.get_by_role("dialog", name="Keyboard shortcuts").is_visible()
    page.keyboard.press("k")
    page.keyboard.press("Escape")
    assert do(page, "return player.mix.untouched") is True, "a dialog takes the keys"
    page.keyboard.press("Shift+ArrowDown")
    assert do(page, "return player.mix.master") == -2
    page.evaluate("document.body.append(document.createElement('input'))")
    page.locator("body > input").focus()
    page.keyboard.press("k")
    assert do(page, "return player.mix.untouched") is True, "somebody is writing"


def test_letters_can_be_turned_off(page: Page) -> None:
    page.get_by_role("button", name="Keyboard shortcuts").click()
    page.get_by_role("checkbox", name="Letters, digits and signs work as keys").uncheck()
    page.get_by_role("button", name="Close").click()
    page.locator("h1").click()
    page.keyboard.press("k")
    page.keyboard.press("1")
    page.keyboard.press("ArrowRight")
    assert do(page, "return [player.mix.untouched, player.position()]") == [True, 5]
    page.evaluate("localStorage.clear()")


def test_space_plays_after_a_click_and_presses_after_tabbing(page: Page) -> None:
    solo = page.get_by_role("button", name="Solo drums")
    solo.click()
    page.keyboard.press("Space")
    assert do(page, "return player.playing") is True
    assert solo.get_attribute("aria-pressed") == "true"
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert page.get_by_role("button", name="Mute drums").get_attribute("aria-pressed") == "true"
    assert do(page, "return player.playing") is True


def test_every_control_is_named_and_tells_its_state(page: Page) -> None:
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")
    nodes = [node for node in tree["nodes"] if not node["ignored"]]
    roles = {"button", "slider", "img", "image", "region", "group", "dialog"}
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if node["role"]["value"] in roles
    ]
    assert len([role for role, _ in named if role == "button"]) > 15
    assert [pair for pair in named if not pair[1].strip()] == []
    buttons = [name for role, name in named if role == "button"]
    assert len(buttons) == len(set(buttons)), "two controls of one name"
    volume = page.get_by_role("slider", name="Volume of bass")
    volume.fill("-12.5")
    assert volume.get_attribute("aria-valuetext") == "−12.5 dB"
    do(page, "player.seek(65)")
    seek = page.get_by_role("slider", name="Position")
    assert seek.get_attribute("aria-valuetext") == "1 minute 5 seconds of 1 minute 12 seconds"
    seek.focus()
    page.keyboard.press("ArrowLeft")
    assert position(page) == pytest.approx(60, abs=0.01)


def test_the_page_around_it_is_told_of_changes(page: Page) -> None:
    changes = page.evaluate(
        """() => {
          const player = document.getElementById("player").player;
          const seen = [];
          player.addEventListener("change", () => seen.push(player.gains().vocals));
          document.querySelector("[aria-label='Mute vocals']").click();
          document.querySelector("[aria-label='Mute vocals']").click();
          player.destroy();
          return seen;
        }"""
    )
    assert changes == [0, 1]
    assert page.locator("#player > *").count() == 0


def test_zoom_scrolls_all_rows_together_and_follows(page: Page) -> None:
    scroller = page.locator(".scroller")
    assert scroller.evaluate("one => one.scrollWidth - one.clientWidth") == 0
    do(page, "player.seek(36)")
    for _ in range(4):
        page.get_by_role("button", name="Zoom in").click()
    width = scroller.evaluate("one => one.scrollWidth")
    assert width > 3000
    # the head stays, the cursor is where it was
    head = page.locator("[data-track=vocals] .head").bounding_box()
    cursor = page.locator("[data-track=vocals] .axis > .cursor").bounding_box()
    assert head is not None
    assert cursor is not None
    assert head["x"] >= 0
    assert head["x"] + head["width"] < cursor["x"] < 1000
    axis = page.locator("[data-track=drums] .axis")
    box = axis.bounding_box()
    assert box is not None
    page.mouse.click(700, box["y"] + 30)
    assert position(page) == pytest.approx((700 - box["x"]) / box["width"] * SECONDS, abs=0.05)
    do(page, "player.seek(70); player.play()")
    reaches(page, "document.querySelector('.scroller').scrollLeft > 1500")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(
    browser: Browser, song: str, scheme: str
) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
    with opened(browser, **phone, color_scheme=scheme, reduced_motion="reduce") as page:
        page.goto(song)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        for control in page.locator(".player button:visible, .player input:visible").all():
            box = control.bounding_box()
            assert box is not None
            name = control.get_attribute("aria-label") or control.inner_text()
            assert box["height"] >= 40, name
            assert min(box["x"], 390 - box["x"] - box["width"]) >= 0, name
        wave = page.locator("[data-track=vocals] .wave").bounding_box()
        mute = page.get_by_role("button", name="Mute vocals").bounding_box()
        assert wave is not None
        assert mute is not None
        assert mute["y"] + mute["height"] <= wave["y"]
        axis = page.locator("[data-track=vocals] .axis")
        axis.tap(position={"x": 179, "y": 30})
        part = 179 / axis.evaluate("one => one.clientWidth")
        assert position(page) == pytest.approx(part * SECONDS, abs=SECONDS / 300)
        style = "getComputedStyle(document.querySelector('.player .chip')).transitionProperty"
        assert page.evaluate(style) in ("none", "all 0s ease 0s")
        colours = page.evaluate(
            "(({ color, backgroundColor }) => [backgroundColor, color])"
            "(getComputedStyle(document.body))"
        )
        light = [sum(map(int, re.findall(r"\d+", colour))) for colour in colours]
        assert (light[0] > light[1]) is (scheme == "light")


def test_waveforms_are_drawn_in_the_colours_of_the_stems(page: Page) -> None:
    page.wait_for_timeout(200)
    painted = page.evaluate(
        """() => [...document.querySelectorAll(".wave")].map((wave) => {
          const canvas = wave.firstElementChild.shadowRoot.querySelector("canvas");
          const { width, height } = canvas;
          const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
          const middle = 4 * (width * (height >> 1) + (width >> 1));
          let count = 0;
          for (let i = 3; i < pixels.length; i += 4) count += pixels[i] > 0;
          return [count / pixels.length * 4, ...pixels.slice(middle, middle + 3)];
        })"""
    )
    assert len(painted) == 5
    assert all(0.02 < share < 0.9 for share, *_ in painted)
    assert painted[1][1:] == pytest.approx([0xC8, 0x38, 0x5A], abs=2)


def test_a_report_on_disk_holds_its_audio(browser: Browser, tmp_path: Path) -> None:
    signal = np.float32(0.2 * np.random.default_rng(3).standard_normal((2, 6 * 44100)))
    sounds = {
        "mixture": Sound(sine(300, 6)),
        "vocals": Sound(signal, spans=[(0, 6)]),
        "other": Sound(-signal),
    }
    with opened(browser) as page:
        page.goto(embedded(sounds, tmp_path / "report.html"))
        do(page, "player.seek(3.7); player.play()")
        reaches(page, "player.position() > 4.2 && player.level('vocals') > 0.1")
        assert do(page, "return player.level('other')") > 0.1
        assert do(page, "return player.level('master')") < 1e-6
        page.get_by_role("button", name="Karaoke").click()
        reaches(page, "player.level('vocals') < 0.001 && player.level('master') > 0.1")


def test_names_are_text_and_tracks_as_long_as_they_are(browser: Browser, tmp_path: Path) -> None:
    name = "<img src=x onerror=\"document.title = 'run'\">"
    sounds = {"mixture": Sound(sine(300, 2)), name: Sound(sine(300, 0.5), spans=[(0.1, 0.4)])}
    with opened(browser) as page:
        page.goto(embedded(sounds, tmp_path / "names.html"))
        assert page.locator(".track .name").all_inner_texts()[1].lower() == name.lower()
        assert page.get_by_role("button", name=f"Mute {name}").count() == 1
        assert page.title() == "Player"
        wide, short = (
            box.evaluate("one => one.clientWidth") for box in page.locator(".content").all()
        )
        assert short == pytest.approx(wide / 4, abs=1)
        lane = page.locator(".lane .bar").bounding_box()
        axis = page.locator(".track.silent .axis").bounding_box()
        assert lane is not None
        assert axis is not None
        assert lane["x"] - axis["x"] == pytest.approx(0.1 / 2 * axis["width"], abs=1)
        assert lane["width"] == pytest.approx(0.3 / 2 * axis["width"], abs=1.5)


def test_a_report_of_a_long_song_plays_the_files_beside_it(
    browser: Browser, tmp_path: Path
) -> None:
    sounds = {
        "mixture": Sound(sine(300, 4)),
        "vocals": Sound(sine(300, 4), spans=[(2, 4)]),
        "bass": Sound(sine(60, 3)),
        "gone": Sound(sine(60, 1)),
    }
    address = linked(sounds, tmp_path)
    (tmp_path / "gone.wav").unlink()
    with opened(browser) as page:
        page.goto(address)
        do(page, "player.play(); player.engine.prepare()")  # pages prepare 0.2 s after the start
        reaches(page, "player.position() > 0.3 && player.level('vocals') > 0.3")
        assert "“gone” cannot be heard" in page.locator(".message").inner_text()
        elements = "player.engine.channels.map(({element}) => element)"
        times = f"{elements}.slice(0, 3).map((one) => one.currentTime)"
        reaches(page, f"Math.max(...{times}) - Math.min(...{times}) < 0.05")
        assert do(page, f"return {elements}[0].volume") == 0
        page.get_by_role("button", name="Instrumental only").click()
        do(page, "player.seek(2.3)")
        reaches(
            page,
            "player.position() > 2.5 && player.level('vocals') === 0 && player.level('bass') > 0.3",
        )
        do(page, "player.setLoop({start: 0.5, end: 1}); player.seek(0.6)")
        reaches(page, "player.position() < 1 && player.level('vocals') > 0.3")
        page.wait_for_timeout(700)
        assert 0.45 <= position(page) <= 1.1
        do(page, "player.setLoop(null); player.seek(3.7)")
        reaches(page, "!player.playing")
        assert position(page) == pytest.approx(4, abs=0.01)
        assert page.get_by_role("slider", name="Volume of vocals").get_attribute("max") == "0"
