"""Trains a separator from a recipe and songs: exact to resume, safe to kill.

A run is a function of (recipe, songs): everything random comes from the recipe's seed and the step
number, so a run that was interrupted and resumed gives the same weights bit for bit on the same CPU
with the same number of threads.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console

from stemwise.data.loading import Loader
from stemwise.data.track import Song
from stemwise.errors import RecipeError
from stemwise.heap import keep_heap
from stemwise.models.separator import Separator
from stemwise.training.building import (
    build_objective,
    build_procedure,
    build_weighting,
    needs_energies,
)
from stemwise.training.hardware import Hardware
from stemwise.training.initial import at_rate, build_separator
from stemwise.training.interruption import stop_on_signal
from stemwise.training.learner import Learner, NotFiniteError
from stemwise.training.log import LiveLine, RunLog
from stemwise.training.optimisation import Average, build_optimiser, load_moments
from stemwise.training.progress import Means, Speed, tasks_of
from stemwise.training.randomness import random_state, seed_process, set_random_state
from stemwise.training.run_folder import RunFolder, changes, fingerprint
from stemwise.training.schedules import Schedule
from stemwise.training.sections import Recipe
from stemwise.training.statistics import (
    Statistics,
    load_statistics,
    measure,
    save_statistics,
    takes_statistics,
)
from stemwise.training.stopping import BestModels, check_figures, stalled
from stemwise.training.streams import (
    Sets,
    epoch_steps,
    songs_of,
    too_short,
    training_loader,
    validation_loader,
)
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
        validation: held-out songs, or data sets of them by name; empty trains without validation.
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
        tracks: Sequence[Song] | Sets,
        validation: Sequence[Song] | Sets,
        folder: str | Path,
        *,
        device: str = "auto",
        resume: bool = False,
        new_tracks: bool = False,
        tensorboard: bool = False,
        separator: Separator | None = None,
    ) -> None:
        self.recipe, self.folder = recipe, RunFolder(folder, recipe)
        self.hardware = Hardware(device, recipe.precision)
        sets = tracks if isinstance(tracks, Mapping) else {"songs": tracks}
        self.tracks = fingerprint(songs_of(sets))
        checkpoint = self.folder.newest(resume)
        state: dict[str, Any] | None = None
        self.changed: list[str] = []
        if checkpoint is not None:
            state = self.folder.read(checkpoint, self.tracks, new_tracks)
            self.changed = changes(state, recipe)
        self._build(separator, checkpoint)
        self._prepare_data(sets, validation)
        self.statistics = self._measure(sets, checkpoint)
        self.learner = self._learner()
        self.schedule = Schedule(recipe.schedule, recipe.optimiser.learning_rate, recipe.steps)
        self.average = Average(self.separator, recipe.ema.decay) if recipe.ema else None
        self.judge = self._judge()
        self.best = BestModels(recipe.validation.best)
        self.step, self.figures = 0, dict[str, float]()
        self.window, self.epoch_means = Means(), Means()
        self._restore(state)
        self.log = self._open_folder(checkpoint, tensorboard)

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
        speed = Speed(self.loader, per_step * self.recipe.batch, self.hardware.device)
        reading = closing(self.loader.batches(self.step * per_step, self.recipe.steps * per_step))
        logging = closing(self.log) if self.log else nullcontext()
        stopping = stop_on_signal(tell=self.hardware.first)
        with logging, stopping as stop, self._live() as line, reading as batches:
            self.learner.separator.train()
            while not self.finished:
                self._train_step([next(batches) for _ in range(per_step)])
                speed.step()
                line.step(self.step)
                self._report(line, speed)
                now = time.monotonic()
                out_of_time = minutes is not None and now - began > 60 * minutes
                stopped, due = self.hardware.any(
                    stop.is_set() or out_of_time, self._checkpoint_due(now - saved)
                )
                if due or stopped or self.finished:
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

    def save(self) -> None:
        """Write a checkpoint of the present state."""
        random = self.hardware.gather(random_state(self.hardware.device))
        if not self.hardware.first:
            return
        state: dict[str, Any] = {
            "step": self.step,
            "weights": self.separator.state_dict(),
            "optimiser": self.learner.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "weighting": self.learner.weighting.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "hardware": self.hardware.state_dict(),
            "random": random,
            "best": self.best.state_dict(),
            "figures": self.figures,
            "history": self.learner.history,
            "window": self.window.state_dict(),
            "epoch": self.epoch_means.state_dict(),
            "tracks": self.tracks,
            "recipe": self.recipe.dump(),
        }
        self.folder.save(self._usable(), state, self._metadata(), list(self.best.values))

    def _build(self, separator: Separator | None, checkpoint: Path | None) -> None:
        """The network, on the device, and the procedure."""
        recipe = self.recipe
        if recipe.threads is not None:
            torch.set_num_threads(recipe.threads)
        torch.manual_seed(recipe.seed)
        built = separator or build_separator(recipe, checkpoint)
        self.separator = cast(Separator, self.hardware.distribute(built))
        if recipe.channels_last:
            self.separator = self.separator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.at_rate = at_rate(self.separator, recipe.sample_rate)
        self.procedure = build_procedure(recipe.procedure)
        _check_precision(recipe)

    def _prepare_data(self, sets: Sets, validation: Sequence[Song] | Sets) -> None:
        recipe, separator = self.recipe, self.at_rate
        check_figures(recipe.validation.best, separator)
        rank, world = self.hardware.rank, self.hardware.world
        self.loader = training_loader(recipe, separator, sets, rank=rank, world=world)
        self.too_short = too_short(recipe, separator, sets)
        self.epoch_steps = epoch_steps(recipe, self.loader, sets)
        self.validation: Loader | None = None
        if validation or recipe.validation.held_out:
            self.validation = validation_loader(recipe, separator, validation, sets)
        waits = recipe.stop.epochs is not None or recipe.stop.steps is not None
        if self.validation is None and (waits or recipe.schedule.name == "plateau"):
            key = "stop" if waits else "schedule.name: plateau"
            raise RecipeError(f"'{key}' looks at validation: name held-out songs")

    def _measure(self, sets: Sets, checkpoint: Path | None) -> Statistics | None:
        """What the network or the weighting needs of the training data; measured once a run."""
        normalised = checkpoint is None and takes_statistics(self.recipe, self.separator)
        if not normalised and not needs_energies(self.recipe.weighting):
            return None
        if checkpoint is not None and self.folder.statistics.is_file():
            return load_statistics(self.folder.statistics)
        # of one process, so that all measure the same
        loader = training_loader(self.recipe, self.at_rate, sets)
        mix = self.recipe.data.mix
        found = measure(loader, self.at_rate, self.recipe.statistics.excerpts, mix)
        if normalised:
            found.normalise(self.separator)
        return found

    def _learner(self) -> Learner:
        recipe = self.recipe
        return Learner(
            separator=self.at_rate,
            module=self.separator,
            objective=build_objective(recipe.objective),
            weighting=build_weighting(
                recipe.weighting, self.statistics.energies if self.statistics else None
            ),
            optimiser=build_optimiser(
                self.separator, recipe.optimiser, fused=not self.hardware.scales_losses
            ),
            device=self.hardware.device,
            mix=recipe.data.mix or self.separator.sources,
            clip=recipe.optimiser.clip,
            hardware=self.hardware,
        )

    def _judge(self) -> Learner:
        """What is validated: the averaged weights where the recipe averages."""
        if self.average is None:
            return self.learner
        module = self.average.module
        judged = at_rate(module, self.recipe.sample_rate)
        return replace(self.learner, separator=judged, module=module)

    def _open_folder(self, checkpoint: Path | None, tensorboard: bool) -> RunLog | None:
        """Write what the run begins with; the first process's log."""
        self.hardware.wait()  # until all have read what the first is about to change
        if not self.hardware.first:
            return None
        self.folder.begin(checkpoint)
        kept = self.folder.statistics
        if self.statistics is not None and (checkpoint is None or not kept.is_file()):
            save_statistics(self.statistics, kept)
        return RunLog(self.folder.path, self.step, tensorboard=tensorboard)

    def _restore(self, state: dict[str, Any] | None) -> None:
        """Go on from a checkpoint's state, or begin."""
        if state is None:
            seed_process(self.recipe.seed, self.hardware.rank, 0)
            return
        self.separator.load_state_dict(state["weights"])
        load_moments(self.learner.optimiser, state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.learner.weighting.load_state_dict(state["weighting"])
        if self.average is not None:
            self.average.load_state_dict(state["average"] or state["weights"])
        self.hardware.load_state_dict(state["hardware"])
        if self.hardware.rank < len(state["random"]):
            set_random_state(state["random"][self.hardware.rank], self.hardware.device)
        else:
            seed_process(self.recipe.seed, self.hardware.rank, state["step"])
        self.step, self.figures = state["step"], state["figures"]
        self.best.load_state_dict(state["best"])
        self.learner.history[:] = state["history"]
        self.window.load_state_dict(state["window"])
        self.epoch_means.load_state_dict(state["epoch"])

    def _train_step(self, batches: Sequence[Any]) -> None:
        self.schedule.apply(self.learner.optimiser, self.step)
        self.learner.weights.clear()
        try:
            figures = self.procedure.step(self.learner, batches)
        except NotFiniteError as error:
            raise NotFiniteError(
                f"step {self.step + 1}: {error}: look at these songs or lower the learning rate; "
                "checkpoints are as they were"
            ) from error
        self.step += 1
        self.hardware.average_statistics(self.separator)
        self.window.add(figures)
        self.epoch_means.add(tasks_of(figures))
        if self.average:
            self.average.update(self.separator, self.step - 1)

    def _report(self, line: LiveLine, speed: Speed) -> None:
        """What is due after a step: the rows of the log, the end of an epoch, validation."""
        recipe = self.recipe
        if self.step % recipe.log_every == 0:
            rate = self.learner.optimiser.param_groups[0]["lr"]
            weights = {f"weight/{task}": float(w) for task, w in self.learner.weights.items()}
            figures = {**self.window.close(), **weights, "rate": rate, **speed.close()}
            self._row(line, "train", figures)
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
        self.figures = validate(self.judge, self.validation, batches, self.hardware)
        torch.set_rng_state(random)
        self._row(line, "validation", self.figures)
        if "loss" in self.figures:
            self.schedule.validated(self.figures["loss"])
        for name in self.best.improved(self.figures, self.step, self.epoch):
            if self.hardware.first:
                self.folder.save_model(name, self._usable(), self._metadata())

    def _checkpoint_due(self, seconds: float) -> bool:
        section = self.recipe.checkpoint
        by_time = section.minutes is not None and seconds >= 60 * section.minutes
        return by_time or (section.every is not None and self.step % section.every == 0)

    def _row(self, line: LiveLine, kind: str, figures: dict[str, float]) -> None:
        if self.log:
            self.log.add(self.step, kind, figures)
        line.show(self.step, kind, figures)

    def _live(self) -> LiveLine:
        console = Console(stderr=True, quiet=not self.hardware.first)
        return LiveLine(self.recipe.steps, self.step, console)

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
        last = self.folder.model("last")
        if self.hardware.first:
            self.folder.save_model("last", self._usable(), self._metadata())
        found = {name: self.folder.model(name) for name in self.recipe.validation.best}
        kept = {name: path for name, path in found.items() if name in self.best.values}
        return Result(
            step=self.step,
            finished=self.finished,
            model=next(iter(kept.values()), last),
            figures=self.figures,
            models={**kept, "last": last},
        )


def _check_precision(recipe: Recipe) -> None:
    if recipe.precision == "fp16" and recipe.procedure == "interleaved-accumulated":
        raise RecipeError(
            "precision fp16 changes the scale of gradients between the batches that "
            "'interleaved-accumulated' adds up: use bf16 or fp32"
        )
