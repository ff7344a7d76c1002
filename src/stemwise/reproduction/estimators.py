"""Stems of trained networks as `evaluate_set` asks for them: as the papers made them.

Nothing is shared out that the networks leave of the mixture, which `stemwise separate` does by
default: a published network's estimate is scored as it is. Networks that were trained one per
source are run one after the other on the same mixture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemwise.activity import Activity
from stemwise.audio import AudioFormat, AudioWriter, create_audio, open_audio
from stemwise.data.track import Part, Track
from stemwise.errors import ModelError
from stemwise.evaluation.pairs import Pair
from stemwise.evaluation.signals import Check
from stemwise.reproduction.experiments import Task
from stemwise.separation import Engine, Options

if TYPE_CHECKING:
    from stemwise.models.separator import Separator

ACCOMPANIMENT = "accompaniment"


class Networks:
    """One or several trained networks as the estimator of `evaluate_set`.

    models: checkpoints; later ones add the sources that earlier ones have not. labels: by song,
    for the gate "oracle". Where a song's problem has an accompaniment that no network estimates, it
    is what the other stems leave of the mixture.
    """

    shared = True

    def __init__(
        self, models: Sequence[Path], task: Task, labels: Mapping[str, Activity], device: str
    ) -> None:
        self.models, self.task, self.labels, self.device = models, task, labels, device

    def to_json(self) -> dict[str, Any]:
        """Weights, gate and phase: what decides about stems."""
        return {"weights": self.digests, "gate": self.task.gate, "phase": self.task.phase}

    @cached_property
    def digests(self) -> list[str]:
        """Of every checkpoint."""
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in self.models]

    @cached_property
    def engines(self) -> list[Engine]:
        """Loaded when the first song needs them."""
        return [self._engine(path) for path in self.models]

    def _engine(self, path: Path) -> Engine:
        from stemwise import models

        separator = models.load(path)
        phase = self.task.phase if hasattr(separator, "n_fft") else "mixture"
        options = Options(gate=self.task.gate, phase=phase, residual=False, device=self.device)
        return Engine(separator, options)

    def __call__(self, pair: Pair, folder: Path, check: Check) -> Mapping[str, tuple[Part, ...]]:
        """Write stems into `folder`, as 16-bit files like those of the data sets."""
        mixture = read_whole(pair.mixture[0].path)
        wanted = pair.problems[0].sources
        places = {name: folder / f"separated-{name}.wav" for name in wanted}
        rest = mixture.copy()
        written: set[str] = set()
        with ExitStack() as opened:
            for engine in self.engines:
                names = [one for one in engine.separator.sources if one in places]
                names = [one for one in names if one not in written]
                writers = [self._writer(opened, places[one], pair) for one in names]
                rows = [engine.separator.sources.index(one) for one in names]
                self._separate(engine, mixture, pair, rows, writers, rest, check)
                written.update(names)
            if ACCOMPANIMENT in places and ACCOMPANIMENT not in written:
                self._writer(opened, places[ACCOMPANIMENT], pair).write(rest)
                written.add(ACCOMPANIMENT)
        missing = sorted(set(places) - written)
        if missing:
            raise ModelError(f"no network of {self.task.trainings[0].name} estimates {missing[0]}.")
        return {name: (Part(place),) for name, place in places.items()}

    def _separate(
        self,
        engine: Engine,
        mixture: np.ndarray,
        pair: Pair,
        rows: Sequence[int],
        writers: Sequence[AudioWriter],
        rest: np.ndarray,
        check: Check,
    ) -> None:
        """Run one network, write its stems, and take them out of `rest` (channel, sample)."""
        labels = self.labels.get(pair.name) if self.task.gate == "oracle" else None
        stream = engine.stream([mixture], pair.sample_rate, pair.channels, labels=labels)
        for block in stream:
            check()
            span = slice(block.start, block.start + block.stems.shape[-1])
            for row, writer in zip(rows, writers, strict=True):
                writer.write(block.stems[row])
                rest[:, span] -= block.stems[row]

    @staticmethod
    def _writer(opened: ExitStack, place: Path, pair: Pair) -> AudioWriter:
        format = AudioFormat("wav", "int16")
        return opened.enter_context(
            create_audio(place, pair.sample_rate, pair.channels, format=format)
        )


def read_whole(path: Path) -> np.ndarray:
    """A file as float32 (channel, sample)."""
    with open_audio(path) as reader:
        return np.ascontiguousarray(np.concatenate(list(reader), axis=-1), np.float32)


def detect(engine: Engine, track: Track) -> Activity:
    """What a network says of when sources play in a track's mixture."""
    mixture = read_whole(track.mixture[0].path)
    separator = engine.separator
    frames = engine.detect([mixture], track.sample_rate, mixture.shape[0])
    probabilities = np.concatenate(list(frames), axis=-1)
    seconds = mixture.shape[-1] / track.sample_rate
    return Activity(separator.activity_sources, probabilities, separator.frame_rate, seconds)


def magnitude_error(
    engine: Engine, mixture: np.ndarray, stems: np.ndarray, seconds: float = 20.0
) -> float:
    """MSE of a network's estimates where its paper compares them (`Separator.compared`).

    mixture: (channel, sample), stems: (source, channel, sample) in the network's order, both at its
    rate. The mean over sources, bins and frames of the whole song, whose pieces are cut on the
    network's grid; outside the song is silence.
    """
    import torch

    separator: Separator = engine.separator
    grid, samples = separator.grid, mixture.shape[-1]
    piece = max(1, round(seconds * separator.sample_rate / grid.alignment)) * grid.alignment
    padded = [
        np.pad(one, [(0, 0)] * (one.ndim - 1) + [(grid.before, piece + grid.after)])
        for one in (mixture, stems)
    ]
    total = count = 0.0
    first = (grid.before - grid.crop) // grid.hop
    with torch.inference_mode():
        for start in range(0, samples, piece):
            stop = start + grid.before + piece + grid.after
            mixed, true = (
                torch.from_numpy(np.ascontiguousarray(one[..., start:stop]))[None].to(engine.device)
                for one in padded
            )
            prediction = separator(mixed)
            found, wanted = separator.compared(prediction, separator.represent(true))
            frames = -(-min(piece, samples - start) // grid.hop)
            error = (found - wanted)[..., first : first + frames].square()
            total, count = total + float(error.sum()), count + error.numel()
    return total / count
