"""Songs that stand in for data sets, and how data sets are split."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from stemwise.data.places import Place
from stemwise.errors import DataError
from stemwise.reproduction.experiments import Form
from stemwise.reproduction.library import Library, safe_name, split_songs
from stemwise.reproduction.pool import (
    assign,
    assign_instruments,
    by_instrument,
    overlapping,
    read_pool,
)

NAMES = [f"song {number}" for number in range(20)]


def test_sets_and_splits_are_disjoint_and_lose_no_song() -> None:
    dealt = assign(NAMES, ("dsd100", "jamendo"), 42)
    parts = [dealt[name][split] for name in dealt for split in dealt[name]]
    assert all(not set(one) & set(other) for one, other in combinations(parts, 2))
    assert sorted(song for part in parts for song in part) == sorted(NAMES)
    assert dealt == assign(NAMES[::-1], ("dsd100", "jamendo"), 42)
    assert dealt != assign(NAMES, ("dsd100", "jamendo"), 43)


def test_two_editions_of_a_set_have_the_same_songs() -> None:
    dealt = assign(NAMES, ("musdb18", "musdb18hq"), 42)
    assert dealt["musdb18"] == dealt["musdb18hq"]
    assert assign(NAMES, ("musdb18hq",), 42)["musdb18hq"] == dealt["musdb18"]


def test_few_songs_serve_every_set_and_fewer_are_refused() -> None:
    sets = ("dsd100", "medleydb", "ccmixter")
    assert overlapping(8, sets)
    dealt = assign(NAMES[:8], sets, 42)
    assert dealt["dsd100"] == dealt["ccmixter"]
    with pytest.raises(DataError, match="3 songs are too few"):
        assign(NAMES[:3], ("musdb18",), 42)
    assert len(assign(NAMES, ("musdb18",), 42, tests=1)["musdb18"]["test"]) == 1


def test_rare_instruments_are_in_every_split() -> None:
    common = {"vocals", "drums", "bass"}
    having = {name: set(common) for name in NAMES}
    for name in NAMES[:3]:
        having[name].add("piano")
    dealt = assign_instruments(having, ("medleydb", "mixing_secrets"), 42)
    for split, songs in dealt["medleydb"].items():
        assert any("piano" in having[song] for song in songs), split
    assert not any(dealt["mixing_secrets"].values())
    assert sorted(s for songs in dealt["medleydb"].values() for s in songs) == sorted(NAMES)


def _songs(count: int, split: str) -> list[Any]:
    return [SimpleNamespace(name=f"{split}{n}", split=split) for n in range(count)]


def test_data_sets_are_split_as_the_papers_do() -> None:
    jamendo = _songs(61, "train") + _songs(16, "validation") + _songs(16, "test")
    sizes = {key: len(songs) for key, songs in split_songs("jamendo", jamendo, 42).items()}
    assert sizes == {"train": 51, "validation": 10, "test": 32}
    dsd = split_songs("dsd100", _songs(50, "train") + _songs(50, "test"), 42)
    assert {key: len(songs) for key, songs in dsd.items()} == {
        "train": 40,
        "validation": 10,
        "test": 50,
    }
    musdb = _songs(86, "train") + _songs(14, "validation") + _songs(50, "test")
    assert [len(songs) for songs in split_songs("musdb18", musdb, 42).values()] == [86, 14, 50]
    without = split_songs("medleydb", _songs(20, ""), 42)
    assert {len(songs) > 0 for songs in without.values()} == {True}


def test_stand_ins_come_in_the_form_that_networks_take(pool: Path, tmp_path: Path) -> None:
    tracks = read_pool(Place("folder", str(pool)), tmp_path)
    library = Library(tmp_path, {}, tracks)
    sets = ("dsd100", "jamendo")
    form = Form(10880, 1)
    stems = library.songs(sets, "dsd100", "train", form)
    assert {song.sample_rate for song in stems} == {10880}
    assert all(set(song.stems) == {"vocals", "drums", "bass", "other"} for song in stems)
    labelled = library.songs(sets, "jamendo", "train", form)
    for song in labelled:
        assert not song.stems
        assert song.labels is not None
        assert song.labels.sources == ("vocals",)
        assert np.abs(song.read_mixture(0, 5000)).max() > 0
        with pytest.raises(DataError, match="only has labels"):
            song.read_stem("vocals", 0, 10)
    test = library.tests(sets, "dsd100", form)[0]
    info = soundfile.info(str(test.track.mixture[0].path))
    assert (info.samplerate, info.channels) == (10880, 1)
    parts = [soundfile.read(str(part.path))[0] for [part] in test.track.stems.values()]
    mixed = soundfile.read(str(test.track.mixture[0].path))[0]
    np.testing.assert_allclose(np.sum(parts, axis=0), mixed, atol=2e-4)


def test_equalised_songs_have_stems_of_equal_level(pool: Path, tmp_path: Path) -> None:
    tracks = read_pool(Place("folder", str(pool)), tmp_path)
    library = Library(tmp_path, {}, tracks)
    form = Form(channels=1, instruments=True, equalised=True)
    for test in library.tests(("medleydb", "mixing_secrets"), "medleydb", form):
        levels = [test.track.active_level(name) for name in test.track.stems]
        known = [level for level in levels if level is not None]
        assert len(known) == len(levels)
        assert max(known) < 1.1 * min(known)


def test_the_one_guitar_is_electric_and_acoustic_by_turns(pool: Path, tmp_path: Path) -> None:
    tracks = read_pool(Place("folder", str(pool)), tmp_path)[:3]
    rng = np.random.default_rng(0)
    made = []
    for number, track in enumerate(tracks):
        folder = tmp_path / str(number)
        (folder / "parts").mkdir(parents=True)
        for name, [part] in track.stems.items():
            (folder / f"{name}.wav").symlink_to(part.path)
        for name, level in (("guitar", 0.1), ("piano", 0.0), ("other", 0.1)):
            noise = level * rng.standard_normal((track.samples, 2))
            soundfile.write(folder / "parts" / f"{name}.wav", noise, track.sample_rate)
        made += read_pool(Place("folder", str(tmp_path)), tmp_path)[-1:]
    found = [
        set(track.stems) - {"vocals", "drums", "bass", "other"} for track in by_instrument(made)
    ]
    assert found == [{"electric guitar"}, {"acoustic guitar"}, {"electric guitar"}]


def test_songs_without_stems_cannot_stand_in(
    write_songs: Callable[..., Path], tmp_path: Path
) -> None:
    write_songs(tmp_path / "songs", 1, ("vocals", "other"))
    with pytest.raises(DataError, match=r"needs songs with the stems .* have other, vocals"):
        read_pool(Place("folder", str(tmp_path / "songs")), tmp_path)


def test_a_missing_data_set_is_named_with_its_layout(tmp_path: Path) -> None:
    library = Library(tmp_path, {}, None)
    with pytest.raises(DataError, match=r"needs dsd100 \(DSD100: Mixtures/.*--data dsd100=FOLDER"):
        library.check(("dsd100", "jamendo"))


def test_names_of_songs_become_names_of_files() -> None:
    assert safe_name("Artist - Title") == "Artist - Title"
    assert safe_name("train/Künstler") != safe_name("train_Künstler")
    assert "/" not in safe_name("train/Künstler")
