"""Songs to files through the library: clipping, streaming, cancelling."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from stemwise import models
from stemwise.audio import AudioFormat, read
from stemwise.errors import Cancelled, OutputError
from stemwise.naming import Plan
from stemwise.separation import Engine, Options
from stemwise.songs import Output, separate_file
from stemwise.stem_output import StemOutput


@pytest.fixture(scope="module")
def engine() -> Engine:
    torch.manual_seed(0)
    network = models.build("band-unet", widths=(8, 8, 8, 8, 8), squeezed=2, hidden=16)
    return Engine(network, Options(device="cpu", precision="fp32", segment=1.0))


def _loud(path: Path) -> np.ndarray:
    """Quiet, then far beyond full scale: (channel, sample)."""
    samples = np.random.default_rng(0).standard_normal((2, 200000)).astype(np.float32) * 0.02
    samples[:, 120000:] *= 100
    soundfile.write(path, samples.T, 44100, subtype="FLOAT")
    return samples


def _total(paths: dict[str, Path]) -> np.ndarray:
    return np.sum([read(path).samples for path in paths.values()], axis=0)


@pytest.mark.parametrize("extension", ["wav", "flac"])
def test_rescaled_stems_sum_to_the_scaled_song(
    engine: Engine, tmp_path: Path, extension: str
) -> None:
    samples = _loud(tmp_path / "a.wav")
    output = Output(tmp_path, AudioFormat(extension, "int24"))
    result = separate_file(engine, tmp_path / "a.wav", output)
    assert result.gain < 0.9
    assert np.abs(_total(result.stems) - samples * result.gain).max() < 1e-5
    peak = max(np.abs(read(path).samples).max() for path in result.stems.values())
    assert peak == pytest.approx(1, abs=1e-3)
    assert max(level.peak for level in result.levels.values()) == pytest.approx(0, abs=0.01)


def test_clip_modes(engine: Engine, tmp_path: Path) -> None:
    samples = _loud(tmp_path / "a.wav")
    exact = Output(tmp_path / "exact", AudioFormat("wav", "float32"))
    untouched = separate_file(engine, tmp_path / "a.wav", exact)
    assert untouched.gain == 1
    assert np.abs(_total(untouched.stems) - samples).max() < 1e-4
    clamp = Output(tmp_path / "clamp", AudioFormat("wav", "float32"), clip_mode="clamp")
    clamped = separate_file(engine, tmp_path / "a.wav", clamp)
    for name, path in clamped.stems.items():
        whole = read(untouched.stems[name]).samples
        assert np.array_equal(read(path).samples, np.clip(whole, -1, 1))


def test_quiet_songs_keep_their_volume(engine: Engine, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).standard_normal((20000, 1)) * 0.02
    soundfile.write(tmp_path / "a.wav", samples, 22050, subtype="FLOAT")
    result = separate_file(engine, tmp_path / "a.wav", Output(tmp_path, AudioFormat("flac")))
    assert result.gain == 1
    assert np.abs(_total(result.stems) - read(tmp_path / "a.wav").samples).max() < 1e-4


def test_cancel_leaves_nothing(engine: Engine, tmp_path: Path) -> None:
    _loud(tmp_path / "a.wav")
    cancel = threading.Event()

    def stop(done: float, total: float | None) -> None:
        assert list((tmp_path / "out").glob(".a.*.part/*/*"))
        cancel.set()

    with pytest.raises(Cancelled):
        separate_file(
            engine, tmp_path / "a.wav", Output(tmp_path / "out"), progress=stop, cancel=cancel
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", range(5))
def test_earlier_results_come_back_when_a_rename_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    files = {name: tmp_path / f"{name}.wav" for name in ("vocals", "drums", "bass")}
    labels = tmp_path / "activity.csv"
    plan = Plan(tmp_path / "a.wav", "a", tmp_path, files, labels)
    old = [files["vocals"], files["bass"], labels]
    for path in old:
        path.write_text(f"earlier {path.name}")
    output = StemOutput(plan, 44100, 1, format=AudioFormat())
    rename = os.replace

    def breaking(source: Path, target: Path) -> None:
        if "final" in Path(source).parts and target == [*files.values(), labels, None][number]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        assert Path(target) not in old or Path(target).exists()  # never a gap
        rename(source, target)

    with output:
        output.write({name: np.zeros((1, 10), np.float32) for name in files})
        output.finish()
        output.add(labels, lambda path: path.write_text("new"))
        with monkeypatch.context() as patch:
            patch.setattr("stemwise.stem_output.os.replace", breaking)
            if number < 4:
                with pytest.raises(OutputError, match="could not be written"):
                    output.commit()
            else:
                output.commit()
    if number == 4:
        assert {path.read_bytes()[:4] for path in files.values()} == {b"RIFF"}
        assert set(tmp_path.iterdir()) == {*files.values(), labels}
    else:
        assert sorted(tmp_path.iterdir()) == sorted(old)
        assert all(path.read_text() == f"earlier {path.name}" for path in old)


def test_stems_grow_on_disk_before_the_song_is_read(engine: Engine, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((44100 * 30, 1)), 44100)
    sizes = []

    def look(done: float, total: float | None) -> None:
        parts = (tmp_path / "out").glob(".a.*.part/*/.*.part")
        sizes.append(sum(part.stat().st_size for part in parts))
        assert total == 30

    separate_file(
        engine,
        tmp_path / "a.wav",
        Output(tmp_path / "out", AudioFormat("wav", "float32")),
        progress=look,
    )
    assert len(sizes) >= 30
    assert 0 < sizes[15] < sizes[-1]
