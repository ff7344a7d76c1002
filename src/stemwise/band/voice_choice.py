"""Which base voice a singer gets, by family and by the split that keeps some for evaluation."""

from __future__ import annotations

import numpy as np

from stemwise.band.voice_bank import VoiceBank
from stemwise.band.voice_corpus import load_voice
from stemwise.band.voice_formants import formant_voice
from stemwise.band.voice_sources import VOICES, Voice, VoiceError

FAMILIES = ("dsp", "sampled")
SPLITS = ("train", "held-out", "all")


def sampled_voices(split: str) -> list[Voice]:
    """Base voices of a split; "held-out" and "train" share no speaker."""
    if split not in SPLITS:
        raise VoiceError(f"unknown voices '{split}': choose one of {', '.join(SPLITS)}")
    return [voice for voice in VOICES if split == "all" or voice.held_out == (split == "held-out")]


def draw_bank(rng: np.random.Generator, family: str, split: str) -> VoiceBank:
    """A voice of the family and split.

    Six in ten sampled ones are recorded speakers, one or two in ten computed formant voices.
    """
    if family not in FAMILIES:
        raise VoiceError(f"unknown family '{family}': choose one of {', '.join(FAMILIES)}")
    voices = sampled_voices(split)
    if family == "dsp" or rng.random() < 0.15:
        return formant_voice(rng, split)
    recorded = [voice for voice in voices if voice.natural]
    others = [voice for voice in voices if not voice.natural]
    pool = recorded if rng.random() < 0.75 else others
    return load_voice(pool[int(rng.integers(len(pool)))].name)
