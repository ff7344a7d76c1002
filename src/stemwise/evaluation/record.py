"""The file of a scored track: museval's schema, and beside it what museval has no place for.

`<folder>/<split>/<track>.json` holds `targets` as museval writes them (tracks without a split go to
`test`, the only folder that museval's aggregation reads) and, under `stemwise`, every score with
its reason and level, the settings, and size and time of the files that were scored. A file is
taken for a finished track only if settings and files are still the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stemwise import __version__
from stemwise.audio import PartFile
from stemwise.audio.part import output_errors
from stemwise.errors import EvaluationError
from stemwise.evaluation.pairs import Pair
from stemwise.evaluation.problems import ACCOMPANIMENT, VOCALS, in_order
from stemwise.evaluation.scores import Score
from stemwise.stem_output import make_folder

FORMAT = 1
MUSEVAL = ("SDR", "SIR", "SAR", "ISR")
NO_SPLIT = "test"


@dataclass(frozen=True)
class TrackScores:
    """All scores of one track.

    notes: what was done to its files, a sentence each. settings: what decides about the scores.
    inputs: size and time of modification of every file, by name. facts: sample rate, seconds,
    solver. again: whether it was read from an earlier run's file.
    """

    name: str
    split: str
    scores: tuple[Score, ...]
    notes: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, list[int]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    elapsed: float = 0.0
    again: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain data in museval's schema, with everything else under `stemwise`."""
        return {
            "targets": museval_targets(self.scores),
            "stemwise": {
                "format": FORMAT,
                "version": __version__,
                "track": self.name,
                "split": self.split,
                "settings": self.settings,
                "inputs": self.inputs,
                "facts": self.facts,
                "elapsed": round(self.elapsed, 3),
                "notes": list(self.notes),
                "scores": [score.to_json() for score in self.scores],
            },
        }


def museval_targets(scores: Sequence[Score]) -> list[dict[str, Any]]:
    """The v4 scores as museval's list of targets.

    A target that was scored in two problems appears once, from its problem of two sources, as
    museval itself does with vocals.
    """
    chosen: dict[str, dict[str, Score]] = {}
    for score in sorted(scores, key=lambda one: -one.problem.count("+")):
        if score.metric in MUSEVAL:
            chosen.setdefault(score.target, {})[score.metric] = score
    return [
        {"name": name, "frames": _frames(chosen[name])}
        for name in in_order(chosen)
        if set(chosen[name]) == set(MUSEVAL)
    ]


def _frames(metrics: dict[str, Score]) -> list[dict[str, Any]]:
    first = metrics[MUSEVAL[0]]
    return [
        {
            "time": time,
            "duration": first.duration,
            "metrics": {name: metrics[name].values[at] for name in MUSEVAL},
        }
        for at, time in enumerate(first.times)
    ]


def record_path(folder: Path, track: Pair | TrackScores) -> Path:
    """Where a track's file belongs."""
    name = track.name.removeprefix(f"{track.split}/") if track.split else track.name
    return folder / (track.split or NO_SPLIT) / f"{name}.json"


def fingerprint(files: Sequence[Path]) -> dict[str, list[int]]:
    """Size in bytes and time of modification in nanoseconds of each file, by its last two names."""
    found = {}
    for file in files:
        status = file.stat()
        key = "/".join(file.parts[-2:])
        while key in found:
            key += "'"
        found[key] = [status.st_size, status.st_mtime_ns]
    return found


def write_record(path: Path, scores: TrackScores) -> None:
    """Write a track's file; it has its name only when it is whole. Raises OutputError."""
    make_folder(path.parent)
    with output_errors(path), PartFile(path) as part:
        text = json.dumps(scores.to_json(), ensure_ascii=False)
        part.temporary.write_text(text + "\n", encoding="utf-8")


def read_finished(
    path: Path, settings: dict[str, Any], inputs: dict[str, list[int]]
) -> TrackScores | None:
    """What an earlier run left of the same files with the same settings; else None.

    Raises EvaluationError for a file of another program, which is not overwritten.
    """
    if not path.exists():
        return None
    content = _parse(path)
    own = content.get("stemwise")
    if not isinstance(own, dict):
        raise EvaluationError(
            f"{path} was not written by stemwise and is left alone: choose another --json folder"
        )
    if own.get("format") != FORMAT or own.get("settings") != settings:
        return None
    return None if own.get("inputs") != inputs else _own(path, own, again=True)


def read_record(path: Path) -> TrackScores:
    """A track's file of any program that writes museval's schema; raises EvaluationError."""
    content = _parse(path)
    own = content.get("stemwise")
    if isinstance(own, dict) and own.get("format") == FORMAT:
        return _own(path, own)
    try:
        scores = _foreign(content["targets"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise EvaluationError(f"{path} does not hold scores in museval's schema") from error
    return TrackScores(path.stem, path.parent.name, scores)


def find_records(root: Path) -> list[Path]:
    """All score files below a folder, sorted; raises EvaluationError where there is none."""
    if not root.is_dir():
        raise EvaluationError(f"{root} is not a folder of scores: check the name")
    found = sorted(
        path
        for path in root.rglob("*.json")
        if not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    if not found:
        raise EvaluationError(f"{root} holds no scores: give the --json folder of a run")
    return found


def _parse(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationError(f"{path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise EvaluationError(f"{path} is not a whole JSON file: remove it") from error
    if not isinstance(content, dict):
        raise EvaluationError(f"{path} does not hold scores in museval's schema")
    return content


def from_facts(own: Mapping[str, Any], *, again: bool = False) -> TrackScores:
    """A track's scores from what `to_json` has under "stemwise".

    Raises KeyError, TypeError or ValueError for anything else.
    """
    return TrackScores(
        str(own["track"]),
        str(own["split"]),
        tuple(Score.from_json(one) for one in own["scores"]),
        tuple(map(str, own["notes"])),
        own["settings"],
        own["inputs"],
        own["facts"],
        float(own["elapsed"]),
        again,
    )


def _own(path: Path, own: dict[str, Any], *, again: bool = False) -> TrackScores:
    try:
        return from_facts(own, again=again)
    except (KeyError, TypeError, ValueError) as error:
        raise EvaluationError(f"{path} was changed by hand or is damaged: remove it") from error


def _foreign(targets: Sequence[dict[str, Any]]) -> tuple[Score, ...]:
    names = [str(target["name"]) for target in targets]
    two = {VOCALS, ACCOMPANIMENT} <= set(names)
    stems = "+".join(in_order(set(names) - {ACCOMPANIMENT}))
    scores = []
    for target in targets:
        name, frames = str(target["name"]), target["frames"]
        # museval scores vocals and accompaniment apart where both are given
        apart = two and name in (VOCALS, ACCOMPANIMENT)
        problem = f"{VOCALS}+{ACCOMPANIMENT}" if apart else stems
        times = tuple(float(frame["time"]) for frame in frames)
        duration = float(frames[0].get("duration", 1.0)) if frames else 1.0
        for metric in MUSEVAL:
            raw = [frame["metrics"].get(metric) for frame in frames]
            values = tuple(math.nan if one is None else float(one) for one in raw)
            values = tuple(one if math.isfinite(one) else math.nan for one in values)
            reasons = tuple("left out" if math.isnan(one) else None for one in values)
            unknown = (math.nan,) * len(values)
            scores.append(Score(name, problem, metric, times, duration, values, unknown, reasons))
    return tuple(scores)
