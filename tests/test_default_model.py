"""The shipped weights: small, learnt from renders, as good as docs/models/band.md says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import stemwise
from stemwise.audio import read, read_stem_file
from stemwise.band.render import STEMS, render_song
from stemwise.models import load, read_card, weights
from stemwise.separation import Engine, Options


@pytest.fixture(scope="module")
def model() -> stemwise.Model:
    return stemwise.load("band", device="cpu")


def _decibels(x: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(x, dtype=np.float64)) + 1e-12))


def _sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    return _decibels(reference) - _decibels(reference - estimate)


def test_weights_are_small_and_say_how_they_were_made() -> None:
    assert weights()["band"].path.stat().st_size <= 12_000_000
    card = read_card("band")
    assert card.network == "band-unet"
    assert card.config["sample_rate"] == 44100
    assert card.metadata["recipe"]["name"] == "band"
    assert card.metadata["step"] > 0


def test_weights_are_finite() -> None:
    state = load("band").state_dict()
    assert not [name for name, value in state.items() if not bool(value.isfinite().all())]


def test_separates_a_rendered_song(model: stemwise.Model) -> None:
    """A song of the computed band with instruments and a voice that training never heard."""
    song = render_song(2018, family="dsp", duration=20.0, held_out=True)
    result = model.separate(song.mixture, song.sample_rate)
    for name in STEMS:
        gain = _sdr(song.stems[name], result.stems[name].samples) - _sdr(
            song.stems[name], song.mixture
        )
        assert gain > 3.0, name
    total = sum(stem.samples for stem in result.stems.values())
    assert np.abs(total - song.mixture).max() < 1e-4


@pytest.mark.parametrize(
    ("stems", "least"),
    [
        ("Music Delta", {"vocals": 8.4, "drums": 9.2, "bass": 6.7, "other": 4.2}),
        ("iosr", {"vocals": 4.3, "other": 2.9, "accompaniment": 7.5}),
    ],
)
def test_real_clips(
    model: stemwise.Model, real_audio: Path, stems: str, least: dict[str, float]
) -> None:
    """Somewhat below what was measured, so that only a real loss of quality fails."""
    references, rate = _clip(real_audio, stems)
    mixture = np.sum(list(references.values()), axis=0)
    result = model.separate(mixture, rate)
    estimates = {name: stem.samples for name, stem in result.stems.items()}
    estimates["accompaniment"] = mixture - estimates["vocals"]
    references["accompaniment"] = mixture - references["vocals"]
    scores = {name: _sdr(references[name], estimates[name]) for name in least}
    assert all(scores[name] >= value for name, value in least.items()), scores


def _clip(folder: Path, name: str) -> tuple[dict[str, np.ndarray], int]:
    if name == "iosr":
        files = {"vocals": "vox", "drums": "drums", "bass": "bass", "other": "other"}
        audio = {stem: read(folder / "iosr" / f"{file}.wav") for stem, file in files.items()}
    else:
        audio = read_stem_file(next(folder.glob(f"{name}*.stem.mp4")))
    return {stem: audio[stem].samples for stem in STEMS}, audio["vocals"].sample_rate


def test_sixteen_bits_cost_little(real_audio: Path) -> None:
    """bfloat16 changes stems by far less than the separation's own error."""
    references, rate = _clip(real_audio, "iosr")
    mixture = np.sum(list(references.values()), axis=0)
    stems = []
    for precision in ("fp32", "bf16"):
        engine = Engine(load("band"), Options(device="cpu", precision=precision))  # type: ignore[arg-type]
        blocks = list(engine.stream([mixture], rate, 2))
        stems.append(np.concatenate([block.stems for block in blocks], axis=-1))
    assert _decibels(stems[0] - stems[1]) < _decibels(mixture) - 30
