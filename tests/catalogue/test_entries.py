"""What a command line names becomes songs, each with the name of its results."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pytest

from stemwise.catalogue import entries as under_test
from stemwise.catalogue.entries import (
    Entry,
    is_many,
    largest_first,
    read_entries,
    refuse_same_ids,
)
from stemwise.errors import CatalogueError


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """A folder of songs, some below others, among files that are none."""
    for name in (
        "b.mp3",
        "a.flac",
        "album/a.flac",
        "album/Ünï cødé.stem.mp4",
        "album/cover.jpg",
        ".hidden.wav",
        ".trash/c.wav",
    ):
        path = tmp_path / "songs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "songs"


def names(*arguments: str | Path, **options: Path) -> list[str]:
    return [entry.id for entry in read_entries([str(one) for one in arguments], **options)]


def test_a_folder_gives_its_songs_by_their_path_below_it(songs: Path) -> None:
    assert names(songs) == ["a", "b", "album/a", "album/Ünï cødé"]
    assert names(f"{songs}/") == names(songs)
    first = read_entries([str(songs)])[0]
    assert first == Entry("a", str(songs / "a.flac"))


def test_a_pattern_names_songs_below_its_fixed_part(songs: Path) -> None:
    assert names(songs / "*.mp3") == ["b"]
    assert names(songs / "**" / "*.flac") == ["a", "album/a"]
    assert names(songs.parent / "s*" / "album" / "*") == [
        "songs/album/a",
        "songs/album/Ünï cødé",
    ], "a cover is no song"


def test_a_file_is_a_song_whatever_its_name(songs: Path) -> None:
    odd = songs / "[live] what?.wav"
    odd.touch()
    assert names(odd, songs / "b.mp3") == ["[live] what?", "b"]
    assert not is_many(str(odd))
    assert names("not there.mp3") == ["not there"], "opening it tells what is wrong"


def test_large_files_come_first_and_what_is_elsewhere_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in (("small", 1), ("large", 3), ("middle", 2)):
        (tmp_path / name).write_bytes(bytes(size))
    given = [
        Entry("u", "https://host/u.mp3"),
        *(Entry(name, str(tmp_path / name)) for name in ("small", "none", "large", "middle")),
        Entry("v", "s3://bucket/v.wav"),
        Entry("folder", str(tmp_path)),
        Entry("odd", "\0"),
    ]
    ids = [entry.id for entry in largest_first(given)]
    assert ids == ["large", "middle", "small", "u", "none", "v", "folder", "odd"]
    monkeypatch.setattr(under_test, "SORTED_AT_MOST", 7)
    assert largest_first(given) == given


def test_results_inside_the_folder_are_no_songs(songs: Path) -> None:
    done = songs / "out" / "a" / "vocals.wav"
    done.parent.mkdir(parents=True)
    done.touch()
    assert "out/a/vocals" in names(songs)
    assert "out/a/vocals" not in names(songs, leave_out=songs / "out")


def test_songs_of_one_name_are_refused(songs: Path) -> None:
    (songs / "a.wav").touch()
    with pytest.raises(CatalogueError, match=r"a\.wav has the same name \(a, .*a\.flac\)"):
        refuse_same_ids(read_entries([str(songs)]))
    with pytest.raises(CatalogueError, match="is given twice"):
        refuse_same_ids(read_entries([str(songs / "b.mp3")] * 2))


def test_nothing_found_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="There are no songs in"):
        names(tmp_path)
    with pytest.raises(CatalogueError, match="There are no songs in"):
        names(tmp_path / "*.wav")


def test_urls_are_files_folders_and_patterns() -> None:
    memory = fsspec.filesystem("memory")
    for name in ("x.mp3", "sub/y.wav", "sub/cover.png"):
        memory.pipe_file(f"/entries/{name}", b"")
    assert names("memory://entries/x.mp3") == ["x"]
    assert names("https://example.org/songs/My%20song.mp3?key=1") == ["My song"]
    assert names("s3://bucket/Song #1, 50%.mp3") == ["Song #1, 50%"], "nothing is encoded there"
    below = read_entries(["memory://entries/"])
    assert [entry.id for entry in below] == ["sub/y", "x"]
    assert below[0].source == "memory:///entries/sub/y.wav"
    assert names("memory://entries/**/*.wav") == ["sub/y"]
    with pytest.raises(CatalogueError, match="nosuch:// is unknown here"):
        names("nosuch://songs/*.wav")


def test_manifests_name_songs(songs: Path) -> None:
    manifest = songs.parent / "list.csv"
    manifest.write_text("path,id,options\nsongs/b.mp3,,\nsongs/a.flac,best/one,gate=raw\n")
    assert read_entries([str(manifest)]) == [
        Entry("b", str(songs / "b.mp3")),
        Entry("best/one", str(songs / "a.flac"), {"gate": "raw"}),
    ]


@pytest.mark.parametrize("name", ["../up", "/root", "a/../../b", "a\0b"])
def test_an_id_stays_below_the_results(songs: Path, name: str) -> None:
    manifest = songs.parent / "list.jsonl"
    escaped = name.replace("\0", "\\u0000")
    manifest.write_text(f'{{"path": "songs/b.mp3", "id": "{escaped}"}}\n')
    with pytest.raises(CatalogueError, match=r"row 1: the id .* cannot name a folder"):
        names(manifest)


@pytest.mark.skipif(os.sep != "/", reason="paths of this system are written otherwise")
def test_a_relative_folder_keeps_relative_paths(
    songs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(songs.parent)
    assert [entry.source for entry in read_entries(["songs"])][:2] == [
        "songs/a.flac",
        "songs/b.mp3",
    ]
