"""`stemwise train` and `fine-tune`: runs that go on alone, and one sentence for mistakes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import soundfile
import yaml

from short_runs import NETWORK, command, rows_of, state_of, write_recipe
from stemwise import models
from stemwise.cli import run
from stemwise.training.checkpoint import list_checkpoints
from stemwise.training.log import read_log

CPU = ("-d", "cpu")


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """The last line that a command printed as an error."""
    return capsys.readouterr().err.splitlines()[-1]


def test_a_run_goes_on_with_nothing_else_named(
    songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Places are kept whole: the second command is started from another folder."""
    monkeypatch.chdir(songs.parent)
    file = write_recipe(tmp_path / "r.yaml", steps=3)
    out = tmp_path / "out"
    assert run(["train", str(file), "--data", f"rock={songs.name}", "-o", str(out), *CPU]) == 0
    monkeypatch.chdir(tmp_path)
    assert run(["train", "--resume", "out", "steps=5", *CPU]) == 0
    output = capsys.readouterr()
    assert "resuming at step 3 with steps 3 -> 5" in output.err
    assert output.out.splitlines()[-1].startswith("finished at step 5: out/best")
    assert state_of(out)["step"] == 5
    assert yaml.safe_load((out / "recipe.yaml").read_text())["steps"] == 5
    kept = yaml.safe_load((out / "run.yaml").read_text())
    assert kept["data"] == {"rock": {"kind": "folder", "where": str(songs)}}


def test_a_run_goes_on_with_data_that_moved(songs: Path, tmp_path: Path) -> None:
    moved, out = tmp_path / "moved", tmp_path / "out"
    shutil.copytree(songs, moved)
    file = write_recipe(tmp_path / "r.yaml", steps=3)
    assert run(command(file, moved, out)) == 0
    shutil.rmtree(moved)
    assert run(["train", "--resume", str(out), "steps=4", *CPU]) == 1
    assert run(["train", "--resume", str(out), "steps=4", "--data", str(songs), *CPU]) == 0
    assert state_of(out)["step"] == 4


def test_a_scale_makes_the_run_smaller(songs: Path, tmp_path: Path) -> None:
    file = write_recipe(tmp_path / "r.yaml", steps=50)
    values = {**yaml.safe_load(file.read_text()), "scales": {"smoke": {"steps": 2}}}
    file.write_text(yaml.safe_dump(values))
    assert run(command(file, songs, tmp_path / "out", "--scale", "smoke")) == 0
    assert state_of(tmp_path / "out")["step"] == 2


def test_a_separate_set_is_validated_on(songs: Path, tmp_path: Path) -> None:
    only = tmp_path / "only"
    for split, song in (("train", "song0"), ("validation", "song1")):
        shutil.copytree(songs / split / song, only / split / song)
    file = write_recipe(tmp_path / "r.yaml", steps=3)
    arguments = command(file, songs, tmp_path / "out", "--validation", str(only))
    assert run(arguments) == 0
    [figures] = [row[2] for row in rows_of(tmp_path / "out") if row[1] == "validation"]
    assert "sdr/drums" in figures
    assert "sdr/vocals" not in figures, "the one held-out song is instrumental"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (["separator.sources=[vocals,trombone]"], "no track has a stem 'trombone'"),
        (["sample_rate=16000"], "16000"),
        (["weighting.name=blend", "weighting.alpha=1.5"], "weighting.alpha"),
        (["precision=fp16"], "precision fp16 needs a CUDA GPU, and the device is cpu"),
        (["validation.best={best: sdr/piano}"], "the nearest is 'sdr/"),
        (["data.seconds=60"], "60"),
        (["validation.held_out=true"], "validation.held_out needs a sampling"),
    ],
)
def test_mistakes_are_one_sentence(
    songs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: list[str],
    sentence: str,
) -> None:
    file = write_recipe(tmp_path / "r.yaml", data={"seconds": 0.5})
    assert run(command(file, songs, tmp_path / "out", *changes)) == 1
    said = told(capsys)
    assert said.startswith("stemwise: ")
    assert sentence in said
    assert not (tmp_path / "out").exists()


def test_what_looks_at_validation_needs_songs_for_it(
    songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(songs / "train", tmp_path / "songs" / "train")
    file = write_recipe(tmp_path / "r.yaml")
    for change, key in (("stop.epochs=3", "stop"), ("schedule={name: plateau}", "plateau")):
        assert run(command(file, tmp_path / "songs", tmp_path / "out", change)) == 1
        said = told(capsys)
        assert key in said
        assert "looks at validation: name held-out songs" in said


def test_labels_that_a_task_needs_are_asked_for(
    songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for song in (songs / "train").iterdir():
        (tmp_path / "songs" / "train" / song.name).mkdir(parents=True)
        for stem in song.glob("*.wav"):
            (tmp_path / "songs" / "train" / song.name / stem.name).symlink_to(stem)
    file = write_recipe(tmp_path / "r.yaml", weighting={"weights": {"activity": 1.0}})
    assert run(command(file, tmp_path / "songs", tmp_path / "out")) == 1
    said = told(capsys)
    assert "label" in said or "activity" in said


def test_a_store_of_another_rate_is_named(
    songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = str(tmp_path / "store")
    assert run(["prepare", "folder", str(songs), store, "--sample-rate", "16000", "--quiet"]) == 0
    file = write_recipe(tmp_path / "r.yaml")
    assert run(command(file, Path(store), tmp_path / "out")) == 1
    said = told(capsys)
    assert "16000" in said
    assert "22050" in said


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["train"], 2, "name a recipe, training songs with --data and a folder with --out"),
        (["train", "band", "--data", "x"], 2, "name a recipe"),
        (["train", "band", "--resume", "{run}"], 2, "leave the recipe 'band' away"),
        (["train", "--resume", "{run}", "--scale", "small"], 2, "leave --scale away"),
        (["train", "--resume", "{none}"], 1, "none holds no run to resume"),
        (["fine-tune", "band"], 2, "name songs with --data and a folder with --out"),
    ],
)
def test_wrong_command_lines(
    songs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    sentence: str,
) -> None:
    places = {"run": tmp_path / "run", "none": tmp_path / "none"}
    assert run([argument.format(**places) for argument in arguments]) == status
    assert sentence in capsys.readouterr().err


def test_a_model_is_tuned_by_its_own_recipe(
    songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_recipe(tmp_path / "r.yaml", steps=3, validation={"excerpts": 2, "seconds": 0.5})
    assert run(command(file, songs, tmp_path / "first")) == 0
    model = tmp_path / "first" / "last.safetensors"
    mine = tmp_path / "mine"
    for k, song in enumerate(sorted(songs.glob("*/*"))[:3]):
        shutil.copytree(song, mine / f"song{k}")
    out = tmp_path / "out"
    arguments = ["fine-tune", str(model), "--data", str(mine), "-o", str(out), *CPU]
    assert run([*arguments, "steps=2", "validation.excerpts=2", "validation.seconds=0.5"]) == 0
    recipe = yaml.safe_load((out / "recipe.yaml").read_text())
    assert recipe["separator"]["initial"] == str(model)
    assert recipe["objective"]["name"] == "spectral", "its own"
    assert recipe["optimiser"]["learning_rate"] == pytest.approx(0.002)
    assert recipe["schedule"]["name"] == "cosine", "that of fine-tune"
    assert recipe["data"]["drop"] == {"bass": 0.2}
    held = yaml.safe_load((out / "run.yaml").read_text())["held_out"]["mine"]
    assert len(held) == 1
    before, after = (models.load(path) for path in (model, out / "last.safetensors"))
    pairs = zip(before.parameters(), after.parameters(), strict=True)
    moved = max(float((new - old).detach().abs().max()) for old, new in pairs)
    assert 0 < moved < 3 * 0.002, "two steps of the lower rate"
    model.unlink()  # a resumed run does not need what it started from
    assert run(["train", "--resume", str(out), "steps=3", *CPU]) == 0
    assert state_of(out)["step"] == 3
    assert len(list_checkpoints(out / "checkpoints")) == 2


@pytest.mark.parametrize("stored", [False, True])
def test_songs_without_labels(
    songs: Path, tmp_path: Path, stored: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """What most people have. Files get labels from their stems, a store teaches separation."""
    file = write_recipe(tmp_path / "r.yaml", steps=1, validation={"best": {"when": "auroc"}})
    assert run(command(file, songs, tmp_path / "first", "validation.seconds=0.5")) == 0
    for song in songs.glob("train/*"):
        (tmp_path / "mine" / song.name).mkdir(parents=True)
        for stem in song.glob("*.wav"):
            (tmp_path / "mine" / song.name / stem.name).symlink_to(stem)
    out, model = tmp_path / "out", str(tmp_path / "first" / "last.safetensors")
    mine = str(tmp_path / "mine")
    if stored:
        assert run(["prepare", "folder", mine, str(tmp_path / "store"), "--workers", "1"]) == 0
        mine = str(tmp_path / "store")
    arguments = ["fine-tune", model, "--data", mine, "-o", str(out), *CPU]
    capsys.readouterr()
    short = ["validation.excerpts=1", "validation.seconds=0.5", "log_every=1"]
    assert run([*arguments, "steps=1", *short]) == 0
    said = capsys.readouterr().err
    recipe = yaml.safe_load((out / "recipe.yaml").read_text())
    figures = {name for _, _, row in read_log(out / "log.csv") for name in row}
    if stored:
        assert "the songs have no activity labels: only separation is learnt" in said
        assert recipe["weighting"]["weights"] == {"separation": 1.0, "activity": 0.0}
        assert recipe["validation"]["best"] == {"best": "sdr"}
        assert (out / "best.safetensors").is_file()
    else:
        assert "they are made from the stems" in said
        assert recipe["weighting"]["weights"]["activity"] > 0
        assert "activity" in figures
    assert run(["train", "--resume", str(out), "steps=2", *CPU]) == 0
    assert state_of(out)["step"] == 2


def test_stems_that_the_folder_lacks_are_named(
    songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models.save(models.build("band-unet", **NETWORK), tmp_path / "m.safetensors")
    mine = tmp_path / "mine" / "song"
    mine.mkdir(parents=True)
    for stem in ("vocals", "piano"):
        shutil.copy(songs / "train" / "song0" / "vocals.wav", mine / f"{stem}.wav")
    arguments = ["fine-tune", str(tmp_path / "m.safetensors"), "--data", str(mine.parent)]
    assert run([*arguments, "-o", str(tmp_path / "out"), *CPU]) == 1
    said = told(capsys)
    assert (
        "separates vocals, drums, bass, other, but no song has the stems drums, bass, other" in said
    )
    assert "the songs have piano, vocals" in said
    assert not (tmp_path / "out").exists()


def test_a_model_of_one_source_gets_whole_mixtures(songs: Path, tmp_path: Path) -> None:
    """Without the other stems, the mixture would be the source itself."""
    target = models.build("joint-unet", ["drums"], features=4)
    models.save(target, tmp_path / "m.safetensors")
    out = tmp_path / "out"
    arguments = ["fine-tune", str(tmp_path / "m.safetensors"), "--data", str(songs)]
    changes = ["steps=1", "data.seconds=0.2", "validation.excerpts=1", "validation.seconds=0.2"]
    assert run([*arguments, "-o", str(out), *CPU, *changes, "batch=1"]) == 0
    recipe = yaml.safe_load((out / "recipe.yaml").read_text())
    assert recipe["data"]["mix"] == ["drums", "bass", "other", "vocals"]
    assert yaml.safe_load((out / "run.yaml").read_text())["held_out"] == {}, "a split is there"
    assert soundfile.info(songs / "train" / "song0" / "drums.wav").samplerate == 22050
