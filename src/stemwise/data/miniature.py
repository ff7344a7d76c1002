"""Miniatures of every data set: a few seconds of made music in its exact folders and codecs.

They let every reader run on real bytes where the data sets themselves may not be kept.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from stemwise.activity import Activity, confidence_from_stems, write_activity
from stemwise.audio import STEM_NAMES, Audio, PartFile, create_stem_file, write
from stemwise.audio.part import output_errors
from stemwise.data.rwc import LABELS as RWC_LABELS
from stemwise.errors import DataError, hint

Samples = NDArray[np.float32]
_RATE = 44100
_FOUR = ("drums", "bass", "other", "vocals")


@dataclass(frozen=True)
class _Voice:
    """How an instrument of a miniature sounds.

    `octave` against the song's key, `partials` amplitudes of the harmonics, `decay` in seconds of
    each note (0: it does not decay), `drive` of a distortion, `chord` of three notes or one.
    """

    octave: int
    partials: tuple[float, ...]
    decay: float = 0.0
    drive: float = 0.0
    chord: bool = True


_VOICES = {
    "vocals": _Voice(1, (1.0, 0.8, 0.5, 0.5, 0.2, 0.1), chord=False),
    "bass": _Voice(-2, (1.0, 0.5, 0.25), 1.0, chord=False),
    "other": _Voice(0, (1.0, 0.3, 0.1), 1.5),
    "electric guitar": _Voice(-1, (1.0, 0.6, 0.4, 0.2), 2.0, 6.0),
    "acoustic guitar": _Voice(0, (1.0, 0.5, 0.4, 0.3, 0.2), 0.4),
    "piano": _Voice(0, (1.0, 0.4, 0.2, 0.1), 0.8),
    "violin": _Voice(1, (1.0, 0.7, 0.5, 0.4, 0.3), chord=False),
}


@dataclass(frozen=True)
class _Song:
    """Stems (2, sample) and the seconds (start, end) in which somebody sings."""

    stems: dict[str, Samples]
    singing: list[tuple[float, float]]

    @property
    def seconds(self) -> float:
        return float(next(iter(self.stems.values())).shape[1]) / _RATE

    def mix(self, names: Sequence[str] | None = None) -> Samples:
        """The sum of the stems named, or of all."""
        total: Samples = np.sum([self.stems[name] for name in names or self.stems], axis=0)
        return total


def write_miniature(kind: str, root: str | Path, seed: int = 0, seconds: float = 6.0) -> Path:
    """Write a miniature of a data set into `root`, and return that.

    Args:
        kind: one of `stemwise.data.sets.READERS`.
        root: folder, made where it does not exist.
        seed: other seeds make other music; the same one makes the same bytes.
        seconds: length of each song, 0.5 at least.

    Raises DataError for an unknown kind, OutputError.
    """
    if kind not in _WRITERS:
        raise DataError(f"unknown kind of data set '{kind}': {hint(kind, list(_WRITERS))}")
    if seconds < 0.5:
        raise DataError(f"songs of {seconds} s are too short for a miniature; ask for 0.5 or more")
    root = Path(root)

    def song(name: str, stems: Sequence[str] = _FOUR) -> _Song:
        return _compose(zlib.crc32(f"{kind}/{name}".encode()) ^ seed, stems, seconds)

    _WRITERS[kind](root, song)
    return root


_Compose = Callable[..., _Song]


def _compose(seed: int, names: Sequence[str], seconds: float) -> _Song:
    """Four chords in a random key and tempo; the singer rests in the first and third quarter."""
    rng = np.random.default_rng(seed)
    samples = round(seconds * _RATE)
    time = np.arange(samples) / _RATE
    beat = 60 / rng.uniform(90, 140)
    key = 220 * 2 ** (rng.integers(12) / 12)
    steps = np.array([0, *rng.permutation([5, 7, 9])])
    chord = steps[(time / seconds * 4).astype(int) % 4]
    quarter = samples // 4
    sung = np.zeros(samples)
    for start in (quarter, 3 * quarter):
        sung[start : start + quarter] = 1
    stems = {}
    for name in names:
        if name == "drums":
            mono = _drums(time, beat, rng)
        else:
            mono = _play(_VOICES[name], key, chord, time, beat, rng)
        if name == "vocals":
            mono = mono * sung
        pan = rng.uniform(0.35, 0.65)
        stereo = 0.6 / len(names) * np.stack([mono * np.sqrt(1 - pan), mono * np.sqrt(pan)])
        stems[name] = stereo.astype(np.float32)
    rest = [quarter / _RATE, 2 * quarter / _RATE, 3 * quarter / _RATE, 4 * quarter / _RATE]
    return _Song(stems, [(rest[0], rest[1]), (rest[2], rest[3])])


def _play(
    voice: _Voice,
    key: float,
    chord: NDArray[np.int64],
    time: NDArray[np.float64],
    beat: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """One instrument (sample,), a note or chord on each beat, within +-1."""
    intervals = (0, 4, 7) if voice.chord else (int(rng.choice([0, 4, 7])),)
    since = time % beat
    loudness = np.exp(-since / voice.decay) if voice.decay else np.minimum(since / 0.02, 1)
    vibrato = 1 + (0.005 * np.sin(2 * np.pi * 5.5 * time) if not voice.decay else 0)
    total = np.zeros_like(time)
    for interval in intervals:
        pitch = key * 2.0**voice.octave * 2 ** ((chord + interval) / 12) * vibrato
        phase = 2 * np.pi * np.cumsum(pitch) / _RATE
        for number, partial in enumerate(voice.partials, 1):
            total += partial * np.sin(number * phase)
    total *= loudness / (len(intervals) * sum(voice.partials))
    return np.asarray(np.tanh(voice.drive * total)) if voice.drive else total


def _drums(time: NDArray[np.float64], beat: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A kick on each beat and a hat between them (sample,), within +-1."""
    kick, hat = time % beat, (time + beat / 2) % beat
    low = np.sin(2 * np.pi * (50 * kick + 8 * (1 - np.exp(-kick / 0.05)))) * np.exp(-kick / 0.12)
    noise = np.diff(rng.uniform(-1, 1, len(time) + 1)) / 2
    return np.asarray(0.7 * low + 0.3 * noise * np.exp(-hat / 0.04))


def _sound(path: Path, samples: Samples) -> None:
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write(path, Audio(samples, _RATE))


def _text(path: Path, text: str) -> None:
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with PartFile(path) as part, output_errors(path):
        part.temporary.write_bytes(text.encode("utf-8"))


_MUSDB = (
    ("train", "Ana Miniatura - Brève Chanson"),
    ("train", "Zwerge - Kürze & Würze"),
    ("train", "Actions - One Minute Smile"),
    ("test", "小さな楽団 - 短い歌"),
)


def _write_musdb18(root: Path, compose: _Compose) -> None:
    for split, name in _MUSDB:
        song = compose(name)
        path = root / split / f"{name}.stem.mp4"
        with output_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        with create_stem_file(path, _RATE, STEM_NAMES) as writer:
            writer.write({"mixture": song.mix(), **song.stems})


def _write_musdb18hq(root: Path, compose: _Compose) -> None:
    for split, name in _MUSDB:
        song = compose(name)
        for source, samples in {"mixture": song.mix(), **song.stems}.items():
            _sound(root / split / name / f"{source}.wav", samples)


def _write_dsd100(root: Path, compose: _Compose) -> None:
    names = {
        "Dev": ("051 - Ana Miniatura - Brève Chanson", "052 - The Small Ones - Étude"),
        "Test": ("001 - Zwerge - Kürze", "002 - 小さな楽団 - 短い歌"),
    }
    for split, songs in names.items():
        for name in songs:
            song = compose(name)
            _sound(root / "Mixtures" / split / name / "mixture.wav", song.mix())
            for source, samples in song.stems.items():
                _sound(root / "Sources" / split / name / f"{source}.wav", samples)


_BAND = {
    "AnaMiniatura_BreveChanson": (
        ("male singer", "vocals"),
        ("drum set", "drums"),
        ("electric bass", "bass"),
        ("distorted electric guitar", "electric guitar"),
        ("clean electric guitar", "electric guitar"),
        ("violin", "violin"),
    ),
    "TheSmallOnes_Etude": (
        ("female singer", "vocals"),
        ("acoustic guitar", "acoustic guitar"),
        ("piano", "piano"),
    ),
    "Zwerge_Wuerze": (
        (["vocalists", "piano"], "vocals"),
        ("piano", "piano"),
        ("double bass", "bass"),
        ("drum machine", "drums"),
    ),
}


def _write_medleydb(root: Path, compose: _Compose) -> None:
    folder = root / "Annotations" / "Instrument_Activations" / "ACTIVATION_CONF"
    for name, band in _BAND.items():
        song = compose(name, [sound for _, sound in band])
        files = [f"{name}_STEM_{number:02d}.wav" for number in range(1, len(band) + 1)]
        stems = _write_song(root / "Audio" / name, name, song, band, files, f"{name}_MIX.wav")
        _write_confidence(folder / f"{name}_ACTIVATION_CONF.lab", stems)


def _write_mixing_secrets(root: Path, compose: _Compose) -> None:
    """Looser names: grouped stems have words, single ones keep the names of the raw tracks."""
    for name, band in _BAND.items():
        song = compose(name, [sound for _, sound in band])
        files = [
            f"{name}_STEM_{sound}.wav" if sound == "drums" else f"{number:02d}_{sound.title()}.wav"
            for number, (_, sound) in enumerate(band, 1)
        ]
        folder = root / "Audio" / name
        mix = f"{name}_MIX.mp3" if name.startswith("Ana") else f"{name}_MIX.wav"
        stems = _write_song(folder, name, song, band, files, mix, "Mixing Secrets")
        _write_confidence(folder / f"{name}_ACTIVATION_CONF.lab", stems)


def _write_song(
    folder: Path,
    name: str,
    song: _Song,
    band: Sequence[tuple[Any, str]],
    files: Sequence[str],
    mix: str,
    origin: str = "Miniature",
) -> dict[str, Samples]:
    """A song in MedleyDB's layout; returns its stems by their names S01, S02 ..."""
    stems = {f"S{number:02d}": song.stems[sound] for number, (_, sound) in enumerate(band, 1)}
    for file, samples in zip(files, stems.values(), strict=True):
        _sound(folder / f"{name}_STEMS" / file, samples)
    total: Samples = np.sum(list(stems.values()), axis=0)
    _sound(folder / mix, total)
    listed = {}
    for (stem, samples), file, (instrument, _) in zip(stems.items(), files, band, strict=True):
        raw = f"{name}_RAW_{stem[1:]}_01.wav"
        _sound(folder / f"{name}_RAW" / raw, samples.mean(axis=0, keepdims=True))
        listed[stem] = {
            "component": "",
            "filename": file,
            "instrument": instrument,
            "raw": {"R01": {"filename": raw, "instrument": instrument}},
        }
    loose = origin == "Mixing Secrets"
    metadata = {
        "album": "",
        "artist": name.partition("_")[0],
        "composer": "" if loose else ["nobody"],
        "excerpt": "" if loose else "no",
        "genre": "" if loose else "Pop",
        "has_bleed": "no",
        "instrumental": "no",
        "mix_filename": mix,
        "origin": origin,
        "producer": "" if loose else ["nobody"],
        "raw_dir": f"{name}_RAW",
        "stem_dir": f"{name}_STEMS",
        "stems": listed,
        "title": name.partition("_")[2],
        "version": "3.0" if loose else 1.2,
        "website": "" if loose else [],
    }
    _text(folder / f"{name}_METADATA.yaml", yaml.safe_dump(metadata, allow_unicode=True))
    return stems


def _write_confidence(path: Path, stems: Mapping[str, Samples]) -> None:
    found = confidence_from_stems(stems, _RATE)
    rows = [",".join(("time", *found.sources))]
    for time, values in zip(found.times, found.probabilities.T, strict=True):
        rows.append(",".join(f"{value:.4f}" for value in (time, *values)))
    _text(path, "\n".join(rows) + "\n")


def _write_ccmixter(root: Path, compose: _Compose) -> None:
    for name in ("ana_-_breve_chanson", "zwerge_-_wuerze", "nonames_-_étude"):
        song = compose(name)
        _sound(root / name / "mix.wav", song.mix())
        _sound(root / name / "source-01.wav", song.mix(("drums", "bass", "other")))
        _sound(root / name / "source-02.wav", song.stems["vocals"])


def _write_ikala(root: Path, compose: _Compose) -> None:
    for name in ("10161_chorus", "10161_verse", "90586_chorus"):
        song = compose(name)
        both = [song.mix(("drums", "bass", "other")), song.stems["vocals"]]
        _sound(root / "Wavfile" / f"{name}.wav", np.stack([one.mean(axis=0) for one in both]))


def _write_jamendo(root: Path, compose: _Compose) -> None:
    names = {
        "train": ("01 - Brève Chanson.mp3", "02 - Étude.ogg"),
        "valid": ("03 - Kürze.ogg",),
        "test": ("04 - 短い歌.mp3", "05 - Würze.ogg"),
    }
    for split, files in names.items():
        for file in files:
            song = compose(file)
            _sound(root / "audio" / split / file, song.mix())
            lines, before = [], 0.0
            for start, end in song.singing:
                lines += [f"{before:.3f} {start:.3f} nosing", f"{start:.3f} {end:.3f} sing"]
                before = end
            _text(root / "labels" / f"{Path(file).stem}.lab", "\n".join(lines) + "\n")


def _write_rwc(root: Path, compose: _Compose) -> None:
    states = ("m:withm", "f:withf", "m:", "g:")
    for index, (disc, track, piece) in enumerate(((1, 1, 1), (1, 2, 2), (2, 1, 17), (7, 10, 100))):
        name = f"RM-P{piece:03d}"
        song = compose(name)
        _sound(root / "audio" / f"rwc-p-m{disc:02d}" / f"{track}.wav", song.mix())
        rows, before = [(0.0, "b")], 0.0
        for start, end in song.singing:
            if before:
                rows.append((before, "s:electricguitar"))
            rows.append((start, states[index]))
            before = end
        rows.append((before, "e"))
        text = "".join(f"{time:.9f}\t{state}\r\n" for time, state in rows)
        _text(root / RWC_LABELS / f"{name}.VOCA_INST.TXT", text)


def _write_folder(root: Path, compose: _Compose) -> None:
    """Every freedom of plain folders: splits, codecs, missing stems and mixtures, label files."""
    songs: dict[str, tuple[str, bool, str, Sequence[str]]] = {
        "train/Brève Chanson": ("flac", True, "csv", _FOUR),
        "train/album/étude": ("wav", False, "lab", ("vocals", "drums")),
        "train/短い歌": ("ogg", True, "jams", ("vocals",)),
        "validation/Kürze": ("mp3", True, "txt", _FOUR),
        "test/only a mixture": ("m4a", True, "lab", ()),
    }
    for name, (suffix, mixture, labels, stems) in songs.items():
        song = compose(name)
        for source in stems:
            _sound(root / name / f"{source}.{suffix}", song.stems[source])
        if mixture:
            _sound(root / name / f"mixture.{suffix}", song.mix())
        activity = Activity.from_segments({"vocals": song.singing}, song.seconds)
        write_activity(root / name / f"activity.{labels}", activity)


_WRITERS: dict[str, Callable[[Path, _Compose], None]] = {
    "musdb18": _write_musdb18,
    "musdb18hq": _write_musdb18hq,
    "dsd100": _write_dsd100,
    "medleydb": _write_medleydb,
    "mixing_secrets": _write_mixing_secrets,
    "ccmixter": _write_ccmixter,
    "ikala": _write_ikala,
    "jamendo": _write_jamendo,
    "rwc": _write_rwc,
    "folder": _write_folder,
}
