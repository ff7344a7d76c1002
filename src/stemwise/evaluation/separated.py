"""Estimates that a model computes while it is scored: no stems are left behind.

BSS Eval reads its audio twice and separating is far dearer than writing, so a song is separated
once, block by block, into temporary files of the samples that are scored; these are removed with
the song's scores. Memory stays that of the engine, whatever the song's length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemwise.audio import AudioFormat, create_audio
from stemwise.data.track import Part
from stemwise.evaluation.pairs import Pair
from stemwise.evaluation.problems import ACCOMPANIMENT, VOCALS
from stemwise.evaluation.signals import Check, FileSignals, survey

if TYPE_CHECKING:
    from stemwise.separation import Engine, Progress


class Separated:
    """A trained model as the estimator of `evaluate_set`; lives in the calling process.

    name: of the model, for the records.
    """

    shared = True

    def __init__(self, name: str | Path, engine: Engine, *, quantised: bool = True) -> None:
        self.name, self.engine, self.quantised = str(name), engine, quantised
        self.sources: tuple[str, ...] = tuple(engine.separator.sources)
        self.follow: Callable[[Pair], Progress | None] = lambda pair: None
        """Gives the callback that is told how far a track is."""

    def to_json(self) -> dict[str, Any]:
        """The network, a hash of its weights, what computes it: all that decides about stems."""
        from stemwise.models.digest import weights_digest

        return {
            "model": self.name,
            "network": self.engine.separator.kind,
            "weights": weights_digest(self.engine.separator),
            "device": str(self.engine.device),
            "runtime": self.engine.runtime,
            "precision": self.engine.precision,
        }

    def __call__(self, pair: Pair, folder: Path, check: Check) -> Mapping[str, tuple[Part, ...]]:
        """Separate a track's mixture into files in `folder`; returns their places."""
        mixture = {"mixture": mixture_of(pair)}
        found = survey(mixture, pair.channels, folder, "mixture", quantised=False, check=check)
        samples = found.lengths["mixture"]
        song = FileSignals(found.parts, pair.channels, samples, self.quantised, check)
        format = AudioFormat("wav", "int16" if self.quantised else "float32")
        places = {name: folder / f"separated-{name}.wav" for name in self.sources}
        with ExitStack() as opened:
            writers = [
                opened.enter_context(
                    create_audio(place, pair.sample_rate, pair.channels, format=format)
                )
                for place in places.values()
            ]
            stream = self.engine.stream(
                _blocks(song), pair.sample_rate, pair.channels, total=samples,
                progress=self.follow(pair),
            )  # fmt: skip
            for block in stream:
                check()
                for writer, stem in zip(writers, block.stems, strict=True):
                    writer.write(stem)
        return {name: (Part(place),) for name, place in places.items()}


def mixture_of(pair: Pair) -> tuple[Part, ...]:
    """The parts of a track's mixture: its own file, or all references where it has none."""
    if pair.mixture:
        return pair.mixture
    stems = [name for name in pair.references if name != ACCOMPANIMENT]
    if stems == [VOCALS]:
        stems = list(pair.references)
    return tuple(part for name in stems for part in pair.references[name])


def _blocks(song: FileSignals) -> Iterator[np.ndarray]:
    for block in song.blocks():
        yield np.ascontiguousarray(block[0], np.float32)
