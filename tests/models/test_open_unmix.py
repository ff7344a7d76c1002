"""Open-Unmix: sizes, options, and equality with the authors' package on the same weights."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stemwise.errors import ModelError
from stemwise.models import build, load, save
from stemwise.models.bank import combine
from stemwise.models.open_unmix import OpenUnmix
from stemwise.separation import Engine, Options

SMALL: dict[str, Any] = {"sources": ["vocals", "drums"], "hidden": 16, "n_fft": 256, "hop": 64}


def _small(**options: Any) -> OpenUnmix:
    torch.manual_seed(0)
    network = build("open-unmix", **{**SMALL, **options})
    assert isinstance(network, OpenUnmix)
    return _as_trained(network).eval()


def _as_trained(network: Any) -> Any:
    """Statistics and scales as training leaves them; those of a new network hide errors."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in network.state_dict().items():
        noise = torch.rand(tensor.shape, generator=generator)
        if name.endswith(("running_mean", "input_mean")):
            tensor.copy_(0.6 * noise - 0.3)
        elif name.endswith(("running_var", "input_scale", "output_scale")):
            tensor.copy_(0.5 + noise)
        elif name.endswith("output_mean"):
            tensor.copy_(noise)
    return network


def _noise(samples: int, channels: int = 2, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, channels, samples, generator=generator) * 0.1


def _stems(network: OpenUnmix, song: torch.Tensor, **options: Any) -> np.ndarray:
    engine = Engine(network, Options(device="cpu", precision="fp32", residual=False, **options))
    blocks = list(engine.stream([song[0].numpy()], network.sample_rate, song.shape[1]))
    return np.concatenate([block.stems for block in blocks], axis=-1)


@pytest.fixture
def openunmix(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The authors' package; it imports torchaudio, which its model and its filters do not use."""
    before = set(sys.modules)
    if "torchaudio" not in before:
        monkeypatch.setitem(sys.modules, "torchaudio", types.ModuleType("torchaudio"))
    reason = "the package 'openunmix' is not installed: there is no reference to compare with"
    yield pytest.importorskip("openunmix.model", reason=reason)
    for name in set(sys.modules) - before:  # nothing that saw the stub stays
        if name.split(".")[0] in ("openunmix", "torchaudio"):
            sys.modules.pop(name, None)


def _references(openunmix: Any, network: OpenUnmix) -> dict[str, torch.nn.Module]:
    options, references = network.config, {}
    for source, member in network.network.members.items():
        reference = openunmix.OpenUnmix(
            nb_bins=network.n_fft // 2 + 1,
            nb_channels=options["channels"],
            hidden_size=options["hidden"],
            nb_layers=options["layers"],
            unidirectional=options["unidirectional"],
            max_bin=network.input_bins,
        )
        reference.load_state_dict(member.state_dict())
        references[source] = reference.eval()
    return references


def test_parameters_per_source() -> None:
    with torch.device("meta"):
        network = build("open-unmix")
    assert network.parameter_count == 4 * 8_893_348
    assert isinstance(network, OpenUnmix)
    assert network.input_bins == 1487
    shapes = {n: tuple(p.shape) for n, p in network.network.members["vocals"].named_parameters()}
    assert shapes["fc1.weight"] == (512, 2974)
    assert shapes["lstm.weight_hh_l2_reverse"] == (1024, 256)
    assert shapes["fc2.weight"] == (512, 1024)
    assert shapes["fc3.weight"] == (4098, 512)
    assert shapes["input_mean"] == shapes["input_scale"] == (1487,)
    assert shapes["output_mean"] == shapes["output_scale"] == (2049,)


@pytest.mark.parametrize("unidirectional", [False, True])
@pytest.mark.parametrize("channels", [1, 2])
def test_network_equals_openunmix(openunmix: Any, unidirectional: bool, channels: int) -> None:
    network = _small(unidirectional=unidirectional, channels=channels, bandwidth=12000.0)
    spectrum = network.spectrum(_noise(6000, channels))
    with torch.inference_mode():
        estimates = network.predict(spectrum, network.network(*network.features(spectrum)))
        for index, reference in enumerate(_references(openunmix, network).values()):
            expected = reference(spectrum.abs())
            ours = estimates.source(index).abs()
            assert expected.abs().max() > 0.1
            torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_the_network_in_training_equals_that_in_evaluation() -> None:
    """Evaluation folds the normalisations into the linear layers: the same numbers come out."""
    network = _small(activity=True, residual=True, layers=1)
    features = network.features(network.spectrum(_noise(6000)))
    folded = network.network(*features)
    network.network.training = True  # the plain path, with the statistics of evaluation
    for member in network.network.unmixers:
        member.training = True
    plain = network.network(*features)
    for ours, expected in zip(folded, plain, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("unidirectional", [False, True])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_training_step_equals_openunmix(
    openunmix: Any, unidirectional: bool, channels: int
) -> None:
    """Loss, every gradient and the running statistics; one layer, so that nothing is dropped."""
    options: dict[str, Any] = {"unidirectional": unidirectional, "channels": channels, "layers": 1}
    network = _small(sources=["vocals"], bandwidth=12000.0, **options).train()
    [member] = network.network.unmixers
    [reference] = _references(openunmix, network).values()
    reference.train()
    mixture, stem = _noise(6000, channels), 0.3 * _noise(6000, channels, seed=5)
    estimates, references = network.compared(network(mixture), network.represent(stem[:, None]))
    loss = (estimates - references).square().mean()
    theirs = torch.nn.functional.mse_loss(
        reference(network.spectrum(mixture).abs()), network.spectrum(stem).abs()
    )
    torch.testing.assert_close(loss, theirs, rtol=1e-5, atol=1e-7)
    torch.autograd.backward([loss, theirs])
    expected = dict(reference.named_parameters())
    for name, parameter in member.named_parameters():
        ours, gradient = parameter.grad, expected[name].grad
        assert ours is not None
        assert gradient is not None
        assert (ours - gradient).norm() < 1e-4 * gradient.norm() + 1e-7, name
    for name, buffer in reference.named_buffers():
        torch.testing.assert_close(member.get_buffer(name), buffer, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mask", ["relu", "none"])
def test_what_is_compared_are_magnitudes(mask: str) -> None:
    network = _small(mask=mask, residual=True)
    with torch.no_grad():
        prediction = network(_noise(6000))
        stems = torch.stack([_noise(6000, seed=seed) for seed in range(3)], dim=1)
        reference = network.represent(stems)
        estimates, references = network.compared(prediction, reference)
    torch.testing.assert_close(estimates, prediction.estimates.abs())
    torch.testing.assert_close(references, reference.abs())


@pytest.mark.parametrize("samples", [64 * 450, 64 * 450 + 37, 64 * 301 + 1])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("iterations", [0, 1])
def test_separator_equals_openunmix(
    openunmix: Any, iterations: int, residual: bool, samples: int
) -> None:
    sources = ["vocals", "drums", "bass", "other"]
    network = _small(residual=residual, sources=sources)
    song = _noise(samples)
    reference = openunmix.Separator(
        _references(openunmix, network),
        niter=iterations,
        residual=residual,
        n_fft=network.n_fft,
        n_hop=network.hop,
    )
    with torch.inference_mode():
        expected = reference(song)[0].numpy()
    phase = "wiener" if iterations else "mixture"
    ours = _stems(network, song, segment=60.0, phase=phase)
    assert ours.shape == expected.shape == (4 + residual, 2, samples)
    assert np.abs(ours - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("iterations", [1, 2, 3])
@pytest.mark.parametrize("channels", [1, 2])
def test_wiener_equals_openunmix(openunmix: Any, iterations: int, channels: int) -> None:
    from stemwise.spectral import WienerFilter

    filtering = importlib.import_module("openunmix.filtering")
    generator = torch.Generator().manual_seed(0)
    for scale in (0.01, 1.0, 40.0):  # the last is louder than the filter's largest magnitude
        parts = torch.randn(2, channels, 9, 50, generator=generator) * scale
        mixture = torch.complex(parts[0], parts[1])
        factors = torch.rand(3, channels, 9, 50, generator=generator)
        expected = filtering.wiener(
            (factors * mixture.abs()).permute(3, 2, 1, 0),
            torch.view_as_real(mixture.permute(2, 1, 0).contiguous()),
            iterations,
        )
        expected = torch.view_as_complex(expected.permute(4, 2, 1, 0, 3).contiguous())
        filtered = WienerFilter(factors[None], mixture[None], iterations)
        for index in range(3):
            ours = filtered.source(index)[0]
            error = (ours - expected[index]).abs().max() / expected.abs().max()
            assert float(error) <= 1e-4


def test_pieces_are_close_to_one_pass() -> None:
    """Exact where recurrence forgets: but for the covariances of the frames across a join."""
    network = _small()
    song = _noise(64 * 1230 + 11)
    short = 300 * 64 / 44100
    for phase, limit in (("mixture", 1e-4), ("wiener", 0.05)):
        whole = _stems(network, song, segment=60.0, phase=phase)
        pieces = _stems(network, song, segment=short, phase=phase)
        error = np.abs(whole - pieces) / np.abs(whole).max()
        assert error.max() <= limit
        for join in range(300, 1230, 300):
            error[..., (join - 4) * 64 : (join + 4) * 64] = 0
        assert error.max() <= 1e-4


def test_unidirectional_looks_ahead_one_window_only() -> None:
    network = _small(unidirectional=True)
    assert network.grid.after == network.n_fft
    song = _noise(64 * 100)
    changed = song.clone()
    changed[..., 64 * 60 :] = _noise(64 * 40, seed=5)
    with torch.inference_mode():
        one, other = (network.reconstruct(network(x)) for x in (song, changed))
    until = 64 * 60 - network.n_fft
    torch.testing.assert_close(one[..., :until], other[..., :until], rtol=0, atol=1e-6)
    assert (one - other)[..., 64 * 60 :].abs().max() > 1e-3


def _remembering(**options: Any) -> OpenUnmix:
    """A unidirectional network whose LSTMs remember long enough to be missed."""
    network = _small(unidirectional=True, activity=True, **options)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "lstm.weight" in name:
                parameter.mul_(3)
            elif "lstm.bias" in name:
                parameter.add_(0.3)
    return network


def _both(
    network: OpenUnmix, song: np.ndarray, engine: Engine | None = None, **options: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Stems and activity; the song comes in blocks."""
    options = {"phase": "mixture", "precision": "fp32", "residual": False, **options}
    engine = engine or Engine(network, Options(device="cpu", **options))
    coming = (song[:, at : at + 3001] for at in range(0, song.shape[1], 3001))
    blocks = list(engine.stream(coming, network.sample_rate, len(song)))
    stems = np.concatenate([block.stems for block in blocks], axis=-1)
    return stems, np.concatenate([block.activity for block in blocks], axis=-1)


@pytest.mark.parametrize(
    "options", [{}, {"n_fft": 256, "hop": 128}, {"n_fft": 250, "hop": 75}, {"residual": True}]
)
@pytest.mark.parametrize("samples", [9000, 64 * 60, 64 * 60 + 129, 40])
def test_unidirectional_pieces_are_those_of_one_pass(options: dict[str, Any], samples: int) -> None:
    network = _remembering(**options)
    song = _noise(samples, 3)[0].numpy()
    stems, activity = _both(network, song, segment=60.0)
    for segment in (0.001, 0.02, 0.1):  # one frame at a time, too
        found = _both(network, song, segment=segment, overlap=0.2, batch=4, lookahead=0.0)
        np.testing.assert_allclose(found[0], stems, atol=1e-6)
        np.testing.assert_allclose(found[1], activity, atol=1e-6)
        engine = Engine(network, Options(device="cpu", precision="fp32", segment=segment))
        frames = np.concatenate(list(engine.detect([song], 44100, 3)), axis=-1)
        np.testing.assert_allclose(frames, activity, atol=1e-6)


def test_states_are_what_makes_pieces_equal() -> None:
    """The test before can fail: with context in the place of the state the same pieces differ."""
    network, song = _remembering(), _noise(30000)[0].numpy()
    stems, _ = _both(network, song, segment=60.0)
    network.carried = None
    assert np.abs(_both(network, song, segment=0.02)[0] - stems).max() > 1e-4


def test_no_state_goes_from_one_song_to_another() -> None:
    """Neither to the next one nor to one that is separated at the same time."""
    network = _remembering()
    songs = [_noise(9000, seed=seed)[0].numpy() for seed in (1, 2)]
    expected = [_both(network, song, segment=0.05)[0] for song in songs]
    options = {"phase": "mixture", "precision": "fp32", "segment": 0.05, "residual": False}
    engine = Engine(network, Options(device="cpu", **options))  # type: ignore[arg-type]
    for song, stems in zip(songs, expected, strict=True):
        assert np.array_equal(_both(network, song, engine)[0], stems)
    abandoned = engine.stream([songs[0]], 44100, 2)
    next(abandoned)
    streams = [engine.stream([song], 44100, 2) for song in songs]
    parts: list[list[np.ndarray]] = [[], []]
    for pair in zip(*streams, strict=True):
        for part, block in zip(parts, pair, strict=True):
            part.append(block.stems)
    for part, stems in zip(parts, expected, strict=True):
        np.testing.assert_allclose(np.concatenate(part, axis=-1), stems, atol=1e-6)


@pytest.mark.parametrize("where", ["reconstruct", "carry_on"])
def test_a_piece_that_memory_runs_out_on_is_done_again_from_its_state(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    network, song = _remembering(), _noise(20000)[0].numpy()
    expected, _ = _both(network, song, segment=60.0)
    whole, failures = getattr(network, where), []

    def scarce(given: Any, start: int = 0, stop: Any = None) -> Any:
        samples = start if where == "carry_on" else stop - start  # of the piece
        result = whole(given, start, stop)
        if samples > 2000 and len(failures) < 9:
            failures.append(samples)
            raise MemoryError
        return result

    monkeypatch.setattr(network, where, scarce)
    found, _ = _both(network, song, segment=0.2)
    assert len(failures) >= 3
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_unidirectional_is_heard_within_its_window_and_a_piece() -> None:
    with torch.device("meta"):
        network = build("open-unmix", unidirectional=True)
    assert network.carried is not None
    assert network.carried.after == network.grid.after == 4096
    assert build("open-unmix", **SMALL).carried is None
    with pytest.raises(NotImplementedError):
        build("open-unmix-transformer", hidden=8).carry_on(_noise(5000), 10)


def test_sixteen_bits_carry_on() -> None:
    network, song = _remembering(), _noise(20000)[0].numpy()
    expected, _ = _both(network, song, segment=60.0)
    found, _ = _both(network, song, segment=0.02, precision="bf16")
    assert np.abs(found - expected).max() <= 0.1 * np.abs(expected).max()


@pytest.mark.parametrize("samples", [1, 64, 127, 129, 5000])
def test_any_length_and_the_sum_with_a_residual(samples: int) -> None:
    network = _small(residual=True)
    song = _noise(samples)
    for phase, limit in (("mixture", 1e-5), ("wiener", 1e-3)):  # the filter is regularised
        stems = _stems(network, song, phase=phase)
        assert stems.shape == (3, 2, samples)
        assert np.abs(stems.sum(axis=0) - song[0].numpy()).max() <= limit


@pytest.mark.parametrize("mask", ["relu", "sigmoid", "none"])
@pytest.mark.parametrize("residual", [False, True])
def test_masks(mask: str, residual: bool) -> None:
    network = _small(mask=mask, residual=residual)
    mixture = _noise(5000)
    with torch.inference_mode():
        prediction = network(mixture)
        refined = network.refine(prediction, "wiener")
    if mask == "none":
        assert prediction.masks is None
        assert not prediction.estimates.is_complex()
        assert float(prediction.estimates[:, :2].min()) >= 0
    else:
        assert prediction.masks is not None
        assert float(prediction.masks[:, :2].min()) >= 0
        assert mask == "relu" or float(prediction.masks[:, :2].max()) <= 1
    assert refined.estimates.shape == prediction.estimates.shape
    torch.testing.assert_close(refined.source(1), refined.estimates[:, 1])
    torch.testing.assert_close(refined.source(0, slice(3, 9)), refined.estimates[:, 0, ..., 3:9])


def test_silence_stays_silence() -> None:
    stems = _stems(_small(residual=True), torch.zeros(1, 2, 30001))
    assert np.abs(stems).max() == 0.0


def test_learns_saves_and_loads(tmp_path: Path) -> None:
    network = _small(activity=True, residual=True).train()
    prediction = network(_noise(5000))
    assert prediction.activity is not None
    assert prediction.activity.shape == (1, 2, 5000 // 64 + 1)
    (prediction.estimates.abs().mean() + prediction.activity.square().mean()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    save(network.eval(), tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert again.config == network.config
    assert again.sources == ("vocals", "drums", "residual")
    assert again.activity_sources == ("vocals", "drums")
    song = _noise(5000)
    assert isinstance(again, OpenUnmix)
    assert np.array_equal(_stems(again, song), _stems(network, song))


def test_sixteen_bits_are_close() -> None:
    network, song = _small(), _noise(20000)
    engine = Engine(network, Options(device="cpu", precision="bf16", residual=False))
    stems = next(iter(engine.stream([song[0].numpy()], 44100, 2))).stems
    expected = _stems(network, song)
    assert np.abs(stems - expected).max() <= 0.05 * np.abs(expected).max()


def test_combines_those_trained_one_by_one() -> None:
    one, two = _small(sources=["vocals"]), _small(sources=["bass"])
    both, song = combine([one, two]), _noise(5000)
    assert isinstance(both, OpenUnmix)
    assert both.sources == ("vocals", "bass")
    stems = _stems(both, song, phase="mixture")
    assert np.array_equal(stems[:1], _stems(one, song, phase="mixture"))


def test_statistics_of_the_training_mixtures() -> None:
    network = _small(bandwidth=16000)
    mean, deviation = torch.linspace(0, 1, 129), torch.linspace(0, 2, 129)
    network.set_statistics(mean, deviation)
    for member in network.network.unmixers:
        scale = member.input_scale.detach()
        torch.testing.assert_close(member.input_mean.detach(), -mean[: network.input_bins])
        assert float(scale.max()) == pytest.approx(1 / 2e-4)
        assert float(scale[64]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sources": []}, "at least one source"),
        ({"residual": True, "sources": ["residual"]}, "do not name it"),
        ({"hidden": 5}, "must be even"),
        ({"bandwidth": 0}, "more than 0 Hz"),
        ({"channels": 3}, "1 or 2 channels"),
        ({"mask": "softmax"}, "relu, sigmoid, none"),
    ],
)
def test_bad_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        build("open-unmix", **{**SMALL, **options})
