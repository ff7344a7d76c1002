"""`stemwise reproduce` end to end: all tables in small, interrupted and continued, bad input."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stemwise.data.places import Place
from stemwise.errors import DataError, OutputError
from stemwise.reproduction.experiments import experiment
from stemwise.reproduction.published import tables
from stemwise.reproduction.reproduce import Wanted, data_places, reproduce
from stemwise.reproduction.runs import Interrupted
from stemwise.training.log import read_log
from stemwise.training.trainer import Trainer

TABLE = "stoller2018-1"
PLACE = Place("folder", "anywhere")


def _wanted(folder: Path, pool: Path, **options: Any) -> Wanted:
    return Wanted(folder, "smoke", songs=Place("folder", str(pool)), **options)


def _cells(folder: Path) -> list[dict[str, Any]]:
    content = json.loads((folder / f"{TABLE}.json").read_text(encoding="utf-8"))
    cells: list[dict[str, Any]] = content["cells"]
    return cells


def _stop_at(sentence: str) -> Callable[[str], None]:
    def tell(told: str) -> None:
        if told.startswith(sentence):
            raise KeyboardInterrupt

    return tell


def test_an_interrupted_reproduction_goes_on_where_it_was(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    reproduce([TABLE], _wanted(whole, pool))
    # stopped between trainings, within one, and within a measurement
    with pytest.raises(KeyboardInterrupt):
        reproduce([TABLE], _wanted(stopped, pool), _stop_at("training stoller2018-svs"))
    run = Trainer.run
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "run", lambda self: run(self, minutes=0.0))
        with pytest.raises(Interrupted, match="stoller2018-svs was stopped at step 1"):
            reproduce([TABLE], _wanted(stopped, pool))
    with pytest.raises(KeyboardInterrupt):
        reproduce([TABLE], _wanted(stopped, pool), _stop_at("scored"))
    assert not (stopped / f"{TABLE}.md").exists()
    told: list[str] = []
    reproduce([TABLE], _wanted(stopped, pool), told.append)
    assert [one for one in told if one.startswith("training")] == ["training stoller2018-mtl"]
    log = read_log(stopped / "trainings" / "stoller2018-svs" / "log.csv")
    assert [step for step, kind, _ in log if kind == "train"] == [1, 2]
    assert _cells(stopped) == _cells(whole)


def test_what_is_finished_is_not_done_again(pool: Path, tmp_path: Path) -> None:
    reproduce([TABLE], _wanted(tmp_path, pool))
    before = _cells(tmp_path)
    told: list[str] = []
    reproduce([TABLE], _wanted(tmp_path, pool), told.append)
    assert not any(one.startswith(("training", "scored", "song")) for one in told)
    assert _cells(tmp_path) == before


def test_a_folder_keeps_its_scale_and_its_songs(
    pool: Path, write_songs: Callable[..., Path], tmp_path: Path
) -> None:
    names = ["kadandale2020-1"]
    reproduce(names, _wanted(tmp_path / "out", pool))
    with pytest.raises(OutputError, match="at the scale smoke"):
        reproduce(names, Wanted(tmp_path / "out", "small", songs=Place("folder", str(pool))))
    other = write_songs(tmp_path / "other", 4)
    with pytest.raises(OutputError, match="on other songs"):
        reproduce(names, _wanted(tmp_path / "out", other))


def test_missing_sets_are_named_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs dsd100"):
        reproduce([TABLE], Wanted(tmp_path / "a"))
    both = Wanted(tmp_path / "b", data={"dsd100": PLACE}, songs=PLACE)
    with pytest.raises(DataError, match="not both"):
        reproduce([TABLE], both)
    assert not (tmp_path / "a" / "trainings").exists()
    assert not (tmp_path / "b").exists()


def test_data_sets_are_named_as_the_tables_name_them(tmp_path: Path) -> None:
    (tmp_path / "music").mkdir()
    where = str(tmp_path / "music")
    assert data_places([f"musdb18={where}"]) == {"musdb18": Place("musdb18", where)}
    assert data_places([f"musdb18=folder={where}"]) == {"musdb18": Place("folder", where)}
    wrong = {
        f"musdb19={where}": "no table uses a data set 'musdb19': did you .*musdb18",
        "musdb18": "names no place",
        "musdb18=nowhere": "nowhere is not a folder",
    }
    for text, sentence in wrong.items():
        with pytest.raises(DataError, match=sentence):
            data_places([text])
    with pytest.raises(DataError, match="given twice"):
        data_places([f"musdb18={where}", f"musdb18={where}"])


def test_smoke_runs_every_row_of_every_table(tmp_path: Path) -> None:
    """The one long test: 71 trainings of two steps on songs that the band renders."""
    trainings = {training.name for name in tables() for training in experiment(name).trainings}
    written = reproduce(list(tables()), Wanted(tmp_path, "smoke"))
    assert [path.stem for path in written] == list(tables())
    for name, table in tables().items():
        content = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
        ours = {(one["row"], one["column"]): one["ours"] for one in content["cells"]}
        assert {row for row, _ in ours} >= set(table.rows)
        for row in table.rows:
            values = [ours[row, column] for column in table.columns]
            # two steps may leave a network silent, which has no score but a reason
            silent = [note for note in content["notes"] if note.startswith(f"{row}: 1 of 1 songs")]
            assert silent or any(value is not None for value in values), f"{name}: {row}"
        assert all(one["verdict"] == "not testable" for one in content["claims"])
    index = (tmp_path / "index.md").read_text(encoding="utf-8")
    assert all(f"[{name}]({name}.md)" in index for name in tables())
    done = {path.parent.name for path in (tmp_path / "trainings").glob("*/done.json")}
    assert done == trainings
    shutil.rmtree(tmp_path / "trainings")  # half a gigabyte, which pytest would keep
