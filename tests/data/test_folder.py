"""Folders of tracks: layouts, what is missing, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemwise.activity_files import LabelFile
from stemwise.data.folder import check_tracks, read_folder
from stemwise.data.track import Part, read_stereo
from stemwise.errors import DataError

RATE = 8000


def write(path: Path, samples: int = RATE, rate: int = RATE, channels: int = 2) -> np.ndarray:
    """A file whose int16 samples count upwards, so that every position is recognisable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = (np.arange(samples)[:, None] + 1000 * np.arange(channels)).astype(np.int16)
    soundfile.write(path, ramp, rate, subtype="PCM_16")
    return ramp.T.astype(np.float32) / 32768


def test_stems_mixture_and_labels_are_found(tmp_path: Path) -> None:
    for name in ("vocals.wav", "bass.flac", "mixture.wav"):
        write(tmp_path / "song" / name)
    (tmp_path / "song" / "activity.csv").write_text("time,vocals\n0,1\n")
    (tmp_path / ".unfinished.part").mkdir()
    (tmp_path / "notes").mkdir()
    [track] = read_folder(tmp_path)
    assert track.name == "song"
    assert set(track.stems) == {"vocals", "bass"}
    assert track.mixture == (Part(tmp_path / "song" / "mixture.wav"),)
    assert isinstance(track.activity, LabelFile)
    assert track.activity.path == tmp_path / "song" / "activity.csv"
    assert (track.sample_rate, track.samples) == (RATE, RATE)


def test_a_source_in_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("vocals.wav", "vocals.flac", "bass.wav"):
        write(tmp_path / "song" / name)
    with pytest.raises(DataError, match=r"vocals\.flac and .*vocals\.wav are the same source"):
        read_folder(tmp_path)


def test_splits(tmp_path: Path) -> None:
    write(tmp_path / "train" / "a" / "vocals.wav")
    write(tmp_path / "validation" / "b" / "vocals.wav")
    assert [track.name for track in read_folder(tmp_path)] == ["train/a", "validation/b"]
    [track] = read_folder(tmp_path, "validation")
    assert track.split == "validation"
    with pytest.raises(DataError, match="has no split 'test'"):
        read_folder(tmp_path, "test")


def test_the_shortest_file_is_the_track(tmp_path: Path) -> None:
    write(tmp_path / "song" / "vocals.wav", samples=500)
    write(tmp_path / "song" / "bass.wav", samples=400)
    assert read_folder(tmp_path)[0].samples == 400


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_excerpts_are_exact(tmp_path: Path, suffix: str) -> None:
    expected = write(tmp_path / f"vocals.{suffix}", samples=20000)
    for start, samples in [(0, 10), (12345, 4000), (19990, 10)]:
        excerpt = read_stereo(Part(tmp_path / f"vocals.{suffix}"), start, samples)
        assert excerpt.dtype == np.float32
        np.testing.assert_array_equal(excerpt, expected[:, start : start + samples])


def test_mono_becomes_stereo(tmp_path: Path) -> None:
    expected = write(tmp_path / "vocals.wav", channels=1)
    excerpt = read_stereo(Part(tmp_path / "vocals.wav"), 5, 10)
    np.testing.assert_array_equal(excerpt, np.repeat(expected[:, 5:15], 2, axis=0))


def test_wrong_data_gets_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        read_folder(tmp_path / "missing")
    with pytest.raises(DataError, match="holds no track"):
        read_folder(tmp_path)
    write(tmp_path / "song" / "vocals.wav", samples=100)
    with pytest.raises(DataError, match="ends before sample 120"):
        read_stereo(Part(tmp_path / "song" / "vocals.wav"), 50, 70)
    write(tmp_path / "song" / "bass.wav", rate=44100)
    with pytest.raises(DataError, match="mixes sample rates"):
        read_folder(tmp_path)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "song").mkdir()
    (tmp_path / "song" / "vocals.wav").write_bytes(b"not audio")
    with pytest.raises(DataError, match=r"vocals\.wav"):
        read_folder(tmp_path)


def test_tracks_that_cannot_be_trained_on(tmp_path: Path) -> None:
    write(tmp_path / "long" / "vocals.wav", samples=1000)
    write(tmp_path / "short" / "vocals.wav", samples=100)
    tracks = read_folder(tmp_path)
    assert [track.name for track in check_tracks(tracks, ["vocals"], RATE, 500)] == ["long"]
    with pytest.raises(DataError, match="has 8000 Hz but the recipe trains at 22050 Hz"):
        check_tracks(tracks, ["vocals"], 22050, 500)
    with pytest.raises(DataError, match="no track is"):
        check_tracks(tracks, ["vocals"], RATE, 5000)
    with pytest.raises(DataError, match="no track has a stem 'bass'"):
        check_tracks(tracks, ["vocals", "bass"], RATE, 500)
