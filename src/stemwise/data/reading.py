"""What the readers of data sets share: listing folders, measuring files, making tracks."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import av
import soundfile

from stemwise.activity_files import LabelFile
from stemwise.audio import STEM_NAMES
from stemwise.audio.decoders import Decoder, LibavDecoder, open_container, open_decoder
from stemwise.data.track import Part, Track
from stemwise.errors import AudioError, DataError, hint

STEM_SUFFIX = ".stem.mp4"
AUDIO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("wav", "flac", "aif", "aiff", "au", "caf", "w64", "rf64"),
        *("mp3", "ogg", "oga", "opus", "m4a", "mp4", "aac", "wma", "mka", "webm"),
    )
)
_UNEQUAL = 0.1  # seconds by which the files of a track may differ, e.g. by a codec's padding
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Signal:
    """What a file says of a part: sample rate in hertz, channels, samples per channel."""

    sample_rate: int
    channels: int
    samples: int


def is_audio(path: Path) -> bool:
    """Whether a file is one of audio, by its suffix."""
    return path.suffix.lower() in AUDIO_SUFFIXES


def entries(folder: Path) -> list[Path]:
    """What a folder holds, sorted, without hidden files; raises DataError."""
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except NotADirectoryError as error:
        raise DataError(f"{folder} is not a folder; give the folder of the data set") from error
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror})") from error
    return [folder / name for name in names]


def folders(folder: Path) -> list[Path]:
    """The folders within a folder, sorted; a link to nowhere counts, so that it is named."""
    return [path for path in entries(folder) if path.is_dir() or _leads_nowhere(path)]


def audio_files(folder: Path) -> list[Path]:
    """The audio files within a folder, sorted."""
    return [path for path in entries(folder) if is_audio(path) and not path.is_dir()]


def root_folder(root: str | Path) -> Path:
    """The root of a data set; raises DataError where it is no folder."""
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; give the folder of the data set")
    return root


def check_link(path: Path) -> None:
    """Raise DataError for a symbolic link that leads nowhere or round in circles."""
    if _leads_nowhere(path):
        raise DataError(f"{path} is a symbolic link that leads nowhere; remove or repair it")


def _leads_nowhere(path: Path) -> bool:
    return path.is_symlink() and not os.path.exists(path)


def find_file(folder: Path, name: str) -> Path | None:
    """The file of that name, whatever its case and Unicode form, and whatever its audio suffix."""
    exact = folder / name
    if exact.is_file():
        return exact
    if not folder.is_dir():
        return None
    wanted = _plain(name)
    stem = _plain(Path(name).stem)
    close = None
    for path in entries(folder):
        if _plain(path.name) == wanted:
            return path
        if is_audio(path) and _plain(path.stem) == stem:
            close = close or path
    return close


def required(folder: Path, name: str) -> Path:
    """A file that a track of the data set must have; raises DataError."""
    check_link(folder)
    path = find_file(folder, name)
    if path is None:
        raise DataError(f"{folder} has no {name}; get the song again, or remove it")
    return path


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def measure(part: Part) -> Signal:
    """Rate, channels and length of a part without decoding it whole.

    Raises DataError for what cannot be read, is cut off, is empty or has too many channels.
    """
    check_link(part.path)
    try:
        decoder = open_decoder(part.path, part.stream)
        try:
            samples = _length(part, decoder)
        finally:
            decoder.close()
    except AudioError as error:
        raise DataError(f"{error}; replace or remove it") from error
    if samples <= 0:
        raise DataError(f"{part.path} contains no audio samples; replace or remove it")
    channels = decoder.channels
    if part.channel is None and channels > 2:
        raise DataError(f"{part.path} has {channels} channels; stems must be mono or stereo")
    if part.channel is not None and part.channel >= channels:
        raise DataError(
            f"{part.path} has {channels} channel, and its channel {part.channel + 1} is a stem"
        )
    return Signal(decoder.sample_rate, channels, samples)


def _length(part: Part, decoder: Decoder) -> int:
    """Samples that decoding will give; raises AudioError where some are missing."""
    if isinstance(decoder, LibavDecoder):
        found = _packet_samples(part, decoder.sample_rate)
        samples = found if decoder.samples is None else decoder.samples
        complaints = decoder.complaints(found)
    else:
        samples = decoder.samples or 0
        complaints = decoder.complaints(samples)
        if samples and not complaints and not _has_last_sample(decoder, samples):
            complaints = ["is cut off"]
    if complaints:
        raise AudioError(f"{part.path} {complaints[0]}")
    return samples


def _has_last_sample(decoder: Decoder, samples: int) -> bool:
    try:
        return not decoder.seek(samples - 1) or next(decoder.blocks(1), None) is not None
    except (soundfile.SoundFileError, AudioError):
        return False


def _packet_samples(part: Part, sample_rate: int) -> int:
    """Length of a compressed stream from its packets; decoding takes minutes for a whole set."""
    container, file = open_container(part.path)
    try:
        stream: Any = container.streams.audio[part.stream]
        # decoders give whole frames, also where the last packet states less
        frame = int(stream.codec_context.frame_size or 0)
        indexed = int(stream.frames) if "mp4" in container.format.name and frame else 0
        end: int = 0
        for packet in container.demux(stream):
            if packet.pts is None or packet.time_base is None:
                continue
            start: int = round(packet.pts * packet.time_base * sample_rate)
            if indexed:  # what comes before 0 is the encoder's delay
                return indexed * frame + min(start, 0)
            length = frame or round((packet.duration or 0) * packet.time_base * sample_rate)
            end = max(end, start + length)
        return end
    except av.error.FFmpegError as error:
        raise AudioError(f"{part.path} is damaged ({error})") from error
    finally:
        container.close()
        file.close()


def stem_file_parts(path: Path) -> dict[str, tuple[Part, ...]]:
    """Mixture, drums, bass, other and vocals of a stem file."""
    return {source: (Part(path, stream),) for stream, source in enumerate(STEM_NAMES)}


def make_track(
    name: str,
    split: str,
    stems: Mapping[str, tuple[Part, ...]],
    mixture: tuple[Part, ...] = (),
    activity: LabelFile | None = None,
) -> Track:
    """A track of measured parts, whose labels are read once to see that they fit.

    Raises DataError for missing, unreadable and empty files, and where rates or lengths differ.
    """
    parts = [*mixture, *(part for several in stems.values() for part in several)]
    signals = {part: measure(part) for part in dict.fromkeys(parts)}
    first = parts[0]
    for part, signal in signals.items():
        if signal.sample_rate != signals[first].sample_rate:
            raise DataError(
                f"{part.path.parent} mixes sample rates: {first.path.name} has "
                f"{signals[first].sample_rate} Hz and {part.path.name} {signal.sample_rate} Hz; "
                f"bring its files to one rate"
            )
    rate = signals[first].sample_rate
    shortest = min(signals, key=lambda part: signals[part].samples)
    longest = max(signals, key=lambda part: signals[part].samples)
    samples = signals[shortest].samples
    if signals[longest].samples - samples > _UNEQUAL * rate:
        raise DataError(
            f"{shortest.path} lasts {samples / rate:.2f} s but {longest.path.name} "
            f"{signals[longest].samples / rate:.2f} s; the files of a track must be equally long"
        )
    if activity is not None:
        activity = replace(activity, duration=samples / rate)
        activity.read()
    return Track(name, split, rate, samples, dict(stems), mixture, activity)


def collect(
    items: Iterable[_Item], build: Callable[[_Item], Track], broken: list[str] | None
) -> list[Track]:
    """Build a track of every item; sentences on broken ones go to `broken`, unless it is None.

    Raises DataError for the first broken track where `broken` is None.
    """
    tracks: list[Track] = []
    for item in items:
        try:
            tracks.append(build(item))
        except DataError as error:
            if broken is None:
                raise
            broken.append(str(error))
    return tracks


def check_split(root: Path, split: str | None, known: Iterable[str]) -> None:
    """Raise DataError for a split that the data set does not have."""
    known = list(known)
    if split is not None and split not in known:
        if not known:
            raise DataError(f"{root} has no split '{split}'; its tracks belong to no split")
        raise DataError(f"{root} has no split '{split}'; {hint(split, known, otherwise='it has')}")


def no_tracks(root: Path, title: str, layout: str) -> DataError:
    """The error for a folder without a single track of the data set."""
    return DataError(f"{root} holds no track of {title}; expected {layout}")
