"""One pass over an audio file: its outline, and a small copy that every browser plays."""

from __future__ import annotations

import base64
import os
import tempfile
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stemwise.audio import AudioFormat, StreamResampler, create_audio, open_audio, probe
from stemwise.errors import AudioWarning
from stemwise.report.peaks import Envelope, PeakMeter

PREVIEW = AudioFormat("mp3", bitrate=128)
"""MP3 is the one compressed format that no browser lacks."""
PREVIEW_RATES = (44100, 48000)
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
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        # what could not be read was said when the song was separated
        warnings.simplefilter("ignore", AudioWarning)
        return list(pool.map(lambda item: listen(*item, embed=embed), files.items()))


def listen(name: str, path: Path, *, embed: bool) -> Recording:
    """Measure a file and, with `embed`, make its preview. Raises AudioError."""
    meter = PeakMeter()
    preview = None
    with open_audio(path) as reader, tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "preview.mp3"
        rate, channels = reader.sample_rate, reader.channels
        encoder = _Preview(copy, rate, channels) if embed else None
        for block in reader:
            meter.add(block)
            if encoder is not None:
                encoder.write(block)
        if encoder is not None:
            encoder.close()
            content = base64.b64encode(copy.read_bytes()).decode("ascii")
            preview = f"data:audio/mpeg;base64,{content}"
    return Recording(name, path, rate, channels, meter.envelope(COLUMNS), preview)


class _Preview:
    """An MP3 of what is written: mono or stereo; songs of more channels are heard as their mean."""

    def __init__(self, path: Path, sample_rate: int, channels: int) -> None:
        self.mix = channels > 2
        heard = 1 if self.mix else channels
        rate = sample_rate if sample_rate in PREVIEW_RATES else PREVIEW_RATES[0]
        self.resampler = StreamResampler(sample_rate, rate, heard)
        self.writer = create_audio(path, rate, heard, format=PREVIEW)

    def write(self, block: NDArray[np.float32]) -> None:
        heard = block.mean(axis=0, keepdims=True) if self.mix else block
        self.writer.write(self.resampler.process(heard))

    def close(self) -> None:
        tail = self.resampler.flush()
        if not self.writer.samples and not tail.shape[1]:
            tail = np.zeros((len(tail), 1), np.float32)  # one sample at 192 kHz rounds to none
        self.writer.write(tail)
        self.writer.close()
