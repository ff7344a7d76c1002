"""The command `stemwise reproduce`: data sets on the command line, names, what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from stemwise.cli import run
from stemwise.data.miniature import write_miniature
from stemwise.reproduction.published import tables


def test_data_sets_in_their_own_layouts(tmp_path: Path) -> None:
    data = []
    for kind in ("dsd100", "jamendo"):
        place = write_miniature(kind, tmp_path / f"my {kind}", seconds=6.0)
        data += ["--data", f"{kind}={place}"]
    out = tmp_path / "out"
    arguments = ["reproduce", "stoller2018-1", "--scale", "smoke", *data, "-o", str(out), "-q"]
    assert run(arguments) == 0
    content = json.loads((out / "stoller2018-1.json").read_text(encoding="utf-8"))
    assert not content["comparable"]
    assert "DSD100: 1 + 1 + 2; Jamendo: 1 + 1 + 3" in content["songs"]
    songs = {cell["column"]: cell["songs"] for cell in content["cells"] if cell["row"] == "svs"}
    assert set(songs["vocals_sdr"]) == {"001 - Zwerge - Kürze", "002 - 小さな楽団 - 短い歌"}


def test_the_tables_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reproduce", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == list(tables())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["doire2019-1", "-o", "out"], "no table 'doire2019-1'; the nearest is 'doire2019-"),
        (["doire2019-2", "-o", "out"], "needs musdb18 (MUSDB18: {train,test}/"),
        (["doire2019-2", "-o", "out", "--data", "musdb18=nowhere"], "nowhere is not a folder"),
        (["doire2019-2", "-o", "out", "--songs", "nowhere"], "nowhere is not a folder"),
        (["doire2019-2"], "name a folder for trainings"),
        (["doire2019-2", "-o", "out", "--scale", "tiny"], "there is no 'tiny'"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    arguments: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["reproduce", *arguments]) != 0
    told = capsys.readouterr().err
    assert sentence in told
    assert "Traceback" not in told
    assert not list(tmp_path.glob("out/trainings"))


def test_songs_without_stems_cannot_stand_in(
    write_songs: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    songs = write_songs(tmp_path / "songs", 1, ("vocals",))
    command = ["reproduce", "doire2019-2", "--songs", str(songs), "-o", str(tmp_path / "out")]
    assert run(command) == 1
    assert "cannot stand in for the data sets" in capsys.readouterr().err
