"""Curves of runs: what is read from their logs, and the figures drawn of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from stemwise.cli.curves import curves
from stemwise.errors import DataError, OutputError
from stemwise.training.log import RunLog
from stemwise.training.plots import Curve, plot_curves, read_curves


def _run(folder: Path, tasks: Mapping[str, float], rows: int = 40) -> Path:
    """A run whose losses halve every ten rows, with a validation at every tenth."""
    folder.mkdir(parents=True)
    log = RunLog(folder, 0)
    for row in range(1, rows + 1):
        losses = {task: start * 0.5 ** (row / 10) for task, start in tasks.items()}
        log.add(20 * row, "train", {**losses, "total": sum(losses.values()), "rate": 0.001})
        log.add(20 * row, "epoch", {"epoch": row, **losses})
        if row % 10 == 0:
            log.add(20 * row, "validation", {"separation": 0.5, "loss": 1.0, "sdr": row / 10})
    log.close()
    return folder


def _drawn(path: Path) -> str:
    """An SVG file, in which Matplotlib keeps every text as a comment."""
    assert ElementTree.parse(path).getroot().tag.endswith("svg")
    return path.read_text(encoding="utf-8")


def test_reads_what_was_logged(tmp_path: Path) -> None:
    found = read_curves(_run(tmp_path / "a", {"separation": 1.0, "activity": 0.5}))
    assert found.names == ["separation", "activity", "loss", "rate", "sdr"]
    train, validation = found.of("separation")
    assert train is not None
    assert validation is not None
    np.testing.assert_array_equal(train.steps, 20 * np.arange(1, 41))
    np.testing.assert_allclose(train.values, 0.5 ** (np.arange(1, 41) / 10), rtol=1e-5)
    np.testing.assert_array_equal(validation.steps, [200, 400, 600, 800])
    total, loss = found.of("loss")
    assert total is not None
    assert loss is not None
    np.testing.assert_allclose(total.values, 1.5 * train.values, rtol=1e-5)
    np.testing.assert_array_equal(loss.values, 1.0)
    assert found.of("sdr")[0] is None


def test_figures_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    log = RunLog(tmp_path, 0)
    log.add(1, "train", {"separation": 1.0, "gradient": float("inf")})
    log.add(2, "train", {"separation": 2.0, "gradient": 3.0})
    log.close()
    found = read_curves(tmp_path).train
    np.testing.assert_array_equal(found["gradient"].steps, [2])
    np.testing.assert_array_equal(found["separation"].values, [1.0, 2.0])


def test_smoothing_keeps_constants_and_calms_noise(rng: np.random.Generator) -> None:
    steps = np.arange(200.0)
    np.testing.assert_allclose(Curve(steps, np.full(200, 3.0)).smoothed(), 3.0)
    noise = rng.standard_normal(200)
    assert Curve(steps, noise).smoothed()[20:].std() < 0.5 * noise.std()
    np.testing.assert_array_equal(Curve(steps[:4], noise[:4]).smoothed(), noise[:4])


def test_panels_of_several_runs(tmp_path: Path) -> None:
    runs = {
        "both tasks": _run(tmp_path / "a", {"separation": 1.0, "activity": 0.5}),
        "per source": _run(tmp_path / "b", {"separation/vocals": 1.0, "separation/bass": 2.0}, 20),
    }
    out = tmp_path / "new" / "curves.svg"
    plot_curves(runs, out)
    text = _drawn(out)
    for title in ("Loss, weighted sum", "Separation loss", "Separation loss: vocals",
                  "Separation loss: bass", "Activity loss", "SDR (dB)"):  # fmt: skip
        assert f"<!-- {title} -->" in text
    for name in (*runs, "training, smoothed", "validation"):
        assert f"<!-- {name} -->" in text
    assert "Learning rate" not in text
    again = tmp_path / "again.svg"
    plot_curves(runs, again)
    assert again.read_bytes() == out.read_bytes()
    assert sorted(path.name for path in tmp_path.rglob("*.svg")) == ["again.svg", "curves.svg"]


def test_chosen_figures(tmp_path: Path) -> None:
    out = tmp_path / "rate.svg"
    plot_curves({"a": _run(tmp_path / "a", {"separation": 1.0})}, out, ["rate"])
    assert "<!-- Learning rate -->" in _drawn(out)
    assert "<!-- Separation loss -->" not in _drawn(out)
    with pytest.raises(DataError, match="no run has the figure 'separaton': did you mean 'sepa"):
        plot_curves({"a": tmp_path / "a"}, out, ["separaton"])


def test_folders_that_are_no_runs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere holds no log\.csv"):
        read_curves(tmp_path / "nowhere")
    RunLog(tmp_path, 0).close()
    with pytest.raises(DataError, match="has no figures yet"):
        read_curves(tmp_path)
    (tmp_path / "log.csv").write_text("step,kind,figures\nx,train,{}\n", encoding="utf-8")
    with pytest.raises(DataError, match="cannot be read"):
        read_curves(tmp_path)
    with pytest.raises(DataError, match="name at least one run"):
        plot_curves({}, tmp_path / "x.png")


def test_files_of_other_formats(tmp_path: Path) -> None:
    run = _run(tmp_path / "a", {"separation": 1.0})
    for name in ("x.jpg", "x"):
        with pytest.raises(OutputError, match=r"one of \.png, \.svg, \.pdf"):
            plot_curves({"a": run}, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_command_names_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for parent in ("one", "two"):
        _run(tmp_path / parent / "run", {"separation": 1.0}, 3)
    out = tmp_path / "curves.svg"
    curves([f"{tmp_path}/one/run", f"{tmp_path}/two/run", f"mine={tmp_path}/one/run"], out)
    assert capsys.readouterr().out == f"wrote {out}\n"
    for name in ("one/run", "two/run", "mine"):
        assert f"<!-- {name} -->" in _drawn(out)
    with pytest.raises(DataError, match="two runs are called 'a': name one as NAME="):
        curves([f"a={tmp_path}/one/run", f"a={tmp_path}/two/run"], out)
    with pytest.raises(DataError, match="two runs are called"):
        curves([f"{tmp_path}/one/run", f"{tmp_path}/one/run"], out)


def test_the_command_writes_png(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = _run(tmp_path / "a", {"separation": 1.0}, 3)
    curves([str(run)], tmp_path / "x.png", ["separation"], quiet=True)
    assert capsys.readouterr().out == ""
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
