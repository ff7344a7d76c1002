"""Segments, smoothing, labels from stems against a plain-loop MedleyDB, files."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, lfilter, lfilter_zi

from stemwise.activity import (
    Activity,
    confidence_from_stems,
    loud_windows,
    read_activity,
    write_activity,
)
from stemwise.activity_files import LabelFile
from stemwise.errors import DataError, OutputError


def activity(*rows: list[float], frame_rate: float = 10.0) -> Activity:
    probabilities = np.array(rows, np.float32)
    names = ("vocals", "drums", "bass")[: len(rows)]
    return Activity(names, probabilities, frame_rate, probabilities.shape[1] / frame_rate)


def test_segments_reach_half_a_frame_around_their_frames() -> None:
    one = activity([0, 0, 1, 1, 1, 0, 0, 0.5, 0, 1])
    found = np.array(one.segments(minimum=0)["vocals"])
    np.testing.assert_allclose(found, [(0.15, 0.45), (0.65, 0.75), (0.85, 1.0)])


def test_short_segments_are_dropped_and_exact_ones_kept() -> None:
    one = activity([0, 1, 0, 1, 1, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(one.segments(minimum=0.2)["vocals"], [(0.25, 0.45)])
    assert one.segments(minimum=0.3)["vocals"] == []
    assert len(one.segments(minimum=0.1)["vocals"]) == 2


def test_threshold_is_inclusive() -> None:
    one = activity([0.4, 0.4, 0.6, 0.6])
    assert one.segments(threshold=0.7, minimum=0)["vocals"] == []
    assert len(one.segments(threshold=float(np.float32(0.6)), minimum=0)["vocals"]) == 1


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.booleans(), min_size=1, max_size=80),
    st.sampled_from([1.0, 10.0, 43.066, 100.0]),
)
def test_segments_and_frames_are_inverse(active: list[bool], frame_rate: float) -> None:
    one = Activity(
        ("vocals",), np.array([active], np.float32), frame_rate, len(active) / frame_rate
    )
    again = Activity.from_segments(one.segments(minimum=0), one.duration, frame_rate)
    np.testing.assert_array_equal(again.probabilities, one.probabilities)


def test_median_removes_short_dropouts_and_reflects_edges() -> None:
    one = activity([1, 0, 1, 1, 1, 0, 1, 1, 0, 0])
    assert one.median(0.3).probabilities.tolist() == [[1, 1, 1, 1, 1, 1, 1, 1, 0, 0]]
    assert one.median(0.0).probabilities.tolist() == one.probabilities.tolist()
    row = np.random.default_rng(0).random(40)
    width, padded = 5, np.pad(row, 2, mode="symmetric")
    wanted = [np.median(padded[index : index + width]) for index in range(40)]
    found = activity(row.tolist()).median(0.5).probabilities[0]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_resampling_takes_the_nearest_frame() -> None:
    one = activity([0.0, 0.1, 0.2, 0.3, 0.4], frame_rate=10)
    found = one.resample(25.0)
    assert found.frame_rate == 25.0
    assert found.probabilities.shape == (1, 13)
    wanted = [round(index * 10 / 25) / 10 for index in range(13)]
    np.testing.assert_allclose(found.probabilities[0], np.minimum(wanted, 0.4), atol=1e-6)
    assert one.resample(10.0, 0.2).probabilities.shape == (1, 2)
    # frames behind the last one repeat it
    assert one.resample(10.0, frames=8).probabilities[0, -3:].tolist() == pytest.approx([0.4] * 3)


def test_ratio_counts_active_frames() -> None:
    assert activity([1, 1, 0, 0], [0, 0, 0, 1]).ratio() == {"vocals": 0.5, "drums": 0.25}


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="2 sources"):
        Activity(("a", "b"), np.zeros((1, 4), np.float32), 10, 1)
    with pytest.raises(ValueError, match="frame rate"):
        Activity(("a",), np.zeros((1, 4), np.float32), 0, 1)


def medleydb(stems: list[np.ndarray]) -> np.ndarray:
    """MedleyDB's confidence as its description reads, sample by sample: (stem, frame)."""
    window = [0.5 * (1 - math.cos(2 * math.pi * (n + 1) / 4097)) for n in range(4096)]
    energy = []
    for stem in stems:
        mono = stem.mean(axis=0).tolist()
        padded = [0.0] * 2048 + mono
        while len(padded) % 4096:
            padded.append(0.0)
        row = []
        for start in range(0, len(padded) - 4096 + 1, 2048):
            total = 0.0
            for n in range(4096):
                value = padded[start + n]
                total += window[n] * math.sqrt(value) if value > 0 else 0.0
            row.append(total / 4096)
        energy.append(row)
    frames = len(energy[0])
    sums = [sum(row[frame] for row in energy) for frame in range(frames)]
    relative = np.array(
        [
            [len(stems) * row[i] / max(sums) if sums[i] >= 0.01 else 0.0 for i in range(frames)]
            for row in energy
        ]
    )
    b, a = butter(2, 0.075)
    smooth = []
    for row in relative:  # forwards and backwards with odd extension, written out
        ends = 2 * row[0] - row[9:0:-1], 2 * row[-1] - row[-2:-11:-1]
        signal = np.concatenate([ends[0], row, ends[1]])
        for _ in range(2):
            signal, _ = lfilter(b, a, signal, zi=lfilter_zi(b, a) * signal[0])
            signal = signal[::-1]
        smooth.append(signal[9:-9])
    return np.array([[1 / (1 + math.exp(-20 * (h - 0.15))) for h in row] for row in smooth])


def test_confidence_is_medleydb_s(rng: np.random.Generator) -> None:
    samples = 44100
    envelope = np.repeat([0, 1, 0.02, 1, 0, 0, 0.5, 1, 0.1, 0], samples // 10)
    stems = {
        "vocals": (0.2 * envelope * rng.standard_normal((2, samples))).astype(np.float32),
        "drums": (0.1 * envelope[::-1] * rng.standard_normal((2, samples))).astype(np.float32),
        "bass": np.zeros((1, samples), np.float32),
    }
    found = confidence_from_stems(stems, 44100)
    wanted = medleydb([stem.astype(np.float64) for stem in stems.values()])
    assert found.sources == ("vocals", "drums", "bass")
    assert found.frame_rate == pytest.approx(44100 / 2048)
    assert found.duration == pytest.approx(1.0)
    assert found.probabilities.shape == wanted.shape
    np.testing.assert_allclose(found.probabilities, wanted, atol=1e-6)
    assert (found["bass"] < 0.05).all()


@pytest.mark.parametrize("samples", [1, 2048, 2049, 5000])
def test_confidence_of_short_and_silent_stems(samples: int) -> None:
    silent = {"a": np.zeros((1, samples), np.float32), "b": np.zeros((2, samples), np.float32)}
    found = confidence_from_stems(silent, 44100)
    np.testing.assert_allclose(found.probabilities, 1 / (1 + math.exp(3)), atol=1e-6)


def test_confidence_is_the_same_at_another_rate() -> None:
    found = []
    for rate in (44100, 22050):
        time = np.arange(2 * rate) / rate
        tone = (0.3 * np.sin(2 * np.pi * 200 * time) * (time > 1))[np.newaxis].astype(np.float32)
        other = (0.05 * np.sin(2 * np.pi * 100 * time))[np.newaxis].astype(np.float32)
        found.append(confidence_from_stems({"a": tone, "b": other}, rate))
    np.testing.assert_allclose(found[0].probabilities, found[1].probabilities, atol=0.01)
    assert found[0]["a"][found[0].times < 0.4].max() < 0.1
    assert found[0]["a"][(found[0].times > 1.2) & (found[0].times < 1.8)].min() > 0.9


@pytest.mark.parametrize("rate", [44100, 22050])
def test_loud_windows(rate: int) -> None:
    samples = np.zeros((2, rate), np.float32)
    samples[:, rate // 2 :] = 6e-4
    samples[:, rate // 4 : rate // 4 + rate // 100] = 4e-4
    found = loud_windows(samples, rate)
    assert found.shape == (100,)
    assert found.tolist() == [False] * 50 + [True] * 50
    assert loud_windows(samples[:, :1], rate).tolist() == [False]
    assert loud_windows(samples[:, :0], rate).shape == (0,)


EXAMPLE = activity([0, 1, 1, 1, 0, 0, 0, 0.75, 0.9, 1], [1, 1, 1, 1, 1, 1, 1, 1, 1, 1], [0] * 10)


def test_csv_keeps_frames(tmp_path: Path) -> None:
    path = tmp_path / "song.csv"
    write_activity(path, EXAMPLE)
    assert path.read_text().splitlines()[:2] == [
        "time,vocals,drums,bass",
        "0.000000,0.0000,1.0000,0.0000",
    ]
    found = read_activity(path)
    assert found.sources == EXAMPLE.sources
    assert found.frame_rate == pytest.approx(10)
    assert found.duration == pytest.approx(1)
    np.testing.assert_allclose(found.probabilities, EXAMPLE.probabilities, atol=5e-5)


@pytest.mark.parametrize(("suffix", "gap"), [(".lab", " "), (".txt", "\t")])
def test_label_files_keep_segments(tmp_path: Path, suffix: str, gap: str) -> None:
    path = tmp_path / f"song – 歌{suffix}"
    write_activity(path, EXAMPLE)
    assert path.read_text(encoding="utf-8").splitlines() == [
        gap.join(("0.000000", "1.000000", "drums")),
        gap.join(("0.050000", "0.350000", "vocals")),
        gap.join(("0.650000", "1.000000", "vocals")),
    ]
    found = read_activity(path, frame_rate=10)
    assert set(found.sources) == {"vocals", "drums"}
    np.testing.assert_array_equal(found["vocals"], EXAMPLE.active()[0])
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_jams_structure(tmp_path: Path) -> None:
    path = tmp_path / "song.jams"
    write_activity(path, EXAMPLE)
    document = json.loads(path.read_text())
    assert set(document) == {"annotations", "file_metadata", "sandbox"}
    metadata = document["file_metadata"]
    assert set(metadata) == {
        "title", "artist", "release", "duration", "identifiers", "jams_version",
    }  # fmt: skip
    assert metadata["duration"] == 1.0
    [annotation] = document["annotations"]
    assert annotation["namespace"] == "tag_open"
    assert set(annotation["annotation_metadata"]) == {
        "curator", "annotator", "version", "corpus", "annotation_tools", "annotation_rules",
        "validation", "data_source",
    }  # fmt: skip
    assert all(
        set(item) == {"time", "duration", "value", "confidence"} for item in annotation["data"]
    )
    assert [item["value"] for item in annotation["data"]] == ["drums", "vocals", "vocals"]
    found = read_activity(path, frame_rate=10)
    assert set(found.sources) == set(EXAMPLE.sources)
    assert found.duration == 1.0
    for source in EXAMPLE.sources:
        wanted = EXAMPLE.active()[EXAMPLE.sources.index(source)]
        np.testing.assert_array_equal(found[source], wanted)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "0.1,0.2\n", "line 1"),
        ("a.csv", "time,vocals,vocals\n0,0,0\n", "line 1"),
        ("a.csv", "time,vocals\n", "no frames"),
        ("a.csv", "time,vocals\n0,0.5\n0.1,x\n", "line 3"),
        ("a.csv", "time,vocals\n0,0.5\n0.1,1.5\n", "line 3"),
        ("a.csv", "time,vocals\n0,0.5\n0.1\n", "line 3"),
        ("a.csv", "time,vocals\n0,0.5\n0.1,0.5\n0.1,0.5\n", "line 4"),
        ("a.csv", "time,vocals\n0,0.5\n0.1,0.5\n0.7,0.5\n", "line 3"),
        ("a.lab", "0 1 sing\n1 2\n", "line 2"),
        ("a.lab", "0 1 sing\n3 2 sing\n", "line 2"),
        ("a.txt", "0\tnan\tsing\n", "line 1"),
        ("a.jams", "{\n  broken", "line 2"),
        ("a.jams", "[]", "JAMS"),
        ("a.jams", '{"annotations": [], "file_metadata": {"duration": 1}}', "no annotation"),
        ("a.xyz", "", "suffix|end in"),
    ],
)
def test_broken_files_are_named_with_their_line(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        read_activity(path)
    assert str(path) in str(caught.value)


def test_missing_binary_and_forbidden_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_activity(tmp_path / "no.lab")
    (tmp_path / "bytes.lab").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match="UTF-8"):
        read_activity(tmp_path / "bytes.lab")
    with pytest.raises(OutputError, match="not an existing folder"):
        write_activity(tmp_path / "nowhere" / "song.csv", EXAMPLE)
    with pytest.raises(DataError, match="end in"):
        write_activity(tmp_path / "song.wav", EXAMPLE)
    assert [entry.name for entry in tmp_path.iterdir()] == ["bytes.lab"]


def test_instrumental_label_file_is_empty_and_readable(tmp_path: Path) -> None:
    path = tmp_path / "song.lab"
    write_activity(path, activity([0, 0, 0]))
    assert path.read_text() == ""
    assert read_activity(path).sources == ()


def test_audacity_frequency_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "song.txt"
    path.write_text("0.5\t1.0\tlead vocals\n\\\t100.0\t200.0\n")
    found = read_activity(path)
    assert found.sources == ("lead vocals",)
    assert found.duration == 1.0
    assert found["lead vocals"][[49, 50, 99]].tolist() == [0, 1, 1]


def test_real_activation_file(real_metadata: Path) -> None:
    found = read_activity(real_metadata / "LizNelson_Rainfall_ACTIVATION_CONF.lab")
    assert found.sources == ("S01", "S02", "S03", "S04", "S05")
    assert found.frame_rate == pytest.approx(44100 / 2048, rel=1e-6)
    assert 0 <= found.probabilities.min() < found.probabilities.max() <= 1


@pytest.mark.parametrize("suffix", [".csv", ".lab", ".txt", ".jams"])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_files_bring_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, data: st.DataObject
) -> None:
    frame_rate = data.draw(st.sampled_from([10.0, 43.06640625, 100.0]))
    count = data.draw(st.integers(2, 60))
    rows = data.draw(
        st.lists(
            st.lists(st.sampled_from([0.0, 1.0]), min_size=count, max_size=count),
            min_size=1,
            max_size=3,
        )
    )
    names = ("vocals", "drum set", "Geige – 弦")[: len(rows)]
    one = Activity(names, np.array(rows, np.float32), frame_rate, count / frame_rate)
    path = tmp_path_factory.mktemp("labels") / f"song{suffix}"
    write_activity(path, one, minimum=0)
    found = LabelFile(path, one.duration, {name: (name,) for name in names}).read(frame_rate)
    assert found.sources == names
    assert found.frame_rate == pytest.approx(frame_rate, rel=1e-4)
    np.testing.assert_array_equal(found.active(), one.active())


def test_a_label_file_names_its_sources(tmp_path: Path) -> None:
    path = tmp_path / "song.lab"
    path.write_text("0 1 lead\n2 3 choir\n2.5 4 lead\n0 4 noise\n")
    sources = {"vocals": ("lead", "choir"), "bass": ("bass",)}
    found = LabelFile(path, 5.0, sources, ignored=("noise",)).read(10.0)
    assert found.sources == ("vocals", "bass")
    assert found.duration == 5.0
    assert found["vocals"].reshape(5, 10).mean(axis=1).tolist() == [1, 0, 1, 1, 0]
    assert not found["bass"].any()
    with pytest.raises(DataError, match="unknown label 'noise'; expected bass, choir, lead"):
        LabelFile(path, 5.0, sources).read()
    with pytest.raises(DataError, match="has no column 'bass'"):
        LabelFile(path, 5.0, sources, ("noise",), complete=True).read()


def test_labels_beyond_the_end(tmp_path: Path) -> None:
    path = tmp_path / "song.lab"
    path.write_text("0 4 vocals\n")
    with pytest.raises(DataError, match=r"labels up to 4\.00 s, but its song ends at 2\.00 s"):
        LabelFile(path, 2.0).read()
    assert LabelFile(path, 3.5).read().duration == 4.0
    found = LabelFile(path, 6.0).read(10.0)
    assert (found.duration, found.probabilities.shape) == (6.0, (1, 60))
    assert found["vocals"].sum() == 40


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_loud_windows_are_means_over_ten_milliseconds(rate: int, rng: np.random.Generator) -> None:
    samples = (rng.standard_normal((2, rate // 2 + 17)) * 5e-4 * np.sqrt(np.pi / 2)).astype("f4")
    found = loud_windows(samples, rate)
    mono = [sum(abs(float(value)) for value in pair) / 2 for pair in samples.T]
    starts = [round(0.01 * index * rate) for index in range(len(found) + 1)]
    starts[-1] = len(mono)
    means = [sum(mono[a:b]) / (b - a) for a, b in pairwise(starts)]
    assert len(found) == 51
    assert found.tolist() == [mean > 5e-4 for mean in means]
    assert 0 < found.mean() < 1


def test_real_activation_file_agrees_with_the_definition(real_metadata: Path) -> None:
    """What of the definition shows without its audio: grid, range, and the floor of silence."""
    path = real_metadata / "LizNelson_Rainfall_ACTIVATION_CONF.lab"
    found = read_activity(path)
    times = np.loadtxt(path, delimiter=",", skiprows=1)[:, 0]
    np.testing.assert_allclose(times, found.times, atol=1e-4)
    np.testing.assert_allclose(times, np.arange(len(times)) * 2048 / 44100, atol=1e-4)
    # where nothing sounds, at both ends, confidence is logistic(20 * (0 - 0.15))
    for stem in ("S02", "S03", "S05"):
        np.testing.assert_allclose(found[stem][[0, -1]], 1 / (1 + math.exp(3)), atol=1e-4)
    assert 0 < found.probabilities.min() < found.probabilities.max() <= 1
    assert found.probabilities.shape == (5, 6135)
    labels = found.resample(44100 / 1024)
    assert labels.probabilities.shape[1] == pytest.approx(2 * 6135, abs=1)
    np.testing.assert_array_equal(labels.active()[:, ::2], found.active())
