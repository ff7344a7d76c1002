"""Sources of drum one-shots: Hydrogen drumkits, General MIDI drum presets and synthesised kits."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import soxr

from stemwise.band.drum_synth import PIECES, synthesise
from stemwise.band.effects import Samples
from stemwise.band.notes import Note
from stemwise.band.song import BandError
from stemwise.band.soundfont import player

HYDROGEN = Path("/usr/share/hydrogen/data/drumkits")
# only kits whose licence leaves what is played on them free (NOTICE): none under plain GPL or BY-SA
ACOUSTIC_KITS = ("ColomboAcousticDrumkit",)
ELECTRONIC_KITS = ("ElectricEmpireKit", "HardElectro1", "Audiophob", "rumpf_kit_z01_h2")
HELD_OUT_KITS = ("VariBreaks",)
HELD_OUT_PROGRAMS = (3, 13, 19, 35)
_FONT_ACOUSTIC = (*range(3), *range(4, 13), *range(14, 19), *range(32, 35), 36, *range(40, 43))
_FONT_ELECTRONIC = (24, 25, 25)

_GENERAL_MIDI = {
    "kick": 36,
    "snare": 38,
    "rim": 37,
    "clap": 39,
    "hat_closed": 42,
    "hat_pedal": 44,
    "hat_open": 46,
    "tom_high": 50,
    "tom_mid": 47,
    "tom_low": 43,
    "crash": 49,
    "ride": 51,
    "bell": 53,
    "tambourine": 54,
    "shaker": 70,
    "cowbell": 56,
    "conga_high": 63,
    "conga_low": 64,
    "bongo_high": 60,
    "bongo_low": 61,
    "clave": 75,
    "wood": 76,
    "triangle": 81,
    "timbale": 65,
    "agogo": 67,
    "snap": 37,
}
_SECONDS = {"crash": 2.6, "ride": 1.8, "bell": 1.8, "hat_open": 1.2, "triangle": 1.2}
_PATTERNS = (
    ("hat_open", r"(hat|hh|hi.?hat).*(open|op\b|_op|ohh)|(open|op) ?(hh|hat)|ohh|hat \d op"),
    ("hat_pedal", r"(pedal|hat.*pd|foot).*(hh|hat)|(hat|hh).*(pedal|pd\b)|pedal hh"),
    ("hat_closed", r"hat|\bhh\b|hi.?hat|hh \d|chh"),
    ("rim", r"rim.?click|side.?stick|^stick|stick$"),
    ("snare", r"snare"),
    ("clap", r"clap"),
    ("snap", r"snap"),
    ("kick", r"kick|bass ?drum|cajon thump"),
    ("tom_low", r"floor|tom.*low|low tom|tomlow"),
    ("tom_high", r"tom.*(hi|1)|high tom"),
    ("tom_mid", r"tom"),
    ("bell", r"bell(?!.*cow)|ride-cup|ride.*cup"),
    ("ride", r"ride"),
    ("crash", r"crash"),
    ("tambourine", r"tamb"),
    ("shaker", r"maraca|shaker"),
    ("cowbell", r"cowbell"),
    ("bongo_high", r"bongo hi"),
    ("bongo_low", r"bongo lo"),
    ("conga_high", r"conga 1"),
    ("conga_low", r"conga 2"),
    ("clave", r"clave"),
    ("wood", r"wood"),
    ("agogo", r"agogo"),
)


def _piece_of(name: str) -> str | None:
    low = name.lower()
    if "cowbell" in low:
        return "cowbell"
    if "roll" in low or "swish" in low or "choke" in low or "flink" in low:
        return None
    return next((piece for piece, pattern in _PATTERNS if re.search(pattern, low)), None)


def check_hydrogen() -> None:
    """Raise BandError unless the Hydrogen drumkits are installed."""
    if not HYDROGEN.is_dir():
        raise BandError(
            "the 'sampled' drums need the Hydrogen drumkits: install the Debian package "
            "hydrogen-drumkits, or render with family 'dsp'"
        )


@lru_cache(maxsize=64)
def hydrogen_pieces(kit: str) -> dict[str, list[list[Path]]]:
    """Piece -> variants, each a list of sample files from the softest to the loudest layer."""
    check_hydrogen()
    root = ElementTree.parse(HYDROGEN / kit / "drumkit.xml").getroot()
    for element in root.iter():
        element.tag = element.tag.rsplit("}", 1)[-1]
    pieces: dict[str, list[list[Path]]] = {}
    for instrument in root.iter("instrument"):
        piece = _piece_of(instrument.findtext("name") or "")
        layers = [
            (float(layer.findtext("min") or 0), HYDROGEN / kit / (layer.findtext("filename") or ""))
            for layer in instrument.iter("layer")
        ]
        if not layers and instrument.findtext("filename"):
            layers = [(0.0, HYDROGEN / kit / (instrument.findtext("filename") or ""))]
        files = [path for _, path in sorted(layers) if path.is_file()]
        if piece and files:
            pieces.setdefault(piece, []).append(files)
    return pieces


def _trim(audio: Samples, rate: int, seconds: float) -> Samples:
    """Cut silence before the attack and everything after `seconds`, with a short fade."""
    loud = np.flatnonzero(np.max(np.abs(audio), axis=0) > 0.02 * np.max(np.abs(audio)) + 1e-9)
    if len(loud) == 0:
        return np.zeros((2, 8), np.float32)
    start = max(0, int(loud[0]) - int(0.001 * rate))
    tail = np.flatnonzero(np.max(np.abs(audio), axis=0) > 1e-3 * np.max(np.abs(audio)))
    end = min(int(tail[-1]) + 1, start + int(seconds * rate))
    out: Samples = audio[:, start:end].copy()
    fade = min(out.shape[1], int(0.02 * rate))
    out[:, out.shape[1] - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return out


@lru_cache(maxsize=2048)
def _file_shot(path: Path, rate: int, seconds: float) -> Samples:
    audio, source = soundfile.read(path, dtype="float32", always_2d=True, frames=4 * 48000)
    if source != rate:
        audio = soxr.resample(audio, source, rate)
    stereo = np.repeat(audio, 2, axis=1) if audio.shape[1] == 1 else audio[:, :2]
    return _trim(np.ascontiguousarray(stereo.T, np.float32), rate, seconds)


@lru_cache(maxsize=1024)
def _font_shot(
    font: str, program: int, key: int, velocity: int, rate: int, seconds: float
) -> Samples:
    count = int((seconds + 0.3) * rate)
    note = [Note(0.0, seconds, key, velocity / 127)]
    return _trim(player(rate).render((font, 128, program), note, count), rate, seconds)


def _levelled(layers: list[Samples]) -> list[Samples]:
    """Scale all layers by one factor so that the loudest peaks at 1."""
    peak = max(float(np.max(np.abs(layer))) for layer in layers)
    return [layer / np.float32(peak + 1e-9) for layer in layers]


def shots(source: str, piece: str, rng: np.random.Generator, rate: int) -> list[Samples] | None:
    """Velocity layers (2, sample), soft to loud, of a piece, or None when the source lacks it.

    Sources: "hydrogen:KIT", "fluid:PROGRAM", "musescore:PROGRAM", "synth:acoustic|electronic".
    """
    kind, _, name = source.partition(":")
    seconds = _SECONDS.get(piece, 1.0)
    if kind == "hydrogen":
        variants = hydrogen_pieces(name).get(piece)
        if not variants:
            return None
        files = variants[int(rng.integers(len(variants)))]
        picked = (
            files
            if len(files) <= 3
            else [files[len(files) // 3], files[2 * len(files) // 3], files[-1]]
        )
        return _levelled([_file_shot(path, rate, seconds) for path in picked])
    if kind == "synth":
        shot = synthesise(piece, rng, rate, name == "electronic")
        return [np.repeat(shot[None], 2, axis=0)]
    key = _GENERAL_MIDI[piece]
    alternatives = {36: 35, 38: 40, 49: 57, 51: 59}
    if key in alternatives and rng.random() < 0.3:
        key = alternatives[key]
    layers = [
        _font_shot(kind, int(name), key, velocity, rate, seconds) for velocity in (50, 88, 120)
    ]
    return _levelled(layers) if max(layer.shape[1] for layer in layers) > 200 else None


def sources(group: str, family: str, electronic: bool, kits: str) -> list[str]:
    """Kits to draw from for "drums" or "percussion", honouring the held-out ones."""
    if family == "dsp":
        return ["synth:electronic" if electronic else "synth:acoustic"]
    if kits == "held-out":
        if group == "percussion":
            return ["musescore:3", "fluid:13"]
        names = [f"hydrogen:{kit}" for kit in HELD_OUT_KITS] if electronic else []
        return names + [
            f"{font}:{program}" for font in ("fluid", "musescore") for program in HELD_OUT_PROGRAMS
        ]
    if group == "percussion":
        return ["fluid:0", "musescore:0", "fluid:8", "musescore:16", "synth:acoustic"]
    kit_names = ELECTRONIC_KITS if electronic else ACOUSTIC_KITS
    programs = _FONT_ELECTRONIC if electronic else _FONT_ACOUSTIC
    names = [f"hydrogen:{kit}" for kit in kit_names] * (2 if electronic else 4)
    names += [f"{font}:{program}" for font in ("fluid", "musescore") for program in programs]
    names += ["synth:electronic"] * 6 if electronic else ["synth:acoustic"] * 2
    if kits == "all":
        names += [f"hydrogen:{kit}" for kit in HELD_OUT_KITS]
    return names


__all__ = ["PIECES", "check_hydrogen", "shots", "sources"]
