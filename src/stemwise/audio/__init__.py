"""Audio files: read, probe, stream, write, resample (NumPy only: soundfile, PyAV, soxr).

Samples are float32 (channel, sample) with nominal range [-1, 1] everywhere; positions are samples
of the file's own rate. Files are recognised by content, never by name; nothing here needs an ffmpeg
binary, and nothing holds a whole song unless `read` is asked to.
"""

from __future__ import annotations

from stemwise.audio.format import Audio, AudioFormat, AudioInfo
from stemwise.audio.part import PartFile
from stemwise.audio.read import AudioReader, open_audio, probe, read
from stemwise.audio.resample import StreamResampler, resample
from stemwise.audio.stem_file import (
    STEM_NAMES,
    StemFileWriter,
    create_stem_file,
    read_stem_file,
)
from stemwise.audio.write import AudioWriter, create_audio, write
from stemwise.errors import AudioError, AudioWarning, OutputError

__all__ = [
    "STEM_NAMES",
    "Audio",
    "AudioError",
    "AudioFormat",
    "AudioInfo",
    "AudioReader",
    "AudioWarning",
    "AudioWriter",
    "OutputError",
    "PartFile",
    "StemFileWriter",
    "StreamResampler",
    "create_audio",
    "create_stem_file",
    "open_audio",
    "probe",
    "read",
    "read_stem_file",
    "resample",
    "write",
]
