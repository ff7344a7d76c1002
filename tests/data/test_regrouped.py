"""Songs seen with other stems: reads, labels, levels, and those that stay as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from array_songs import RATE, SOURCES, ArraySong, StoredArraySong, as_songs, labelled, noise
from stemwise.data.excerpts import PcmSong, stored_dtype
from stemwise.data.folder import read_folder
from stemwise.data.prepare import prepare
from stemwise.data.presence import active_frames
from stemwise.data.regrouped import Regrouped, regroup

GROUPS = {"accompaniment": ["drums", "bass", "other"]}


def four(kind: type[ArraySong] = ArraySong) -> ArraySong:
    spans = {"vocals": [(0.0, 0.5)], "drums": [(0.0, 0.2)], "bass": [(0.5, 1.0)], "other": []}
    return kind("four", noise(0, 1.0), labelled(spans, 1.0), split="train")


def test_groups_take_the_place_of_their_stems() -> None:
    song = four()
    seen = regroup(song, GROUPS)
    as_songs([song])  # and a view keeps to the same contract
    assert set(seen.stems) == {"accompaniment", "vocals"}
    expected = sum(song.read_stem(name, 100, 500) for name in GROUPS["accompaniment"])
    np.testing.assert_array_equal(seen.read_stem("accompaniment", 100, 500), expected)
    np.testing.assert_array_equal(
        seen.read_stem("vocals", 0, 9), song.audio["vocals"][:, :9], strict=True
    )
    np.testing.assert_array_equal(seen.read_mixture(3, 50), song.read_mixture(3, 50))
    assert (seen.name, seen.split, seen.samples, seen.sample_rate) == ("four", "train", RATE, RATE)


def test_a_group_plays_when_any_of_its_stems_does() -> None:
    labels = regroup(four(), GROUPS).labels
    assert labels is not None
    active = labels["accompaniment"] > 0.5
    assert [active[k] for k in (10, 30, 70)] == [True, False, True]
    assert labels["vocals"][10] == 1
    assert set(labels.sources) == {*SOURCES, "accompaniment"}


def test_labels_of_some_stems_say_nothing_of_their_sum() -> None:
    song = ArraySong("one", noise(0, 1.0), labelled({"drums": [(0, 1)]}, 1.0))
    labels = regroup(song, GROUPS).labels
    assert labels is not None
    assert labels.sources == ("drums",)
    assert regroup(ArraySong("two", noise(0, 1.0)), GROUPS).labels is None


def test_what_a_song_lacks_is_not_made_up() -> None:
    """Without its bass there is no accompaniment; one that is there already is kept."""
    lacking = ArraySong("lacking", noise(0, 1.0, ("vocals", "drums")))
    assert regroup(lacking, GROUPS) is lacking
    given = ArraySong("given", noise(0, 1.0, ("vocals", "accompaniment")))
    assert regroup(given, GROUPS) is given
    whole = four()
    assert regroup(whole, {"vocals": ["vocals"]}) is whole


@pytest.mark.parametrize("kind", [ArraySong, StoredArraySong])
def test_levels_are_those_of_the_sum(kind: type[ArraySong]) -> None:
    song = four(kind)
    song.audio["drums"][:] = -song.audio["bass"]  # they cancel each other
    song.audio["other"][:, : RATE // 2] = 0
    seen = regroup(song, GROUPS)
    assert isinstance(seen, Regrouped)
    powers = seen.levels("accompaniment")
    assert powers.shape == (10,)
    assert not powers[:5].any()
    level = seen.active_level("accompaniment")
    half = song.audio["other"][:, RATE // 2 :]
    assert level == pytest.approx(float(np.sqrt(np.square(half).mean())), rel=1e-4)
    assert seen.active_level("vocals") == song.active_level("vocals")
    active, rate = active_frames(seen, "vocals")
    assert rate == 100
    assert active[:50].all()


def test_silence_has_no_level() -> None:
    song = four()
    for name in GROUPS["accompaniment"]:
        song.audio[name][:] = 0
    assert regroup(song, GROUPS).active_level("accompaniment") is None


def test_other_names_alone_leave_stored_numbers_as_they_are() -> None:
    song = four(StoredArraySong)
    assert isinstance(song, StoredArraySong)
    renamed = regroup(song, {"rest": ["other"]})
    assert isinstance(renamed, PcmSong)
    assert stored_dtype([renamed]) == np.int16
    np.testing.assert_array_equal(renamed.read_pcm("rest", 5, 50), song.read_pcm("other", 5, 50))
    assert renamed.scale("rest") == song.scale("other")
    assert stored_dtype([regroup(song, GROUPS)]) is None, "a sum is not stored"


def test_tracks_and_stores_are_regrouped_alike(tmp_path: Path) -> None:
    """As `Track.regrouped` has it; levels of single stems are those that the store keeps."""
    rng = np.random.default_rng(0)
    for source in SOURCES:
        (tmp_path / "songs" / "a").mkdir(parents=True, exist_ok=True)
        white = 0.1 * rng.standard_normal((2 * RATE, 2))
        soundfile.write(tmp_path / "songs" / "a" / f"{source}.wav", white, RATE, subtype="PCM_16")
    [track] = read_folder(tmp_path / "songs")
    [stored] = prepare([track], tmp_path / "store").tracks
    wanted = track.regrouped({"vocals": ["vocals"], **GROUPS})
    for seen in (regroup(track, GROUPS), regroup(stored, GROUPS)):
        assert set(seen.stems) == set(wanted.stems)
        for source in wanted.stems:
            np.testing.assert_allclose(
                seen.read_stem(source, 70, 900), wanted.read_stem(source, 70, 900), atol=1e-7
            )
        np.testing.assert_array_equal(seen.read_mixture(9, 99), wanted.read_mixture(9, 99))
        level = wanted.active_level("accompaniment")
        assert seen.active_level("accompaniment") == pytest.approx(level, rel=1e-4)
    renamed = regroup(stored, {"rest": ["other"]})
    assert isinstance(renamed, PcmSong)
    assert isinstance(renamed, Regrouped)
    np.testing.assert_array_equal(renamed.levels("rest"), stored.levels("other"))
