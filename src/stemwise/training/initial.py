"""The network that a run starts with: new, from a checkpoint, or new decoders under its encoder.

`freeze` keeps parts of it as they are. Their parameters have no gradient, and their modules stay in
evaluation mode whatever `train()` says, because batch normalisation would otherwise go on updating
its statistics and dropout would still disturb what is no longer learnt.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from stemwise import models
from stemwise.errors import RecipeError, closest
from stemwise.models.bank import Bank, select
from stemwise.models.separator import Separator
from stemwise.models.shared_encoder import SharedEncoder
from stemwise.training.sections import Recipe, SeparatorSection


def build_separator(recipe: Recipe, checkpoint: Path | None = None) -> Separator:
    """The separator of a recipe, with its frozen parts frozen.

    checkpoint: of the run that goes on; its network is taken, and the files that the run once
    started from are not needed any more.

    Raises RecipeError for an initial network that is not what the recipe describes and for parts
    to freeze that it lacks; ModelError where a network cannot be built or loaded.
    """
    section = recipe.separator
    if checkpoint is not None:
        separator = models.load(checkpoint / "model.safetensors", "cpu").train()
    elif section.initial is not None:
        separator = _under_encoder(section) if section.keep == "encoder" else _loaded(section)
    elif section.keep == "encoder":
        raise RecipeError("separator.keep: encoder needs separator.initial: name a checkpoint")
    else:
        separator = models.build(section.name, section.sources, **section.config)
    freeze(separator, section.freeze)
    return separator


def at_rate(separator: Separator, sample_rate: int | None) -> Separator:
    """The separator for audio of the training rate, with the same parameters."""
    if sample_rate is None or sample_rate == separator.sample_rate:
        return separator
    view_at = getattr(separator, "at_rate", None)
    if view_at is None:
        raise RecipeError(
            f"the separator works at {separator.sample_rate} Hz only; "
            f"remove sample_rate: {sample_rate} from the recipe"
        )
    view: Separator = view_at(sample_rate)
    return view


def freeze(separator: Separator, parts: Sequence[str]) -> None:
    """Keep parts of a network as they are: no gradient, and always in evaluation mode.

    parts: beginnings of the names of parameters and buffers within `separator.network`, whole words
    between dots, e.g. "encoder" or "members.vocals.lstm".

    Raises RecipeError, with the nearest name, for a part that the network lacks, and where nothing
    is left to learn.
    """
    parameters = dict(separator.network.named_parameters())
    names = [*parameters, *(name for name, _ in separator.network.named_buffers())]
    modules = dict(separator.network.named_modules())
    frozen: list[str] = []
    for part in parts:
        within = [name for name in names if f"{name}.".startswith(f"{part}.")]
        if not within:
            near = closest(part, _beginnings(names), cutoff=0.0)
            raise RecipeError(
                f"separator.freeze names '{part}', no part of the network; the nearest is '{near}'"
            )
        for name in within:
            if name in parameters:
                parameters[name].requires_grad_(False)
        frozen += [name for name in modules if f"{name}.".startswith(f"{part}.")]
    if parts and not any(one.requires_grad for one in parameters.values()):
        raise RecipeError(f"separator.freeze: {', '.join(parts)} leaves nothing to learn")
    if frozen:
        keep = _InEvaluation(frozen)
        keep(separator.network)
        separator.network.register_forward_pre_hook(keep)


class _InEvaluation:
    """Before every pass, puts modules into evaluation mode: `train()` reaches frozen parts too.

    names: of the modules, which others may have taken the place of since (`SyncBatchNorm`).
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    def __call__(self, network: nn.Module, inputs: tuple[Any, ...] = ()) -> None:
        """Let no module of those be in training."""
        for name in self.names:
            module = network.get_submodule(name)
            if isinstance(module, nn.RNNBase):
                module.dropout = 0.0  # that is all: cuDNN goes backward in training mode only
            else:
                module.training = False


def _beginnings(names: Iterable[str]) -> list[str]:
    """All that the names begin with, "a", "a.b" and "a.b.c" of "a.b.c"."""
    words = [name.split(".") for name in names]
    return sorted({".".join(one[:end]) for one in words for end in range(1, len(one) + 1)})


def _loaded(section: SeparatorSection) -> Separator:
    """The initial network, or some of its sources; what else the recipe says of it must be true."""
    assert section.initial is not None
    separator = models.load(section.initial, "cpu")
    if section.sources is not None:
        separator = _of_sources(separator, section.sources)
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


def _of_sources(separator: Separator, sources: Sequence[str]) -> Separator:
    """Those sources alone of a network that keeps the others' parts apart; else itself."""
    if not set(sources) < set(separator.config["sources"]):
        return separator
    if isinstance(separator.network, Bank):
        return select(separator, sources)
    if isinstance(separator, SharedEncoder):
        return separator.with_sources(sources)
    return separator


def _under_encoder(section: SeparatorSection) -> Separator:
    """New decoders under the initial network's encoder; its options hold where the recipe's do not.

    Transfer to new sources, as section 4.4 of Doire & Okubadejo (2019) proposes it.
    """
    assert section.initial is not None
    trained = models.load(section.initial, "cpu")
    if not isinstance(trained, SharedEncoder) or section.name != trained.kind:
        raise RecipeError(
            f"separator.keep: encoder is for 'shared-encoder', but {section.initial} is "
            f"'{trained.kind}' and the recipe's network '{section.name}'"
        )
    options = {**trained.config, **section.config}
    del options["sources"]
    separator = models.build(section.name, section.sources, **options)
    assert isinstance(separator, SharedEncoder)
    separator.take_encoder(trained)
    return separator


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
