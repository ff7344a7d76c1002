"""RWC Popular Music (Goto et al., 2002) with AIST's annotation of singing and solo instruments.

mirdata reads its other annotations, but not when somebody sings.
"""

from __future__ import annotations

import re
from pathlib import Path

from stemwise.activity import Activity, Segments
from stemwise.activity_files import LabelFile, read_text
from stemwise.data.reading import (
    audio_files,
    check_split,
    collect,
    entries,
    find_file,
    make_track,
    no_tracks,
    root_folder,
)
from stemwise.data.track import Part, Track
from stemwise.errors import DataError

LAYOUT = "audio/rwc-p-m0{1..7}/N.wav and AIST.RWC-MDB-P-2001.VOCA_INST/RM-Pnnn.VOCA_INST.TXT"
LABELS = "AIST.RWC-MDB-P-2001.VOCA_INST"
FIRST_PIECES = (1, 17, 33, 49, 65, 81, 91)
"""Number of the first piece on each of the seven discs; the discs' tracks count from 1."""


def fits_rwc(root: Path) -> bool:
    """Whether the folder is laid out as RWC-Pop."""
    return any((root / "audio").glob("rwc-p-m0*"))


def read_rwc(
    root: str | Path, split: str | None = None, *, broken: list[str] | None = None
) -> list[Track]:
    """The pieces of RWC-Pop, which has no splits: mixtures with labels of vocals.

    Raises DataError; see `stemwise.data.sets.read_set` for `broken`.
    """
    root = root_folder(root)
    check_split(root, split, ())
    pieces = [
        path
        for folder in (entries(root / "audio") if (root / "audio").is_dir() else [])
        if re.fullmatch(r"rwc-p-m0[1-7]", folder.name.lower()) and folder.is_dir()
        for path in audio_files(folder)
    ]
    if not pieces:
        raise no_tracks(root, "RWC-Pop", LAYOUT)
    return collect(sorted(pieces, key=_order), lambda path: _piece(root, path), broken)


def _order(path: Path) -> tuple[str, int, str]:
    return path.parent.name, int(path.stem) if path.stem.isdigit() else 0, path.name


def _piece(root: Path, path: Path) -> Track:
    if not path.stem.isdigit():
        raise DataError(f"{path} is not named by its track number, e.g. 1.wav; rename it")
    number = FIRST_PIECES[int(path.parent.name[-1]) - 1] + int(path.stem) - 1
    name = f"RM-P{number:03d}"
    for folder in (root / LABELS, root / "annotations" / LABELS):
        label = find_file(folder, f"{name}.VOCA_INST.TXT")
        if label is not None:
            labels = LabelFile(label, reader=read_vocal_states)
            return make_track(name, "", {}, (Part(path),), labels)
    raise DataError(f"{path} has no {LABELS}/{name}.VOCA_INST.TXT; get it, or remove the piece")


def read_vocal_states(path: Path, frame_rate: float = 100.0) -> Activity:
    """Vocals in a file of lines 'seconds, tab, state', where a state lasts until the next line.

    States: 'm:...' a man sings, 'f:...' a woman, any other letter other voices; 's:...' an
    instrument has a solo, 'b' neither, 'e' is the end. Raises DataError with the line.
    """
    rows: list[tuple[float, str]] = []
    for line, text in enumerate(read_text(path).splitlines(), 1):
        if not text.strip():
            continue
        cells = text.split("\t", 1)
        time = _seconds(cells[0])
        state = cells[-1].strip()
        if len(cells) < 2 or time is None:
            raise DataError(f"{path}, line {line}: expected seconds, a tab and a state")
        if rows and time < rows[-1][0]:
            raise DataError(f"{path}, line {line}: the times decrease")
        if not re.match(r"[be]$|[a-z]:", state):
            raise DataError(
                f"{path}, line {line}: unknown state '{state}'; expected b, e, or m:, f:, s: ..."
            )
        rows.append((time, state))
    if not rows:
        raise DataError(f"{path} holds no states")
    ends = [time for time, _ in rows[1:]] + [rows[-1][0]]
    spans = [
        (time, end)
        for (time, state), end in zip(rows, ends, strict=True)
        if ":" in state and not state.startswith("s:")
    ]
    segments: Segments = {"vocals": spans}
    return Activity.from_segments(segments, rows[-1][0], frame_rate)


def _seconds(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None
