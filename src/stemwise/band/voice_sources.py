"""The speech synthesisers behind the sampled singers, and how each speaks a list of words."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from stemwise.errors import StemwiseError

CORPUS_RATE = 22050
_PICO_RATE = 16000
PACKAGES = {"flite": "flite", "espeak": "espeak-ng", "festival": "festival"}
_PROGRAMS = {"flite": "flite", "espeak": "espeak-ng", "festival": "festival"}


class VoiceError(StemwiseError):
    """A voice that cannot speak, or a corpus that cannot be built or read."""


@dataclass(frozen=True)
class Voice:
    """One voice: `identifier` as its program knows it, `speaker` shared by voices of a person."""

    name: str
    program: str
    identifier: str
    language: str
    female: bool
    speaker: str
    natural: bool
    held_out: bool = False


def _recorded() -> list[Voice]:
    """Recorded speakers under permissive licences; those under GPL or LGPL are left out."""
    rows = [
        ("flite-kal16", "flite", "kal16", "english", False, "kal", False),
        ("flite-awb", "flite", "awb", "english", False, "awb", False),
        ("flite-rms", "flite", "rms", "english", False, "rms", True),
        ("flite-slt", "flite", "slt", "english", True, "slt", False),
        ("festival-kal", "festival", "kal_diphone", "english", False, "kal", False),
        ("festival-ked", "festival", "ked_diphone", "english", False, "ked", False),
        ("festival-slt", "festival", "cmu_us_slt_arctic_hts", "english", True, "slt", False),
        ("pico-en-gb", "pico", "en-GB", "english", True, "pico-en-gb", False),
        ("pico-en-us", "pico", "en-US", "english", True, "pico-en-us", False),
        ("pico-de", "pico", "de-DE", "german", True, "pico-de", False),
        ("pico-es", "pico", "es-ES", "spanish", True, "pico-es", True),
        ("pico-fr", "pico", "fr-FR", "french", True, "pico-fr", False),
        ("pico-it", "pico", "it-IT", "italian", True, "pico-it", False),
    ]
    return [Voice(n, p, i, lang, f, s, True, h) for n, p, i, lang, f, s, h in rows]


def _formant() -> list[Voice]:
    rows = [
        ("en-us+m3", "english", False),
        ("en-us+f2", "english", True),
        ("en-gb+f4", "english", True),
        ("en-gb-scotland+m7", "english", False),
        ("en-us+klatt2", "english", False),
        ("en-us+klatt4", "english", False),
        ("en-gb+michael", "english", False),
        ("en-us+belinda", "english", True),
        ("it+m1", "italian", False),
        ("it+f5", "italian", True),
        ("es+m4", "spanish", False),
        ("es+f1", "spanish", True),
        ("pt-br+f3", "portuguese", True),
        ("pt-br+m5", "portuguese", False),
        ("de+m6", "german", False),
        ("de+f2", "german", True),
        ("fr-fr+f4", "french", True),
        ("fr-fr+m8", "french", False),
        ("pl+m2", "polish", False),
        ("sv+f3", "swedish", True),
        ("id+anika", "indonesian", True),
        ("es-419+adam", "spanish", False),
        ("en-us+linda", "english", True),
        ("en-gb-x-rp+rob", "english", False),
    ]
    held = {"en-gb+f4", "es+m4", "fr-fr+m8", "sv+f3", "en-us+klatt4", "en-us+linda"}
    return [Voice(f"espeak-{i}", "espeak", i, lang, f, i, False, i in held) for i, lang, f in rows]


VOICES: tuple[Voice, ...] = tuple(_recorded() + _formant())


def require_program(program: str) -> str:
    """Path of a synthesiser's executable; VoiceError with the package's name when it is missing."""
    path = shutil.which(_PROGRAMS[program])
    if path is None:
        raise VoiceError(
            f"the program '{_PROGRAMS[program]}' is needed for sampled singers: install the "
            f"system package '{PACKAGES[program]}' or render with the family 'dsp'"
        )
    return path


def speak(voice: Voice, words: Sequence[str]) -> list[np.ndarray]:
    """Each word spoken by `voice`, float64 (sample) at 22050 Hz; failed words come back empty."""
    if voice.program == "pico":
        return _speak_pico(voice.identifier, words)
    program = require_program(voice.program)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{index}.wav" for index in range(len(words))]
        if voice.program == "festival":
            lines = [f"(voice_{voice.identifier})"]
            for word, path in zip(words, paths, strict=True):
                lines.append(f'(set! u (utt.synth (Utterance Text "{word}")))')
                lines.append(f'(utt.save.wave u "{path}" (quote riff))')
            _run([program, "--pipe"], 300, "\n".join(lines).encode())
        for word, path in zip(words, paths, strict=True):
            if voice.program == "flite":
                command = [program, "-voice", voice.identifier, "-t", word, "-o", str(path)]
            elif voice.program == "espeak":
                command = [program, "-v", voice.identifier, "-s", "130", "-w", str(path), word]
            else:
                break
            _run(command, 60)
        return [_load(path) for path in paths]


def _run(command: Sequence[str], seconds: float, text: bytes | None = None) -> None:
    """Run a synthesiser; a word it fails on has no file. Raises VoiceError when it hangs."""
    try:
        subprocess.run(command, input=text, capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise VoiceError(
            f"the speech program {command[0]} did not end within {seconds:g} s: "
            "try again, or render with the family 'dsp'"
        ) from error


def _speak_pico(language: str, words: Sequence[str]) -> list[np.ndarray]:
    try:
        import ttspico
    except ImportError as error:
        raise VoiceError(
            f"the voices of SVOX Pico need ttspico ({error}): install stemwise[band] "
            "or render with the family 'dsp'"
        ) from None
    engine = ttspico.TtsEngine(language)
    spoken = (np.frombuffer(engine.speak(word), dtype="<i2") / 32768.0 for word in words)
    return [np.asarray(soxr.resample(samples, _PICO_RATE, CORPUS_RATE)) for samples in spoken]


def _load(path: Path) -> np.ndarray:
    if not path.exists() or path.stat().st_size < 1000:
        return np.zeros(0)
    samples, rate = soundfile.read(path, dtype="float64")
    samples = samples if samples.ndim == 1 else samples.mean(axis=1)
    return np.asarray(soxr.resample(samples, rate, CORPUS_RATE))
