"""iKala: two mono stems in the channels of one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stemwise.audio import Audio, read, write
from stemwise.data.ikala import read_ikala
from stemwise.data.miniature import write_miniature
from stemwise.errors import DataError


def test_the_voice_is_the_right_channel(tmp_path: Path) -> None:
    write_miniature("ikala", tmp_path, seconds=1.0)
    for track in read_ikala(tmp_path):
        both = read(tmp_path / "Wavfile" / f"{track.name}.wav").samples
        voice = track.read_stem("vocals", 0, track.samples)
        np.testing.assert_array_equal(voice, np.stack([both[1], both[1]]))
        np.testing.assert_allclose(
            track.read_mixture(0, track.samples), np.stack([both.sum(axis=0)] * 2), atol=1e-7
        )
        # the singer of a miniature rests in the first quarter
        assert not voice[:, : track.samples // 4].any()
        assert track.read_stem("accompaniment", 0, track.samples // 4).any()


def test_a_mono_clip_is_named(tmp_path: Path) -> None:
    (tmp_path / "Wavfile").mkdir()
    path = tmp_path / "Wavfile" / "1_verse.wav"
    write(path, Audio(np.full((1, 100), 0.1, np.float32), 44100))
    with pytest.raises(DataError, match=r"1_verse\.wav has 1 channel, and its channel 2 is a stem"):
        read_ikala(tmp_path)
