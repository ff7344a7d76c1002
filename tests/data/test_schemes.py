"""How songs and starts are chosen: each scheme does what its paper or its name says."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from array_songs import HOP, RATE, SAMPLES, SOURCES, ArraySong, labelled, noise, ramps
from stemwise.data import augment
from stemwise.data.draws import Augmentation
from stemwise.data.excerpts import Plan, read_plans
from stemwise.data.presence import Windows, active_frames, energies, plays
from stemwise.data.sampling import SCHEMES, Mixed, Sampler, check_scheme, mix_sets
from stemwise.data.schemes import NonVocalReplacement, equaliser
from stemwise.errors import DataError, RecipeError
from stemwise.training.recipe import parse_recipe


def sampler(
    songs: list[ArraySong],
    scheme: str = "random",
    sources: tuple[str, ...] = SOURCES,
    strengths: Augmentation | None = None,
    **options: object,
) -> Sampler:
    return Sampler(songs, sources, sources, SAMPLES, HOP, 1, strengths, scheme, **options)


def places(plan: Plan) -> list[tuple[str, str | None, int]]:
    return [(c.song.name, c.source, c.start) for clips in plan.stems for c in clips]


# names


def test_an_unknown_scheme_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(RecipeError, match="'sequental'; the nearest is 'sequential'"):
        check_scheme("sequental")
    with pytest.raises(RecipeError, match="the nearest is 'pool-mix'"):
        sampler([ArraySong("a", ramps(0, 2.0))], "pool-mx")


BASE = {"name": "x", "separator": {"name": "band-unet"}, "steps": 1, "batch": 1}


@pytest.mark.parametrize(
    ("sampling", "sentence"),
    [
        ({"name": "sequentiel"}, "no scheme 'sequentiel'; the nearest is 'sequential'"),
        ({"name": "random", "source": "bass"}, "'source' does not belong to 'random', which has"),
        (
            {"name": "chunks", "most": 3},
            "'most' .* whose options are held_out, shares, ",
        ),
        ({"name": "pool-mix", "fewest": 4, "most": 3}, "'fewest' must not be more than 'most'"),
        ({"name": "independent", "shares": [0.9, 0.2]}, "'shares' must be"),
        ({"nam": "random"}, "unknown key 'data.sampling.nam'; the nearest valid key is 'name'"),
    ],
)
def test_a_recipe_with_wrong_sampling_is_refused(sampling: object, sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        parse_recipe({**BASE, "data": {"sampling": sampling}})


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_recipe_takes_every_scheme(scheme: str) -> None:
    recipe = parse_recipe({**BASE, "data": {"sampling": {"name": scheme}}})
    assert recipe.data.sampling.options == {}


# sequential


def test_sequential_reads_every_sample_of_every_song() -> None:
    songs = [ArraySong("a", ramps(0, 1.2)), ArraySong("b", ramps(1, 0.5))]
    draw = sampler(songs, "sequential")
    assert draw.total == 4
    found = [places(draw.plan(i))[0] for i in range(4)]
    last = songs[0].samples - SAMPLES
    assert [(name, start) for name, _, start in found] == [
        ("a", 0),
        ("a", SAMPLES),
        ("a", last),
        ("b", 0),
    ]
    stems = [draw.excerpt(i).stems[0] for i in range(3)]
    whole = torch.cat([stems[0], stems[1], stems[2][..., -(songs[0].samples - 2 * SAMPLES) :]], -1)
    assert np.array_equal(whole[1], songs[0].audio["drums"])


# non-silent source


@pytest.mark.parametrize("has_labels", [True, False])
def test_the_chosen_source_plays_in_every_excerpt(has_labels: bool) -> None:
    songs = []
    for k in range(3):
        audio, spans = noise(k, 6.0), {"vocals": [(2.0, 2.8)] if k < 2 else []}
        time = np.arange(6 * RATE) / RATE
        audio["vocals"] *= ((time >= 2) & (time < 2.8)) if k < 2 else 0
        songs.append(ArraySong(f"s{k}", audio, labelled(spans, 6.0) if has_labels else None))
    draw = sampler(songs, "non-silent-source", source="vocals")
    excerpts = [draw.excerpt(i) for i in range(60)]
    assert all(excerpt.stems[0, 0].any() for excerpt in excerpts)
    assert {name.split("@")[0] for e in excerpts for name in e.origins[0]} == {"s0", "s1"}
    starts = [float(e.origins[0][0].split("@")[1][:-1]) for e in excerpts]
    assert min(starts) < 1.75
    assert max(starts) > 2.4
    full = sampler(songs, "non-silent-source", source="vocals", share=0.9)
    for i in range(20):
        share = (full.excerpt(i).stems[0, 0, 0] != 0).float().mean()
        assert share > (0.85 if has_labels else 0.7)


def test_a_source_that_never_plays_is_named() -> None:
    silent = {**noise(0, 2.0), "vocals": np.zeros((2, 2 * RATE), np.float32)}
    with pytest.raises(DataError, match="'vocals' plays in no song"):
        sampler([ArraySong("a", silent)], "non-silent-source", source="vocals")


def test_windows_are_all_the_excerpts_and_no_others() -> None:
    spans = {"vocals": [(1.0, 2.0), (5.0, 5.5)]}
    song = ArraySong("a", noise(0, 8.0), labelled(spans, 8.0))
    for wanted in (True, False):
        windows = Windows([song], "vocals", SAMPLES, plays=wanted)
        starts = [windows.start(song, position) for position in np.arange(0, 1, 0.001)]
        assert all(plays(song, "vocals", s, SAMPLES) == wanted for s in starts)
        assert starts == sorted(starts)
        seconds = np.array(starts) / RATE
        reach = (0.5, 5.5) if wanted else (0.0, 7.5)
        assert abs(seconds.min() - reach[0]) < 0.03
        assert abs(seconds.max() - reach[1]) < 0.03
    active, rate = active_frames(song, "vocals")
    assert rate == 100
    assert active.sum() == 150


def test_a_song_that_does_not_tell_is_named() -> None:
    song = ArraySong("a", {}, None, np.zeros((2, 3 * RATE), np.float32))
    with pytest.raises(DataError, match="'a' has neither labels nor a stem of 'vocals'"):
        active_frames(song, "vocals")


# non-vocal replacement

PAIR = ("vocals", "accompaniment")


def pair_songs(quiet: bool = True) -> list[ArraySong]:
    """Two songs of stems, one without vocals, and three with labels only."""
    songs = []
    for k in range(2):
        audio = noise(k, 4.0, PAIR)
        if k == 1 and quiet:
            audio["vocals"] *= 0
        songs.append(ArraySong(f"stems{k}", audio))
    for k in range(3):
        mixture = noise(k + 9, 4.0, ("mixture",))["mixture"]
        songs.append(ArraySong(f"labels{k}", {}, labelled({"vocals": [(0, 2.0)]}, 4.0), mixture))
    return songs


@pytest.mark.parametrize(("printed", "probability"), [(False, 3 / 5), (True, 2 / 5)])
def test_silent_vocals_are_replaced_with_the_probability_of_the_paper(
    printed: bool, probability: float
) -> None:
    draw = sampler(pair_songs(), "non-vocal-replacement", PAIR, printed=printed)
    assert isinstance(draw.scheme, NonVocalReplacement)
    assert draw.scheme.probability == pytest.approx(probability)
    names = Counter(draw.plan(i).origins[0].split("@")[0] for i in range(600))
    assert 0.44 < names["stems0"] / 600 < 0.56, "vocals play: never replaced"
    replaced = sum(names[f"labels{k}"] for k in range(3))
    assert abs(replaced / (replaced + names["stems1"]) - probability) < 0.09


def test_a_replacement_teaches_silence_and_the_whole_mixture() -> None:
    songs = pair_songs()
    draw = sampler(songs, "non-vocal-replacement", PAIR, Augmentation(gain_db=3.0))
    for i in range(80):
        plan = draw.plan(i)
        if not plan.origins[0].startswith("labels"):
            continue
        batch = augment.apply(read_plans([plan], draw.layout))
        clip = plan.stems[1][0]
        assert clip.start >= 2.0 * RATE, "a section without vocals"
        assert batch.supervised.all()
        assert not batch.stems[0, 0].any()
        expected = clip.song.read_mixture(clip.start, SAMPLES)
        assert np.array_equal(batch.mixture[0], expected)
        assert np.array_equal(batch.stems[0, 1], expected)
        assert batch.activity_known[0, 0]
        assert not batch.activity[0, 0].any()
        assert not batch.activity_known[0, 1], "nobody said when the accompaniment plays"
        break
    else:
        pytest.fail("nothing was replaced")


def test_a_replacement_supervises_only_the_vocals_of_four_stems() -> None:
    songs = [ArraySong("stems", {**noise(0, 3.0), "vocals": np.zeros((2, 3 * RATE), np.float32)})]
    mixture = noise(5, 3.0, ("mixture",))["mixture"]
    songs.append(ArraySong("labels", {}, labelled({"vocals": []}, 3.0), mixture))
    draw = sampler(songs, "non-vocal-replacement")
    batches = [draw.excerpt(i) for i in range(20)]
    replaced = [batch for batch in batches if batch.origins[0][0].startswith("labels")]
    assert 4 <= len(replaced) <= 16
    for batch in replaced:
        assert batch.supervised.tolist() == [[True, False, False, False]]
        assert batch.rest is not None
        assert np.array_equal(batch.mixture[0], batch.rest[0])


def test_replacement_needs_both_kinds_of_songs() -> None:
    with pytest.raises(DataError, match="labels of 'vocals' only"):
        sampler(pair_songs()[:2], "non-vocal-replacement", PAIR)
    with pytest.raises(DataError, match="stems of 'vocals'"):
        sampler(pair_songs()[2:], "non-vocal-replacement", PAIR)


# pool mixing


def test_a_pool_mix_is_a_target_and_some_other_stems_at_equal_level() -> None:
    songs = [ArraySong(f"a{k}", noise(k, 3.0, ("piano", "drums", "bass"))) for k in range(3)]
    songs.append(ArraySong("b", noise(9, 3.0, ("guitar", "bass"))))
    strengths = Augmentation(equalise=True, gain_range=(0.25, 1.25))
    draw = sampler(songs, "pool-mix", ("piano",), strengths)
    counts, gains = Counter[int](), []
    for i in range(300):
        plan = draw.plan(i)
        assert plan.rest is not None
        counts[len(plan.rest)] += 1
        assert all(clip.source != "piano" for clip in plan.rest)
        target = plan.stems[0][0]
        assert target.source == "piano"
        assert target.song.name.startswith("a")
        for clip, gain in [(target, plan.draws.gains[0]), *((c, c.gain) for c in plan.rest)]:
            gains.append(gain / equaliser(clip.song, clip.source or "", 4.0))
    assert set(counts) == {1, 2, 3, 4, 5}
    assert max(counts.values()) < 90
    assert 0.25 <= min(gains) < 0.27
    assert 1.23 < max(gains) <= 1.25
    batch = augment.apply(draw.excerpt(3))
    plan = draw.plan(3)
    expected = sum(
        np.float32(c.gain) * c.song.read_stem(c.source or "", c.start, SAMPLES)
        for c in plan.rest or ()
    )
    assert batch.rest is not None
    np.testing.assert_allclose(batch.rest[0], expected, atol=1e-6)
    level = float(augment.apply(draw.excerpt(3)).stems.square().mean().sqrt())
    assert level == pytest.approx(0.1 * gains_of(plan), rel=0.1)


def gains_of(plan: Plan) -> float:
    """The target's gain besides its equaliser."""
    clip = plan.stems[0][0]
    return float(plan.draws.gains[0]) / equaliser(clip.song, clip.source or "", 4.0)


def test_a_pool_needs_a_target_and_others() -> None:
    with pytest.raises(DataError, match="no song has a stem of 'piano'"):
        sampler([ArraySong("a", noise(0, 2.0))], "pool-mix", ("piano",))
    with pytest.raises(DataError, match="of another instrument"):
        sampler([ArraySong("a", noise(0, 2.0, ("piano",)))], "pool-mix", ("piano",))


# several data sets


def test_data_sets_are_mixed_by_weight_without_a_gap() -> None:
    sets = {
        name: sampler([ArraySong(f"{name}{k}", ramps(k, 2.0)) for k in range(2)])
        for name in ("multi", "single")
    }
    mixed = mix_sets(sets, {"multi": 3.0}, seed=0)
    assert isinstance(mixed, Mixed)
    found = [mixed.place(i) for i in range(512)]
    assert Counter(stream for stream, _ in found) == {0: 384, 1: 128}
    for stream in (0, 1):
        assert [n for s, n in found if s == stream] == list(range(384 if stream == 0 else 128))
    assert mixed.plan(5).origins == sets[("multi", "single")[found[5][0]]].plan(found[5][1]).origins
    blocks = Mixed(list(sets.values()), [1, 1], seed=0, block=4)
    drawn = [blocks.place(i)[0] for i in range(400)]
    assert all(len(set(drawn[b : b + 4])) == 1 for b in range(0, 400, 4))
    assert mix_sets({"multi": sets["multi"]}, {}, 0) is sets["multi"]


def test_a_mixed_batch_says_what_each_excerpt_supervises() -> None:
    labels = labelled({"vocals": [(0, 1)]}, 2.0)
    sets = [
        sampler([ArraySong("all", ramps(0, 2.0), labels)]),
        sampler([ArraySong("labels", {}, labels, ramps(1, 2.0)["bass"])]),
        sampler([ArraySong("bass", {"bass": ramps(2, 2.0)["bass"]}, None, ramps(3, 2.0)["other"])]),
    ]
    mixed = Mixed(sets, [1, 1, 1], seed=0)
    batch = read_plans([mixed.plan(i) for i in range(12)], mixed.layout)
    expected = {
        "all": ([True] * 4, [True, False, False, False]),
        "labels": ([False] * 4, [True, False, False, False]),
        "bass": ([False, False, True, False], [False] * 4),
    }
    assert {o[0].split("@")[0] for o in batch.origins} == set(expected)
    for k, (origin,) in enumerate(batch.origins):
        supervised, known = expected[origin.split("@")[0]]
        assert batch.supervised[k].tolist() == supervised
        assert batch.activity_known[k].tolist() == known
        start = round(float(origin.split("@")[1][:-1]) * RATE)
        mixture = ramps(1, 2.0)["bass"] if "labels" in origin else ramps(3, 2.0)["other"]
        if "all" not in origin:
            heard = mixture[:, start : start + SAMPLES]
            np.testing.assert_allclose(batch.mixture[k], heard, atol=1e-4)


def test_a_mix_refuses_what_cannot_be_mixed() -> None:
    songs = [ArraySong("a", ramps(0, 2.0))]
    with pytest.raises(RecipeError, match="'mutli', no data set; the nearest is 'multi'"):
        mix_sets({"multi": sampler(songs)}, {"mutli": 1.0}, 0)
    with pytest.raises(RecipeError, match="a weight above 0"):
        Mixed([sampler(songs)], [0.0], 0)
    with pytest.raises(RecipeError, match="endless"):
        Mixed([sampler(songs), sampler(songs, "sequential")], [1, 1], 0)
    other = Sampler(songs, SOURCES, (), SAMPLES, HOP, 0)
    with pytest.raises(RecipeError, match="differ"):
        Mixed([sampler(songs), other], [1, 1], 0)


# epochs


def quiet_songs() -> list[ArraySong]:
    """Two songs of four chunks each; one source is silent in chunk 1 of the first."""
    songs = [ArraySong(f"s{k}", noise(k, 2.2)) for k in range(2)]
    songs[0].audio["bass"][:, SAMPLES : 2 * SAMPLES] = 1e-4
    return songs


def test_energies_are_those_of_mono_chunks() -> None:
    song = quiet_songs()[0]
    found = energies(song, "drums", SAMPLES)
    mono = song.audio["drums"].astype(np.float64).mean(axis=0)[: 4 * SAMPLES].reshape(4, SAMPLES)
    np.testing.assert_allclose(found, np.square(mono).sum(axis=1), rtol=1e-6)
    assert energies(song, "bass", SAMPLES)[1] < 0.5


@pytest.mark.parametrize("drop", [True, False])
def test_every_epoch_has_every_chunk_once_but_silent_ones(drop: bool) -> None:
    draw = sampler(quiet_songs(), "chunks", held_out=0.0, drop_silent=drop)
    size = 8 - drop
    epochs = [[places(draw.plan(e * size + i))[0] for i in range(size)] for e in range(3)]
    expected = {(f"s{k}", "vocals", n * SAMPLES) for k in range(2) for n in range(4)}
    expected -= {("s0", "vocals", SAMPLES)} if drop else set()
    assert all(set(epoch) == expected for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_chunks_held_out_for_validation_are_no_training_chunks() -> None:
    songs = quiet_songs()
    kept = sampler(songs, "chunks", part="validation", held_out=0.25)
    assert kept.total == 2
    held_out = {places(kept.plan(i))[0] for i in range(2)}
    train = sampler(songs, "chunks", held_out=0.25, drop_silent=False)
    trained = {places(train.plan(i))[0] for i in range(6)}
    assert (len(trained), len(held_out)) == (6, 2)
    assert not trained & held_out
    with pytest.raises(DataError, match="2 excerpts"):
        kept.plan(2)


def test_chunks_by_shares_of_songs_keep_songs_apart() -> None:
    songs = [ArraySong(f"s{k}", noise(k, 1.1)) for k in range(10)]
    draws = {
        part: sampler(songs, "chunks", part=part, shares=(0.6, 0.3), drop_silent=False)
        for part in ("train", "validation")
    }
    found = {part: {places(draw.plan(i))[0][0] for i in range(6)} for part, draw in draws.items()}
    assert draws["validation"].total == 6
    assert len({places(draws["train"].plan(i))[0] for i in range(12)}) == 12
    assert len(found["validation"]) == 3
    assert not found["train"] & found["validation"]


def database_songs() -> list[ArraySong]:
    """Twenty songs, of which the drums have only twelve."""
    return [
        ArraySong(f"s{k:02}", ramps(k % 4, 1.0, SOURCES if k < 12 else ("vocals", "bass", "other")))
        for k in range(20)
    ]


def test_independent_databases_take_turns_and_supervise_their_source_alone() -> None:
    draw = sampler(database_songs(), "independent", batch=3)
    length = len(draw.scheme)  # type: ignore[arg-type]
    assert length == 4 * 18, "9 of 12 songs of two excerpts are the smallest database"
    orders = []
    for turn in range(6):
        sources = []
        for block in range(4):
            plans = [draw.plan(turn * 12 + block * 3 + i) for i in range(3)]
            known = {tuple(plan.supervised) for plan in plans}
            assert len(known) == 1
            sources.append(SOURCES[known.pop().index(True)])
        assert sorted(sources) == sorted(SOURCES), "every source once in a round"
        orders.append(tuple(sources))
    assert len(set(orders)) > 2, "in another order each time"


def test_independent_databases_are_cut_to_the_smallest_and_redrawn() -> None:
    draw = sampler(database_songs(), "independent", batch=3)
    epochs: list[dict[str, list[tuple[str, str | None, int]]]] = []
    for epoch in range(2):
        found: dict[str, list[tuple[str, str | None, int]]] = {source: [] for source in SOURCES}
        for i in range(72):
            (place,) = places(draw.plan(epoch * 72 + i))
            found[str(place[1])].append(place)
        assert all(len(of) == len(set(of)) == 18 for of in found.values())
        epochs.append(found)
    first, second = ({s: set(of) for s, of in epoch.items()} for epoch in epochs)
    assert first["drums"] == second["drums"], "the smallest is used whole"
    assert first["vocals"] != second["vocals"], "another subset of a larger one"
    songs = {s: {name for name, _, _ in first[s] | second[s]} for s in ("vocals", "bass")}
    assert songs["vocals"] != songs["bass"], "another split for every source"
    kept = sampler(database_songs(), "independent", batch=1, part="validation")
    assert kept.total is not None
    plans = [places(kept.plan(i))[0] for i in range(kept.total)]
    for name, source, _ in plans:
        assert name not in {n for n, _, _ in first[str(source)] | second[str(source)]}


def test_an_independent_excerpt_is_a_stem_and_the_rest_of_its_mixture() -> None:
    strengths = Augmentation(gain_db=6.0, polarity=0.5)
    draw = sampler(database_songs(), "independent", strengths=strengths, batch=2)
    raw = draw.excerpt(0)
    ((name, source, start),) = places(draw.plan(0))
    song = next(song for song in database_songs() if song.name == name)
    mixture = song.read_mixture(start, SAMPLES)
    np.testing.assert_allclose(raw.mixture[0], mixture, atol=1e-6)
    row = SOURCES.index(str(source))
    done = augment.apply(raw)
    stem = song.read_stem(str(source), start, SAMPLES)
    gain = float(raw.gains[0, row])
    assert abs(gain) != 1
    np.testing.assert_allclose(done.stems[0, row], gain * stem, atol=1e-6)
    np.testing.assert_allclose(done.mixture[0], mixture - stem + gain * stem, atol=1e-5)


def test_databases_without_songs_or_batches_are_named() -> None:
    with pytest.raises(DataError, match="no train song is left for 'drums': 0 songs"):
        sampler([ArraySong("a", ramps(0, 2.0, ("vocals",)))], "independent", ("drums",))
    with pytest.raises(DataError, match="18 excerpts, less than a batch of 40"):
        sampler(database_songs(), "independent", batch=40)


def test_switching_one_change_on_leaves_the_other_draws() -> None:
    songs = [ArraySong("a", ramps(0, 2.0)), ArraySong("b", ramps(1, 2.0))]
    base = Augmentation(remix=0.5, gain_db=2.0)
    for change in ({"pan": 0.5}, {"shelf_db": 3.0}, {"pitch": 1.0}, {"swap_stems": 0.5}):
        more = replace(base, **change)  # type: ignore[arg-type]
        for i in range(5):
            a, b = sampler(songs, strengths=base).plan(i), sampler(songs, strengths=more).plan(i)
            assert a.origins == b.origins
            assert np.array_equal(a.draws.gains, b.draws.gains)
