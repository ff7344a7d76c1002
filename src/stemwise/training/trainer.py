"""Trains a separator from a recipe and folders of tracks: exact to resume, safe to kill.

A run is a function of (recipe, tracks): everything random comes from the recipe's seed and the step
number, so a run that was interrupted and resumed gives the same weights bit for bit on the same CPU
with the same number of threads.
"""

from __future__ import annotations

import hashlib
import json
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import yaml

from stemwise import models
from stemwise.data.loading import Loader
from stemwise.data.track import Song
from stemwise.devices import choose_device
from stemwise.errors import DataError, OutputError, RecipeError
from stemwise.heap import keep_heap
from stemwise.models.separator import Separator
from stemwise.training.building import build_objective, build_procedure, build_weighting
from stemwise.training.checkpoint import list_checkpoints, load_state, save_checkpoint
from stemwise.training.learner import Learner
from stemwise.training.log import LiveLine, RunLog
from stemwise.training.optimisation import Average, build_optimiser, learning_rate
from stemwise.training.recipe import parse_recipe
from stemwise.training.sections import Recipe
from stemwise.training.streams import songs_of, training_loader, validation_loader
from stemwise.training.validation import validate


@dataclass(frozen=True)
class Result:
    """Where a run ended.

    Attributes:
        step: steps done.
        finished: whether that is all of them (False after a stop on request or out of time).
        model: best network by validation, or the last one where nothing was validated.
        figures: of the last validation.
    """

    step: int
    finished: bool
    model: Path
    figures: dict[str, float]


class Trainer:
    """One run of a recipe in an output folder.

    Args:
        recipe: what to learn and how.
        tracks: training songs at the recipe's sample rate, or data sets of them by name.
        validation: held-out songs; empty trains without validation.
        folder: output folder: recipe.yaml, log.csv, checkpoints/, best.safetensors,
            last.safetensors.
        device: "auto" takes a GPU where there is one.
        resume: go on from the newest checkpoint in `folder`; without one the run starts anew.
        new_tracks: let a resumed run continue on other tracks than it was started with.
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
        self.recipe, self.folder = recipe, Path(folder)
        if recipe.threads is not None:
            torch.set_num_threads(recipe.threads)
        torch.manual_seed(recipe.seed)
        self.device = choose_device(device)
        self.separator = (separator or _build(recipe)).to(self.device)
        if recipe.channels_last:
            self.separator = self.separator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.learner = self._learner()
        self.average = Average(self.separator, recipe.ema.decay) if recipe.ema else None
        self.judge = self._judge()
        sets = tracks if isinstance(tracks, Mapping) else {"songs": tracks}
        self.loader = training_loader(recipe, self.learner.separator, sets)
        self.validation = (
            validation_loader(recipe, self.learner.separator, validation) if validation else None
        )
        self.procedure = build_procedure(recipe.procedure)
        self.changed: list[str] = []
        self.step, self.best, self.figures = 0, -float("inf"), dict[str, float]()
        self.tracks_hash = _fingerprint(songs_of(sets))
        self._prepare_folder(resume, new_tracks)
        self.log = RunLog(self.folder, self.step, tensorboard=tensorboard)

    def run(self, minutes: float | None = None) -> Result:
        """Train up to the recipe's steps, or until `minutes` of wall-clock time are over.

        Ctrl-C or SIGTERM ends the run after the present step. However it ends, a checkpoint is
        written first; after a loss that is not a number the newest checkpoint stays as it is.
        """
        recipe = self.recipe
        began = saved = time.monotonic()
        window = _Window(self.loader)
        stopped = False
        keep_heap()
        reading = closing(self.loader.batches(self.step, recipe.steps))
        live = LiveLine(recipe.steps, self.step)
        with closing(self.log), _stop_on_signal() as stop, live as line, reading as batches:
            self.learner.separator.train()
            for batch in batches:
                self._set_learning_rate()
                window.add(self.procedure.step(self.learner, [batch]))
                self.step += 1
                if self.average:
                    self.average.update(self.separator, self.step - 1)
                line.step(self.step)
                if self.step % recipe.log_every == 0:
                    self._report(line, "train", window.close())
                if self.step % (recipe.validation.every or 500) == 0 or self.step == recipe.steps:
                    self._validate(line)
                now = time.monotonic()
                stopped = stop.is_set() or (minutes is not None and now - began > 60 * minutes)
                if self._checkpoint_due(now - saved) or stopped or self.step == recipe.steps:
                    self.save()
                    saved = time.monotonic()
                if stopped:
                    break
        return self._finish()

    def save(self) -> Path:
        """Write a checkpoint of the present state."""
        state: dict[str, Any] = {
            "step": self.step,
            "weights": self.separator.state_dict(),
            "optimiser": self.learner.optimiser.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "random": torch.get_rng_state(),
            "cuda_random": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
            "best": self.best,
            "figures": self.figures,
            "history": self.learner.history,
            "tracks": self.tracks_hash,
            "recipe": self.recipe.dump(),
        }
        return save_checkpoint(
            self.folder / "checkpoints",
            self._usable(),
            state,
            self.recipe.checkpoint.keep,
            self._metadata(),
        )

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

    def _prepare_folder(self, resume: bool, new_tracks: bool) -> None:
        checkpoints = list_checkpoints(self.folder / "checkpoints")
        if checkpoints and not resume:
            raise OutputError(
                f"{self.folder} holds a run already; use --resume to continue it or another folder"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        if checkpoints:
            self._restore(checkpoints[-1], new_tracks)
        part = self.folder / ".recipe.yaml.part"
        part.write_text(self.recipe.dump(), encoding="utf-8")
        part.replace(self.folder / "recipe.yaml")

    def _restore(self, checkpoint: Path, new_tracks: bool) -> None:
        state = load_state(checkpoint)
        self.changed = _changes(parse_recipe(yaml.safe_load(state["recipe"])), self.recipe)
        if state["tracks"] != self.tracks_hash and not new_tracks:
            raise DataError(
                "the training songs are not those the run was started with; "
                "restore them, or continue on the new ones with --new-tracks"
            )
        if state["average"] is not None and self.average is None:
            raise RecipeError("the checkpoint has averaged weights; keep `ema` in the recipe")
        self.separator.load_state_dict(state["weights"])
        wanted = [
            {key: value for key, value in group.items() if key != "params"}
            for group in self.learner.optimiser.param_groups
        ]
        self.learner.optimiser.load_state_dict(state["optimiser"])
        for group, options in zip(self.learner.optimiser.param_groups, wanted, strict=True):
            group.update(options)  # moments from the checkpoint, hyper-parameters from the recipe
        if self.average is not None:
            self.average.load_state_dict(state["average"] or state["weights"])
        torch.set_rng_state(state["random"])
        if self.device.type == "cuda" and state["cuda_random"]:
            torch.cuda.set_rng_state_all(state["cuda_random"])
        self.step, self.best = state["step"], state["best"]
        self.figures = state["figures"]
        self.learner.history[:] = state["history"]

    def _set_learning_rate(self) -> None:
        recipe = self.recipe
        rate = learning_rate(
            self.step, recipe.steps, recipe.optimiser.learning_rate, recipe.schedule
        )
        for group in self.learner.optimiser.param_groups:
            group["lr"] = rate

    def _validate(self, line: LiveLine) -> None:
        if self.validation is None:
            return
        section = self.recipe.validation
        batches = -(-section.excerpts // self.validation.batch)
        random = torch.get_rng_state()
        self.figures = validate(self.judge, self.validation, batches)
        torch.set_rng_state(random)
        self._report(line, "validation", self.figures)
        # held-out excerpts without any audible stem have no SDR: nothing is chosen by them
        [figure] = section.best.values()
        found = self.figures.get(figure, -float("inf"))
        score = -found if figure == "loss" else found
        if score > self.best:
            self.best = score
            models.save(self._usable(), self.folder / "best.safetensors", **self._metadata())

    def _checkpoint_due(self, seconds: float) -> bool:
        section = self.recipe.checkpoint
        by_time = section.minutes is not None and seconds >= 60 * section.minutes
        return by_time or (section.every is not None and self.step % section.every == 0)

    def _report(self, line: LiveLine, kind: str, figures: dict[str, float]) -> None:
        if kind == "train":
            figures["rate"] = self.learner.optimiser.param_groups[0]["lr"]
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
        last, best = self.folder / "last.safetensors", self.folder / "best.safetensors"
        models.save(self._usable(), last, **self._metadata())
        return Result(
            step=self.step,
            finished=self.step >= self.recipe.steps,
            model=best if best.is_file() else last,
            figures=self.figures,
        )


class _Window:
    """Means of the losses and speed since the last report."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._start()

    def _start(self) -> None:
        self._values: dict[str, list[float]] = defaultdict(list)
        self._began, self._waited, self._steps = time.perf_counter(), self._loader.waited, 0

    def add(self, values: dict[str, float]) -> None:
        self._steps += 1
        for name, value in values.items():
            self._values[name].append(value)

    def close(self) -> dict[str, float]:
        figures = {name: sum(v) / len(v) for name, v in self._values.items()}
        elapsed = time.perf_counter() - self._began
        figures["steps_per_second"] = self._steps / elapsed
        figures["loader_wait"] = (self._loader.waited - self._waited) / elapsed
        self._start()
        return figures


def _build(recipe: Recipe) -> Separator:
    section = recipe.separator
    if section.initial is None:
        return models.build(section.name, section.sources, **section.config)
    separator = models.load(section.initial, "cpu")
    wanted: dict[str, Any] = {"name": section.name}
    wanted |= {} if section.sources is None else {"sources": section.sources}
    wanted |= {f"config.{key}": value for key, value in section.config.items()}
    found = {"name": separator.kind, "sources": separator.sources}
    found |= {f"config.{key}": value for key, value in separator.config.items()}
    for key, value in wanted.items():
        # a checkpoint holds lists where the recipe or the network may hold tuples
        if json.dumps(found.get(key)) != json.dumps(value):
            raise RecipeError(
                f"separator.initial {section.initial} has {key} {_plain(found.get(key))}, but the "
                f"recipe's separator.{key} is {_plain(value)}: make them the same"
            )
    return separator


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


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


def _changes(old: Recipe, new: Recipe) -> list[str]:
    """What a resumed run does otherwise than before, e.g. "steps 100 -> 200".

    Raises RecipeError where the checkpoint's weights would not fit.
    """
    for key in ("separator", "sample_rate", "procedure"):
        if getattr(old, key) != getattr(new, key):
            raise RecipeError(
                f"the run was started with another '{key}'; keep it, or start in another folder"
            )
    before, after = _flat(old.model_dump(mode="json")), _flat(new.model_dump(mode="json"))
    keys = sorted(before.keys() | after.keys())
    return [
        f"{key} {before.get(key)} -> {after.get(key)}"
        for key in keys
        if before.get(key) != after.get(key) and key not in ("name", "notes")
    ]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _fingerprint(tracks: Sequence[Song]) -> str:
    """Changes when a track is added, removed, renamed or gets another length."""
    digest = hashlib.sha256()
    for track in tracks:
        digest.update(f"{track.name}\0{track.samples}\0{sorted(track.stems)}\n".encode())
    return digest.hexdigest()


@contextmanager
def _stop_on_signal() -> Iterator[threading.Event]:
    """An event set by the first Ctrl-C or SIGTERM; the second one acts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def request(number: int, frame: FrameType | None) -> None:
        stop.set()
        for each, handler in previous.items():
            signal.signal(each, handler)

    for each in previous:
        signal.signal(each, request)
    try:
        yield stop
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)
