"""Songs as plain data, and the composer that draws them: key, harmony, sections, who plays."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from stemwise.band.styles import MAJOR_PROGRESSIONS, MINOR_PROGRESSIONS, STYLES, Style
from stemwise.errors import StemwiseError

SCALES: dict[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
}
_NUMERALS = {"I": 0, "II": 1, "III": 2, "IV": 3, "V": 4, "VI": 5, "VII": 6}
_QUALITIES: dict[str, tuple[int, ...]] = {
    "maj": (0, 4, 7),
    "min": (0, 3, 7),
    "dim": (0, 3, 6),
    "sus4": (0, 5, 7),
    "sus2": (0, 2, 7),
    "maj7": (0, 4, 7, 11),
    "dom7": (0, 4, 7, 10),
    "min7": (0, 3, 7, 10),
    "add9": (0, 4, 7, 2),
    "dom9": (0, 4, 7, 10, 2),
    "min9": (0, 3, 7, 10, 2),
}


class BandError(StemwiseError):
    """A song that cannot be composed or rendered as asked."""


@dataclass(frozen=True)
class Chord:
    """One chord from `start` to `end` seconds; pitch classes 0 (C) to 11 with the root first."""

    start: float
    end: float
    root: int
    notes: tuple[int, ...]
    bass: int


@dataclass(frozen=True)
class Section:
    """A part of the song; `active` holds the stems that play, "backing" for backing vocals."""

    name: str
    start: float
    end: float
    active: frozenset[str]
    energy: float = 0.7
    solo: bool = False


@dataclass(frozen=True)
class Song:
    """Everything the players agree on. Times are seconds, tempo is beats per minute."""

    seed: int
    style: str
    tempo: float
    beats_per_bar: int
    swing: float
    key: int
    mode: str
    scale: tuple[int, ...]
    chords: tuple[Chord, ...]
    sections: tuple[Section, ...]
    duration: float
    instrumental: bool = False
    a_cappella: bool = False
    groove: str = "rock"
    extras: dict[str, float] = field(default_factory=dict)

    @property
    def beat(self) -> float:
        """Length of one beat in seconds."""
        return 60.0 / self.tempo

    @property
    def bar(self) -> float:
        """Length of one bar in seconds; bars start at multiples of it."""
        return self.beat * self.beats_per_bar

    @property
    def character(self) -> Style:
        """The style's table entry."""
        return STYLES[self.style]

    @cached_property
    def _chord_starts(self) -> list[float]:
        return [chord.start for chord in self.chords]

    @cached_property
    def _section_starts(self) -> list[float]:
        return [section.start for section in self.sections]

    def chord_at(self, time: float) -> Chord:
        """The chord sounding at `time` seconds (the first or last one outside the song)."""
        return self.chords[max(0, bisect_right(self._chord_starts, time + 1e-6) - 1)]

    def section_at(self, time: float) -> Section:
        """The section at `time` seconds (the first or last one outside the song)."""
        return self.sections[max(0, bisect_right(self._section_starts, time + 1e-6) - 1)]

    def swung(self, beat: float) -> float:
        """Time in seconds of a position in beats, off-beat eighths delayed by the swing."""
        whole, part = divmod(beat, 1.0)
        bent = 0.5 + self.swing / 6.0  # swing 1 puts the off-beat on the third triplet
        warped = part / 0.5 * bent if part < 0.5 else bent + (part - 0.5) / 0.5 * (1.0 - bent)
        return (whole + warped) * self.beat


def parse_numeral(numeral: str, key: int, scale: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """Root and chord pitch classes of a roman numeral such as `bVII`, `ii7`, `Imaj7`."""
    flat = numeral.startswith("b")
    text = numeral[1:] if flat else numeral
    letters = ""
    while len(letters) < len(text) and text[len(letters)] in "IViv":
        letters += text[len(letters)]
    suffix = text[len(letters) :]
    degree = _NUMERALS[letters.upper()]
    # flattened degrees count from the major scale, as in popular harmony's bVII and bVI
    root = (key + (SCALES["major"][degree] - 1 if flat else scale[degree])) % 12
    small = letters.islower()
    quality = {
        "": "min" if small else "maj",
        "7": "min7" if small else "dom7",
        "maj7": "maj7",
        "sus4": "sus4",
        "9": "min9" if small else "dom9",
        "sus2": "sus2",
        "add9": "add9",
        "dim": "dim",
    }[suffix]
    return root, tuple((root + interval) % 12 for interval in _QUALITIES[quality])


def compose(
    rng: np.random.Generator | int,
    *,
    duration: float | None = None,
    style: str | None = None,
    instrumental: bool | None = None,
    a_cappella: bool | None = None,
) -> Song:
    """Draw a song of `duration` seconds (60 to 120 when None) in `style` (any when None).

    Raises BandError for an unknown style or a duration under one second.
    """
    seed = int(rng) if isinstance(rng, (int, np.integer)) else int(rng.integers(2**31))
    draw = np.random.default_rng([seed, 1])
    if duration is None:
        duration = float(draw.uniform(60, 120))
    if duration < 1.0:
        raise BandError(f"a song lasts at least 1 second, not {duration:g}: ask for a longer one")
    if style is not None and style not in STYLES:
        raise BandError(f"unknown style '{style}': choose one of {', '.join(STYLES)}")
    weights = np.array([entry.weight for entry in STYLES.values()])
    name = style or str(draw.choice(list(STYLES), p=weights / weights.sum()))
    character = STYLES[name]
    if a_cappella is None:
        a_cappella = not instrumental and bool(draw.random() < 0.03)
    if instrumental is None:
        instrumental = not a_cappella and bool(draw.random() < 0.2)
    tempo = float(np.clip(draw.uniform(*character.tempo) * draw.uniform(0.95, 1.05), 60, 180))
    waltz = bool(draw.random() < character.waltz)
    minor = bool(draw.random() < character.minor)
    mode = str(
        draw.choice(
            ["minor", "minor", "dorian", "harmonic minor"]
            if minor
            else ["major", "major", "major", "mixolydian"]
        )
    )
    key = int(draw.integers(12))
    scale = tuple((key + step) % 12 for step in SCALES[mode])
    swing = float(draw.uniform(0.4, 1.0)) if draw.random() < character.swing else 0.0
    beats = 3 if waltz else 4
    sections = _draw_sections(draw, duration, tempo, beats, instrumental, a_cappella)
    chords = _draw_chords(draw, character, sections, tempo, beats, key, mode)
    groove = "waltz" if waltz else str(draw.choice([g for g in character.grooves if g != "waltz"]))
    return Song(
        seed,
        name,
        tempo,
        beats,
        swing,
        key,
        mode,
        scale,
        chords,
        sections,
        duration,
        instrumental,
        a_cappella,
        groove,
    )


_FORMS = (
    "intro verse chorus verse chorus bridge chorus outro",
    "intro verse verse chorus break verse chorus chorus outro",
    "verse chorus verse chorus break chorus outro",
    "chorus verse chorus bridge break chorus outro",
    "intro chorus verse bridge chorus break verse chorus",
    "verse break chorus intro verse chorus outro",
    "intro verse bridge chorus break chorus outro",
)


def _draw_sections(
    rng: np.random.Generator,
    duration: float,
    tempo: float,
    beats: int,
    instrumental: bool,
    a_cappella: bool,
) -> tuple[Section, ...]:
    """Fill the duration with sections of 2 to 8 bars, each with its own set of active stems."""
    bar = 60.0 / tempo * beats
    form = rng.choice(_FORMS).split()
    if duration < 25:
        form = ["verse", "chorus", "break"]
    sections: list[Section] = []
    start, index = 0.0, 0
    while start < duration - 0.5 * bar or not sections:
        name = form[index % len(form)]
        longest = 4 if name in ("intro", "break", "outro") else 8
        bars = int(rng.choice([2, 4] if longest == 4 else [4, 8]))
        if bars * bar > 20:
            bars = max(2, bars // 2)
        if duration < 25:
            bars = max(1, round(duration / 3 / bar))
        end = start + bars * bar
        if end > duration - bar:
            end = duration
        if index >= len(form) - 1 and name == "outro" and end < duration - bar:
            name = "verse"
        active, solo = _draw_active(rng, name, instrumental, a_cappella)
        energy = {
            "intro": 0.55,
            "verse": 0.65,
            "chorus": 0.95,
            "bridge": 0.6,
            "break": 0.7,
            "outro": 0.6,
        }[name]
        sections.append(
            Section(name, start, end, active, float(energy * rng.uniform(0.85, 1.1)), solo)
        )
        start, index = end, index + 1
    return tuple(sections)


_INTRO = (
    "other",
    "other",
    "drums",
    "drums bass",
    "bass",
    "drums bass other",
    "drums bass other",
    "drums other",
    "bass other",
    "vocals",
    "vocals other",
)
_BREAK = (
    "drums",
    "drums",
    "bass drums",
    "other",
    "other",
    "bass",
    "vocals",
    "vocals",
    "vocals drums",
    "solo",
    "solo",
    "solo",
    "solo",
    "vocals bass",
    "other bass",
    "drums other",
    "vocals backing other",
    "",
)


def _draw_active(
    rng: np.random.Generator, name: str, instrumental: bool, a_cappella: bool
) -> tuple[frozenset[str], bool]:
    """Stems that play in a section, and whether the accompaniment takes a solo."""
    solo = False
    if a_cappella:
        active = {"vocals"} | ({"backing"} if rng.random() < 0.6 else set())
        if name in ("intro", "outro") and rng.random() < 0.4:
            active = set(str(rng.choice(["drums", "other", ""])).split())
    elif name in ("intro", "outro"):
        active = set(str(rng.choice(_INTRO)).split())
    elif name == "break":
        drawn = str(rng.choice(_BREAK))
        solo = drawn == "solo"
        active = {"drums", "bass", "other"} if solo else set(drawn.split())
    else:
        chances = {"verse": (0.95, 0.88, 0.88, 0.93), "chorus": (0.98, 0.97, 0.96, 0.98)}.get(
            name, (0.8, 0.6, 0.7, 0.9)
        )
        active = {
            stem
            for stem, chance in zip(("vocals", "drums", "bass", "other"), chances, strict=True)
            if rng.random() < chance
        }
        if "vocals" in active and rng.random() < {"verse": 0.25, "chorus": 0.7}.get(name, 0.35):
            active.add("backing")
    if instrumental:
        solo = solo or bool("vocals" in active and rng.random() < 0.6)
        active -= {"vocals", "backing"}
        if not active:
            active = {"drums", "bass", "other"}
    return frozenset(active), solo


def _draw_chords(
    rng: np.random.Generator,
    style: Style,
    sections: tuple[Section, ...],
    tempo: float,
    beats: int,
    key: int,
    mode: str,
) -> tuple[Chord, ...]:
    """One progression per kind of section, repeated through it, with sevenths and inversions."""
    minor = mode not in ("major", "mixolydian")
    natural = SCALES["minor" if minor else "major"]
    bar = 60.0 / tempo * beats
    pool = style.progressions or (MINOR_PROGRESSIONS if minor else MAJOR_PROGRESSIONS)
    plans: dict[str, tuple[list[str], float]] = {}
    chords: list[Chord] = []
    for section in sections:
        kind = (
            "verse"
            if section.name in ("intro", "outro", "break") and rng.random() < 0.7
            else section.name
        )
        if kind not in plans:
            numerals = [_embellish(rng, n, style.sevenths) for n in str(rng.choice(pool)).split()]
            length = float(rng.choice([0.5, 1, 1, 1, 1, 2])) if len(numerals) <= 4 else 1.0
            plans[kind] = numerals, length * bar
        numerals, length = plans[kind]
        start, index = section.start, 0
        while start < section.end - 1e-6:
            end = min(start + length, section.end)
            # blues and funk numerals in minor keys still count from their own scale
            root, notes = parse_numeral(numerals[index % len(numerals)], key, natural)
            bass = int(rng.choice(notes[1:3])) if rng.random() < 0.08 else root
            chords.append(Chord(start, end, root, notes, bass))
            start, index = end, index + 1
    return tuple(chords)


def _embellish(rng: np.random.Generator, numeral: str, sevenths: float) -> str:
    """Now and then a plain triad becomes a seventh, suspended or added-ninth chord."""
    if numeral[-1] not in "IViv" or rng.random() > sevenths + 0.08:
        return numeral
    if numeral[-1].islower():
        return numeral + str(rng.choice(["7", "7", "9"]))
    if numeral in ("V", "VII"):
        return numeral + str(rng.choice(["7", "sus4"]))
    return numeral + str(rng.choice(["maj7", "add9", "sus2"]))
