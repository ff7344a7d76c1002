"""Energy ratios and errors beside BSS Eval: uSDR, SI-SDR, MSE, levels where a source is silent.

All take references and estimates (source, channel, sample) or (source, sample), of equal shape,
and return one float64 per source. No filter is fitted and nothing is permuted. `silent="nan"`
makes a source without a value NaN, `silent="raise"` makes it an EvaluationError.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from stemwise.errors import EvaluationError
from stemwise.evaluation import bss_eval_v3
from stemwise.evaluation.arrays import paired, waveforms
from stemwise.evaluation.arrays import silent as is_silent
from stemwise.evaluation.framing import Framing
from stemwise.evaluation.loudness import integrated_loudness
from stemwise.evaluation.spectra import Grid

Real: TypeAlias = npt.NDArray[np.float64]
Silent = Literal["raise", "nan"]

MDX_DELTA = 1e-7
"""What the Music Demixing Challenge adds to both energies."""


def usdr(
    references: npt.ArrayLike,
    estimates: npt.ArrayLike,
    *,
    delta: float = MDX_DELTA,
    silent: Silent = "nan",
) -> Real:
    """Utterance-level SDR in dB (source,): 10 log10((|R|^2 + d) / (|R - E|^2 + d)), whole track.

    Energies are summed over channels and samples; d = 1e-7. The global SDR of the Music Demixing
    Challenge 2021 (Mitsufuji et al. 2022), "nSDR" or "uSDR" elsewhere; usual is the mean over
    tracks. Levels count: samples are floats of full scale 1.

    Silence: a reference of zeros has no value. The challenge scores it all the same, by how quiet
    the estimate is; that is what `non_vocal_level` says in dB.
    """
    true, found = paired(references, estimates)
    if not delta >= 0:
        raise EvaluationError(f"uSDR cannot add {delta} to energies: it must not be negative.")
    energy, error = _energy(true), _energy(true - found)
    return _undefined(_ratio(energy + delta, error + delta), energy == 0, "uSDR", silent)


def input_sdr(
    references: npt.ArrayLike,
    mixture: npt.ArrayLike | None = None,
    *,
    delta: float = MDX_DELTA,
    silent: Silent = "nan",
) -> Real:
    """uSDR in dB (source,) of the mixture taken as the estimate of every source.

    What a separator must beat; `mixture` (channel, sample) defaults to the sum of the references.
    For the input SDR of BSS Eval, score `oracle("mixture", ...)`.
    """
    true = waveforms(references, "references")
    mixed = true.sum(axis=0) if mixture is None else np.atleast_2d(np.asarray(mixture, np.float64))
    if mixed.shape != true.shape[1:]:
        raise EvaluationError(
            f"A mixture of shape {mixed.shape} does not belong to references of shape {true.shape}."
        )
    return usdr(true, np.broadcast_to(mixed, true.shape), delta=delta, silent=silent)


def si_sdr(
    references: npt.ArrayLike,
    estimates: npt.ArrayLike,
    *,
    zero_mean: bool = False,
    silent: Silent = "nan",
) -> Real:
    """Scale-invariant SDR in dB (source,): 10 log10(|a R|^2 / |a R - E|^2), a = <E, R> / |R|^2.

    Le Roux et al. 2019, whole track; all channels share one factor a, so that a wrong panorama is
    an error (libraries that score every channel alone forgive it). `zero_mean`: subtract each
    channel's mean first, as some libraries do. An estimate without anything of the reference has
    -inf, a perfect one up to a factor +inf; usual is the mean over tracks.

    Silence: a reference or an estimate of zeros has no value.
    """
    true, found = paired(references, estimates)
    if zero_mean:
        true = true - true.mean(axis=-1, keepdims=True)
        found = found - found.mean(axis=-1, keepdims=True)
    energy = _energy(true)
    inner = np.einsum("scn,scn->s", true, found)
    factor = np.divide(inner, energy, where=energy > 0, out=np.zeros_like(energy))
    target = true * factor[:, np.newaxis, np.newaxis]
    without = (energy == 0) | (_energy(found) == 0)
    return _undefined(_ratio(_energy(target), _energy(target - found)), without, "SI-SDR", silent)


def mse(references: npt.ArrayLike, estimates: npt.ArrayLike) -> Real:
    """Mean squared error (source,) over channels and samples, in squares of the samples' unit.

    Defined for silence too, where it is the power of the estimate. Usual is the mean over tracks.
    """
    true, found = paired(references, estimates)
    return np.asarray(_energy(true - found) / (true.shape[1] * true.shape[2]))


def magnitude_mse(
    references: npt.ArrayLike,
    estimates: npt.ArrayLike,
    *,
    n_fft: int = 512,
    hop: int = 256,
    compression: Literal["log1p", "none"] = "log1p",
) -> Real:
    """Mean squared error (source,) of magnitudes, over channels, frames and bins.

    The domain of the joint U-Net (Stoller et al. 2018: mono, 22 050 Hz, transforms of 512 samples,
    hop 256, log1p of the magnitude) by default; what the samples' rate is, the caller sees to.
    Magnitudes are of centred frames under a Hann window. Defined for silence too.
    """
    true, found = paired(references, estimates)
    if compression not in ("log1p", "none"):
        raise EvaluationError(f"There is no compression {compression!r}: log1p or none.")
    grid = Grid(true.shape[-1], n_fft, hop)
    total = np.zeros(true.shape[0])
    for first, last in grid.chunks():
        magnitudes = [np.abs(grid.forward(side, first, last)) for side in (true, found)]
        if compression == "log1p":
            magnitudes = [np.log1p(one) for one in magnitudes]
        total += np.square(magnitudes[0] - magnitudes[1]).sum(axis=(1, 2, 3))
    return np.asarray(total / (true.shape[1] * grid.frames * (n_fft // 2 + 1)))


def rms(signal: npt.ArrayLike) -> float:
    """Root mean square over all channels and samples, in the samples' unit; 0 for silence."""
    samples = np.asarray(signal, np.float64)
    if not samples.size:
        raise EvaluationError("The level of no samples is undefined.")
    return float(np.sqrt(np.mean(np.square(samples))))


@dataclass(frozen=True, eq=False)
class NonVocalLevel:
    """How loud an estimate is in the windows in which its reference is silent.

    `times` (window,): their beginnings in seconds. `rms` (window,): linear, full scale 1.
    `loudness` (window,): LUFS, -inf where there is none to speak of. `windows`: how many the song
    has in all, silent or not.
    """

    times: Real
    rms: Real
    loudness: Real
    windows: int

    @property
    def level(self) -> Real:
        """RMS in dB relative to full scale (window,); -inf for zeros."""
        with np.errstate(divide="ignore"):
            level: Real = 20 * np.log10(self.rms)
        return level

    @property
    def mean_rms(self) -> float:
        """Mean of `rms` over the windows, as Stoller et al. 2018 print it; NaN without any."""
        return float(self.rms.mean()) if self.rms.size else float("nan")

    @property
    def mean_loudness(self) -> float:
        """Loudness of the mean power over the windows in LUFS; NaN without any."""
        if not self.loudness.size:
            return float("nan")
        with np.errstate(divide="ignore"):
            return float(10 * np.log10(np.mean(10 ** (self.loudness / 10))))


def non_vocal_level(
    estimate: npt.ArrayLike,
    reference: npt.ArrayLike,
    sample_rate: float,
    window: float | None = None,
    hop: float | None = None,
    *,
    version: Literal["v4", "v3"] = "v4",
) -> NonVocalLevel:
    """RMS and loudness of an estimate in the windows which SDR leaves out.

    Stoller et al. 2018, section 3.4: BSS Eval has no value where the reference is silent, and so
    ignores what a model leaves there. estimate, reference: (channel, sample) of one source.

    The windows are exactly those of `bss_eval` (`version` "v4": 1 s, hop 1 s) or of the framewise
    v3 ("v3": 30 s, hop 15 s), including which incomplete ones count; silent means that the sum over
    the reference's channels is exactly zero throughout. (BSS Eval also leaves out windows in which
    only another source is silent; they have nothing to do with this one.) Each window is measured
    as if nothing were around it. Usual is the mean over all windows of a set.
    """
    true, found = paired(np.atleast_2d(reference)[np.newaxis], np.atleast_2d(estimate)[np.newaxis])
    starts, length = _windows(true.shape[-1], sample_rate, window, hop, version)
    left_out = [at for at in starts if is_silent(true[..., at : at + length])[0]]
    pieces = [found[0, :, at : at + length] for at in left_out]
    return NonVocalLevel(
        np.asarray(left_out, np.float64) / sample_rate,
        np.asarray([rms(piece) for piece in pieces], np.float64),
        np.asarray([integrated_loudness(piece, sample_rate) for piece in pieces], np.float64),
        len(starts),
    )


def _windows(
    samples: int, sample_rate: float, window: float | None, hop: float | None, version: str
) -> tuple[list[int], int]:
    """Beginnings and length of the windows, in samples."""
    if version not in ("v4", "v3"):
        raise EvaluationError(f"There is no BSS Eval {version!r}: v4 or v3.")
    usual = (1.0, 1.0) if version == "v4" else (30.0, 15.0)
    window, hop = usual[0] if window is None else window, usual[1] if hop is None else hop
    if not (sample_rate > 0 and window > 0 and hop > 0):
        raise EvaluationError("The sample rate, the window and the hop must be greater than zero.")
    if version == "v3":
        v3 = bss_eval_v3.Windows.of(samples, sample_rate, window, hop)
        return list(v3.starts), v3.length
    if not np.isfinite(window + hop):
        return [0], samples
    v4 = Framing(samples, max(1, int(window * sample_rate)), max(1, int(hop * sample_rate)))
    return v4.starts().tolist(), v4.length


def _energy(signals: Real) -> Real:
    """Sum of squares (source,)."""
    energy: Real = np.einsum("scn,scn->s", signals, signals)
    return energy


def _ratio(above: Real, below: Real) -> Real:
    """In dB; x / 0 is inf, 0 / x is -inf."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Real = 10 * np.log10(above / below)
    ratio[below == 0] = np.inf
    return ratio


def _undefined(values: Real, where: npt.NDArray[np.bool_], metric: str, silent: Silent) -> Real:
    """NaN, or an error, for the sources `where` a metric has no value."""
    if silent not in ("raise", "nan"):
        raise EvaluationError(f"silent must be 'raise' or 'nan', not {silent!r}.")
    if where.any() and silent == "raise":
        source = int(np.flatnonzero(where)[0])
        raise EvaluationError(
            f"{metric} is undefined: source {source} is silent; leave it out, or ask for NaN with "
            "silent='nan'."
        )
    return np.where(where, np.nan, values)
