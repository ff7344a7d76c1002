"""Statistics of training excerpts against those of all samples at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from array_songs import ArraySong
from small_networks import small
from stemwise.data import augment
from stemwise.data.loading import Loader
from stemwise.errors import DataError, ModelError, OutputError
from stemwise.models.separator import Separator
from stemwise.models.shared_encoder import SharedEncoder
from stemwise.models.unmix import UnmixBank
from stemwise.training.recipe import parse_recipe
from stemwise.training.statistics import (
    FILE,
    Statistics,
    load_statistics,
    measure,
    save_statistics,
    takes_statistics,
)
from stemwise.training.streams import training_loader
from stream_songs import of_sources, recipe, song


def umx() -> Separator:
    return small("open-unmix", sources=["vocals", "drums"], activity=False)


def reader(separator: Separator, batch: int = 4, gain_db: float = 0.0) -> Loader:
    """Excerpts of two songs with high drums, and vocals on the left."""
    made = [song(name, stems=("vocals", "drums"), seconds=2.0) for name in "ab"]
    for one in made:
        one.sample_rate = separator.sample_rate
        one.audio["vocals"][1] *= 0.2
        one.audio["drums"] = np.diff(one.audio["drums"], axis=1, prepend=np.float32(0))
    return training_loader(recipe(batch, gain_db=gain_db), separator, {"songs": [*made]})


def together(loader: Loader, separator: Separator, excerpts: int) -> tuple[np.ndarray, np.ndarray]:
    """Stems (excerpt, source, channel, sample) and mixtures of a stream's first excerpts."""
    batches = [
        augment.apply(batch, separator.channels)
        for batch in loader.batches(0, -(-excerpts // loader.batch))
    ]
    stems = torch.cat([batch.stems for batch in batches])[:excerpts]
    return stems.numpy(), torch.cat([batch.mixture for batch in batches])[:excerpts].numpy()


def test_moments_are_those_of_all_frames_at_once() -> None:
    """As Open-Unmix's script has them: magnitudes, mean of the channels, then over frames."""
    separator = umx()
    loader = reader(separator, gain_db=6.0)
    found = measure(loader, separator, 10)
    stems, mixtures = together(loader, separator, 10)
    magnitudes = separator.spectrum(torch.from_numpy(mixtures)).abs().double()  # type: ignore[operator]
    frames = magnitudes.mean(dim=1).movedim(1, 0).flatten(1).numpy()
    assert found.excerpts == 10
    assert found.mean is not None
    assert found.deviation is not None
    np.testing.assert_allclose(found.mean, frames.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(found.deviation, frames.std(axis=1), rtol=1e-5)
    energies = np.square(stems.astype(np.float64)).mean(axis=(0, 2, 3))
    assert [*found.energies.values()] == pytest.approx(energies.tolist(), rel=1e-6)


def test_the_batch_they_are_read_in_does_not_matter() -> None:
    separator = umx()
    one, other = (measure(reader(separator, batch), separator, 9) for batch in (3, 4))
    assert one.excerpts == other.excerpts == 9
    assert one.mean is not None
    assert other.mean is not None
    torch.testing.assert_close(one.mean, other.mean)
    assert dict(one.energies) == pytest.approx(dict(other.energies))


def test_they_are_the_same_every_time() -> None:
    separator = umx()
    one, other = (measure(reader(separator), separator, 8) for _ in range(2))
    assert torch.equal(torch.as_tensor(one.mean), torch.as_tensor(other.mean))
    assert one.energies == other.energies


def test_energies_are_in_proportion_to_mean_squared_magnitudes(tiny: Separator) -> None:
    """Parseval: the ratio of two sources is the same in either domain, within 1 %."""
    two = of_sources(tiny, "vocals", "drums")
    loader = reader(two)
    found = measure(loader, two, 16)
    assert found.mean is None, "the network takes no statistics"
    stems, _ = together(loader, two, 16)
    spectra = two.represent(torch.from_numpy(stems)).abs().square().mean(dim=(0, 2, 3, 4))
    ratio = found.energies["vocals"] / found.energies["drums"]
    assert ratio == pytest.approx(float(spectra[0] / spectra[1]), rel=0.01)


def test_energies_are_those_of_known_stems_of_the_target(tiny: Separator) -> None:
    """A stem of which a song knows nothing is no silence; stems of the mixture alone are left."""
    one = of_sources(tiny, "vocals")
    with_stem = song("a", stems=("vocals", "drums"))
    without = song("b", stems=("drums",), mixture=True)
    with_stem.audio["vocals"][:] = 0.5
    mix = ["vocals", "drums"]
    loader = training_loader(recipe(8, mix=mix), one, {"songs": [with_stem, without]})
    found = measure(loader, one, 16, mix)
    assert dict(found.energies) == pytest.approx({"vocals": 0.25})


def test_networks_take_them() -> None:
    separator = umx()
    found = measure(reader(separator), separator, 4)
    assert found.mean is not None
    found.normalise(separator)
    assert isinstance(separator.network, UnmixBank)
    for member in separator.network.unmixers:
        torch.testing.assert_close(
            -member.input_mean.detach(), found.mean[: len(member.input_mean)]
        )
    shared = small("shared-encoder", sources=["vocals", "drums"], activity=False)
    assert isinstance(shared, SharedEncoder)
    loader = reader(shared)
    measure(loader, shared, 2).normalise(shared)
    assert float(shared.shared.input_scale.max()) > 1


def test_silence_is_no_input() -> None:
    separator = umx()
    loader = reader(separator)
    assert isinstance(loader.sampler.plan(0).stems[0][0].song, ArraySong)
    for plan in (loader.sampler.plan(k) for k in range(16)):
        for clips in plan.stems:
            clips[0].song.audio[clips[0].source][:] = 0  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="first 4 excerpts of training are silent: measure more"):
        measure(loader, separator, 4).normalise(separator)


def test_files_hold_them(tmp_path: Path) -> None:
    separator = umx()
    found = measure(reader(separator), separator, 4)
    save_statistics(found, tmp_path / FILE)
    again = load_statistics(tmp_path / FILE)
    assert torch.equal(torch.as_tensor(again.mean), torch.as_tensor(found.mean))
    assert torch.equal(torch.as_tensor(again.deviation), torch.as_tensor(found.deviation))
    assert again.energies == found.energies, "every digit"
    assert again.excerpts == 4
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    energies = Statistics(energies={"vocals": 0.1}, excerpts=3)
    save_statistics(energies, tmp_path / FILE)
    assert load_statistics(tmp_path / FILE) == energies


def test_files_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        save_statistics(Statistics(), tmp_path / "nowhere" / FILE)
    (tmp_path / FILE).write_bytes(b"12345678 no statistics")
    with pytest.raises(DataError, match="remove it, and the training data are measured again"):
        load_statistics(tmp_path / FILE)


def test_a_network_that_learns_on_keeps_its_own(tiny: Separator) -> None:
    base = {"name": "x", "steps": 1, "batch": 1}
    fresh = parse_recipe({**base, "separator": {"name": "open-unmix"}})
    tuned = parse_recipe({**base, "separator": {"name": "open-unmix", "initial": "umxhq"}})
    assert takes_statistics(fresh, umx())
    assert not takes_statistics(tuned, umx())
    assert not takes_statistics(fresh, tiny)
    with pytest.raises(ModelError):  # what a network refuses is said by the network
        Statistics(torch.ones(3), torch.full((3,), float("inf"))).normalise(umx())
