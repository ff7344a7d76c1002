"""What is heard: levels measured in the page while it plays generated audio from a server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page
from tests.web.player_pages import (
    CHROMIUM,
    Samples,
    Site,
    Sound,
    chromium,
    do,
    embedded,
    opened,
    reaches,
    serving,
    sine,
)

from stemwise.remix import GainCurve

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
QUIET = 1e-3
"""RMS, 60 dB below full scale: what a volume that glides to zero is soon below."""

WATCH = """
async ([seconds, tracks]) => {
  // what analysers of the page saw, window by window, without a gap
  const player = document.getElementById("player").player;
  const seen = [];
  const samples = new Float32Array(2048);
  const bend = (analyser) => {
    analyser.getFloatTimeDomainData(samples);
    let most = 0;
    for (let i = 2; i < samples.length; i++) {
      most = Math.max(most, Math.abs(samples[i] - 2 * samples[i - 1] + samples[i - 2]));
    }
    return most;
  };
  const end = performance.now() + seconds * 1000;
  while (performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 12));
    if (!player.playing || player.engine.waiting) continue;
    const at = player.position();
    const levels = Object.fromEntries(tracks.map((track) => [track, player.level(track)]));
    // where a busy machine took a break in between, nothing is known
    const later = player.position() - at;
    if (later >= 0 && later < 0.02) seen.push({ at, bend: bend(player.engine.meter), ...levels });
  }
  return seen;
}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serving() as served:
        yield served


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with opened(browser) as page:
        yield page


def watch(page: Page, seconds: float, *tracks: str) -> list[dict[str, float]]:
    seen: list[dict[str, float]] = page.evaluate(WATCH, [seconds, list(tracks)])
    assert len(seen) > 4 * seconds
    return seen


def play_from(page: Page, seconds: float) -> None:
    do(page, f"player.pause(); player.seek({seconds}); player.play();")
    reaches(page, f"player.position() > {seconds} + 0.1")


def noise(seconds: float, rate: int = 44100) -> Samples:
    signal = np.random.default_rng(1).standard_normal((1, round(seconds * rate)))
    return np.asarray(0.2 * signal, np.float32)


@pytest.fixture(scope="module")
def opposites(site: Site) -> str:
    """Two stems whose sum is silence, to the sample: nothing is left only if they are in step."""
    signal = noise(12, 48000)
    mixture = Sound(np.zeros((1, signal.shape[1]), np.float32), 44100)
    stems = {"vocals": Sound(signal, 48000), "drums": Sound(-signal, 48000)}
    return site.add("opposites", {"mixture": mixture, **stems})


def assert_cancelled(seen: list[dict[str, float]]) -> None:
    assert min(one["vocals"] for one in seen) > 0.05
    assert min(one["drums"] for one in seen) > 0.05
    assert max(one["master"] for one in seen) < 1e-6


def test_stems_stay_in_step_across_stretches_seeks_and_loops(page: Page, opposites: str) -> None:
    page.goto(opposites)
    play_from(page, 3.4)
    seen = watch(page, 1.2, "vocals", "drums", "master")
    assert seen[0]["at"] < 4 < seen[-1]["at"], "it crosses the border of two stretches"
    assert_cancelled(seen)
    do(page, "player.seek(7.123)")
    reaches(page, "player.position() > 7.25")
    assert_cancelled(watch(page, 0.4, "vocals", "drums", "master"))
    do(page, "player.setLoop({start: 7.8, end: 8.3})")
    do(page, "player.seek(8.1)")
    reaches(page, "player.position() < 8 && player.position() > 7.85")
    assert_cancelled(watch(page, 1.2, "vocals", "drums", "master"))


def test_a_slow_server_is_waited_for_in_step(page: Page, site: Site, opposites: str) -> None:
    page.goto(opposites)
    play_from(page, 0)
    site.delay = 0.7
    try:
        do(page, "player.seek(9)")
        page.wait_for_timeout(150)
        assert do(page, "return [player.position(), player.engine.waiting]") == [9, True]
        assert page.locator(".play.waiting").count() == 1
        assert do(page, "return player.level('vocals')") == 0
        reaches(page, "player.position() > 9.2")
    finally:
        site.delay = 0
    assert_cancelled(watch(page, 0.4, "vocals", "drums", "master"))
    assert page.locator(".play.waiting").count() == 0


@pytest.fixture(scope="module")
def duo(site: Site) -> str:
    """Vocals that are said to sing from 1 to 2 and from 3 to 4 s, and drums."""
    vocals, drums = sine(441, 9), sine(110, 9, gain=0.3)
    sounds = {
        "mixture": Sound(vocals + drums),
        "vocals": Sound(vocals, spans=[(1, 2), (3, 4)]),
        "drums": Sound(drums, spans=[(0, 9)]),
    }
    return site.add("duo", sounds)


def test_the_clock_runs_as_fast_as_time(page: Page, duo: str) -> None:
    page.goto(duo)
    assert do(page, "return player.position()") == 0
    page.get_by_role("button", name="Play").click()
    reaches(page, "player.position() > 0.2")
    seen: list[float] = page.evaluate(
        """async () => {
          const player = document.getElementById("player").player;
          const [from, at] = [performance.now(), player.position()];
          await new Promise((resolve) => setTimeout(resolve, 1000));
          return [(performance.now() - from) / 1000, player.position() - at];
        }"""
    )
    assert 0.6 * seen[0] < seen[1] < seen[0] + 0.15  # a busy machine may be late, never early
    page.get_by_role("button", name="Pause").click()
    at = do(page, "return player.position()")
    page.wait_for_timeout(150)
    assert do(page, "return player.position()") == at
    assert page.locator(".clock .now").inner_text() == f"0:{at:04.1f}"


def test_mute_solo_volume_and_original_change_the_levels(page: Page, duo: str) -> None:
    page.goto(duo)
    play_from(page, 0)
    level = 0.5 / 2**0.5
    reaches(
        page, f"Math.abs(player.level('vocals') - {level}) < 0.02 && player.level('drums') > 0.15"
    )
    reaches(page, f"player.level('mixture') < {QUIET}")
    page.get_by_role("button", name="Mute vocals").click()
    reaches(page, f"player.level('vocals') < {QUIET} && player.level('drums') > 0.15")
    page.get_by_role("button", name="Solo vocals").click()
    reaches(page, f"player.level('vocals') > 0.3 && player.level('drums') < {QUIET}")
    assert do(page, "return player.gains()") == {"vocals": 1, "drums": 0}
    page.get_by_role("button", name="Listen to the original song").click()
    reaches(page, f"player.level('mixture') > 0.3 && player.level('vocals') < {QUIET}")
    page.get_by_role("button", name="Reset mix").click()
    reaches(page, f"player.level('vocals') > 0.3 && player.level('mixture') < {QUIET}")
    page.get_by_role("slider", name="Volume of vocals").fill("-6")
    reaches(page, f"Math.abs(player.level('vocals') - {level / 2}) < 0.02")
    page.get_by_role("slider", name="Volume of vocals").fill("-48")
    reaches(page, f"player.level('vocals') < {QUIET}")
    page.get_by_role("slider", name="Master volume").fill("-48")
    reaches(page, f"player.level('master') < {QUIET} && player.level('drums') > 0.15")


def test_karaoke_and_instrumental_follow_the_segments(page: Page, duo: str) -> None:
    page.goto(duo)
    play_from(page, 0.2)
    page.get_by_role("button", name="Karaoke").click()
    reaches(page, f"player.level('vocals') < {QUIET} && player.level('drums') > 0.15")
    assert do(page, "return [player.gains().vocals, player.onlyActive()]") == [0, None]
    page.get_by_role("button", name="Instrumental only").click()
    assert do(page, "return [player.gains().vocals, player.onlyActive()]") == [0, "vocals"]
    # a loop that begins inside a segment, where the gain jumps, and a seek into another
    do(page, "player.setLoop({start: 1.4, end: 2.6}); player.seek(1.8)")
    reaches(page, "player.position() > 1.9")
    assert_follows(watch(page, 2.2, "vocals", "drums"))
    do(page, "player.setLoop(null); player.seek(2.2)")
    reaches(page, "player.position() > 2.3")
    assert_follows(watch(page, 1.6, "vocals", "drums"))
    page.get_by_role("button", name="Instrumental only").click()
    reaches(page, "player.level('vocals') > 0.3")
    assert do(page, "return [player.gains().vocals, player.onlyActive()]") == [1, None]


def test_what_is_heard_is_what_a_remix_writes(page: Page, site: Site) -> None:
    spans = [(0.0, 0.5), (0.8, 0.83), (1.2, 1.9)]
    sound = Sound(sine(300, 2), 8000, spans=spans)
    page.goto(site.add("curve", {"mixture": sound, "vocals": sound, "bass": sound}))
    times = (np.arange(0, 2 * 8000, 7) + 0.5) / 8000
    heard = page.evaluate(
        """(times) => {
          const { curve } = document.getElementById("player").player.engine.channels.get("vocals");
          return times.map((time) => 1 - curve.at(time));
        }""",
        times.tolist(),
    )
    written = GainCurve(0.0, 8000, spans).between(0, 2 * 8000)[::7]
    # eight straight pieces for a cosine of 20 ms
    np.testing.assert_allclose(heard, written, atol=0.01)


def assert_follows(seen: list[dict[str, float]]) -> None:
    """Silent inside the segments of vocals, as loud as in the song elsewhere."""
    margin = 0.1  # an analyser looks 46 ms back, and the page's clock is late by a block

    def inside(at: float) -> bool:
        return any(a + margin < at < b - margin for a, b in ((1, 2), (3, 4)))

    def outside(at: float) -> bool:
        return any(a + margin < at < b - margin for a, b in ((0, 1), (2, 3)))

    silent = [one["vocals"] for one in seen if inside(one["at"]) and one["at"] > 1.4 + margin]
    loud = [one["vocals"] for one in seen if outside(one["at"])]
    assert min(len(silent), len(loud)) > 3
    assert max(silent) < QUIET
    assert min(loud) > 0.3
    assert min(one["drums"] for one in seen) > 0.1


def test_a_loop_stays_in_its_region_and_nothing_clicks(page: Page, duo: str) -> None:
    page.goto(duo)
    page.get_by_role("button", name="Solo vocals").click()
    play_from(page, 3.2)
    do(page, "player.setLoop({start: 3.71, end: 4.33})")
    seen = watch(page, 2.6, "master")
    inside = [one["at"] for one in seen if one["at"] >= 3.71]
    assert max(inside) <= 4.33
    assert sum(a > b for a, b in pairwise(inside)) >= 2
    # a step of the sine bends by 0.002, the fade by 0.003, a click by up to one
    assert max(one["bend"] for one in seen) < 0.02
    do(page, "player.setLoop(null)")
    for seconds in (0.77, 5.31, 2.05):
        do(page, f"player.seek({seconds})")
        seen = watch(page, 0.3, "master")
        assert max(one["bend"] for one in seen) < 0.02
    page.get_by_role("button", name="Mute vocals").click()
    page.get_by_role("button", name="Solo vocals").click()
    assert max(one["bend"] for one in watch(page, 0.3, "master")) < 0.02


def test_tracks_of_any_rate_length_and_sample_type(page: Page, site: Site) -> None:
    tone = {rate: sine(330, 2.2, rate=rate) for rate in (8000, 22050, 44100, 96000)}
    six = np.repeat(tone[44100], 6, axis=0)
    sounds = {
        "mixture": Sound(np.repeat(tone[44100], 2, axis=0), subtype="PCM_16"),
        "vocals": Sound(tone[8000], 8000, subtype="PCM_U8"),
        "drums": Sound(tone[22050][:, :11025], 22050, subtype="PCM_24"),
        "bass": Sound(tone[96000], 96000, subtype="PCM_32"),
        "choir": Sound(tone[44100], subtype="DOUBLE"),
        "strings": Sound(six, container="WAVEX"),
        "organ": Sound(tone[44100], container="RF64"),
    }
    page.goto(site.add("rates", sounds))
    do(page, "player.play()")
    loud = " && ".join(
        f"Math.abs(player.level('{name}') - 0.354) < 0.02" for name in list(sounds)[1:]
    )
    reaches(page, loud)
    reaches(
        page,
        f"player.position() > 0.7 && player.level('drums') < {QUIET} && player.level('bass') > 0.3",
    )
    reaches(page, "!player.playing")
    assert do(page, "return player.position()") == pytest.approx(2.2, abs=1e-3)
    do(page, "player.play()")
    reaches(page, "player.position() > 0.05 && player.position() < 1.5")


def test_opus_in_the_page_is_decoded_as_it_plays(page: Page, tmp_path: Path) -> None:
    tone = Sound(np.repeat(sine(441, 30), 2, axis=0))
    page.goto(embedded({"mixture": tone, "vocals": tone}, tmp_path / "opus.html", opus=True))
    play_from(page, 23.3)
    seen = watch(page, 1.2, "vocals", "master")
    assert seen[0]["at"] < 24 < seen[-1]["at"]
    assert all(one["vocals"] == pytest.approx(0.5 / 2**0.5, rel=0.05) for one in seen)
    assert max(one["bend"] for one in seen) < 0.02
    unlike: list[float] = page.evaluate(
        """async () => {
          const { source } = document.getElementById("player").player.engine.channels.get("vocals");
          const context = new OfflineAudioContext(1, 1, 48000);
          const whole = (await context.decodeAudioData(source.file.slice(0))).getChannelData(0);
          const differences = [];
          for (const index of [0, 1, 7]) {
            const part = (await source.stretch(index)).getChannelData(0);
            const first = index * 4 * 48000;
            let most = part.length === Math.min(4 * 48000 + 2, whole.length - first) ? 0 : 9;
            part.forEach((sample, i) => {
              most = Math.max(most, Math.abs(sample - whole[first + i]));
            });
            differences.push(most);
          }
          return [source.whole === null ? 0 : 9, ...differences];
        }"""
    )
    assert max(unlike) < 1e-4, "parts are what the whole is, and the whole was not needed"


def test_a_tenth_of_a_second_and_silence(page: Page, site: Site) -> None:
    page.goto(
        site.add("short", {"mixture": Sound(sine(500, 0.1)), "vocals": Sound(sine(500, 0.1))})
    )
    do(page, "player.play()")
    reaches(page, "!player.playing")
    assert do(page, "return player.position()") == pytest.approx(0.1, abs=1e-3)
    do(page, "player.setLoop({start: 0, end: 0.1}); player.play()")
    reaches(page, "player.level('vocals') > 0.2")
    page.wait_for_timeout(300)
    assert do(page, "return player.playing") is True
    nothing = np.zeros((2, 22050), np.float32)
    page.goto(site.add("silence", {"mixture": Sound(nothing), "vocals": Sound(nothing, spans=[])}))
    do(page, "player.play()")
    reaches(page, "player.position() > 0.2 && player.level('master') === 0")
    assert page.get_by_role("button", name="Karaoke").count() == 0, "there is nothing to sing over"
    assert page.locator(".message").inner_text() == ""


def test_missing_audio_is_told_and_the_rest_plays(page: Page, site: Site) -> None:
    url = site.add(
        "missing",
        {"mixture": Sound(sine(300, 2)), "vocals": Sound(sine(300, 2)), "bass": Sound(sine(60, 2))},
    )
    kept = site.bodies.pop("/missing/vocals.wav")
    site.bodies["/missing/mixture.wav"] = b"<html>not a recording</html>"
    page.goto(url)
    do(page, "player.play()")
    reaches(page, "player.level('bass') > 0.3")
    message = page.locator(".message").inner_text()
    assert "“vocals” cannot be heard: the file is not there any more." in message
    assert "“mixture” cannot be heard: this is no WAV file." in message
    site.bodies["/missing/vocals.wav"] = kept
    do(page, "player.pause(); player.seek(0); player.play()")
    reaches(page, "player.level('vocals') > 0.3")
    assert "vocals" not in page.locator(".message").inner_text()


def test_long_songs_are_streamed_and_servers_without_ranges_will_do(page: Page, site: Site) -> None:
    quarter = 15 * 60 * 8000
    signal = np.float32(0.3 * np.sin(np.arange(quarter) * 0.3))[None]
    sounds = {"mixture": Sound(signal, 8000), "vocals": Sound(signal, 8000)}
    url = site.add("long", sounds)
    site.asked.clear()
    page.goto(url)
    play_from(page, 600)
    reaches(page, "player.level('vocals') > 0.15")
    asked = [wanted for path, wanted in site.asked if path == "/long/vocals.wav"]
    parts = [re.fullmatch(r"bytes=(\d+)-(\d+)", wanted or "") for wanted in asked]
    assert all(parts)
    got = sum(int(part[2]) - int(part[1]) + 1 for part in parts if part is not None)
    assert got < 20 * 8000 * 4, "no more than what is played soon"
    kept = do(page, "return player.engine.channels.get('vocals').source.kept.size")
    assert kept <= 5
    site.ranges = False
    try:
        page.goto(
            site.add("whole", {"mixture": Sound(sine(300, 6)), "vocals": Sound(sine(300, 6))})
        )
        play_from(page, 4.5)
        reaches(page, "player.level('vocals') > 0.3")
    finally:
        site.ranges = True
