"""Which models of a run are kept as its best, and when a run that no longer improves ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stemwise.errors import RecipeError, closest
from stemwise.models.separator import Separator
from stemwise.training.sections import StopSection

_HIGHER = ("sdr", "auroc")


def check_figures(best: Mapping[str, str], separator: Separator) -> None:
    """Raise RecipeError for a figure of `validation.best` that no validation will give."""
    known = ["loss", "separation", "sdr", *(f"separation/{s}" for s in separator.sources)]
    known += [f"{figure}/{s}" for figure in ("sdr", "ghost") for s in separator.sources]
    if separator.activity_sources:
        known += ["activity", "auroc", *(f"auroc/{s}" for s in separator.activity_sources)]
    for name, figure in best.items():
        if figure not in known:
            near = closest(figure, known, cutoff=0.0)
            raise RecipeError(
                f"validation.best.{name} is '{figure}', which validation of this separator does "
                f"not give; the nearest is '{near}'"
            )


class BestModels:
    """The best figure so far of every model that a recipe keeps.

    Args:
        best: name of the model to the validation figure that it is best in.

    Attributes:
        values: best figure by name of the model; absent before the first.
        step, epoch: when any of them last improved.
    """

    def __init__(self, best: Mapping[str, str]) -> None:
        self._figures = dict(best)
        self.values: dict[str, float] = {}
        self.step, self.epoch = 0, 0

    def improved(self, figures: Mapping[str, float], step: int, epoch: int) -> Sequence[str]:
        """Names of the models that the present network replaces; their figures are noted.

        A figure that a validation did not give (no excerpt had an audible stem) chooses nothing.
        """
        better = [
            name
            for name, figure in self._figures.items()
            if figure in figures and self._is_better(name, figure, figures[figure])
        ]
        for name in better:
            self.values[name] = figures[self._figures[name]]
            self.step, self.epoch = step, epoch
        return better

    def state_dict(self) -> dict[str, Any]:
        """Figures and times."""
        return {"values": dict(self.values), "step": self.step, "epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave, of the models that the recipe still keeps."""
        self.values = {k: v for k, v in state["values"].items() if k in self._figures}
        self.step, self.epoch = state["step"], state["epoch"]

    def _is_better(self, name: str, figure: str, value: float) -> bool:
        if value != value:  # not a number
            return False
        if name not in self.values:
            return True
        higher = figure.partition("/")[0] in _HIGHER
        return value > self.values[name] if higher else value < self.values[name]


def stalled(section: StopSection, best: BestModels, step: int, epoch: int) -> bool:
    """Whether no figure improved for as long as the recipe waits."""
    if section.steps is not None:
        return step - best.step >= section.steps
    return section.epochs is not None and epoch - best.epoch >= section.epochs
