"""The worked examples of the documentation work, block by block, in an empty folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from page_examples import DOCS, ROOT, run_page

from stemwise import models


def test_adding_a_network(tmp_path: Path) -> None:
    printed = run_page(DOCS / "extend/network.md", tmp_path)
    assert "pieces equal one pass" in printed
    card = models.read_card(tmp_path / "runs/dilated/best.safetensors")
    assert card.network == "dilated-masks"
    assert card.metadata["step"] > 0
    [stems] = (tmp_path / "stems").iterdir()
    assert {"vocals.wav", "drums.wav", "bass.wav", "other.wav"} <= {
        one.name for one in stems.iterdir()
    }


def test_adding_a_data_set(tmp_path: Path) -> None:
    printed = run_page(DOCS / "extend/data-set.md", tmp_path)
    assert (
        "[('morning', ['accompaniment', 'vocals']), ('noon', ['accompaniment', 'vocals'])]"
        in printed
    )
    assert "(8, 2, 2, 44100) (8, 1, 87)" in printed
    assert (tmp_path / "stores/choir-22k/store.json").is_file()
    assert (tmp_path / "runs/choir/last.safetensors").is_file()


def test_adding_a_loss(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    printed = run_page(DOCS / "extend/loss.md", tmp_path, PYTHONPATH=str(tmp_path / "src"))
    assert "loss:" in printed
    named = (tmp_path / "runs/named/recipe.yaml").read_text(encoding="utf-8")
    assert "multi-resolution" in named
