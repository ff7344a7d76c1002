"""MUSDB18 and MUSDB18-HQ: names, the validation songs, genuine containers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from stemwise.audio import create_stem_file, read_stem_file
from stemwise.data.miniature import write_miniature
from stemwise.data.musdb18 import VALIDATION, read_musdb18, read_musdb18hq
from stemwise.errors import DataError


def test_the_fourteen_validation_songs_are_kept_from_training(tmp_path: Path) -> None:
    assert len(VALIDATION) == 14
    write_miniature("musdb18hq", tmp_path, seconds=0.5)
    songs = sorted((tmp_path / "train").iterdir())
    for name in VALIDATION:
        if not (tmp_path / "train" / name).exists():
            shutil.copytree(songs[-1], tmp_path / "train" / name)
    # a song of that name among the test songs stays a test song
    shutil.copytree(songs[-1], tmp_path / "test" / "Meaxic - Take A Step")
    validation = read_musdb18hq(tmp_path, "validation")
    assert {track.name for track in validation} == VALIDATION
    training = {track.name for track in read_musdb18hq(tmp_path, "train")}
    assert not training & VALIDATION
    assert len(training) == 2
    test = read_musdb18hq(tmp_path, "test")
    assert "Meaxic - Take A Step" in {track.name for track in test}


def test_names_are_those_of_the_songs(tmp_path: Path) -> None:
    write_miniature("musdb18", tmp_path, seconds=0.5)
    names = [track.name for track in read_musdb18(tmp_path)]
    assert names == [
        "Actions - One Minute Smile",
        "Ana Miniatura - Brève Chanson",
        "Zwerge - Kürze & Würze",
        "小さな楽団 - 短い歌",
    ]


def test_hidden_and_foreign_files_are_passed_over(tmp_path: Path) -> None:
    write_miniature("musdb18", tmp_path, seconds=0.5)
    count = len(read_musdb18(tmp_path))
    (tmp_path / "train" / "._Ana Miniatura - Brève Chanson.stem.mp4").write_bytes(b"\0")
    (tmp_path / "train" / ".DS_Store").write_bytes(b"\0")
    (tmp_path / "train" / "readme.txt").write_text("hello")
    assert len(read_musdb18(tmp_path)) == count


def test_a_file_with_too_few_streams_is_named(tmp_path: Path) -> None:
    path = tmp_path / "train" / "A - B.stem.mp4"
    path.parent.mkdir()
    with create_stem_file(path, 44100, ("mixture", "drums", "bass")) as writer:
        block = np.zeros((2, 4096), np.float32)
        writer.write({"mixture": block, "drums": block, "bass": block})
    with pytest.raises(DataError, match=r"A - B\.stem\.mp4 has no audio stream 3, only 3"):
        read_musdb18(tmp_path)


def test_a_genuine_stem_file(real_audio: Path, tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    name = "Music Delta - 80s Rock"
    shutil.copy(real_audio / f"{name}.stem.mp4", tmp_path / "train")
    [track] = read_musdb18(tmp_path)
    assert (track.name, track.split, track.sample_rate) == (name, "train", 44100)
    whole = read_stem_file(tmp_path / "train" / f"{name}.stem.mp4")
    assert {audio.samples.shape for audio in whole.values()} == {(2, track.samples)}
    for source in track.stems:
        found = track.read_stem(source, 100000, 4410)
        np.testing.assert_array_equal(found, whole[source].samples[:, 100000:104410])
    found = track.read_mixture(track.samples - 5, 5)
    np.testing.assert_array_equal(found, whole["mixture"].samples[:, -5:])
