"""Training recipes: validated YAML, one base and small deltas on it.

A recipe names a separator, the data's treatment, an objective, a weighting, a procedure, and how
long and how to validate. `extends` names another recipe that it changes; `key=value` arguments
change single keys (`data.remix=0.3`). Unknown keys are errors that name the nearest valid key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stemwise.errors import RecipeError, closest


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SeparatorSection(_Section):
    """The network: name in `stemwise.models.build`, its sources, its constructor's arguments."""

    name: str
    sources: tuple[str, ...] | None = None
    config: dict[str, Any] = {}
    initial: Path | None = None
    """Checkpoint whose weights training starts from (fine-tuning); None: fresh weights."""


class SamplingSection(_Section):
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
    "chunks": ("held_out", "drop_silent"),
}


class DataSection(_Section):
    """Excerpts and their random changes; see `stemwise.data.draws.Augmentation`."""

    sampling: SamplingSection = SamplingSection()
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


class ObjectiveSection(_Section):
    """`l1` or `mse` in the network's representation, or `spectral` (see objectives.Spectral)."""

    name: Literal["l1", "mse", "spectral"] = "l1"
    magnitude: bool = False
    complex_weight: float = Field(default=0.5, ge=0, le=1)
    floor: float = Field(default=0.02, gt=0)

    @model_validator(mode="after")
    def _only_own_options(self) -> ObjectiveSection:
        # recipes are kept with all defaults written out, so those of the others say nothing
        for key, owners in _OBJECTIVE_OPTIONS.items():
            default = type(self).model_fields[key].default
            if self.name not in owners and getattr(self, key) != default:
                known = " and ".join(f"'{owner}'" for owner in owners)
                raise ValueError(
                    f"'{key}' belongs to the objective {known}, not to '{self.name}': remove it"
                )
        return self


_OBJECTIVE_OPTIONS = {
    "magnitude": ("l1", "mse"),
    "complex_weight": ("spectral",),
    "floor": ("spectral",),
}


class WeightingSection(_Section):
    """How the tasks' losses are summed."""

    name: Literal["fixed"] = "fixed"
    weights: dict[str, float] = {"separation": 1.0, "activity": 1.0}


class OptimiserSection(_Section):
    """AdamW; weight decay skips biases and the scales of normalisations."""

    name: Literal["adamw"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient; None does not clip."""


class ScheduleSection(_Section):
    """Linear warm-up, constant, then linear decay to zero over the last `decay` of the steps."""

    warmup: int = Field(default=0, ge=0)
    decay: float = Field(default=0.0, ge=0, le=1)


class EmaSection(_Section):
    """Running average of the weights; early in training it forgets faster."""

    decay: float = Field(default=0.999, ge=0, lt=1)


class ValidationSection(_Section):
    """Fixed excerpts of held-out songs, judged with the averaged weights."""

    every: int = Field(default=500, ge=1)
    excerpts: int = Field(default=24, ge=1)
    seconds: float = Field(default=6.0, gt=0)
    seed: int = 1
    select: Literal["loss", "sdr"] = "sdr"
    """What makes a checkpoint the best: the smallest loss or the largest mean SDR."""


class CheckpointSection(_Section):
    """When the state of the run is written; the last `keep` are kept."""

    minutes: float | None = Field(default=5.0, gt=0)
    every: int | None = Field(default=None, ge=1)
    keep: int = Field(default=2, ge=1)


class Recipe(_Section):
    """Everything that decides what a training run learns, apart from the data itself."""

    name: str
    notes: str = ""
    separator: SeparatorSection
    sample_rate: int | None = None
    """Rate at which training runs; None: the separator's own."""
    seed: int = 0
    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    data: DataSection = DataSection()
    objective: ObjectiveSection = ObjectiveSection()
    weighting: WeightingSection = WeightingSection()
    procedure: Literal["joint"] = "joint"
    optimiser: OptimiserSection = OptimiserSection()
    schedule: ScheduleSection = ScheduleSection()
    ema: EmaSection | None = None
    validation: ValidationSection = ValidationSection()
    checkpoint: CheckpointSection = CheckpointSection()
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = False
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; None: PyTorch's choice. Resumed runs repeat bit for bit with the same number."""
    log_every: int = Field(default=20, ge=1)

    def dump(self) -> str:
        """The whole recipe as YAML, with every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


_NAMED = ("objective", "weighting", "optimiser", "sampling")


def load_recipe(recipe: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe file, or a recipe of this package by name, and apply `key=value` overrides.

    Raises:
        RecipeError: no such recipe, an unknown key or a value out of range, naming the key.
    """
    values = _read(recipe, ())
    delta: dict[str, Any] = {}
    for override in overrides:
        _override(values, delta, override)
    return parse_recipe(_merge(values, delta))


def parse_recipe(values: Mapping[str, Any]) -> Recipe:
    """Validate a recipe given as nested mappings; RecipeError names the first wrong key."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(_explain(error)) from error


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("stemwise.recipes")
    return sorted(file.name[:-5] for file in folder.iterdir() if file.name.endswith(".yaml"))


def _read(recipe: str | Path, seen: tuple[str, ...]) -> dict[str, Any]:
    """The recipe's values laid over those of the recipe it extends."""
    text, folder = _text(recipe)
    if str(recipe) in seen:
        raise RecipeError(f"recipe {recipe} extends itself; remove one `extends`")
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"recipe {recipe} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"recipe {recipe} must be a mapping of keys to values")
    base = values.pop("extends", None)
    if base is None:
        return values
    beside = folder / str(base) if folder is not None else Path(str(base))
    return _merge(_read(beside if beside.is_file() else str(base), (*seen, str(recipe))), values)


def _text(recipe: str | Path) -> tuple[str, Path | None]:
    path = Path(recipe)
    if path.is_file():
        return path.read_text(encoding="utf-8"), path.parent
    if path.suffix not in (".yaml", ".yml") and str(recipe) in recipe_names():
        file = resources.files("stemwise.recipes") / f"{recipe}.yaml"
        return file.read_text(encoding="utf-8"), None
    raise RecipeError(
        f"there is no recipe {recipe}; give a YAML file or one of: {', '.join(recipe_names())}"
    )


def _merge(base: Mapping[str, Any], delta: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in delta.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            # options belong to what is named, and go with it
            other = key in _NAMED and value.get("name", old.get("name")) != old.get("name")
            merged[key] = dict(value) if other else _merge(old, value)
        else:
            merged[key] = value
    return merged


def _override(values: Mapping[str, Any], delta: dict[str, Any], override: str) -> None:
    """Put one `key=value` into `delta`, which changes `values`."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"'{override}' is not of the form key=value, e.g. data.remix=0.3")
    *parents, last = key.split(".")
    section, old = delta, values
    for parent in parents:
        section, old = section.setdefault(parent, {}), old.get(parent, {})
        if not isinstance(section, dict) or not isinstance(old, Mapping):
            raise RecipeError(f"'{key}' cannot be set: '{parent}' is a value, not a section")
    try:
        section[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"the value of '{override}' is not valid YAML") from error


def _explain(error: ValidationError) -> str:
    """One sentence on the first mistake, with the nearest valid key for a misspelt one."""
    mistake = error.errors()[0]
    key = ".".join(str(part) for part in mistake["loc"])
    if mistake["type"] == "extra_forbidden":
        *parents, last = (str(part) for part in mistake["loc"])
        valid = _keys(parents)
        near = closest(last, valid, cutoff=0.0)
        return f"the recipe has an unknown key '{key}'; the nearest valid key is '{near}'"
    if mistake["type"] == "missing":
        return f"the recipe lacks the key '{key}'"
    if mistake["type"] == "value_error":  # a section's own sentence
        return f"the recipe's '{key}' is wrong: {mistake['ctx']['error']}"
    return f"the recipe's '{key}' is wrong: {mistake['msg']} (it is {mistake['input']!r})"


def _keys(parents: list[str]) -> list[str]:
    section: type[BaseModel] = Recipe
    for parent in parents:
        annotation = section.model_fields[parent].annotation
        for option in (annotation, *get_args(annotation)):
            if isinstance(option, type) and issubclass(option, BaseModel):
                section = option
    return list(section.model_fields)
