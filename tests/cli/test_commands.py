"""The other commands: detect, models, render, demo, train, and the help of all of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from cli.conftest import Stemwise, leftovers, song
from stemwise import models
from stemwise.activity import read_activity
from stemwise.audio import open_audio, read, read_stem_file

STEMS = ("vocals", "drums", "bass", "other")
COMMANDS = ("separate", "detect", "models", "export", "render", "demo", "train")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(stemwise: Stemwise, command: str) -> None:
    result = stemwise(command, "--help")
    assert (result.status, result.err) == (0, "")
    assert f"Usage: stemwise {command}" in result.out
    assert command in stemwise("--help").out


def test_help_loads_nothing_heavy() -> None:
    # typer itself reads the options of a command with pydantic
    heavy = {"torch", "numpy", "scipy", "av", "soundfile", "soxr", "yaml", "rich"}
    for arguments in (["--help"], ["--version"], *([command, "-h"] for command in COMMANDS)):
        command = [sys.executable, "-X", "importtime", "-m", "stemwise", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert "stemwise.cli" in loaded
        assert not loaded & heavy
        assert "stemwise" in done.stdout


def test_names_weights_and_cards_of_models_need_no_torch() -> None:
    code = (
        "import sys; from stemwise.models import NETWORKS, read_card, weights;"
        "print(read_card(next(iter(weights()))).network in NETWORKS, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True False\n"


def test_detect_table(stemwise: Stemwise, model: Path, tmp_path: Path) -> None:
    song(tmp_path / "a.wav", 44100)
    result = stemwise("detect", "a.wav", "-n", model, "--threshold", 0)
    assert result.status == 0, result.err
    lines = result.out.splitlines()
    assert lines[0] == "a.wav"
    assert [line.split() for line in lines[1:]] == [[s, "100%", "0:00.0-0:01.0"] for s in STEMS]
    never = stemwise("detect", "a.wav", "-n", model, "--threshold", 1).out.splitlines()
    assert [line.split() for line in never[1:]] == [[s, "0%", "-"] for s in STEMS]


@pytest.mark.parametrize("format", ["lab", "txt", "csv", "jams"])
def test_detect_formats(stemwise: Stemwise, model: Path, tmp_path: Path, format: str) -> None:
    song(tmp_path / "a.wav", 44100)
    song(tmp_path / "b.wav", 22050)
    options = ("-n", model, "--format", format, "--threshold", 0)
    printed = stemwise("detect", "a.wav", *options)
    assert printed.status == 0, printed.err
    result = stemwise("detect", "a.wav", "b.wav", *options, "-o", "out", "-j", 2)
    assert result.status == 0, result.err
    assert sorted(result.out.splitlines()) == [f"{s}.wav -> out/{s}.{format}" for s in "ab"]
    path = tmp_path / f"out/a.{format}"
    if format != "jams":  # which holds the time of day
        assert path.read_text(encoding="utf-8").rstrip("\n") == printed.out.rstrip("\n")
    found = read_activity(path)
    assert set(found.sources) == set(STEMS)
    for spans in found.segments(0.0 if format == "csv" else 0.5).values():
        assert spans == [pytest.approx((0, 1), abs=0.05)]
    assert not leftovers(tmp_path)


def test_detect_json_and_wrong_options(stemwise: Stemwise, model: Path, tmp_path: Path) -> None:
    song(tmp_path / "a.wav", 44100)
    told = json.loads(stemwise("detect", "a.wav", "-n", model, "--json", "--threshold", 0).out)
    assert (told["song"], told["duration"], told["file"]) == ("a.wav", 1.0, None)
    assert told["active"] == dict.fromkeys(STEMS, 1.0)
    assert told["segments"]["bass"] == [[0.0, 1.0]]
    for options, sentence in (
        (["--format", "cvs"], "did you mean 'csv'?"),
        (["-o", "out"], "a table is not written to files"),
        (["b.wav", "--format", "lab"], "several songs in lab need --out"),
        (["--threshold", "2"], "--threshold"),
    ):
        result = stemwise("detect", "a.wav", "-n", model, *options)
        assert (result.status, sentence in result.err) == (2, True), result.err


def test_models(stemwise: Stemwise, model: Path) -> None:
    table = stemwise("models")
    assert table.status == 0
    for network in models.NETWORKS:
        assert network in table.out
    told = json.loads(stemwise("models", "joint-unet", "--json").out)
    assert told["trainable_parameters"] == models.build("joint-unet").parameter_count
    assert told["name"] == "joint-unet"
    listed = json.loads(stemwise("models", "--json").out)
    assert {one["name"] for one in listed} >= set(models.NETWORKS)
    checkpoint = json.loads(stemwise("models", model, "--json").out)
    assert (checkpoint["network"], checkpoint["weights"]) == ("band-unet", "present")
    assert "trainable parameters" in stemwise("models", model).out
    wrong = stemwise("models", "bandd")
    assert (wrong.status, "did you mean 'band'?" in wrong.err) == (1, True)


RENDER = ("render", "--duration", 3, "--sample-rate", 22050, "--seed", 5)


def test_render_folder(stemwise: Stemwise, tmp_path: Path) -> None:
    for out in ("one", "two"):
        result = stemwise(*RENDER, out)
        assert result.status == 0, result.err
        assert result.out == f"{out}/band-5-00000 (1 of 1)\n"
    tracks = [tmp_path / out / "band-5-00000" for out in ("one", "two")]
    names = {f"{name}.flac" for name in (*STEMS, "mixture")}
    assert {one.name for one in tracks[0].iterdir()} == {*names, "activity.csv", "song.json"}
    sound = {name: [read(track / name).samples for track in tracks] for name in names}
    assert all(np.array_equal(*pair) for pair in sound.values())
    total = sum(sound[f"{name}.flac"][0] for name in STEMS)
    assert np.abs(total - sound["mixture.flac"][0]).max() < 1e-6
    assert np.abs(total).max() > 0.05
    assert read_activity(tracks[0] / "activity.csv").sources == STEMS
    again = stemwise(*RENDER, "one")
    assert again.out == "1 of 1 songs were there already in one\n"
    assert not leftovers(tmp_path)


def test_render_stem_file_without_singing(stemwise: Stemwise, tmp_path: Path) -> None:
    options = ("--layout", "stem.mp4", "--instrumental", "out")
    result = stemwise(*RENDER, *options)
    assert result.status == 0, result.err
    path = tmp_path / "out" / "band-5-00000.stem.mp4"
    labels = path.with_name("band-5-00000.activity.csv")
    record = path.with_name("band-5-00000.song.json")
    assert set((tmp_path / "out").iterdir()) == {path, labels, record}
    stems = read_stem_file(path)
    assert {one.samples.shape for one in stems.values()} == {(2, 66150)}
    assert np.abs(stems["vocals"].samples).max() < 1e-3
    assert np.abs(stems["mixture"].samples).max() > 0.05
    both = stemwise("render", "out", "--instrumental", "--a-cappella")
    assert (both.status, "choose one of" in both.err) == (2, True)


def test_demo(stemwise: Stemwise, model: Path, tmp_path: Path) -> None:
    result = stemwise("demo", "out", "-n", model, "--seconds", 2)
    assert result.status == 0, result.err
    folder = tmp_path / "out/demo song"
    assert {one.name for one in folder.iterdir()} == {
        *(f"{name}.wav" for name in STEMS), "activity.csv", "report.html"
    }  # fmt: skip
    assert "report: out/demo song/report.html" in result.out
    assert "out/demo song.flac -> out/demo song: vocals, drums, bass, other" in result.out
    total = sum(read(folder / f"{name}.wav").samples for name in STEMS)
    assert total.shape == read(tmp_path / "out/demo song.flac").samples.shape


def _tracks(root: Path, count: int) -> Path:
    """Folder of tracks of 5 s in mono noise."""
    for index in range(count):
        folder = root / f"track{index}"
        folder.mkdir(parents=True)
        for name in STEMS:
            rng = np.random.default_rng([index, len(name)])
            noise = 0.1 * rng.standard_normal((5 * 22050, 2))
            soundfile.write(folder / f"{name}.wav", noise, 22050, subtype="PCM_16")
    return root


def test_train_and_resume(stemwise: Stemwise, tmp_path: Path) -> None:
    recipe = {
        "name": "tiny",
        "separator": {
            "name": "band-unet",
            "sources": list(STEMS),
            "config": {"widths": [8, 8, 8, 8, 8], "squeezed": 2, "hidden": 16},
        },
        "sample_rate": 22050,
        "steps": 2,
        "batch": 1,
        "data": {"seconds": 1.0},
        "weighting": {"weights": {"separation": 1.0, "activity": 0.0}},
        "validation": {"every": 2, "excerpts": 1, "seconds": 1.0},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    _tracks(tmp_path / "tracks", 2)
    options = ("--data", "tracks", "--validation", "tracks", "-o", "run", "-d", "cpu")
    first = stemwise("train", "tiny.yaml", *options)
    assert first.status == 0, first.err
    assert "finished at step 2: run/best.safetensors" in first.out
    refused = stemwise("train", "tiny.yaml", *options)
    assert (refused.status, "use --resume" in refused.err) == (1, True)
    more = stemwise("train", "--resume", "run", "steps=3", "-d", "cpu")
    assert more.status == 0, more.err
    assert "resuming at step 2 with steps 2 -> 3" in more.err
    assert "finished at step 3" in more.out
    song(tmp_path / "a.wav", 4410)
    used = stemwise("separate", "a.wav", "-n", "run/last.safetensors")
    assert used.status == 0, used.err
    with open_audio(tmp_path / "separated/a/bass.wav") as reader:
        assert reader.info.samples == 4410
    lost = stemwise("train", "tiny.yaml")
    assert (lost.status, "training songs with --data" in lost.err) == (2, True)
