"""Audio that comes bit by bit: the same stems, soon, in bounded memory."""

from __future__ import annotations

import threading
import time
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import stemwise
from small_networks import SMALL, small
from stemwise.errors import AudioError, ModelError, StemwiseError
from stemwise.live import Stream, latency, shortest_latency
from stemwise.models.summary import outline
from stemwise.separation import Block, Engine, Options

UNIDIRECTIONAL = "open-unmix, unidirectional"
NETWORKS = ("band-unet", "joint-unet", "open-unmix", UNIDIRECTIONAL, "waveform-unmix")


def engine(name: str = "band-unet", **options: object) -> Engine:
    options = {"segment": 0.5, **options}
    made = small("open-unmix", unidirectional=True) if name == UNIDIRECTIONAL else small(name)
    return Engine(made.eval(), Options(**options))  # type: ignore[arg-type]


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


@pytest.mark.parametrize("name", [*SMALL, UNIDIRECTIONAL])
@pytest.mark.parametrize(
    ("options", "rate"), [({}, 44100), ({"lookahead": 0.1}, 96000), ({"gate": "median"}, 16000)]
)
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


def test_states_that_are_carried_on_need_a_window_only() -> None:
    running = engine(UNIDIRECTIONAL, segment=0.001, phase="mixture", precision="fp32")
    assert running.latency(44100) < 0.04
    song = noise(2, 44100, 2)
    whole = engine(UNIDIRECTIONAL, segment=60.0, phase="mixture", precision="fp32")
    expected = joined(list(whole.stream([song], 44100, 2)))
    with Stream(running, 44100, 2) as stream:
        found = joined(pushed(stream, song, 2000))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize("name", [*SMALL, UNIDIRECTIONAL])
def test_the_latency_of_a_network_is_known_without_its_weights(name: str) -> None:
    options = {"segment": 0.5, "lookahead": 0.1}
    running = engine(name, **options)
    described = outline(running.separator.kind, **running.separator.config)
    assert latency(described, 48000, **options) == running.latency(48000)
    least = shortest_latency(described)
    rate = running.separator.sample_rate
    assert 0 < least <= engine(name, segment=0.001, lookahead=0.0).latency(rate)


def test_a_callback_may_use_its_block_again() -> None:
    song = noise(3, 22050, 1)
    expected = joined(list(engine("joint-unet").stream([song], 22050, 1)))
    buffer, blocks = np.empty((1, 512), np.float32), []
    with Stream(engine("joint-unet"), 22050, 1) as stream:
        for start in range(0, song.shape[1], 512):
            part = song[:, start : start + 512]
            buffer[:, : part.shape[1]] = part
            blocks += stream.push(buffer[:, : part.shape[1]])
            buffer[:] = 9.0
        found = joined(blocks + stream.finish())
    np.testing.assert_allclose(found[0], expected[0], atol=2e-6)


class Gated(Engine):
    """An engine that waits in every piece until it is let on, or takes long for it."""

    def __init__(self, seconds: float | None = None) -> None:
        one = engine("joint-unet", segment=0.2)
        self.__dict__.update(one.__dict__)
        self.seconds, self.busy, self.on = seconds, threading.Event(), threading.Event()

    def _compute(self, *arguments: Any) -> Any:
        self.busy.set()
        if self.seconds is None:
            assert self.on.wait(60)
        else:
            time.sleep(self.seconds)
        return super()._compute(*arguments)


def test_threads_push_one_at_a_time() -> None:
    gated, got = Gated(), []
    with Stream(gated, 22050, 1) as stream:
        first = threading.Thread(target=lambda: got.append(stream.push(noise(3, 22050, 1))))
        first.start()
        assert gated.busy.wait(60)
        with pytest.raises(StemwiseError, match="Another thread is pushing"):
            stream.push(noise(0.1, 22050, 1))
        with pytest.raises(StemwiseError, match="Another thread is pushing"):
            stream.finish()
        gated.on.set()
        first.join(60)
        later = threading.Thread(target=lambda: got.append(stream.push(noise(1, 22050, 1))))
        later.start()
        later.join(60)
        rest = stream.finish()
    blocks = [block for part in got for block in part] + rest
    assert joined(blocks)[0].shape[-1] == 4 * 22050


def test_closing_while_another_thread_pushes() -> None:
    gated, got = Gated(), []
    stream = Stream(gated, 22050, 1)
    pusher = threading.Thread(target=lambda: got.append(stream.push(noise(3, 22050, 1))))
    pusher.start()
    assert gated.busy.wait(60)
    closer = threading.Thread(target=stream.close)
    closer.start()
    gated.on.set()
    closer.join(60)
    pusher.join(60)
    assert not closer.is_alive()
    assert got == [[]]
    with pytest.raises(StemwiseError, match="has ended"):
        stream.push(noise(0.1, 22050, 1))
    assert stream.finish() == []
    stream.close()


def test_falling_behind_is_told() -> None:
    slow = Gated(seconds=0.5)  # for 0.2 s
    with Stream(slow, 22050, 1) as stream:
        assert stream.behind == 0
        for _ in range(12):
            stream.push(noise(0.2, 22050, 1))
        pieces = 2.4 - stream.latency
        assert stream.received == pytest.approx(2.4)
        assert stream.computing >= 0.5 * pieces / 0.2 - 0.5
        assert 0 < stream.behind <= stream.computing
        spent = stream.computing
        stream.push(np.zeros((1, 0), np.float32))
        assert stream.computing == spent


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
        with pytest.raises(AudioError, match="int16: convert it to floating point"):
            stream.push(np.zeros((2, 5), np.int16))
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


def test_from_a_model() -> None:
    model = stemwise.Model(engine())
    with model.stream(44100, 2) as stream:
        assert isinstance(stream, stemwise.Stream)
        assert 0.5 < stream.latency < 10
