"""One recipe of every base really trains, at its smoke scale, on songs of noise and tones."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from array_songs import SOURCES, ArraySong, labelled
from stemwise import models
from stemwise.data import augment
from stemwise.training.recipe import load_recipe
from stemwise.training.sections import Recipe
from stemwise.training.streams import validation_loader
from stemwise.training.trainer import Trainer

SECONDS = 13.0  # two chunks of 6 s


@cache
def song(number: int, rate: int, sources: tuple[str, ...], stems: bool) -> ArraySong:
    """Half of the time without vocals; without `stems`, a mixture with labels of vocals."""
    rng = np.random.default_rng(number)
    time = np.arange(round(SECONDS * rate)) / rate
    spans = [(start, start + 1.5) for start in np.arange(0.0, SECONDS - 2, 3.0)]
    sung = sum((time >= start) & (time < end) for start, end in spans)
    audio = {}
    for place, source in enumerate(sources):
        tone = np.sin(2 * np.pi * rng.uniform(100, 150) * 3**place * time)
        wave = 0.1 * (tone + 0.3 * rng.standard_normal(len(time)))
        audio[source] = np.stack([wave, 0.8 * wave]).astype(np.float32)
        audio[source] *= sung if source == "vocals" else 1
    if stems:
        always = [(0.0, SECONDS)]
        marked = labelled({s: spans if s == "vocals" else always for s in sources}, SECONDS)
        made = ArraySong(f"song{number}", audio, marked)
    else:
        mixture = np.sum(list(audio.values()), axis=0)
        made = ArraySong(f"song{number}", {}, labelled({"vocals": spans}, SECONDS), mixture)
    made.sample_rate = rate
    return made


def songs(recipe: Recipe) -> tuple[dict[str, list[ArraySong]], list[ArraySong]]:
    """Four training songs for each data set that the recipe names, and two to validate on."""
    section = recipe.separator
    network = models.build(section.name, section.sources, **section.config)
    rate = recipe.sample_rate or network.sample_rate
    sources = ("piano", *SOURCES) if "piano" in network.sources else SOURCES
    training, validation = {}, []
    for number, (name, what) in enumerate((recipe.data.sets or {"songs": "stems"}).items()):
        made = [
            song(10 * number + k, rate, sources, what == "stems" or "and" in what) for k in range(6)
        ]
        training[name] = made[:4]
        validation += made[4:]
    return training, validation


def initial(name: str, folder: Path) -> list[str]:
    """The trained network that a recipe starts from, as an override."""
    before = {
        "doire2019-transfer": "doire2019-simultaneous",
        "fine-tune": "band",
        "band": "band-start",
    }
    other = before.get(name)
    if other is None:
        return []
    section = load_recipe(other, (), "smoke").separator
    path = folder / "trained.safetensors"
    models.save(models.build(section.name, section.sources, **section.config), path)
    return [f"separator.initial={path}"]


@pytest.mark.parametrize(
    "name",
    [
        "stoller2018-svd",
        "stoller2018-mtl",
        "stoller2018-replacement-1",
        "hung2020-iass-3-blocks",
        "hung2020-mm-iass",
        "george2022-time-domain",
        "george2022-dual",
        "doire2019-simultaneous",
        "doire2019-interleaved-accumulated",
        "doire2019-independent",
        "doire2019-transfer",
        "kadandale2020-voice-ebw-p1",
        "kadandale2020-four-c-u-net",
        "kadandale2020-four-ebw-p1-direct",
        "band",
        "band-start",
        "fine-tune",
    ],
)
def test_a_smoke_run_ends_with_its_models(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, initial(name, tmp_path), "smoke")
    training, validation = songs(recipe)
    result = Trainer(recipe, training, validation, tmp_path / "run", device="cpu").run()
    assert (result.step, result.finished) == (recipe.steps, True)
    assert all(math.isfinite(value) for value in result.figures.values())
    for model, figure in recipe.validation.best.items():
        assert figure in result.figures
        trained = models.load(result.models[model], "cpu")
        assert trained.kind == recipe.separator.name
        assert trained.sources == (recipe.separator.sources or trained.sources)
    assert load_recipe(tmp_path / "run/recipe.yaml") == recipe


@pytest.mark.parametrize("name", ["hung2020-mm-iass", "hung2020-iass-3-blocks"])
def test_a_target_is_validated_in_mixtures(name: str) -> None:
    recipe = load_recipe(name, ["separator.sources=[bass]"], "smoke")
    separator = models.build(recipe.separator.name, recipe.separator.sources)
    batch = augment.apply(validation_loader(recipe, separator, songs(recipe)[1]).load(0), 1)
    wanted = batch.narrowed(recipe.data.mix or separator.sources, separator.sources)
    rest = batch.mixture - wanted.stems.sum(dim=1)
    assert bool(wanted.supervised.all())
    assert float(rest.square().mean()) > 0.1 * float(wanted.stems.square().mean())
