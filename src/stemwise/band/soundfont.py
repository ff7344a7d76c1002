"""Offline playback of General MIDI soundfonts through libfluidsynth, opened once per process."""

from __future__ import annotations

import ctypes
from ctypes.util import find_library
from functools import lru_cache
from pathlib import Path

import numpy as np

from stemwise.band.effects import Samples
from stemwise.band.notes import Note
from stemwise.band.song import BandError

FOLDER = Path("/usr/share/sounds/sf2")
FONTS = {"fluid": FOLDER / "FluidR3_GM.sf2", "musescore": FOLDER / "MuseScore_General_Full.sf2"}
PACKAGES = (
    "fluid-soundfont-gm, musescore-general-soundfont-lossless, libfluidsynth3, hydrogen-drumkits"
)
_BLOCK = 64  # fluidsynth applies events at the borders of its 64-sample blocks


def missing() -> list[str]:
    """What the sampled family still needs on this machine; empty when it can play."""
    lacking = [str(path) for path in FONTS.values() if not path.exists()]
    if find_library("fluidsynth") is None:
        lacking.append("libfluidsynth")
    return lacking


class SoundFontPlayer:
    """One synthesiser at one sample rate with both soundfonts; presets stay loaded once used."""

    def __init__(self, sample_rate: int) -> None:
        lacking = missing()
        if lacking:
            raise BandError(
                f"the 'sampled' instruments need {', '.join(lacking)}: install the Debian packages "
                f"{PACKAGES}, or render with family 'dsp'"
            )
        library = ctypes.CDLL(find_library("fluidsynth") or "libfluidsynth.so.3")
        pointer, text, integer = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
        library.new_fluid_settings.restype = pointer
        library.new_fluid_synth.restype = pointer
        library.new_fluid_synth.argtypes = [pointer]
        library.fluid_settings_setnum.argtypes = [pointer, text, ctypes.c_double]
        library.fluid_settings_setint.argtypes = [pointer, text, integer]
        library.fluid_synth_sfload.argtypes = [pointer, text, integer]
        library.fluid_synth_program_select.argtypes = [pointer, integer, integer, integer, integer]
        library.fluid_synth_pin_preset.argtypes = [pointer, integer, integer, integer]
        library.fluid_synth_noteon.argtypes = [pointer, integer, integer, integer]
        library.fluid_synth_noteoff.argtypes = [pointer, integer, integer]
        library.fluid_synth_cc.argtypes = [pointer, integer, integer, integer]
        library.fluid_synth_pitch_bend.argtypes = [pointer, integer, integer]
        library.fluid_sfont_get_id.argtypes = [pointer]
        library.fluid_set_log_function.argtypes = [integer, pointer, pointer]
        library.fluid_set_log_function(2, None, None)  # warns of channels without a preset
        library.fluid_synth_get_sfont_by_id.restype = pointer
        library.fluid_synth_get_sfont_by_id.argtypes = [pointer, integer]
        library.fluid_synth_add_sfont.argtypes = [pointer, pointer]
        library.fluid_synth_remove_sfont.argtypes = [pointer, pointer]
        library.delete_fluid_synth.argtypes = [pointer]
        library.fluid_synth_write_float.argtypes = [
            pointer, integer, pointer, integer, integer, pointer, integer, integer,
        ]  # fmt: skip
        settings = library.new_fluid_settings()
        library.fluid_settings_setnum(settings, b"synth.sample-rate", float(sample_rate))
        library.fluid_settings_setnum(settings, b"synth.gain", 0.5)
        for setting, value in (
            (b"synth.reverb.active", 0),
            (b"synth.chorus.active", 0),
            (b"synth.polyphony", 96),
            (b"synth.dynamic-sample-loading", 1),
        ):
            library.fluid_settings_setint(settings, setting, value)
        self._library = library
        self._settings = settings
        self._keeper = library.new_fluid_synth(settings)  # owns the fonts and their loaded samples
        self.sample_rate = sample_rate
        self._fonts = {}
        for name, path in FONTS.items():
            identity = library.fluid_synth_sfload(self._keeper, str(path).encode(), 0)
            if identity < 0:
                raise BandError(f"{path} is not a readable soundfont: reinstall its Debian package")
            self._fonts[name] = library.fluid_synth_get_sfont_by_id(self._keeper, identity)
        self._pinned: set[tuple[str, int, int]] = set()
        for name in FONTS:  # what every new synthesiser selects first
            self._pin((name, 0, 0))
            self._pin((name, 128, 0))

    def _pin(self, preset: tuple[str, int, int]) -> None:
        """Load the samples of a preset for good."""
        font, bank, program = preset
        if preset not in self._pinned:
            identity = self._library.fluid_sfont_get_id(self._fonts[font])
            self._library.fluid_synth_pin_preset(self._keeper, identity, bank, program)
            self._pinned.add(preset)

    def render(
        self,
        preset: tuple[str, int, int],
        notes: list[Note],
        count: int,
        *,
        bends: list[tuple[float, float]] | None = None,
        vibrato: float = 0.0,
    ) -> Samples:
        """Play notes with a (font, bank, program) preset into (2, count) samples.

        `bends` are (seconds, semitones within +-2), `vibrato` 0 to 1 drives the modulation wheel.
        """
        library = self._library
        font, bank, program = preset
        self._pin(preset)
        # a new synthesiser for each part: voices remember their filters, which would make a part
        # depend on what was rendered before it
        synth = library.new_fluid_synth(self._settings)
        identity = library.fluid_synth_add_sfont(synth, self._fonts[font])
        try:
            if library.fluid_synth_program_select(synth, 0, identity, bank, program) != 0:
                raise BandError(f"soundfont '{font}' has no preset {bank}:{program}")
            if vibrato:
                library.fluid_synth_cc(synth, 0, 1, int(127 * vibrato))
            return self._play(synth, notes, count, bends or [])
        finally:
            library.fluid_synth_remove_sfont(synth, self._fonts[font])
            library.delete_fluid_synth(synth)

    def _play(
        self, synth: int, notes: list[Note], count: int, bends: list[tuple[float, float]]
    ) -> Samples:
        """Send the events in time order and collect the sound between them."""
        library = self._library
        padded = -(-count // _BLOCK) * _BLOCK
        out = np.zeros((2, padded), np.float32)
        events: list[tuple[int, int, int, int]] = []
        for note in notes:
            start, end = self._block(note.start), self._block(note.end)
            events.append((start, 1, note.pitch, max(1, min(127, round(note.velocity * 127)))))
            events.append((max(end, start + 1), 0, note.pitch, 0))
        for time, semitones in bends:
            events.append(
                (self._block(time), -1, 0, int(np.clip(8192 + semitones * 4096, 0, 16383)))
            )
        position = 0
        for block, kind, pitch, value in sorted(events):
            target = min(block * _BLOCK, padded)
            position = self._advance(synth, out, position, target)
            if kind == 1:
                library.fluid_synth_noteon(synth, 0, pitch, value)
            elif kind == 0:
                library.fluid_synth_noteoff(synth, 0, pitch)
            else:
                library.fluid_synth_pitch_bend(synth, 0, value)
        self._advance(synth, out, position, padded)
        return out[:, :count]

    def _block(self, time: float) -> int:
        return int(time * self.sample_rate) // _BLOCK

    def _advance(self, synth: int, out: Samples, position: int, target: int) -> int:
        if target > position:
            left, right = out[0].ctypes.data, out[1].ctypes.data
            self._library.fluid_synth_write_float(
                synth, target - position, left, position, 1, right, position, 1
            )
        return max(position, target)


@lru_cache(maxsize=2)
def player(sample_rate: int) -> SoundFontPlayer:
    """The process's synthesiser for a sample rate."""
    return SoundFontPlayer(sample_rate)
