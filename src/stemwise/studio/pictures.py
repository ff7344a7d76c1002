"""What the player shows of a song, measured once: the multitrack document and its spectrograms."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path

from stemwise.activity import Activity
from stemwise.report.multitrack import describe
from stemwise.studio.masters import MIXTURE, Masters, master

DOCUMENT = "multitrack.json"


def spectrogram(folder: Path, track: str) -> Path:
    """The picture of a track."""
    return folder / f"{track}.png"


def picture(
    folder: Path,
    id: str,
    title: str,
    masters: Masters,
    activity: Activity,
    warnings: Sequence[str],
    cancel: threading.Event,
) -> None:
    """Measure the masters in `folder` and write multitrack.json and a PNG for every track.

    id: of the job, for the addresses in the document. Raises AudioError, and Cancelled soon after
    `cancel` is set.
    """

    def place(track: str, png: bytes) -> str:
        spectrogram(folder, track).write_bytes(png)
        return f"/api/jobs/{id}/spectrograms/{track}.png"

    document = describe(
        title=title,
        mixture=master(folder, MIXTURE),
        stems={stem: master(folder, stem) for stem in masters.stems},
        activity=activity,
        facts=masters.facts,
        warnings=warnings,
        audio={track: f"/api/jobs/{id}/audio/{track}.wav" for track in (MIXTURE, *masters.stems)},
        picture=place,
        cancel=cancel,
    )
    (folder / DOCUMENT).write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
