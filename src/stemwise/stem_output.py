"""The stems of one song on their way to disk: staged, kept from clipping, and placed all at once.

Everything is written into a hidden folder `.<track>.<pid>....part` inside the output folder. Only
when every file of the song is whole are they renamed to their places; whatever ends the song before
that removes the hidden folder. What a killed process left is removed when the same song is
separated again.
"""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np

from stemwise.audio import AudioFormat, AudioWriter, create_audio, open_audio
from stemwise.errors import AudioError, Cancelled, OutputError
from stemwise.naming import Plan, check_places
from stemwise.pipeline import at_once
from stemwise.processes import is_alive

ClipMode = Literal["rescale", "clamp", "none"]
CLIP_MODES = ("rescale", "clamp", "none")
_LOSSLESS = ("wav", "flac")
_FULL_SCALE = 1 - 2**-15
"""Peak of rescaled stems: the largest sample that 16 bits hold."""


@dataclass(frozen=True)
class Level:
    """Loudest sample and root mean square of a stem in dB relative to full scale; silence: -inf."""

    peak: float
    rms: float


class _Meter:
    """Peak and power of a stem over the blocks seen so far."""

    def __init__(self) -> None:
        self.peak, self.power, self.count = 0.0, 0.0, 0

    def add(self, block: np.ndarray) -> None:
        if block.size:
            self.peak = max(self.peak, float(block.max()), -float(block.min()))
            flat = block.ravel()
            self.power += float(np.dot(flat, flat))
            self.count += block.size

    def level(self, gain: float) -> Level:
        rms = math.sqrt(self.power / self.count) if self.count else 0.0
        return Level(_decibels(self.peak * gain), _decibels(rms * gain))


def _decibels(amplitude: float) -> float:
    return 20 * math.log10(amplitude) if amplitude > 0 else -math.inf


class StemOutput:
    """Writes a song's stems block by block; use as a context manager, then `finish`, `commit`.

    clip_mode says what becomes of samples beyond full scale, where the format cannot hold them:
    "rescale" multiplies all stems of the song by one factor, so that they sum to the mixture times
    that factor; "clamp" cuts them off; "none" leaves them to the format (whole numbers are cut
    off). float32 files hold them, and are only changed by "clamp".

    A rescaled song is written as is until the first sample beyond full scale, and from there as
    float32; at its end, when the factor is known, both parts become the final file. Lossy formats
    take the second way from the start, so that nothing is compressed twice.
    """

    def __init__(
        self,
        plan: Plan,
        sample_rate: int,
        channels: int,
        *,
        format: AudioFormat,
        clip_mode: ClipMode = "rescale",
        tags: Mapping[str, str] | None = None,
        cover: bytes | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        if clip_mode not in CLIP_MODES:
            raise OutputError(
                f"The clip mode must be one of {', '.join(CLIP_MODES)}, not {clip_mode!r}."
            )
        check_places(plan)
        self.plan, self.format, self.clip_mode = plan, format, clip_mode
        self.gain = 1.0
        self.warnings: list[str] = []
        """What the files cannot hold."""
        self._rate, self._channels = sample_rate, channels
        self._tags, self._cover, self._cancel = dict(tags or {}), cover, cancel
        self._meters = {name: _Meter() for name in plan.stems}
        self._rescales = clip_mode == "rescale" and format.subtype != "float32"
        self._made = make_folder(plan.directory)
        try:
            self._staging = _make_staging(plan)
        except OutputError:
            self._remove_made()
            raise
        self._final = {
            name: self._staging / "final" / f"{index}{path.suffix}"
            for index, (name, path) in enumerate(plan.stems.items())
        }
        self._extra: dict[Path, Path] = {}
        self._heads: dict[str, Path] = {}
        self._writers: dict[str, AudioWriter] = {}
        self._spilling = False
        self._encodes = format.extension != "wav"
        self._failed = threading.Event()
        try:
            # also for lossy formats: what they cannot hold shows before anything is computed
            self._open("final", {name: path.name for name, path in self._final.items()}, format)
            if self._rescales and format.extension not in _LOSSLESS:
                self._spill()
        except BaseException:
            self.discard()
            raise

    @property
    def levels(self) -> dict[str, Level]:
        """Level of each stem as written, apart from clamping."""
        return {name: meter.level(self.gain) for name, meter in self._meters.items()}

    def write(self, stems: Mapping[str, np.ndarray]) -> None:
        """Append a block (channel, sample) to every stem of the plan."""
        for name, block in stems.items():
            self._meters[name].add(block)
        if self._rescales and not self._spilling and self.peak > 1:
            self._spill()
        writes = [partial(self._append, name, block) for name, block in stems.items()]
        if self._encodes and not self._spilling:
            at_once(writes)
        else:
            for write in writes:
                write()

    def finish(self) -> float:
        """Complete every stem, still in the hidden folder; returns the factor of all stems."""
        self._close()
        if not self._spilling:
            return self.gain
        self.gain = min(1.0, _FULL_SCALE / self.peak) if self.peak > 1 else 1.0
        (self._staging / "final").mkdir(exist_ok=True)
        at_once([partial(self._assemble, name) for name in self._final], self._failed)
        return self.gain

    def add(self, path: Path, write: Callable[[Path], None]) -> None:
        """Have `write` make one more file, which is placed at `path` with the stems."""
        staged = self._staging / "final" / path.name
        with _final_name(staged, path):
            write(staged)
        self._extra[path] = staged

    def commit(self) -> None:
        """Rename all files to their places, or none: earlier files come back where one fails."""
        placed: list[Path] = []
        earlier: dict[Path, Path] = {}
        staged = {self.plan.stems[name]: path for name, path in self._final.items()}
        (self._staging / "earlier").mkdir()
        try:
            for index, (path, source) in enumerate({**staged, **self._extra}.items()):
                make_folder(path.parent)
                if os.path.lexists(path) and not path.is_dir():
                    aside = self._staging / "earlier" / str(index)
                    _put_aside(path, aside)
                    earlier[path] = aside
                os.replace(source, path)
                placed.append(path)
        except BaseException as error:
            for new in placed:
                if new not in earlier:
                    new.unlink(missing_ok=True)
            for old, aside in earlier.items():
                os.replace(aside, old)
            if isinstance(error, OSError):
                reason = error.strerror or "no reason given"
                raise OutputError(f"{path} could not be written ({reason}).") from error
            raise
        self._made = []
        self.discard()

    def discard(self) -> None:
        """Remove everything that is not in its place, and folders made for nothing."""
        for writer in self._writers.values():
            writer.abort()
        self._writers = {}
        shutil.rmtree(self._staging, ignore_errors=True)
        self._remove_made()

    def __enter__(self) -> StemOutput:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()

    @property
    def peak(self) -> float:
        """The loudest sample so far, linear, of all stems that share one factor."""
        return max((meter.peak for meter in self._meters.values()), default=0.0)

    def _open(self, folder: str, names: Mapping[str, str], format: AudioFormat) -> None:
        (self._staging / folder).mkdir(exist_ok=True)
        for name, file in names.items():
            with self._named(name):
                writer = self._writers[name] = create_audio(
                    self._staging / folder / file,
                    self._rate,
                    self._channels,
                    format=format,
                    tags=self._tags,
                    cover=self._cover,
                )
                # the same of every stem
                self.warnings += [one for one in writer.warnings if one not in self.warnings]

    def _close(self) -> None:
        for name, writer in self._writers.items():
            with self._named(name):
                writer.close()
        self._writers = {}

    def _spill(self) -> None:
        """Keep what is written so far, and continue in float32 until the factor is known."""
        for name, writer in self._writers.items():
            if writer.samples:
                with self._named(name):
                    writer.close()
                self._heads[name] = writer.path.rename(self._staging / f"head-{writer.path.name}")
            else:
                writer.abort()
        self._writers = {}
        self._spilling = True
        names = {name: f"{path.stem}.wav" for name, path in self._final.items()}
        self._open("spill", names, AudioFormat("wav", "float32"))

    def _append(self, name: str, block: np.ndarray) -> None:
        clamped = np.clip(block, -1, 1) if self.clip_mode == "clamp" else block
        with self._named(name):
            self._writers[name].write(clamped)

    def _assemble(self, name: str) -> None:
        """Write the final file of a stem from its parts, times the factor."""
        path = self._final[name]
        head = self._heads.get(name)
        spill = self._staging / "spill" / f"{path.stem}.wav"
        parts = [spill] if head is None else [head, spill]
        with (
            self._named(name),
            create_audio(
                path,
                self._rate,
                self._channels,
                format=self.format,
                tags=self._tags,
                cover=self._cover,
            ) as writer,
        ):
            for part in parts:
                with open_audio(part) as reader:
                    for block in reader:
                        self._check()
                        writer.write(block * np.float32(self.gain))
        for part in parts:
            part.unlink()

    def _check(self) -> None:
        """Stop where the song is cancelled, or another of its stems has failed."""
        if self._failed.is_set() or (self._cancel is not None and self._cancel.is_set()):
            raise Cancelled("Separation was cancelled.")

    def _named(self, name: str) -> AbstractContextManager[None]:
        return _final_name(self._final[name], self.plan.stems[name])

    def _remove_made(self) -> None:
        for folder in reversed(self._made):
            with suppress(OSError):  # not empty: somebody else uses it by now
                folder.rmdir()
        self._made = []


@contextmanager
def _final_name(staged: Path, final: Path) -> Iterator[None]:
    """Errors name the file that the user asked for, never the one in the hidden folder."""
    try:
        yield
    except (AudioError, OutputError) as error:
        text = str(error)
        folder = staged.parent.parent
        spilled = folder / "spill" / f"{staged.stem}.wav"
        for hidden, shown in ((staged, final), (spilled, final), (folder, final.parent)):
            text = text.replace(str(hidden), str(shown))
        if text == str(error):
            raise
        raise type(error)(text) from error


def make_folder(folder: Path) -> list[Path]:
    """Make a folder and those above it; returns the new ones, outermost first."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()][::-1]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputError(
            f"{folder} is a file where a folder is needed: choose another output folder."
        ) from error
    except OSError as error:
        raise OutputError(_folder_sentence(folder, error)) from error
    return missing


def _put_aside(path: Path, aside: Path) -> None:
    """Give a file a second name; where the disk has no links, the other name instead."""
    try:
        os.link(path, aside, follow_symlinks=False)  # a killed process leaves no gap at `path`
    except (OSError, NotImplementedError):
        os.replace(path, aside)


def _make_staging(plan: Plan) -> Path:
    name = plan.track.replace(os.sep, "/").rpartition("/")[2]
    short = name.encode("utf-8", "ignore")[:100].decode("utf-8", "ignore")
    try:
        _sweep(plan.directory, short)
        prefix = f".{short}.{os.getpid()}."
        return Path(tempfile.mkdtemp(suffix=".part", prefix=prefix, dir=plan.directory))
    except OSError as error:
        raise OutputError(_folder_sentence(plan.directory, error)) from error


def _sweep(directory: Path, track: str) -> None:
    """Remove the hidden folders of this track whose processes were killed."""
    pattern = re.compile(rf"\.{re.escape(track)}\.(\d+)\.[a-z0-9_]+\.part")
    for folder in list(directory.iterdir()):
        found = pattern.fullmatch(folder.name)
        if found is not None and not is_alive(int(found[1])):
            shutil.rmtree(folder, ignore_errors=True)


def _folder_sentence(folder: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"Nothing can be written to {folder} because the disk is full: free some space."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"Nothing may be written to {folder}: choose another output folder."
    reason = error.strerror or "no reason given"
    return f"The folder {folder} cannot be used ({reason}): choose another output folder."
