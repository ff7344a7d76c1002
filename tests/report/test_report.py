"""The report page: whole, self-contained, and true about what it shows."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from noise_songs import RATE, STEMS, make_activity, make_song

from stemwise.activity import Activity
from stemwise.audio import read
from stemwise.errors import AudioError, OutputError
from stemwise.report import page, write_report


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


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Page]:
    """A page, its text and its parts."""
    return make_page(tmp_path_factory.mktemp("made") / "song")


def shared(parsed: Page) -> dict[str, Any]:
    """The multitrack document of a page, as its script completes it."""
    [text] = [one for one in parsed.texts["script"] if one.startswith("{")]
    song = json.loads(text)
    for track in song["tracks"]:
        url = track["audio"]["url"]
        if url.startswith("#"):
            [audio] = parsed.all("audio", id=url[1:])
            track["audio"]["url"] = audio["src"]
    return dict(song)


def test_page_is_whole_and_self_contained(made: tuple[Path, str, Page]) -> None:
    path, text, parsed = made
    assert (path.parent.name, path.name) == ("song", "report.html")
    assert not parsed.open, "every element is closed"
    for tag, attributes in parsed.elements:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            if name in attributes:
                assert attributes[name].startswith("data:"), f"{tag} loads {attributes[name][:60]}"
    assert not re.search(r"@import|<script[^>]* src=|<link[^>]* href=\"(?!data:)", text)
    plain = re.sub(r"(?s)<script.*</script>", "", text)
    assert not re.search(r"\$[a-z{]", plain), "every field is filled in"
    assert re.findall(r"https?://", re.sub(r"https?%3A//www.w3.org", "", plain)) == []
    identifiers = [a["id"] for _, a in parsed.elements if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    assert {"player", "multitrack"} <= set(identifiers)
    assert {a["aria-labelledby"] for a in parsed.all("section") if "aria-labelledby" in a} <= set(
        identifiers
    )
    [policy] = [a["content"] for a in parsed.all("meta") if "http-equiv" in a]
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy


def test_the_page_holds_the_players_document(made: tuple[Path, str, Page], tmp_path: Path) -> None:
    path, text, parsed = made
    song = shared(parsed)
    assert song["title"] == "Song"
    assert [track["name"] for track in song["tracks"]] == ["mixture", *STEMS]
    for track in song["tracks"]:
        assert track["audio"]["kind"] == "embedded"
        assert text.count(track["audio"]["url"]) == 1, "each copy is in the page once"
    copy = tmp_path / "copy.opus"
    copy.write_bytes(base64.b64decode(song["tracks"][1]["audio"]["url"].partition(",")[2]))
    assert read(copy).samples.shape == (2, 3 * 48000)
    size = path.stat().st_size / 1e3
    stated = re.search(r"This page is (\d+) kB and holds all of it", text)
    assert stated is not None
    assert int(stated[1]) == pytest.approx(size, abs=1.5)


def test_tables_say_it_without_scripts(made: tuple[Path, str, Page]) -> None:
    _, text, parsed = made
    assert parsed.texts["h1"] == ["Song"]
    assert parsed.texts["p"][0] == "2 stems · 0:03 · 44.1 kHz stereo"
    # uniform noise: peak 0.25 is -12.04 dB, rms 0.25 / sqrt(3) is 4.77 dB less
    cells = parsed.texts["td"]
    assert [cells[at] for at in (0, 1, 3)] == ["−8.5", "−13.3", "–"]
    assert [cells[at] for at in (4, 5, 7)] == ["−12.0", "−16.8", "50"]
    assert re.fullmatch(r"−\d+\.\d", cells[2])
    audio = parsed.all("audio", controls="")
    assert [one["aria-label"] for one in audio] == ["mixture", *STEMS]
    assert "0:00.00\u2009–\u20090:01.49" in text  # ends half a frame before
    assert "once, 50\u2009%" in text
    assert {"band", "20 × real time"} <= set(parsed.texts["dd"])
    assert [a for a in parsed.all("ul") if "hidden" in a], "nothing to warn of"


def test_titles_and_names_are_escaped_and_unicode(tmp_path: Path) -> None:
    title = 'Ça & "la" <b>vie</b> – 音楽 $title </script>'
    stem = "<voix> & 声"
    mixture, stems = make_song(tmp_path / "chanson é", RATE)
    path = write_report(
        tmp_path / "chanson é",
        title=title,
        mixture=mixture,
        stems={stem: stems["vocals"]},
        activity=make_activity(1.0, (stem, "drums")),
        facts={"Modèle <i>": "a & b </script>"},
        warnings=["<u>torn</u>"],
    )
    text = path.read_text(encoding="utf-8")
    parsed = Page(text)
    assert parsed.texts["h1"] == [title]
    assert parsed.texts["li"][0] == "<u>torn</u>"
    assert not [tag for tag, _ in parsed.elements if tag in "biu"]
    assert text.count("<script") == text.count("</script>") == 3
    song = shared(parsed)
    assert (song["title"], song["tracks"][1]["name"]) == (title, stem)
    assert stem in parsed.texts["figcaption"]
    assert "Modèle <i>" in parsed.texts["dt"]


def test_silence(tmp_path: Path) -> None:
    _, _, parsed = make_page(tmp_path / "song", gain=0.0, samples=RATE)
    assert parsed.texts["td"][:3] == ["silent", "–", "–"]


def test_stems_without_activity(tmp_path: Path) -> None:
    mixture, stems = make_song(tmp_path / "song", RATE)
    files = {"vocals": stems["vocals"], "no_vocals": stems["drums"]}
    path = write_report(
        tmp_path / "song",
        title="Song",
        mixture=mixture,
        stems=files,
        activity=make_activity(1.0),
        facts={},
    )
    parsed = Page(path.read_text(encoding="utf-8"))
    assert [track["activity"] is None for track in shared(parsed)["tracks"]] == [True, False, True]
    assert len(parsed.all("details")) == 1
    path = write_report(
        tmp_path / "song", title="Song", mixture=mixture, stems=files, activity=None, facts={}
    )
    parsed = Page(path.read_text(encoding="utf-8"))
    assert not parsed.all("details")
    assert "hidden" in parsed.all("section", class_="times")[0]


def test_many_segments_are_listed_in_part(tmp_path: Path) -> None:
    mixture, stems = make_song(tmp_path / "song", samples=8 * 60 * 1000, rate=1000)
    spans = [(float(second), second + 0.5) for second in range(0, 450, 2)]
    path = write_report(
        tmp_path / "song",
        title="Song",
        mixture=mixture,
        stems=stems,
        activity=Activity.from_segments({"vocals": spans, "drums": []}, 480.0, 50.0),
        facts={},
    )
    parsed = Page(path.read_text(encoding="utf-8"))
    items = parsed.texts["li"]
    assert len(items) == 201
    assert items[-1] == "and 25 more"
    assert len(shared(parsed)["tracks"][1]["activity"]["segments"]) == 225
    assert "nowhere" in parsed.texts["span"]


def test_long_songs_are_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "LONGEST_EMBEDDED", 2.0)
    mixture, stems = make_song(tmp_path / "a song #1")
    elsewhere = tmp_path / "café.wav"
    mixture.rename(elsewhere)
    arguments: dict[str, Any] = {
        "title": "Song",
        "stems": stems,
        "activity": make_activity(3.0),
        "facts": {},
    }
    path = write_report(tmp_path / "a song #1", mixture=elsewhere, **arguments)
    parsed = Page(path.read_text(encoding="utf-8"))
    sources = [a["src"] for a in parsed.all("audio")]
    assert sources == ["../caf%C3%A9.wav", "vocals.wav", "drums.wav"]
    assert [track["audio"]["url"] for track in shared(parsed)["tracks"]] == sources
    for source in sources:
        assert (path.parent / unquote(source)).is_file()
    assert "does not hold the audio" in path.read_text(encoding="utf-8")
    path = write_report(tmp_path / "a song #1", mixture=None, **arguments)
    parsed = Page(path.read_text(encoding="utf-8"))
    assert parsed.all("audio")[0]["src"] == "report-mixture.opus"
    assert (path.parent / "report-mixture.opus").is_file()
    assert "the sum of the stems" in parsed.texts["dd"]
    _, embedded, _ = make_page(tmp_path / "short", samples=RATE)
    assert "does not hold the audio" not in embedded


def test_nothing_is_left_after_a_failure(tmp_path: Path) -> None:
    mixture, stems = make_song(tmp_path / "song", RATE)
    stems["drums"].write_text("no audio")
    out = tmp_path / "out"
    out.mkdir()
    arguments = {"title": "Song", "activity": make_activity(1.0), "facts": {}}
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
