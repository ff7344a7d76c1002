"""The mixing desk: balance, image, compression and mastering; the stems still sum exactly."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from stemwise.band.effects import (
    Samples,
    active_rms,
    add,
    compression_gain,
    equalise,
    limiting_gain,
    set_width,
    side_to_mid,
)

# mean level of each stem's active RMS in dB: signal-to-rest ratios of released pop and rock mixes
BALANCE = {"vocals": -3.0, "drums": -5.0, "bass": -7.0, "other": -4.0}
CEILING = 0.985
WIDEST = 8.0  # dB by which the side signal may be raised


def mix(
    parts: Mapping[str, Mapping[str, Samples]],
    rng: np.random.Generator,
    rate: int,
    *,
    pumping: float = 0.0,
) -> tuple[dict[str, dict[str, Samples]], dict[str, float]]:
    """Master a song from its stems, each a mapping of parts (2, sample).

    `pumping` is the chance that the kick drum ducks bass and accompaniment, as in dance music.

    Returns the mastered parts in the same nesting and the drawn figures: each stem's level,
    "loudness" (dB), "side_to_mid" (dB) and "reduction" (dB of limiting).
    """
    figures: dict[str, float] = {}
    stems: dict[str, dict[str, Samples]] = {}
    spread = float(rng.uniform(0.7, 1.2))
    for name, members in parts.items():
        total = _sum(members)
        level = BALANCE[name] + float(np.clip(rng.normal(0.0, 3.2), -7.5, 6.0)) * spread
        loud = active_rms(total, rate)
        gain = 0.1 * 10 ** (level / 20) / loud if loud > 1e-6 else 0.0
        stems[name] = {part: audio * np.float32(gain) for part, audio in members.items()}
        figures[name] = level
    if rng.random() < pumping:
        _duck(stems, rng, rate)
    stems = _set_image(stems, rng, figures)
    bands = _mastering_bands(rng)
    stems = {
        name: {part: equalise(audio, rate, bands) for part, audio in members.items()}
        for name, members in stems.items()
    }
    master = _master(_total(stems), rng, rate, figures)
    return {
        name: {part: audio * master for part, audio in members.items()}
        for name, members in stems.items()
    }, figures


def _duck(stems: dict[str, dict[str, Samples]], rng: np.random.Generator, rate: int) -> None:
    """Side-chain compression of bass and accompaniment by the low end of the drums, in place."""
    kick = equalise(_sum(stems["drums"]), rate, [("lowpass", 110.0, 2, 0.7)])
    gain = compression_gain(
        kick, rate, threshold=-3.0, ratio=float(rng.uniform(1.5, 4.0)), attack=0.003,
        release=float(rng.uniform(0.06, 0.25)),
    )  # fmt: skip
    for name in ("bass", "other"):
        stems[name] = {part: audio * gain for part, audio in stems[name].items()}


def _sum(members: Mapping[str, Samples]) -> Samples:
    return add(list(members.values()))


def _total(stems: Mapping[str, Mapping[str, Samples]]) -> Samples:
    return add([_sum(members) for members in stems.values()])


def _set_image(
    stems: dict[str, dict[str, Samples]], rng: np.random.Generator, figures: dict[str, float]
) -> dict[str, dict[str, Samples]]:
    """A width for each stem around one for all, so that the mixture is as wide as a released one.

    Released mixes measure -20 to -4 dB of side to mid; a centred stem stays centred.
    """
    own = {name: 10 ** (float(np.clip(rng.normal(0.0, 2.5), -5.0, 5.0)) / 20) for name in stems}
    stems = {
        name: {part: set_width(audio, own[name]) for part, audio in members.items()}
        for name, members in stems.items()
    }
    wanted = float(rng.uniform(-20.0, -4.0))
    ratio = side_to_mid(_total(stems))
    # a mix that has hardly any side signal is not blown up into one of reverberation
    change = min(wanted - ratio, WIDEST) if ratio > -60.0 else 0.0
    figures["side_to_mid"] = ratio + change
    width = 10 ** (change / 20)
    return {
        name: {part: set_width(audio, width) for part, audio in members.items()}
        for name, members in stems.items()
    }


def _mastering_bands(rng: np.random.Generator) -> list[tuple[str, float, float, float]]:
    return [
        ("highpass", 25.0, 2, 0.7),
        ("low", float(rng.uniform(80, 200)), float(rng.normal(0, 1.5)), 0.7),
        ("peak", float(rng.uniform(400, 3000)), float(rng.normal(0, 1.2)), 0.6),
        ("high", float(rng.uniform(3500, 8000)), float(rng.normal(-1, 2.2)), 0.6),
    ]


def _master(
    mixture: Samples, rng: np.random.Generator, rate: int, figures: dict[str, float]
) -> Samples:
    """Gain (sample) of bus compressor, make-up and limiter, computed on the mixture alone."""
    gain = np.ones(mixture.shape[1], np.float32)
    if rng.random() < 0.75:
        gain = compression_gain(
            mixture, rate, threshold=float(rng.uniform(-2, 5)), ratio=float(rng.uniform(1.3, 2.5)),
            attack=float(rng.uniform(0.01, 0.04)), release=float(rng.uniform(0.1, 0.3)),
        )  # fmt: skip
    squeezed = mixture * gain
    weighted = equalise(squeezed, rate, [("high", 1680.0, 4.0, 0.7), ("highpass", 38.0, 2, 0.5)])
    loud = active_rms(weighted, rate) * np.sqrt(2.0)
    peak = float(np.max(np.abs(squeezed)))
    if loud < 1e-7:
        figures["loudness"], figures["reduction"] = -120.0, 0.0
        return gain
    target = float(rng.uniform(-20.0, -9.0))
    reduction = 20 * np.log10(peak * 10 ** (target / 20) / loud / CEILING)
    target -= max(
        0.0, reduction - float(rng.uniform(1.0, 7.0))
    )  # limiters that work harder are heard
    make_up = np.float32(10 ** (target / 20) / loud)
    limiter = limiting_gain(squeezed * make_up, rate, CEILING)
    figures["loudness"] = target
    figures["reduction"] = float(-20 * np.log10(limiter.min()))
    return np.asarray(gain * make_up * limiter, np.float32)
