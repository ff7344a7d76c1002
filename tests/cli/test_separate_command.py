"""`stemwise separate`: what people type, on songs as they come."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from cli.conftest import Stemwise, leftovers, noise, song
from stemwise import __version__
from stemwise.audio import Audio, read, write

STEMS = ("vocals", "drums", "bass", "other")


def stems(folder: Path, names: tuple[str, ...] = STEMS, extension: str = "wav") -> np.ndarray:
    """All stems (source, channel, sample)."""
    return np.stack([read(folder / f"{name}.{extension}").samples for name in names])


def test_writes_stems_and_activity(stemwise: Stemwise, model: Path, tmp_path: Path) -> None:
    path = song(tmp_path / "a.wav")
    result = stemwise("separate", path, "-n", model, "--float32")
    assert result.status == 0, result.err
    assert "a.wav -> separated/a: vocals, drums, bass, other" in result.out
    assert "x realtime" in result.out
    names = {one.name for one in (tmp_path / "separated/a").iterdir()}
    assert names == {*(f"{name}.wav" for name in STEMS), "activity.csv"}
    total = stems(tmp_path / "separated/a").sum(axis=0)
    assert np.abs(total - read(path).samples).max() < 1e-5
    assert not leftovers(tmp_path)


@pytest.mark.parametrize(
    ("rate", "channels", "samples"),
    [(8000, 1, 3000), (96000, 2, 9001), (192000, 1, 9001), (44100, 3, 1000), (48000, 8, 777),
     (44100, 2, 1), (22050, 1, 1), (192000, 2, 1)],
)  # fmt: skip
def test_odd_shapes(
    stemwise: Stemwise, model: Path, tmp_path: Path, rate: int, channels: int, samples: int
) -> None:
    path = song(tmp_path / "odd.wav", samples, rate, channels=channels)
    result = stemwise("separate", path, "-n", model, "--float32", "-o", "out")
    assert result.status == 0, result.err
    info = soundfile.info(tmp_path / "out/odd/bass.wav")
    assert (info.samplerate, info.channels, info.frames) == (rate, channels, samples)
    total = stems(tmp_path / "out/odd").sum(axis=0)
    assert np.abs(total - read(path).samples).max() < 1e-5


@pytest.mark.parametrize("kind", ["silence", "constant", "clipped"])
def test_odd_signals(stemwise: Stemwise, model: Path, tmp_path: Path, kind: str) -> None:
    samples = {
        "silence": np.zeros((5000, 2)),
        "constant": np.full((5000, 2), 0.5),
        "clipped": np.clip(noise(5000, level=9.0), -1, 1),
    }[kind].astype(np.float32)
    soundfile.write(tmp_path / f"{kind}.wav", samples, 44100, subtype="FLOAT")
    result = stemwise("separate", f"{kind}.wav", "-n", model, "--float32", "-q")
    assert (result.status, result.out, result.err) == (0, "", "")
    total = stems(tmp_path / "separated" / kind).sum(axis=0)
    assert np.abs(total - samples.T).max() < 1e-5
    if kind == "silence":
        assert np.abs(stems(tmp_path / "separated" / kind)).max() == 0


@pytest.mark.parametrize("name", ["Ünïcødé 歌.wav", "a [b] {c}.wav", "--dash.wav", "x.y.z.wav"])
def test_odd_names(stemwise: Stemwise, model: Path, tmp_path: Path, name: str) -> None:
    song(tmp_path / name, 500)
    result = stemwise("separate", "-n", model, "-o", "out", "--", name)
    assert result.status == 0, result.err
    assert (tmp_path / "out" / name.removesuffix(".wav") / "vocals.wav").is_file()


@pytest.mark.parametrize("extension", ["flac", "mp3", "opus", "ogg", "m4a"])
def test_formats_keep_length_and_tags(
    stemwise: Stemwise, model: Path, tmp_path: Path, extension: str
) -> None:
    tags = {"title": "A song", "artist": "A band"}
    samples = noise(30000, level=0.05).T.copy()
    write(tmp_path / "a.flac", Audio(samples, 48000, tags))
    result = stemwise("separate", "a.flac", "-n", model, "--format", extension, "-o", "out")
    assert result.status == 0, result.err
    stem = read(tmp_path / f"out/a/drums.{extension}")
    assert (stem.sample_rate, stem.samples.shape) == (48000, (2, 30000))
    assert stem.tags["title"] == "A song"
    assert stem.tags["artist"] == "A band"


def test_two_stems_sum_to_the_song(stemwise: Stemwise, model: Path, tmp_path: Path) -> None:
    path = song(tmp_path / "a.wav", 9000)
    result = stemwise("separate", path, "-n", model, "--two-stems", "drums", "--int24")
    assert result.status == 0, result.err
    names = ("drums", "no_drums")
    assert len(list((tmp_path / "separated/a").glob("*.wav"))) == 2
    total = stems(tmp_path / "separated/a", names).sum(axis=0)
    assert np.abs(total - read(path).samples).max() < 1e-5
    assert soundfile.info(tmp_path / "separated/a/drums.wav").subtype == "PCM_24"


def test_chosen_stems_only(stemwise: Stemwise, model: Path, tmp_path: Path) -> None:
    song(tmp_path / "a.wav", 500)
    assert stemwise("separate", "a.wav", "-n", model, "--stems", "bass, vocals").status == 0
    found = {one.name for one in (tmp_path / "separated/a").iterdir()}
    assert found == {"bass.wav", "vocals.wav", "activity.csv"}


def test_json_lines_and_nothing_else(stemwise: Stemwise, model: Path, tmp_path: Path) -> None:
    song(tmp_path / "a.wav", 4410)
    song(tmp_path / "b.wav", 4410)
    result = stemwise("separate", "a.wav", "none.wav", "b.wav", "-n", model, "--json", "-j", 2)
    assert result.status == 1
    lines = {one["song"]: one for one in map(json.loads, result.out.splitlines())}
    assert set(lines) == {"a.wav", "b.wav", "none.wav"}
    assert lines["none.wav"]["error"].startswith("none.wav does not exist")
    assert lines["a.wav"]["samples"] == 4410
    assert set(lines["a.wav"]["levels"]) == set(STEMS)
    assert -60 < lines["a.wav"]["levels"]["other"]["rms_db"] < 0
    assert Path(lines["b.wav"]["stems"]["bass"]).is_file()


def test_jobs_change_nothing(stemwise: Stemwise, model: Path, tmp_path: Path) -> None:
    names = [f"{index}.wav" for index in range(6)]
    for index, name in enumerate(names):
        song(tmp_path / name, 20000 + 1000 * index, 22050 if index % 2 else 44100)
    (tmp_path / "4.wav").write_bytes(b"no song")
    (tmp_path / "5.wav").unlink()
    outcomes = {}
    cores = torch.get_num_threads()
    for jobs in (1, 2):
        options = ("-n", model, "--segment", 0.2, "--float32", "--json", "--report")
        result = stemwise("separate", *names, *options, "-j", jobs, "-o", f"out{jobs}")
        assert result.status == 1
        assert result.err.count("2 of 6 songs failed:") == 1
        lines = {one["song"]: one for one in map(json.loads, result.out.splitlines())}
        assert len(result.out.splitlines()) == 6
        assert [name for name in names if "error" in lines[name]] == ["4.wav", "5.wav"]
        outcomes[jobs] = lines
    assert torch.get_num_threads() == cores
    for name in names[:4]:
        one, two = (outcomes[jobs][name] for jobs in (1, 2))
        assert two["samples"] == soundfile.info(tmp_path / name).frames
        assert one["levels"] == two["levels"]
        assert Path(two["report"]).is_file()
        folders = (tmp_path / "out1" / name[0], tmp_path / "out2" / name[0])
        assert np.abs(stems(folders[0]) - stems(folders[1])).max() < 1e-5


def test_one_bad_song_in_a_batch(stemwise: Stemwise, model: Path, tmp_path: Path) -> None:
    song(tmp_path / "good.wav", 500)
    (tmp_path / "bad.mp3").write_text("This is a letter, not a song. " * 100)
    result = stemwise("separate", "bad.mp3", "good.wav", "-n", model)
    assert result.status == 1
    assert (tmp_path / "separated/good/vocals.wav").is_file()
    assert not (tmp_path / "separated/bad").exists()
    assert "1 of 2 songs failed:\n  bad.mp3 is not an audio file" in result.err


def test_clashes_are_refused_before_any_work(
    stemwise: Stemwise, model: Path, tmp_path: Path
) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
    song(tmp_path / "x/a.wav", 500)
    song(tmp_path / "y/A.flac", 500)
    result = stemwise("separate", "x/a.wav", "y/A.flac", "-n", model)
    assert result.status == 1
    assert "x/a.wav and y/A.flac would both be written to" in result.err
    assert not (tmp_path / "separated").exists()
    twice = stemwise("separate", "x/a.wav", "x/../x/a.wav", "-n", model)
    assert "is given twice: name every song once" in twice.err


def test_a_song_is_never_overwritten(stemwise: Stemwise, model: Path, tmp_path: Path) -> None:
    (tmp_path / "out/vocals").mkdir(parents=True)
    path = song(tmp_path / "out/vocals/vocals.wav", 500)
    before = path.read_bytes()
    result = stemwise("separate", path, "-n", model, "-o", "out")
    assert result.status == 1
    assert "would overwrite the song" in result.err
    assert path.read_bytes() == before


def test_skip_existing(stemwise: Stemwise, model: Path, tmp_path: Path) -> None:
    song(tmp_path / "a.wav", 500)
    arguments = ("separate", "a.wav", "-n", model, "--skip-existing")
    assert stemwise(*arguments).status == 0
    stem = tmp_path / "separated/a/vocals.wav"
    before = stem.stat().st_mtime_ns
    assert "exists already" in stemwise(*arguments).out
    assert stem.stat().st_mtime_ns == before
    stem.unlink()
    assert "exists already" not in stemwise(*arguments).out
    assert stem.is_file()


@pytest.mark.parametrize("rate", [44100, 192000])
def test_skip_existing_takes_songs_of_one_sample(
    stemwise: Stemwise, model: Path, tmp_path: Path, rate: int
) -> None:
    song(tmp_path / "a.wav", 1, rate)
    arguments = ("separate", "a.wav", "-n", model, "--skip-existing", "--json")
    first, second = (json.loads(stemwise(*arguments).out) for _ in range(2))
    assert (first["skipped"], second["skipped"]) == (False, True)
    for key in ("samples", "duration", "active"):
        assert second[key] == first[key]


def test_report(stemwise: Stemwise, model: Path, tmp_path: Path) -> None:
    song(tmp_path / "a.wav", 44100)
    result = stemwise("separate", "a.wav", "-n", model, "--report")
    assert result.status == 0, result.err
    [page] = list((tmp_path / "separated/a").glob("*.html"))
    assert f"report: separated/a/{page.name}" in result.out
    text = page.read_text(encoding="utf-8")
    assert "vocals" in text
    assert f"<dt>stemwise</dt><dd>version {__version__}</dd>" in text
    assert "<dt>Channels</dt><dd>2 (stereo)</dd>" in text


@pytest.mark.parametrize(
    ("template", "page"),
    [
        ("{track}.{stem}.{ext}", "%s.report.html"),
        ("{stem}/{track}.{ext}", "report/%s.html"),
        ("{track}/{stem}.{ext}", "%s/report.html"),
    ],
)
def test_every_song_has_its_own_report(
    stemwise: Stemwise, model: Path, tmp_path: Path, template: str, page: str
) -> None:
    for name in ("a", "b"):
        song(tmp_path / f"{name}.wav", 4410)
    options = ("-n", model, "--report", "--filename", template, "-o", "out", "--skip-existing")
    result = stemwise("separate", "a.wav", "b.wav", *options)
    assert result.status == 0, result.err
    for name in ("a", "b"):
        assert f"report: out/{page % name}" in result.out
        text = (tmp_path / "out" / (page % name)).read_text(encoding="utf-8")
        assert f"<h1>{name}</h1>" in text
    assert len(list(tmp_path.rglob("*.html"))) == 2
    assert stemwise("separate", "a.wav", "b.wav", *options).out.count("exists already") == 2


def test_report_never_overwrites_a_song(stemwise: Stemwise, model: Path, tmp_path: Path) -> None:
    (tmp_path / "out/a").mkdir(parents=True)
    path = song(tmp_path / "out/a/report.html", 500)
    song(tmp_path / "a.wav", 500)
    songs = ("separate", path, "a.wav", "-n", model, "-o", "out")
    result = stemwise(*songs, "--report")
    assert result.status == 1
    assert "a.wav would overwrite the song" in result.err
    assert stemwise(*songs).status == 0


def test_folder_where_the_report_should_be(stemwise: Stemwise, model: Path, tmp_path: Path) -> None:
    song(tmp_path / "a.wav", 500)
    (tmp_path / "separated/a/report.html").mkdir(parents=True)
    result = stemwise("separate", "a.wav", "-n", model, "--report")
    assert result.status == 1
    assert "report.html is a folder where a file must be written" in result.err
    assert not list(tmp_path.rglob("vocals.wav"))


def test_labels_of_each_song_gate_its_stems(
    stemwise: Stemwise, model: Path, tmp_path: Path
) -> None:
    for name, spans in (("a", "0.0 0.5 vocals"), ("b", "0.5 1.0 vocals")):
        song(tmp_path / f"{name}.wav", 44100)
        (tmp_path / f"{name}.lab").write_text(f"{spans}\n0.0 1.0 drums\n0.0 1.0 bass\n")
    gated = ("--no-residual", "--float32", "--gate", "oracle", "--labels")
    result = stemwise("separate", "a.wav", "b.wav", "-n", model, *gated, "{track}.lab")
    assert result.status == 0, result.err
    assert "warning: a.wav: the labels do not name other: left open" in result.err
    halves = {}
    for name in "ab":
        vocals = read(tmp_path / f"separated/{name}/vocals.wav").samples
        halves[name] = [
            float(np.abs(vocals[:, half]).max())
            for half in (slice(5000, 20000), slice(24000, 39000))
        ]
    assert halves["a"][0] > 0 == halves["a"][1]
    assert halves["b"][1] > 0 == halves["b"][0]
    missing = stemwise("separate", "a.wav", "-n", model, *gated, "none.lab", "-o", "out")
    assert missing.status == 1
    assert "none.lab cannot be read" in missing.err
    assert not leftovers(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--gate", "meedian"], "there is no 'meedian': did you mean 'median'?"),
        (["--gate", "oracle"], "--gate oracle and --labels FILE need each other"),
        (["--labels", "a.lab"], "--gate oracle and --labels FILE need each other"),
        (["a.wav", "--gate", "oracle", "--labels", "a.lab"], "put {track} into --labels"),
        (["--phase", "weiner"], "did you mean 'wiener'?"),
        (["--clip-mode", "loud"], "choose rescale, clamp, none"),
        (["--stems", "vocls"], "no stem 'vocls': did you mean 'vocals'?"),
        (["--two-stems", "piano"], "no stem 'piano': there are vocals, drums, bass, other."),
        (["--two-stems", "bass", "--stems", "bass"], "not both"),
        (["--filename", "{trak}/{stem}.{ext}"], "unknown field {trak}: did you mean {track}?"),
        (["--filename", "{x}/{stem}.{ext}"], "there are {track}, {trackext}, {stem}, {ext}."),
        (["--filename", "{track}.{ext}"], "needs {stem}"),
        (["--filename", "../{stem}.{ext}"], "must stay inside the output folder"),
        (["--filename", "{stem}.{ext}.x"], "must end in .{ext}"),
        (["--filename", "{stem.{ext}"], "file name '{stem.{ext}'"),
        (["--overlap", "3"], "overlap must be between 0 and 0.5"),
        (["--segment", "0"], "segment must be longer than 0"),
        (["--flac", "--mp3"], "choose one format, not flac and mp3"),
        (["--flac", "--float32"], "FLAC holds no float"),
        (["--mp3", "--int24"], "--int24 fits wav and flac only"),
        (["--bitrate", "128"], "--bitrate fits mp3, opus, ogg, m4a only"),
        (["--format", "wave2"], "there is no 'wave2'"),
        (["--overlp", "0.1"], "--overlap"),
        (["--jobs", "0"], "--jobs"),
    ],
)
def test_wrong_command_lines(
    stemwise: Stemwise, model: Path, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    song(tmp_path / "a.wav", 100)
    result = stemwise("separate", "a.wav", "-n", model, *arguments)
    assert result.status == 2, result.err
    assert sentence in result.err
    assert not (tmp_path / "separated").exists()


def test_unknown_models_and_devices(stemwise: Stemwise, model: Path, tmp_path: Path) -> None:
    song(tmp_path / "a.wav", 100)
    result = stemwise("separate", "a.wav", "-n", "bandd")
    assert (result.status, "did you mean 'band'?" in result.err) == (1, True)
    result = stemwise("separate", "a.wav", "-n", model, "-d", "cuda:99")
    assert (result.status, "'cuda:99' cannot be used here" in result.err) == (1, True)
