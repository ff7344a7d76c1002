"""Renders whole songs, in memory or as a folder of tracks: `python -m stemwise.band.render`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import multiprocessing.connection
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stemwise.audio import Audio, write
from stemwise.audio.part import PartFile, output_errors
from stemwise.band.bass import play_bass
from stemwise.band.drums import play_drums
from stemwise.band.effects import Samples, add
from stemwise.band.harmony import play_other
from stemwise.band.mix import CEILING, mix
from stemwise.band.song import BandError, Song, compose
from stemwise.errors import OutputError
from stemwise.processes import is_alive
from stemwise.stem_output import make_folder

STEMS = ("vocals", "drums", "bass", "other")
FAMILIES = ("dsp", "sampled")


@dataclass
class RenderedSong:
    """A mastered song: `stems` and `parts` (instruments of "other") map names to (2, sample)."""

    song: Song
    sample_rate: int
    stems: dict[str, Samples]
    parts: dict[str, Samples] = field(default_factory=dict)
    levels: dict[str, float] = field(default_factory=dict)
    family: str = "dsp"
    held_out: bool = False

    @property
    def mixture(self) -> Samples:
        """The sum of the stems (2, sample), within +-0.99."""
        return add([self.stems[name] for name in STEMS])

    def description(self) -> dict[str, Any]:
        """What `song.json` holds."""
        sections = [
            {"name": s.name, "start": s.start, "end": s.end, "active": sorted(s.active)}
            for s in self.song.sections
        ]
        plain = {
            name: value
            for name, value in dataclasses.asdict(self.song).items()
            if name not in ("chords", "sections", "extras")
        }
        return {
            **plain,
            "family": self.family,
            "held_out": self.held_out,
            "levels": self.levels,
            "sample_rate": self.sample_rate,
            "sections": sections,
        }


def render_song(
    seed: int,
    *,
    family: str = "dsp",
    sample_rate: int = 44100,
    duration: float | None = None,
    held_out: bool = False,
    style: str | None = None,
    instrumental: bool | None = None,
    a_cappella: bool | None = None,
) -> RenderedSong:
    """Compose, play and mix the song of a seed; the same arguments give the same samples.

    `held_out` songs use kits, presets and voices that the others never use. Raises BandError for
    an unknown family or style, or when the sampled instruments are not installed.
    """
    if family not in FAMILIES:
        raise BandError(f"unknown family '{family}': choose one of {', '.join(FAMILIES)}")
    from stemwise.band.vocals import sing  # the singers' word lists load only when needed

    song = compose(
        seed, duration=duration, style=style, instrumental=instrumental, a_cappella=a_cappella
    )
    kits = "held-out" if held_out else "train"
    draws = [np.random.default_rng([seed, 2 + index, int(held_out)]) for index in range(5)]
    parts: dict[str, dict[str, Samples]] = {
        "vocals": {"vocals": sing(song, draws[0], sample_rate, family, kits)},
        "drums": {"drums": play_drums(song, draws[1], sample_rate, family, kits)},
        "bass": {"bass": play_bass(song, draws[2], sample_rate, family, kits)},
        "other": play_other(song, draws[3], sample_rate, family, kits),
    }
    mixed, levels = mix(parts, draws[4], sample_rate, pumping=0.6 * song.character.electronic)
    mixed = _turned_down(mixed, levels)
    stems = {name: add(list(members.values())) for name, members in mixed.items()}
    return RenderedSong(song, sample_rate, stems, dict(mixed["other"]), levels, family, held_out)


def _turned_down(
    mixed: dict[str, dict[str, Samples]], levels: dict[str, float]
) -> dict[str, dict[str, Samples]]:
    """The song quieter as a whole where a stem or part alone is beyond +-1; adjusts its loudness.

    What cancels in the mixture may do so, and 16 bits would wrap it.
    """
    alone = [audio for members in mixed.values() for audio in members.values()]
    alone += [add(list(members.values())) for members in mixed.values()]
    loudest = max(float(np.max(np.abs(audio), initial=0.0)) for audio in alone)
    if loudest <= 1:
        return mixed
    gain = np.float32(CEILING / loudest)
    levels["loudness"] += float(20 * np.log10(gain))
    return {
        name: {part: audio * gain for part, audio in members.items()}
        for name, members in mixed.items()
    }


@dataclass(frozen=True)
class _Job:
    root: str
    seed: int
    index: int
    layout: str
    mixture: bool
    parts: bool
    suffix: str
    options: dict[str, Any]

    @property
    def name(self) -> str:
        return f"band-{self.seed}-{self.index:05d}"

    @property
    def target(self) -> Path:
        return Path(self.root) / (self.name + (".stem.mp4" if self.layout == "stem.mp4" else ""))

    @property
    def record(self) -> Path:
        """Where the description of the song is."""
        if self.layout == "stem.mp4":
            return Path(self.root) / f"{self.name}.song.json"
        return self.target / "song.json"

    @property
    def asked(self) -> dict[str, Any]:
        """Everything that decides what the track holds, apart from its seed."""
        files = {"mixture": self.mixture, "parts": self.parts, "suffix": self.suffix}
        return {**self.options, **(files if self.layout == "folder" else {})}


def render_folder(
    root: str | Path,
    count: int,
    seed: int,
    *,
    layout: str = "folder",
    family: str = "dsp",
    sample_rate: int = 44100,
    duration: float | None = None,
    held_out: bool = False,
    workers: int = 1,
    mixture: bool = True,
    parts: bool = False,
    suffix: str = "flac",
    styles: Sequence[str] | None = None,
    instrumental: bool | None = None,
    a_cappella: bool | None = None,
) -> Iterator[Path]:
    """Render `count` songs below `root`, yielding each track's path as it is finished.

    Layout "folder": `<root>/<track>/{mixture,vocals,drums,bass,other}.flac`, `activity.csv` and
    `song.json`; "stem.mp4": `<root>/<track>.stem.mp4`, `<track>.activity.csv` and
    `<track>.song.json`. Tracks that exist are skipped, so a stopped run can be continued; song i
    depends on (seed, i) only, never on the workers.

    Raises OutputError where a track exists that was rendered otherwise, before anything is
    rendered, and where nothing can be written.
    """
    if layout not in ("folder", "stem.mp4"):
        raise OutputError(f"unknown layout '{layout}': choose folder or stem.mp4")
    if suffix not in ("flac", "wav"):
        raise OutputError(f"unknown stem file type '{suffix}': choose flac or wav")
    make_folder(Path(root))
    options = {
        "family": family,
        "sample_rate": sample_rate,
        "duration": duration,
        "held_out": held_out,
        "instrumental": instrumental,
        "a_cappella": a_cappella,
    }
    jobs = []
    for index in range(count):
        style = styles[index % len(styles)] if styles else None
        job = _Job(
            str(root), seed, index, layout, mixture, parts, suffix, {**options, "style": style}
        )
        if not _is_rendered(job):
            jobs.append(job)
    _sweep(Path(root), jobs)
    if workers <= 1:
        for job in jobs:
            yield _render_track(job)
        return
    # spawned, not forked: the synthesiser library keeps threads and locks of its own
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_follow_parent) as pool:
        try:
            for done in as_completed([pool.submit(_render_track, job) for job in jobs]):
                yield done.result()
        except BrokenProcessPool as error:
            raise BandError(
                "A rendering process was killed, perhaps for want of memory: run the command again "
                "to continue, with fewer workers"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C: songs not begun stay so
            raise


def _is_rendered(job: _Job) -> bool:
    """Whether the track of a job exists; OutputError where it was rendered with other options."""
    other = replace(job, layout="folder" if job.layout == "stem.mp4" else "stem.mp4")
    if other.target.exists():
        raise OutputError(
            f"{other.target} was rendered with the layout '{other.layout}', not '{job.layout}': "
            "choose another folder"
        )
    if not job.target.exists():
        return False
    try:
        told = json.loads(job.record.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(
            f"how {job.target} was rendered cannot be read from {job.record} ({error}): "
            "remove the track, or choose another folder"
        ) from error
    # tracks of earlier versions tell only how the song turned out: None, as composed, fits any
    found, strict = told.get("asked", told), "asked" in told
    for name, wanted in job.asked.items():
        if name in found and found[name] != wanted and (strict or wanted is not None):
            raise OutputError(
                f"{job.target} was rendered with {name.replace('_', ' ')} {found[name]!r}, "
                f"not {wanted!r}: "
                "choose another folder, or the same options"
            )
    return True


def _follow_parent() -> None:
    """End this worker when the process that started it is killed, instead of rendering on."""
    parent = multiprocessing.parent_process()
    if parent is not None:

        def wait(sentinel: int = parent.sentinel) -> None:
            multiprocessing.connection.wait([sentinel])
            os._exit(1)

        threading.Thread(target=wait, daemon=True).start()


def _sweep(root: Path, jobs: Sequence[_Job]) -> None:
    """Remove unfinished tracks that killed processes left behind."""
    names = {job.name for job in jobs}
    for path in root.glob(".band-*.part*"):
        name, _, rest = path.name[1:].partition(".")
        process = rest.split(".", 1)[0]
        if name in names and process.isdigit() and not is_alive(int(process)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def song_seed(seed: int, index: int) -> int:
    """Seed of the song number `index` of a folder."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0] % (2**31))


def _render_track(job: _Job) -> Path:
    """Render one track under a temporary name, then give it its own.

    The labels and the description of a stem file lie beside it and are there first, so that no
    track lacks them.
    """
    from stemwise.activity import confidence_from_stems, write_activity

    rendered = render_song(song_seed(job.seed, job.index), **job.options)
    labels = confidence_from_stems(rendered.stems, rendered.sample_rate)
    temporary = job.target.with_name(f".{job.name}.{os.getpid()}.part")
    try:
        if job.layout == "stem.mp4":
            temporary = temporary.with_name(temporary.name + ".stem.mp4")
            _write_stem_file(temporary, rendered)
            write_activity(job.target.with_name(f"{job.name}.activity.csv"), labels)
            with PartFile(job.record) as part, output_errors(job.record):
                part.temporary.write_text(_description(rendered, job), encoding="utf-8")
        else:
            with output_errors(job.target):
                temporary.mkdir(parents=True)
                _write_folder(temporary, rendered, job)
            write_activity(temporary / "activity.csv", labels)
        with output_errors(job.target):
            os.replace(temporary, job.target)
    except BaseException as error:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)
        if isinstance(error, OutputError):  # it names what the user asked for
            raise OutputError(str(error).replace(str(temporary), str(job.target))) from error
        raise
    return job.target


def _description(rendered: RenderedSong, job: _Job) -> str:
    told = {**rendered.description(), "asked": job.asked}
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def quantised(stems: Mapping[str, Samples]) -> dict[str, npt.NDArray[np.int16]]:
    """16-bit stems, within +-1 as `render_song` makes them, and "mixture", their exact sum."""
    whole = {name: np.round(audio * 32767.0).astype(np.int16) for name, audio in stems.items()}
    total = np.zeros_like(next(iter(whole.values())))
    for audio in whole.values():
        total = total + audio  # the mixture stays within +-0.99, partial sums may wrap and unwrap
    return {**whole, "mixture": total}


def _write_folder(folder: Path, rendered: RenderedSong, job: _Job) -> None:
    for name, audio in quantised(rendered.stems).items():
        if name != "mixture" or job.mixture:
            _write_whole(folder / f"{name}.{job.suffix}", audio, rendered.sample_rate)
    for name, part in rendered.parts.items() if job.parts else ():
        target = folder / "parts" / f"{name}.{job.suffix}"
        target.parent.mkdir(exist_ok=True)
        _write_whole(target, quantised({name: part})[name], rendered.sample_rate)
    (folder / "song.json").write_text(_description(rendered, job), encoding="utf-8")


def _write_whole(path: Path, samples: npt.NDArray[np.int16], sample_rate: int) -> None:
    write(path, Audio(samples / np.float32(32768), sample_rate))  # exact: 16 bits fit a float


def _write_stem_file(path: Path, rendered: RenderedSong) -> None:
    from stemwise.audio import create_stem_file

    blocks = {"mixture": rendered.mixture, **{name: rendered.stems[name] for name in STEMS}}
    with create_stem_file(
        path, rendered.sample_rate, ["mixture", "drums", "bass", "other", "vocals"]
    ) as writer:
        writer.write(blocks)


def _main() -> None:
    parser = argparse.ArgumentParser(
        description="Render songs of the band into a folder of tracks."
    )
    parser.add_argument("root")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--family", choices=FAMILIES, default="dsp")
    parser.add_argument("--sample-rate", type=int, default=44100)
    parser.add_argument("--duration", type=float)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--layout", choices=("folder", "stem.mp4"), default="folder")
    parser.add_argument("--no-mixture", action="store_true")
    parser.add_argument("--parts", action="store_true")
    parser.add_argument("--held-out", action="store_true")
    values = parser.parse_args()
    begun = time.monotonic()
    tracks = render_folder(
        values.root, values.count, values.seed, layout=values.layout, family=values.family,
        sample_rate=values.sample_rate, duration=values.duration, held_out=values.held_out,
        workers=values.workers, mixture=not values.no_mixture, parts=values.parts,
    )  # fmt: skip
    for number, path in enumerate(tracks, 1):
        print(f"{number} {path} {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    _main()
