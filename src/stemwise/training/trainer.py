"""Trains a separator from a recipe and songs: exact to resume, safe to kill.

A run is a function of (recipe, songs): everything random comes from the recipe's seed and the step
number, so a run that was interrupted and resumed gives the same weights bit for bit on the same CPU
with the same number of threads.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from stemwise import models
from stemwise.data.track import Song
from stemwise.devices import choose_device
from stemwise.errors import RecipeError
from stemwise.heap import keep_heap
from stemwise.models.separator import Separator
from stemwise.training.building import build_objective, build_procedure, build_weighting
from stemwise.training.initial import build_separator, freeze
from stemwise.training.interruption import stop_on_signal
from stemwise.training.learner import Learner
from stemwise.training.log import LiveLine, RunLog
from stemwise.training.optimisation import Average, build_optimiser, load_moments
from stemwise.training.progress import Means, Speed, tasks_of
from stemwise.training.run_folder import RunFolder, changes, fingerprint
from stemwise.training.schedules import Schedule
from stemwise.training.sections import Recipe
from stemwise.training.stopping import BestModels, check_figures, stalled
from stemwise.training.streams import songs_of, training_loader, validation_loader
from stemwise.training.validation import validate


@dataclass(frozen=True)
class Result:
    """Where a run ended.

    Attributes:
        step: steps done.
        finished: whether it came to its end: all steps, or none of its figures improved any more.
            False after a stop on request or out of time.
        model: the first of the best models by validation, or the last one where there is none.
        figures: of the last validation.
        models: files of the best models by name, and "last".
    """

    step: int
    finished: bool
    model: Path
    figures: dict[str, float]
    models: dict[str, Path] = field(default_factory=dict)


class Trainer:
    """One run of a recipe in an output folder.

    Args:
        recipe: what to learn and how.
        tracks: training songs at the recipe's sample rate, or data sets of them by name.
        validation: held-out songs; empty trains without validation.
        folder: output folder: recipe.yaml, log.csv, checkpoints/, last.safetensors, and a model for
            each of the recipe's `validation.best`.
        device: "auto" takes a GPU where there is one.
        resume: go on from the newest checkpoint in `folder`; without one the run starts anew.
        new_tracks: let a resumed run continue on other tracks than it was started with.
        tensorboard: write TensorBoard's logs besides log.csv.
        separator: network to train; None builds the recipe's.

    Raises:
        RecipeError, DataError, OutputError: see their messages.
    """

    def __init__(
        self,
        recipe: Recipe,
        tracks: Sequence[Song] | Mapping[str, Sequence[Song]],
        validation: Sequence[Song],
        folder: str | Path,
        *,
        device: str = "auto",
        resume: bool = False,
        new_tracks: bool = False,
        tensorboard: bool = False,
        separator: Separator | None = None,
    ) -> None:
        self.recipe, self.folder = recipe, RunFolder(folder, recipe)
        checkpoint = self.folder.newest(resume)
        sets = tracks if isinstance(tracks, Mapping) else {"songs": tracks}
        self.tracks = fingerprint(songs_of(sets))
        state: dict[str, Any] | None = None
        self.changed: list[str] = []
        if checkpoint is not None:
            state = self.folder.read(checkpoint, self.tracks, new_tracks)
            self.changed = changes(state, recipe)
        if recipe.threads is not None:
            torch.set_num_threads(recipe.threads)
        torch.manual_seed(recipe.seed)
        self.device = choose_device(device)
        self.separator = (separator or _build(recipe, checkpoint)).to(self.device)
        if recipe.channels_last:
            self.separator = self.separator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.procedure = build_procedure(recipe.procedure)
        self.learner = self._learner()
        self.schedule = Schedule(recipe.schedule, recipe.optimiser.learning_rate, recipe.steps)
        self.average = Average(self.separator, recipe.ema.decay) if recipe.ema else None
        self.judge = self._judge()
        self.best = BestModels(recipe.validation.best)
        self._prepare_data(sets, validation)
        self.step, self.figures = 0, dict[str, float]()
        self.window, self.epoch_means = Means(), Means()
        if state is not None:
            self._restore(state)
        self.folder.begin(checkpoint)
        self.log = RunLog(self.folder.path, self.step, tensorboard=tensorboard)

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return self.step // self.epoch_steps

    def run(self, minutes: float | None = None) -> Result:
        """Train up to the recipe's steps, or until `minutes` of wall-clock time are over.

        Ctrl-C or SIGTERM ends the run after the present step. However it ends, a checkpoint is
        written first; after a loss that is not a number the newest checkpoint stays as it is.
        """
        began = saved = time.monotonic()
        keep_heap()
        per_step = self.procedure.batches(len(self.separator.sources))
        speed = Speed(self.loader, per_step * self.recipe.batch, self.device)
        reading = closing(self.loader.batches(self.step * per_step, self.recipe.steps * per_step))
        live = LiveLine(self.recipe.steps, self.step)
        with closing(self.log), stop_on_signal() as stop, live as line, reading as batches:
            self.learner.separator.train()
            while not self.finished:
                self._train_step([next(batches) for _ in range(per_step)])
                speed.step()
                line.step(self.step)
                self._report(line, speed)
                now = time.monotonic()
                stopped = stop.is_set() or (minutes is not None and now - began > 60 * minutes)
                if self._checkpoint_due(now - saved) or stopped or self.finished:
                    self.save()
                    saved = time.monotonic()
                if stopped:
                    break
        return self._finish()

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do: all steps are done, or the recipe's patience is over."""
        if self.step >= self.recipe.steps:
            return True
        return stalled(self.recipe.stop, self.best, self.step, self.epoch)

    def save(self) -> Path:
        """Write a checkpoint of the present state."""
        state: dict[str, Any] = {
            "step": self.step,
            "weights": self.separator.state_dict(),
            "optimiser": self.learner.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "weighting": self.learner.weighting.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
            "best": self.best.state_dict(),
            "figures": self.figures,
            "history": self.learner.history,
            "window": self.window.state_dict(),
            "epoch": self.epoch_means.state_dict(),
            "tracks": self.tracks,
            "recipe": self.recipe.dump(),
        }
        return self.folder.save(self._usable(), state, self._metadata(), list(self.best.values))

    def _prepare_data(self, sets: Mapping[str, Sequence[Song]], validation: Sequence[Song]) -> None:
        recipe, separator = self.recipe, self.learner.separator
        check_figures(recipe.validation.best, separator)
        self.loader = training_loader(recipe, separator, sets)
        self.validation = validation_loader(recipe, separator, validation) if validation else None
        waits = recipe.stop.epochs is not None or recipe.stop.steps is not None
        if self.validation is None and (waits or recipe.schedule.name == "plateau"):
            key = "stop" if waits else "schedule.name: plateau"
            raise RecipeError(f"'{key}' looks at validation: name held-out songs")
        self.epoch_steps = _epoch_steps(recipe, len(songs_of(sets)))

    def _learner(self) -> Learner:
        recipe = self.recipe
        return Learner(
            separator=_at_rate(self.separator, recipe.sample_rate),
            module=self.separator,
            objective=build_objective(recipe.objective),
            weighting=build_weighting(recipe.weighting),
            optimiser=build_optimiser(self.separator, recipe.optimiser),
            device=self.device,
            mix=recipe.data.mix or self.separator.sources,
            bf16=recipe.precision == "bf16",
            clip=recipe.optimiser.clip,
        )

    def _judge(self) -> Learner:
        """What is validated: the averaged weights where the recipe averages."""
        if self.average is None:
            return self.learner
        module = self.average.module
        at_rate = _at_rate(module, self.recipe.sample_rate)
        return replace(self.learner, separator=at_rate, module=module)

    def _restore(self, state: dict[str, Any]) -> None:
        self.separator.load_state_dict(state["weights"])
        load_moments(self.learner.optimiser, state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.learner.weighting.load_state_dict(state["weighting"])
        if self.average is not None:
            self.average.load_state_dict(state["average"] or state["weights"])
        torch.set_rng_state(state["random"])
        if self.device.type == "cuda" and state["cuda_random"]:
            torch.cuda.set_rng_state_all(state["cuda_random"])
        self.step, self.figures = state["step"], state["figures"]
        self.best.load_state_dict(state["best"])
        self.learner.history[:] = state["history"]
        self.window.load_state_dict(state["window"])
        self.epoch_means.load_state_dict(state["epoch"])

    def _train_step(self, batches: Sequence[Any]) -> None:
        self.schedule.apply(self.learner.optimiser, self.step)
        figures = self.procedure.step(self.learner, batches)
        self.step += 1
        self.window.add(figures)
        self.epoch_means.add(tasks_of(figures))
        if self.average:
            self.average.update(self.separator, self.step - 1)

    def _report(self, line: LiveLine, speed: Speed) -> None:
        """What is due after a step: the rows of the log, the end of an epoch, validation."""
        recipe = self.recipe
        if self.step % recipe.log_every == 0:
            rate = self.learner.optimiser.param_groups[0]["lr"]
            self._row(line, "train", {**self.window.close(), "rate": rate, **speed.close()})
        if self.step % self.epoch_steps == 0:
            means = self.epoch_means.close()
            self.learner.history.append(means)
            self._row(line, "epoch", {"epoch": self.epoch, **means})
        every = recipe.validation.every or self.epoch_steps
        if self.step % every == 0 or self.step == recipe.steps:
            self._validate(line)

    def _validate(self, line: LiveLine) -> None:
        if self.validation is None:
            return
        batches = -(-self.recipe.validation.excerpts // self.validation.batch)
        random = torch.get_rng_state()
        self.figures = validate(self.judge, self.validation, batches)
        torch.set_rng_state(random)
        self._row(line, "validation", self.figures)
        if "loss" in self.figures:
            self.schedule.validated(self.figures["loss"])
        for name in self.best.improved(self.figures, self.step, self.epoch):
            self.folder.save_model(name, self._usable(), self._metadata())

    def _checkpoint_due(self, seconds: float) -> bool:
        section = self.recipe.checkpoint
        by_time = section.minutes is not None and seconds >= 60 * section.minutes
        return by_time or (section.every is not None and self.step % section.every == 0)

    def _row(self, line: LiveLine, kind: str, figures: dict[str, float]) -> None:
        self.log.add(self.step, kind, figures)
        line.show(self.step, kind, figures)

    def _usable(self) -> Separator:
        """The network as it would be used now."""
        return self.average.module if self.average else self.separator

    def _metadata(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe.model_dump(mode="json"),
            "step": self.step,
            "figures": self.figures,
        }

    def _finish(self) -> Result:
        last = self.folder.save_model("last", self._usable(), self._metadata())
        found = {name: self.folder.model(name) for name in self.recipe.validation.best}
        kept = {name: path for name, path in found.items() if name in self.best.values}
        return Result(
            step=self.step,
            finished=self.finished,
            model=next(iter(kept.values()), last),
            figures=self.figures,
            models={**kept, "last": last},
        )


def _build(recipe: Recipe, checkpoint: Path | None) -> Separator:
    """A run's network; a resumed one does not need the files it once started from."""
    if checkpoint is None:
        return build_separator(recipe)
    separator = models.load(checkpoint / "model.safetensors", "cpu")
    freeze(separator, recipe.separator.freeze)
    return separator


def _epoch_steps(recipe: Recipe, songs: int) -> int:
    if recipe.epoch.excerpts_per_song is not None:
        return max(1, recipe.epoch.excerpts_per_song * songs // recipe.batch)
    return recipe.epoch.steps or recipe.validation.every or recipe.steps


def _at_rate(separator: Separator, sample_rate: int | None) -> Separator:
    """The separator for audio of the training rate, with the same parameters."""
    if sample_rate is None or sample_rate == separator.sample_rate:
        return separator
    at_rate = getattr(separator, "at_rate", None)
    if at_rate is None:
        raise RecipeError(
            f"the separator works at {separator.sample_rate} Hz only; "
            f"remove sample_rate: {sample_rate} from the recipe"
        )
    view: Separator = at_rate(sample_rate)
    return view
