"""Finding and matching tracks, and what is refused before any work."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemwise.audio import STEM_NAMES, create_stem_file
from stemwise.data.miniature import write_miniature
from stemwise.errors import EvaluationError
from stemwise.evaluation.layout import list_tracks
from stemwise.evaluation.pairs import find_pairs, find_references
from track_sets import RATE, estimated, stems, write_set, write_track


def test_two_folders(tmp_path: Path) -> None:
    references, estimates = write_set(tmp_path, ("b", "a"))
    found = find_pairs(references, estimates)
    assert [pair.name for pair in found.pairs] == ["a", "b"]
    assert not found.broken
    pair = found.pairs[0]
    assert (pair.sample_rate, pair.channels, list(pair.references)) == (
        8000,
        1,
        ["vocals", "drums"],
    )
    assert {path.name for path in pair.inputs()} == {"vocals.wav", "drums.wav"}
    assert len(pair.inputs()) == 4


def test_two_files_of_any_name(tmp_path: Path) -> None:
    write_track(tmp_path, {"voice": stems()["vocals"], "mine": stems()["vocals"]})
    [pair] = find_pairs(tmp_path / "voice.wav", tmp_path / "mine.wav").pairs
    assert list(pair.references) == list(pair.estimates) == ["voice"]


def test_one_track_each_of_any_name(tmp_path: Path) -> None:
    write_track(tmp_path / "song", stems())
    write_track(tmp_path / "result", estimated(stems()))
    [pair] = find_pairs(tmp_path / "song", tmp_path / "result").pairs
    assert pair.name == "song"


def test_splits(tmp_path: Path) -> None:
    for split, track in (("train", "x"), ("test", "x"), ("test", "y")):
        write_track(tmp_path / "set" / split / track, stems())
        write_track(tmp_path / "flat" / track, stems(1))
        write_track(tmp_path / "split" / split / track, stems(1))
    found = find_pairs(tmp_path / "set", tmp_path / "flat", split="test")
    assert [(pair.name, pair.split) for pair in found.pairs] == [("x", "test"), ("y", "test")]
    found = find_pairs(tmp_path / "set", tmp_path / "split")
    assert [pair.name for pair in found.pairs] == ["train/x", "test/x", "test/y"]
    [other] = [pair for pair in found.pairs if pair.name == "train/x"]
    assert all("split/train" in path.as_posix() or "set/train" in path.as_posix()
               for path in other.inputs())  # fmt: skip
    with pytest.raises(EvaluationError, match="no split 'dev': it has train, test"):
        find_pairs(tmp_path / "set", tmp_path / "flat", split="dev")


def test_stem_files(tmp_path: Path) -> None:
    (tmp_path / "set/test").mkdir(parents=True)
    samples = {name: np.zeros((2, 4000), np.float32) for name in STEM_NAMES}
    with create_stem_file(tmp_path / "set/test/A - B.stem.mp4", 44100) as writer:
        writer.write(samples)
    four = {name: np.zeros((2, 4000)) for name in STEM_NAMES[1:]}
    write_track(tmp_path / "out/A - B", four, rate=44100)
    [pair] = find_pairs(tmp_path / "set", tmp_path / "out").pairs
    assert pair.name == "A - B"
    assert [part.stream for parts in pair.references.values() for part in parts] == [4, 1, 2, 3]
    assert pair.mixture[0].stream == 0
    assert pair.problems[0].name == "vocals+drums+bass+other"


def test_names_in_other_unicode_forms_and_letter_case(tmp_path: Path) -> None:
    write_track(tmp_path / "r" / unicodedata.normalize("NFC", "Café"), stems())
    write_track(tmp_path / "r" / "two", stems())
    write_track(tmp_path / "e" / unicodedata.normalize("NFD", "CAFÉ"), stems(1))
    write_track(tmp_path / "e" / "two", stems(1))
    assert len(find_pairs(tmp_path / "r", tmp_path / "e").pairs) == 2


def test_no_vocals_is_the_accompaniment(tmp_path: Path) -> None:
    write_track(tmp_path / "r/x", stems(names=("vocals", "drums", "bass")))
    found = stems(1, ("vocals", "no_vocals"))
    write_track(tmp_path / "e/x", found)
    [pair] = find_pairs(tmp_path / "r", tmp_path / "e").pairs
    assert [problem.name for problem in pair.problems] == ["vocals+accompaniment"]


def test_every_fault_is_one_sentence_and_stops_no_other_track(tmp_path: Path) -> None:
    tracks = ["fine", "rate", "wide", "lacks", "absent", "twice", "unreadable", "mixed", "no stem"]
    references, estimates = write_set(tmp_path, tracks)
    write_track(estimates / "rate", stems(), rate=16000)
    write_track(estimates / "wide", stems(channels=2))
    (estimates / "lacks/drums.wav").unlink()
    for file in (estimates / "absent").iterdir():
        file.unlink()
    soundfile.write(estimates / "twice/drums.flac", np.zeros(100), RATE)
    (estimates / "unreadable/drums.wav").write_text("no audio at all")
    soundfile.write(references / "mixed/drums.wav", np.zeros(16000), 16000)
    for file in (references / "no stem").iterdir():
        file.unlink()
    soundfile.write(references / "no stem/mixture.wav", np.zeros(100), RATE)
    found = find_pairs(references, estimates)
    assert [pair.name for pair in found.pairs] == ["fine"]
    sentences = {broken.name: broken.sentence for broken in found.broken}
    expected = {
        "rate": "has 16000 Hz and the references have 8000 Hz: resample",
        "wide": "has 2 channel(s) and the references have 1",
        "lacks": "there is no estimate of drums: add it",
        "absent": "there is no estimate of it in",
        "twice": "drums.flac and drums.wav are both drums: remove one",
        "unreadable": "is not an audio file that can be read",
        "mixed": "the references differ in sample rate, vocals 8000 Hz and drums 16000 Hz",
        "no stem": "holds a mixture but no stems",
    }
    assert set(sentences) == set(expected)
    for name, part in expected.items():
        assert sentences[name].startswith(f"{name}: ")
        assert part in sentences[name]


def test_a_track_listed_twice(tmp_path: Path) -> None:
    references, estimates = write_set(tmp_path, ("a", "b"))
    (references / "a.stem.mp4").write_bytes(b"x")
    found = find_pairs(references, estimates)
    assert [pair.name for pair in found.pairs] == ["b"]
    assert "the reference is there twice" in found.broken[0].sentence
    (references / "a.stem.mp4").unlink()
    (estimates / "b.stem.mp4").write_bytes(b"x")
    found = find_pairs(references, estimates)
    assert [pair.name for pair in found.pairs] == ["a"]
    assert "the estimate is there twice" in found.broken[0].sentence


def test_estimates_without_reference_are_a_note(tmp_path: Path) -> None:
    references, estimates = write_set(tmp_path)
    write_track(estimates / "third", stems())
    found = find_pairs(references, estimates)
    assert len(found.pairs) == 2
    assert "estimates without a reference, left out: third" in found.notes[0]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="does not exist"):
        list_tracks(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvaluationError, match="holds no track"):
        list_tracks(tmp_path / "empty")


def test_references_for_a_model(tmp_path: Path) -> None:
    references, _ = write_set(tmp_path)
    found = find_references(references, estimated=("vocals", "drums", "bass"))
    assert [pair.problems[0].name for pair in found.pairs] == ["vocals+drums"] * 2
    found = find_references(references, estimated=("bass",))
    assert not found.pairs
    assert "there is no estimate of vocals, drums" in found.broken[0].sentence


def test_real_stem_file(real_audio: Path) -> None:
    entries = list_tracks(real_audio)
    names = [entry.name for entry in entries]
    assert "Music Delta - 80s Rock" in names
    assert "iosr" in names
    pair = next(
        one for one in find_references(real_audio).pairs if one.name == "Music Delta - 80s Rock"
    )
    assert (pair.sample_rate, pair.channels) == (44100, 2)
    assert 6 < pair.seconds < 8


@pytest.mark.parametrize(
    ("kind", "names"),
    [("dsd100", "vocals+drums+bass+other"), ("ikala", "vocals+accompaniment"),
     ("ccmixter", "vocals+accompaniment"), ("musdb18hq", "vocals+drums+bass+other")],
)  # fmt: skip
def test_data_sets_of_other_layouts(tmp_path: Path, kind: str, names: str) -> None:
    write_miniature(kind, tmp_path / kind, seconds=1.0)
    pairs = find_references(tmp_path / kind).pairs
    assert {pair.problems[0].name for pair in pairs} == {names}
    assert all(not pair.name.startswith(str(tmp_path)) for pair in pairs)
