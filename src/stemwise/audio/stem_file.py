"""Native Instruments style stem files: one MP4 with a stereo AAC stream per stem, mixture first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from stemwise.audio.decoders import open_decoder
from stemwise.audio.format import Audio, Samples
from stemwise.audio.libav import LibavEncoder
from stemwise.audio.part import PartFile, output_errors
from stemwise.audio.read import read
from stemwise.audio.staged import StagedWriter
from stemwise.errors import AudioError

STEM_NAMES = ("mixture", "drums", "bass", "other", "vocals")


class StemFileWriter(StagedWriter):
    """Write equally long stereo blocks of every stem; `close` renames the file to `path`."""

    def __init__(self, part: PartFile, encoder: LibavEncoder, names: tuple[str, ...]) -> None:
        super().__init__(part, encoder)
        self.names, self._encoder = names, encoder

    def write(self, blocks: Mapping[str, Samples]) -> None:
        """Append one block (2, sample) per name; mono blocks (1, sample) go to both channels."""
        if set(blocks) != set(self.names):
            raise ValueError(f"expected blocks for {self.names}, got {tuple(blocks)}")
        lengths = {block.shape[1] for block in blocks.values()}
        if len(lengths) != 1 or any(block.shape[0] not in (1, 2) for block in blocks.values()):
            raise ValueError("expected equally long blocks of one or two channels")
        stereo = [
            np.broadcast_to(np.asarray(blocks[name], np.float32), (2, blocks[name].shape[1]))
            for name in self.names
        ]
        with output_errors(self.path):
            self._encoder.write_streams(stereo)
        self.samples += lengths.pop()


def create_stem_file(
    path: str | Path,
    sample_rate: int,
    names: Sequence[str] = STEM_NAMES,
    *,
    bitrate: int = 256,
    tags: Mapping[str, str] | None = None,
    cover: bytes | None = None,
) -> StemFileWriter:
    """Open a stem file for writing; `bitrate` in kbit/s holds per stream.

    Raises AudioError for sample rates that AAC does not have, OutputError.
    """
    path = Path(path)
    if not names:
        raise ValueError("a stem file has at least one stream")
    part = PartFile(path)
    try:
        with output_errors(path):
            encoder = LibavEncoder(
                part.temporary, "m4a", sample_rate, 2, bitrate, tags or {}, cover, titles=names
            )
    except BaseException:
        part.discard()
        raise
    return StemFileWriter(part, encoder, tuple(names))


def read_stem_file(path: str | Path) -> dict[str, Audio]:
    """Read mixture, drums, bass, other and vocals of a five-stream file; raises AudioError."""
    decoder = open_decoder(Path(path), 0)
    streams = decoder.streams
    decoder.close()
    if streams != len(STEM_NAMES):
        raise AudioError(
            f"{path} has {streams} audio streams, and a stem file has {len(STEM_NAMES)}"
        )
    return {name: read(path, stream=index) for index, name in enumerate(STEM_NAMES)}
