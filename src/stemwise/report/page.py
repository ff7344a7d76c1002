"""The page itself: measured recordings, drawn and put into the templates."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from html import escape
from importlib.resources import files
from math import log10
from pathlib import Path
from string import Template
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from stemwise import __version__
from stemwise.activity import Activity
from stemwise.audio import PartFile
from stemwise.audio.part import output_errors
from stemwise.report import drawing
from stemwise.report.recording import Recording, listen_all, song_length

NAME = "report.html"
LONGEST_EMBEDDED = 370.0
"""Seconds: six minutes and a little. Longer songs would make a page that no browser likes."""
_COLOURS = {"vocals": 0, "drums": 1, "bass": 2, "other": 3, "accompaniment": 3}
_COLOUR_COUNT = 8
_LISTED_SEGMENTS = 200
_LINKED = """\
  <p class="legend">This page does not hold the audio, as it does for songs of up to six minutes: it
  plays the song and the stems from where they lie, so move them together.</p>"""


def write_report(
    directory: Path,
    *,
    title: str,
    mixture: Path,
    stems: Mapping[str, Path],
    activity: Activity,
    facts: Mapping[str, str],
    name: str = NAME,
) -> Path:
    """Write the page `name` into `directory`, atomically, and return its path.

    mixture, stems: audio files; the page holds its own copies of songs of up to six minutes, and
    links to the files of longer ones. activity: of stems by name; those it does not know have no
    lane. facts: what else there is to say, in this order. Raises AudioError and OutputError.
    """
    length = song_length(mixture)
    embed = length is not None and length <= LONGEST_EMBEDDED
    mixed, *separated = listen_all({"mixture": mixture, **stems}, embed=embed)
    page = compose(directory, title, mixed, separated, activity, facts)
    path = directory / name
    with PartFile(path) as part, output_errors(path):
        part.temporary.write_text(page, encoding="utf-8")
    return path


def compose(
    directory: Path,
    title: str,
    mixture: Recording,
    stems: list[Recording],
    activity: Activity,
    facts: Mapping[str, str],
) -> str:
    """The page's HTML; linked files are addressed as seen from `directory`."""
    recordings = [mixture, *stems]
    axis = max(one.duration for one in recordings)
    loudest = max(one.envelope.peak for one in recordings)
    scale = 1 / loudest if loudest > 0 else 1.0
    spans = activity.segments()
    drawn = [
        _track(directory, one, axis, scale, activity, spans.get(one.name)) for one in recordings
    ]
    return _template("page.html").substitute(
        title=escape(title),
        version=escape(__version__),
        lead=escape(_lead(mixture, len(stems))),
        duration=f"{axis:.6f}",
        length=drawing.clock(axis),
        ticks="".join(
            f'<li style="left:{tick.position:.3%}">{tick.label}</li>'
            for tick in drawing.ticks(axis)
        ),
        tracks="".join(drawn),
        facts="\n".join(_fact(name, value) for name, value in facts.items()),
        segments="\n".join(_segments(one.name, spans.get(one.name), activity) for one in stems),
        linked="" if all(one.preview for one in recordings) else _LINKED,
        last_key=min(len(stems), 9),
        style=_text("page.css"),
        script=_text("page.js"),
    )


def _lead(mixture: Recording, stems: int) -> str:
    kinds = {1: "mono", 2: "stereo"}
    channels = kinds.get(mixture.channels, f"{mixture.channels} channels")
    count = "1 stem" if stems == 1 else f"{stems} stems"
    length = drawing.clock(mixture.duration)
    return f"{count} · {length} · {mixture.sample_rate / 1000:g} kHz {channels}"


def _track(
    directory: Path,
    recording: Recording,
    axis: float,
    scale: float,
    activity: Activity,
    spans: list[tuple[float, float]] | None,
) -> str:
    envelope = recording.envelope
    mixture = recording.name == "mixture"
    name = escape(recording.name)
    figures = [("Peak", decibels(envelope.peak)), ("RMS", decibels(envelope.rms_level))]
    lane = ""
    if spans is not None:
        share = activity.ratio()[recording.name]
        figures.append(("Active", f"{share:.0%}".replace("%", "\u2009%")))
        lane = _lane(name, activity[recording.name], activity.frame_rate, spans, axis, share)
    share_of_axis = recording.duration / axis
    return _template("track.html").substitute(
        kind="mixture" if mixture else "stem",
        colour="mixture" if mixture else _colour(recording.name),
        name=name,
        controls="" if mixture else _controls(name),
        source=recording.preview or escape(_address(recording.path, directory)),
        outline=drawing.outline(envelope, scale, share_of_axis),
        body=drawing.body(envelope, scale, share_of_axis),
        lane=lane,
        figures="\n".join(f"<dt>{label}</dt><dd>{value}</dd>" for label, value in figures),
    )


def _controls(name: str) -> str:
    buttons = "".join(
        f'<button class="{kind}" type="button" aria-pressed="false" aria-label="{word} {name}">'
        f"{word}</button>"
        for kind, word in (("solo", "Solo"), ("mute", "Mute"))
    )
    return f'<div class="controls">{buttons}</div>'


def _lane(
    name: str,
    row: NDArray[np.float32],
    frame_rate: float,
    spans: list[tuple[float, float]],
    axis: float,
    share: float,
) -> str:
    return (
        f'<svg class="lane" viewBox="0 0 {drawing.WIDTH} {drawing.LANE}" '
        f'preserveAspectRatio="none" role="img" aria-label="{name} plays {share:.0%} of the time">'
        f'<path class="probability" d="{drawing.probability(row, frame_rate, axis)}"/>'
        f'<path class="active" d="{drawing.bars(spans, axis)}"/></svg>'
    )


def _segments(name: str, spans: list[tuple[float, float]] | None, activity: Activity) -> str:
    if spans is None:
        return ""
    shown = [
        [drawing.clock(time, exact=True) for time in span] for span in spans[:_LISTED_SEGMENTS]
    ]
    listed = "".join(f"<span>{start}\u2009–\u2009{end}</span>" for start, end in shown)
    if not spans:
        listed = "Nowhere in this song."
    elif len(spans) > _LISTED_SEGMENTS:
        listed += f"<span>and {len(spans) - _LISTED_SEGMENTS} more</span>"
    count = "once" if len(spans) == 1 else f"{len(spans)} times"
    share = f"{count}, {activity.ratio()[name]:.0%} of the song" if spans else "never"
    head = f"<summary>{escape(name)} <span>{share}</span></summary>"
    return f"  <details>{head}<p>{listed}</p></details>"


def _fact(name: str, value: str) -> str:
    return f"    <div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"


def decibels(level: float) -> str:
    """A linear level as dBFS with one decimal and a true minus sign."""
    if level <= 0:
        return "silent"
    value = round(20 * log10(level), 1) + 0.0  # no negative zero
    return f"{value:.1f} dB".replace("-", "−")


def _colour(name: str) -> int:
    known = _COLOURS.get(name)
    if known is not None:
        return known
    # a stem keeps its colour from page to page
    return 4 + sum(name.encode()) % (_COLOUR_COUNT - 4)


def _address(path: Path, directory: Path) -> str:
    """Where the page finds a file beside it; an absolute address on another drive."""
    try:
        relative = os.path.relpath(path.resolve(), directory.resolve())
    except ValueError:
        return path.resolve().as_uri()
    return quote(Path(relative).as_posix())


@cache
def _text(name: str) -> str:
    return (files("stemwise.report") / "template" / name).read_text(encoding="utf-8")


@cache
def _template(name: str) -> Template:
    return Template(_text(name))
