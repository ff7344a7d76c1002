"""MedleyDB and Mixing Secrets: metadata, stems by instrument, confidence files, loose names."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import yaml

from stemwise.activity import read_activity
from stemwise.data.medleydb import read_medleydb, read_metadata
from stemwise.data.miniature import write_miniature
from stemwise.errors import DataError

ANA, SMALL, DWARFS = "AnaMiniatura_BreveChanson", "TheSmallOnes_Etude", "Zwerge_Wuerze"
LABELS = Path("Annotations", "Instrument_Activations", "ACTIVATION_CONF")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_miniature("medleydb", tmp_path / "MedleyDB", seconds=1.0)


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    return write_miniature("mixing_secrets", tmp_path / "secrets", seconds=1.0)


def metadata(root: Path, song: str) -> Path:
    return root / "Audio" / song / f"{song}_METADATA.yaml"


def change(path: Path, **changes: object) -> None:
    found = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**found, **changes}))


def test_stems_of_one_instrument_are_one(root: Path) -> None:
    tracks = {track.name: track for track in read_medleydb(root)}
    assert list(tracks) == [ANA, SMALL, DWARFS]
    files = {
        source: [part.path.name for part in parts] for source, parts in tracks[ANA].stems.items()
    }
    assert files == {
        "vocals": [f"{ANA}_STEM_01.wav"],
        "drums": [f"{ANA}_STEM_02.wav"],
        "bass": [f"{ANA}_STEM_03.wav"],
        "electric guitar": [f"{ANA}_STEM_04.wav", f"{ANA}_STEM_05.wav"],
        "strings": [f"{ANA}_STEM_06.wav"],
    }
    assert set(tracks[SMALL].stems) == {"vocals", "acoustic guitar", "piano"}


def test_sources_that_share_a_stem_stay_together(root: Path) -> None:
    [track] = [track for track in read_medleydb(root) if track.name == DWARFS]
    assert set(track.stems) == {"piano + vocals", "bass", "drums"}
    assert len(track.stems["piano + vocals"]) == 2


def test_the_mixture_is_the_sum_or_the_finished_mix(root: Path) -> None:
    for summed, mixed in zip(read_medleydb(root), read_medleydb(root, mix=True), strict=True):
        assert summed.mixture == ()
        assert [part.path.name for part in mixed.mixture] == [f"{mixed.name}_MIX.wav"]
        np.testing.assert_allclose(
            summed.read_mixture(9, 999), mixed.read_mixture(9, 999), atol=2e-4
        )


def test_a_source_plays_while_any_of_its_stems_does(root: Path) -> None:
    table = read_activity(root / LABELS / f"{ANA}_ACTIVATION_CONF.lab")
    [track, *_] = read_medleydb(root)
    assert track.labels is not None
    assert track.labels.sources == tuple(track.stems)
    assert track.labels.frame_rate == pytest.approx(44100 / 2048, rel=1e-3)
    np.testing.assert_array_equal(track.labels["vocals"], table["S01"])
    np.testing.assert_array_equal(
        track.labels["electric guitar"], np.maximum(table["S04"], table["S05"])
    )


def test_labels_and_metadata_may_lie_elsewhere(root: Path) -> None:
    wanted = read_medleydb(root)
    (root / "Metadata").mkdir()
    for track in wanted:
        shutil.move(metadata(root, track.name), root / "Metadata")
        shutil.move(
            root / LABELS / f"{track.name}_ACTIVATION_CONF.lab", root / "Audio" / track.name
        )
    assert [track.stems for track in read_medleydb(root)] == [track.stems for track in wanted]
    assert all(track.labels is not None for track in read_medleydb(root))
    (root / "Audio").rename(root / "V2")
    assert [track.name for track in read_medleydb(root)] == [track.name for track in wanted]


def test_label_files_named_a_little_differently_are_found(root: Path) -> None:
    label = root / LABELS / f"{ANA}_ACTIVATION_CONF.lab"
    label.rename(label.with_name("AnaMiniatura_Breve-Chanson(Live)_ACTIVATION_CONF.lab"))
    assert all(track.activity is not None for track in read_medleydb(root))


def test_songs_without_labels_have_none(root: Path) -> None:
    shutil.rmtree(root / "Annotations")
    assert [track.labels for track in read_medleydb(root)] == [None, None, None]


def test_loose_names_are_found(secrets: Path) -> None:
    [track, *_] = read_medleydb(secrets)
    names = [part.path.name for parts in track.stems.values() for part in parts]
    assert names == [
        "01_Vocals.wav", f"{ANA}_STEM_drums.wav", "03_Bass.wav", "04_Electric Guitar.wav",
        "05_Electric Guitar.wav", "06_Violin.wav",
    ]  # fmt: skip
    assert read_medleydb(secrets, mix=True)[0].mixture[0].path.name == f"{ANA}_MIX.mp3"
    song = secrets / "Audio" / ANA
    stems = song / f"{ANA}_STEMS"
    (stems / "01_Vocals.wav").rename(stems / "01_VOCALS.WAV")  # another case
    (stems / "03_Bass.wav").rename(song / f"{ANA}_RAW" / "03_Bass.wav")  # among the raw tracks
    (stems / "06_Violin.wav").rename(stems / f"{ANA}_STEM_06.wav")  # by number
    name = unicodedata.normalize("NFC", "04_Élec.wav")
    found = yaml.safe_load(metadata(secrets, ANA).read_text())
    found["stems"]["S04"]["filename"] = name
    metadata(secrets, ANA).write_text(yaml.safe_dump(found), encoding="utf-8")
    (stems / "04_Electric Guitar.wav").rename(stems / unicodedata.normalize("NFD", name))
    [track, *_] = read_medleydb(secrets)
    assert len([part for parts in track.stems.values() for part in parts]) == 6


def test_unknown_instruments_are_named(root: Path) -> None:
    found = yaml.safe_load(metadata(root, ANA).read_text())
    found["stems"]["S06"]["instrument"] = "theremin"
    metadata(root, ANA).write_text(yaml.safe_dump(found))
    with pytest.raises(DataError, match=r"stem S06 is of the unknown instrument 'theremin'; add"):
        read_medleydb(root)
    broken: list[str] = []
    assert len(read_medleydb(root, broken=broken)) == 2
    assert str(metadata(root, ANA)) in broken[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stems: {S01: [", r"_METADATA\.yaml, line 2: not YAML"),
        ("just a sentence", "is no metadata of a song"),
        ("stems: {S01: {instrument: piano}}", "is no metadata of a song: .*filename"),
        ("stems: {S01: {filename: a.wav, instrument: 3}}", "is no metadata of a song"),
        ("stems: {S01: {filename: a.wav, instrument: []}}", "is no metadata of a song"),
        ("stems: {}", "lists no stems"),
        ("title: x", "is no metadata of a song"),
    ],
)
def test_unreadable_metadata_are_named(root: Path, text: str, words: str) -> None:
    metadata(root, ANA).write_text(text + "\n")
    with pytest.raises(DataError, match=words) as caught:
        read_medleydb(root)
    assert str(metadata(root, ANA)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_of_other_stems_are_named(root: Path) -> None:
    label = root / LABELS / f"{ANA}_ACTIVATION_CONF.lab"
    text = label.read_text()
    label.write_text(text.replace("S06", "S07"))
    with pytest.raises(DataError, match="has the unknown label 'S07'; expected S01, S02"):
        read_medleydb(root)
    lines = [line.rsplit(",", 1)[0] for line in text.splitlines()]
    label.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="has no column 'S06'"):
        read_medleydb(root)


def test_songs_without_metadata_are_named(root: Path) -> None:
    metadata(root, ANA).unlink()
    with pytest.raises(DataError, match=rf"{ANA} has no {ANA}_METADATA\.yaml; get it, or remove"):
        read_medleydb(root)


def test_all_real_metadata_parse(real_metadata: Path) -> None:
    songs = {
        kind: [read_metadata(p) for p in sorted((real_metadata / kind).glob("*_METADATA.yaml"))]
        for kind in ("medleydb", "mixing_secrets")
    }
    assert {kind: len(found) for kind, found in songs.items()} == {
        "medleydb": 330, "mixing_secrets": 258,
    }  # fmt: skip
    stems = 0
    for song in (one for found in songs.values() for one in found):
        groups = song.groups()
        assert sorted(name for names in groups.values() for name in names) == sorted(song.stems)
        assert song.stem_folder == f"{song.name}_STEMS"
        stems += len(song.stems)
    assert stems == 6543
    assert {song.origin for song in songs["mixing_secrets"]} == {"Mixing Secrets"}
