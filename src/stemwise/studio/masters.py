"""The results of a separation, from which every download is made.

A folder holds `STEM.wav` for every stem and `mixture.wav` (float32, as loud as they are), the
activity (activity.npz, as exact as the model told it), the song's cover, and masters.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from stemwise.activity import Activity
from stemwise.audio import create_audio, open_audio
from stemwise.audio.format import AudioFormat

MASTER = AudioFormat("wav", "float32")
MIXTURE = "mixture"
_FACTS = "masters.json"
_ACTIVITY = "activity.npz"
_COVER = "cover"


@dataclass(frozen=True)
class Masters:
    """What there is to say about a separated song.

    samples: per channel. facts: how it was separated, for people. blocks: the lengths in samples in
    which the engine gave the stems, peaks: the loudest sample of any stem in each of them, because
    what is written depends on both where a song is made quieter so that it does not clip. tags: of
    the song's file.
    """

    stems: tuple[str, ...]
    sample_rate: int
    channels: int
    samples: int
    facts: dict[str, str]
    blocks: tuple[int, ...]
    peaks: tuple[float, ...]
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def duration(self) -> float:
        """Seconds of song."""
        return self.samples / self.sample_rate

    def save(self, folder: Path, activity: Activity, cover: bytes | None) -> None:
        """Complete a folder that holds the audio."""
        with (folder / _ACTIVITY).open("wb") as file:
            np.savez(
                file,
                sources=np.array(activity.sources, dtype=str),
                probabilities=activity.probabilities,
                frame_rate=activity.frame_rate,
                duration=activity.duration,
            )
        if cover is not None:
            (folder / _COVER).write_bytes(cover)
        (folder / _FACTS).write_text(json.dumps(asdict(self)), encoding="utf-8")


def load(folder: Path) -> Masters:
    """The facts in a folder of masters."""
    content = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    lists = {name: tuple(content[name]) for name in ("stems", "blocks", "peaks")}
    return Masters(**{**content, **lists})


def load_activity(folder: Path) -> Activity:
    """When each stem plays, as exactly as the model told it."""
    with np.load(folder / _ACTIVITY, allow_pickle=False) as file:
        return Activity(
            tuple(str(one) for one in file["sources"]),
            file["probabilities"],
            float(file["frame_rate"]),
            float(file["duration"]),
        )


def load_cover(folder: Path) -> bytes | None:
    """The picture of the song's file."""
    path = folder / _COVER
    return path.read_bytes() if path.is_file() else None


def master(folder: Path, track: str) -> Path:
    """The audio of a stem or of the mixture."""
    return folder / f"{track}.wav"


def decode(song: Path, target: Path) -> tuple[dict[str, str], bytes | None]:
    """Write a song as a master, block by block; returns its tags and cover. Raises AudioError."""
    with (
        open_audio(song, warn=False) as reader,
        create_audio(target, reader.sample_rate, reader.channels, format=MASTER) as writer,
    ):
        for block in reader:
            writer.write(block)
        return dict(reader.info.tags), reader.info.cover


def read_together(
    folder: Path, tracks: Sequence[str], lengths: Sequence[int]
) -> Iterator[dict[str, np.ndarray]]:
    """Blocks (channel, sample) of several masters at a time, of the given lengths in samples."""
    with ExitStack() as stack:
        readers = {
            track: _lengths(
                iter(stack.enter_context(open_audio(master(folder, track), warn=False))), lengths
            )
            for track in tracks
        }
        for _ in lengths:
            yield {track: next(reader) for track, reader in readers.items()}


def _lengths(blocks: Iterator[np.ndarray], lengths: Sequence[int]) -> Iterator[np.ndarray]:
    held: list[np.ndarray] = []
    for length in lengths:
        count = sum(part.shape[1] for part in held)
        while count < length:
            held.append(next(blocks))
            count += held[-1].shape[1]
        joined = held[0] if len(held) == 1 else np.concatenate(held, axis=1)
        held = [joined[:, length:]]
        yield joined[:, :length]
