"""`stemwise report`: finds what `stemwise separate` wrote, and says what does not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from noise_songs import RATE, make_activity, make_song

from stemwise.activity import write_activity
from stemwise.audio import Audio, write
from stemwise.cli import run
from stemwise.errors import AudioError, DataError
from stemwise.report import page
from stemwise.report.folders import find_songs, read_song


def separated(folder: Path, samples: int = RATE) -> Path:
    """A folder as `stemwise separate` leaves it; returns the song's file, which is elsewhere."""
    folder.mkdir(parents=True)
    mixture, _ = make_song(folder, samples)
    song = folder.parent / f"song of {folder.name}.wav"
    mixture.rename(song)
    write_activity(folder / "activity.csv", make_activity(samples / RATE))
    return song


def stemwise(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = run(["report", *(str(one) for one in arguments)])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return status, captured.out, captured.err


def test_one_song(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    song = separated(Path("out/Lied"))
    status, out, err = stemwise(capsys, "out/Lied")
    assert (status, err) == (0, "")
    assert out.startswith("out/Lied/report.html (2 stems, ")
    text = Path("out/Lied/report.html").read_text(encoding="utf-8")
    for said in (
        "<h1>Lied</h1>",
        "<dt>Mixture</dt><dd>the sum of the stems</dd>",
        "<dt>Channels</dt><dd>2 (stereo)</dd>",
        '"activity": {"frame_rate": 50.0',
    ):
        assert said in text
    status, out, err = stemwise(capsys, "out/Lied", "--song", song, "--json", "-o", "pages")
    assert (status, err) == (0, "")
    assert json.loads(out) == {
        "folder": "out/Lied",
        "report": "pages/Lied.html",
        "size": Path("pages/Lied.html").stat().st_size,
        "warnings": [],
    }
    assert "<dd>song of Lied.wav</dd>" in Path("pages/Lied.html").read_text(encoding="utf-8")


def test_several_songs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two", "three"):
        separated(tmp_path / "out" / name, 4410)
    (tmp_path / "out/.hidden").mkdir()
    (tmp_path / "out/empty").mkdir()
    single = tmp_path / "out/one"
    assert find_songs(tmp_path / "out") == [single, tmp_path / "out/three", tmp_path / "out/two"]
    status, out, err = stemwise(capsys, single, tmp_path / "out", "-o", tmp_path / "pages", "-q")
    assert (status, out, err) == (0, "", "")
    names = {path.name for path in (tmp_path / "pages").iterdir()}
    assert names == {"one.html", "two.html", "three.html"}
    status, _, err = stemwise(capsys, tmp_path / "out", "-o", tmp_path / "page.html")
    assert (status, "one file cannot hold 3 pages" in err) == (2, True)
    status, _, err = stemwise(capsys, tmp_path / "out", "--song", single / "vocals.wav")
    assert (status, "a song fits one folder, not 3" in err) == (2, True)
    other = tmp_path / "elsewhere/one"
    separated(other, 4410)
    status, _, err = stemwise(capsys, single, other, "-o", tmp_path / "pages")
    assert (status, "several songs would be written to" in err) == (2, True)


def test_a_song_beside_the_folder_of_its_stems_is_no_stem(tmp_path: Path) -> None:
    separated(tmp_path / "demo/demo song", 441)
    assert find_songs(tmp_path / "demo") == [tmp_path / "demo/demo song"]
    (tmp_path / "demo/demo song/old").mkdir()
    (tmp_path / "demo/song of demo song.wav").rename(tmp_path / "demo/demo song/old/vocals.wav")
    assert find_songs(tmp_path / "demo/demo song") == [tmp_path / "demo/demo song"]


def test_stems_are_in_the_usual_order_and_a_mixture_is_none(tmp_path: Path) -> None:
    for name in ("piano", "other", "vocals", "bass", "mixture"):
        write(tmp_path / f"{name}.wav", Audio(np.full((1, 441), 0.1, np.float32), RATE))
    (tmp_path / "notes.txt").write_text("no audio")
    found = read_song(tmp_path)
    assert list(found.stems) == ["vocals", "bass", "other", "piano"]
    assert found.mixture == tmp_path / "mixture.wav"
    assert found.activity is None
    assert found.title == tmp_path.name
    assert read_song(tmp_path, tmp_path / "piano.wav").mixture == tmp_path / "piano.wav"


def test_a_sum_that_is_not_the_song(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    song = separated(tmp_path / "a", 4410)
    (tmp_path / "a/drums.wav").unlink()
    status, _, err = stemwise(capsys, tmp_path / "a")
    assert (status, "a: The mixture lacks drums: --song FILE" in err) == (0, True)
    assert "The mixture lacks drums" in (tmp_path / "a/report.html").read_text(encoding="utf-8")
    assert stemwise(capsys, tmp_path / "a", "--song", song)[2] == ""
    shutil.copy(tmp_path / "a/vocals.wav", tmp_path / "a/no_vocals.wav")
    assert read_song(tmp_path / "a").warnings == ()


def test_long_songs_leave_nothing_that_is_taken_for_a_stem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(page, "LONGEST_EMBEDDED", 0.5)
    separated(tmp_path / "a")
    before = {path.name for path in (tmp_path / "a").iterdir()}
    for _ in range(2):
        assert stemwise(capsys, tmp_path / "a")[0] == 0
        after = {path.name for path in (tmp_path / "a").iterdir()}
        assert after == before | {"report.html", "report-mixture.opus"}
        assert list(read_song(tmp_path / "a").stems) == ["vocals", "drums"]
        assert read_song(tmp_path / "a").mixture is None


def test_what_is_no_song(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    status, _, err = stemwise(capsys, tmp_path / "empty")
    assert (status, "empty holds no audio (wav, flac," in err) == (1, True)
    status, _, err = stemwise(capsys, tmp_path / "missing")
    assert (status, "missing does not exist: name a folder" in err) == (1, True)
    (tmp_path / "file").touch()
    with pytest.raises(AudioError, match="is not a folder"):
        find_songs(tmp_path / "file")


def test_files_that_do_not_fit_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    song = separated(tmp_path / "a")
    write(tmp_path / "a/odd.wav", Audio(np.zeros((2, 2 * RATE), np.float32), RATE))
    status, _, err = stemwise(capsys, tmp_path / "a")
    assert (status, "differ in length (1.00 s, 2.00 s)" in err) == (1, True)
    (tmp_path / "a/odd.wav").rename(tmp_path / "longer.wav")
    with pytest.raises(AudioError, match="is it the song that they were separated from"):
        read_song(tmp_path / "a", tmp_path / "longer.wav")
    assert read_song(tmp_path / "a", song).mixture == song
    write(tmp_path / "a/odd.wav", Audio(np.zeros((2, 48000), np.float32), 48000))
    with pytest.raises(AudioError, match=r"differ in sample rates \(44100 Hz, 48000 Hz\)"):
        read_song(tmp_path / "a")
    write(tmp_path / "a/odd.wav", Audio(np.zeros((1, RATE), np.float32), RATE))
    with pytest.raises(AudioError, match=r"differ in channels \(2, 1\)"):
        read_song(tmp_path / "a")
    (tmp_path / "a/odd.wav").unlink()
    write(tmp_path / "a/vocals.flac", Audio(np.zeros((2, RATE), np.float32), RATE))
    with pytest.raises(AudioError, match=r"vocals twice \(vocals\.flac and vocals\.wav\)"):
        read_song(tmp_path / "a")
    assert not (tmp_path / "a/report.html").exists()


def test_activity_of_another_song(tmp_path: Path) -> None:
    separated(tmp_path / "a", 4410)
    write_activity(tmp_path / "a/activity.csv", make_activity(0.1, ("speech", "noise")))
    with pytest.raises(DataError, match="tells of speech, noise, and the stems are vocals, drums"):
        read_song(tmp_path / "a")
    (tmp_path / "a/activity.csv").write_text("nothing")
    with pytest.raises(DataError, match=r"activity\.csv, line 1"):
        read_song(tmp_path / "a")
    (tmp_path / "b").mkdir()
    write(tmp_path / "b/mixture.wav", Audio(np.zeros((1, 10), np.float32), RATE))
    with pytest.raises(AudioError, match="holds a mixture and no stems"):
        read_song(tmp_path / "b")
