"""The report page: the multitrack document, the player that plays it, and tables for all else."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from stemwise import __version__
from stemwise.activity import Activity
from stemwise.audio import PartFile, probe
from stemwise.audio.part import output_errors
from stemwise.report.multitrack import Multitrack, Track, describe
from stemwise.report.recording import PREVIEW
from stemwise.report.words import channel_count, clock, megabytes, number, percent

NAME = "report.html"
LONGEST_EMBEDDED = 370.0
"""Seconds: six minutes and a little. Longer songs would make a page that no browser likes."""
SUMMED = "-mixture.opus"
"""Ending of the file that a page plays for the sum of a long song's stems."""
_LISTED_SEGMENTS = 200
_SIZE = "<!--size-->"


def write_report(
    directory: Path,
    *,
    title: str,
    mixture: Path | None,
    stems: Mapping[str, Path],
    activity: Activity | None,
    facts: Mapping[str, str],
    warnings: Sequence[str] = (),
    name: str = NAME,
    staging: Path | None = None,
    cancel: threading.Event | None = None,
) -> Path:
    """Write the page `name` into `directory`, atomically, and return its path.

    mixture, stems: audio files; the page holds its own copies of songs of up to six minutes, and
    plays the files of longer ones from where they lie. mixture None: the sum of the stems, for
    which the page of a longer song has report-mixture.opus beside it. activity: of stems by name;
    those it does not know have no lane. facts: what else there is to say, in this order. staging:
    a folder on the same disk for the page until it is whole.

    Raises AudioError, OutputError, and Cancelled soon after `cancel` is set.
    """
    length = probe(mixture or next(iter(stems.values()))).duration
    embed = length is not None and length <= LONGEST_EMBEDDED
    said = dict(facts)
    if mixture is None:
        said["Mixture"] = "the sum of the stems"
    path = directory / name
    with PartFile(
        path, staging
    ) as part:  # a folder that is not there shows before anything is measured
        song = describe(
            title=title,
            mixture=mixture,
            stems=stems,
            activity=activity,
            facts=said,
            warnings=warnings,
            audio="embedded" if embed else "linked",
            directory=directory,
            summed=f"{path.stem}{SUMMED}",
            cancel=cancel,
        )
        with output_errors(path):
            part.temporary.write_text(compose(song), encoding="utf-8")
    return path


def compose(song: Multitrack) -> str:
    """The page's HTML."""
    elements, document = _shared_audio(song)
    tracks = song["tracks"]
    parts = {
        "title": escape(song["title"]),
        "version": escape(__version__),
        "lead": escape(_lead(song)),
        "warnings": "".join(f"<li>{escape(one)}</li>" for one in song["warnings"]),
        "no_warnings": "" if song["warnings"] else " hidden",
        "document": json.dumps(document, ensure_ascii=False).replace("<", "\\u003c"),
        "audio": "\n".join(elements),
        "levels": "\n".join(_level_row(track) for track in tracks),
        "segments": "\n".join(_segments(track) for track in tracks),
        "unplayed": "" if any(track["activity"] for track in tracks) else " hidden",
        "facts": "\n".join(_fact(name, value) for name, value in song["facts"].items()),
        "style": _asset("report.css") + _text("page.css"),
        "script": _asset("report.js"),
        "start": _text("page.js"),
    }
    page = _page().substitute(parts)
    # saying how long it is makes it a little longer
    return page.replace(_SIZE, escape(_audio_note(song, len(page.encode()))), 1)


def _shared_audio(song: Multitrack) -> tuple[list[str], dict[str, Any]]:
    """An audio element per track, and the document, which refers to them for embedded audio.

    So the page holds each copy once, and plays without JavaScript too.
    """
    elements, tracks = [], []
    for index, track in enumerate(song["tracks"]):
        audio = track["audio"]
        source = f'id="audio-{index}" src="{escape(audio["url"])}"'
        elements.append(
            f"    <figure><figcaption>{escape(track['name'])}</figcaption>"
            f'<audio {source} aria-label="{escape(track["name"])}" controls preload="none"></audio>'
            "</figure>"
        )
        url = f"#audio-{index}" if audio["kind"] == "embedded" else audio["url"]
        tracks.append({**track, "audio": {**audio, "url": url}})
    return elements, {**song, "tracks": tracks}


def _lead(song: Multitrack) -> str:
    stems = len(song["tracks"]) - 1
    count = "1 stem" if stems == 1 else f"{stems} stems"
    rate = f"{song['sample_rate'] / 1000:g} kHz {channel_count(song['channels'])}"
    return f"{count} · {clock(song['duration'])} · {rate}"


def _audio_note(song: Multitrack, size: int) -> str:
    if all(track["audio"]["kind"] == "embedded" for track in song["tracks"]):
        return (
            f"This page is {megabytes(size)} and holds all of it: the audio is a copy for "
            f"listening (Opus, {PREVIEW.bitrate} kbit/s)."
        )
    return (
        f"This page is {megabytes(size)} and does not hold the audio, as pages of songs of up to "
        "six minutes do: it plays song and stems from where they lie, so move them together."
    )


def _level_row(track: Track) -> str:
    levels, activity = track["levels"], track["activity"]
    cells = (
        "silent" if levels["peak_db"] is None else number(levels["peak_db"]),
        number(levels["rms_db"]),
        number(levels["loudness_lufs"]),
        "–" if activity is None else escape(percent(activity["share"])),
    )
    figures = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'        <tr><th scope="row">{_name(track)}</th>{figures}</tr>'


def _segments(track: Track) -> str:
    activity = track["activity"]
    if activity is None:
        return ""
    spans = activity["segments"]
    if not spans:
        return f'      <p class="never">{_name(track)}<span class="share">nowhere</span></p>'
    listed = "".join(_segment(*span) for span in spans[:_LISTED_SEGMENTS])
    if len(spans) > _LISTED_SEGMENTS:
        listed += f"<li>and {len(spans) - _LISTED_SEGMENTS} more</li>"
    count = "once" if len(spans) == 1 else f"{len(spans)} times"
    share = f"{count}, {escape(percent(activity['share']))}\u2009%"
    head = f'<summary>{_name(track)}<span class="share">{share}</span></summary>'
    return f"      <details>{head}<ol>{listed}</ol></details>"


def _segment(start: float, end: float) -> str:
    times = f"{clock(start, exact=True)}\u2009–\u2009{clock(end, exact=True)}"
    return f'<li data-start="{start}">{times}</li>'


def _name(track: Track) -> str:
    dot = f'<span class="dot" style="--stem: var(--stem-{track["colour"]})"></span>'
    return f'{dot}<span class="stem">{escape(track["name"])}</span>'


def _fact(name: str, value: str) -> str:
    return f"      <div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"


@cache
def _asset(name: str) -> str:
    """A built file of the player (sources in web/), without what would end its element."""
    text = (files("stemwise") / "web" / name).read_text(encoding="utf-8")
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


@cache
def _text(name: str) -> str:
    return (files("stemwise.report") / "template" / name).read_text(encoding="utf-8")


@cache
def _page() -> Template:
    return Template(_text("page.html"))
