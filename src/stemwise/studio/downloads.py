"""Files made from masters when somebody wants them: once, whole, and kept until room is needed.

Stems go through the same `StemOutput` as those of `stemwise separate`, in the same blocks, so that
they are the same files to the byte.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from stemwise.activity import write_activity
from stemwise.activity_files import SUFFIXES
from stemwise.audio import AudioFormat, create_stem_file
from stemwise.audio.stem_file import STEM_NAMES
from stemwise.errors import Cancelled, OutputError
from stemwise.naming import Plan
from stemwise.stem_output import StemOutput
from stemwise.studio.masters import (
    MIXTURE,
    Masters,
    load,
    load_activity,
    load_cover,
    master,
    read_together,
)

Make = Callable[[Path, Path, threading.Event], None]
"""Writes files into its second folder from the masters in its first, until the event is set."""
REMIXES = 6
"""Remixes of a song that are kept, the latest ones."""
LONGEST_REPORT = 900.0
"""Seconds of a song in a page; five copies of a longer one are too much for most browsers."""
_RECENT = 600.0
"""Seconds in which a file may still be on its way to somebody."""


@dataclass(frozen=True)
class Remixing:
    """What is asked of a remix; gains are linear."""

    gains: Mapping[str, float]
    only_active: tuple[str, ...]
    format: AudioFormat

    @property
    def key(self) -> str:
        """Equal for equal remixes."""
        gains = sorted((name, float(gain)) for name, gain in self.gains.items())
        text = repr((gains, sorted(self.only_active), self.format))
        return f"remix-{sha256(text.encode()).hexdigest()[:24]}"


class Maker:
    """Makes every file once, however many ask for it, a few at a time."""

    def __init__(self, threads: int = 2) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="download")
        self._lock = threading.Lock()
        self._running: dict[Path, Future[Path]] = {}
        self._closing = threading.Event()

    async def made(self, masters: Path, made: Path, key: str, make: Make) -> Path:
        """The folder `made/key` with what `make` writes, now or earlier.

        Raises what `make` raises: OutputError, AudioError, OSError.
        """
        folder = made / key
        with self._lock:
            running = self._running.get(folder)
            new = running is None
            if running is None:
                running = self._pool.submit(self._make, masters, folder, make)
                self._running[folder] = running
        if new:  # without the lock, since of a file that is there already it is called at once
            running.add_done_callback(lambda _: self._forget(folder))
        # whoever else waits for the file must get it when this client leaves
        return await asyncio.shield(asyncio.wrap_future(running))

    def busy(self, made: Path) -> bool:
        """Whether something is being made in a folder."""
        with self._lock:
            return any(folder.parent == made for folder in self._running)

    def close(self) -> None:
        """Stop."""
        self._closing.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _forget(self, folder: Path) -> None:
        with self._lock:
            self._running.pop(folder, None)

    def _make(self, masters: Path, folder: Path, make: Make) -> Path:
        if folder.is_dir():
            os.utime(folder)
            return folder
        folder.parent.mkdir(exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            make(masters, part, self._closing)
            part.rename(folder)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        return folder


def unused(made: Path, now: float | None = None) -> bool:
    """Whether nobody has asked lately for what is in a folder of made files."""
    now = time.time() if now is None else now
    try:
        latest = max((one.stat().st_mtime for one in made.iterdir()), default=0.0)
    except OSError:
        return False
    return now - latest > _RECENT


def stem_key(stem: str, format: AudioFormat) -> str:
    """The folder of a stem in a format."""
    return f"stem-{format.extension}-{format.subtype}-{stem}"


def make_stem(stem: str, format: AudioFormat) -> Make:
    """Write `STEM.EXT`."""

    def make(folder: Path, target: Path, cancel: threading.Event) -> None:
        facts = load(folder)
        output = _OneOfSeveral(
            Plan(target, "song", target, {stem: target / f"{stem}.{format.extension}"}, None),
            facts.sample_rate,
            facts.channels,
            format=format,
            tags=facts.tags,
            cover=load_cover(folder),
            cancel=cancel,
        )
        with output:
            blocks = read_together(folder, [stem], facts.blocks)
            for block, peak in zip(blocks, facts.peaks, strict=True):
                _check(cancel)
                output.loudest = max(output.loudest, peak)
                output.write(block)
            output.finish()
            output.commit()

    return make


class _OneOfSeveral(StemOutput):
    """Writes one stem as it is written together with the others: all have the same volume.

    loudest: peak of all stems up to the block that is written next.
    """

    loudest = 0.0

    @property
    def peak(self) -> float:
        """Of all stems, of which this one is written."""
        return max(self.loudest, super().peak)


def make_zip(files: Sequence[Path], title: str, moment: float) -> Make:
    """Write stems.zip of some files, which it holds in a folder named `title`.

    moment: of the files, in seconds since 1970.
    """
    stamp = time.gmtime(max(moment, 315_532_800.0))[:6]  # zip files begin with 1980

    def make(folder: Path, target: Path, cancel: threading.Event) -> None:
        with zipfile.ZipFile(target / "stems.zip", "w", zipfile.ZIP_STORED) as archive:
            for file in files:
                entry = zipfile.ZipInfo(f"{title}/{file.name}", stamp)
                entry.external_attr = 0o644 << 16
                with file.open("rb") as source, archive.open(entry, "w", force_zip64=True) as into:
                    while chunk := source.read(1 << 20):
                        _check(cancel)
                        into.write(chunk)

    return make


def make_activity(folder: Path, target: Path, cancel: threading.Event) -> None:
    """Write the activity as activity.csv, .lab, .txt and .jams; nothing where there is none."""
    activity = load_activity(folder)
    if not activity.sources:
        return
    for suffix in SUFFIXES:
        write_activity(target / f"activity{suffix}", activity)


def make_stem_file(folder: Path, target: Path, cancel: threading.Event) -> None:
    """Write song.stem.mp4: the song and its four stems. Raises OutputError for other songs."""
    facts = load(folder)
    check_stem_file(facts)
    with create_stem_file(
        target / "song.stem.mp4", facts.sample_rate, tags=facts.tags, cover=load_cover(folder)
    ) as writer:
        for blocks in read_together(folder, STEM_NAMES, facts.blocks):
            _check(cancel)
            writer.write(blocks)


def check_stem_file(facts: Masters) -> None:
    """Raise OutputError unless a song fits into a .stem.mp4."""
    if set(facts.stems) != set(STEM_NAMES) - {MIXTURE}:
        raise OutputError(
            "A .stem.mp4 holds vocals, drums, bass and other: separate the song into these four."
        )
    if facts.channels > 2:
        raise OutputError("A .stem.mp4 holds one or two channels, and the song has more.")


def make_remix(what: Remixing) -> Make:
    """Write remix.EXT, and leave only some of the earlier remixes."""

    def make(folder: Path, target: Path, cancel: threading.Event) -> None:
        from stemwise.remix import remix

        facts = load(folder)
        remix(
            {name: master(folder, name) for name in facts.stems},
            target / f"remix.{what.format.extension}",
            what.gains,
            mixture=master(folder, MIXTURE),
            activity=load_activity(folder),
            only_active=what.only_active,
            format=what.format,
            tags=facts.tags,
            cancel=cancel,
        )
        _thin_out(target.parent)

    return make


def _thin_out(made: Path) -> None:
    ready = [one for one in made.glob("remix-*") if one.is_dir()]
    for old in sorted(ready, key=lambda one: one.stat().st_mtime)[: -(REMIXES - 1)]:
        shutil.rmtree(old, ignore_errors=True)


def _check(cancel: threading.Event) -> None:
    if cancel.is_set():
        raise Cancelled("The studio is closing.")


def make_report(title: str) -> Make:
    """Write report.html, which holds small copies of all audio. Raises OutputError if too long."""

    def make(folder: Path, target: Path, cancel: threading.Event) -> None:
        from stemwise.report.multitrack import describe
        from stemwise.report.page import compose
        from stemwise.studio.pictures import DOCUMENT

        masters = load(folder)
        if masters.duration > LONGEST_REPORT:
            raise OutputError(
                f"A page holds songs of up to {LONGEST_REPORT / 60:.0f} minutes: download the "
                "stems, and run `stemwise report` on their folder."
            )
        known = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
        document = describe(
            title=title,
            mixture=master(folder, MIXTURE),
            stems={name: master(folder, name) for name in masters.stems},
            activity=load_activity(folder),
            facts=masters.facts,
            warnings=known["warnings"],
            audio="embedded",
            cancel=cancel,
        )
        (target / "report.html").write_text(compose(document), encoding="utf-8")

    return make
