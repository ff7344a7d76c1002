"""Tracks of parts: streams, channels and sums read exactly, whatever the codec."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemwise.activity import Activity, confidence_from_stems, write_activity
from stemwise.activity_files import LabelFile
from stemwise.audio import Audio, AudioFormat, create_stem_file, read, write
from stemwise.data.reading import make_track, measure
from stemwise.data.track import Part, Song, Track, labels_from_stems, read_stereo
from stemwise.errors import DataError

RATE = 44100


def noise(seed: int, channels: int = 2, samples: int = RATE) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = np.cumsum(rng.uniform(-0.01, 0.01, (channels, samples)), axis=1)
    return (smooth - smooth.mean(axis=1, keepdims=True)).clip(-0.9, 0.9).astype(np.float32)


def save(path: Path, samples: np.ndarray, subtype: str = "float32") -> Part:
    kind = AudioFormat("wav", "float32") if subtype == "float32" else None
    write(path, Audio(samples, RATE), format=kind if path.suffix == ".wav" else None)
    return Part(path)


def test_a_stem_is_the_sum_of_its_parts(tmp_path: Path) -> None:
    one, two, mono = noise(1), noise(2), noise(3, channels=1)
    parts = (save(tmp_path / "1.wav", one), save(tmp_path / "2.wav", two))
    third = save(tmp_path / "3.wav", mono)
    track = make_track("song", "", {"vocals": (*parts, third), "bass": parts[:1]})
    np.testing.assert_array_equal(
        track.read_stem("vocals", 100, 500), (one + two + mono)[:, 100:600]
    )
    np.testing.assert_allclose(
        track.read_mixture(7, 90), (2 * one + two + mono)[:, 7:97], atol=1e-6
    )
    mixed = replace(track, mixture=parts[1:])
    np.testing.assert_array_equal(mixed.read_mixture(7, 90), two[:, 7:97])


def test_a_part_may_be_one_channel(tmp_path: Path) -> None:
    both = noise(4)
    part = save(tmp_path / "song.wav", both)
    for channel in (0, 1):
        found = read_stereo(replace(part, channel=channel), 10, 20)
        np.testing.assert_array_equal(found, np.repeat(both[channel : channel + 1, 10:30], 2, 0))
    mono = save(tmp_path / "mono.wav", both[:1])
    with pytest.raises(DataError, match=r"mono\.wav has 1 channels, but a stem is its channel 2"):
        read_stereo(replace(mono, channel=1), 0, 10)


def test_a_part_may_be_one_stream(tmp_path: Path) -> None:
    path = tmp_path / "song.stem.mp4"
    stems = {name: noise(seed) for seed, name in enumerate(("mixture", "drums", "vocals"))}
    with create_stem_file(path, RATE, tuple(stems)) as writer:
        writer.write(stems)
    for stream in range(3):
        whole = read(path, stream=stream).samples
        found = read_stereo(Part(path, stream), 20000, 3000)
        np.testing.assert_array_equal(found, whole[:, 20000:23000])
        assert measure(Part(path, stream)).samples == whole.shape[1] == RATE
    assert not np.array_equal(read(path, stream=1).samples, read(path, stream=2).samples)
    with pytest.raises(DataError, match="no audio stream 5"):
        measure(Part(path, 5))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "opus", "m4a"])
def test_excerpts_of_every_codec_are_those_of_the_whole(tmp_path: Path, suffix: str) -> None:
    part = save(tmp_path / f"song – 歌.{suffix}", noise(5), "int16")
    whole = read(part.path).samples
    for start, samples in [(0, 100), (17, 5000), (30000, 12345)]:
        found = read_stereo(part, start, samples)
        np.testing.assert_array_equal(found, whole[:, start : start + samples])
    assert measure(part).samples == whole.shape[1]


def test_lengths_that_no_header_states_come_from_the_packets(tmp_path: Path) -> None:
    part = save(tmp_path / "song.mp3", noise(6, samples=50000))
    data = part.path.read_bytes()
    at = max(data.find(b"Xing"), data.find(b"Info"))
    assert at > 0
    (tmp_path / "bare.mp3").write_bytes(data[:at] + b"\0\0\0\0" + data[at + 4 :])
    bare = Part(tmp_path / "bare.mp3")
    assert measure(bare).samples == read(bare.path).samples.shape[1] != 50000


def test_length_of_a_real_stem_file(real_audio: Path) -> None:
    path = real_audio / "Music Delta - 80s Rock.stem.mp4"
    assert measure(Part(path, 4)).samples == read(path, stream=4).samples.shape[1]


def test_length_of_a_real_mp3(real_audio: Path) -> None:
    path = real_audio / "real_mix_10s.mp3"
    assert measure(Part(path)).samples == read(path).samples.shape[1]


def test_loudness_counts_active_blocks_of_the_sum(tmp_path: Path) -> None:
    one, two = noise(7), noise(8)
    one[:, : RATE // 2] = two[:, : RATE // 2] = 0
    parts = (save(tmp_path / "1.wav", one), save(tmp_path / "2.wav", two))
    silent = save(tmp_path / "3.wav", np.zeros_like(one))
    track = make_track("song", "", {"a": parts, "b": parts[:1], "c": (silent,)})
    for source, samples in (("a", one + two), ("b", one)):
        wanted = np.sqrt(np.mean(np.square(samples[:, RATE // 2 :].astype(float))))
        assert track.active_level(source) == pytest.approx(wanted, rel=1e-3)
    assert track.active_level("c") is None


def test_loudness_of_one_stream_and_one_channel(tmp_path: Path) -> None:
    both = noise(9)
    part = save(tmp_path / "song.wav", both)
    track = make_track("song", "", {"voice": (replace(part, channel=1),)})
    wanted = np.sqrt(np.mean(np.square(both[1].astype(float))))
    assert track.active_level("voice") == pytest.approx(wanted, rel=1e-3)


def test_groups_of_stems(tmp_path: Path) -> None:
    signals = {name: noise(seed) for seed, name in enumerate(("vocals", "drums", "bass"))}
    stems = {name: (save(tmp_path / f"{name}.wav", one),) for name, one in signals.items()}
    track = make_track("song", "train", stems)
    groups = {"vocals": ["vocals"], "rest": ["drums", "bass"], "choir": ["vocals", "choir"]}
    found = track.regrouped(groups)
    assert list(found.stems) == ["vocals", "rest"]
    rest = signals["drums"] + signals["bass"]
    np.testing.assert_array_equal(found.read_stem("rest", 5, 50), rest[:, 5:55])
    only = track.regrouped({"vocals": ["vocals"]})
    np.testing.assert_allclose(only.read_mixture(0, 99), track.read_mixture(0, 99), atol=1e-6)


def test_labels_from_stems_are_medleydb_s(tmp_path: Path) -> None:
    signals = {name: noise(seed) for seed, name in enumerate(("vocals", "drums"))}
    signals["vocals"][:, : RATE // 2] = 0
    stems = {name: (save(tmp_path / f"{name}.wav", one),) for name, one in signals.items()}
    found = labels_from_stems(make_track("song", "", stems))
    wanted = confidence_from_stems(signals, RATE)
    assert found.sources == wanted.sources
    np.testing.assert_allclose(found.probabilities, wanted.probabilities, atol=1e-6)
    assert found.duration == 1.0


def test_a_track_is_a_song_and_travels_to_other_processes(tmp_path: Path) -> None:
    part = save(tmp_path / "song.wav", noise(1))
    write_activity(tmp_path / "song.lab", Activity.from_segments({"vocals": [(0.0, 0.5)]}, 0.5))
    label = LabelFile(tmp_path / "song.lab")
    song: Song = make_track("song", "test", {"vocals": (part,)}, activity=label)
    again: Track = pickle.loads(pickle.dumps(song))
    assert "vocals" in again.stems
    assert list(again.stems) == ["vocals"]
    assert again.labels is not None
    assert again.labels.duration == pytest.approx(1.0)
    assert again.labels["vocals"].sum() == 50  # what lies behind the labels is silent
    np.testing.assert_array_equal(again.read_stem("vocals", 3, 9), song.read_stem("vocals", 3, 9))


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    part = save(tmp_path / "song.mp3", noise(1))
    with pytest.raises(DataError, match=r"song\.mp3 ends before sample 50000"):
        read_stereo(part, 40000, 10000)
    part.path.unlink()
    with pytest.raises(DataError, match=r"song\.mp3 does not exist"):
        read_stereo(part, 0, 10)
    three = save(tmp_path / "three.wav", noise(1, channels=3))
    for reading in (lambda: read_stereo(three, 0, 10), lambda: measure(three)):
        with pytest.raises(DataError, match=r"three\.wav has 3 channels; stems must be mono"):
            reading()


def test_tracks_that_do_not_fit_together(tmp_path: Path) -> None:
    whole, short = save(tmp_path / "whole.wav", noise(1)), save(tmp_path / "s.wav", noise(1)[:, :9])
    with pytest.raises(DataError, match=r"s\.wav lasts 0\.00 s but whole\.wav 1\.00 s; the files"):
        make_track("song", "", {"a": (whole,), "b": (short,)})
    slow = tmp_path / "slow.wav"
    write(slow, Audio(noise(1), 8000))
    with pytest.raises(DataError, match=r"mixes sample rates: whole\.wav has 44100 Hz and slow"):
        make_track("song", "", {"a": (whole,), "b": (Part(slow),)})
    (tmp_path / "none.wav").write_bytes(b"")
    with pytest.raises(DataError, match=r"none\.wav is empty; replace or remove it"):
        make_track("song", "", {"a": (Part(tmp_path / "none.wav"),)})
    os.symlink(tmp_path / "loop.wav", tmp_path / "loop.wav")
    with pytest.raises(DataError, match=r"loop\.wav is a symbolic link that leads nowhere"):
        measure(Part(tmp_path / "loop.wav"))
    soundfile.write(tmp_path / "nothing.wav", np.zeros((0, 2)), RATE)
    with pytest.raises(DataError, match=r"nothing\.wav contains no audio samples"):
        measure(Part(tmp_path / "nothing.wav"))
    whole.path.write_bytes(whole.path.read_bytes()[:-1000])
    with pytest.raises(DataError, match=r"whole\.wav is cut off: only its first 1\.00 s"):
        measure(whole)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "m4a"])
def test_half_a_file_is_noticed_before_anything_is_decoded(tmp_path: Path, suffix: str) -> None:
    part = save(tmp_path / f"song.{suffix}", noise(5, samples=3 * RATE), "int16")
    data = part.path.read_bytes()
    part.path.write_bytes(data[: len(data) // 2])
    if suffix == "ogg":  # each page stands for itself: half an Ogg file is a shorter song
        assert measure(part).samples < 2.5 * RATE
        return
    with pytest.raises(DataError, match=rf"song\.{suffix}"):
        measure(part)
