"""`stemwise prepare`: data sets become stores, and what goes wrong is one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cli.conftest import Stemwise
from stemwise.data.miniature import write_miniature
from stemwise.data.sets import READERS, read_set
from stemwise.data.store import open_store


@pytest.mark.parametrize("kind", READERS)
def test_every_data_set(stemwise: Stemwise, tmp_path: Path, kind: str) -> None:
    write_miniature(kind, tmp_path / "set", seconds=1.0)
    done = stemwise("prepare", kind, "set", "store", "--workers", 1)
    assert done.status == 0, done.err
    tracks, stored = read_set(kind, tmp_path / "set"), open_store(tmp_path / "store").tracks
    assert f"{len(tracks)} tracks" in done.out
    for track, one in zip(tracks, stored, strict=True):
        assert (one.name, one.split, set(one.stems)) == (track.name, track.split, set(track.stems))
        assert (one.samples, one.sample_rate) == (track.samples, track.sample_rate)
        for source in track.stems:
            expected = track.read_stem(source, 100, 2000)
            found = one.read_stem(source, 100, 2000)
            np.testing.assert_allclose(found, expected, atol=0.51 * one.scale(source))
        if track.labels is None:
            assert one.labels is None
        else:
            assert one.labels is not None
            np.testing.assert_array_equal(one.labels.probabilities, track.labels.probabilities)
    checked = stemwise("store", "check", "store")
    assert checked.status == 0, checked.err
    assert "source files unchanged" in checked.out


def test_demo_and_options(stemwise: Stemwise, tmp_path: Path) -> None:
    options = ["--sample-rate", 8000, "--mono", "--sources", "vocals, drums", "--split", "train"]
    command = ["prepare", "musdb18hq", "set", "store", "--dtype", "float32", "--workers", 1]
    done = stemwise(*command, *options, "--demo")
    assert done.status == 0, done.err
    assert "prepared (1 of " in done.err
    store = open_store(tmp_path / "store")
    assert {track.split for track in store.tracks} == {"train"}
    [track, *_] = store.tracks
    assert (track.sample_rate, track.channels, track.dtype) == (8000, 1, np.float32)
    assert track.stems == ("drums", "vocals") or track.stems == ("vocals", "drums")
    assert store.manifest.origin.kind == "musdb18hq"
    assert store.manifest.origin.root == str(tmp_path / "set")
    again = stemwise(*command, *options)
    assert "already there (1 of" in again.err
    assert stemwise(*command, *options, "--quiet").err == ""
    other = stemwise(*command[:-4], *options)
    assert other.status == 1
    assert "was prepared with dtype float32, not int16" in other.err
    full = stemwise(*command, *options, "--demo")
    assert full.status == 1
    assert "set is not empty: choose a new folder" in full.err


def test_broken_tracks_are_listed(stemwise: Stemwise, tmp_path: Path) -> None:
    write_miniature("musdb18hq", tmp_path / "set", seconds=1.0)
    first, second, *_ = sorted((tmp_path / "set" / "train").iterdir())
    (first / "drums.wav").write_bytes(b"RIFF, but no more")
    cut = second / "bass.wav"
    cut.write_bytes(cut.read_bytes()[:-30000])
    failed = stemwise("prepare", "musdb18hq", "set", "store", "--workers", 1)
    assert failed.status == 1
    assert len(failed.err.splitlines()) <= 3
    assert "drums.wav" in failed.err
    done = stemwise("prepare", "auto", "set", "store", "--workers", 1, "--skip-broken")
    assert done.status == 1
    assert "2 of " in done.err
    assert "drums.wav" in done.err
    assert "bass.wav" in done.err
    shown = stemwise("store", "show", "store")
    assert shown.status == 0
    assert "2 tracks were skipped" in shown.out


def test_wrong_commands(stemwise: Stemwise, tmp_path: Path) -> None:
    wrong = stemwise("prepare", "musbd18", "set", "store")
    assert wrong.status == 2
    assert "did you mean 'musdb18'?" in wrong.err
    assert stemwise("prepare", "folder", "set", "store", "--dtype", "int8").status == 2
    missing = stemwise("prepare", "folder", "set", "store")
    assert missing.status == 1
    assert "set is not a folder" in missing.err
    write_miniature("ikala", tmp_path / "set", seconds=1.0)
    other = stemwise("prepare", "musdb18", "set", "store")
    assert other.status == 1
    assert "use the kind 'ikala'" in other.err
    source = stemwise("prepare", "ikala", "set", "store", "--sources", "voice")
    assert source.status == 1
    assert "no track has a stem 'voice'" in source.err
    assert not (tmp_path / "store").exists()


def test_show(stemwise: Stemwise, tmp_path: Path) -> None:
    stemwise("prepare", "ccmixter", "set", "store", "--demo", "--workers", 1)
    shown = stemwise("store", "show", "store")
    assert "vocals, accompaniment" in shown.out or "accompaniment, vocals" in shown.out
    lines = stemwise("store", "show", "store", "--json").out.splitlines()
    assert len(lines) == len(open_store(tmp_path / "store").tracks)
    track = json.loads(lines[0])
    assert track["channels"] == 2
    assert {level["name"] for level in track["levels"]} == {"vocals", "accompaniment", "mixture"}


def test_tracks_from_patterns_manifests_and_urls(stemwise: Stemwise, tmp_path: Path) -> None:
    write_miniature("folder", tmp_path / "set", seconds=1.0)
    direct = stemwise("prepare", "folder", "set", "direct", "--workers", 1)
    assert direct.status == 0, direct.err
    url = f"file://{tmp_path}/set"
    fetched = stemwise("prepare", "folder", url, "fetched", "--workers", 2)
    assert fetched.status == 0, fetched.err
    ours, theirs = open_store(tmp_path / "fetched"), open_store(tmp_path / "direct")
    assert [one.name for one in ours.tracks] == [one.name for one in theirs.tracks]
    pairs = list(zip(ours.manifest.tracks, theirs.manifest.tracks, strict=True))
    assert all(one.sha256 == other.sha256 for one, other in pairs), "the same, bit for bit"
    assert all(one.split == other.split for one, other in pairs)
    assert all(one.path.startswith(url) for one in ours.manifest.tracks[0].sources)
    assert not list((tmp_path / "fetched").rglob("*.wav")), "copies were removed"
    assert stemwise("store", "check", "fetched").status == 0
    again = stemwise("prepare", "folder", url, "fetched", "--workers", 1)
    assert again.err.count("already there") == len(pairs)

    first, second = (one.name for one in ours.tracks[:2])
    (tmp_path / "list.csv").write_text(f"path,url,id\nset/{first},,one\n,{url}/{second},two\n")
    command = ("prepare", "auto", "list.csv", f"{url}/no*", "mixed", "--workers", 1)
    assert "There are no tracks in" in stemwise(*command).err
    (tmp_path / "set" / second / "vocals.wav").write_bytes(b"RIFF")
    broken = stemwise("prepare", "auto", "list.csv", "mixed", "--workers", 1, "--skip-broken")
    assert broken.status == 1
    assert f"{url}/{second}/vocals.wav" in broken.err
    assert str(tmp_path / "mixed") not in broken.err, "nobody knows of the copy"
    assert [one.name for one in open_store(tmp_path / "mixed").tracks] == ["one"]
    other = stemwise("prepare", "ikala", url, "other")
    assert other.status == 1
    assert "are of the kind folder, not ikala" in other.err
