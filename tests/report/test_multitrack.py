"""The document that the player plays: complete, plain JSON, and true about the files."""

from __future__ import annotations

import base64
import json
import threading
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from noise_songs import RATE, STEMS, make_activity, make_song

from stemwise.activity import Activity
from stemwise.audio import Audio, read, write
from stemwise.errors import AudioError, Cancelled
from stemwise.report import multitrack
from stemwise.report.multitrack import Multitrack, colours, describe, described_activity


@pytest.fixture(scope="module")
def stems(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of the stems, and of the mixture."""
    mixture, stems = make_song(tmp_path_factory.mktemp("song"))
    return {"mixture": mixture, **stems}


@pytest.fixture(scope="module")
def song(stems: dict[str, Path]) -> Multitrack:
    return describe(
        title="Lied",
        mixture=stems["mixture"],
        stems={name: stems[name] for name in STEMS},
        activity=make_activity(3.0),
        facts={"Model": "band"},
        warnings=["torn"],
    )


def test_the_document_says_what_the_files_hold(song: Multitrack) -> None:
    assert json.loads(json.dumps(song, allow_nan=False)) == json.loads(json.dumps(song))
    assert {name: song[name] for name in ("title", "duration", "sample_rate", "channels")} == {  # type: ignore[literal-required]
        "title": "Lied",
        "duration": 3.0,
        "sample_rate": RATE,
        "channels": 2,
    }
    assert (song["facts"], song["warnings"]) == ({"Model": "band"}, ["torn"])
    assert [(one["name"], one["kind"], one["colour"]) for one in song["tracks"]] == [
        ("mixture", "mixture", "mixture"),
        ("vocals", "stem", 0),
        ("drums", "stem", 1),
    ]
    assert set(song["tracks"][0]) == {
        *("name", "kind", "colour", "duration", "audio", "peaks", "levels", "activity"),
        "spectrogram",
    }
    assert all(one["duration"] == 3.0 for one in song["tracks"])


def test_levels_peaks_and_activity(song: Multitrack, stems: dict[str, Path]) -> None:
    whole, vocals, drums = song["tracks"]
    # uniform noise: peak 0.25 is -12.04 dB, rms 0.25 / sqrt(3) is 4.77 dB less
    assert [one["levels"]["peak_db"] for one in song["tracks"]] == pytest.approx(
        [-8.52, -12.04, -18.06], abs=0.02
    )
    assert vocals["levels"]["rms_db"] == pytest.approx(-16.81, abs=0.05)
    loudness = [one["levels"]["loudness_lufs"] or 0 for one in song["tracks"]]
    assert np.diff(loudness) == pytest.approx([-3.52, -6.02], abs=0.02)
    samples = read(stems["drums"]).samples
    peaks = drums["peaks"]
    columns = len(peaks["lows"])
    assert columns == len(peaks["highs"]) == len(peaks["rms"]) == 517  # cells of 256 samples
    assert min(peaks["lows"]) == pytest.approx(samples.min(), abs=1e-4)
    assert np.mean(peaks["rms"]) == pytest.approx(np.sqrt(np.square(samples).mean()), rel=0.01)
    assert whole["activity"] is None
    assert vocals["activity"] == {
        "frame_rate": 50.0,
        "probability": [1.0] * 75 + [0.0] * 75,
        "segments": [(0.0, 1.49)],
        "share": 0.5,
    }


def test_embedded_audio_and_pictures(tmp_path: Path) -> None:
    mixture, stems = make_song(tmp_path, channels=3)
    song = describe(title="", mixture=mixture, stems=stems)
    for number, track in enumerate(song["tracks"]):
        assert track["audio"]["kind"] == "embedded"
        kind, _, content = track["audio"]["url"].partition(",")
        assert kind == "data:audio/ogg;base64"
        copy = tmp_path / "copy.opus"
        copy.write_bytes(base64.b64decode(content))
        heard = read(copy)
        assert (heard.sample_rate, heard.channels, heard.samples.shape[1]) == (48000, 1, 144000)
        # the mean of three channels of noise; the encoder leaves out the highest frequencies
        level = (0.375, 0.25, 0.125)[number] / 3
        assert 0.7 * level < np.sqrt(np.square(heard.samples).mean()) < 1.05 * level
        picture = track["spectrogram"]
        assert picture is not None
        assert (picture["low_hz"], picture["high_hz"]) == (30, 20000)
        kind, _, content = picture["url"].partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content).startswith(b"\x89PNG")
        assert track["activity"] is None


def test_served_audio_and_pictures(tmp_path: Path) -> None:
    mixture, stems = make_song(tmp_path, RATE)
    images: dict[str, bytes] = {}

    def keep(name: str, png: bytes) -> str:
        images[name] = png
        return f"/pictures/{name}"

    served = {name: f"/{name}.wav" for name in ("mixture", *STEMS)}
    song = describe(title="", mixture=mixture, stems=stems, audio=served, picture=keep)
    assert [one["audio"] for one in song["tracks"]] == [
        {"kind": "wav", "url": url} for url in served.values()
    ]
    assert list(images) == list(served)
    assert images["drums"] != images["vocals"], "one scale for all"
    plain = describe(title="", mixture=mixture, stems=stems, audio=served, picture=None)
    assert [one["spectrogram"] for one in plain["tracks"]] == [None] * 3


def test_linked_audio_is_addressed_from_the_page(tmp_path: Path) -> None:
    mixture, stems = make_song(tmp_path / "a song #1", RATE)
    elsewhere = tmp_path / "café.wav"
    mixture.rename(elsewhere)
    page = tmp_path / "a song #1"
    song = describe(title="", mixture=elsewhere, stems=stems, audio="linked", directory=page)
    urls = [one["audio"]["url"] for one in song["tracks"]]
    assert urls == ["../caf%C3%A9.wav", "vocals.wav", "drums.wav"]
    assert {one["audio"]["kind"] for one in song["tracks"]} == {"linked"}
    assert all((page / unquote(url)).is_file() for url in urls)


def test_without_a_song_the_mixture_is_the_sum(tmp_path: Path) -> None:
    mixture, stems = make_song(tmp_path)
    out = tmp_path / "page"
    out.mkdir()
    [whole, *_] = describe(title="", mixture=mixture, stems=stems, picture=None)["tracks"]
    linked = describe(
        title="", mixture=None, stems=stems, audio="linked", directory=out, picture=None
    )["tracks"]
    assert linked[0]["levels"] == pytest.approx(whole["levels"], abs=0.02)
    assert linked[0]["audio"]["url"] == "mixture.opus"
    assert linked[1]["audio"]["url"] == "../vocals.wav"
    assert [path.name for path in out.iterdir()] == ["mixture.opus"]
    assert read(out / "mixture.opus").samples.shape == (2, 144000)
    embedded = describe(title="", mixture=None, stems=stems, picture=None)["tracks"]
    assert embedded[0]["audio"]["url"].startswith("data:audio/ogg")


def test_files_that_do_not_fit_together(tmp_path: Path) -> None:
    _, stems = make_song(tmp_path, RATE)
    write(tmp_path / "other.wav", Audio(np.zeros((2, RATE - 5), np.float32), RATE))
    with pytest.raises(AudioError, match=r"other\.wav is shorter than"):
        describe(title="", mixture=None, stems={**stems, "other": tmp_path / "other.wav"})
    write(tmp_path / "other.wav", Audio(np.zeros((2, RATE), np.float32), 48000))
    with pytest.raises(AudioError, match="48000 Hz and 2 channels"):
        describe(title="", mixture=None, stems={**stems, "other": tmp_path / "other.wav"})
    with pytest.raises(AudioError, match="no stems and no song"):
        describe(title="", mixture=None, stems={})
    with pytest.raises(AudioError, match="cannot be called mixture"):
        describe(title="", mixture=tmp_path / "vocals.wav", stems={"mixture": stems["drums"]})


@pytest.mark.parametrize(
    ("samples", "rate", "channels"),
    [(1, 44100, 1), (1, 192000, 2), (300, 8000, 1), (44100, 96000, 6), (2000, 100, 3)],
)
def test_odd_songs(tmp_path: Path, samples: int, rate: int, channels: int) -> None:
    mixture, stems = make_song(tmp_path, samples, rate, channels)
    song = describe(title="", mixture=mixture, stems=stems)
    assert song["duration"] == pytest.approx(samples / rate, abs=1e-6)
    assert (song["sample_rate"], song["channels"]) == (rate, channels)
    json.dumps(song, allow_nan=False)
    assert (song["tracks"][0]["spectrogram"] is None) == (rate == 100)


def test_silence_has_no_levels(tmp_path: Path) -> None:
    mixture, stems = make_song(tmp_path, RATE, gain=0.0)
    song = describe(title="", mixture=mixture, stems=stems)
    for track in song["tracks"]:
        assert set(track["levels"].values()) == {None}
        assert set(track["peaks"]["highs"]) == {0.0}
        assert not any(str(value).startswith("-") for value in track["peaks"]["lows"])
    json.dumps(song, allow_nan=False)


def test_colours_are_fixed_for_the_usual_stems_and_differ_for_the_rest() -> None:
    assert colours(["other", "bass", "drums", "vocals"]) == {
        "other": 3,
        "bass": 2,
        "drums": 1,
        "vocals": 0,
    }
    assert colours(["vocals", "no_vocals"]) == {"vocals": 0, "no_vocals": 4}
    assert colours(["piano", "vocals", "guitar", "accompaniment"]) == {
        "piano": 4,
        "vocals": 0,
        "guitar": 5,
        "accompaniment": 3,
    }
    many = colours([f"instrument {number}" for number in range(10)])
    assert set(many.values()) == set(range(8))


def test_activity_of_long_songs_keeps_short_peaks_in_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(multitrack, "MOST_FRAMES", 100)
    row = np.full((1, 1000), 0.1, np.float32)
    row[0, 503] = 0.9
    found = described_activity(Activity(("vocals",), row, 50.0, 20.0))["vocals"]
    assert len(found["probability"]) == 91
    assert found["frame_rate"] == pytest.approx(50 / 11)
    at = int(np.argmax(found["probability"]))
    assert found["probability"][at] == 0.9
    assert at / found["frame_rate"] == pytest.approx(503 / 50, abs=5.5 / 50)


def test_a_cancelled_description_leaves_nothing(tmp_path: Path) -> None:
    _, stems = make_song(tmp_path / "song")
    out = tmp_path / "out"
    out.mkdir()
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        describe(title="", mixture=None, stems=stems, audio="linked", directory=out, cancel=stop)
    assert not list(out.iterdir())
