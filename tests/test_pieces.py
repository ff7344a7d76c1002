"""Songs are cut so that few shapes of pieces occur, whatever the songs' lengths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stemwise.models import build
from stemwise.pieces import LAST_LENGTHS, Cutter


def _shapes(cutter: Cutter, lengths: list[int]) -> set[object]:
    found: set[object] = set()
    for length in lengths:
        pieces = list(cutter.cut([np.zeros((1, 2, length), np.float32)]))
        assert sum(piece.keep for piece in pieces) == length
        found |= {piece.shape for piece in pieces}
    return found


def test_songs_of_any_length_have_few_shapes() -> None:
    """Memory grew by 12 MB with every length that was new."""
    rng = np.random.default_rng(0)
    separator = build("band-unet", widths=[8, 8, 8, 8, 8])
    lengths = [int(one) for one in rng.uniform(1, 50, 150) * separator.sample_rate]
    cutter = Cutter(separator.grid, separator.segment * separator.sample_rate, 0.0)
    assert len(_shapes(cutter, lengths)) <= LAST_LENGTHS + 1


def test_networks_that_hear_the_silence_behind_a_song_get_no_more_of_it() -> None:
    grid = replace(build("band-unet", widths=[8, 8, 8, 8, 8]).grid, finite=False)
    [piece] = Cutter(grid, 20 * 44100, 0.0).cut([np.zeros((1, 2, 44100), np.float32)])
    assert piece.core - 44100 < grid.alignment
