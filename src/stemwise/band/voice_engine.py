"""Source-filter synthesis: pulses and noise shaped frame by frame with minimum-phase envelopes.

The model is WORLD's (Morise et al., IEICE 2016): a pulse train and white noise, mixed by the
aperiodicity and filtered by a minimum-phase spectral envelope. All frames are filtered at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft

from stemwise.band.voice_bank import TOP, envelope_frequencies, noise_frequencies

_TAPS = 16
_PHASES = 64


def hop_length(sample_rate: int) -> int:
    """Samples between synthesis frames: 5.8 ms, a power of two at 22050 and 44100 Hz."""
    return int(2 ** round(np.log2(sample_rate * 128 / 22050)))


@dataclass(frozen=True)
class Roughness:
    """Irregular glottal pulses: relative jitter and shimmer, doubling and growl depths (0 to 1)."""

    jitter: float = 0.004
    shimmer: float = 0.02
    doubling: float = 0.0
    growl: float = 0.0
    growl_rate: float = 40.0


def _weights(points: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Matrix (point, bin) of linear interpolation, held constant outside the points."""
    return np.stack([np.interp(bins, points, row) for row in np.eye(len(points))])


@lru_cache(maxsize=4)
def _tables(sample_rate: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Minimum-phase basis (point, bin) and bias (bin,), noise weights (point, bin), FFT size."""
    size = 8 * hop_length(sample_rate)
    bins = np.linspace(0.0, sample_rate / 2, size // 2 + 1)
    # half the log power is the log amplitude; above the corpus band it falls by 17 dB per octave
    fall = -2.0 * np.log2(np.maximum(bins, TOP) / TOP)
    rows = np.concatenate([0.5 * _weights(envelope_frequencies(), bins), fall[None]])
    fold = np.zeros(size)
    fold[0] = fold[size // 2] = 1.0
    fold[1 : size // 2] = 2.0  # causal cepstrum: minimum phase
    complete = fft.rfft(fft.irfft(rows, size, axis=1) * fold, axis=1).astype(np.complex64)
    noise = _weights(noise_frequencies(), bins).astype(np.float32)
    return complete[:-1], complete[-1], noise, size


@lru_cache(maxsize=1)
def _sinc_table() -> np.ndarray:
    """Band-limited impulses (phase, tap) for fractional delays of phase / 64 samples."""
    delay = np.arange(_PHASES)[:, None] / _PHASES
    position = np.arange(_TAPS)[None] - (_TAPS // 2 - 1) - delay
    window = 0.5 + 0.5 * np.cos(np.pi * np.clip(position / (_TAPS // 2), -1, 1))
    return np.asarray(np.sinc(position) * window)


def pulse_train(
    pitch: np.ndarray,
    voiced: np.ndarray,
    sample_rate: int,
    rng: np.random.Generator,
    roughness: Roughness,
) -> np.ndarray:
    """Pulses (sample) of unit mean power at pitch (frame, hertz) where voiced (frame, 0 to 1)."""
    hop = hop_length(sample_rate)
    frames = len(pitch)
    cycles = np.r_[0.0, np.cumsum(0.5 * (pitch[1:] + pitch[:-1]) * hop / sample_rate)]
    count = int(cycles[-1])
    length = frames * hop + 2 * _TAPS
    if count < 1:
        return np.zeros(frames * hop)
    index = np.arange(count, dtype=float)
    index += roughness.jitter * rng.standard_normal(count)
    at = np.interp(index, cycles, np.arange(frames) * float(hop))
    frame = np.clip((at / hop + 0.5).astype(int), 0, frames - 1)
    height = np.sqrt(sample_rate / pitch[frame]) * voiced[frame]
    height *= 1.0 + roughness.shimmer * rng.standard_normal(count)
    if roughness.doubling > 0:
        height *= 1.0 + roughness.doubling * np.where(np.arange(count) % 2, 1.0, -1.0)
    if roughness.growl > 0:
        wander = 1.0 + 0.2 * np.sin(at / sample_rate * 9.0 + rng.uniform(0, 6))
        height *= 1.0 + roughness.growl * np.sin(
            2 * np.pi * roughness.growl_rate * wander * at / sample_rate
        )
    whole = np.floor(at).astype(int)
    kernels = _sinc_table()[((at - whole) * _PHASES).astype(int)] * height[:, None]
    places = whole[:, None] + np.arange(_TAPS)[None]
    train = np.bincount(places.ravel(), kernels.ravel(), minlength=length)
    return np.asarray(train[_TAPS // 2 - 1 : _TAPS // 2 - 1 + frames * hop])


def synthesise(
    envelope: np.ndarray,
    aperiodicity: np.ndarray,
    pitch: np.ndarray,
    voiced: np.ndarray,
    sample_rate: int,
    rng: np.random.Generator,
    roughness: Roughness | None = None,
) -> np.ndarray:
    """Sound (sample) of log envelopes and aperiodicity (frame, point), pitch and voicing (frame).

    Frames are hop_length(sample_rate) samples apart; the result has (frames + 7) * hop samples.
    """
    basis, bias, spread, size = _tables(sample_rate)
    hop = hop_length(sample_rate)
    frames = len(pitch)
    train = pulse_train(pitch, voiced, sample_rate, rng, roughness or Roughness()).astype(
        np.float32
    )
    hiss = rng.standard_normal(frames * hop, dtype=np.float32)
    share = (
        np.clip(1.0 - (1.0 - aperiodicity) * voiced[:, None], 0.0, 1.0).astype(np.float32) @ spread
    )
    # where the voice pauses all power is noise; voicing itself is in the pulse heights
    steady = (1.0 - aperiodicity).clip(0.0, 1.0).astype(np.float32) @ spread
    shape = _responses(envelope.astype(np.float32), basis, bias)
    spectrum = _windowed(train, hop, size) * np.sqrt(steady)
    spectrum += _windowed(hiss, hop, size) * np.sqrt(share)
    pieces = fft.irfft(spectrum * shape, size, axis=1)
    return _overlap_add(pieces, hop)


def _responses(rows: np.ndarray, basis: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Minimum-phase responses (frame, bin); real functions, as the complex exponential is slow."""
    size = np.exp(rows @ np.ascontiguousarray(basis.real) + bias.real)
    angle = rows @ np.ascontiguousarray(basis.imag) + bias.imag
    responses = np.empty(size.shape, dtype=np.complex64)
    np.multiply(size, np.cos(angle), out=responses.real)
    np.multiply(size, np.sin(angle), out=responses.imag)
    return responses


def _windowed(signal: np.ndarray, hop: int, size: int) -> np.ndarray:
    """Spectra (frame, bin) of Hann windows two hops long, which add up to one."""
    padded = np.concatenate([signal, np.zeros(hop, dtype=signal.dtype)])
    pieces = np.lib.stride_tricks.sliding_window_view(padded, 2 * hop)[::hop]
    window = (0.5 - 0.5 * np.cos(np.pi * np.arange(2 * hop) / hop)).astype(np.float32)
    return np.asarray(fft.rfft(pieces * window, size, axis=1))


def _overlap_add(pieces: np.ndarray, hop: int) -> np.ndarray:
    """Sum frames (frame, sample) that start `hop` samples apart."""
    frames, size = pieces.shape
    blocks = size // hop
    result = np.zeros((frames + blocks - 1, hop), dtype=np.float32)
    split = pieces.reshape(frames, blocks, hop)
    for block in range(blocks):
        result[block : block + frames] += split[:, block]
    return result.reshape(-1)
