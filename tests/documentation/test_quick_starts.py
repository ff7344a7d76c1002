"""The quick starts of the documentation work as they stand."""

from __future__ import annotations

from pathlib import Path

from page_examples import DOCS, run_page


def test_for_developers(tmp_path: Path) -> None:
    printed = run_page(DOCS / "quickstart/developer.md", tmp_path)
    assert "(2, 264600) 44100" in printed
    assert "no such song.mp3" in printed
    assert sorted(one.name for one in (tmp_path / "out/song").glob("*.mp3")) == [
        "no_vocals.mp3",
        "vocals.mp3",
    ]


def test_for_researchers(tmp_path: Path) -> None:
    printed = run_page(DOCS / "quickstart/researcher.md", tmp_path)
    assert "SDR" in printed
    for result in ("curves.png", "tables/doire2019-2.md", "runs/mtl/last.safetensors", "stems"):
        assert (tmp_path / result).exists(), result
