"""The drummer: one-shots of mixed kits, played from grooves with fills, ghosts and a room."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from stemwise.band.effects import (
    Samples,
    compress,
    equalise,
    limit_width,
    reverberate,
    set_width,
    soft_clip,
    tame,
)
from stemwise.band.grooves import FILLS, GROOVES, PERCUSSION, Groove
from stemwise.band.kits import shots, sources
from stemwise.band.song import Section, Song

_ALIASES = {"open": "hat_open", "hat": "hat_closed", "pedal": "hat_pedal"}
_GROUPS = {
    "kick": "kick",
    "snare": "snare",
    "rim": "snare",
    "clap": "snare",
    "snap": "percussion",
    "hat_closed": "hats",
    "hat_open": "hats",
    "hat_pedal": "hats",
    "crash": "cymbals",
    "ride": "cymbals",
    "bell": "cymbals",
    "tom_high": "toms",
    "tom_mid": "toms",
    "tom_low": "toms",
}
_VELOCITY = {"x": 0.75, "X": 0.98, "o": 0.35}


@dataclass(frozen=True)
class Hit:
    """One stroke at `time` seconds with velocity 0 to 1."""

    time: float
    piece: str
    velocity: float


@dataclass
class Piece:
    """Velocity layers of a tuned, equalised and panned drum, and how much of it the room hears."""

    layers: list[Samples]
    room: float


def play_drums(
    song: Song, rng: np.random.Generator, sample_rate: int, family: str = "dsp", kits: str = "all"
) -> Samples:
    """The drum stem (2, sample) of exactly round(duration * sample_rate) samples, peak about 1."""
    count = round(song.duration * sample_rate)
    hits = _arrange(song, rng)
    if not hits:
        return np.zeros((2, count), np.float32)
    electronic = bool(rng.random() < max(song.character.electronic, 0.04))
    pieces = _build_kit(
        song, rng, sample_rate, family, kits, electronic, {hit.piece for hit in hits}
    )
    margin = 3 * sample_rate
    dry = np.zeros((2, count + margin), np.float32)
    sent = np.zeros((2, count + margin), np.float32)
    _strike(hits, pieces, dry, sent, rng, sample_rate)
    return _mix_kit(dry, sent, rng, sample_rate, electronic)[:, :count]


def _arrange(song: Song, rng: np.random.Generator) -> list[Hit]:
    """Every stroke of the song, in time order."""
    tight = song.character.electronic > 0.6
    timing = float(rng.uniform(0.0, 0.002) if tight else rng.uniform(0.003, 0.010))
    dynamics = float(rng.uniform(0.02, 0.06) if tight else rng.uniform(0.05, 0.14))
    variants = GROOVES[song.groove]
    if song.beats_per_bar == 3:
        variants = GROOVES["waltz"]
    plans: dict[str, Groove] = {}
    percussion = PERCUSSION[int(rng.integers(len(PERCUSSION)))] if rng.random() < 0.4 else {}
    alone = [PERCUSSION[int(i)] for i in rng.integers(len(PERCUSSION), size=2)]
    hits: list[Hit] = []
    for section in song.sections:
        if "drums" not in section.active:
            continue
        if section.name not in plans:
            plan = dict(variants[int(rng.integers(len(variants)))])
            plans[section.name] = _vary(plan, rng, section)
        groove = plans[section.name]
        if section.name in ("intro", "bridge", "outro") and rng.random() < 0.2:
            groove = {**alone[0], **alone[1]}  # percussion without the kit
        elif percussion and section.energy > 0.6:
            groove = {**percussion, **groove}
        hits += _play_section(song, section, groove, rng)
    shifts = rng.normal(0.0, timing, len(hits))
    scales = 1.0 + rng.normal(0.0, dynamics, len(hits))
    moved = [
        Hit(
            max(0.0, hit.time + float(shift)),
            hit.piece,
            float(np.clip(hit.velocity * scale, 0.05, 1.0)),
        )
        for hit, shift, scale in zip(hits, shifts, scales, strict=True)
    ]
    return sorted(moved, key=lambda hit: hit.time)


def _vary(plan: Groove, rng: np.random.Generator, section: Section) -> Groove:
    """Make the groove this song's own: other kick notes, another time-keeper."""
    kick = list(plan.get("kick", ""))
    for index in range(2, len(kick)):
        if rng.random() < 0.06:
            kick[index] = "x" if kick[index] == "." else "."
    if kick:
        plan["kick"] = "".join(kick)
    if "hat" in plan and section.name == "chorus":
        keeper = str(
            rng.choice(
                ["hat", "hat", "ride", "open", "crash", "bell"],
                p=[0.3, 0.2, 0.25, 0.15, 0.05, 0.05],
            )
        )
        if keeper != "hat":
            sparse = plan.pop("hat").replace("o", ".")
            plan[keeper] = (
                sparse if keeper in ("ride", "bell") else sparse[:2] + "." * 0 + sparse[2:]
            )
            if keeper in ("open", "crash"):
                plan[keeper] = "".join(c if i % 4 == 0 else "." for i, c in enumerate(sparse))
    if section.name == "chorus" and rng.random() < 0.25:
        plan["tambourine"] = str(
            rng.choice(["....x.......x...", "x.x.x.x.x.x.x.x.", "XoxoXoxoXoxoXoxo"])
        )
    if section.name == "chorus" and rng.random() < 0.12:
        plan["clap"] = "....x.......x..."
    if rng.random() < 0.15 and "snare" in plan and "rim" not in plan and section.energy < 0.65:
        plan["rim"] = plan.pop("snare").replace("o", ".")
    return plan


def _play_section(
    song: Song, section: Section, groove: Groove, rng: np.random.Generator
) -> list[Hit]:
    """Bars of the groove with a crash at the start and usually a fill at the end."""
    hits: list[Hit] = []
    bars = max(1, round((section.end - section.start) / song.bar))
    first = round(section.start / song.bar)
    fill_bars = {bars - 1} if rng.random() < 0.8 else set()
    if bars > 4 and rng.random() < 0.4:
        fill_bars.add(3)
    loudness = 0.75 + 0.25 * section.energy
    for bar in range(bars):
        fill = FILLS[int(rng.integers(len(FILLS)))] if bar in fill_bars else None
        until = (
            1.0
            if fill is None
            else min(p.index(next(c for c in p if c != ".")) for p in fill.values()) / 16
        )
        if fill is not None and "kick" in fill:
            until = 0.75
        for piece, pattern in groove.items():
            hits += _read(song, first + bar, piece, pattern, loudness, rng, until)
        if fill is not None:
            for piece, pattern in fill.items():
                hits += _read(song, first + bar, piece, pattern, loudness, rng, 1.0)
    crashing = song.groove not in ("brushes", "bossa", "folk", "trap") and section.energy > 0.5
    if crashing and "kick" in groove and rng.random() < 0.75:
        hits.append(Hit(section.start, "crash", 0.9 * loudness))
    return [hit for hit in hits if hit.time < section.end - 0.02]


def _read(
    song: Song,
    bar: int,
    piece: str,
    pattern: str,
    loudness: float,
    rng: np.random.Generator,
    until: float,
) -> list[Hit]:
    """Strokes of one row of a pattern before the fraction `until` of the bar."""
    triplets = len(pattern) == 12 and song.beats_per_bar == 4
    name = _ALIASES.get(piece, piece)
    hits = []
    for index, mark in enumerate(pattern):
        fraction = index / len(pattern)
        if mark == "." or fraction >= until:
            continue
        if mark == "o" and rng.random() < 0.25:
            continue  # ghost notes come and go
        beat = (bar + fraction) * song.beats_per_bar
        time = beat * song.beat if triplets else song.swung(beat)
        velocity = _VELOCITY[mark] * loudness * (0.9 if index % 4 else 1.0)
        opened = name == "hat_closed" and rng.random() < 0.02
        hits.append(Hit(time, "hat_open" if opened else name, velocity))
    return hits


def _build_kit(
    song: Song,
    rng: np.random.Generator,
    rate: int,
    family: str,
    kits: str,
    electronic: bool,
    needed: set[str],
) -> dict[str, Piece]:
    """Choose a source for each group of drums, then shape every piece for this song."""
    choices = sources("drums", family, electronic, kits)
    base = choices[int(rng.integers(len(choices)))]
    mixed = bool(rng.random() < 0.5)
    chosen: dict[str, str] = {}
    for group in ("kick", "snare", "hats", "cymbals", "toms"):
        other = choices[int(rng.integers(len(choices)))]
        chosen[group] = other if mixed and rng.random() < 0.6 else base
    hand = sources("percussion", family, electronic, kits)
    chosen["percussion"] = hand[int(rng.integers(len(hand)))]
    levels = {
        "kick": rng.normal(0.0, 2.0),
        "snare": rng.normal(-1.0, 2.0),
        "hats": rng.normal(-12.0, 2.5),
        "cymbals": rng.normal(-9.0, 2.5),
        "toms": rng.normal(-3.0, 2.0),
        "percussion": rng.normal(-9.0, 3.0),
    }
    viewpoint = 1.0 if rng.random() < 0.5 else -1.0  # drummer's or audience's perspective
    spread = float(rng.uniform(0.1, 0.8))
    fallbacks = [*choices, "fluid:0" if family == "sampled" else "synth:acoustic"]
    pieces = {}
    for piece in sorted(needed):
        group = _GROUPS.get(piece, "percussion")
        layers = shots(chosen[group], piece, rng, rate)
        for other in fallbacks:
            if layers is not None:
                break
            layers = shots(other, piece, rng, rate)
        if layers is None:
            layers = shots("synth:acoustic", piece, rng, rate) or []
        pieces[piece] = _shape(piece, group, layers, levels[group], spread * viewpoint, rng, rate)
    return pieces


_PLACES = {
    "hat_closed": 0.5,
    "hat_open": 0.5,
    "hat_pedal": 0.5,
    "ride": -0.6,
    "bell": -0.6,
    "crash": 0.7,
    "tom_high": 0.4,
    "tom_mid": 0.0,
    "tom_low": -0.6,
}


def _shape(
    piece: str,
    group: str,
    layers: list[Samples],
    level: float,
    spread: float,
    rng: np.random.Generator,
    rate: int,
) -> Piece:
    """Tune, shorten, sharpen, equalise, narrow and pan the layers of a piece."""
    ratio = 2.0 ** (rng.uniform(-3, 3) / 12.0 * (0.5 if group in ("hats", "cymbals") else 1.0))
    decay = (
        rng.uniform(0.08, 0.4) if rng.random() < 0.4 and group not in ("cymbals", "hats") else None
    )
    bite = rng.uniform(-0.3, 1.0)
    bands = _tone(group, rng)
    place = _PLACES.get(piece, 0.0) * spread
    if group == "percussion":
        place = rng.uniform(-0.7, 0.7)
    width = 0.15 if group in ("kick", "snare") else float(rng.uniform(0.1, 0.7))
    shaped = []
    for layer in layers:
        audio = _retune(layer, ratio)
        time = np.arange(audio.shape[1], dtype=np.float32) / rate
        if decay is not None:
            audio = audio * np.exp(-np.maximum(time - 0.03, 0) / decay).astype(np.float32)
        if group in ("kick", "snare", "toms"):
            audio = audio * (1.0 + bite * np.exp(-time / 0.012)).astype(np.float32)
        audio = set_width(equalise(audio, rate, bands), width)
        angle = (place + 1.0) * np.pi / 4.0
        gains = np.array([[np.cos(angle)], [np.sin(angle)]], np.float32) * np.float32(np.sqrt(2.0))
        shaped.append((audio * gains).astype(np.float32))
    peak = max(float(np.max(np.abs(layer))) for layer in shaped) + 1e-9
    gain = np.float32(10.0 ** (level / 20.0) / peak)
    room = {
        "kick": 0.25,
        "snare": 1.0,
        "hats": 0.4,
        "cymbals": 0.5,
        "toms": 0.9,
        "percussion": 0.7,
    }[group]
    return Piece([layer * gain for layer in shaped], room * float(rng.uniform(0.6, 1.3)))


def _tone(group: str, rng: np.random.Generator) -> list[tuple[str, float, float, float]]:
    """Random but usual equaliser settings for a group of drums."""
    if group == "kick":
        return [
            ("peak", rng.uniform(50, 90), rng.uniform(-2, 5), 1.0),
            ("peak", rng.uniform(250, 500), rng.uniform(-7, 0), 1.0),
            ("peak", rng.uniform(2000, 4500), rng.uniform(-3, 6), 1.0),
            ("lowpass", rng.uniform(4000, 10000), 1, 0.7),
        ]
    if group == "snare":
        return [
            ("highpass", rng.uniform(70, 150), 2, 0.7),
            ("peak", rng.uniform(160, 280), rng.uniform(-3, 4), 1.0),
            ("peak", rng.uniform(400, 900), rng.uniform(-4, 2), 1.0),
            ("high", 5000, rng.uniform(-5, 4), 0.7),
        ]
    if group in ("hats", "cymbals"):
        return [
            ("highpass", rng.uniform(250, 700), 2, 0.7),
            ("high", rng.uniform(5000, 7000), rng.uniform(-7, 2), 0.7),
        ]
    return [
        ("highpass", 60.0, 2, 0.7),
        ("peak", rng.uniform(250, 500), rng.uniform(-5, 2), 1.0),
        ("high", 4500, rng.uniform(-4, 3), 0.7),
    ]


def _retune(audio: Samples, ratio: float) -> Samples:
    """Play faster (ratio > 1, higher) or slower by linear interpolation."""
    length = int(audio.shape[1] / ratio)
    position = np.arange(length, dtype=np.float32) * np.float32(ratio)
    whole = np.minimum(position.astype(np.int32), audio.shape[1] - 2)
    part = (position - whole).astype(np.float32)
    return np.asarray(audio[:, whole] * (1 - part) + audio[:, whole + 1] * part, np.float32)


def _strike(
    hits: list[Hit],
    pieces: dict[str, Piece],
    dry: Samples,
    sent: Samples,
    rng: np.random.Generator,
    rate: int,
) -> None:
    """Add every stroke to the dry mix and the room send; a closing hat chokes the open one."""
    hats = [hit.time for hit in hits if hit.piece.startswith("hat")]
    later = dict(pairwise(hats))
    jitter = rng.uniform(0.94, 1.06, len(hits))
    for hit, loose in zip(hits, jitter, strict=True):
        piece = pieces[hit.piece]
        layer = piece.layers[min(int(hit.velocity * len(piece.layers)), len(piece.layers) - 1)]
        start = int(hit.time * rate)
        length = min(layer.shape[1], dry.shape[1] - start)
        if hit.piece == "hat_open" and hit.time in later:
            length = min(length, int((later[hit.time] - hit.time) * rate) + 200)
        if length <= 0:
            continue
        stroke = layer[:, :length] * np.float32(hit.velocity**1.3 * loose)
        fade = min(200, length)
        if length < layer.shape[1]:
            stroke[:, length - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
        dry[:, start : start + length] += stroke
        sent[:, start : start + length] += stroke * np.float32(piece.room)


def _mix_kit(
    dry: Samples, sent: Samples, rng: np.random.Generator, rate: int, electronic: bool
) -> Samples:
    """Room, parallel saturation, bus equaliser and compressor, realistic width."""
    amount = (
        rng.uniform(0.0, 0.15) if electronic else rng.uniform(0.05, 0.5) * rng.uniform(0.3, 1.2)
    )
    seconds = float(rng.choice([0.3, 0.4, 0.6, 0.9, 1.4], p=[0.25, 0.3, 0.25, 0.12, 0.08]))
    room = reverberate(
        sent, rate, seconds, float(rng.uniform(0.2, 0.8)), 0.0, int(rng.integers(12))
    )
    mix = dry + np.float32(amount) * room
    if rng.random() < 0.5:
        drive = float(rng.uniform(1.5, 5.0))
        mix = mix + np.float32(rng.uniform(0.1, 0.6)) * soft_clip(mix, drive)
    bands = [
        ("low", 100.0, rng.uniform(-3, 3), 0.7),
        ("peak", rng.uniform(300, 3000), rng.uniform(-2, 2), 0.8),
        ("high", 6000.0, rng.uniform(-4, 2), 0.7),
    ]
    mix = equalise(mix, rate, bands)
    if rng.random() < 0.8:
        mix = compress(
            mix,
            rate,
            threshold=float(rng.uniform(0, 8)),
            ratio=float(rng.uniform(1.5, 5)),
            attack=float(rng.uniform(0.003, 0.03)),
            release=float(rng.uniform(0.05, 0.2)),
        )
    mix = tame(soft_clip(mix, float(rng.uniform(0.3, 1.0))), rate, float(rng.uniform(13, 20)))
    return limit_width(mix, float(rng.uniform(-24, -9)))
