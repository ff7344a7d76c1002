"""All data sets by name: which reader reads a folder, and which data set a folder is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stemwise.data import ccmixter, dsd100, folder, ikala, jamendo, medleydb, musdb18, rwc
from stemwise.data.reading import root_folder
from stemwise.data.track import Track
from stemwise.errors import DataError, hint


class Reader(Protocol):
    """Lists the tracks of a data set; see `read_set`."""

    def __call__(
        self, root: str | Path, split: str | None = None, *, broken: list[str] | None = None
    ) -> list[Track]:
        """Tracks sorted as the data set sorts them."""


@dataclass(frozen=True)
class DataSet:
    """A data set as it lies on disk.

    Attributes:
        title: its name in print.
        layout: what its folder looks like.
        read: its reader.
        fits: whether a folder is laid out like it.
        splits: splits it has.
        gives: sources of its stems or labels.
    """

    title: str
    layout: str
    read: Reader
    fits: Callable[[Path], bool]
    splits: tuple[str, ...]
    gives: str


_FOUR = "stems: vocals, drums, bass, other"
_TWO = "stems: vocals, accompaniment"
_INSTRUMENTS = "stems by instrument, labels of each"
_ALL = ("train", "validation", "test")

SETS: dict[str, DataSet] = {
    "musdb18": DataSet(
        "MUSDB18", musdb18.LAYOUT, musdb18.read_musdb18, musdb18.fits_musdb18, _ALL, _FOUR
    ),
    "musdb18hq": DataSet(
        "MUSDB18-HQ", musdb18.HQ_LAYOUT, musdb18.read_musdb18hq, musdb18.fits_musdb18hq, _ALL, _FOUR
    ),
    "dsd100": DataSet(
        "DSD100", dsd100.LAYOUT, dsd100.read_dsd100, dsd100.fits_dsd100, ("train", "test"), _FOUR
    ),
    "medleydb": DataSet(
        "MedleyDB", medleydb.LAYOUT, medleydb.read_medleydb, medleydb.fits_medleydb, (),
        _INSTRUMENTS,
    ),
    "mixing_secrets": DataSet(
        "Mixing Secrets", medleydb.LAYOUT, medleydb.read_medleydb, medleydb.fits_mixing_secrets,
        (), _INSTRUMENTS,
    ),
    "ccmixter": DataSet(
        "CCMixter", ccmixter.LAYOUT, ccmixter.read_ccmixter, ccmixter.fits_ccmixter, (), _TWO
    ),
    "ikala": DataSet("iKala", ikala.LAYOUT, ikala.read_ikala, ikala.fits_ikala, (), _TWO),
    "jamendo": DataSet(
        "Jamendo", jamendo.LAYOUT, jamendo.read_jamendo, jamendo.fits_jamendo, _ALL,
        "labels of vocals",
    ),
    "rwc": DataSet("RWC-Pop", rwc.LAYOUT, rwc.read_rwc, rwc.fits_rwc, (), "labels of vocals"),
    "folder": DataSet(
        "plain folder", folder.LAYOUT, folder.read_folder, folder.fits_folder, _ALL,
        "whatever stems and labels are there",
    ),
}  # fmt: skip
"""Every data set by its kind, the plain folder last: it fits most."""

READERS: dict[str, Reader] = {kind: one.read for kind, one in SETS.items()}


def read_set(
    kind: str, root: str | Path, split: str | None = None, *, broken: list[str] | None = None
) -> list[Track]:
    """List the tracks of a data set.

    Args:
        kind: one of READERS.
        root: its folder.
        split: only "train", "validation" or "test", where it has that; None takes all tracks.
        broken: where to put the sentences on tracks that cannot be used, which are then left out;
            None raises the first of them.

    Raises:
        DataError: an unknown kind, a folder that is not this data set (with the one that it looks
            like), a broken track.
    """
    root = Path(root)
    if kind not in SETS:
        raise DataError(f"unknown kind of data set '{kind}': {hint(kind, list(SETS))}")
    root_folder(root)
    if not SETS[kind].fits(root):
        raise DataError(_mismatch(kind, root))
    return READERS[kind](root, split, broken=broken)


def detect_kind(root: str | Path) -> str:
    """The kind of data set that a folder is laid out as; raises DataError where it is none."""
    root = root_folder(root)
    for kind, one in SETS.items():
        if one.fits(root):
            return kind
    raise DataError(f"{root} is no data set that is known: {_layouts()}")


def _mismatch(kind: str, root: Path) -> str:
    wanted = SETS[kind]
    start = f"{root} is not {wanted.title}, which looks like {wanted.layout}"
    for other, one in SETS.items():
        if other != kind and one.fits(root):
            return f"{start}; it looks like {one.title}: use the kind '{other}'"
    return f"{start}; nor is it any other known data set, check the path"


def _layouts() -> str:
    return "; ".join(f"{kind}: {one.layout}" for kind, one in SETS.items())
