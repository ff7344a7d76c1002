"""Miniatures: the exact folders, codecs and label files of every data set."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from stemwise.audio import probe, read
from stemwise.data.miniature import write_miniature
from stemwise.data.sets import READERS
from stemwise.errors import DataError

LAYOUTS = {
    "musdb18": [r"(train|test)/[^/]+ - [^/]+\.stem\.mp4"],
    "musdb18hq": [r"(train|test)/[^/]+ - [^/]+/(mixture|drums|bass|other|vocals)\.wav"],
    "dsd100": [
        r"Mixtures/(Dev|Test)/\d{3} - [^/]+ - [^/]+/mixture\.wav",
        r"Sources/(Dev|Test)/\d{3} - [^/]+ - [^/]+/(drums|bass|other|vocals)\.wav",
    ],
    "medleydb": [
        r"Audio/(\w+)/\1_MIX\.wav",
        r"Audio/(\w+)/\1_METADATA\.yaml",
        r"Audio/(\w+)/\1_STEMS/\1_STEM_\d\d\.wav",
        r"Audio/(\w+)/\1_RAW/\1_RAW_\d\d_\d\d\.wav",
        r"Annotations/Instrument_Activations/ACTIVATION_CONF/\w+_ACTIVATION_CONF\.lab",
    ],
    "mixing_secrets": [
        r"Audio/(\w+)/\1_MIX\.(wav|mp3)",
        r"Audio/(\w+)/\1_METADATA\.yaml",
        r"Audio/(\w+)/\1_STEMS/[^/]+\.wav",
        r"Audio/(\w+)/\1_RAW/[^/]+\.wav",
        r"Audio/(\w+)/\1_ACTIVATION_CONF\.lab",
    ],
    "ccmixter": [r"[^/]+/(mix|source-01|source-02)\.wav"],
    "ikala": [r"Wavfile/\d+_(verse|chorus)\.wav"],
    "jamendo": [r"audio/(train|valid|test)/[^/]+\.(mp3|ogg)", r"labels/[^/]+\.lab"],
    "rwc": [
        r"audio/rwc-p-m0[1-7]/\d+\.wav",
        r"AIST\.RWC-MDB-P-2001\.VOCA_INST/RM-P\d{3}\.VOCA_INST\.TXT",
    ],
    "folder": [
        r"(train|validation|test)(/[^/]+)+/(mixture|drums|bass|other|vocals)\.\w+",
        r"(train|validation|test)(/[^/]+)+/activity\.(csv|lab|txt|jams)",
    ],
}


def files(root: Path) -> dict[str, Path]:
    return {p.relative_to(root).as_posix(): p for p in sorted(root.rglob("*")) if p.is_file()}


def digest(root: Path) -> dict[str, str]:
    return {name: hashlib.sha256(p.read_bytes()).hexdigest() for name, p in files(root).items()}


@pytest.mark.parametrize("kind", READERS)
def test_layouts_are_exact_and_complete(kind: str, tmp_path: Path) -> None:
    assert write_miniature(kind, tmp_path / "a", seconds=0.5) == tmp_path / "a"
    names = files(tmp_path / "a")
    for name in names:
        assert any(re.fullmatch(layout, name) for layout in LAYOUTS[kind]), name
    for layout in LAYOUTS[kind]:
        assert any(re.fullmatch(layout, name) for name in names), layout


@pytest.mark.parametrize("kind", ["musdb18", "medleydb", "jamendo", "folder"])
def test_a_seed_makes_the_same_bytes_and_another_seed_other_music(
    kind: str, tmp_path: Path
) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_miniature(kind, tmp_path / name, seed, seconds=0.5)
    first, same, other = (digest(tmp_path / name) for name in "abc")
    # an Ogg stream has a random serial number
    chosen = [name for name in first if not name.endswith(".ogg")]
    assert [first[name] for name in chosen] == [same[name] for name in chosen]
    audible = [name for name in chosen if name.endswith((".wav", ".mp3", ".mp4", ".flac"))]
    assert all(first[name] != other[name] for name in audible)


def test_stem_files_have_five_streams_of_aac(tmp_path: Path) -> None:
    write_miniature("musdb18", tmp_path, seconds=0.5)
    for path in files(tmp_path).values():
        signals = []
        for stream in range(5):
            info = probe(path, stream=stream)
            assert (info.codec, info.sample_rate, info.channels) == ("aac", 44100, 2)
            assert (info.streams, info.samples) == (5, 22050)
            signals.append(read(path, stream=stream).samples)
        error = signals[0] - np.sum(signals[1:], axis=0)
        assert np.mean(error**2) < 0.01 * np.mean(signals[0] ** 2)


def test_codecs(tmp_path: Path) -> None:
    for kind in ("ikala", "jamendo", "folder"):
        write_miniature(kind, tmp_path / kind, seconds=0.5)
    assert {probe(path).channels for path in files(tmp_path / "ikala").values()} == {2}
    codecs = {
        (path.suffix, probe(path).codec)
        for kind in ("ikala", "jamendo", "folder")
        for path in files(tmp_path / kind).values()
        if path.suffix not in (".lab", ".csv", ".txt", ".jams")
    }
    assert codecs == {
        (".wav", "pcm_16"), (".flac", "pcm_16"), (".ogg", "vorbis"), (".mp3", "mp3"),
        (".m4a", "aac"),
    }  # fmt: skip


def test_label_files_are_written_as_their_data_sets_write_them(tmp_path: Path) -> None:
    for kind in ("rwc", "jamendo", "medleydb"):
        write_miniature(kind, tmp_path / kind, seconds=4.0)
    state = "AIST.RWC-MDB-P-2001.VOCA_INST/RM-P001.VOCA_INST.TXT"
    assert (tmp_path / "rwc" / state).read_bytes() == (
        b"0.000000000\tb\r\n1.000000000\tm:withm\r\n2.000000000\ts:electricguitar\r\n"
        b"3.000000000\tm:withm\r\n4.000000000\te\r\n"
    )
    label = (tmp_path / "jamendo" / "labels" / "02 - Étude.lab").read_text()
    assert label.splitlines()[:2] == ["0.000 1.000 nosing", "1.000 2.000 sing"]
    name = "AnaMiniatura_BreveChanson"
    folder = tmp_path / "medleydb" / "Annotations" / "Instrument_Activations" / "ACTIVATION_CONF"
    lines = (folder / f"{name}_ACTIVATION_CONF.lab").read_text().splitlines()
    assert lines[0] == "time,S01,S02,S03,S04,S05,S06"
    assert [line.split(",")[0] for line in lines[1:4]] == ["0.0000", "0.0464", "0.0929"]
    assert all(re.fullmatch(r"\d+\.\d{4}(,[01]\.\d{4}){6}", line) for line in lines[1:])
    metadata = tmp_path / "medleydb" / "Audio" / name / f"{name}_METADATA.yaml"
    assert yaml.safe_load(metadata.read_text())["stems"]["S04"] == {
        "component": "",
        "filename": f"{name}_STEM_04.wav",
        "instrument": "distorted electric guitar",
        "raw": {
            "R01": {
                "filename": f"{name}_RAW_04_01.wav",
                "instrument": "distorted electric guitar",
            }
        },
    }


def test_real_metadata_have_the_same_keys(real_metadata: Path, tmp_path: Path) -> None:
    for kind in ("medleydb", "mixing_secrets"):
        write_miniature(kind, tmp_path / kind, seconds=0.5)
        [ours, *_] = sorted((tmp_path / kind).rglob("*_METADATA.yaml"))
        [theirs, *_] = sorted((real_metadata / kind).glob("*_METADATA.yaml"))
        made, real = (yaml.safe_load(path.read_text()) for path in (ours, theirs))
        assert set(made) == set(real)
        assert set(made["stems"]["S01"]) == set(real["stems"]["S01"])


def test_the_music_can_be_told_apart(tmp_path: Path) -> None:
    write_miniature("dsd100", tmp_path, seconds=2.0)
    [song, *_] = sorted((tmp_path / "Sources" / "Dev").iterdir())
    stems = {path.stem: read(path).samples for path in song.iterdir()}
    assert len(stems) == 4
    for name, samples in stems.items():
        assert 0.005 < np.sqrt(np.mean(samples**2)) < 0.5, name
        assert np.abs(samples).max() < 0.6
        assert not np.array_equal(samples[0], samples[1])
    singing = stems["vocals"].reshape(2, 4, -1).any(axis=(0, 2))
    assert singing.tolist() == [False, True, False, True]


def test_bad_requests(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown kind of data set 'musdb': did you mean 'musdb18"):
        write_miniature("musdb", tmp_path)
    with pytest.raises(DataError, match="too short for a miniature"):
        write_miniature("musdb18", tmp_path, seconds=0.1)
    assert not any(tmp_path.iterdir())
