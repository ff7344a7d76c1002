"""`stemwise models`: the table of all, and one of them layer by layer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.conftest import Stemwise
from stemwise import models


def test_the_table_tells_licences_weights_and_context(
    stemwise: Stemwise, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STEMWISE_CACHE", str(tmp_path / "cache"))
    printed = stemwise("models")
    assert (printed.status, printed.err) == (0, "")
    head, *lines = printed.out.splitlines()
    titles = "name paper sources Hz parameters context (s) activity licence weights"
    assert head.split() == titles.split()
    rows = {line.split()[0]: line.split() for line in lines}
    assert rows["band"][-2:] == ["MIT", "present"]
    assert rows["umxl"][-1] == "downloadable"
    assert "BY-NC-SA" in rows["umxl"]
    assert rows["joint-unet"][-5:] == ["3,453,863", "0.55", "vocals", "-", "none"]
    assert rows["open-unmix"][-4:] == ["song", "-", "-", "none"]
    assert lines[-1].startswith("song: the network listens to the whole song")
    assert set(rows) >= set(models.NETWORKS)


def test_one_network_as_json_has_its_configuration_and_layers(stemwise: Stemwise) -> None:
    told = json.loads(stemwise("models", "joint-unet", "--json").out)
    assert told["config"] == models.build("joint-unet").config
    assert told["trainable_parameters"] == 3453863
    layers = {layer["name"]: layer for layer in told["layers"]}
    assert sum(layer["own_parameters"] for layer in layers.values()) == 3453863
    assert layers["network.base.first"]["outputs"][0][:3] == [1, 16, 348]


def test_one_checkpoint_for_people(stemwise: Stemwise, model: Path) -> None:
    printed = stemwise("models", model).out
    assert "trainable parameters" in printed
    assert "widths" in printed
    line = next(line for line in printed.splitlines() if line.split()[:1] == ["stem"])
    assert line.split() == ["stem", "Conv2d", "1", "x", "8", "x", "48", "x", "256", "392"]
