"""Audio that comes bit by bit: the same stems, soon, in bounded memory."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

import numpy as np
import pytest

import stemwise
from small_networks import SMALL, small
from stemwise.errors import AudioError, ModelError, StemwiseError
from stemwise.live import Stream
from stemwise.separation import Block, Engine, Options

NETWORKS = ("band-unet", "joint-unet", "open-unmix", "waveform-unmix")


def engine(name: str = "band-unet", **options: object) -> Engine:
    options = {"segment": 0.5, **options}
    return Engine(small(name).eval(), Options(**options))  # type: ignore[arg-type]


def noise(seconds: float, rate: int, channels: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.standard_normal((channels, round(seconds * rate))) * 0.1).astype(np.float32)


def joined(blocks: list[Block]) -> tuple[np.ndarray, np.ndarray]:
    for one, after in pairwise(blocks):
        assert after.start == one.start + one.stems.shape[-1]
        assert after.first_frame == one.first_frame + one.activity.shape[-1]
    stems = np.concatenate([block.stems for block in blocks], axis=-1)
    return stems, np.concatenate([block.activity for block in blocks], axis=-1)


def pushed(stream: Stream, song: np.ndarray, largest: int) -> list[Block]:
    """The song in blocks of random lengths, empty ones among them."""
    rng = np.random.default_rng(1)
    blocks, start = [], 0
    while start < song.shape[1]:
        end = start + int(rng.integers(0, largest))
        blocks += stream.push(song[:, start:end])
        start = end
    return blocks + stream.finish()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("rate", "channels", "options"),
    [(44100, 2, {}), (22050, 1, {"gate": "median"}), (48000, 3, {"overlap": 0.25})],
)
def test_a_stream_gives_what_the_engine_gives(
    name: str, rate: int, channels: int, options: dict[str, object]
) -> None:
    song = noise(3, rate, channels)
    whole = engine(name, **options)
    expected = joined(list(whole.stream([song], rate, channels)))
    with Stream(engine(name, **options), rate, channels) as stream:
        found = joined(pushed(stream, song, rate // 3))
    assert found[0].shape == (len(whole.separator.sources), *song.shape)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("options", [{}, {"lookahead": 0.1}, {"gate": "median"}])
@pytest.mark.parametrize("rate", [44100, 16000, 96000])
def test_stems_come_within_the_stated_time(
    name: str, options: dict[str, object], rate: int
) -> None:
    running = engine(name, **options)
    song = noise(running.latency(rate) + 3, rate, 2)
    block = rate // 100
    with Stream(running, rate, 2) as stream:
        sent, behind = 0, 0.0
        for start in range(0, song.shape[1], block):
            came = min(start + block, song.shape[1])
            sent += sum(one.stems.shape[-1] for one in stream.push(song[:, start:came]))
            behind = max(behind, (came - sent) / rate)
        assert behind <= stream.latency + 0.01, "a block may end after what was needed"
        assert sent > 0
        # the bound is no excuse
        assert behind >= 0.7 * (stream.latency - 0.6)


def test_less_lookahead_is_sooner_and_still_sums_up() -> None:
    song = noise(4, 44100, 2)
    exact, quick = engine(), engine(lookahead=0.2)
    assert quick.latency(44100) < exact.latency(44100) - 1
    with Stream(quick, 44100, 2) as stream:
        stems, _ = joined(pushed(stream, song, 9999))
    np.testing.assert_allclose(stems.sum(axis=0), song, atol=1e-5)
    whole, _ = joined(list(exact.stream([song], 44100, 2)))
    assert np.abs(stems - whole).max() > 1e-5, "it is not what one pass gives"
    longer = engine(lookahead=99.0)
    assert longer.latency(44100) == exact.latency(44100)
    with pytest.raises(ModelError, match="The lookahead must be 0 seconds or more"):
        engine(lookahead=-1.0)


def test_what_is_wrong_belongs_to_whoever_pushes() -> None:
    with Stream(engine(), 44100, 2) as stream:
        with pytest.raises(AudioError, match=r"2 channels, and the block has the shape \(3, 5\)"):
            stream.push(np.zeros((3, 5)))
        stream.push(noise(0.1, 44100, 2))
        with pytest.raises(AudioError, match=r"not a number after 0\.100 s"):
            stream.push(np.full((2, 5), np.nan))
        with pytest.raises(StemwiseError, match="has ended"):
            stream.push(np.zeros((2, 5)))
    with pytest.raises(AudioError, match="1 to 8 channels and a positive rate"):
        Stream(engine(), 44100, 9)
    with pytest.raises(ModelError, match="oracle"):
        Stream(engine(gate="oracle"), 44100, 2)


def test_nothing_in_is_nothing_out_and_no_thread_stays() -> None:
    before = threading.active_count()
    with Stream(engine(), 44100, 2) as stream:
        assert stream.push(np.zeros((2, 0), np.float32)) == []
        assert stream.finish() == []
        assert stream.finish() == []
    with Stream(engine(), 44100, 2) as left:
        left.push(noise(1, 44100, 2))
    deadline = time.monotonic() + 30
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_what_waits_does_not_grow() -> None:
    """Neither in the queue nor in the engine, over ten minutes of a tiny rate."""
    running = engine("joint-unet", segment=8.0)
    rate = 8000
    song = noise(1, rate, 1)
    waiting: list[int] = []
    with Stream(running, rate, 1) as stream:
        sent = 0
        for second in range(600):
            sent += sum(one.stems.shape[-1] for one in stream.push(song))
            waiting.append((second + 1) * rate - sent)
        assert max(waiting) <= (stream.latency + 1) * rate


def test_from_a_model() -> None:
    model = stemwise.Model(engine())
    with model.stream(44100, 2) as stream:
        assert isinstance(stream, stemwise.Stream)
        assert 0.5 < stream.latency < 10
