"""Files of activity: frame tables (.csv), labels (.lab), Audacity label tracks (.txt) and JAMS.

- .csv: header `time,SOURCE,...`, then one row per frame: seconds, probabilities. MedleyDB's
  confidence tables (.lab by name) are of this kind and are recognised by their header.
- .lab: `start end label` per segment; .txt: the same, tab-separated, as Audacity exports it.
- .jams: JAMS 0.3 with one `tag_open` annotation, whose tags are the sources.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from stemwise.activity import Activity, Segments, frame_count
from stemwise.audio.part import PartFile, output_errors
from stemwise.errors import DataError

SUFFIXES = (".csv", ".lab", ".txt", ".jams")
_BEYOND = (
    0.5  # seconds by which labels may outlast their song, e.g. by a frame or a codec's padding
)


def read_file(path: str | Path, frame_rate: float = 100.0) -> Activity:
    """See `stemwise.activity.read_activity`."""
    path = Path(path)
    suffix = _suffix(path)
    text = read_text(path)
    if suffix == ".jams":
        return _read_jams(path, text, frame_rate)
    if text.startswith("time,"):
        return _read_table(path, text)
    if suffix == ".csv":
        raise DataError(f"{path}, line 1: expected the header 'time,SOURCE,...'")
    return _read_lines(path, text, frame_rate)


@dataclass(frozen=True)
class LabelFile:
    """The label file of a song, and how its names become sources.

    Attributes:
        path: the file.
        duration: of the song in seconds; None where it is not known.
        sources: names in the file whose joint activity (their maximum) each source has; empty
            takes the names as they are.
        ignored: other names that the file may hold.
        complete: every name must be in the file (a table of frames); otherwise a name that is not
            there is silent (segments).
        reader: function (path, frame rate) that reads the file.
    """

    path: Path
    duration: float | None = None
    sources: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    complete: bool = False
    reader: Callable[[Path, float], Activity] = read_file

    def read(self, frame_rate: float = 100.0) -> Activity:
        """Activity of the sources, as long as the song; tables of frames keep their own rate.

        Raises DataError for a name that is neither a source nor ignored, and for labels that end
        more than a second after the song.
        """
        found = self.reader(self.path, frame_rate)
        if self.duration is not None:
            if found.duration > self.duration + _BEYOND:
                raise DataError(
                    f"{self.path} has labels up to {found.duration:.2f} s, but its song ends at "
                    f"{self.duration:.2f} s: is it the label file of another song?"
                )
            found = _fit(found, self.duration)
        return self._named(found) if self.sources else found

    def _named(self, found: Activity) -> Activity:
        known = {name for names in self.sources.values() for name in names}
        for name in found.sources:
            if name not in known and name not in self.ignored:
                raise DataError(
                    f"{self.path} has the unknown label '{name}'; expected "
                    f"{', '.join(sorted(known | set(self.ignored)))}"
                )
        if self.complete and (missing := sorted(known - set(found.sources))):
            raise DataError(f"{self.path} has no column '{missing[0]}'; get the label file again")
        rows = np.zeros((len(self.sources), found.probabilities.shape[1]), np.float32)
        for row, names in zip(rows, self.sources.values(), strict=True):
            for name in names:
                if name in found.sources:
                    np.maximum(row, found[name], out=row)
        return replace(found, sources=tuple(self.sources), probabilities=rows)


def _fit(activity: Activity, duration: float) -> Activity:
    """The activity with frames for `duration` seconds at least: silence behind its last label."""
    missing = frame_count(duration, activity.frame_rate) - activity.probabilities.shape[1]
    if missing <= 0:
        return activity
    rows = np.pad(activity.probabilities, ((0, 0), (0, missing)))
    return replace(activity, probabilities=rows, duration=duration)


def read_text(path: Path) -> str:
    """The text of a label or metadata file; raises DataError."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not a text file (it is not UTF-8)") from error


def write_file(
    path: str | Path,
    activity: Activity,
    threshold: float,
    minimum: float,
    staging: Path | None = None,
) -> None:
    """See `stemwise.activity.write_activity`."""
    path = Path(path)
    suffix = _suffix(path)
    if suffix == ".csv":
        text = _table(activity)
    else:
        segments = activity.segments(threshold, minimum)
        if suffix == ".jams":
            text = _jams(activity, segments)
        else:
            text = _lines(segments, "\t" if suffix == ".txt" else " ")
    with PartFile(path, staging) as part, output_errors(path):
        part.temporary.write_bytes(text.encode("utf-8"))


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path} is no activity file: its name must end in {', '.join(SUFFIXES)}")
    return suffix


def _table(activity: Activity) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(["time", *activity.sources])
    line = "%.6f" + ",%.4f" * len(activity.sources) + "\n"
    rows = np.column_stack([activity.times, activity.probabilities.T]).tolist()
    out.writelines(line % tuple(row) for row in rows)
    return out.getvalue()


def _read_table(path: Path, text: str) -> Activity:
    rows = csv.reader(io.StringIO(text))
    sources = tuple(next(rows)[1:])
    if not sources or len(set(sources)) != len(sources):
        raise DataError(f"{path}, line 1: the header must name every source once")
    table = _numbers(text, len(sources) + 1)
    if table is None:
        table = _numbers_by_line(path, [*rows], len(sources) + 1)
    times = table[:, 0]
    frame_rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 1.0
    _check_grid(path, times, frame_rate)
    probabilities = np.ascontiguousarray(table[:, 1:].T, np.float32)
    return Activity(sources, probabilities, float(frame_rate), len(times) / float(frame_rate))


def _numbers(text: str, columns: int) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    """The rows (frame, column) below the header; None where something is wrong with them."""
    body = text.partition("\n")[2]
    if not body.strip():
        return None
    try:
        table = np.loadtxt(io.StringIO(body), delimiter=",", comments=None, ndmin=2)
    except ValueError:
        return None
    fits = table.shape[1] == columns and np.isfinite(table).all()
    if not fits or not (np.diff(table[:, 0]) > 0).all():
        return None
    return table if ((table[:, 1:] >= 0) & (table[:, 1:] <= 1)).all() else None


def _numbers_by_line(
    path: Path, rows: list[list[str]], columns: int
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The same, slower, with the line of what is wrong."""
    values: list[list[float]] = []
    for line, row in enumerate(rows, 2):
        if not row:
            continue
        if len(row) != columns:
            raise DataError(f"{path}, line {line}: {len(row)} columns, expected {columns}")
        numbers = [_number(path, line, cell) for cell in row]
        if any(not 0 <= number <= 1 for number in numbers[1:]):
            raise DataError(f"{path}, line {line}: a probability is outside 0 to 1")
        if values and numbers[0] <= values[-1][0]:
            raise DataError(f"{path}, line {line}: the times do not increase")
        values.append(numbers)
    if not values:
        raise DataError(f"{path} has no frames below its header")
    return np.array(values)


def _check_grid(path: Path, times: np.ndarray[Any, np.dtype[np.float64]], rate: float) -> None:
    # times are printed with four decimals or more, so they may be off by half of the last one
    off = np.flatnonzero(np.abs(times - np.arange(len(times)) / rate) > 2e-4)
    if len(off):
        raise DataError(
            f"{path}, line {int(off[0]) + 2}: the frames must start at 0 and be evenly spaced"
        )


def _lines(segments: Segments, separator: str) -> str:
    every = sorted((start, end, name) for name, spans in segments.items() for start, end in spans)
    return "".join(
        f"{start:.6f}{separator}{end:.6f}{separator}{name}\n" for start, end, name in every
    )


def _read_lines(path: Path, text: str, frame_rate: float) -> Activity:
    segments: Segments = {}
    duration = 0.0
    for line, content in enumerate(text.splitlines(), 1):
        # Audacity puts frequency ranges on lines of their own that begin with a backslash
        if not content.strip() or content.startswith("\\"):
            continue
        cells = content.split(None, 2)
        if len(cells) < 3:
            raise DataError(f"{path}, line {line}: expected 'start end label'")
        start, end = _number(path, line, cells[0]), _number(path, line, cells[1])
        if not 0 <= start <= end:
            raise DataError(f"{path}, line {line}: expected 0 <= start <= end")
        segments.setdefault(cells[2].strip(), []).append((start, end))
        duration = max(duration, end)
    return Activity.from_segments(segments, duration, frame_rate)


def _number(path: Path, line: int, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{path}, line {line}: '{cell}' is not a number")
    return value


def _jams(activity: Activity, segments: Segments) -> str:
    data = [
        {"time": round(start, 6), "duration": round(end - start, 6), "value": name,
         "confidence": None}
        for name, spans in segments.items()
        for start, end in spans
    ]  # fmt: skip
    annotation = {
        "namespace": "tag_open",
        "annotation_metadata": {
            "curator": {"name": "", "email": ""},
            "annotator": {},
            "version": "",
            "corpus": "",
            "annotation_tools": "stemwise",
            "annotation_rules": "",
            "validation": "",
            "data_source": "program",
        },
        "data": sorted(data, key=lambda item: (item["time"], item["value"])),
        "sandbox": {"sources": list(activity.sources)},
        "time": 0,
        "duration": activity.duration,
    }
    document = {
        "annotations": [annotation],
        "file_metadata": {
            "title": "",
            "artist": "",
            "release": "",
            "duration": activity.duration,
            "identifiers": {},
            "jams_version": "0.3.4",
        },
        "sandbox": {},
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _read_jams(path: Path, text: str, frame_rate: float) -> Activity:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from error
    try:
        return _from_jams(path, document, frame_rate)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path} does not follow JAMS: {error!r}") from error


def _from_jams(path: Path, document: Any, frame_rate: float) -> Activity:
    kinds = ("tag_open", "segment_open")
    annotations = [one for one in document["annotations"] if one["namespace"] in kinds]
    if not annotations:
        raise DataError(f"{path} has no annotation of the namespaces {' and '.join(kinds)}")
    segments: Segments = {}
    duration = float(document["file_metadata"]["duration"] or 0)
    for annotation in annotations:
        for name in annotation.get("sandbox", {}).get("sources", []):
            segments.setdefault(str(name), [])
        for item in annotation["data"]:
            start, end = float(item["time"]), float(item["time"]) + float(item["duration"])
            segments.setdefault(str(item["value"]), []).append((start, end))
            duration = max(duration, end)
    return Activity.from_segments(segments, duration, frame_rate)
