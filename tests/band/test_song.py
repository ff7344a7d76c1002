"""The composer: every style makes a consistent song, and a seed always makes the same one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from stemwise.band.patterns import _steps
from stemwise.band.song import BandError, compose, parse_numeral
from stemwise.band.styles import STYLES


@pytest.mark.parametrize("style", STYLES)
def test_each_style_composes_contiguous_sections_and_chords(style: str) -> None:
    for seed in range(6):
        song = compose(seed, style=style)
        assert song.style == style
        assert 60 <= song.duration <= 120
        for spans in (song.sections, song.chords):
            assert spans[0].start == 0
            assert spans[-1].end == pytest.approx(song.duration)
            for before, after in pairwise(spans):
                assert before.end == pytest.approx(after.start)
        assert all(chord.notes[0] == chord.root for chord in song.chords)
        assert all(0 <= note < 12 for chord in song.chords for note in chord.notes)


def test_a_seed_always_composes_the_same_song() -> None:
    assert compose(7) == compose(7)
    assert compose(7) != compose(8)


def test_instrumental_and_a_cappella_songs_are_drawn_at_their_rates() -> None:
    songs = [compose(seed, duration=60) for seed in range(400)]
    assert 0.13 < np.mean([song.instrumental for song in songs]) < 0.27
    assert 0.005 < np.mean([song.a_cappella for song in songs]) < 0.08
    for song in songs:
        sung = any("vocals" in section.active for section in song.sections)
        assert not (song.instrumental and sung)
    assert {song.style for song in songs} == set(STYLES)


def test_stems_pause_in_some_sections() -> None:
    songs = [compose(seed, instrumental=False, a_cappella=False) for seed in range(60)]
    for stem in ("vocals", "drums", "bass", "other"):
        shares = [np.mean([stem in s.active for s in song.sections]) for song in songs]
        assert 0.4 < np.mean(shares) < 0.95


def test_roman_numerals() -> None:
    major = (0, 2, 4, 5, 7, 9, 11)
    assert parse_numeral("V7", 0, major) == (7, (7, 11, 2, 5))
    assert parse_numeral("vi", 3, major) == (0, (0, 3, 7))
    assert parse_numeral("bVII", 2, major) == (0, (0, 4, 7))


def test_swing_delays_the_off_beat_only() -> None:
    song = next(s for s in (compose(seed, style="jazz-pop") for seed in range(40)) if s.swing)
    assert song.swung(3.0) == pytest.approx(3 * song.beat)
    assert 3.5 * song.beat < song.swung(3.5) <= (3 + 2 / 3) * song.beat + 1e-9


def test_unknown_style_and_too_short_songs_are_refused() -> None:
    with pytest.raises(BandError, match="unknown style 'polka'"):
        compose(0, style="polka")
    with pytest.raises(BandError, match="at least 1 second"):
        compose(0, duration=0.5)


def test_a_section_without_any_mark_of_a_pattern_is_silent() -> None:
    song = compose(1416525103)  # its ostinato has no mark within one of its sections
    for section in song.sections:
        assert _steps(song, section, "." * 16) == []
