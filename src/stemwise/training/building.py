"""Objectives, weightings and procedures by the names that recipes give them."""

from __future__ import annotations

from stemwise.errors import RecipeError
from stemwise.training import objectives, procedures, weighting
from stemwise.training.sections import ObjectiveSection, WeightingSection


def build_objective(section: ObjectiveSection) -> objectives.Objective:
    """The objective that a recipe names."""
    if section.name == "spectral":
        return objectives.Spectral(section.complex_weight, section.floor)
    if section.name in ("l1", "mse"):
        return objectives.Distance(section.name, section.magnitude)
    raise RecipeError(f"the objective '{section.name}' cannot be built")


def build_weighting(section: WeightingSection) -> weighting.Weighting:
    """The weighting that a recipe names."""
    if section.name == "fixed":
        return weighting.Fixed(section.weights)
    raise RecipeError(f"the weighting '{section.name}' cannot be built")


def build_procedure(name: str) -> procedures.Procedure:
    """The procedure that a recipe names."""
    if name == "joint":
        return procedures.Joint()
    raise RecipeError(f"the procedure '{name}' cannot be built")
