"""Jamendo: splits in folders or in lists, labels of singing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from stemwise.data.jamendo import read_jamendo
from stemwise.data.miniature import write_miniature
from stemwise.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_miniature("jamendo", tmp_path / "jamendo", seconds=2.0)


def test_labels_say_when_somebody_sings(root: Path) -> None:
    for track in read_jamendo(root):
        assert track.stems == {}
        labels = track.labels
        assert labels is not None
        assert labels.sources == ("vocals",)
        sung = labels.active()[0].reshape(4, -1).mean(axis=1)
        assert sung.tolist() == [0, 1, 0, 1]
        for frame_rate in (22050 / 256, 43.066, 10.0):
            again = labels.resample(frame_rate)
            times = again.times
            inside = ((times >= 0.5) & (times < 1.0)) | (times >= 1.5)
            # three edges, each half a frame of the labels or of the new grid off
            assert np.sum((again["vocals"] > 0.5) != inside) <= 3


@pytest.mark.parametrize("lists", ["filelists/{}", "filelists/{}.txt", "{}.txt"])
def test_songs_in_one_folder_are_split_by_lists(root: Path, lists: str) -> None:
    wanted = {track.name: track.split for track in read_jamendo(root)}
    for split in ("train", "valid", "test"):
        names = []
        for path in sorted((root / "audio" / split).iterdir()):
            names.append(path.name if split == "train" else path.stem)
            shutil.move(path, root / "audio" / path.name)
        (root / "audio" / split).rmdir()
        file = root / lists.format(split)
        file.parent.mkdir(exist_ok=True)
        file.write_text("\n".join(names) + "\n", encoding="utf-8")
    assert {track.name: track.split for track in read_jamendo(root)} == wanted
    assert [track.name for track in read_jamendo(root, "validation")] == ["03 - Kürze"]


def test_songs_without_a_label_file_are_named(root: Path) -> None:
    (root / "labels" / "02 - Étude.lab").unlink()
    with pytest.raises(DataError, match=r"02 - Étude\.ogg has no labels/02 - Étude\.lab"):
        read_jamendo(root)


def test_unknown_labels_are_named(root: Path) -> None:
    (root / "labels" / "02 - Étude.lab").write_text("0 1 nosing\n1 2 singing\n")
    with pytest.raises(
        DataError, match=r"Étude\.lab has the unknown label 'singing'; expected nosing, sing"
    ):
        read_jamendo(root)


def test_a_song_without_singing_has_labels_of_silence(root: Path) -> None:
    (root / "labels" / "02 - Étude.lab").write_text("0 2 nosing\n")
    [track] = [track for track in read_jamendo(root) if track.name == "02 - Étude"]
    assert track.labels is not None
    assert track.labels.sources == ("vocals",)
    assert not track.labels.probabilities.any()
