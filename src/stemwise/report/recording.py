"""One pass over an audio file: its outline, and a small copy for the browser."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stemwise.audio import AudioFormat, create_audio, open_audio, probe
from stemwise.report.peaks import Envelope, PeakMeter

PREVIEW = AudioFormat("opus", bitrate=96)
"""Every current browser plays it, and a page is made in a quarter of the time that MP3 takes."""
COLUMNS = 1600
"""Columns of a drawing: a pixel each on a wide screen."""


@dataclass(frozen=True)
class Recording:
    """A file as the page shows it; `preview` is a data: URL, or None where the page links to it."""

    name: str
    path: Path
    sample_rate: int
    channels: int
    envelope: Envelope
    preview: str | None

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.envelope.samples / self.sample_rate


def song_length(path: Path) -> float | None:
    """Seconds, as the file's headers tell; None where only decoding would."""
    return probe(path).duration


def listen_all(files: Mapping[str, Path], *, embed: bool) -> list[Recording]:
    """`listen` to several files at a time: encoding leaves the interpreter free."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda item: listen(*item, embed=embed), files.items()))


def listen(name: str, path: Path, *, embed: bool) -> Recording:
    """Measure a file and, with `embed`, make its preview. Raises AudioError."""
    meter = PeakMeter()
    preview = None
    # what could not be read was said when the song was separated
    with open_audio(path, warn=False) as reader, tempfile.TemporaryDirectory() as folder:
        rate, channels = reader.sample_rate, reader.channels
        copy = Path(folder) / "preview.opus"
        heard = channels if channels <= 2 else 1  # songs of more channels are heard as their mean
        writer = create_audio(copy, rate, heard, format=PREVIEW) if embed else None
        for block in reader:
            meter.add(block)
            if writer is not None:
                writer.write(block if heard == channels else block.mean(axis=0, keepdims=True))
        if writer is not None:
            # Opus runs at 48 kHz, where less than this would be no sample at all
            missing = max(0, -(-rate // 48000) - writer.samples)
            writer.write(np.zeros((heard, missing), np.float32))
            writer.close()
            content = base64.b64encode(copy.read_bytes()).decode("ascii")
            preview = f"data:audio/ogg;base64,{content}"
    return Recording(name, path, rate, channels, meter.envelope(COLUMNS), preview)
