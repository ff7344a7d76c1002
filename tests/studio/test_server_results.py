"""Results: the same files as the command line's, parts of them, archives, remixes, pages."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.studio.conftest import Live, song

from stemwise.activity import read_activity
from stemwise.audio import AudioFormat, read, read_stem_file, write
from stemwise.cli import run

STEMS = ["vocals", "drums", "bass", "other"]


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A song that every format holds as it is, with tags and a cover."""
    folder = tmp_path_factory.mktemp("quiet")
    audio = read(song(folder / "plain.wav", 1.5))
    audio.tags, audio.cover = {"title": "Leise", "artist": "Café ☕"}, _picture()
    write(folder / "quiet.flac", audio, format=AudioFormat("flac", "int24"))
    return folder / "quiet.flac"


@pytest.fixture(scope="module")
def loud(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A song of several blocks that clips in the last one only."""
    path = tmp_path_factory.mktemp("loud") / "loud.wav"
    audio = read(song(path, 28, rate=16000))
    audio.samples[:, 16000 * 26 : 16000 * 27] *= 80
    write(path, audio, format=AudioFormat("wav", "float32"))
    return path


def _picture() -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 30, 30)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def job(live: Live, quiet: Path) -> str:
    return live.client.separate(quiet, name="../Crème brûlée.wav")


def test_what_a_finished_job_says(live: Live, job: str, quiet: Path) -> None:
    found = live.client.job(job)
    assert found["name"] == "Crème brûlée.wav"
    assert (found["state"], found["progress"], found["position"]) == ("done", 1.0, None)
    assert found["seconds_done"] == found["seconds_total"] == 1.5
    assert found["speed"] > 0
    assert found["created"] <= found["started"] <= found["finished"] < found["expires"]
    assert found["size"] > 5 * 1.5 * 44100 * 2 * 4
    # what can be fetched without a download's cost is there already
    assert live.studio.folders.work(job).exists() is False


def test_the_stems_sum_to_the_song(live: Live, job: str, quiet: Path) -> None:
    tracks = {
        name: soundfile.read(
            io.BytesIO(live.client.get(f"/api/jobs/{job}/audio/{name}.wav").content),
            dtype="float32",
        )[0]
        for name in ("mixture", *STEMS)
    }
    original = soundfile.read(quiet, dtype="float32")[0]
    np.testing.assert_array_equal(tracks["mixture"], original)
    np.testing.assert_allclose(sum(tracks[name] for name in STEMS), original, atol=1e-4)


OPTIONS: list[tuple[str, dict[str, str], list[str]]] = [
    ("wav", {}, []),
    ("wav", {"bits": "24"}, ["--int24"]),
    ("wav", {"bits": "32"}, ["--float32"]),
    ("flac", {}, ["--flac"]),
    ("flac", {"bits": "24"}, ["--flac", "--int24"]),
    ("mp3", {}, ["--mp3"]),
    ("opus", {}, ["--opus"]),
    ("ogg", {}, ["--format", "ogg"]),
    ("m4a", {}, ["--format", "m4a"]),
]


@pytest.mark.parametrize("which", ["quiet", "loud"])
def test_downloads_are_the_files_of_the_command_line(
    live: Live, tiny: Path, tmp_path: Path, which: str, request: pytest.FixtureRequest
) -> None:
    path: Path = request.getfixturevalue(which)
    id = live.client.separate(path)
    told = live.studio.folders.masters(id) / "masters.json"
    peaks = json.loads(told.read_text())["peaks"]
    assert peaks[0] < 1
    assert (max(peaks) > 1) == (which == "loud")
    for extension, query, arguments in OPTIONS:
        if which == "loud" and (extension, query) not in (("wav", {}), ("mp3", {})):
            continue  # the others take one of these two ways
        out = tmp_path / f"{extension}{query.get('bits', '')}"
        command = ["separate", str(path), "-n", str(tiny), "-o", str(out), "-q", *arguments]
        assert run(command) == 0
        for stem in STEMS:
            answer = live.client.get(f"/api/jobs/{id}/stems/{stem}.{extension}", params=query)
            assert answer.status_code == 200, answer.text
            expected = (out / path.stem / f"{stem}.{extension}").read_bytes()
            assert answer.content == expected, f"{stem}.{extension} {query}"
        table = live.client.get(f"/api/jobs/{id}/activity.csv").content
        assert table == (out / path.stem / "activity.csv").read_bytes()


def test_some_stems_with_a_gate_are_those_of_the_command_line(
    live: Live, tiny: Path, tmp_path: Path, loud: Path
) -> None:
    id = live.client.separate(loud, stems="bass,vocals", gate="median")
    assert live.client.job(id)["stems"] == ["vocals", "bass"]
    command = ["separate", str(loud), "-n", str(tiny), "-o", str(tmp_path), "-q"]
    assert run([*command, "--stems", "vocals,bass", "--gate", "median"]) == 0
    for stem in ("vocals", "bass"):
        content = live.client.get(f"/api/jobs/{id}/stems/{stem}.wav").content
        assert content == (tmp_path / "loud" / f"{stem}.wav").read_bytes()
    assert live.client.get(f"/api/jobs/{id}/stems/drums.wav").status_code == 404
    answer = live.client.get(f"/api/jobs/{id}/song.stem.mp4")
    assert answer.status_code == 409
    assert "these four" in answer.json()["detail"]


def test_parts_of_a_file(live: Live, job: str) -> None:
    path = f"/api/jobs/{job}/audio/mixture.wav"
    whole = live.client.get(path).content
    for header, expected in (
        ("bytes=0-99", whole[:100]),
        ("bytes=100-", whole[100:]),
        ("bytes=-50", whole[-50:]),
        (f"bytes=1000-{10**9}", whole[1000:]),
    ):
        answer = live.client.get(path, headers={"Range": header})
        assert answer.status_code == 206
        assert answer.content == expected
        start = len(whole) - 50 if header == "bytes=-50" else int(header[6:].split("-")[0])
        last = start + len(expected) - 1
        assert answer.headers["Content-Range"] == f"bytes {start}-{last}/{len(whole)}"
    beyond = live.client.get(path, headers={"Range": f"bytes={10**9}-"})
    assert beyond.status_code == 416
    assert beyond.headers["Content-Range"] == f"bytes */{len(whole)}"
    assert beyond.json()["detail"]
    for nonsense in ("bytes=", "lines=1-2", "bytes=b-a"):
        assert live.client.get(path, headers={"Range": nonsense}).content == whole
    head = live.client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["Content-Length"]) == len(whole)
    assert head.headers["Accept-Ranges"] == "bytes"
    tag = {"If-Range": head.headers["ETag"], "Range": "bytes=0-9"}
    assert live.client.get(path, headers=tag).status_code == 206
    other = {"If-Range": '"another"', "Range": "bytes=0-9"}
    assert live.client.get(path, headers=other).content == whole


def test_the_archive(live: Live, job: str) -> None:
    answer = live.client.get(f"/api/jobs/{job}/stems.zip", params={"format": "flac", "bits": "24"})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert names == [f"Crème brûlée/{stem}.flac" for stem in STEMS] + [
            "Crème brûlée/activity.csv"
        ]
        stem = live.client.get(f"/api/jobs/{job}/stems/drums.flac", params={"bits": "24"})
        assert archive.read(names[1]) == stem.content
    assert (
        "filename*=UTF-8''Cr%C3%A8me%20br%C3%BBl%C3%A9e%20-%20stems.zip"
        in (answer.headers["Content-Disposition"])
    )


def test_the_stem_file(live: Live, job: str, tmp_path: Path) -> None:
    answer = live.client.get(f"/api/jobs/{job}/song.stem.mp4")
    path = tmp_path / "song.stem.mp4"
    path.write_bytes(answer.content)
    tracks = read_stem_file(path)
    assert list(tracks) == ["mixture", "drums", "bass", "other", "vocals"]
    for name, audio in tracks.items():
        master = live.client.get(f"/api/jobs/{job}/audio/{name}.wav").content
        expected = soundfile.read(io.BytesIO(master), dtype="float32")[0].T
        assert audio.samples.shape == expected.shape
        assert np.sqrt(np.mean((audio.samples - expected) ** 2)) < 0.05


def test_the_activity_in_every_format(live: Live, job: str, tmp_path: Path) -> None:
    for extension in ("csv", "lab", "txt", "jams"):
        answer = live.client.get(f"/api/jobs/{job}/activity.{extension}")
        path = tmp_path / f"activity.{extension}"
        path.write_bytes(answer.content)
        assert answer.status_code == 200
        if extension in ("csv", "jams"):
            assert set(read_activity(path).sources) == set(STEMS)


def test_a_remix_is_the_song_without_what_is_muted(live: Live, job: str) -> None:
    def heard(path: str, **query: str) -> Any:
        content = live.client.get(f"/api/jobs/{job}/{path}.wav", params=query).content
        return soundfile.read(io.BytesIO(content), dtype="float32")[0]

    mixture, vocals, drums = (heard(f"audio/{name}") for name in ("mixture", "vocals", "drums"))
    mix = heard("remix", gains="vocals:0,drums:0.5", bits="32")
    np.testing.assert_allclose(mix, mixture - vocals - 0.5 * drums, atol=1e-6)
    np.testing.assert_array_equal(heard("remix", bits="32"), mixture)


@pytest.mark.parametrize(
    "query",
    [
        {"gains": "vocals"}, {"gains": "vocals:"}, {"gains": "vocals:5"}, {"gains": "voice:1"},
        {"gains": "vocals:nan"}, {"gains": "vocals:1,vocals:1"}, {"gains": ":1"},
        {"only_active": "guitar"}, {"bits": "12"}, {"bits": "32", "extension": "flac"},
        {"bits": "16", "extension": "mp3"}, {"extension": "aiff"}, {"gains": "drums,bass:1"},
    ],
)  # fmt: skip
def test_remixes_that_are_not_possible(live: Live, job: str, query: dict[str, str]) -> None:
    extension = query.pop("extension", "wav") if "extension" in query else "wav"
    answer = live.client.get(f"/api/jobs/{job}/remix.{extension}", params=query)
    assert answer.status_code == 422
    assert answer.json()["detail"].endswith((".", "?"))


def test_few_remixes_are_kept(live: Live, job: str) -> None:
    for number in range(9):
        path = f"/api/jobs/{job}/remix.wav?gains=vocals:0.{number}"
        assert live.client.get(path).status_code == 200
    kept = [one.name for one in live.studio.folders.made(job).glob("remix-*")]
    assert len(kept) == 6


def test_the_player_gets_all_it_needs(live: Live, job: str) -> None:
    document = live.client.get(f"/api/jobs/{job}/multitrack").json()
    assert document["title"] == "Crème brûlée"
    assert [track["name"] for track in document["tracks"]] == ["mixture", *STEMS]
    assert document["facts"]["Model"] == "tiny (band-unet)"
    for track in document["tracks"]:
        assert track["duration"] == 1.5
        assert track["audio"]["kind"] == "wav"
        assert live.client.head(track["audio"]["url"]).status_code == 200
        picture = live.client.get(track["spectrogram"]["url"])
        assert picture.headers["Content-Type"] == "image/png"
        assert picture.content.startswith(b"\x89PNG")
        assert (track["activity"] is None) == (track["name"] == "mixture")


def test_the_report_is_one_page(live: Live, job: str) -> None:
    answer = live.client.get(f"/api/jobs/{job}/report.html")
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert "Crème brûlée" in answer.text
    assert "data:audio/ogg;base64," in answer.text


def test_only_what_there_is(live: Live, job: str) -> None:
    for path in (
        "audio/guitar.wav",
        "audio/masters.wav",
        "spectrograms/guitar.png",
        "stems/mixture.wav",
        "stems/..%2F..%2Fupload.wav",
        "audio/..%2Fupload.wav",
    ):
        answer = live.client.get(f"/api/jobs/{job}/{path}")
        assert answer.status_code == 404, path
        assert answer.json()["detail"]


def test_many_ask_for_a_download_and_it_is_made_once(
    live: Live, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from stemwise.studio import downloads

    made: list[Path] = []
    plain = downloads.make_stem_file

    def counted(*arguments: Any) -> None:
        made.append(arguments[1])
        plain(*arguments)

    import shutil

    monkeypatch.setattr(downloads, "make_stem_file", counted)
    shutil.rmtree(live.studio.folders.made(job) / "stem-file", ignore_errors=True)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(live.client.get, f"/api/jobs/{job}/song.stem.mp4") for _ in range(8)]
        answers = {one.result().content for one in asked}
    assert len(answers) == len(made) == 1


def test_deleting_removes_everything(live: Live, quiet: Path) -> None:
    id = live.client.separate(quiet)
    assert live.client.get(f"/api/jobs/{id}/stems/vocals.wav").status_code == 200
    assert live.client.delete(f"/api/jobs/{id}").status_code == 204
    assert live.client.delete(f"/api/jobs/{id}").status_code == 404
    assert live.client.get(f"/api/jobs/{id}/stems/vocals.wav").status_code == 404
    assert not live.studio.folders.job(id).exists()
