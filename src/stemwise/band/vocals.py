"""The vocal stem of a rendered song: lead, doubles, harmonies, backing, rap and ad-libs, mixed."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from stemwise.band.singer import Note, Singer, breathe, draw_singer, perform, vary
from stemwise.band.singer_melody import (
    Manner,
    Phrase,
    draw_manner,
    harmony,
    loosened,
    plan_phrase,
    shifted,
    write_notes,
)
from stemwise.band.song import Section, Song
from stemwise.band.vocal_mix import Chain, draw_chain, mix_layers
from stemwise.band.voice_bank import Syllable, VoiceBank
from stemwise.band.voice_choice import draw_bank


@dataclass
class Layer:
    """One track of the vocal mix: mono sound (sample), pan position, gain in dB and role."""

    sound: np.ndarray
    pan: float
    gain: float
    role: str


@dataclass
class Session:
    """What stays the same through a song: singers, manners and phrases of each kind of section."""

    song: Song
    sample_rate: int
    family: str
    voices: str
    rng: np.random.Generator
    leads: list[Singer]
    manners: dict[str, Manner] = field(default_factory=dict)
    hooks: dict[tuple[str, int], list[Phrase]] = field(default_factory=dict)
    layers: dict[str, Layer] = field(default_factory=dict)

    def track(self, name: str, pan: float, gain: float, role: str) -> Layer:
        """The layer called `name`, created silent when it is new."""
        if name not in self.layers:
            length = round(self.song.duration * self.sample_rate)
            self.layers[name] = Layer(np.zeros(length, dtype=np.float32), pan, gain, role)
        return self.layers[name]

    def record(self, layer: Layer, singer: Singer, notes: list[Note], gain: float = 0.0) -> None:
        """Perform a phrase and add it to a layer."""
        if not notes:
            return
        begin, sound = perform(singer, notes, self.sample_rate, self.rng)
        _add(layer.sound, sound * np.float32(10 ** (gain / 20)), round(begin * self.sample_rate))


def _add(track: np.ndarray, sound: np.ndarray, at: int) -> None:
    first, last = max(at, 0), min(at + len(sound), len(track))
    if last > first:
        track[first:last] += sound[first - at : last - at]


def sing(
    song: Song, rng: np.random.Generator, sample_rate: int, family: str = "dsp", voices: str = "all"
) -> np.ndarray:
    """Render the vocal stem: float32 (2 channels, round(duration * sample_rate) samples).

    `family` is "sampled" (speech synthesisers and WORLD) or "dsp" (formant synthesis in NumPy);
    `voices` is "train", "held-out" or "all". Outside the sections with "vocals" the stem is silent,
    apart from a pickup of a quarter second and a fading tail of 0.6 seconds. The active level is
    about -18 dBFS RMS, peaks stay under 0.95. Raises VoiceError for unknown families or voices
    and for missing programs.
    """
    length = round(song.duration * sample_rate)
    sections = [section for section in song.sections if "vocals" in section.active]
    harshness = {"metal": 0.4, "punk": 0.2}.get(song.style, 0.02)
    leads = [
        draw_singer(rng, draw_bank(rng, family, voices), harshness)
        for _ in range(2 if rng.random() < 0.2 else 1)
    ]
    if not sections:
        return np.zeros((2, length), dtype=np.float32)
    chain = draw_chain(rng, song)
    session = Session(song, sample_rate, family, voices, rng, leads)
    for index, section in enumerate(song.sections):
        if "vocals" in section.active:
            previous = song.sections[index - 1] if index else None
            joined = previous is not None and "vocals" in previous.active
            _sing_section(session, chain, section, index, joined)
    stem = mix_layers(list(session.layers.values()), chain, song, sample_rate, rng)
    return np.asarray(stem * _presence(song, sample_rate, length), dtype=np.float32)


def _presence(song: Song, sample_rate: int, length: int) -> np.ndarray:
    """Gain (sample) that is 1 in sections with vocals and fades to exactly 0 around them."""
    step = 0.01
    times = np.arange(int(song.duration / step) + 2) * step
    gain = np.zeros(len(times))
    for section in song.sections:
        if "vocals" in section.active:
            rise = np.clip((times - section.start + 0.25) / 0.05, 0, 1)
            fall = np.clip((section.end + 0.6 - times) / 0.6, 0, 1)
            gain = np.maximum(gain, rise * np.where(times <= section.end, 1.0, fall**1.5))
    return np.asarray(np.interp(np.arange(length) / sample_rate, times, gain), dtype=np.float32)


def _sing_section(
    session: Session, chain: Chain, section: Section, index: int, joined: bool
) -> None:
    """Lead phrases of one section with what goes along: doubles, harmonies, backing, ad-libs."""
    song, rng = session.song, session.rng
    lead_index = int(rng.integers(len(session.leads)))
    singer = session.leads[lead_index]
    kind = (
        section.name
        if section.name in ("verse", "chorus", "bridge")
        else str(rng.choice(["verse", "chorus"]))
    )
    if kind not in session.manners:
        session.manners[kind] = draw_manner(rng, song, kind)
    manner = session.manners[kind]
    unit_bars = 2 if song.bar < 3.2 else 1
    beats = unit_bars * song.beats_per_bar
    units = max(1, round((section.end - section.start) / (beats * song.beat)))
    phrases = _phrases(session, kind, lead_index, manner, beats, units)
    lead = session.track("lead", chain.lead_pan, 0.0, "lead")
    first = section.start / song.beat
    doubled = (manner.spoken and rng.random() < 0.3) or (
        kind == "chorus" and rng.random() < chain.doubling
    )
    backing = "backing" in section.active
    intervals = [
        int(i)
        for i in rng.choice([2, 2, -2, 4, 7, -7, -3], size=int(rng.integers(1, 3)), replace=False)
    ]
    whole_backing = rng.random() < 0.5
    occupied: list[tuple[float, float]] = []
    for number, phrase in enumerate(phrases):
        height = manner.height + float(rng.choice([0, 0, 0, 2]) if number % 4 == 2 else 0)
        notes = write_notes(
            song, phrase, first + number * beats, section, singer.low, singer.high, height, rng
        )
        if not joined:  # no pickups before the voice may enter
            notes = [note for note in notes if note.start > section.start - 0.05]
        if not notes or (number > 0 and rng.random() < 0.1):  # a phrase left out now and then
            continue
        occupied.append((notes[0].start, notes[-1].end))
        session.record(lead, singer, notes)
        _breath_before(session, lead, singer, notes[0], section)
        if doubled:
            _double(session, chain, singer, notes)
        if backing and not phrase.spoken and (whole_backing or number % 2):
            _harmonise(session, chain, singer, notes, intervals)
    if backing and rng.random() < 0.4:
        _pads(session, chain, section)
    if (backing or kind == "chorus") and rng.random() < 0.35:
        _adlibs(session, chain, section, occupied)


def _phrases(
    session: Session, kind: str, lead: int, manner: Manner, beats: float, units: int
) -> list[Phrase]:
    """Phrases for every unit: choruses repeat theirs, the others often get new ones."""
    rng, bank = session.rng, session.leads[lead].bank
    key = (kind, lead)
    if key not in session.hooks:
        session.hooks[key] = [
            plan_phrase(rng, bank, beats, manner) for _ in range(2 if rng.random() < 0.6 else 4)
        ]
    stock = session.hooks[key]
    phrases = [stock[number % len(stock)] for number in range(units)]
    if kind != "chorus":
        fresh = [plan_phrase(rng, bank, beats, manner) for _ in phrases]
        phrases = [
            new if rng.random() < 0.6 else old for new, old in zip(fresh, phrases, strict=True)
        ]
    return phrases


def _breath_before(
    session: Session, layer: Layer, singer: Singer, note: Note, section: Section
) -> None:
    rng = session.rng
    if rng.random() > 0.45 or note.start < section.start + 0.1:
        return
    length = float(rng.uniform(0.15, 0.4))
    sound = breathe(singer, length, session.sample_rate, rng)
    _add(layer.sound, sound, round((note.start - length - 0.12) * session.sample_rate))


def _double(session: Session, chain: Chain, singer: Singer, notes: list[Note]) -> None:
    """One or two more takes of the lead, milliseconds apart, to the sides or in the centre."""
    rng = session.rng
    sides = [("double left", -chain.spread), ("double right", chain.spread)]
    for name, pan in sides if chain.wide_doubles else [("double", 0.0)]:
        layer = session.track(name, pan, chain.double_gain, "double")
        session.record(layer, vary(rng, singer), loosened(notes, rng, 0.014))


def _harmonise(
    session: Session, chain: Chain, singer: Singer, notes: list[Note], intervals: list[int]
) -> None:
    """Parallel voices in thirds, fourths or octaves with the lead's words."""
    rng = session.rng
    for number, interval in enumerate(intervals):
        moved = shifted(
            loosened(notes, rng, 0.016),
            harmony(session.song, interval),
            singer.low - 3,
            singer.high + 7,
        )
        side = chain.spread * (1 if number % 2 else -1)
        layer = session.track(f"harmony {number}", side, chain.backing_gain, "backing")
        session.record(layer, vary(rng, singer), moved)


def _vocalise(bank: VoiceBank, rng: np.random.Generator) -> Syllable:
    """An "ooh", "aah" or other open syllable, which every bank has among its first words."""
    return bank.words[int(rng.integers(min(7, len(bank.words))))].syllables[0]


def _pads(session: Session, chain: Chain, section: Section) -> None:
    """Held chord tones of two to four backing singers."""
    song, rng = session.song, session.rng
    for voice in range(int(rng.integers(2, 5))):
        name = f"pad {voice}"
        bank = draw_bank(rng, session.family, session.voices)
        singer = draw_singer(rng, bank)
        syllable = _vocalise(bank, rng)
        pan = chain.spread * float(np.linspace(-1, 1, 4)[voice])
        layer = session.track(name, pan, chain.backing_gain - 3.0, "backing")
        notes = []
        for chord in song.chords:
            begin, end = max(chord.start, section.start), min(chord.end, section.end)
            if end - begin < 0.4:
                continue
            tones = [
                p for p in range(int(singer.low), int(singer.high) + 1) if p % 12 in chord.notes
            ]
            if tones:
                near = min(tones, key=lambda p: abs(p - singer.centre - 3 * (voice - 1)))
                notes.append(
                    Note(begin + 0.02, end - 0.04, ((begin, float(near)),), syllable, -2.0)
                )
        for start in range(0, len(notes), 4):
            session.record(layer, singer, notes[start : start + 4])


def _adlibs(
    session: Session, chain: Chain, section: Section, occupied: list[tuple[float, float]]
) -> None:
    """Short shouts or vocalises in the gaps between lead phrases, or a gang chant on them."""
    song, rng = session.song, session.rng
    crowd = int(rng.choice([1, 1, 1, 4]))
    singers = [
        draw_singer(rng, draw_bank(rng, session.family, session.voices)) for _ in range(crowd)
    ]
    gaps = [(a[1], b[0]) for a, b in pairwise(occupied) if b[0] - a[1] > 0.7]
    for begin, end in gaps:
        if rng.random() < 0.5:
            continue
        for number, singer in enumerate(singers):
            pan = chain.spread * float(rng.uniform(-0.6, 0.6))
            layer = session.track(f"adlib {number}", pan, chain.backing_gain + 1.0, "adlib")
            start = begin + 0.25 + float(rng.normal(0, 0.015))
            length = min(end - begin - 0.4, float(rng.uniform(0.25, 1.2)))
            steps = sorted(
                p
                for p in range(int(singer.centre), int(singer.high) + 3)
                if p % 12 in song.chord_at(begin).notes
            )
            pitch = float(rng.choice(steps)) if steps else singer.high
            tones = (
                (start, pitch),
                (start + 0.4 * length, pitch - float(rng.choice([0, 2, 3, 5]))),
            )
            note = Note(
                start,
                start + length,
                tones,
                _vocalise(singer.bank, rng),
                3.0,
                bool(rng.random() < 0.2),
            )
            session.record(layer, singer, [note])
