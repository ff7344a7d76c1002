"""The vocal stem: length, determinism, silence, pitch, voices and clear errors."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from stemwise.band import voice_corpus, voice_sources
from stemwise.band.singer import Note, Singer, draw_singer, perform
from stemwise.band.singer_melody import draw_manner, harmony, plan_phrase, write_notes
from stemwise.band.song import Chord, Section, Song
from stemwise.band.vocals import sing
from stemwise.band.voice_bank import loudness
from stemwise.band.voice_choice import sampled_voices
from stemwise.band.voice_engine import Roughness, hop_length, synthesise
from stemwise.band.voice_formants import formant_voice
from stemwise.band.voice_sources import VOICES, VoiceError
from stemwise.band.voice_words import VOCALISES, draw_words
from stemwise.errors import StemwiseError

RATE = 22050


def make_song(duration: float = 12.0) -> Song:
    """Two bars of singing, two of rest, then singing with backing; C major throughout."""
    chords = tuple(
        Chord(2.0 * i, 2.0 * i + 2.0, root, notes, root)
        for i, (root, notes) in enumerate([(0, (0, 4, 7)), (5, (5, 9, 0)), (7, (7, 11, 2))] * 2)
    )
    everyone = frozenset({"vocals", "drums", "bass", "other"})
    sections = (
        Section("verse", 0.0, 4.0, everyone),
        Section("break", 4.0, 8.0, everyone - {"vocals"}),
        Section("chorus", 8.0, 12.0, everyone | {"backing"}),
    )
    return Song(
        1, "pop", 120.0, 4, 0.0, 0, "major", (0, 2, 4, 5, 7, 9, 11), chords, sections, duration
    )


def pitch_of(sound: np.ndarray, low: float, high: float) -> float:
    """Fundamental in hertz from the normalised autocorrelation, with parabolic interpolation."""
    size = 2 * len(sound)
    power = np.abs(np.fft.rfft(sound - sound.mean(), size)) ** 2
    correlation = np.fft.irfft(power)[: len(sound)] / (len(sound) - np.arange(len(sound)))
    first, last = int(RATE / high), int(RATE / low)
    best = first + int(np.argmax(correlation[first:last]))
    a, b, c = correlation[best - 1 : best + 2]
    return RATE / (best + 0.5 * (a - c) / (a - 2 * b + c))


def test_exact_length_shape_and_range() -> None:
    stem = sing(make_song(), np.random.default_rng(3), RATE)
    assert stem.shape == (2, 12 * RATE)
    assert stem.dtype == np.float32
    assert np.isfinite(stem).all()
    assert 0.1 < np.abs(stem).max() <= 0.95
    assert np.abs(stem.mean(axis=1)).max() < 1e-4


def test_same_seed_same_stem_and_other_seed_another() -> None:
    song = make_song()
    first = sing(song, np.random.default_rng(5), RATE)
    assert np.array_equal(first, sing(song, np.random.default_rng(5), RATE))
    assert not np.array_equal(first, sing(song, np.random.default_rng(6), RATE))


@pytest.mark.parametrize("seed", range(4))
def test_silent_outside_vocal_sections(seed: int) -> None:
    stem = sing(make_song(), np.random.default_rng(seed), RATE)
    assert np.abs(stem[:, int(4.62 * RATE) : int(7.73 * RATE)]).max() == 0.0
    sung = np.sqrt(np.mean(stem[:, 8 * RATE :] ** 2))
    assert sung > 0.02


def test_song_without_vocals_is_silent() -> None:
    song = make_song()
    silent = Song(
        song.seed,
        song.style,
        song.tempo,
        4,
        0.0,
        0,
        "major",
        song.scale,
        song.chords,
        tuple(
            Section(s.name, s.start, s.end, s.active - {"vocals", "backing"}) for s in song.sections
        ),
        song.duration,
    )
    stem = sing(silent, np.random.default_rng(0), RATE)
    assert stem.shape == (2, 12 * RATE)
    assert not stem.any()


def test_stem_is_mostly_centred() -> None:
    for seed in range(3):
        stem = sing(make_song(), np.random.default_rng(seed), RATE)
        mid, side = stem[0] + stem[1], stem[0] - stem[1]
        assert 10 * np.log10(np.sum(side**2) / np.sum(mid**2)) < -8.0


@pytest.mark.parametrize("midi", [48, 57, 64, 72])
def test_long_note_is_in_tune(midi: int) -> None:
    rng = np.random.default_rng(midi)
    bank = formant_voice(rng, "train")
    singer = Singer(bank, 40, 80, scoop=0.0, vibrato_depth=0.0, drift=0.0, tuned=True)
    note = Note(0.5, 3.0, ((0.5, float(midi)),), bank.words[0].syllables[0])
    begin, sound = perform(singer, [note], RATE, rng)
    middle = sound[int((1.2 - begin) * RATE) : int((2.4 - begin) * RATE)].astype(float)
    target = 440.0 * 2 ** ((midi - 69) / 12)
    assert abs(1200 * np.log2(pitch_of(middle, target / 1.4, target * 1.4) / target)) < 30


def test_vowel_starts_on_the_note() -> None:
    rng = np.random.default_rng(0)
    bank = formant_voice(rng, "train")
    word = next(w for w in bank.words if w.text.startswith(("s", "f")) and w.text[1] not in "tlm")
    singer = Singer(bank, 40, 80, scoop=0.0)
    begin, sound = perform(singer, [Note(1.0, 2.0, ((1.0, 57.0),), word.syllables[0])], RATE, rng)
    level = np.sqrt(np.convolve(sound**2, np.ones(441) / 441, "same"))
    at = begin + np.argmax(level > 0.5 * level.max()) / RATE
    assert abs(at - 1.0) < 0.06


def test_synthesis_has_unit_power_for_flat_envelopes() -> None:
    frames = 3 * RATE // hop_length(RATE)
    rng = np.random.default_rng(0)
    for voiced, noise in ((1.0, 0.0), (0.0, 1.0), (1.0, 0.5)):
        sound = synthesise(
            np.zeros((frames, 72)),
            np.full((frames, 10), noise),
            np.full(frames, 200.0),
            np.full(frames, voiced),
            RATE,
            rng,
            Roughness(0, 0),
        )
        assert 0.85 < np.std(sound[2000:-4000]) < 1.15


def test_written_notes_follow_scale_range_and_section(rng: np.random.Generator) -> None:
    song = make_song()
    bank = formant_voice(rng, "train", words=30)
    for _ in range(20):
        phrase = plan_phrase(rng, bank, 8.0, draw_manner(rng, song, "chorus"))
        notes = write_notes(song, phrase, 0.0, song.sections[0], 50, 70, 0.0, rng)
        for before, after in pairwise(notes):
            assert before.end <= after.start
        for note in notes:
            assert note.end <= song.sections[0].end + 0.1
            for _, pitch in note.tones:
                assert 50 <= pitch <= 70
                assert int(pitch) % 12 in song.scale


def test_harmony_is_in_the_scale() -> None:
    song = make_song()
    for interval in (2, -2, 4):
        moved = [harmony(song, interval)(0.5, pitch) for pitch in (60, 62, 64, 65, 67)]
        assert all(int(pitch) % 12 in song.scale for pitch in moved)
        assert all(
            (pitch - base) * interval > 0
            for pitch, base in zip(moved, (60, 62, 64, 65, 67), strict=True)
        )


def test_formant_syllables_are_ordered_and_vowels_louder() -> None:
    bank = formant_voice(np.random.default_rng(1), "all")
    level = loudness(bank.envelope)
    for word in bank.words:
        for cut in word.syllables:
            assert cut.start < cut.core < cut.release < cut.end <= len(bank.pitch)
    cores = np.concatenate([np.arange(s.core, s.release) for w in bank.words for s in w.syllables])
    assert abs(level[cores].mean()) < 0.1
    assert level[cores].mean() > np.delete(level, cores).mean() + 1.0


def test_held_out_voices_share_no_speaker_with_train() -> None:
    train, held = sampled_voices("train"), sampled_voices("held-out")
    assert train
    assert held
    assert not {v.speaker for v in train} & {v.speaker for v in held}
    assert len(train) + len(held) == len(sampled_voices("all")) == len(VOICES)
    assert len({v.name for v in VOICES}) == len(VOICES)


def test_held_out_tracts_are_disjoint() -> None:
    def ratios(split: str) -> list[float]:
        banks = [formant_voice(np.random.default_rng(seed), split, words=2) for seed in range(60)]
        return [float(bank.name.split()[1]) / (1.165 if bank.female else 1.0) for bank in banks]

    held = ratios("held-out")
    assert all(0.93 < r < 0.97 or 1.03 < r < 1.07 for r in held)
    assert not any(0.935 <= r <= 0.965 or 1.035 <= r <= 1.065 for r in ratios("train"))


def test_draw_singer_varies() -> None:
    rng = np.random.default_rng(0)
    singers = [draw_singer(rng, formant_voice(rng, "train", words=2)) for _ in range(40)]
    assert np.ptp([s.warp for s in singers]) > 0.15
    assert np.ptp([s.centre for s in singers]) > 10
    assert all(0.8 <= s.warp <= 1.26 for s in singers)


def test_words_are_distinct_and_pronounceable() -> None:
    for language in {voice.language for voice in VOICES}:
        words = draw_words(np.random.default_rng(0), language, 90)
        assert len(set(words)) == len(words) == 90
        assert tuple(words[: len(VOCALISES)]) == VOCALISES
        assert all(word.isascii() and word.isalpha() for word in words)


@pytest.mark.parametrize(
    ("family", "voices"), [("choir", "all"), ("dsp", "half"), ("sampled", "half")]
)
def test_unknown_family_or_voices(family: str, voices: str) -> None:
    with pytest.raises(StemwiseError, match="choose one of"):
        sing(make_song(), np.random.default_rng(0), RATE, family, voices)


def test_missing_program_is_one_clear_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEMWISE_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    voice_corpus.load_voice.cache_clear()
    with pytest.raises(VoiceError, match="install the system package"):
        sing(make_song(), np.random.default_rng(0), RATE, "sampled")
    assert not list(tmp_path.rglob("*.npz"))


def test_a_program_that_hangs_is_one_clear_sentence() -> None:
    program = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(VoiceError, match=r"did not end within 0\.2 s: try again") as caught:
        voice_sources._run(program, 0.2)
    assert "\n" not in str(caught.value)


def test_corpus_round_trip_from_known_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words of the formant model, in place of a synthesiser, come back cut into syllables."""
    pytest.importorskip("pyworld", reason="the sampled family needs pyworld")
    rng = np.random.default_rng(2)
    bank = formant_voice(rng, "train")
    singer = Singer(bank, 40, 80, scoop=0.0, vibrato_depth=0.0)
    pitch = 54.0 if bank.female else 46.0

    def speak(voice: voice_sources.Voice, words: list[str]) -> list[np.ndarray]:
        spoken = []
        for index in range(len(words)):
            syllable = bank.words[index % 20].syllables[0]
            _, sound = perform(singer, [Note(0.4, 0.8, ((0.4, pitch),), syllable)], RATE, rng)
            spoken.append(0.1 * sound.astype(float))
        return spoken

    monkeypatch.setenv("STEMWISE_CACHE", str(tmp_path))
    monkeypatch.setattr(voice_corpus, "speak", speak)
    monkeypatch.setattr(voice_corpus, "_WORDS", {True: 40, False: 40})
    voice_corpus.load_voice.cache_clear()
    found = voice_corpus.load_voice("flite-slt" if bank.female else "flite-awb")
    voice_corpus.load_voice.cache_clear()
    assert len(found.words) >= 20
    assert found.envelope.shape == (len(found.pitch), 72)
    heard = np.median(found.pitch[found.pitch > 0])
    assert abs(1200 * np.log2(heard / (440 * 2 ** ((pitch - 69) / 12)))) < 60
    assert [p.suffix for p in tmp_path.rglob("*") if p.is_file()] == [".npz"]
    assert np.mean([len(word.syllables) for word in found.words]) < 1.5
