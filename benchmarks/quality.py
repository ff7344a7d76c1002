"""How well a model separates and detects: real clips, held-out renders, songs without vocals.

    python benchmarks/quality.py --model band --songs RENDERED/held-out --out docs/benchmarks

Real clips come from $STEMWISE_REAL_AUDIO (two excerpts with four stems) and are only reported: no
choice of the recipe was made on them. SDR is that of the whole excerpt, both channels together:
10 log10(|reference|^2 / |reference - estimate|^2).
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from stemwise.activity import Activity, confidence_from_stems, read_activity
from stemwise.audio import read, read_stem_file
from stemwise.band.render import render_song
from stemwise.evaluation.detection import au_roc
from stemwise.models import load
from stemwise.separation import Engine, Options

STEMS = ("vocals", "drums", "bass", "other")


@dataclass
class Song:
    """A mixture's stems (channel, sample) and, where it has them, its labels."""

    name: str
    sample_rate: int
    stems: dict[str, np.ndarray]
    labels: Activity | None = None

    @property
    def mixture(self) -> np.ndarray:
        total: np.ndarray = sum(self.stems[name] for name in STEMS)  # type: ignore[assignment]
        return total


def real_clips(folder: Path) -> Iterator[Song]:
    """The two real excerpts with four stems."""
    stems = read_stem_file(next(folder.glob("Music Delta*.stem.mp4")))
    rate = stems["vocals"].sample_rate
    yield Song("Music Delta - 80s Rock", rate, {name: stems[name].samples for name in STEMS})
    files = {name: read(folder / "iosr" / f"{file}.wav") for name, file in IOSR.items()}
    rate = files["vocals"].sample_rate
    yield Song("iosr", rate, {name: audio.samples for name, audio in files.items()})


IOSR = {"vocals": "vox", "drums": "drums", "bass": "bass", "other": "other"}


def rendered_songs(folder: Path) -> Iterator[Song]:
    """Songs as `stemwise render` leaves them."""
    for directory in sorted(path for path in folder.iterdir() if (path / "song.json").exists()):
        stems = {name: read(next(directory.glob(f"{name}.*"))) for name in STEMS}
        labels = read_activity(directory / "activity.csv")
        rate = stems["vocals"].sample_rate
        yield Song(directory.name, rate, {n: a.samples for n, a in stems.items()}, labels)


def special_songs(count: int) -> Iterator[Song]:
    """Held-out rendered songs without vocals, then songs of nothing but vocals."""
    for kind in ("instrumental", "a_cappella"):
        for seed in range(count):
            rendered = render_song(
                7000 + seed, family="sampled", sample_rate=22050, held_out=True, **{kind: True}
            )
            stems = {name: rendered.stems[name] for name in STEMS}
            yield Song(f"{kind} {seed}", 22050, stems)


def power_db(x: np.ndarray) -> float:
    """Mean power in dB."""
    return float(10 * np.log10(np.mean(np.square(x, dtype=np.float64)) + 1e-12))


def sdr(reference: np.ndarray, estimate: np.ndarray) -> float | None:
    """Whole-excerpt signal-to-distortion ratio in dB; None for a silent reference."""
    if power_db(reference) < -70:
        return None
    return power_db(reference) - power_db(reference - estimate)


def separate(engine: Engine, song: Song) -> tuple[dict[str, np.ndarray], Activity]:
    """Estimated stems and activity of a song."""
    rate, mixture = song.sample_rate, song.mixture
    size = rate * 5
    chunks = (mixture[:, i : i + size] for i in range(0, mixture.shape[-1], size))
    blocks = list(engine.stream(chunks, rate, len(mixture)))
    stems = np.concatenate([block.stems for block in blocks], axis=-1)
    frames = np.concatenate([block.activity for block in blocks], axis=-1)
    separator = engine.separator
    activity = Activity(
        separator.activity_sources, frames, separator.frame_rate, mixture.shape[-1] / rate
    )
    return dict(zip(separator.sources, stems, strict=True)), activity


def score(engine: Engine, song: Song) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures of one song, and (scores, labels) per source for pooled AU-ROC."""
    estimates, activity = separate(engine, song)
    stems = {**song.stems, "accompaniment": song.mixture - song.stems["vocals"]}
    estimates["accompaniment"] = song.mixture - estimates["vocals"]
    result: dict[str, Any] = {"name": song.name}
    result["sdr"] = {name: sdr(stems[name], estimates[name]) for name in stems}
    result["level"] = {
        name: power_db(estimates[name]) - power_db(song.mixture) for name in estimates
    }
    result["silent"] = [name for name in stems if power_db(stems[name]) < -70]
    labels = song.labels or confidence_from_stems(song.stems, song.sample_rate)
    aligned = labels.resample(activity.frame_rate, activity.duration)
    pooled = {}
    for row, name in enumerate(activity.sources):
        frames = activity.probabilities[row]
        truth = aligned.probabilities[list(aligned.sources).index(name)][: len(frames)] > 0.5
        pooled[name] = (frames[: len(truth)], truth)
    result["auc"] = {name: au_roc(*pair) for name, pair in pooled.items()}
    return result, pooled


def evaluate(engine: Engine, songs: Iterator[Song]) -> dict[str, Any]:
    """Scores of each song, their means, and AU-ROC pooled over all frames."""
    rows, pools = [], []
    for song in songs:
        row, pooled = score(engine, song)
        rows.append(row)
        pools.append(pooled)
        shown = {k: None if v is None else round(v, 1) for k, v in row["sdr"].items()}
        print(f"{row['name'][:28]:28s} {shown} AUC {row['auc']['vocals']}", flush=True)
    if not rows:
        return {}
    names = [*STEMS, "accompaniment"]
    mean = {n: _mean(row["sdr"][n] for row in rows) for n in names}
    auc = {
        name: au_roc(*(np.concatenate([pool[name][i] for pool in pools]) for i in (0, 1)))
        for name in pools[0]
    }
    return {
        "songs": rows,
        "mean_sdr": mean,
        "auc": auc,
        "ghost_vocals": _mean(r["level"]["vocals"] for r in rows if "vocals" in r["silent"]),
        "ghost_accompaniment": _mean(
            r["level"]["accompaniment"] for r in rows if "accompaniment" in r["silent"]
        ),
    }


def _mean(values: Iterator[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return fmean(present) if present else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="band")
    parser.add_argument("--songs", type=Path, nargs="*", default=[])
    parser.add_argument("--phase", default="mixture")
    parser.add_argument("--gate", default="off")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--special", type=int, default=0, help="instrumentals and a cappellas")
    parser.add_argument("--limit", type=int, default=None, help="songs of each folder")
    parser.add_argument("--out", type=Path, help="folder for quality.json")
    args = parser.parse_args()
    options = Options(phase=args.phase, gate=args.gate, precision=args.precision)
    engine = Engine(load(args.model, sample_rate=44100), options)
    results: dict[str, Any] = {}
    real = os.environ.get("STEMWISE_REAL_AUDIO")
    if real:
        results["real clips"] = evaluate(engine, real_clips(Path(real)))
    small = Engine(load(args.model, sample_rate=22050), options)
    if args.special:
        results["without vocals, vocals alone"] = evaluate(small, special_songs(args.special))
    for folder in args.songs:
        songs = list(rendered_songs(folder))[: args.limit]
        results[folder.name] = evaluate(small, iter(songs))
    for name, result in results.items():
        print(name, {k: v for k, v in result.items() if k != "songs"})
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "quality.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
