"""Oracles as estimators of `evaluate_set`: estimates by someone who knows the references."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stemwise.audio import AudioFormat, create_audio
from stemwise.data.track import Part
from stemwise.evaluation.oracle import oracle
from stemwise.evaluation.pairs import Pair
from stemwise.evaluation.problems import summands
from stemwise.evaluation.separated import mixture_of
from stemwise.evaluation.signals import Check, FileSignals, survey

BLOCK = 1 << 20


@dataclass(frozen=True)
class Oracle:
    """One oracle of `oracle.ORACLES`, for every source of a track's references.

    Where vocals are scored against the accompaniment alone, the oracle too has to tell only those
    two apart. It holds one track's references and estimates, float64, at a time.
    """

    name: str
    quantised: bool = True
    shared: bool = False

    def to_json(self) -> dict[str, Any]:
        """What of it decides about the scores."""
        return {"oracle": self.name}

    def __call__(self, pair: Pair, folder: Path, check: Check) -> Mapping[str, tuple[Part, ...]]:
        """Write estimates of all sources into `folder`; returns their places."""
        names = _sources(pair)
        mixed = mixture_of(pair)
        files = {
            name: tuple(
                part
                for one in summands(name, pair.references, tuple(pair.references))
                for part in pair.references[one]
            )
            for name in names
        }
        found = survey(files, pair.channels, folder, "oracle-reference", check=check)
        song = survey({"mixture": mixed}, pair.channels, folder, "oracle-mixture", check=check)
        samples = max(found.lengths.values())
        references = _read(found.parts, pair, samples, self.quantised, check)
        mixture = _read(song.parts, pair, samples, self.quantised, check)[0]
        estimates = oracle(self.name, references, pair.sample_rate, mixture=mixture)
        format = AudioFormat("wav", "int16" if self.quantised else "float32")
        places = {}
        for name, one in zip(names, estimates, strict=True):
            place = folder / f"oracle-{name}.wav"
            with create_audio(place, pair.sample_rate, pair.channels, format=format) as writer:
                for start in range(0, samples, BLOCK):
                    check()
                    writer.write(np.ascontiguousarray(one[:, start : start + BLOCK], np.float32))
            places[name] = (Part(place),)
        return places


def _sources(pair: Pair) -> list[str]:
    """What the oracle tells apart: all stems, or vocals and accompaniment."""
    most = max(len(problem.sources) for problem in pair.problems)
    return next(list(one.sources) for one in pair.problems if len(one.sources) == most)


def _read(
    parts: Mapping[str, tuple[Part, ...]], pair: Pair, samples: int, quantised: bool, check: Check
) -> np.ndarray:
    """(source, channel, sample)."""
    whole = np.zeros((len(parts), pair.channels, samples))
    start = 0
    for block in FileSignals(parts, pair.channels, samples, quantised, check).blocks():
        whole[..., start : start + block.shape[-1]] = block
        start += block.shape[-1]
    return whole
