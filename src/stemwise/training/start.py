"""What a run was started with besides its recipe, kept in its folder so that it can go on alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from stemwise.audio.part import PartFile, output_errors
from stemwise.data.places import Place, of_split
from stemwise.data.track import SelfLabelled, Song, Track
from stemwise.errors import DataError, OutputError

FILE = "run.yaml"
"""Name of the file in a run's folder."""


@dataclass(frozen=True)
class Start:
    """Where the songs of a run are.

    Attributes:
        data: training sets by name.
        validation: sets of held-out songs by name; empty: those that the training sets hold out.
        held_out: songs of the training sets that are held out besides, by set.
        labelled: whether songs in files that have stems but no activity labels get labels made
            from their stems, anew in every run.
    """

    data: Mapping[str, Place]
    validation: Mapping[str, Place] = field(default_factory=dict)
    held_out: Mapping[str, Sequence[str]] = field(default_factory=dict)
    labelled: bool = False

    def songs(self) -> tuple[dict[str, list[Song]], dict[str, list[Song]]]:
        """Songs to train on, and held-out songs of the sets that have any, by set.

        Raises DataError for a set without songs for its purpose.
        """
        every = {name: self._read(place) for name, place in self.data.items()}
        kept = {name: set(self.held_out.get(name, ())) for name in every}
        train = {
            name: [song for song in of_split(songs, "train") if song.name not in kept[name]]
            for name, songs in every.items()
        }
        if self.validation:
            held = {name: self._read(place) for name, place in self.validation.items()}
            held = {name: of_split(songs, "validation") for name, songs in held.items()}
        else:
            held = {
                name: [s for s in songs if s.split == "validation" or s.name in kept[name]]
                for name, songs in every.items()
            }
            held = {name: songs for name, songs in held.items() if songs}
        for found, split in ((train, "train"), (held, "validation")):
            for name, songs in found.items():
                if not songs:
                    raise DataError(f"the data set '{name}' has no song of the split '{split}'")
        return train, held

    def _read(self, place: Place) -> list[Song]:
        songs = place.songs()
        return [label_by_stems(song) for song in songs] if self.labelled else songs

    def write(self, folder: Path) -> None:
        """Write `run.yaml`."""
        values = {
            "data": _plain(self.data),
            "validation": _plain(self.validation),
            "held_out": {name: list(songs) for name, songs in self.held_out.items()},
            "labelled": self.labelled,
        }
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        with PartFile(folder / FILE) as part, output_errors(part.path):
            part.temporary.write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Start:
        """Read `run.yaml`; OutputError where the folder holds no run that can go on."""
        path = folder / FILE
        if not path.is_file():
            raise OutputError(f"{folder} holds no run to resume: there is no {FILE}")
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
            data, validation = (
                {name: Place(**place) for name, place in values[key].items()}
                for key in ("data", "validation")
            )
            return cls(data, validation, values["held_out"], values.get("labelled", False))
        except (yaml.YAMLError, AttributeError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise OutputError(
                f"{path} cannot be understood: name the data sets again with --data"
            ) from error


def label_by_stems(song: Song) -> Song:
    """The song with labels made from its stems, where it is in files and has stems but no labels.

    Labels compare stems with each other: a single one tells nothing. Stores are left as they are:
    `stemwise prepare --labels` makes their labels once and for all.
    """
    if isinstance(song, Track) and song.activity is None and len(song.stems) > 1:
        return SelfLabelled.of(song)
    return song


def absolute(places: Mapping[str, Place]) -> dict[str, Place]:
    """The same places, wherever a later command is started."""
    return {
        name: place
        if "://" in place.where
        else Place(place.kind, str(Path(place.where).expanduser().resolve()))
        for name, place in places.items()
    }


def hold_out(songs: Sequence[Song], share: float, seed: int) -> list[str]:
    """Names of a random share of songs, at least one of two or more, and none of a single one."""
    count = min(len(songs) - 1, max(1, round(share * len(songs))))
    order = np.random.default_rng(seed).permutation(len(songs))
    return sorted(songs[k].name for k in order[:count])


def _plain(places: Mapping[str, Place]) -> dict[str, Any]:
    return {name: {"kind": one.kind, "where": one.where} for name, one in places.items()}
