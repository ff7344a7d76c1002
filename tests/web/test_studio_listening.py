"""The studio's page with a song that is done: hearing its stems, and taking what one needs."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import av
import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, Download, Page, expect
from studio_page import PATIENCE_MS, Visit, chromium, visit
from studio_server import compose, separated, studio

from stemwise.studio.settings import Settings

expect.set_options(timeout=PATIENCE_MS)
STEMS = ("vocals", "drums", "bass", "other")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def address(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with studio(Settings(data=tmp_path_factory.mktemp("studio"))) as running:
        yield running


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compose(tmp_path_factory.mktemp("songs") / "Kitchen jam.wav", seconds=5)


@pytest.fixture(scope="module")
def job(address: str, song: Path) -> str:
    return separated(address, song, song.name)


@pytest.fixture
def visitor(browser: Browser, address: str, job: str) -> Iterator[Visit]:
    with visit(browser, address) as opened:
        enter(opened, job)
        yield opened


def enter(visitor: Visit, job: str) -> None:
    """Open a song, and wait for its player."""
    visitor.page.goto(f"{visitor.address}/#{job}")
    expect(visitor.page.get_by_role("button", name="Play", exact=True)).to_be_visible()


def take(page: Page, name: str) -> Download:
    """What a link of the page downloads."""
    with page.expect_download() as started:
        page.get_by_role("link", name=name, exact=True).click()
    return started.value


def command_line(song: Path, out: Path, *options: str) -> Path:
    """What `stemwise separate` writes of a song."""
    arguments = [sys.executable, "-m", "stemwise", "separate", str(song), "-o", str(out)]
    subprocess.run([*arguments, "--quiet", *options], check=True)
    return out / song.stem


def test_stems_are_heard_muted_and_alone(visitor: Visit) -> None:
    page = visitor.page
    page.get_by_role("button", name="Play", exact=True).click()
    visitor.until("player.position() > 0.3")
    first = visitor.in_player("player.position()")
    visitor.until(f"player.position() > {first} + 0.2")
    visitor.until("player.level('drums') > 0.001 && player.level('bass') > 0.001")
    page.get_by_role("button", name="Mute bass").click()
    visitor.until("player.level('bass') < 1e-6 && player.level('other') > 0.001")
    page.get_by_role("button", name="Solo drums").click()
    visitor.until("player.level('other') < 1e-6 && player.level('drums') > 0.001")
    page.get_by_role("button", name="Solo drums").click()
    page.get_by_role("button", name="Mute bass").click()
    visitor.until("player.level('bass') > 0.001 && player.level('other') > 0.001")
    page.get_by_role("button", name="Pause", exact=True).click()


def test_a_click_on_a_waveform_goes_there(visitor: Visit) -> None:
    wave = visitor.page.get_by_role("img", name="Waveform of drums")
    box = wave.bounding_box()
    assert box is not None
    wave.click(position={"x": box["width"] * 0.6, "y": box["height"] / 2})
    assert visitor.in_player("player.position()") == pytest.approx(3.0, abs=0.05)


def test_downloads_are_those_of_the_command_line(
    visitor: Visit, song: Path, tmp_path: Path
) -> None:
    page = visitor.page
    written = command_line(song, tmp_path / "wav")
    for stem in STEMS:
        taken = take(page, stem)
        assert taken.suggested_filename == f"Kitchen jam - {stem}.wav"
        assert taken.path().read_bytes() == (written / f"{stem}.wav").read_bytes()
    table = take(page, "CSV").path().read_text(encoding="utf-8")
    assert table == (written / "activity.csv").read_text(encoding="utf-8")

    written = command_line(song, tmp_path / "flac", "--flac", "--int24")
    page.get_by_label("Format").select_option(label="FLAC, 24 bit")
    archive = zipfile.ZipFile(io.BytesIO(take(page, "All stems, zipped").path().read_bytes()))
    for stem in STEMS:
        [name] = [one for one in archive.namelist() if one.endswith(f"{stem}.flac")]
        assert archive.read(name) == (written / f"{stem}.flac").read_bytes()


def test_the_mix_that_is_heard_can_be_taken(visitor: Visit, tmp_path: Path) -> None:
    page = visitor.page
    page.get_by_label("Format").select_option(label="WAV, 32 bit float")
    taken = {stem: soundfile.read(take(page, stem).path())[0] for stem in ("drums", "bass")}
    for stem in ("vocals", "other"):
        page.get_by_role("button", name=f"Mute {stem}").click()
    volume = page.get_by_role("slider", name="Volume of bass")
    volume.focus()
    for _ in range(12):
        page.keyboard.press("ArrowLeft")
    gain = visitor.in_player("player.gains().bass")
    assert gain == pytest.approx(10 ** (-6 / 20), rel=1e-3)
    card = page.locator(".card", has_text="Your mix")
    expect(card.get_by_role("listitem")).to_have_text(
        ["vocalsmuted", "drums100 %", "bass50 %", "othermuted"]
    )
    volume.blur()
    page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
    visitor.picture("studio-mix", tmp_path)
    mixed, _ = soundfile.read(take(page, "This mix").path())
    np.testing.assert_allclose(mixed, taken["drums"] + gain * taken["bass"], atol=1e-4)
    for stem in ("drums", "bass"):
        page.get_by_role("button", name=f"Mute {stem}").click()
    expect(card).to_contain_text("Every stem is muted.")
    expect(page.get_by_text("This mix")).not_to_have_attribute("href", "")


def test_everything_else_can_be_taken(visitor: Visit) -> None:
    page = visitor.page
    with av.open(str(take(page, ".stem.mp4 for DJs").path())) as container:
        assert len(container.streams.audio) == 5
    assert "Kitchen jam" in take(page, "Report page").path().read_text(encoding="utf-8")
    for label in ("Audacity labels", "LAB"):
        assert "drums" in take(page, label).path().read_text(encoding="utf-8")
    assert take(page, "JAMS").path().read_text(encoding="utf-8").startswith("{")
    for label, kind in (("MP3, 320 kbit/s", "mp3"), ("Opus, 192 kbit/s", "opus")):
        page.get_by_label("Format").select_option(label=label)
        with av.open(str(take(page, "drums").path())) as container:
            assert container.streams.audio[0].codec_context.name.startswith(kind)


def test_a_download_that_fails_says_why(visitor: Visit) -> None:
    page = visitor.page
    visitor.expected.append("status of 507")
    sentence = "There is no room left on the disk: free some space."
    page.route(
        "**/stems/bass.wav*", lambda asked: asked.fulfill(status=507, json={"detail": sentence})
    )
    page.get_by_role("link", name="bass", exact=True).click()
    expect(page.get_by_role("status").filter(has_text=sentence)).to_be_in_viewport()


def test_every_control_has_a_name_and_every_text_contrast(visitor: Visit, address: str) -> None:
    page = visitor.page
    script = (Path(__file__).parent / "accessible.js").read_text(encoding="utf-8")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(f"{address}/#")
        expect(page.get_by_role("heading", name="Drop a song")).to_be_visible()
        page.get_by_text("Advanced").click()
        assert page.evaluate(script) == []
        page.get_by_role("link", name="Kitchen jam").click()
        expect(page.get_by_role("button", name="Mute drums")).to_be_visible()
        assert page.evaluate(script) == []
        page.reload()


def test_a_narrow_window_scrolls_one_way(visitor: Visit) -> None:
    """320 pixels, as WCAG 2.1 (1.4.10) has it: a window of 1280 at four times the size."""
    page = visitor.page
    page.set_viewport_size({"width": 320, "height": 640})
    assert overhang(page) == 0
    page.get_by_role("link", name="All songs").click()
    expect(page.get_by_role("link", name="Kitchen jam")).to_be_visible()
    assert overhang(page) == 0


def test_a_real_recording(visitor: Visit, address: str, real_audio: Path, tmp_path: Path) -> None:
    [recording] = real_audio.glob("*.mp3")
    part = tmp_path / "Real mix.flac"
    with av.open(str(recording)) as container:
        rate = container.streams.audio[0].rate
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    soundfile.write(part, np.concatenate(frames, axis=1).T[: 5 * rate], rate)
    page = visitor.page
    page.get_by_role("link", name="All songs").click()
    visitor.choose(part)
    expect(page.get_by_role("heading", name="Real mix")).to_be_visible()
    page.get_by_role("button", name="Play", exact=True).click()
    visitor.until("['vocals', 'drums', 'bass', 'other'].every((s) => player.level(s) > 1e-4)")


@pytest.fixture(scope="module")
def portrait(address: str, job: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A song that looks like one, where pictures are wanted."""
    if "STEMWISE_PICTURES" not in os.environ:
        return job
    from stemwise.band.render import render_song

    path = tmp_path_factory.mktemp("portrait") / "Night train.flac"
    rendered = render_song(2, family="dsp", duration=28)
    soundfile.write(path, rendered.mixture.T, rendered.sample_rate)
    return separated(address, path, path.name)


COLOURS = {
    "light": ("#c8385a", "#a2660a", "#2f6db5", "#1a7a6f"),
    "dark": ("#f2809a", "#e6b04c", "#76aef0", "#57c3b1"),
}
DESK = {"viewport": {"width": 1280, "height": 960}}
PHONE = {"viewport": {"width": 390, "height": 1340}, "has_touch": True, "is_mobile": True}
"""Higher than phones are, so that the picture holds all stems."""


@pytest.mark.parametrize(
    ("name", "scheme", "look"),
    [("studio", "light", DESK), ("studio-dark", "dark", DESK), ("studio-phone", "light", PHONE)],
)
def test_pictures(
    browser: Browser,
    address: str,
    portrait: str,
    tmp_path: Path,
    name: str,
    scheme: str,
    look: dict[str, object],
) -> None:
    """The player at every width."""
    with visit(browser, address, color_scheme=scheme, **look) as visitor:
        page = visitor.page
        expect(page.get_by_role("checkbox", name="vocals")).to_be_visible()
        assert overhang(page) == 0
        enter(visitor, portrait)
        visitor.in_player("player.seek(player.song.duration * 0.4)")
        assert overhang(page) == 0
        path = visitor.picture(name, tmp_path)
    pixels = matplotlib.image.imread(path)[..., :3]
    for colour in COLOURS[scheme]:
        distance = np.abs(pixels - matplotlib.colors.to_rgb(colour)).max(axis=-1)
        assert np.count_nonzero(distance < 0.03) > 100, f"{colour} is not to be seen"


def overhang(page: Page) -> int:
    """Pixels by which the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - innerWidth"))
