"""Pages with the player in them: generated audio, its document, and a server that knows ranges."""

from __future__ import annotations

import base64
import json
import re
import shutil
import struct
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, sync_playwright

from stemwise.audio import AudioFormat, create_audio

Samples = NDArray[np.float32]
Spans = Sequence[tuple[float, float]]
CHROMIUM = shutil.which("chromium")
PLAYER = "const player = document.getElementById('player').player;"
BODY = "body { margin: 0; padding: 2vw 1rem; background: var(--paper); color: var(--ink); }"
COLOURS = {"mixture": "mixture", "vocals": 0, "drums": 1, "bass": 2, "other": 3}


@dataclass
class Sound:
    """A track: samples (channel, sample), and when it plays."""

    samples: Samples
    sample_rate: int = 44100
    spans: Spans | None = None
    subtype: str = "FLOAT"
    container: str = "WAV"

    @property
    def duration(self) -> float:
        return float(self.samples.shape[1] / self.sample_rate)

    def wav(self) -> bytes:
        body = BytesIO()
        sf.write(
            body, self.samples.T, self.sample_rate, format=self.container, subtype=self.subtype
        )
        return body.getvalue()


def sine(frequency: float, seconds: float, *, rate: int = 44100, gain: float = 0.5) -> Samples:
    """Mono (1, sample)."""
    phase = 2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate
    return np.asarray(gain * np.sin(phase), np.float32)[None]


def document(
    sounds: Mapping[str, Sound], audio: Mapping[str, tuple[str, str]], *, pictures: bool = False
) -> dict[str, Any]:
    """The multitrack document of sounds; audio: kind and address of each."""
    mixture = sounds["mixture"]
    return {
        "title": "A generated song",
        "duration": max(sound.duration for sound in sounds.values()),
        "sample_rate": mixture.sample_rate,
        "channels": mixture.samples.shape[0],
        "facts": {},
        "warnings": [],
        "tracks": [_track(name, sound, *audio[name], pictures) for name, sound in sounds.items()],
    }


def _track(name: str, sound: Sound, kind: str, url: str, pictures: bool) -> dict[str, Any]:
    return {
        "name": name,
        "kind": "mixture" if name == "mixture" else "stem",
        "colour": COLOURS.get(name, 4),
        "duration": sound.duration,
        "audio": {"kind": kind, "url": url},
        "peaks": _peaks(sound.samples),
        "levels": {"peak_db": None, "rms_db": None, "loudness_lufs": None},
        "activity": None if sound.spans is None else _activity(sound),
        "spectrogram": {"url": _spectrogram(sound), "low_hz": 40, "high_hz": 16000}
        if pictures
        else None,
    }


def _peaks(samples: Samples) -> dict[str, list[float]]:
    columns = max(1, min(1600, samples.shape[1]))
    parts = np.array_split(samples, columns, axis=1)
    return {
        "lows": [round(float(part.min(initial=0)), 5) for part in parts],
        "highs": [round(float(part.max(initial=0)), 5) for part in parts],
        "rms": [round(float(np.sqrt(np.mean(part**2))), 5) if part.size else 0.0 for part in parts],
    }


def _activity(sound: Sound) -> dict[str, Any]:
    rate = 20.0
    spans = [list(span) for span in sound.spans or ()]
    time = np.arange(round(sound.duration * rate)) / rate
    rise = np.zeros_like(time)
    for start, end in spans:
        inside = np.minimum(time - start, end - time) / 0.3
        rise = np.maximum(rise, 1 / (1 + np.exp(-4 * np.clip(inside, -9, 9))))
    wobble = 0.04 * (1 + np.sin(3 * time) * np.cos(1.7 * time))
    probability = np.clip(0.95 * rise + wobble * (1 - rise), 0, 1)
    return {
        "frame_rate": rate,
        "probability": [round(float(value), 3) for value in probability],
        "segments": spans,
        "share": sum(end - start for start, end in spans) / sound.duration,
    }


def _spectrogram(sound: Sound) -> str:
    """A data: URL of a small PNG, logarithmic from low to high."""
    signal = sound.samples.mean(axis=0)
    size, columns = 2048, 700
    starts = np.linspace(0, max(0, signal.size - size), columns).astype(int)
    frames = np.stack([signal[start : start + size] for start in starts]) * np.hanning(size)
    power = 20 * np.log10(np.abs(np.fft.rfft(frames)) + 1e-4)
    bins = np.geomspace(40, 16000, 96) / sound.sample_rate * size
    rows = power[:, np.clip(bins.astype(int), 0, size // 2)].T[::-1]
    shade = np.clip((rows + 35) / 85, 0, 1)
    colours = np.stack([shade**0.8, shade**2.2, 0.25 * shade + 0.5 * shade * (1 - shade)], -1)
    pixels = np.asarray(colours * 255, np.uint8)
    raw = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", columns, len(pixels), 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in parts
    )
    return "data:image/png;base64," + base64.b64encode(png).decode()


def page(song: Mapping[str, Any], *, head: str = "") -> str:
    """A whole page that holds everything, as a report does."""
    script, style = (
        (files("stemwise.web") / name).read_text(encoding="utf-8")
        for name in ("report.js", "report.css")
    )
    data = json.dumps(song).replace("<", "\\u003c")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Player</title>'
        '<link rel="icon" href="data:,">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{head}'
        f"<style>{style}\n{BODY}</style></head><body><h1>{song['title']}</h1>"
        '<main><div id="player"></div></main>'
        f'<script type="application/json" id="multitrack">{data}</script>'
        f"<script>{script}</script></body></html>"
    )


@dataclass
class Site:
    """What a server gives: bodies by path, and what was asked of it."""

    address: str
    bodies: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    ranges: bool = True
    delay: float = 0.0

    def add(self, name: str, sounds: Mapping[str, Sound], *, pictures: bool = False) -> str:
        """A song streamed from WAV files; the address of its page."""
        for track, sound in sounds.items():
            self.bodies[f"/{name}/{track}.wav"] = sound.wav()
        audio = {track: ("wav", f"/{name}/{track}.wav") for track in sounds}
        self.bodies[f"/{name}/"] = page(document(sounds, audio, pictures=pictures)).encode()
        return f"{self.address}/{name}/"


@contextmanager
def serving() -> Iterator[Site]:
    """A loopback server."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = site.bodies.get(self.path)
            wanted = self.headers.get("Range")
            site.asked.append((self.path, wanted))
            time.sleep(site.delay)
            if body is None:
                self._answer(404, b"")
                return
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted or "") if site.ranges else None
            if found is None:
                self._answer(200, body)
                return
            first, last = int(found[1]), min(int(found[2]), len(body) - 1)
            span = {"Content-Range": f"bytes {first}-{last}/{len(body)}"}
            self._answer(206, body[first : last + 1], span)

        def _answer(self, status: int, body: bytes, more: Mapping[str, str] | None = None) -> None:
            self.send_response(status)
            kind = "text/html; charset=utf-8" if self.path.endswith("/") else "audio/wav"
            for name, value in {
                "Content-Type": kind,
                "Content-Length": str(len(body)),
                **(more or {}),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Tests print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site = Site(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def embedded(sounds: Mapping[str, Sound], path: Path, *, opus: bool = False) -> str:
    """A page on disk that holds its audio; its address."""
    audio = {}
    for name, sound in sounds.items():
        body = _opus(sound, path.with_suffix(".opus")) if opus else sound.wav()
        kind = "audio/ogg" if opus else "audio/wav"
        audio[name] = ("embedded", f"data:{kind};base64,{base64.b64encode(body).decode()}")
    path.write_text(page(document(sounds, audio)), encoding="utf-8")
    return path.as_uri()


def _opus(sound: Sound, path: Path) -> bytes:
    """As the copies for listening in a report are made."""
    channels = sound.samples.shape[0]
    writer = create_audio(path, sound.sample_rate, channels, format=AudioFormat("opus", bitrate=96))
    writer.write(sound.samples)
    writer.close()
    return path.read_bytes()


def linked(sounds: Mapping[str, Sound], folder: Path) -> str:
    """A page on disk with the files of its tracks beside it; its address."""
    for name, sound in sounds.items():
        (folder / f"{name}.wav").write_bytes(sound.wav())
    audio = {name: ("linked", f"{name}.wav") for name in sounds}
    path = folder / "report.html"
    path.write_text(page(document(sounds, audio)), encoding="utf-8")
    return path.as_uri()


def band(seconds: float = 72.0) -> dict[str, Sound]:
    """A song that looks like one: four stems that enter and leave."""
    rng = np.random.default_rng(7)
    rate = 11025
    time = np.arange(round(seconds * rate)) / rate
    beat = 60 / 112

    def playing(spans: Spans, fade: float) -> NDArray[np.float64]:
        depth = np.zeros_like(time)
        for start, end in spans:
            depth = np.maximum(depth, np.clip(np.minimum(time - start, end - time) / fade, 0, 1))
        return depth

    bar = beat * 4
    sung = [
        (start * bar + 0.3, start * bar + length * bar - 0.5)
        for start, length in ((4, 3.6), (8, 3.8), (14, 1.7), (16, 3.9), (22, 3.6), (26, 4.0))
    ]
    drummed = [(2 * bar, 12 * bar), (14 * bar, seconds - 4)]
    plucked = [(2 * bar, 20 * bar), (22 * bar, seconds - 2)]
    always = [(0.0, seconds)]
    phrase = np.abs(np.sin(2 * np.pi * time / 3.1)) ** 0.5 * (
        0.5 + 0.5 * np.abs(np.sin(2 * np.pi * time / 0.47 + np.sin(time)))
    )
    glide = 2 * np.pi * np.cumsum(300 + 60 * np.sin(time * 1.3) + 6 * np.sin(35 * time)) / rate
    voice = sum(np.sin(k * glide) / k for k in range(1, 9))
    hits = np.exp(-((time / beat * 2) % 1) * 9) * (0.4 + 0.6 * ((time / beat).astype(int) % 2))
    notes = 55 * 2 ** (np.array([0, 0, 3, 5])[(time / bar).astype(int) % 4] / 12)
    pulse = np.exp(-((time / beat) % 1) * 1.6)
    low = 2 * np.pi * np.cumsum(notes) / rate
    chords = sum(np.sin(2 * np.pi * np.cumsum(notes) / rate * k) / k for k in (4, 5, 6, 8, 10))
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * time / 17)
    tracks = {
        "vocals": (0.28 * voice * phrase * playing(sung, 0.15), sung),
        "drums": (0.55 * rng.standard_normal(time.size) * hits * playing(drummed, 0.05), drummed),
        "bass": (0.42 * (np.sin(low) + 0.4 * np.sin(2 * low)) * pulse, plucked),
        "other": (0.16 * chords * swell, always),
    }
    stems = {
        name: Sound(np.float32(signal * playing(spans, 0.05))[None], rate, spans)
        for name, (signal, spans) in tracks.items()
    }
    total = np.sum([sound.samples for sound in stems.values()], axis=0)
    scale = np.float32(0.97 / np.abs(total).max())
    for sound in stems.values():
        sound.samples *= scale
    return {"mixture": Sound(total * scale, rate), **stems}


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's browser, which plays without a click."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, **options: Any) -> Iterator[Page]:
    """A new tab; no script in it may have failed when it is closed."""
    errors: list[str] = []
    page = browser.new_page(**{"viewport": {"width": 1000, "height": 700}, **options})
    page.on("pageerror", lambda error: errors.append(str(error)))
    try:
        yield page
    finally:
        page.close()
    assert errors == []


def do(page: Page, code: str) -> Any:
    """Something with the page's `player`."""
    return page.evaluate(f"(() => {{ {PLAYER} {code} }})()")


def reaches(page: Page, condition: str) -> None:
    """Waits until a condition on the page's `player` holds."""
    page.wait_for_function(
        f"(() => {{ {PLAYER} return {condition}; }})()", polling=20, timeout=20_000
    )
