"""The sections of a recipe: every key with its type, range and default.

A key that is wrong is an error here, before anything is read or built. What a key means for the
training is said where it is used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from stemwise.errors import closest


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SeparatorSection(Section):
    """The network: name in `stemwise.models.build`, its sources, its constructor's arguments."""

    name: str
    sources: tuple[str, ...] | None = None
    config: dict[str, Any] = {}
    initial: Path | None = None
    """Checkpoint, or catalogue model, whose weights training starts from; None: fresh weights."""
    keep: Literal["all", "encoder"] = "all"
    """What is taken from `initial`: everything, or the shared encoder under new decoders."""
    freeze: tuple[str, ...] = ()
    """Parts of the network that stay as they are, by the first part of their parameters' names,
    e.g. "encoder"."""


class SamplingSection(Section):
    """How songs and starts are chosen: a name of `stemwise.data.sampling.SCHEMES`, its options."""

    name: str = "random"
    source: str | None = None
    share: float | None = Field(default=None, ge=0, le=1)
    accompaniment: str | None = None
    printed: bool | None = None
    fewest: int | None = Field(default=None, ge=1)
    most: int | None = Field(default=None, ge=1)
    held_out: float | None = Field(default=None, ge=0, lt=1)
    drop_silent: bool | None = None
    shares: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _only_own_options(self) -> SamplingSection:
        if self.name not in _SAMPLING_OPTIONS:
            near = closest(self.name, tuple(_SAMPLING_OPTIONS), cutoff=0.0)
            raise ValueError(f"there is no scheme '{self.name}'; the nearest is '{near}'")
        for key in self.options:
            own = _SAMPLING_OPTIONS[self.name]
            if key not in own:
                options = f"whose options are {', '.join(own)}" if own else "which has no options"
                raise ValueError(f"'{key}' does not belong to '{self.name}', {options}: remove it")
        if self.fewest is not None and self.most is not None and self.fewest > self.most:
            raise ValueError("'fewest' must not be more than 'most'")
        if self.name == "chunks" and self.shares is not None and self.held_out is not None:
            raise ValueError("give 'held_out' or 'shares', not both")
        if self.shares is not None and not (min(self.shares) > 0 and sum(self.shares) <= 1):
            raise ValueError("'shares' must be above 0 and 1 together at most")
        return self

    @property
    def options(self) -> dict[str, Any]:
        """What is set besides the name."""
        return self.model_dump(exclude={"name"}, exclude_none=True)


_SAMPLING_OPTIONS: dict[str, tuple[str, ...]] = {
    "random": (),
    "sequential": (),
    "non-silent-source": ("source", "share"),
    "non-vocal-replacement": ("source", "accompaniment", "printed"),
    "pool-mix": ("source", "fewest", "most"),
    "independent": ("shares",),
    "chunks": ("held_out", "shares", "drop_silent"),
}


class DataSection(Section):
    """Excerpts and their random changes; see `stemwise.data.draws.Augmentation`."""

    sets: dict[str, str] = {}
    """Data sets of the published training, by the names that `--data NAME=...` gives them, and what
    is taken of each. They say which data to bring; nothing depends on them."""
    sampling: SamplingSection = SamplingSection()
    mix: tuple[str, ...] | None = None
    """Stems that a mixture is made of, where they are more than the separator's sources."""
    groups: dict[str, tuple[str, ...]] = {}
    """Stems that are sums of a song's stems, e.g. accompaniment: [drums, bass, other]."""
    roles: dict[str, Literal["separation", "detection"]] = {}
    """For `alternating`: what each data set is for, by its name. A set that is not named here is
    for separation where its songs have stems."""
    weights: dict[str, float] = {}
    """How often excerpts are of each data set, by its name; sets not named here weigh 1."""
    whole_batches: bool = False
    """Whether all excerpts of a batch are of one data set."""
    seconds: float = Field(default=3.0, gt=0)
    remix: float = Field(default=0.0, ge=0, le=1)
    gain_db: float = Field(default=0.0, ge=0)
    level_db: float = Field(default=0.0, ge=0)
    swap: float = Field(default=0.0, ge=0, le=1)
    drop: dict[str, float] = {}
    prefer_active: float = Field(default=0.0, ge=0, le=1)
    polarity: float = Field(default=0.0, ge=0, le=1)
    equalise: bool = False
    width_db: float = Field(default=0.0, ge=0)
    filter_db: float = Field(default=0.0, ge=0)
    speed: float = Field(default=0.0, ge=0, lt=1)
    gain_range: tuple[float, float] | None = None
    equalise_limit: float = Field(default=4.0, ge=1)
    swap_stems: float = Field(default=0.0, ge=0, le=1)
    pan: float = Field(default=0.0, ge=0, le=1)
    shelf_db: float = Field(default=0.0, ge=0)
    band_db: float = Field(default=0.0, ge=0)
    pitch: float = Field(default=0.0, ge=0, le=12)
    tempo: float = Field(default=0.0, ge=0, le=0.5)
    workers: int = Field(default=1, ge=0)
    ahead: int = Field(default=3, ge=1)


class ObjectiveSection(Section):
    """What is compared with what; see `stemwise.training.objectives`.

    `l1` and `mse` compare estimates on the scale of the network's paper, or `magnitude`s; `dual`
    is (1 - waveform_weight) mse of magnitudes + waveform_weight mse of waveforms; `direct` compares
    masks with ideal amplitude masks of at most `limit`.
    """

    name: Literal[
        "l1", "mse", "spectral", "rms", "dual", "direct", "waveform-l1", "waveform-mse", "si-sdr"
    ] = "l1"
    magnitude: bool = False
    complex_weight: float = Field(default=0.5, ge=0, le=1)
    floor: float = Field(default=0.02, gt=0)
    waveform_weight: float = Field(default=0.1, ge=0, le=1)
    limit: float = Field(default=10.0, gt=0)

    @model_validator(mode="after")
    def _only_own_options(self) -> ObjectiveSection:
        _refuse_others(self, "objective", _OBJECTIVE_OPTIONS)
        return self


_OBJECTIVE_OPTIONS = {
    "magnitude": ("l1", "mse"),
    "complex_weight": ("spectral",),
    "floor": ("spectral",),
    "waveform_weight": ("dual",),
    "limit": ("direct",),
}


class WeightingSection(Section):
    """How losses are summed; see `stemwise.training.weighting`.

    `fixed` and `blend` (alpha separation + (1 - alpha) activity, Stoller et al. 2018) weigh tasks;
    the others weigh the losses of the sources against each other, and activity by `activity`.
    """

    name: Literal[
        "fixed", "blend", "unit", "dwa", "ebw-p1", "ebw-inst-p1", "ebw-p2", "oh", "gradnorm"
    ] = "fixed"
    weights: dict[str, float] = {"separation": 1.0, "activity": 1.0}
    sources: dict[str, float] = {}
    alpha: float = Field(default=0.9, ge=0, le=1)
    activity: float = Field(default=1.0, ge=0)
    temperature: float = Field(default=2.0, gt=0)
    restoring: float = Field(default=0.0, ge=0)
    decay: float = Field(default=0.9, ge=0, lt=1)

    @model_validator(mode="after")
    def _only_own_options(self) -> WeightingSection:
        _refuse_others(self, "weighting", _WEIGHTING_OPTIONS)
        for task, weight in self.weights.items():
            if task not in ("separation", "activity"):
                near = closest(task, ("separation", "activity"), cutoff=0.0)
                raise ValueError(f"there is no task '{task}' to weigh; the nearest is '{near}'")
            if not 0 <= weight < math.inf:
                raise ValueError(f"the weight of '{task}' must be a number from 0 up")
        for source, weight in self.sources.items():
            if not 0 <= weight < math.inf:
                raise ValueError(f"the weight of the source '{source}' must be a number from 0 up")
        return self


_PER_SOURCE = ("unit", "dwa", "ebw-p1", "ebw-inst-p1", "ebw-p2", "oh", "gradnorm")
_WEIGHTING_OPTIONS = {
    "weights": ("fixed",),
    "sources": ("fixed",),
    "alpha": ("blend",),
    "activity": _PER_SOURCE,
    "temperature": ("dwa",),
    "restoring": ("gradnorm",),
    "decay": ("gradnorm",),
}


class OptimiserSection(Section):
    """AdamW, whose weight decay skips biases and the scales of normalisations; Adam with the L2
    penalty of the papers on all parameters; SGD with momentum."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient; None does not clip."""

    @model_validator(mode="after")
    def _only_own_options(self) -> OptimiserSection:
        _refuse_others(self, "optimiser", {"betas": ("adamw", "adam"), "momentum": ("sgd",)})
        return self


class ScheduleSection(Section):
    """How the learning rate changes, after a linear `warmup` of so many steps.

    `linear`: constant, then down to zero over the last `decay` (a share) of the steps. `cosine`:
    half a cosine down to `final` times the rate. `plateau`: times `factor` whenever the validation
    loss has not fallen by the share `threshold` for `patience` epochs, then none for `cooldown`.
    """

    name: Literal["linear", "cosine", "plateau"] = "linear"
    warmup: int = Field(default=0, ge=0)
    decay: float = Field(default=0.0, ge=0, le=1)
    final: float = Field(default=0.0, ge=0, le=1)
    factor: float = Field(default=0.3, gt=0, lt=1)
    patience: int = Field(default=80, ge=0)
    cooldown: int = Field(default=0, ge=0)
    threshold: float = Field(default=1e-4, ge=0)

    @model_validator(mode="after")
    def _only_own_options(self) -> ScheduleSection:
        _refuse_others(self, "schedule", _SCHEDULE_OPTIONS)
        return self


_PLATEAU = ("plateau",)
_SCHEDULE_OPTIONS = {
    "decay": ("linear",),
    "final": ("cosine",),
    "factor": _PLATEAU,
    "patience": _PLATEAU,
    "cooldown": _PLATEAU,
    "threshold": _PLATEAU,
}


class EpochSection(Section):
    """What counts as an epoch: `steps`, or `excerpts_per_song` of every training song.

    With neither, one pass over the songs where the sampling makes such passes (`chunks`,
    `independent`), and `validation.every` steps otherwise.
    """

    steps: int | None = Field(default=None, ge=1)
    excerpts_per_song: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_of_them(self) -> EpochSection:
        if self.steps is not None and self.excerpts_per_song is not None:
            raise ValueError("give 'steps' or 'excerpts_per_song', not both")
        return self


class StopSection(Section):
    """Ends training before its last step: after so many epochs, or steps, in which no figure of
    `validation.best` improved. With neither, training goes on to its last step."""

    epochs: int | None = Field(default=None, ge=1)
    steps: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one_of_them(self) -> StopSection:
        if self.steps is not None and self.epochs is not None:
            raise ValueError("give 'epochs' or 'steps', not both")
        return self


class StatisticsSection(Section):
    """What is measured once of the training data: the input's mean and deviation in every bin,
    for networks that have them, and the sources' energies, for weightings that need them."""

    excerpts: int = Field(default=256, ge=1)
    """How many of the stream's first excerpts are measured."""


class EmaSection(Section):
    """Running average of the weights; early in training it forgets faster."""

    decay: float = Field(default=0.999, ge=0, lt=1)


class ValidationSection(Section):
    """Fixed excerpts of held-out songs, judged with the averaged weights where there are any."""

    every: int | None = Field(default=500, ge=1)
    """Steps from one validation to the next; None: every epoch."""
    excerpts: int = Field(default=24, ge=1)
    seconds: float = Field(default=6.0, gt=0)
    seed: int = 1
    held_out: bool = False
    """Take the excerpts that `data.sampling` keeps from training, instead of held-out songs."""
    best: dict[str, str] = {"best": "sdr"}
    """Models to keep, `NAME.safetensors`, each with the figure that it is best in: `loss`,
    `separation`, `activity`, `sdr`, `auroc`, or one of a source, such as `sdr/vocals`."""

    @model_validator(mode="after")
    def _usable_names(self) -> ValidationSection:
        if not self.best:
            raise ValueError("'best' needs at least one model, e.g. best: sdr")
        bad = [name for name in self.best if name == "last" or not name.replace("-", "").isalnum()]
        if bad:
            raise ValueError(f"a model cannot be called '{bad[0]}': use letters, digits and '-'")
        return self


class CheckpointSection(Section):
    """When the state of the run is written; the last `keep` are kept."""

    minutes: float | None = Field(default=5.0, gt=0)
    every: int | None = Field(default=None, ge=1)
    keep: int = Field(default=2, ge=1)


def _refuse_others(section: Section, what: str, owners: Mapping[str, tuple[str, ...]]) -> None:
    """Raise ValueError for an option that belongs to another name than the section's."""
    # recipes are kept with all defaults written out, so those of the others say nothing
    name = str(section.name)  # type: ignore[attr-defined]
    for key, names in owners.items():
        default = type(section).model_fields[key].default
        if name not in names and getattr(section, key) != default:
            known = " and ".join(f"'{owner}'" for owner in names)
            raise ValueError(f"'{key}' belongs to the {what} {known}, not to '{name}': remove it")


class Recipe(Section):
    """Everything that decides what a training run learns, apart from the data itself."""

    name: str
    notes: str = ""
    separator: SeparatorSection
    sample_rate: int | None = None
    """Rate at which training runs; None: the separator's own."""
    seed: int = 0
    steps: int = Field(ge=1)
    """Optimiser steps; a step of the interleaved procedures is a round over all sources."""
    batch: int = Field(ge=1)
    """Excerpts of a batch, over all processes together."""
    epoch: EpochSection = EpochSection()
    data: DataSection = DataSection()
    objective: ObjectiveSection = ObjectiveSection()
    weighting: WeightingSection = WeightingSection()
    procedure: Literal[
        "joint", "alternating", "independent", "interleaved", "interleaved-accumulated"
    ] = "joint"
    optimiser: OptimiserSection = OptimiserSection()
    schedule: ScheduleSection = ScheduleSection()
    stop: StopSection = StopSection()
    statistics: StatisticsSection = StatisticsSection()
    ema: EmaSection | None = None
    validation: ValidationSection = ValidationSection()
    checkpoint: CheckpointSection = CheckpointSection()
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of the arithmetic; weights and optimiser keep 32 bits."""
    channels_last: bool = False
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; None: PyTorch's choice. Resumed runs repeat bit for bit with the same number."""
    log_every: int = Field(default=20, ge=1)

    @model_validator(mode="after")
    def _losses_with_ratios(self) -> Recipe:
        ratios = self.weighting.name == "dwa" or self.weighting.restoring > 0
        if ratios and self.objective.name == "si-sdr":
            key = "dwa" if self.weighting.name == "dwa" else "restoring"
            raise ValueError(
                f"weighting '{key}' takes ratios of losses, which mean nothing where they are "
                "below 0, as those of 'si-sdr' are: choose another weighting or objective"
            )
        return self

    def dump(self) -> str:
        """The whole recipe as YAML, with every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
