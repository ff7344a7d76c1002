"""What goes wrong around a run: full disks, foreign files, options that do nothing, Ctrl-C."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from short_runs import command, recipe, state_of, write_recipe
from stemwise.cli import run
from stemwise.data.folder import read_folder
from stemwise.errors import DataError, OutputError, RecipeError
from stemwise.models import build
from stemwise.models.separator import Separator
from stemwise.training.interruption import stop_on_signal
from stemwise.training.log import RunLog, read_log
from stemwise.training.run_folder import RunFolder
from stemwise.training.start import Start
from stemwise.training.streams import training_loader

resource = pytest.importorskip("resource", reason="no limits of file sizes on this system")
CPU = ("-d", "cpu")


@contextmanager
def _full_disk() -> Iterator[None]:
    """No file may hold a byte, as on a disk without room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("name", ["recipe.yaml", "run.yaml", "log.csv"])
def test_small_files_on_a_full_disk(name: str, tmp_path: Path) -> None:
    """They name the file and leave nothing behind."""
    writers: dict[str, Callable[[], object]] = {
        "recipe.yaml": lambda: RunFolder(tmp_path, recipe()).begin(None),
        "run.yaml": lambda: Start({}).write(tmp_path),
        "log.csv": lambda: RunLog(tmp_path, 0),
    }
    with _full_disk(), pytest.raises(OutputError) as caught:
        writers[name]()
    assert str(tmp_path / name) in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    if name != "log.csv":
        writers[name]()
        assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="file where a folder is needed"):
        RunFolder(tmp_path / "file" / "run", recipe()).begin(None)


def test_a_log_that_is_none(tmp_path: Path) -> None:
    for content in (b"\xff\xfe\x00", b"step,kind,figures\nx,train,{}\n", b"a,b,c\n1,train,{x}\n"):
        (tmp_path / "log.csv").write_bytes(content)
        with pytest.raises(DataError, match=r"log\.csv cannot be read"):
            read_log(tmp_path / "log.csv")
        with pytest.raises(DataError, match="goes on without it when it is moved away"):
            RunLog(tmp_path, 5)
    (tmp_path / "log.csv").unlink()
    RunLog(tmp_path, 5).close()


def test_going_on_to_fewer_steps(
    songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(command(write_recipe(tmp_path / "r.yaml", steps=3), songs, out)) == 0
    assert run(["train", "--resume", str(out), "steps=2", *CPU]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "has done 3 steps already, and steps=2 is less" in line
    assert "steps: 3" in (out / "recipe.yaml").read_text()
    assert run(["train", "--resume", str(out), *CPU]) == 0
    assert state_of(out)["step"] == 3
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []


def test_negative_minutes(songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_recipe(tmp_path / "r.yaml", steps=3)
    assert run(command(file, songs, tmp_path / "out", "--minutes", "-1")) == 2
    assert "--minutes" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_blend_with_a_task_that_the_network_lacks(songs: Path) -> None:
    network = build("joint-unet", features=2, detection=False)
    sections = {"groups": {"accompaniment": ["drums", "bass", "other"]}, "seconds": 1.2}
    half = recipe(data=sections, weighting={"name": "blend", "alpha": 0.5})
    sets = {"songs": read_folder(songs, "train")}
    with pytest.raises(RecipeError, match=r"'joint-unet' says nothing: set weighting\.alpha=1"):
        training_loader(half, network, sets)
    training_loader(recipe(data=sections, weighting={"name": "blend", "alpha": 1}), network, sets)


def test_mixtures_of_one_stem_alone(songs: Path) -> None:
    """A network of one source needs what else plays; else it learns that all is vocals."""
    separator = build("open-unmix", ["vocals"], sample_rate=22050, hidden=8, activity=False)
    tracks = {"songs": read_folder(songs, "train")}
    with pytest.raises(RecipeError, match="mixtures of 'vocals' alone leave nothing"):
        training_loader(recipe(data={"seconds": 0.5}), separator, tracks)
    mixed = recipe(data={"seconds": 0.5, "mix": ["vocals", "bass"]})
    assert training_loader(mixed, separator, tracks).load(0).stems.shape[1] == 2


def test_songs_that_are_too_short_are_named(
    songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_recipe(tmp_path / "r.yaml", steps=1)
    short = tmp_path / "songs" / "train" / "short"
    shutil.copytree(songs, tmp_path / "songs")
    short.mkdir()
    for stem in ("vocals", "drums", "bass", "other"):
        soundfile.write(short / f"{stem}.wav", np.zeros((2000, 2)), 22050)
    assert run(command(file, tmp_path / "songs", tmp_path / "out")) == 0
    said = capsys.readouterr().err
    assert "1 of the training songs are shorter than an excerpt of 0.5 s and left out" in said
    assert "train/short" in said


def test_a_best_model_that_no_validation_chose(
    songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The held-out songs have no labels, so no AU-ROC."""
    shutil.copytree(songs, tmp_path / "songs")
    for labels in (tmp_path / "songs").glob("validation/*/activity.csv"):
        labels.unlink()
    file = write_recipe(tmp_path / "r.yaml", steps=1, validation={"best": {"when": "auroc"}})
    more = ["validation.excerpts=1", "validation.seconds=0.5"]
    assert run(command(file, tmp_path / "songs", tmp_path / "out", *more)) == 0
    said = capsys.readouterr().err
    assert "no validation gave auroc, so there is no when.safetensors" in said


def test_excerpts_of_validation_that_no_song_has(
    songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_recipe(tmp_path / "r.yaml", validation={"seconds": 60.0})
    assert run(command(file, songs, tmp_path / "out")) == 1
    assert "no held-out song is 60 s long: lower validation.seconds" in capsys.readouterr().err


def test_a_damaged_recipe_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("name: [a\nsteps: 3\n")
    assert run(command(file, tmp_path, tmp_path / "out")) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "is not valid YAML in line 2" in line


def test_roles_without_turns(tiny: Separator, songs: Path) -> None:
    changed = recipe(data={"seconds": 0.5, "roles": {"songs": "detection"}})
    with pytest.raises(RecipeError, match="'alternating', not to 'joint': remove it"):
        training_loader(changed, tiny, {"songs": read_folder(songs, "train")})


@pytest.mark.parametrize("tell", [True, False])
def test_the_first_ctrl_c_says_what_it_does(tell: bool, capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with stop_on_signal(tell=tell) as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.wait(10)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ("once more stops at once" in capfd.readouterr().err) == tell
