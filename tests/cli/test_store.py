"""`stemwise store check` names what is damaged or out of date."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cli.conftest import Stemwise
from stemwise.data.folder import read_folder
from stemwise.data.prepare import prepare
from stemwise.data.store_manifest import CHUNK, UNFINISHED, Origin, file_name

RATE = 8000
SECONDS = 400  # more than one chunk


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set `songs` and its store."""
    place = tmp_path_factory.mktemp("pristine")
    for name, seconds in [("long song", SECONDS), ("short song", 1)]:
        (place / "songs" / name).mkdir(parents=True)
        for source in ("drums", "vocals"):
            tone = np.sin(np.arange(seconds * RATE) * 0.1)[:, None].repeat(2, axis=1)
            soundfile.write(place / "songs" / name / f"{source}.wav", 0.3 * tone, RATE)
    origin = Origin(root=str(place / "songs"))
    prepare(read_folder(place / "songs"), place / "store", origin=origin)
    return place


@pytest.fixture
def place(pristine: Path, tmp_path: Path) -> Path:
    """A copy of it, with the times of its files."""
    shutil.copytree(pristine / "store", tmp_path / "store")
    shutil.copytree(pristine / "songs", tmp_path / "songs", copy_function=shutil.copy2)
    return tmp_path


def flip(path: Path, byte: int) -> None:
    """Change one bit of a file."""
    with open(path, "r+b") as file:
        file.seek(byte)
        [value] = file.read(1)
        file.seek(byte)
        file.write(bytes([value ^ 4]))


def test_a_sound_store(stemwise: Stemwise, place: Path) -> None:
    done = stemwise("store", "check", "store", "--root", "songs")
    assert (done.status, done.err) == (0, "")
    assert "2 tracks, 25.7 MB intact, 4 source files unchanged" in done.out
    assert stemwise("store", "check", "store", "--root", "songs", "--hash-sources").status == 0
    assert stemwise("store", "check", "store", "--root", "songs", "-q").out == ""


@pytest.mark.parametrize(
    ("second", "plane", "told"),
    [
        (10.0, 0, r"'drums' at 0.0 s and 'drums' at 262.1 s"),
        (390.0, 1, r"'drums' at 386.4 s and 'vocals' at 248.6 s"),
        (390.0, 3, r"'vocals' at 372.9 s and its levels and labels"),
    ],
)
def test_a_flipped_bit(
    stemwise: Stemwise, place: Path, second: float, plane: int, told: str
) -> None:
    data = place / "store" / file_name("long song")
    assert data.stat().st_size > 3 * CHUNK
    flip(data, 2 * (plane * SECONDS + int(second)) * RATE)
    done = stemwise("store", "check", "store", "--root", "songs")
    assert done.status == 1
    [line] = done.err.splitlines()
    assert "long-song-" in line
    assert told in line
    assert line.endswith("remove it and run stemwise prepare again")


@pytest.mark.parametrize("byte", [30, 700, -3000])
def test_a_flipped_bit_of_the_manifest(stemwise: Stemwise, place: Path, byte: int) -> None:
    manifest = place / "store" / "store.json"
    flip(manifest, byte % manifest.stat().st_size)
    done = stemwise("store", "check", "store")
    assert done.status == 1
    [line] = done.err.splitlines()
    assert "store.json" in line


def test_a_missing_and_a_truncated_file(stemwise: Stemwise, place: Path) -> None:
    (place / "store" / file_name("short song")).unlink()
    data = place / "store" / file_name("long song")
    os.truncate(data, data.stat().st_size - 1)
    done = stemwise("store", "check", "store", "--root", "songs")
    assert done.status == 1
    first, second = done.err.splitlines()
    assert "long-song-" in first
    assert "bytes instead of" in first
    assert "short-song-" in second
    assert "does not exist" in second


def test_a_changed_source(stemwise: Stemwise, place: Path) -> None:
    changed = place / "songs" / "short song" / "drums.wav"
    before = changed.stat()
    flip(changed, 5000)
    (place / "songs" / "long song" / "vocals.wav").unlink()
    done = stemwise("store", "check", "store", "--root", "songs")
    assert done.status == 1
    first, second = done.err.splitlines()
    assert "long song/vocals.wav is gone" in first
    assert "short song/drums.wav has changed since 'short song' was prepared" in second
    # a change that keeps size and time is seen by reading only
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert len(stemwise("store", "check", "store", "--root", "songs").err.splitlines()) == 1
    hashed = stemwise("store", "check", "store", "--root", "songs", "--hash-sources")
    assert len(hashed.err.splitlines()) == 2


def test_touching_is_no_change(stemwise: Stemwise, place: Path) -> None:
    os.utime(place / "songs" / "short song" / "drums.wav", ns=(5, 5))
    assert stemwise("store", "check", "store", "--root", "songs").status == 0


def test_a_store_away_from_its_data_set(stemwise: Stemwise, place: Path, pristine: Path) -> None:
    kept = pristine / "songs"
    kept.rename(pristine / "moved")
    try:
        done = stemwise("store", "check", "store")
    finally:
        (pristine / "moved").rename(kept)
    assert done.status == 0
    assert f"source files not compared ({kept} does not exist; name it with --root)" in done.out
    wrong = stemwise("store", "check", "store", "--root", "nothing")
    assert (wrong.status, "nothing is not a folder" in wrong.err) == (1, True)


def test_an_unfinished_store(stemwise: Stemwise, place: Path) -> None:
    def stop(done: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(read_folder(place / "songs"), place / "new", progress=stop)
    assert (place / "new" / UNFINISHED).is_dir()
    done = stemwise("store", "check", "new")
    assert done.status == 1
    assert "new is not finished (1 of 2 tracks): run the same stemwise prepare again" in done.err
    assert "not finished: 1 of 2" in stemwise("store", "show", "new").out


def test_what_is_no_store(stemwise: Stemwise) -> None:
    for command in ("check", "show"):
        done = stemwise("store", command, "nothing")
        assert done.status == 1
        assert "nothing is not a store" in done.err
