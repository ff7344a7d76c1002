"""Objectives, weightings and procedures by the names that recipes give them."""

from __future__ import annotations

from collections.abc import Mapping

from stemwise.training import (
    balancing,
    energy_weights,
    objectives,
    procedures,
    waveforms,
    weighting,
)
from stemwise.training.sections import ObjectiveSection, WeightingSection


def build_objective(section: ObjectiveSection) -> objectives.Objective:
    """The objective that a recipe names."""
    match section.name:
        case "spectral":
            return objectives.Spectral(section.complex_weight, section.floor)
        case "rms":
            return objectives.RootMeanSquare()
        case "l1" | "mse":
            return objectives.Distance(section.name, section.magnitude)
        case "direct":
            return objectives.Direct(section.limit)
        case "dual":
            return waveforms.Dual(section.waveform_weight)
        case "waveform-l1":
            return waveforms.WaveformDistance("l1")
        case "waveform-mse":
            return waveforms.WaveformDistance("mse")
        case "si-sdr":
            return waveforms.ScaleInvariantSDR()


def needs_energies(section: WeightingSection) -> bool:
    """Whether `build_weighting` wants the energies of the training data."""
    return section.name in ("ebw-p1", "ebw-p2", "oh")


def build_weighting(
    section: WeightingSection, energies: Mapping[str, float] | None = None
) -> weighting.Weighting:
    """The weighting that a recipe names.

    energies: mean squared sample of every source over the training data, where `needs_energies`.
    """
    activity = section.activity
    if needs_energies(section) and energies is None:
        raise ValueError(f"the weighting '{section.name}' needs the energies of the sources")
    known = energies or {}
    match section.name:
        case "fixed":
            return weighting.Fixed(section.weights, section.sources)
        case "blend":
            return weighting.Blend(section.alpha)
        case "unit":
            return weighting.Unit(activity)
        case "dwa":
            return weighting.DynamicAverage(activity, section.temperature)
        case "ebw-p1":
            return energy_weights.LoudestOver(activity, known, power=1.0)
        case "ebw-p2":
            return energy_weights.LoudestOver(activity, known, power=2.0)
        case "oh":
            return energy_weights.EqualProducts(activity, known)
        case "ebw-inst-p1":
            return energy_weights.LoudestOverInBatch(activity)
        case "gradnorm":
            return balancing.GradientBalance(activity, section.restoring, section.decay)


def build_procedure(name: str) -> procedures.Procedure:
    """The procedure that a recipe names."""
    return procedures.PROCEDURES[name]()
