"""Every reader on its miniature: samples, splits, wrong folders, broken songs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from stemwise.audio import read
from stemwise.data.miniature import write_miniature
from stemwise.data.sets import READERS, SETS, detect_kind, read_set
from stemwise.data.track import Part, Track
from stemwise.errors import DataError

SECONDS = 1.0


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a miniature of every data set, named by its kind."""
    root = tmp_path_factory.mktemp("sets")
    for kind in READERS:
        write_miniature(kind, root / kind, seconds=SECONDS)
    return root


def parts(track: Track) -> list[Part]:
    return [part for several in (*track.stems.values(), track.mixture) for part in several]


@pytest.mark.parametrize("kind", READERS)
def test_samples_are_those_of_the_files(kind: str, sets: Path) -> None:
    tracks = read_set(kind, sets / kind)
    assert len(tracks) >= 3
    assert len({track.name for track in tracks}) == len(tracks)
    for track in tracks:
        assert track.sample_rate == 44100
        assert track.samples == round(SECONDS * 44100)
        for source, pieces in track.stems.items():
            wanted = np.zeros((2, 3000), np.float32)
            for part in pieces:
                whole = read(part.path, stream=part.stream).samples[:, 9000:12000]
                wanted += whole if part.channel is None else whole[part.channel]
            np.testing.assert_allclose(track.read_stem(source, 9000, 3000), wanted, atol=1e-7)
        end = track.read_mixture(track.samples - 10, 10)
        assert end.shape == (2, 10)
        assert end.dtype == np.float32


@pytest.mark.parametrize("kind", READERS)
def test_every_stem_and_label_that_is_promised_is_there(kind: str, sets: Path) -> None:
    for track in read_set(kind, sets / kind):
        gives = SETS[kind].gives
        if gives.startswith("stems: "):
            assert set(track.stems) == set(gives.removeprefix("stems: ").split(", "))
        if "labels" in gives and kind != "folder":
            assert track.labels is not None
            assert 0 < track.labels.probabilities.mean() < 1
        if track.stems and track.mixture and "vocals" not in gives and kind != "folder":
            raise AssertionError("the mixtures of instrument sets are the sums of their stems")


@pytest.mark.parametrize("kind", ["musdb18", "musdb18hq", "dsd100", "ccmixter"])
def test_stems_add_up_to_the_mixture(kind: str, sets: Path) -> None:
    for track in read_set(kind, sets / kind):
        total = sum(track.read_stem(source, 0, track.samples) for source in track.stems)
        lossy = 0.05 if kind == "musdb18" else 1e-4
        np.testing.assert_allclose(track.read_mixture(0, track.samples), total, atol=lossy)


@pytest.mark.parametrize("kind", READERS)
def test_splits_share_nothing_and_lose_nothing(kind: str, sets: Path) -> None:
    every = read_set(kind, sets / kind)
    assert {track.split for track in every} == set(SETS[kind].splits or ("",))
    for split in SETS[kind].splits:
        found = read_set(kind, sets / kind, split)
        assert [t.name for t in found] == [t.name for t in every if t.split == split]
        assert found
    with pytest.raises(DataError, match=r"has no split 'tset'"):
        read_set(kind, sets / kind, "tset")


@pytest.mark.parametrize("kind", READERS)
def test_the_kind_of_a_folder_is_found(kind: str, sets: Path) -> None:
    assert detect_kind(sets / kind) == kind


@pytest.mark.parametrize("kind", READERS)
def test_a_folder_of_another_kind_is_refused_with_its_kind(kind: str, sets: Path) -> None:
    for other in READERS:
        if other == kind or "folder" in (kind, other):
            continue
        with pytest.raises(DataError) as caught:
            read_set(kind, sets / other)
        text = str(caught.value)
        assert f"is not {SETS[kind].title}, which looks like {SETS[kind].layout}" in text
        assert f"use the kind '{other}'" in text
        assert str(sets / other) in text


def test_nothing_known(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"\xff\xd8")
    with pytest.raises(DataError, match="is no data set that is known: musdb18: "):
        detect_kind(tmp_path)
    for kind in READERS:
        with pytest.raises(DataError, match=r"nor is it any other known data set|holds no track"):
            read_set(kind, tmp_path)
        with pytest.raises(DataError, match="holds no track"):
            READERS[kind](tmp_path)
        with pytest.raises(DataError, match="missing is not a folder"):
            read_set(kind, tmp_path / "missing")
        with pytest.raises(DataError, match=r"a\.jpg is not a folder"):
            READERS[kind](tmp_path / "photos" / "a.jpg")
    with pytest.raises(DataError, match="unknown kind of data set 'medlydb': did you mean 'medley"):
        read_set("medlydb", tmp_path)


def _first_audio(track: Track) -> Path:
    return parts(track)[-1].path


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _scramble(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 40)


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


@pytest.mark.parametrize("damage", [_cut, _empty, _scramble, _loop])
@pytest.mark.parametrize("kind", READERS)
def test_a_damaged_file_is_named_or_its_track_left_out(
    kind: str, damage: object, sets: Path, tmp_path: Path
) -> None:
    root = tmp_path / "set"
    shutil.copytree(sets / kind, root)
    tracks = read_set(kind, root)
    victim = _first_audio(tracks[0])
    assert callable(damage)
    damage(victim)
    with pytest.raises(DataError) as caught:
        read_set(kind, root)
    assert str(victim) in str(caught.value)
    assert "\n" not in str(caught.value)
    broken: list[str] = []
    left = read_set(kind, root, broken=broken)
    assert [track.name for track in left] == [track.name for track in tracks[1:]]
    assert broken == [str(caught.value)]


@pytest.mark.parametrize("kind", ["musdb18hq", "dsd100", "medleydb", "mixing_secrets", "ccmixter"])
def test_a_missing_stem_is_named(kind: str, sets: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(sets / kind, root)
    tracks = read_set(kind, root)
    stem = tracks[0].stems["vocals"][0].path
    stem.unlink()
    with pytest.raises(DataError, match=stem.name) as caught:
        read_set(kind, root)
    assert str(stem.parent) in str(caught.value)
    broken: list[str] = []
    assert len(read_set(kind, root, broken=broken)) == len(tracks) - 1
    assert len(broken) == 1


@pytest.mark.parametrize("kind", ["musdb18hq", "dsd100", "medleydb", "ccmixter", "folder"])
def test_unequal_lengths_and_rates_are_named(kind: str, sets: Path, tmp_path: Path) -> None:
    import soundfile

    root = tmp_path / "set"
    shutil.copytree(sets / kind, root)
    stem = read_set(kind, root)[0].stems["vocals"][0].path
    samples, rate = soundfile.read(stem)
    soundfile.write(stem, samples[: rate // 2], rate)
    with pytest.raises(DataError, match=r"lasts 0\.50 s but .* 1\.00 s; the files of a track must"):
        read_set(kind, root)
    soundfile.write(stem, samples[: rate // 2], rate // 2)
    with pytest.raises(DataError, match=r"mixes sample rates: .* has \d+ Hz and .* \d+ Hz; bring"):
        read_set(kind, root)


@pytest.mark.parametrize("kind", ["jamendo", "rwc", "medleydb", "mixing_secrets", "folder"])
def test_labels_beyond_the_end_and_unreadable_ones_are_named(
    kind: str, sets: Path, tmp_path: Path
) -> None:
    root = tmp_path / "set"
    shutil.copytree(sets / kind, root)
    label = sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in (".lab", ".txt", ".csv") and path.is_file()
    )[0]
    lines = label.read_text().splitlines()
    if kind in ("jamendo", "folder") and not lines[0].startswith("time,"):
        late = [*lines, "90.000 95.000 " + lines[-1].split()[2]]
    elif kind == "rwc":
        late = [*lines[:-1], "95.000000000\te"]
    else:
        row = lines[-1].split(",")[1:]
        late = [lines[0], *(",".join((f"{0.0464 * i:.4f}", *row)) for i in range(2000))]
    label.write_text("\n".join(late) + "\n")
    with pytest.raises(DataError, match=r"labels up to 9\d\.\d+ s, but its song ends at 1\.00 s"):
        read_set(kind, root)
    label.write_bytes(b"\xff\xfe\x00\x00")
    with pytest.raises(DataError, match="is not a text file") as caught:
        read_set(kind, root)
    assert str(label) in str(caught.value)
    broken: list[str] = []
    assert read_set(kind, root, broken=broken)
    assert broken == [str(caught.value)]
