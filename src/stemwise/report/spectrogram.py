"""Spectrograms of recordings that stream by: log-frequency pictures of constant size.

The meter keeps as many columns as the picture has, or up to twice as many, whatever the length of
the song: when they run out, neighbours are joined and each following column takes twice as long.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

COLUMNS, ROWS = 1600, 200
LOWEST, HIGHEST = 30.0, 20000.0
"""Hz of the picture's edges, where the sample rate reaches so far."""
RANGE = 80.0
"""Decibels from the palest to the darkest colour."""
_WINDOW = 0.12  # seconds, to the next power of two: enough for the notes of a bass
_TONES = 48  # colours of a picture, 1.7 dB each; more would double its size and not be seen
_GROUND = (20, 22, 26)  # the paper of dark pages


@dataclass(frozen=True, eq=False)
class Picture:
    """Power in each row and column: float32 (row, column), row 0 at `low_hz`, rows log-spaced.

    A sine of full scale has a power of about 1 in its row (within 2 dB).
    """

    power: NDArray[np.float32]
    low_hz: float
    high_hz: float

    @property
    def loudest(self) -> float:
        """Highest power in decibels; -inf for silence."""
        with np.errstate(divide="ignore"):
            return float(10 * np.log10(self.power.max(initial=0)))

    def png(self, top: float | None = None) -> bytes:
        """PNG image, high frequencies above, on a dark ground.

        top: decibels of the palest colour, such as the loudest of several pictures to be compared
        (None: of this one); what is 80 dB below is as dark as silence.
        """
        from PIL import Image

        top = self.loudest if top is None else top
        with np.errstate(divide="ignore"):
            decibels = 10 * np.log10(self.power)
        # of silence neither the level nor the top is a number to calculate with
        level = np.clip((decibels - top) / RANGE + 1, 0, 1) if np.isfinite(top) else 0 * self.power
        tones = np.rint(level * (_TONES - 1)).astype(np.uint8)
        image = Image.fromarray(np.ascontiguousarray(tones[::-1]))
        image = image.convert("P")
        image.putpalette(_palette())
        file = io.BytesIO()
        image.save(file, "PNG", optimize=True, bits=6)
        return file.getvalue()


def _palette() -> bytes:
    """RGB triples from the ground to nearly white, by even steps of perceived lightness."""
    from matplotlib import colormaps

    colours = np.asarray(colormaps["magma"](np.linspace(0, 1, _TONES)))[:, :3] * 255
    # the map begins with black, which would be a hole in a dark page
    lit = 255 - (255 - colours) * (255 - np.asarray(_GROUND)) / 255
    return bytes(np.rint(lit).astype(np.uint8).ravel().tolist())


class SpectrogramMeter:
    """Collects a picture from blocks (channel, sample), full scale at one.

    duration: of the recording in seconds, if known: how many spectra a column is made of depends
    on it, the picture's length does not. The channels' powers are averaged.
    """

    def __init__(self, sample_rate: int, channels: int, duration: float | None = None) -> None:
        self.low_hz, self.high_hz = LOWEST, min(HIGHEST, sample_rate / 2)
        if self.high_hz < 2 * self.low_hz:
            raise ValueError(f"there is nothing to draw at {sample_rate} Hz")
        self._size = 1 << max(5, round(math.log2(_WINDOW * sample_rate)))
        wanted = (duration or 600) * sample_rate / COLUMNS
        # a quarter of the window resolves all that it can, half of it misses nothing
        self._hop = int(np.clip(wanted, self._size / 32, self._size / 2))
        self._window = np.hanning(self._size + 1)[:-1].astype(np.float32)
        self._bands = _bands(self._size, sample_rate, self.low_hz, self.high_hz)
        self._scale = np.float32((2 / self._window.sum()) ** 2 / channels)
        # a spectrum is centred on its time: half a window of silence goes before
        self._rest = np.zeros((channels, self._size // 2), np.float32)
        self._columns = np.zeros((2 * COLUMNS, ROWS), np.float32)
        self._filled = 0  # columns that are whole
        self._each = 1  # spectra in each column
        self._begun = np.zeros((0, ROWS), np.float32)
        self._samples = 0

    def add(self, block: NDArray[np.float32]) -> None:
        """Take the next block (channel, sample)."""
        self._samples += block.shape[1]
        self._take(block)

    def picture(self) -> Picture:
        """The picture of what was added; ends the collection. Raises ValueError if it is empty."""
        if not self._samples:
            raise ValueError("no samples were added")
        centres = -(-self._samples // self._hop)
        missing = (centres - 1) * self._hop + self._size - self._seen()
        if missing > 0:
            self._take(np.zeros((len(self._rest), missing), np.float32))
        rows = self._columns[: self._filled]
        if len(self._begun):
            rows = np.concatenate([rows, self._begun.mean(axis=0, keepdims=True)])
        return Picture(_squeezed(rows).T.copy(), self.low_hz, self.high_hz)

    def _seen(self) -> int:
        """Samples since the first spectrum's start."""
        return self._samples + self._size // 2

    def _take(self, block: NDArray[np.float32]) -> None:
        from scipy.fft import rfft

        joined = np.concatenate([self._rest, block], axis=1)
        count = (joined.shape[1] - self._size) // self._hop + 1
        if count <= 0:
            self._rest = joined
            return
        frames = np.lib.stride_tricks.sliding_window_view(joined, self._size, axis=1)
        for start in range(0, count, 64):  # spectra at a time: they stay in the processor's cache
            taken = frames[:, start * self._hop : count * self._hop : self._hop][:, :64]
            spectra = rfft(taken * self._window, axis=-1)
            power = (spectra.real**2 + spectra.imag**2).sum(axis=0)
            self._put(np.asarray(self._bands @ (power.T * self._scale)).T)
        self._rest = joined[:, count * self._hop :].copy()

    def _put(self, rows: NDArray[np.float32]) -> None:
        """Spectra (spectrum, row) into columns."""
        rows = np.concatenate([self._begun, rows])
        while len(rows) >= self._each:
            space = len(self._columns) - self._filled
            if not space:
                self._columns[:COLUMNS] = (self._columns[::2] + self._columns[1::2]) / 2
                self._filled, self._each = COLUMNS, 2 * self._each
                continue
            count = min(space, len(rows) // self._each)
            whole = rows[: count * self._each].reshape(count, self._each, ROWS)
            self._columns[self._filled : self._filled + count] = whole.mean(axis=1)
            self._filled += count
            rows = rows[count * self._each :]
        self._begun = rows


def _squeezed(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of neighbours (column, row), at most as many columns as a picture has."""
    if len(rows) <= COLUMNS:
        return rows
    edges = np.linspace(0, len(rows), COLUMNS + 1)
    sums = np.concatenate([np.zeros((1, ROWS)), np.cumsum(rows, axis=0, dtype=np.float64)])
    whole = np.floor(edges).astype(int)
    after = np.minimum(whole + 1, len(rows))
    share = (edges - whole)[:, np.newaxis]
    # a column takes the parts of rows that lie in it
    integral = sums[whole] * (1 - share) + sums[after] * share
    width = len(rows) / COLUMNS
    squeezed: NDArray[np.float64] = np.diff(integral, axis=0) / width
    return np.maximum(squeezed, 0).astype(np.float32)


def _bands(size: int, sample_rate: int, low: float, high: float) -> csr_array[Any]:
    """Sparse weights (row, bin) of power: triangles from one row's frequency to the next.

    Where rows are closer than bins, a row interpolates between bins; above, it sums them, so that
    the noise of a cymbal is as bright as it is loud.
    """
    from scipy.sparse import csr_array

    frequencies = np.arange(size // 2 + 1) * (sample_rate / size)
    centres = np.geomspace(low, high, ROWS)
    ratio = centres[1] / centres[0]
    spacing = sample_rate / size
    below = np.maximum(centres * (1 - 1 / ratio), spacing)[:, np.newaxis]
    above = np.maximum(centres * (ratio - 1), spacing)[:, np.newaxis]
    away = frequencies - centres[:, np.newaxis]
    weights = np.clip(1 - np.where(away < 0, -away / below, away / above), 0, 1)
    return csr_array(weights.astype(np.float32))
