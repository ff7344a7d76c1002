"""The report page: whole, self-contained, and true about what it shows."""

from __future__ import annotations

import base64
import html
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from stemwise.activity import Activity
from stemwise.audio import Audio, read, write
from stemwise.errors import AudioError, OutputError
from stemwise.report import page, write_report

RATE = 44100
STEMS = ("vocals", "drums")


class Page(HTMLParser):
    """Elements of a page: (tag, attributes), and the text of each tag."""

    VOID = frozenset(("meta", "link", "input", "path"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def all(self, tag: str, **attributes: str) -> list[dict[str, str]]:
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [a for t, a in self.elements if t == tag and wanted.items() <= a.items()]


def make_song(
    folder: Path, samples: int = 3 * RATE, rate: int = RATE, channels: int = 2, gain: float = 0.25
) -> tuple[Path, dict[str, Path]]:
    """A mixture and two stems of noise that sum to it; the second stem has half the amplitude."""
    rng = np.random.default_rng(0)
    vocals = rng.uniform(-gain, gain, (channels, samples)).astype(np.float32)
    parts = {"vocals": vocals, "drums": vocals * np.float32(0.5)}
    folder.mkdir(exist_ok=True)
    paths = {name: folder / f"{name}.wav" for name in parts}
    for name, path in paths.items():
        write(path, Audio(parts[name], rate))
    mixture = folder / "mixture.wav"
    write(mixture, Audio(vocals * np.float32(1.5), rate))
    return mixture, paths


def make_activity(duration: float, stems: tuple[str, ...] = STEMS) -> Activity:
    """The first stem plays in the first half, the second in the last quarter."""
    spans = [(0.0, duration / 2), (duration * 3 / 4, duration + 1)]
    segments = {name: [span] for name, span in zip(stems, spans, strict=True)}
    return Activity.from_segments(segments, duration, frame_rate=50.0)


def make_page(folder: Path, title: str = "Song", **song: float) -> tuple[Path, str, Page]:
    mixture, stems = make_song(folder, **song)  # type: ignore[arg-type]
    path = write_report(
        folder,
        title=title,
        mixture=mixture,
        stems=stems,
        activity=make_activity(3.0),
        facts={"Model": "band", "Speed": "20 × real time"},
    )
    text = path.read_text(encoding="utf-8")
    return path, text, Page(text)


def test_page_is_whole_and_self_contained(tmp_path: Path) -> None:
    path, text, parsed = make_page(tmp_path / "song")
    assert path == tmp_path / "song" / "report.html"
    assert not parsed.open, "every element is closed"
    for tag, attributes in parsed.elements:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            if name in attributes:
                assert attributes[name].startswith("data:"), f"{tag} loads {attributes[name][:60]}"
    assert not re.search(r"@import|url\(|https?://(?!www\.w3\.org/2000/svg)", _without_audio(text))
    assert not re.search(r"\$[a-z{]", re.sub(r"(?s)<script>.*</script>", "", _without_audio(text)))
    identifiers = [a["id"] for _, a in parsed.elements if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    assert {a["aria-labelledby"] for a in parsed.all("section") if "aria-labelledby" in a} <= set(
        identifiers
    )


def _without_audio(text: str) -> str:
    return re.sub(r"data:audio/ogg;base64,[A-Za-z0-9+/=]+", "", text).replace(
        "http%3A//www.w3.org/2000/svg", ""
    )


def test_every_recording_has_player_waveform_levels_and_lane(tmp_path: Path) -> None:
    _, text, parsed = make_page(tmp_path / "song")
    tracks = [a for a in parsed.all("section") if "data-kind" in a]
    assert [a["aria-label"] for a in tracks] == ["mixture", "vocals", "drums"]
    assert [a["data-kind"] for a in tracks] == ["mixture", "stem", "stem"]
    assert len(parsed.all("audio")) == 3
    waves = parsed.all("svg", class_="wave")
    assert [a["aria-label"] for a in waves] == [f"Waveform of {x}" for x in ("mixture", *STEMS)]
    lanes = [a["aria-label"] for a in parsed.all("svg", class_="lane")]
    assert lanes == ["vocals plays 50% of the time", "drums plays 25% of the time"]
    # uniform noise: peak 0.25 is -12.04 dB, rms 0.25 / sqrt(3) is 4.77 dB less
    assert parsed.texts["dd"][:5] == ["−8.5 dB", "−13.3 dB", "−12.0 dB", "−16.8 dB", "50\u2009%"]
    assert "20 × real time" in parsed.texts["dd"]
    assert "0:00.00\u2009–\u20090:01.49" in text  # ends half a frame before
    assert parsed.all("main")[0]["data-duration"] == "3.000000"


def test_embedded_audio_is_the_song(tmp_path: Path) -> None:
    _, _, parsed = make_page(tmp_path / "song")
    for number, attributes in enumerate(parsed.all("audio")):
        copy = tmp_path / f"{number}.opus"
        copy.write_bytes(base64.b64decode(attributes["src"].partition(",")[2]))
        audio = read(copy)
        assert (audio.sample_rate, audio.channels) == (48000, 2)
        assert audio.samples.shape[1] == 3 * 48000
        level = (0.375, 0.25, 0.125)[number] / np.sqrt(3)
        # the encoder leaves out the highest frequencies of the noise
        assert 0.75 * level < np.sqrt(np.square(audio.samples).mean()) < 1.05 * level


def test_titles_and_names_are_escaped_and_unicode(tmp_path: Path) -> None:
    title = 'Ça & "la" <b>vie</b> – 音楽 $title </script>'
    stem = "<voix> & 声"
    mixture, stems = make_song(tmp_path / "chanson é")
    path = write_report(
        tmp_path / "chanson é",
        title=title,
        mixture=mixture,
        stems={stem: stems["vocals"]},
        activity=make_activity(3.0, (stem, "drums")),
        facts={"Modèle <i>": "a & b"},
    )
    text = path.read_text(encoding="utf-8")
    parsed = Page(text)
    assert parsed.texts["h1"] == [title]
    assert not parsed.all("b")
    assert not parsed.all("i")
    assert text.count("<script>") == text.count("</script>") == 1
    assert stem in [a.get("aria-label") for a in parsed.all("section")]
    assert html.escape(stem) in text
    assert "Modèle <i>" in parsed.texts["dt"]


@pytest.mark.parametrize(
    ("samples", "rate", "channels"),
    [(1, 44100, 1), (1, 192000, 2), (300, 8000, 1), (44100, 96000, 6), (2000, 48000, 3)],
)
def test_odd_songs(tmp_path: Path, samples: int, rate: int, channels: int) -> None:
    _, _, parsed = make_page(tmp_path / "song", samples=samples, rate=rate, channels=channels)
    duration = float(parsed.all("main")[0]["data-duration"])
    assert duration == pytest.approx(samples / rate, abs=1e-6)
    for attributes in parsed.all("path"):
        assert not re.search("nan|inf", attributes["d"])
    for attributes in parsed.all("audio"):
        copy = tmp_path / "copy.opus"
        copy.write_bytes(base64.b64decode(attributes["src"].partition(",")[2]))
        assert read(copy).channels == (channels if channels <= 2 else 1)


def test_silence(tmp_path: Path) -> None:
    _, _, parsed = make_page(tmp_path / "song", gain=0.0)
    assert parsed.texts["dd"][:2] == ["silent", "silent"]
    outline = parsed.all("path", class_="peaks")[0]["d"]
    heights = {point.split()[1] for point in re.split("[MLZ]", outline) if point}
    assert heights == {"49.5", "50.5"}


def test_stems_without_activity_have_no_lane(tmp_path: Path) -> None:
    mixture, stems = make_song(tmp_path / "song")
    path = write_report(
        tmp_path / "song",
        title="Song",
        mixture=mixture,
        stems={"vocals": stems["vocals"], "no_vocals": stems["drums"]},
        activity=make_activity(3.0),
        facts={},
    )
    parsed = Page(path.read_text(encoding="utf-8"))
    assert len(parsed.all("svg", class_="wave")) == 3
    assert len(parsed.all("svg", class_="lane")) == 1
    assert len(parsed.all("details")) == 1


def test_long_songs_are_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "LONGEST_EMBEDDED", 2.0)
    mixture, stems = make_song(tmp_path / "a song #1")
    elsewhere = tmp_path / "café.wav"
    mixture.rename(elsewhere)
    path = write_report(
        tmp_path / "a song #1",
        title="Song",
        mixture=elsewhere,
        stems=stems,
        activity=make_activity(3.0),
        facts={},
    )
    assert path.stat().st_size < 400_000
    sources = [a["src"] for a in Page(path.read_text(encoding="utf-8")).all("audio")]
    assert sources == ["../caf%C3%A9.wav", "vocals.wav", "drums.wav"]
    for source in sources:
        assert (path.parent / unquote(source)).is_file()
    assert "This page does not hold the audio" in path.read_text(encoding="utf-8")
    _, embedded, _ = make_page(tmp_path / "short", samples=RATE)
    assert "This page does not hold the audio" not in embedded


def test_nothing_is_left_after_a_failure(tmp_path: Path) -> None:
    mixture, stems = make_song(tmp_path / "song")
    stems["drums"].write_text("no audio")
    out = tmp_path / "out"
    out.mkdir()
    arguments = {"title": "Song", "activity": make_activity(3.0), "facts": {}}
    with pytest.raises(AudioError, match=re.escape("drums.wav")):
        write_report(out, mixture=mixture, stems=stems, **arguments)  # type: ignore[arg-type]
    assert not list(out.iterdir())
    del stems["drums"]
    with pytest.raises(OutputError, match="not an existing folder"):
        write_report(out / "missing", mixture=mixture, stems=stems, **arguments)  # type: ignore[arg-type]
    (out / "report.html").write_text("old")
    write_report(out, mixture=mixture, stems=stems, **arguments)  # type: ignore[arg-type]
    assert [path.name for path in out.iterdir()] == ["report.html"]
    assert (out / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
