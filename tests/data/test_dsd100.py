"""DSD100: songs whose mixture and sources lie in different folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stemwise.data.dsd100 import read_dsd100
from stemwise.data.miniature import write_miniature
from stemwise.errors import DataError


def test_development_songs_are_for_training(tmp_path: Path) -> None:
    write_miniature("dsd100", tmp_path, seconds=0.5)
    found = {track.name: track.split for track in read_dsd100(tmp_path)}
    assert found == {
        "051 - Ana Miniatura - Brève Chanson": "train",
        "052 - The Small Ones - Étude": "train",
        "001 - Zwerge - Kürze": "test",
        "002 - 小さな楽団 - 短い歌": "test",
    }
    [track, *_] = read_dsd100(tmp_path, "test")
    assert track.mixture[0].path.parts[-4:-1] == ("Mixtures", "Test", "001 - Zwerge - Kürze")
    assert track.stems["bass"][0].path.parts[-4:-1] == ("Sources", "Test", "001 - Zwerge - Kürze")


def test_a_song_without_sources_is_named(tmp_path: Path) -> None:
    write_miniature("dsd100", tmp_path, seconds=0.5)
    shutil.rmtree(tmp_path / "Sources" / "Test" / "001 - Zwerge - Kürze")
    with pytest.raises(DataError, match=r"Sources/Test/001 - Zwerge - Kürze has no vocals\.wav"):
        read_dsd100(tmp_path)
    broken: list[str] = []
    assert len(read_dsd100(tmp_path, broken=broken)) == 3
    assert len(broken) == 1
    assert len(read_dsd100(tmp_path, "train")) == 2
