"""Stages in threads: order, bounds, errors in the right place, and no thread left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from stemwise import models
from stemwise.audio import AudioFormat, AudioReader
from stemwise.audio.wav import WavEncoder
from stemwise.errors import AudioError, Cancelled, OutputError
from stemwise.pipeline import ReadAhead, WriteBehind, at_once
from stemwise.separation import Engine, Options
from stemwise.songs import Output, detect_file, separate_file

PATIENCE = 30


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def test_items_come_in_order_and_are_taken_only_a_little_ahead() -> None:
    taken: list[int] = []
    third = threading.Event()

    def items() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            if number == 2:
                third.set()
            yield number

    with ReadAhead(items(), 2) as ahead:
        assert third.wait(PATIENCE)  # without anybody asking
        given = []
        for number in ahead:
            assert len(taken) <= number + 4
            given.append(number)
    assert given == list(range(50))
    with ReadAhead(range(3), 0) as ahead:
        assert list(ahead) == [0, 1, 2]


def test_an_error_comes_where_its_item_would_have() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise AudioError("oh")

    given = []
    with ReadAhead(items(), 8) as ahead:
        numbers = iter(ahead)
        given += [next(numbers), next(numbers)]
        with pytest.raises(AudioError, match="oh"):
            next(numbers)
    assert given == [1, 2]


def test_whoever_stops_early_leaves_no_thread() -> None:
    with ReadAhead(iter(int, 1), 3) as ahead:  # without end
        assert next(iter(ahead)) == 0


def test_calls_are_made_in_order_behind_the_caller() -> None:
    gate, made = threading.Event(), []
    with WriteBehind(1) as behind:
        behind.do(lambda: gate.wait(PATIENCE))
        behind.do(partial(made.append, 0))  # returns though the first is still being made
        assert not made
        gate.set()
        for number in range(1, 20):
            behind.do(partial(made.append, number))
        behind.finish()
        assert made == list(range(20))


def test_a_failed_call_is_raised_and_none_is_made_after_it() -> None:
    made: list[int] = []

    def fail() -> None:
        raise OutputError("full")

    def go_on(behind: WriteBehind) -> None:
        for number in range(100):
            behind.do(partial(made.append, number))

    for notice in (go_on, WriteBehind.finish):
        with WriteBehind(1) as behind:
            behind.do(fail)
            with pytest.raises(OutputError, match="full"):
                notice(behind)
    assert made == []


def test_leaving_early_drops_the_calls_that_wait() -> None:
    begun, gate, made = threading.Event(), threading.Event(), []

    def first() -> None:
        begun.set()
        gate.wait(PATIENCE)
        made.append("first")

    def leave() -> None:
        with WriteBehind(1) as behind:
            behind.do(first)
            begun.wait(PATIENCE)
            behind.do(partial(made.append, "second"))
            threading.Timer(0.01, gate.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert made == ["first"]


def test_calls_at_once_end_together_and_the_others_hear_of_a_failure() -> None:
    failed, made = threading.Event(), []
    at_once([partial(made.append, number) for number in range(9)])
    assert sorted(made) == list(range(9))
    at_once([])

    def fail() -> None:
        raise OutputError("full")

    def other() -> None:
        if failed.wait(PATIENCE):
            raise Cancelled("stopped")

    with pytest.raises(OutputError, match="full"):
        at_once([fail, other], failed)


@pytest.fixture(params=[True, False], ids=["overlapping", "in turn"])
def engine(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, small: Engine
) -> Engine:
    """An engine beside which the other stages have cores to themselves, or have none."""
    monkeypatch.setattr("stemwise.songs._overlaps", lambda engine: request.param)
    return small


@pytest.fixture(scope="module")
def small() -> Engine:
    network = models.build("band-unet", widths=(8, 8, 8, 8, 8), squeezed=2, hidden=16)
    return Engine(network, Options(device="cpu", precision="fp32", segment=1.0))


def _song(path: Path, seconds: float = 6) -> Path:
    samples = np.random.default_rng(0).standard_normal((round(44100 * seconds), 2)) * 0.1
    soundfile.write(path, samples, 44100, subtype="FLOAT")
    return path


def test_progress_is_told_in_the_callers_thread_up_to_the_end(
    engine: Engine, tmp_path: Path
) -> None:
    told: list[tuple[float, float | None]] = []

    def tell(done: float, total: float | None) -> None:
        assert threading.current_thread() is threading.main_thread()
        told.append((done, total))

    separate_file(engine, _song(tmp_path / "a.wav"), Output(tmp_path / "out"), progress=tell)
    assert told == sorted(told)
    assert told[-1] == (6, 6)


@pytest.mark.parametrize("extension", ["wav", "flac", "mp3"])
def test_an_encoder_that_fails_ends_the_song_and_nothing_remains(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extension: str
) -> None:
    written = 0

    def full(encoder: Any, block: np.ndarray) -> None:
        nonlocal written
        written += 1
        if written > 9:
            raise OSError(28, "No space left on device")

    song = _song(tmp_path / "a.wav")
    place = {
        "wav": "stemwise.audio.wav.WavEncoder.write",
        "flac": "soundfile.SoundFile.write",
        "mp3": "stemwise.audio.libav.LibavEncoder.write",
    }[extension]
    monkeypatch.setattr(place, full)
    with pytest.raises(OutputError, match=r"out.*\.(wav|flac|mp3) could not be written"):
        separate_file(engine, song, Output(tmp_path / "out", AudioFormat(extension)))
    assert sorted(tmp_path.iterdir()) == [song]


def test_a_song_that_breaks_in_the_middle_ends_with_its_error(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    song = _song(tmp_path / "a.wav")
    decode = soundfile.SoundFile.read

    def breaking(self: soundfile.SoundFile, *arguments: Any, **options: Any) -> np.ndarray:
        block: np.ndarray = decode(self, *arguments, **options)
        if self.tell() > 200000:
            raise MemoryError("no room")
        return block

    monkeypatch.setattr(AudioReader, "verify", lambda self: None)
    monkeypatch.setattr(soundfile.SoundFile, "read", breaking)
    for do in (partial(separate_file, output=Output(tmp_path / "out")), detect_file):
        with pytest.raises(MemoryError, match="no room"):
            do(engine, song)
    assert sorted(tmp_path.iterdir()) == [song]


def test_cancelling_while_stems_are_written(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel, write = threading.Event(), WavEncoder.write

    def slow(self: WavEncoder, block: np.ndarray) -> None:
        cancel.set()
        write(self, block)

    song = _song(tmp_path / "a.wav", 20)
    monkeypatch.setattr(WavEncoder, "write", slow)
    with pytest.raises(Cancelled):
        separate_file(engine, song, Output(tmp_path / "out"), cancel=cancel)
    assert sorted(tmp_path.iterdir()) == [song]
