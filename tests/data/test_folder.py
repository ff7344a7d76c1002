"""Folders of tracks: layouts, what is missing, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemwise.activity_files import LabelFile
from stemwise.audio import STEM_NAMES, Audio, create_stem_file
from stemwise.audio import write as write_audio
from stemwise.data.folder import check_tracks, read_folder
from stemwise.data.track import Part, read_stereo
from stemwise.errors import DataError

RATE = 8000


def write(path: Path, samples: int = RATE, rate: int = RATE, channels: int = 2) -> np.ndarray:
    """A file whose int16 samples count upwards, so that every position is recognisable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = (np.arange(samples)[:, None] + 1000 * np.arange(channels)).astype(np.int16)
    soundfile.write(path, ramp, rate, subtype="PCM_16")
    samples_read: np.ndarray = ramp.T.astype(np.float32) / 32768
    return samples_read


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


def test_other_names_of_the_validation_split(tmp_path: Path) -> None:
    write(tmp_path / "train" / "a" / "vocals.wav")
    write(tmp_path / "valid" / "b" / "vocals.wav")
    assert [track.split for track in read_folder(tmp_path)] == ["train", "validation"]
    [track] = read_folder(tmp_path, "validation")
    assert track.name == "valid/b"


def test_two_folders_of_one_split_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "valid" / "b" / "vocals.wav")
    write(tmp_path / "validation" / "b" / "vocals.wav")
    with pytest.raises(DataError, match="are both the split 'validation'; join them"):
        read_folder(tmp_path)


def test_real_stems(real_audio: Path) -> None:
    tracks = {track.name: track for track in read_folder(real_audio)}
    assert set(tracks["iosr"].stems) == {"vox", "drums", "bass", "other"}
    assert tracks["iosr"].samples == 475012
    mixture = tracks["iosr"].read_mixture(200000, 44100)
    assert 0.01 < float(np.sqrt(np.mean(mixture**2))) < 0.5
    stem_file = tracks["Music Delta - 80s Rock"]
    total = sum(stem_file.read_stem(source, 100000, 44100) for source in stem_file.stems)
    error = stem_file.read_mixture(100000, 44100) - total
    assert np.mean(error**2) < 1e-3 * np.mean(np.square(total))


def test_tracks_may_lie_deeper(tmp_path: Path) -> None:
    write(tmp_path / "train" / "one album" / "a" / "vocals.wav")
    write(tmp_path / "train" / "b" / "vocals.wav")
    write(tmp_path / "train" / "b" / "parts" / "lead.wav")
    (tmp_path / "train" / "empty" / "er").mkdir(parents=True)
    found = [(track.name, track.split) for track in read_folder(tmp_path)]
    assert found == [("train/b", "train"), ("train/one album/a", "train")]


def test_stem_files_are_tracks(tmp_path: Path) -> None:
    block = np.full((2, 4096), 0.1, np.float32)
    path = tmp_path / "test" / "Größe – 歌.stem.mp4"
    path.parent.mkdir()
    with create_stem_file(path, 44100, STEM_NAMES) as writer:
        writer.write(dict.fromkeys(STEM_NAMES, block))
    (tmp_path / "test" / "Größe – 歌.activity.lab").write_text("0 0.05 vocals\n")
    [track] = read_folder(tmp_path)
    assert (track.name, track.split, track.samples) == ("test/Größe – 歌", "test", 4096)
    assert set(track.stems) == {"drums", "bass", "other", "vocals"}
    assert track.mixture == (Part(path, 0),)
    assert track.labels is not None
    assert track.labels.sources == ("vocals",)


@pytest.mark.parametrize("suffix", ["mp3", "ogg", "opus", "m4a", "aiff", "WAV"])
def test_any_audio_file_is_a_stem(tmp_path: Path, suffix: str) -> None:
    made = write(tmp_path / "made.wav", samples=48000, rate=48000)
    folder = tmp_path / "data" / "song"
    folder.mkdir(parents=True)
    if suffix in ("aiff", "WAV"):
        soundfile.write(folder / f"vocals.{suffix}", made.T, 48000, format=suffix)
    else:
        write_audio(folder / f"vocals.{suffix}", Audio(made, 48000))
    [track] = read_folder(tmp_path / "data")
    assert track.samples == 48000
    assert track.read_stem("vocals", 47000, 1000).shape == (2, 1000)


def test_links_in_circles_are_named(tmp_path: Path) -> None:
    write(tmp_path / "a" / "vocals.wav")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "again").symlink_to(tmp_path)
    with pytest.raises(DataError, match=r"b/again is a symbolic link that leads back to"):
        read_folder(tmp_path)
    broken: list[str] = []
    assert [track.name for track in read_folder(tmp_path, broken=broken)] == ["a"]
    assert len(broken) == 1
    (tmp_path / "b" / "again").unlink()
    (tmp_path / "c").symlink_to(tmp_path / "c")
    with pytest.raises(DataError, match=r"c is a symbolic link that leads nowhere"):
        read_folder(tmp_path)


def test_links_to_tracks_are_followed(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "song" / "vocals.wav")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "elsewhere" / "song")
    assert [track.name for track in read_folder(tmp_path / "data")] == ["linked"]


def test_broken_tracks_are_left_out_where_asked(tmp_path: Path) -> None:
    write(tmp_path / "good" / "vocals.wav")
    write(tmp_path / "twice" / "vocals.wav")
    write(tmp_path / "twice" / "vocals.flac")
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "vocals.wav").write_bytes(b"not audio")
    write(tmp_path / "label" / "vocals.wav")
    (tmp_path / "label" / "activity.lab").write_text("0 1\n")
    broken: list[str] = []
    assert [track.name for track in read_folder(tmp_path, broken=broken)] == ["good"]
    label, odd, twice = broken
    assert "activity.lab, line 1: expected 'start end label'" in label
    assert "vocals.wav is not an audio file" in odd
    assert "are the same source" in twice


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
