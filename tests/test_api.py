"""The Python API: files, audio and arrays in; stems and activity out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import stemwise
from stemwise import models
from stemwise.audio import Audio, read, write


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    models.save(models.build("band-unet", widths=(8, 8, 8, 8, 8), squeezed=2, hidden=16), path)
    return path


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> stemwise.Model:
    return stemwise.load(checkpoint, device="cpu", precision="fp32")


def _song(samples: int = 30000, channels: int = 2) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.standard_normal((channels, samples)) * 0.1).astype(np.float32)


def test_file_audio_and_array_agree(model: stemwise.Model, tmp_path: Path) -> None:
    song = Audio(_song(), 48000, {"title": "A song"})
    write(tmp_path / "a.wav", song)
    song = read(tmp_path / "a.wav")
    results = [
        model.separate(tmp_path / "a.wav"),
        model.separate(song),
        model.separate(song.samples, 48000),
    ]
    for result in results:
        assert tuple(result.stems) == model.sources == ("vocals", "drums", "bass", "other")
        total = np.sum([stem.samples for stem in result.stems.values()], axis=0)
        assert np.abs(total - song.samples).max() < 1e-5
        assert result.sample_rate == result.stems["bass"].sample_rate == 48000
        assert np.allclose(result.stems["vocals"].samples, results[0].stems["vocals"].samples)
        assert result.activity.sources == model.sources
        assert result.activity.duration == pytest.approx(30000 / 48000)
    assert results[0].stems["drums"].tags["title"] == "A song"


def test_detect_equals_separate(model: stemwise.Model) -> None:
    activity = model.detect(_song(), 44100)
    whole = model.separate(_song(), 44100).activity
    assert np.array_equal(activity.probabilities, whole.probabilities)


def test_save(model: stemwise.Model, tmp_path: Path) -> None:
    result = model.separate(_song(), 44100)
    paths = result.save(tmp_path / "out", "flac")
    assert set(paths) == set(model.sources)
    found = {path.name for path in (tmp_path / "out").iterdir()}
    assert found == {"vocals.flac", "drums.flac", "bass.flac", "other.flac", "activity.csv"}
    stem = read(paths["bass"]).samples
    assert np.abs(stem - result.stems["bass"].samples).max() < 1e-4


def test_mono_arrays_and_silence(model: stemwise.Model) -> None:
    result = model.separate(np.zeros(5000), 44100)
    assert all(stem.samples.shape == (1, 5000) for stem in result.stems.values())
    assert all(not stem.samples.any() for stem in result.stems.values())


@pytest.mark.parametrize(
    ("samples", "sentence"),
    [
        (np.full((2, 100), np.nan, np.float32), "not a number at 0.000 s"),
        (np.array([0.0] * 22050 + [np.inf]), "not a number at 0.500 s"),
        (np.zeros((2, 0), np.float32), "contains no samples"),
        (np.zeros((100, 2), np.float32), "give \\(channel, sample\\)"),
        (np.zeros((2, 100), np.int16), "are int16: convert them"),
    ],
)
def test_bad_arrays_fail_before_any_compute(
    model: stemwise.Model,
    monkeypatch: pytest.MonkeyPatch,
    samples: np.ndarray,
    sentence: str,
) -> None:
    monkeypatch.setattr(model.engine, "stream", None)
    with pytest.raises(stemwise.StemwiseError, match=sentence):
        model.separate(samples, 44100)


def test_arrays_need_a_rate_and_options_a_name(model: stemwise.Model, checkpoint: Path) -> None:
    with pytest.raises(stemwise.StemwiseError, match="give sample_rate in Hz"):
        model.separate(_song())
    with pytest.raises(stemwise.StemwiseError, match="did you mean 'overlap'"):
        stemwise.load(checkpoint, overlp=0.1)


def test_import_stays_light() -> None:
    code = (
        "import sys, stemwise, stemwise.cli, stemwise.errors; stemwise.Audio; "
        "assert 'torch' not in sys.modules; assert 'scipy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_needs_no_numpy() -> None:
    code = (
        "import sys; from stemwise.cli import run; assert run(['--help']) == 0; "
        "assert not {'torch', 'numpy', 'scipy', 'av'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert b"separate" in result.stdout
